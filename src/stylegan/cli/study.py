"""`stylegan study`: the paper's tables on any data, one command each."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.studies.jobs import Job
    from stylegan.studies.plan import Plan


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "max_content_width": 110},
    epilog="""\b
Any setting of `stylegan train` may follow, such as --schedule.batch 32; it holds for all configurations.

\b
Examples:
  stylegan study table1 data/cells --kimg 1000 --out studies/cells
  stylegan study table2 data/cells --kimg 1000 --metrics fid10k --gpus 4 --out studies/mixing
  stylegan study table1 data/cells --resolution 16 --kimg 2 --width 16 --schedule.batch_by_resolution '{}' \\
      --metrics fid1k --features pixels --seeds 0 --out studies/toy
""",
)
@click.argument("table", metavar="table1|table2|table4", type=click.Choice(["table1", "table2", "table4"]))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder of the study.")
@click.option("--kimg", type=float, required=True, help="Length of each training (A: 12/25 of it, as in the paper).")
@click.option("--resolution", help="Train at a lower size than the data's, as 64 or WIDTHxHEIGHT.")
@click.option("--seeds", default="0,1,2", show_default=True, help="One training of each configuration per seed.")
@click.option("--configs", metavar="LIST", help="Only these, as A,B,F (table1), 0,90 (table2), style8 (table4).")
@click.option("--metrics", metavar="LIST", help="As fid10k,ppl10k_full,ls20k.  [default: those of the paper's table]")
@click.option("--features", metavar="NAME|FILE", help="One feature network for all metrics, as in evaluate.")
@click.option("--width", type=int, help="Channels and latents at most.  [default: the paper's 512]")
@click.option("--gamma", type=float, help="Weight of R1 where a configuration has it.  [default: by size]")
@click.option("--mirror/--no-mirror", default=False, show_default=True, help="Flip half of the images left-right.")
@click.option("--gpus", type=int, help="Trainings side by side, one per GPU; 0 = on the CPU.  [default: 1 if any]")
@click.option("--jobs", type=int, default=1, show_default=True, help="Trainings at a time on each GPU, or on the CPU.")
@click.option("--attributes", metavar="FILE.csv", type=click.Path(path_type=Path), help="For ls, as in evaluate.")
@click.option("--classifier-kimg", type=float, help="For ls, as in evaluate.")
@click.option("--weights", "weight_files", metavar="NAME=FILE", multiple=True, help="As in evaluate.")
@click.option("--eval-batch", type=int, help="Images per pass when measuring, as evaluate's --batch.")
@click.option("--cache", metavar="DIR|none", help="Where data statistics are kept, as in evaluate.")
@click.option("--dry-run", is_flag=True, help="Show what would be trained and measured, with every command.")
@click.pass_context
def command(ctx: click.Context, table: str, data: Path, out: Path, dry_run: bool, **options: Any) -> None:
    """Train the configurations of a table of the paper on DATA, measure them, and write the table.

    The same command again goes on where it stopped, and tries failed trainings again. Runs, tables (Markdown, JSON,
    CSV), sample sheets and plots are written into DIR; the paper's numbers stand beside.
    """
    plan = _plan(ctx, table, data, out, options)
    slots = _slots(options["gpus"], options["jobs"])
    if dry_run:
        _show(plan, slots[0].device)
        return
    _check_networks(plan, options)
    from stylegan.studies.runner import run_study

    count = len(plan.runs) * len(plan.seeds)
    click.echo(f"{plan.table.title}: {count} trainings of {plan.kimg:g} kimg in {len(slots)} at a time", err=True)

    def changed(jobs: list[Job]) -> None:
        _write(plan, jobs)

    with _display() as (say, show):
        outcome = run_study(plan, slots, say, changed, show)
    files = _write(plan, outcome.jobs, pictures=True)
    if outcome.stopped:
        click.echo(f"stopped; run the same command again to go on. So far: {files}", err=True)
        ctx.exit(130 if outcome.stopped == "SIGINT" else 143)
    click.echo(f"written: {files}")
    for job in outcome.failed:
        click.echo(f"failed: {job.name}: {job.problem} (see {job.folder})", err=True)
    if outcome.failed:
        click.echo(f"{len(outcome.failed)} of {count} failed; run the same command again to try them again", err=True)
        ctx.exit(1)


def _plan(ctx: click.Context, table: str, data: Path, out: Path, options: dict[str, Any]) -> Plan:
    from stylegan.config.overrides import parse_overrides
    from stylegan.data import open_or_prepare
    from stylegan.data.pyramid import parse_resolution
    from stylegan.studies import Choices, make_plan

    if not data.exists():
        raise UserError(f"{data}: no such data; give a prepared data set, or a folder or zip of images")
    changes = parse_overrides(ctx.args)
    seeds = _seeds(options["seeds"])
    size = parse_resolution(options["resolution"]) if options["resolution"] else None
    dataset = open_or_prepare(data)
    choices = Choices(
        (size, size) if isinstance(size, int) else size,
        seeds,
        options["configs"],
        options["metrics"] or "",
        changes,
        options["width"],
        options["gamma"],
        options["mirror"],
        options["features"],
        _measuring(options),
        _typed(ctx),
    )
    return make_plan(table, dataset, out, options["kimg"], choices)


def _seeds(text: str) -> list[int]:
    from stylegan.latents import parse_seeds

    return parse_seeds(text)


def _measuring(options: dict[str, Any]) -> list[str]:
    """Options that are passed on to `stylegan evaluate`."""
    words: list[str] = []
    for name, option in (
        ("attributes", "--attributes"),
        ("classifier_kimg", "--classifier-kimg"),
        ("eval_batch", "--batch"),
        ("cache", "--cache"),
    ):
        if options[name] is not None:
            words += [option, str(options[name])]
    for text in options["weight_files"]:
        words += ["--weights", text]
    return words


def _typed(ctx: click.Context) -> str:
    """The command as it was given."""
    words = ["stylegan", "study"]
    for param in ctx.command.params:
        value = ctx.params.get(str(param.name))
        if isinstance(param, click.Argument):
            words.append(str(value))
        elif param.name != "dry_run" and value not in (None, False, ()) and value != param.default:
            for one in value if isinstance(value, tuple) else (value,):
                words += [param.opts[0]] if one is True else [param.opts[0], str(one)]
    return shlex.join([*words, *ctx.args])


def _slots(gpus: int | None, jobs: int) -> Any:
    import torch

    from stylegan.studies.runner import make_slots

    found = torch.cuda.device_count()
    wanted = min(found, 1) if gpus is None else gpus
    if not 0 <= wanted <= found:
        raise UserError(f"--gpus {wanted}: this machine has {found} that PyTorch can use; give 0 for the CPU")
    return make_slots(wanted, jobs)


def _check_networks(plan: Plan, options: dict[str, Any]) -> None:
    """UserError, before hours of training, where a feature network is missing or the data has no attributes."""
    from stylegan.data import Dataset
    from stylegan.metrics.classifier import one_versus_rest, read_attributes
    from stylegan.metrics.features import open_features
    from stylegan.metrics.protocols import METRICS

    kinds = {column.kind for column in plan.columns}
    weights = {name: Path(path) for name, _, path in (text.partition("=") for text in options["weight_files"])}
    for spec in sorted({plan.features or METRICS[kind].network for kind in kinds - {"ls"}}):
        open_features(spec, (plan.channels, *plan.size), "cpu", weights)
    if "ls" in kinds:
        dataset = Dataset.open(plan.data)
        if options["attributes"] is None:
            one_versus_rest(dataset)
        else:
            read_attributes(options["attributes"], len(dataset))


def _show(plan: Plan, device: str) -> None:
    """Every command, and what a preset becomes."""
    from stylegan.studies.results import differences
    from stylegan.studies.runner import make_jobs

    for job in make_jobs(plan):
        click.echo(f"stylegan {shlex.join(job.train_command(device))}")
        click.echo(f"stylegan {shlex.join(job.measure_command(device))}")
    for sentence in differences(plan, {}):
        click.echo(f"note: {sentence}")


def _write(plan: Plan, jobs: list[Job], pictures: bool = False) -> str:
    """The tables as they stand, and pictures at the end; what was written, in words."""
    from stylegan.studies.pictures import files_of, write_pictures
    from stylegan.studies.results import Results, write_tables
    from stylegan.studies.runner import every_job

    results = Results(plan, every_job(plan, jobs))
    drawn: list[tuple[str, str]] = []
    if pictures:
        drawn, missing = write_pictures(results)
        if missing:
            click.echo(f"note: {missing}", err=True)
    write_tables(results, plan.out, drawn)
    return files_of(plan.out, drawn)


@contextmanager
def _display() -> Iterator[tuple[Callable[[str], None], Callable[[float, str], None] | None]]:
    """(say, show): lines on stderr, and on a terminal a bar over the whole study with the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False), None
        return
    columns = (BarColumn(30), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield (
            lambda text: bar.console.print(text, markup=False),
            lambda share, line: bar.update(task, completed=share, description=line),
        )
