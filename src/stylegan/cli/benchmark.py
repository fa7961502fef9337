"""`stylegan benchmark`: speed of training, drawing, operators and data beside what the device allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stylegan.errors import UserError


@click.command("benchmark")
@click.argument("what", type=click.Choice(["train", "generate", "ops", "data", "schedule"]), required=False)
@click.option("--preset", "preset_name", default="ffhq1024", show_default=True, help="Networks and schedule.")
@click.option("--schedule", "scheduled", metavar="PRESET", help="The same as: schedule --preset PRESET.")
@click.option("--resolution", default="1024", show_default=True, help="Full size of the networks: 256 or WIDTHxHEIGHT.")
@click.option("--levels", help="Sides to measure, as 8,64,1024.  [default: the full size; for schedule: all]")
@click.option("--batch", type=int, help="Images per step.  [default: the schedule's]")
@click.option("--precision", type=click.Choice(["fp32", "tf32", "bf16"]), default="fp32", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--seconds", "budget", default=3.0, show_default=True, help="Time for each measurement.")
@click.option("--graphs", type=click.Choice(["auto", "on", "off"]), default="auto", help="CUDA graphs, for train.")
@click.option("--set", "folder", type=click.Path(path_type=Path), help="Prepared set, for data.  [default: synthetic]")
@click.option("--threads", default=2, show_default=True, help="Reading threads, for data.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the table as JSON.")
def command(
    what: str | None,
    preset_name: str,
    scheduled: str | None,
    resolution: str,
    levels: str | None,
    batch: int | None,
    precision: str,
    device: str,
    budget: float,
    graphs: str,
    folder: Path | None,
    threads: int,
    json_file: Path | None,
) -> None:
    """Measure images per second, memory, and the share of the device's limit that is reached.

    WHAT is train (the default: one D step, EMA, one G step; data on the device), generate (mapping included), ops (fast
    against reference forms), data (batches from a prepared set on the disk, at each of its sizes) or schedule
    (every phase, and the hours of the whole training).
    """
    from stylegan.benchmark import measure
    from stylegan.benchmark.clock import measure_limits
    from stylegan.cli._tables import show
    from stylegan.config.presets import preset
    from stylegan.data.pyramid import parse_resolution
    from stylegan.distributed import choose_device
    from stylegan.ops.switch import describe, ops_mode, using_ops

    if scheduled is not None:
        if what not in (None, "schedule"):
            raise UserError(f"--schedule {scheduled} with {what}: it measures a schedule; leave out one of them")
        what, preset_name = "schedule", scheduled
    what = what or "train"
    torch_device = choose_device(device)
    size = parse_resolution(resolution)
    config = preset(preset_name, size, changes={"training": {"precision": precision, "graphs": graphs}})
    if what == "data":
        rows = _data(config, folder, levels, batch, threads, budget)
        show(_table(rows))
        _write(json_file, {"threads": threads, "rows": [row.as_dict() for row in rows]})
        return
    limits = measure_limits(torch_device, precision)
    click.echo(
        f"{limits.device}: copies {limits.bytes_per_second / 1e9:,.0f} GB/s, "
        f"multiplies {limits.flops / 1e12:,.2f} TFLOP/s ({precision})"
    )
    with using_ops("fast" if ops_mode() == "auto" else ops_mode()):
        click.echo(f"operators: {describe(torch_device)}")
    rows = []
    if what == "ops":
        rows = list(measure.operators(torch_device, precision, budget))
    else:
        run = measure.generate if what == "generate" else measure.training_step
        chosen = _levels(levels, config, what)
        for level in chosen:
            images = batch or config.schedule.batch_by_resolution.get(4 << level, config.schedule.batch)
            rows.append(run(config, level, images, torch_device, limits, budget))
    show(_table(rows))
    answer: dict[str, Any] = {"limits": vars(limits), "preset": preset_name, "rows": [row.as_dict() for row in rows]}
    if what in ("train", "schedule") and batch is None:  # for the first time-left of such a training
        measure.remember_rates(config, torch_device, dict(zip(chosen, rows, strict=True)))
    if what == "schedule":
        rates = {level: row.images_per_second for level, row in zip(chosen, rows, strict=True)}
        answer["hours"] = measure.predict_hours(config, rates)
        kimg = config.schedule.total_kimg
        click.echo(f"whole schedule, {kimg:g} kimg: {answer['hours']:.1f} hours on this device")
    _write(json_file, answer)


def _write(file: Path | None, answer: dict[str, Any]) -> None:
    if file is not None:
        from stylegan.snapshot import write_atomically

        write_atomically(file, json.dumps(answer, indent=1).encode())


def _data(
    config: Any, folder: Path | None, levels: str | None, batch: int | None, threads: int, budget: float
) -> list[Any]:
    """A row per size of the set in the folder, or of a synthetic one of the configuration's size."""
    import tempfile

    from stylegan.benchmark import loading
    from stylegan.data.dataset import Dataset

    if threads < 1:
        raise UserError(f"--threads {threads}: must be at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            dataset = loading.synthetic(Path(temporary) / "set", max(config.generator.resolution))
        else:
            dataset = Dataset.open(folder)
        chosen = dataset.levels
        if levels is not None:
            asked = _levels(levels, config, "data")
            chosen = [dataset.levels[level] for level in asked if level < len(dataset.levels)]
        return [loading.loading(dataset, s, batch or loading.batch_of(config, s), threads, budget) for s in chosen]


def _levels(text: str | None, config: Any, what: str) -> list[int]:
    top = config.generator.top
    if text is None:
        first = config.schedule.initial_resolution.bit_length() - 3
        return list(range(first, top + 1)) if what == "schedule" else [top]
    levels = []
    for part in text.split(","):
        side = int(part) if part.strip().isdigit() else 0
        level = side.bit_length() - 3
        if side < 4 or side & (side - 1) or level > top:
            raise UserError(f"--levels {text}: {part!r} must be a power of two from 4 to {4 << top}")
        levels.append(level)
    return levels


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
