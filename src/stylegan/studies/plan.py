"""What a study is going to do: configurations, seeds and metrics, as data that is stored with it.

The presets of the paper are scaled to the data by the rules of `scaled`, and by nothing else; what the user
sets on top holds for all configurations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stylegan import lod as lods
from stylegan.config import Config
from stylegan.config.presets import PRESETS, Diff, merge, preset
from stylegan.data import Dataset
from stylegan.errors import UserError
from stylegan.snapshot import write_atomically
from stylegan.studies.tables import PAPER_KIMG, TABLES, Column, Row, Table, columns, pick_runs

# share of the training that the paper's schedules spend growing: 7 x 1,200 of 25,000 kimg, and A: 8 x 1,200 of 12,000
GROWING = {8: 8_400 / 25_000, 4: 9_600 / 12_000}
FIXED = ("table", "fingerprint", "size", "kimg", "changes", "gamma", "mirror", "features")


@dataclass
class Plan:
    """One study. size (height, width). changes: nested settings for all configurations, on top of `scaled`."""

    table: Table
    out: Path
    data: Path
    fingerprint: str
    size: tuple[int, int]
    channels: int
    kimg: float
    runs: list[str]
    seeds: list[int]
    columns: list[Column]
    changes: Diff = field(default_factory=dict)
    gamma: float | None = None  # R1 weight of the configurations that have R1, instead of the scaled one
    mirror: bool = False
    features: str | None = None
    measuring: list[str] = field(default_factory=list)  # further options of `stylegan evaluate`
    command: str = ""
    images: int = 0

    def config(self, run: str, seed: int) -> Config:
        """The complete configuration of one training."""
        return preset(self.table.runs[run].preset, self.size, self.channels, 0, self.settings(run, seed))

    def settings(self, run: str, seed: int) -> Diff:
        """The same as a difference to the preset, which is what `stylegan train` is given."""
        own = scaled(self.table.runs[run].preset, self.size, self.kimg)
        if self.gamma is not None and "loss" in own:
            own = merge(own, {"loss": {"r1_gamma": self.gamma}})
        return merge(merge(own, self.changes), {"training": {"seed": seed}, "data": {"mirror": self.mirror}})

    def folder(self, run: str, seed: int) -> Path:
        """The run folder of one training."""
        return self.out / "runs" / f"{run}-seed{seed}"

    def rows(self, run: str) -> list[Row]:
        """The rows that one training is measured for."""
        return [row for row in self.table.rows if row.run == run]

    def metrics(self, run: str) -> list[str]:
        """The full names of what is measured of one training."""
        return list(dict.fromkeys(column.metric(row) for row in self.rows(run) for column in self.columns))

    def record(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return {
            "format": "stylegan-study",
            "table": self.table.name,
            "data": str(self.data),
            "fingerprint": self.fingerprint,
            "size": list(self.size),
            "kimg": self.kimg,
            "changes": json.loads(json.dumps(self.changes)),
            "gamma": self.gamma,
            "mirror": self.mirror,
            "features": self.features,
            "runs": self.runs,
            "seeds": self.seeds,
            "metrics": list(dict.fromkeys(column.name for column in self.columns)),
            "command": self.command,
        }

    def store(self) -> None:
        """Writes study.json, or checks that the folder's study is this one; runs and seeds may be added to it.

        UserError names what differs.
        """
        path, new = self.out / "study.json", self.record()
        if path.exists():
            try:
                old = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(f"{path}: cannot be read ({error}); choose another --out") from None
            differing = [name for name in FIXED if old.get(name) != new[name]]
            if differing:
                was = ", ".join(f"{name} was {old.get(name)!r} and is now {new[name]!r}" for name in differing)
                raise UserError(f"{self.out}: holds another study: {was}; repeat its settings, or choose another --out")
            new["runs"] = [run for run in self.table.runs if run in {*self.runs, *old.get("runs", [])}]
            new["seeds"] = sorted({*self.seeds, *old.get("seeds", [])})
        write_atomically(path, json.dumps(new, indent=1).encode())

    def all_measured(self) -> tuple[list[str], list[int]]:
        """(configurations, seeds) of everything this folder's study has been asked for so far."""
        stored = json.loads((self.out / "study.json").read_text(encoding="utf-8"))
        return list(stored["runs"]), list(stored["seeds"])


def scaled(preset_name: str, size: tuple[int, int], kimg: float) -> Diff:
    """What a preset of the paper becomes for images of another size and a training of another length.

    Length: kimg for all, 12/25 of it for configuration A, as in the paper, where "longer training" is part of B.
    Growing: the same share of the training as in the paper, in phases of equal length. R1: the weight of `auto` for
    the size, 10 at 1024x1024, where the preset has R1 at all. EMA: half-life of at most 10 kimg, at most 1/100 of
    the length. Widths, batches and learning rates by resolution stay the paper's.
    """
    base = PRESETS[preset_name][1]
    schedule = base.get("schedule", {})
    _, _, top = lods.split_size(*size)
    side = lods.nominal(top)
    first = min(int(schedule.get("initial_resolution", 8)), side)
    total = kimg * float(schedule.get("total_kimg", PAPER_KIMG)) / PAPER_KIMG
    steps = (side // first).bit_length() - 1
    phase = GROWING[4 if schedule.get("initial_resolution") == 4 else 8] * total / (2 * steps) if steps else 0.0
    diff: Diff = {
        "schedule": {
            "total_kimg": round(total, 6),
            "initial_resolution": first,
            "stable_kimg": round(phase, 6),
            "fade_kimg": round(phase, 6),
            "tick_kimg": max(0.01, round(total / 40, 3)),
            "tick_kimg_by_resolution": {},
        },
        "training": {"ema_kimg": min(10.0, max(0.01, round(total / 100, 4))), "snapshot_ticks": 1000},
    }
    if base.get("loss", {}).get("r1_gamma", 10.0) > 0:
        diff["loss"] = {"r1_gamma": round(max(0.5, 10 * (side / 1024) ** 0.5), 1)}
    return diff


def varied(table: Table) -> set[str]:
    """Settings in which the table's presets differ, dotted: what a study is about, and may not set for all."""
    each = [_dotted(PRESETS[row.preset][1]) for row in table.runs.values()]
    names = {name for one in each for name in one}
    return {name for name in names if len({json.dumps(one.get(name)) for one in each}) > 1}


def _dotted(diff: Diff) -> dict[str, Any]:
    return {f"{section}.{name}": value for section, values in diff.items() for name, value in values.items()}


@dataclass
class Choices:
    """What a user may choose about a study, beyond table, data and length.

    resolution: (height, width), None = the data's. runs: configurations, None = all. metrics: '' = the table's own.
    changes: settings for all configurations. width: channels at most, instead of the paper's 512; fmap_base, z, w and
    the mapping network follow in proportion. gamma: R1 weight of the configurations that have R1. features,
    measuring: as in `Plan`. command: what was typed.
    """

    resolution: tuple[int, int] | None = None
    seeds: Sequence[int] = (0, 1, 2)
    runs: str | None = None
    metrics: str = ""
    changes: Diff = field(default_factory=dict)
    width: int | None = None
    gamma: float | None = None
    mirror: bool = False
    features: str | None = None
    measuring: list[str] = field(default_factory=list)
    command: str = ""


def make_plan(
    table_name: str,
    dataset: Dataset,
    out: str | Path,
    kimg: float,
    choices: Choices | None = None,
) -> Plan:
    """A checked plan. UserError for what does not fit, before anything is trained."""
    if table_name not in TABLES:
        raise UserError(f"study {table_name!r}: must be one of {', '.join(TABLES)}")
    table, own = TABLES[table_name], choices or Choices()
    if kimg <= 0:
        raise UserError(f"--kimg {kimg:g}: must be above 0")
    if not own.seeds or len(set(own.seeds)) != len(own.seeds):
        raise UserError("--seeds: give each seed once, such as 0,1,2")
    if dataset.path is None:
        raise UserError("a study needs a data set on disk: prepare it first")
    size = own.resolution or (dataset.size[0], dataset.size[1])
    if size not in [(h, w) for h, w in dataset.levels]:
        known = ", ".join(f"{w}x{h}" for h, w in dataset.levels)
        raise UserError(f"--resolution {size[1]}x{size[0]}: the data set has the sizes {known}; choose one of them")
    measured = columns(table, own.metrics)
    if not own.metrics and dataset.num_classes < 2 and "--attributes" not in own.measuring:
        measured = [column for column in measured if column.kind != "ls"]
    plan = Plan(
        table,
        Path(out),
        dataset.path.resolve(),
        dataset.fingerprint,
        size,
        dataset.channels,
        float(kimg),
        pick_runs(table, own.runs),
        list(own.seeds),
        measured,
        _changes(table, own),
        own.gamma,
        own.mirror,
        own.features,
        own.measuring,
        own.command,
        len(dataset),
    )
    for run in plan.runs:
        plan.config(run, plan.seeds[0])  # raises for settings that do not fit each other
    return plan


def _changes(table: Table, own: Choices) -> Diff:
    """The settings for all configurations. UserError where they are what the table compares."""
    names = _dotted(own.changes)
    taken = sorted(varied(table) & {*names} | {name for name in names if name.endswith((".seed", ".path"))})
    if taken:
        hint = {"loss.r1_gamma": "; use --gamma", "schedule.total_kimg": "; use --kimg"}.get(taken[0], "")
        raise UserError(f"--{taken[0]}: is what {table.name} compares, or is set by the study itself{hint}")
    if own.width is None:
        return dict(own.changes)
    if own.width < 1:
        raise UserError(f"--width {own.width}: must be 1 or more")
    maps = {"fmap_base": 16 * own.width, "fmap_max": own.width}
    latent = {"z_dim": own.width, "w_dim": own.width, "mapping_width": own.width}
    return merge({"generator": {**maps, **latent}, "discriminator": maps}, own.changes)
