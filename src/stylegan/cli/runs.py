"""`stylegan runs`: which trainings are there, which are running, how far are they?"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.doctor.runs import Run

COLOURS = {"running": "green", "finished": "blue", "stopped": "yellow", "crashed": "red", "new": "dim"}


@click.command("runs")
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw their curves into a PNG or SVG.")
@click.option("--timelapse", metavar="FILE", type=click.Path(path_type=Path), help="How one run grew, as a clip.")
@click.option("--tiles", metavar="COLUMNSxROWS", help="With --timelapse: only so much of its previews.  [default: all]")
@click.option("--seconds", default=12.0, show_default=True, help="With --timelapse: about how long.")
def command(
    folder: Path, as_json: bool, plot: Path | None, timelapse: Path | None, tiles: str | None, seconds: float
) -> None:
    """List the runs in and below FOLDER: state, progress, rate, health, last preview, best metric, disk use.

    A run is running (a process holds its lock), finished, stopped (on request, resumable) or crashed (resumable
    too: run the same `stylegan train` command again). Under health stands what was found at the last report; see
    docs/is-it-working.md. With --plot: losses, scores, diversity and norms of the runs, with what was found. With
    --timelapse: FILE.mp4, .webm, .webp or .gif of the previews of the run FOLDER.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from stylegan.cli._tables import show
    from stylegan.doctor.runs import find_runs

    if timelapse is not None:
        click.echo(_timelapse(folder, timelapse, tiles, seconds))
        return
    runs = find_runs(folder)
    if plot is not None:
        from stylegan.doctor.curves import plot_runs

        click.echo(plot_runs([run.path for run in runs], plot))
        return
    if as_json:
        click.echo(json.dumps([run.as_json() for run in runs], indent=1))
        return
    if not runs:
        click.echo(f"no runs in or below {folder}")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("health")
    for name in ("kimg", "size", "img/s", "best metric", "disk", "last seen"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last preview", overflow="fold")
    for run in runs:
        table.add_row(
            Text(_relative(run.path, folder)), Text(run.state, style=COLOURS[run.state]),
            Text(", ".join(run.health), style="red"), _progress(run), run.resolution,
            f"{run.rate:,.0f}" if run.rate else "", _metric(run), f"{run.disk_bytes / 1e6:,.1f} MB",
            _ago(run.updated), Text(_relative(run.grid, folder) if run.grid else ""),
        )  # fmt: skip
    show(table, piped=200)
    console = Console(highlight=False)
    for run in runs:
        if run.note:
            console.print(Text(f"{_relative(run.path, folder)}: {run.note}"), style="dim", soft_wrap=True)


def _timelapse(run: Path, out: Path, tiles: str | None, seconds: float) -> Path:
    from stylegan.cli.generate import parse_grid
    from stylegan.training.preview import write_timelapse
    from stylegan.video import check_format

    check_format(out)
    if seconds <= 0:
        raise UserError(f"--seconds {seconds:g}: must be above 0")
    try:
        shape = parse_grid(tiles)
    except UserError:
        raise UserError(f"--tiles {tiles}: write columns x rows, such as 6x3") from None
    written = write_timelapse(run, out, seconds, shape)
    if written is None:
        raise UserError(f"{run}: is no run with at least two previews in grids/")
    return written


def _relative(path: str, folder: Path) -> str:
    try:
        return str(Path(path).relative_to(folder.expanduser()))
    except ValueError:
        return path


def _progress(run: Run) -> str:
    share = f" ({min(run.kimg / run.total_kimg, 1):.0%})" if run.total_kimg else ""
    return f"{run.kimg:,.1f} / {run.total_kimg:,.6g}{share}"


def _metric(run: Run) -> str:
    return "" if run.best is None else f"{run.metric} {run.best:.4g} at {run.best_kimg:,.0f}"


def _ago(moment: float) -> str:
    """How long ago, in one unit."""
    seconds = max(0.0, time.time() - moment)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
