"""Runs small enough to repeat many times: 16x16 images in 3 classes, 120 images of training, growing from 4x4."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylegan.config import Config
from stylegan.config.presets import Diff, merge, preset
from stylegan.data.dataset import Dataset
from stylegan.training import Result, checkpoint, train

TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs")
WIDTHS: Diff = {"fmap_base": 64, "fmap_max": 8}
# 4x4 stable to 24 images, 8x8 fades in to 48, stable to 72, 16x16 fades in to 96, stable to 120
SMALL: Diff = {
    "generator": {**WIDTHS, "z_dim": 8, "w_dim": 8, "mapping_width": 8, "mapping_layers": 2},
    "discriminator": WIDTHS,
    "data": {"mirror": True},
    "schedule": {
        "total_kimg": 0.12, "stable_kimg": 0.024, "fade_kimg": 0.024, "initial_resolution": 4, "repeats": 2,
        "batch": 4, "batch_by_resolution": {}, "tick_kimg": 0.03, "tick_kimg_by_resolution": {},
    },
    "training": {"grid": [2, 2], "ema_kimg": 0.05, "seed": 5},
}  # fmt: skip


@cache
def pictures(channels: int = 1, classes: int = 3, count: int = 20) -> Dataset:
    """Noise with a class-dependent brightness."""
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, classes, count) if classes else None
    images = rng.integers(0, 200, (count, channels, 16, 16), dtype=np.uint8)
    if kinds is not None:
        images += (kinds[:, None, None, None] * 20).astype(np.uint8)
    return Dataset.from_arrays(images, kinds)


def small(labels: int = 3, channels: int = 1, **changes: Any) -> Config:
    """The small configuration with changes by section: small(loss={"mixing": 0.0})."""
    diff = SMALL
    for section, values in changes.items():
        diff = merge(diff, {section: values})
    return preset("tiny", 16, channels, labels, diff)


def go(config: Config, run: Path, stop_kimg: float | None = None, **options: Any) -> Result:
    """Trains quietly, on the CPU unless a device is named."""
    data = options.pop("dataset", None) or pictures(config.generator.channels)
    device, quiet = options.pop("device", "cpu"), options.pop("quiet", True)
    return train(config, run, device, data, stop_kimg, quiet=quiet, **options)


@dataclass
class Outcome:
    """Everything a run leaves behind that must be the same however often it was stopped."""

    tensors: dict[str, torch.Tensor]
    counters: dict[str, int]
    stats: list[dict[str, Any]]  # without "time"
    grids: dict[str, bytes]
    model: bytes  # the tensors of model.safetensors


def read_stats(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


def outcome(run: Path) -> Outcome:
    loaded, complaints = checkpoint.latest(run / "checkpoints")
    assert loaded is not None
    assert not complaints
    stats = read_stats(run)
    for entry in stats:
        del entry["time"]
    model = (run / "model.safetensors").read_bytes()
    header = int.from_bytes(model[:8], "little")
    return Outcome(
        loaded.tensors,
        loaded.counters,
        stats,
        {path.name: path.read_bytes() for path in sorted((run / "grids").glob("*.png"))},
        model[8 + header :],
    )


def assert_same(a: Outcome, b: Outcome) -> None:
    """Bit-equal in everything."""
    assert a.tensors.keys() == b.tensors.keys()
    different = [name for name in a.tensors if not torch.equal(a.tensors[name], b.tensors[name])]
    assert not different
    assert a.counters == b.counters
    assert a.stats == b.stats
    assert a.grids == b.grids
    assert a.model == b.model


def assert_close(a: Outcome, b: Outcome) -> None:
    """Equal up to the rounding of sums in another order, which training amplifies.

    Most of all before G's first instance norm: the constant is flat at first, so that norm divides by next to nothing.
    """
    assert a.tensors.keys() == b.tensors.keys()
    for part in ("G.", "D.", "G_ema."):
        ours, theirs = ([o.tensors[n] for n in a.tensors if n.startswith(part)] for o in (a, b))
        difference = sum(float((x - y).square().sum()) for x, y in zip(ours, theirs, strict=True)) ** 0.5
        size = sum(float(x.square().sum()) for x in ours) ** 0.5
        assert difference < 1e-3 * size, part
    for name, tensor in a.tensors.items():
        if (
            name.startswith(("G.", "D.", "G_ema."))
            and "synthesis.input" not in name
            and "synthesis.layers.0." not in name
        ):
            assert float((b.tensors[name] - tensor).norm()) <= 0.02 * float(tensor.norm()) + 1e-3, name
    assert a.counters == b.counters
    for ours, theirs in zip(a.stats, b.stats, strict=True):
        assert ours["schedule"] == theirs["schedule"]
        for key, value in ours["loss"].items():
            tolerance = 1e-4 if ours["tick"] == 1 else 0.02
            assert abs(value - theirs["loss"][key]) <= tolerance * max(1.0, abs(value)), (ours["tick"], key)
