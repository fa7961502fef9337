"""How many passes over large tensors a training step makes, so that no change doubles the traffic unseen.

Every operator that PyTorch runs in a half step on tensors of at least a quarter of the largest activation is counted,
with the bytes it reads and writes. tests/ops/traffic.json holds the counts; half a read of the largest activation more
fails, and so does less, as what was saved could else be lost again unseen. After a change that is meant to do either:

    python -m tests.ops.test_traffic
"""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stylegan.config.presets import preset
from stylegan.lod import nominal
from stylegan.ops import packed
from stylegan.ops.switch import using_ops
from stylegan.training.schedule import Point
from stylegan.training.step import MicroBatch, Trainer

STORED = Path(__file__).with_name("traffic.json")
SIDE, CHANNELS, BATCH = 32, 8, 4
LARGE = BATCH * CHANNELS * SIDE * SIDE // 4  # values
TOLERANCE = BATCH * CHANNELS * SIDE * SIDE * 4 // 2  # bytes: half of one read of the largest activation
MODES = ("reference", "fast", "packed")
Counts = dict[str, list[int]]  # operator -> [calls, bytes]


class Traffic(TorchDispatchMode):
    """Calls and bytes of every operator that reads or writes a large tensor; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns):
            large = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor) and t.numel() >= LARGE]
            if large and not func._schema.name.startswith(("aten::empty", "aten::new_empty", "aten::detach")):
                entry = self.counts[func._schema.name.removeprefix("aten::")]
                entry[0] += 1
                entry[1] += sum(t.numel() * t.element_size() for t in large)
        return out


def measured(mode: str) -> dict[str, Counts]:
    """{phase: counts} of a G step, a D step, and what R1 adds to it, at 32x32 with 8 channels."""
    widths = {"fmap_base": 256, "fmap_max": CHANNELS}
    config = preset(
        "tiny", SIDE, 3, 0,
        {"generator": {**widths, "w_dim": 16, "z_dim": 16, "mapping_width": 16}, "discriminator": widths,
         "loss": {"penalty_interval": 2, "r1_gamma": 10.0, "mixing": 1.0}},
    )  # fmt: skip
    trainer = Trainer(config)
    point = Point(0, 0.0, config.generator.top, nominal(config.generator.top), BATCH, 1e-3, 1e-3, 1.0, 1, 1)
    images = torch.zeros(BATCH, 3, SIDE, SIDE, dtype=torch.uint8)
    none = torch.zeros(BATCH, 0)
    parts = [MicroBatch(torch.arange(BATCH), images, none, none)]
    found = {}
    before = packed.pack_from(SIDE if mode == "packed" else 0)
    try:
        with using_ops("reference" if mode == "reference" else "fast"):
            trainer.step(point, 0, parts)
            for phase in ("D", "D and R1", "G"):
                trainer.d_steps = 0 if phase == "D and R1" else 1
                with Traffic() as traffic:
                    (trainer.g_step if phase == "G" else trainer.d_step)(point, BATCH, parts)
                found[phase] = {name: list(entry) for name, entry in sorted(traffic.counts.items())}
    finally:
        packed.pack_from(before)
    return found


def total(counts: Counts) -> tuple[int, int]:
    return sum(entry[0] for entry in counts.values()), sum(entry[1] for entry in counts.values())


def grown(now: Counts, then: Counts) -> str:
    """The operators that cost more now than then, most bytes first."""
    lines = []
    for name in sorted(now.keys() | then.keys(), key=lambda n: then.get(n, [0, 0])[1] - now.get(n, [0, 0])[1]):
        (calls, size), (calls0, size0) = now.get(name, [0, 0]), then.get(name, [0, 0])
        if calls > calls0 or size > size0:
            lines.append(f"  {name}: {calls0} -> {calls} calls, {size0 / 1e6:.2f} -> {size / 1e6:.2f} MB")
    return "\n".join(lines[:12])


@pytest.mark.parametrize("mode", MODES)
def test_a_step_makes_no_more_passes_than_it_did(mode: str) -> None:
    stored = json.loads(STORED.read_text())
    if stored["torch"] != ".".join(torch.__version__.split(".")[:2]):
        pytest.skip(f"counts were stored with PyTorch {stored['torch']}")
    for phase, now in measured(mode).items():
        then = stored["counts"][mode][phase]
        (calls, size), (calls0, size0) = total(now), total(then)
        how = (
            f"{mode}, {phase}: {calls:,} calls on large tensors, {size:,} bytes; stored {calls0:,} and {size0:,}.\n"
            f"More:\n{grown(now, then)}\nLess:\n{grown(then, now)}\nIf that is meant: python -m tests.ops.test_traffic"
        )
        assert abs(size - size0) <= TOLERANCE, how
        assert calls == calls0, how


def test_the_fast_forms_move_less() -> None:
    counts = json.loads(STORED.read_text())["counts"]
    for phase in ("D", "D and R1", "G"):
        assert total(counts["fast"][phase])[1] < total(counts["reference"][phase])[1]


def copying(function: Any) -> Any:
    """The function, after a copy of its first argument that nobody asked for."""
    return lambda x, *rest, **named: function(x.clone(), *rest, **named)


@pytest.mark.parametrize(
    ("where", "mode", "phase"),
    [
        ("stylegan.networks.discriminator.bias_activate", "fast", "D and R1"),
        ("stylegan.networks.discriminator.bias_activate", "reference", "D"),
        ("stylegan.networks.discriminator.conv_downscale_packed", "packed", "D and R1"),
        ("stylegan.networks.synthesis.style_epilogue", "reference", "G"),
        ("stylegan.networks.layers.to_rgb", "packed", "G"),
        ("stylegan.training.losses.squared_norm", "packed", "D and R1"),
        ("stylegan.training.losses.squared_norm", "fast", "D and R1"),
    ],
)
def test_one_added_copy_is_seen_and_named(where: str, mode: str, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = json.loads(STORED.read_text())["counts"][mode][phase]
    module, name = where.rsplit(".", 1)
    owner = importlib.import_module(module)
    monkeypatch.setattr(owner, name, copying(getattr(owner, name)))
    more = measured(mode)[phase]
    assert total(more)[1] > total(plain)[1] + TOLERANCE
    assert "clone" in grown(more, plain)


def update() -> None:
    """Stores the counts of now."""
    counts = {mode: measured(mode) for mode in MODES}
    version = ".".join(torch.__version__.split(".")[:2])
    STORED.write_text(json.dumps({"torch": version, "counts": counts}, indent=1) + "\n")
    for mode, phases in counts.items():
        for phase, found in phases.items():
            calls, size = total(found)
            print(f"{mode:>10} {phase:<9} {calls:>4} calls {size / 1e6:8.2f} MB")


if __name__ == "__main__":
    update()
