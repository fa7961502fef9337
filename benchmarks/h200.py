"""All that is to be measured on a GPU, in the order of what it is worth, every result written at once.

    python benchmarks/h200.py OUT [--tiny] [--only train,generate] [--sides 1024,512] [--share 4] [--limit 420]

Run by benchmarks/h200.sh on the lent machine; `--tiny` runs the same code on a CPU in a minute, to see that it works.
A measurement that fails is noted with its error and the next one begins; none begins after --limit seconds.
OUT/results.json is rewritten after each, OUT/results.txt has a line for each, OUT/profile-*.txt the kernels of a step.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from stylegan import lod as lods
from stylegan.benchmark import measure
from stylegan.benchmark.clock import Limits, measure_limits, seconds
from stylegan.config import Config
from stylegan.config.presets import preset
from stylegan.distributed import Processes
from stylegan.networks import Generator
from stylegan.ops import fused, packed
from stylegan.ops.style import bias_activate, style_epilogue
from stylegan.ops.switch import describe, using_ops
from stylegan.training import schedule
from stylegan.training.step import MicroBatch, Trainer

# side -> batch of the table in docs/performance.md
BATCHES = {1024: 16, 512: 32, 256: 64, 128: 32, 64: 32, 32: 64, 16: 128, 8: 256}


class Session:
    """What is measured on, and where results go."""

    def __init__(self, out: Path, tiny: bool, limit: float, sides: list[int], share: int) -> None:
        self.out, self.tiny, self.end, self.sides, self.share = out, tiny, time.monotonic() + limit, sides, share
        self.device = torch.device("cpu" if tiny else "cuda")
        self.results: list[dict[str, Any]] = []
        self.limits: dict[str, Limits] = {}
        self.budget = 0.05 if tiny else 1.5
        out.mkdir(parents=True, exist_ok=True)

    def config(self, precision: str = "bf16", graphs: str = "auto") -> Config:
        changes = {"training": {"precision": precision, "graphs": graphs}}
        return preset("tiny" if self.tiny else "ffhq1024", 32 if self.tiny else 1024, changes=changes)

    def limit(self, precision: str) -> Limits:
        if precision not in self.limits:
            self.limits[precision] = measure_limits(self.device, precision, self.budget)
        return self.limits[precision]

    def note(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Runs one measurement and writes what came out, or what went wrong."""
        begin, found = time.monotonic(), {}
        if begin > self.end:
            found = {"skipped": "no time left"}
        else:
            try:
                found = work()
            except Exception as error:
                found = {"error": f"{type(error).__name__}: {error}"[:500], "where": traceback.format_exc()[-1500:]}
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        entry = {"name": name, "took": round(time.monotonic() - begin, 1), **found}
        self.results.append(entry)
        shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in entry.items() if k not in ("where", "extra")}
        line = "  ".join(f"{k} {v}" for k, v in shown.items())
        print(line, flush=True)
        with (self.out / "results.txt").open("a") as file:
            file.write(line + "\n")
        limits = {k: vars(v) for k, v in self.limits.items()}
        (self.out / "results.json").write_text(json.dumps({"limits": limits, "results": self.results}, indent=1))
        return entry


@contextmanager
def packing(side: int) -> Iterator[None]:
    before = packed.pack_from(side)
    try:
        yield
    finally:
        packed.pack_from(before)


def train(s: Session, side: int, batch: int, precision: str = "bf16", graphs: str = "auto", pack: int = -1) -> None:
    def work() -> dict[str, Any]:
        with packing(pack):
            config, level = s.config(precision, graphs), side.bit_length() - 3
            return measure.training_step(config, level, batch, s.device, s.limit(precision), s.budget).as_dict()

    s.note(f"train {side} b{batch} {precision} graphs {graphs} pack {pack}", work)


def generate(s: Session, side: int, batch: int, precision: str = "bf16", pack: int = -1) -> None:
    def work() -> dict[str, Any]:
        with packing(pack):
            level = side.bit_length() - 3
            return measure.generate(s.config(precision), level, batch, s.device, s.limit(precision), s.budget).as_dict()

    s.note(f"generate {side} b{batch} {precision} pack {pack}", work)


def stage_train(s: Session) -> None:
    for side, batch in {32: 4, 8: 4}.items() if s.tiny else BATCHES.items():
        if side in s.sides:
            train(s, side, batch)


def stage_generate(s: Session) -> None:
    for side, batch in [(32, 4), (16, 1)] if s.tiny else [(1024, 32), (256, 32), (1024, 1), (256, 1)]:
        generate(s, side, batch)


def stage_variants(s: Session) -> None:
    """Which of the choices pays where."""
    for side in (16, 32) if s.tiny else (8, 32, 64, 128, 256, 1024):
        train(s, side, 4 if s.tiny else BATCHES[side], graphs="off")
    for pack in (0, 16) if s.tiny else (0, 512, 256):
        train(s, 32 if s.tiny else 1024, 4 if s.tiny else 16, pack=pack)
    if not s.tiny:
        train(s, 256, 64, pack=256)
        generate(s, 1024, 32, pack=0)
        generate(s, 1024, 32, pack=512)
        train(s, 1024, 16, precision="tf32")
        train(s, 256, 64, precision="tf32")


def stage_schedule(s: Session) -> None:
    """Hours of the whole FFHQ schedule at the published batches of 8 GPUs, from every phase.

    Each phase at its batch divided by `share`: what one of so many GPUs does, but for the sum of gradients over them.
    """
    config, rates = s.config(), {}
    first = config.schedule.initial_resolution.bit_length() - 3
    for level in range(first, config.generator.top + 1):
        batch = config.schedule.batch_by_resolution.get(lods.nominal(level), config.schedule.batch) // s.share

        def work(level: int = level, batch: int = batch) -> dict[str, Any]:
            found = measure.training_step(
                s.config(), level, min(batch, 4) if s.tiny else batch, s.device, s.limit("bf16"), s.budget
            )
            rates[level] = found.images_per_second * s.share
            return found.as_dict()

        s.note(f"phase {4 << level} b{batch}", work)
    s.note("schedule", lambda: {"hours": measure.predict_hours(config, rates), "levels": len(rates)})


def stage_profile(s: Session) -> None:
    """Kernels of a step, and of drawing a batch: time, launches, the ones that take most."""
    for side, batch in [(32, 4)] if s.tiny else [(1024, 16), (512, 32), (256, 64), (32, 64)]:
        if side in s.sides:
            s.note(f"profile {side} b{batch}", lambda side=side, batch=batch: _profile_step(s, side, batch))  # type: ignore[misc]
    for side, batch in [(32, 4)] if s.tiny else [(1024, 32), (256, 32)]:
        if side in s.sides:
            s.note(f"profile draw {side} b{batch}", lambda side=side, batch=batch: _profile_draw(s, side, batch))  # type: ignore[misc]


def _profile_step(s: Session, side: int, batch: int) -> dict[str, Any]:
    config, level = s.config(graphs="off"), side.bit_length() - 3
    trainer = Trainer(config, Processes(device=s.device))
    lod = float(config.generator.top - level)
    point = schedule.Point(0, lod, level, side, batch, 1e-3, 1e-3, 1.0, 1, 1)
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=s.device)
    none = torch.zeros(batch, 0, device=s.device)
    parts = [MicroBatch(torch.arange(batch), images, none, none)]
    counter = itertools.count()
    return _profile(s, f"profile-{side}.txt", lambda: trainer.step(point, next(counter) * batch, parts))


def _profile_draw(s: Session, side: int, batch: int) -> dict[str, Any]:
    config = s.config()
    g = Generator(config.generator).to(s.device).eval()
    g.synthesis.compute_dtype = torch.bfloat16
    g.lod = float(config.generator.top - (side.bit_length() - 3))
    z = torch.randn(batch, config.generator.z_dim, device=s.device)
    with torch.inference_mode():
        return _profile(s, f"profile-draw-{side}.txt", lambda: g(z))


def _profile(s: Session, file: str, work: Callable[[], object], steps: int = 3) -> dict[str, Any]:
    cuda = s.device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * cuda
    with using_ops("fast"):
        for _ in range(3):
            work()
        with torch.profiler.profile(activities=kinds) as trace:
            for _ in range(steps):
                work()
            if cuda:
                torch.cuda.synchronize()
    kernels: dict[str, list[float]] = {}
    for event in trace.events():
        on_device = "CUDA" in str(event.device_type)
        if on_device or not cuda:
            time_us = event.self_device_time_total if cuda else event.self_cpu_time_total
            entry = kernels.setdefault(event.name[:110], [0.0, 0.0])
            entry[0] += time_us / steps
            entry[1] += 1 / steps
    ranked = sorted(kernels.items(), key=lambda item: -item[1][0])
    total = sum(entry[0] for entry in kernels.values())
    lines = [f"{e[0] / 1e3:9.3f} ms {100 * e[0] / max(total, 1e-9):5.1f} % {e[1]:8.1f} calls  {n}" for n, e in ranked]
    (s.out / file).write_text("\n".join(lines[:80]) + "\n")
    launches = sum(entry[1] for entry in kernels.values())
    return {"ms_in_kernels": total / 1e3, "launches": launches, "top": [n[:60] for n, _ in ranked[:5]]}


def stage_ops(s: Session) -> None:
    """Operators against their references, then tiles and warps of the kernels at the largest sizes."""
    for row in _rows(s):
        s.note(f"op {row.what} {row.resolution}", lambda row=row: {"ms": row.milliseconds, **row.extra})  # type: ignore[misc]
    shapes = [(2, 8, 16, 16)] if s.tiny else [(16, 16, 1024, 1024), (16, 64, 256, 256), (16, 512, 32, 32)]
    for shape in shapes:
        for tile in (1024, 2048, 4096):
            for warps in (4, 8):
                s.note(f"tile {tile} warps {warps} {shape}", lambda a=shape, t=tile, w=warps: _tiles(s, a, t, w))  # type: ignore[misc]


def _rows(s: Session) -> Iterator[measure.Row]:
    try:
        yield from measure.operators(s.device, "bf16", s.limit("bf16"), s.budget / 5)
    except Exception as error:
        s.note("ops", lambda error=error: {"error": str(error)[:500]})  # type: ignore[misc]


def _tiles(s: Session, shape: tuple[int, ...], tile: int, warps: int) -> dict[str, Any]:
    before = fused.TILE, fused.WARPS
    fused.TILE, fused.WARPS = tile, warps
    try:
        n, c, h, w = shape
        x = torch.randn(shape, device=s.device, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
        x.requires_grad_()
        noise, dy = torch.randn(n, 1, h, w, device=s.device), torch.randn_like(x)
        strength, bias, style = (torch.randn(*a, device=s.device, requires_grad=True) for a in ((c,), (c,), (n, 2, c)))
        with using_ops("fast"):
            y = style_epilogue(x, noise, strength, bias, style)
            z = bias_activate(x, bias)
            times = {
                "epilogue": seconds(lambda: style_epilogue(x, noise, strength, bias, style), s.device, s.budget / 8),
                "epilogue_back": seconds(
                    lambda: torch.autograd.grad(y, x, dy, retain_graph=True), s.device, s.budget / 8
                ),
                "bias": seconds(lambda: bias_activate(x, bias), s.device, s.budget / 8),
                "bias_back": seconds(lambda: torch.autograd.grad(z, x, dy, retain_graph=True), s.device, s.budget / 8),
            }
        once = x.numel() * 2 / s.limit("bf16").bytes_per_second * 1e3
        floors = {"epilogue": 3 * once, "epilogue_back": 5 * once, "bias": 2 * once, "bias_back": 3 * once}
        return {f"{k}_ms": v * 1e3 for k, v in times.items()} | {
            f"{k}_of_floor": floors[k] / (v * 1e3) for k, v in times.items()
        }
    finally:
        fused.TILE, fused.WARPS = before


STAGES = {
    "train": stage_train,
    "generate": stage_generate,
    "profile": stage_profile,
    "variants": stage_variants,
    "ops": stage_ops,
    "schedule": stage_schedule,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--sides", default=",".join(map(str, BATCHES)), help="of train and profile")
    parser.add_argument("--share", type=int, default=1, help="schedule: how many GPUs share its batches")
    parser.add_argument("--limit", type=float, default=420.0)
    arguments = parser.parse_args()
    sides = [int(side) for side in arguments.sides.split(",")]
    session = Session(arguments.out, arguments.tiny, arguments.limit, sides, arguments.share)
    with using_ops("fast"):
        print(torch.__version__, session.device, describe(session.device), flush=True)
    for name in arguments.only.split(","):
        STAGES[name](session)


if __name__ == "__main__":
    main()
