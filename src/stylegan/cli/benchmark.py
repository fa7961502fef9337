"""`stylegan benchmark`: speed of training, drawing, operators and data beside what the device allows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.errors import UserError
from stylegan.lod import nominal

if TYPE_CHECKING:
    from stylegan.benchmark.measure import Row
    from stylegan.config import Config
    from stylegan.data.dataset import Dataset


@click.command("benchmark")
@click.argument("what", type=click.Choice(["train", "generate", "ops", "data", "schedule"]), required=False)
@click.option("--preset", "preset_name", default="ffhq1024", show_default=True, help="Networks and schedule; auto: as "
              "`stylegan train` chooses them for the set of --set.")  # fmt: skip
@click.option("--schedule", "scheduled", metavar="PRESET", help="The same as: schedule --preset PRESET.")
@click.option("--set", "folder", type=click.Path(path_type=Path), help="Images or a prepared set, whose size and "
              "channels the networks have; for data, what is read.  [default: none; for data: synthetic]")  # fmt: skip
@click.option("--resolution", help="Full size of the networks, as 256 or WIDTHxHEIGHT.  [default: the set's; 1024]")
@click.option("--levels", help="Sides to measure, as 8,64,1024.  [default: the full one; for schedule, data: all]")
@click.option("--batch", type=int, help="Images per step.  [default: the schedule's]")
@click.option("--precision", type=click.Choice(["fp32", "tf32", "bf16"]), help="[default: the preset's]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--seconds", "budget", default=3.0, show_default=True, help="Time for each measurement.")
@click.option("--graphs", type=click.Choice(["auto", "on", "off"]), default="auto", help="CUDA graphs, for train.")
@click.option("--threads", default=2, show_default=True, help="Reading threads, for data.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the table as JSON.")
def command(
    what: str | None,
    preset_name: str,
    scheduled: str | None,
    folder: Path | None,
    resolution: str | None,
    levels: str | None,
    batch: int | None,
    precision: str | None,
    device: str,
    budget: float,
    graphs: str,
    threads: int,
    json_file: Path | None,
) -> None:
    """Measure images per second, memory, and the share of the device's limit that is reached.

    WHAT is train (the default: one D step, EMA, one G step; data on the device), generate (mapping included), ops (fast
    against reference forms), data (batches from a prepared set on the disk, at each of its sizes) or schedule
    (every phase, and the hours of the whole training). What train and schedule measure is kept, and tells the next
    training of the kind how long it will take.
    """
    from stylegan.benchmark import measure
    from stylegan.benchmark.clock import measure_limits
    from stylegan.cli._drawing import check_output
    from stylegan.cli._tables import show
    from stylegan.distributed import choose_device
    from stylegan.ops.switch import describe, ops_mode, using_ops

    if scheduled is not None:
        if what not in (None, "schedule"):
            raise UserError(f"--schedule {scheduled} with {what}: it measures a schedule; leave out one of them")
        what, preset_name = "schedule", scheduled
    what = what or "train"
    for option, value in (("--batch", batch), ("--threads", threads)):
        if value is not None and value < 1:
            raise UserError(f"{option} {value}: must be at least 1")
    if not 0 < budget < math.inf:
        raise UserError(f"--seconds {budget:g}: must be a number of seconds above 0")
    if json_file is not None:
        check_output(json_file, (".json",))
    torch_device = choose_device(device)
    config, dataset = _config(preset_name, folder, resolution, device, precision, graphs)
    chosen = _levels(levels, config, what)
    if what == "data":
        answer = _data(config, dataset, chosen, batch, threads, budget)
        show(_table(answer["rows"]))
        _write(json_file, answer)
        return
    used = config.training.precision
    limits = measure_limits(torch_device, used)
    click.echo(
        f"{limits.device}: copies {limits.bytes_per_second / 1e9:,.0f} GB/s, "
        f"multiplies {limits.flops / 1e12:,.2f} TFLOP/s ({used})"
    )
    with using_ops("fast" if ops_mode() == "auto" else ops_mode()):
        click.echo(f"operators: {describe(torch_device)}")
    if what == "ops":
        rows = _each(measure.operators(torch_device, used, limits, budget), measure.operator_count(torch_device))
    else:
        run = measure.generate if what == "generate" else measure.training_step
        sizes = {k: batch or config.schedule.batch_by_resolution.get(nominal(k), config.schedule.batch) for k in chosen}
        rows = _each((run(config, k, n, torch_device, limits, budget) for k, n in sizes.items()), len(sizes))
    show(_table(rows))
    answer = {"limits": vars(limits), "preset": preset_name, "rows": rows}
    if what in ("train", "schedule") and batch is None:  # for the first time-left of such a training
        measure.remember_rates(config, torch_device, dict(zip(chosen, rows, strict=True)))
    if what == "schedule":
        rates = {level: row.images_per_second for level, row in zip(chosen, rows, strict=True)}
        answer["hours"] = measure.predict_hours(config, rates)
        kimg = config.schedule.total_kimg
        click.echo(f"whole schedule, {kimg:g} kimg: {answer['hours']:.1f} hours on this device")
    _write(json_file, answer)


def _each(rows: Iterable[Row], count: int) -> list[Row]:
    """The measurements as they are made, with a bar."""
    from stylegan.cli._drawing import progress

    made: list[Row] = []
    with progress("measuring", count, rate=False) as tell:
        for row in rows:
            made.append(row)
            tell(len(made), count)
    return made


def _config(
    name: str, folder: Path | None, resolution: str | None, device: str, precision: str | None, graphs: str
) -> tuple[Config, Dataset | None]:
    """What is measured: a preset at a size, or what `stylegan train` would make of a set, and that set."""
    from stylegan.config.presets import preset
    from stylegan.data.pyramid import parse_resolution

    training: dict[str, Any] = {"graphs": graphs} | ({"precision": precision} if precision else {})
    if folder is not None:
        from stylegan.cli.configuring import configure

        setup = configure(folder, None, name, {"training": training}, resolution, device=device, tell=True)
        return setup.config, setup.dataset
    if name == "auto":
        raise UserError("--preset auto: is made for a data set; name it with --set DATA, or name another preset")
    return preset(name, parse_resolution(resolution or "1024"), changes={"training": training}), None


def _write(file: Path | None, answer: dict[str, Any]) -> None:
    if file is not None:
        from stylegan.snapshot import write_atomically

        plain = answer | {"rows": [row.as_dict() for row in answer["rows"]]}
        write_atomically(file, json.dumps(plain, indent=1).encode())


def _data(
    config: Config, dataset: Dataset | None, levels: list[int], batch: int | None, threads: int, budget: float
) -> dict[str, Any]:
    """A row per size of the set, or of a synthetic one of the configuration's size."""
    import tempfile

    from stylegan.benchmark import loading

    with tempfile.TemporaryDirectory() as temporary:
        if dataset is None:
            dataset = loading.synthetic(Path(temporary) / "set", max(config.generator.resolution))
        limits = loading.host_limits()
        click.echo(f"{limits.device}: copies {limits.bytes_per_second / 1e9:,.0f} GB/s in memory")
        sizes = [dataset.levels[level] for level in levels]
        batches = {size: batch or loading.batch_of(config, size) for size in sizes}
        made = (loading.loading(dataset, s, n, threads, limits, budget) for s, n in batches.items())
        return {"limits": vars(limits), "threads": threads, "rows": _each(made, len(batches))}


def _levels(text: str | None, config: Config, what: str) -> list[int]:
    top = config.generator.top
    if text is None:
        first = config.schedule.initial_resolution.bit_length() - 3 if what == "schedule" else 0
        return list(range(first, top + 1)) if what in ("schedule", "data") else [top]
    levels = []
    for part in text.split(","):
        side = int(part) if part.strip().isdigit() else 0
        level = side.bit_length() - 3
        if side < 4 or side & (side - 1) or level > top:
            raise UserError(f"--levels {text}: {part!r} must be a power of two from 4 to {4 << top}")
        levels.append(level)
    return list(dict.fromkeys(levels))


def _table(rows: list[Any]) -> Any:
    """The rows, with the columns that any of them fills."""
    from rich.table import Table

    columns = [
        ("what", lambda r: r.what),
        ("size", lambda r: r.resolution),
        ("batch", lambda r: str(r.batch)),
        ("precision", lambda r: r.precision),
        ("ms", lambda r: f"{r.milliseconds:.2f}"),
        ("img/s", lambda r: f"{r.images_per_second:,.1f}"),
        ("GB", lambda r: f"{r.memory_gb:.2f}" if r.memory_gb else ""),
        ("floor ms", lambda r: f"{r.floor_ms:.2f}" if r.floor_ms else ""),
        ("of floor", lambda r: f"{100 * r.reached:.0f} %" if r.reached else ""),
        ("reference ms", lambda r: f"{r.extra['reference_ms']:.2f}" if "reference_ms" in r.extra else ""),
        ("ratio", lambda r: f"{r.extra['ratio']:.2f}" if "ratio" in r.extra else ""),
        ("MB/s", lambda r: f"{r.extra['megabytes_per_second']:,.0f}" if "megabytes_per_second" in r.extra else ""),
    ]
    table = Table(box=None)
    filled = [(name, text) for name, text in columns if any(text(row) for row in rows)]
    for name, _ in filled:
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        table.add_row(*(text(row) for _, text in filled))
    return table
