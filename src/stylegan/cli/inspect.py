"""`stylegan inspect`: what a model file is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from stylegan.cli._tables import show
from stylegan.formats import sniff
from stylegan.official.pickles import read_pickle

if TYPE_CHECKING:
    from stylegan.inspection import NetworkReport, Report


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(file: Path, as_json: bool) -> None:
    """Show what FILE is: architecture, sizes, training, origin. Nothing in it is run.

    FILE is a model file or run folder of this project, the name of a model that ships with it, an official .pkl, or
    a checkpoint of rosinality/style-based-gan-pytorch or huangzh13/StyleGAN.pytorch.

    Example: stylegan inspect karras2019stylegan-ffhq-1024x1024.pkl
    """
    if file.is_file() and sniff(file) == "pickle":
        read_pickle(file)  # what is refused is refused before PyTorch is loaded
    from stylegan.inspection import inspect

    report = inspect(file)
    if as_json:
        click.echo(report.to_json())
        return
    show(_facts(report))
    shown: list[NetworkReport] = []
    for network in report.networks:
        twin = next((other.role for other in shown if other.layers == network.layers), None)
        click.echo()
        if twin:
            click.echo(f"{network.role}: as {twin}")
        else:
            show(_architecture(network))
        shown.append(network)
    for note in report.notes:
        click.echo(f"note: {note}")


def _facts(report: Report) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    unknown = "not recorded"
    size = f"{report.size / 1e6:,.1f} MB"
    rows: list[tuple[str, Any]] = [("file", f"{report.file}, {size}"), ("format", report.format)]
    if report.resolution:
        height, width = report.resolution
        rows += [
            ("configuration", report.configuration or "that of the generator is not in this file"),
            ("resolution", f"{width}x{height}, {report.channels} channels"),
            ("labels", _labels(report)),
            ("lod", unknown if report.lod is None else f"{report.lod:g}"),
            ("kimg", unknown if report.kimg is None else f"{report.kimg:,.{1 if report.kimg >= 1 else 3}f}"),
            ("attribution", report.attribution or unknown),
        ]
    if report.precision:
        rows.append(("stored as", report.precision))
    rows += [("contents" if entry.get("event") == "read" else "origin", _origin(entry)) for entry in report.lineage]
    rows.append(("sha256", report.sha256))
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def _labels(report: Report) -> str:
    if not report.labels:
        return "none"
    names = report.class_names or []
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{report.labels} classes" + (f": {shown}" if shown else "")


def _origin(entry: dict[str, Any]) -> str:
    """One entry of the lineage on a few lines."""
    lines = []
    if "from" in entry:  # of `train --from`
        lod, sha256 = entry.get("lod", "?"), entry.get("sha256", "not recorded")
        after = f", after its {entry['kimg']:,.1f} kimg" if "kimg" in entry else ""
        return f"trained on from {entry['from']} (lod {lod}){after}\nsha256 {sha256}"
    if entry.get("event") != "read":
        lines.append(f"{entry.get('event', '?')} from {entry.get('format', '?')} {entry.get('file', '')}")
        lines.append(f"sha256 {entry.get('sha256', 'not recorded')}")
    for role, network in (entry.get("networks") or {}).items():
        sources = {str(source)[:16] for source in (network.get("source_sha256") or {}).values() if source}
        hashes = f"sha256 {', '.join(sorted(sources))}" if sources else "not in the file"
        lines.append(f"{role}: {network.get('function')}, source {hashes}")
    return "\n".join(lines)


def _architecture(network: NetworkReport) -> Table:
    table = Table(title=f"{network.role}: {network.parameters:,} parameters", title_justify="left", box=None)
    table.add_column("layer")
    table.add_column("what")
    table.add_column("output", justify="right")
    table.add_column("parameters", justify="right")
    for layer in network.layers:
        shape = " x ".join(map(str, layer.shape))
        table.add_row(layer.name, layer.what, shape, f"{layer.parameters:,}")
    return table
