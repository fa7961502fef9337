"""What the fast forms gain on a CPU: generation and training against the plain eager float32 reference.

    OMP_NUM_THREADS=1 python benchmarks/cpu.py [--rounds 7] [--json cpu.json] [--profile]

Variants take turns within each round, so that other work on the machine disturbs all of them alike; the table gives
medians and their ratio to the reference in the same run. One thread is timed in processor time, several in time that
passes. --profile adds where the time of the fast forms goes, by PyTorch's operators.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stylegan.config.presets import preset
from stylegan.networks import Generator
from stylegan.ops.switch import using_ops
from stylegan.training.schedule import Point
from stylegan.training.step import MicroBatch, Trainer

Work = Callable[[], object]


def interleaved(variants: dict[str, Work], rounds: int) -> dict[str, float]:
    """Median seconds of each, after one call to warm up."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in variants}
    for work in variants.values():
        work()
    for _ in range(rounds):
        for name, work in variants.items():
            begin = clock()
            work()
            times[name].append(clock() - begin)
    return {name: statistics.median(found) for name, found in times.items()}


def profile(work: Work, calls: int = 5) -> list[tuple[str, float]]:
    """The operators that take most of the time, with their share of it."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        for _ in range(calls):
            work()
    times = {entry.key: entry.self_cpu_time_total for entry in profiler.key_averages()}
    total = sum(times.values())
    return [(name, time / total) for name, time in sorted(times.items(), key=lambda item: -item[1])[:8]]


def generation(preset_name: str, side: int, batch: int) -> dict[str, Work]:
    config = preset(preset_name, side, labels=10 if preset_name == "digits" else 0).generator
    g = Generator(config).eval()
    half = Generator(config).eval()
    half.synthesis.compute_dtype = torch.bfloat16
    z = torch.randn(batch, config.z_dim)
    labels = torch.zeros(batch, dtype=torch.long) if config.labels else None

    def draw(network: Generator, mode: str, inference: bool, layout: str = "auto") -> Work:
        def work() -> None:
            os.environ["STYLEGAN_LAYOUT"] = layout
            with using_ops(mode), torch.inference_mode() if inference else contextlib.nullcontext():
                network(z, labels)
            os.environ["STYLEGAN_LAYOUT"] = "auto"

        return work

    return {
        "reference": draw(g, "reference", False),
        "reference, inference mode": draw(g, "reference", True),
        "fast, inference mode": draw(g, "fast", True),
        "fast, channels-last": draw(g, "fast", True, "channels_last"),
        "fast, bf16": draw(half, "fast", True),
    }


def training(preset_name: str, side: int, batch: int) -> dict[str, Work]:
    config = preset(preset_name, side, 1, 10)
    level = side.bit_length() - 3
    point = Point(0, float(config.generator.top - level), level, side, batch, 1e-3, 1e-3, 1.0, 1, 1)
    images = torch.randint(0, 256, (batch, 1, side, side), dtype=torch.uint8)
    labels = torch.eye(10)[torch.arange(batch) % 10]
    parts = [MicroBatch(torch.arange(batch), images, labels, labels)]

    def step(mode: str, layout: str = "auto") -> Work:
        trainer, shown = Trainer(config), iter(range(0, 1 << 40, batch))

        def work() -> None:
            os.environ["STYLEGAN_LAYOUT"] = layout
            with using_ops(mode):
                trainer.step(point, next(shown), parts)
            os.environ["STYLEGAN_LAYOUT"] = "auto"

        return work

    return {
        "reference": step("reference"),
        "fast": step("fast"),
        "fast, channels-last": step("fast", "channels_last"),
    }


CASES: dict[str, Callable[[], dict[str, Work]]] = {
    "generate 32x32, demo's networks, batch 1": lambda: generation("digits", 32, 1),
    "generate 32x32, demo's networks, batch 16": lambda: generation("digits", 32, 16),
    "generate 256x256, paper's widths, batch 1": lambda: generation("ffhq1024", 256, 1),
    "train 32x32, demo's networks, batch 16": lambda: training("digits", 32, 16),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", default="", help="cases that contain this text")
    arguments = parser.parse_args()
    answer: dict[str, Any] = {"threads": torch.get_num_threads(), "torch": torch.__version__, "cases": {}}
    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}\n\n| | ms | times the reference's speed |")
    print("|---|---|---|")
    for name, variants in CASES.items():
        if arguments.only not in name:
            continue
        works = variants()
        found = interleaved(works, arguments.rounds)
        answer["cases"][name] = found
        print(f"| **{name}** | | |", flush=True)
        for variant, seconds in found.items():
            print(f"| {variant} | {seconds * 1e3:.1f} | {found['reference'] / seconds:.2f} |", flush=True)
        if arguments.profile:
            quick = next(variant for variant in works if variant.startswith("fast"))
            answer.setdefault("profiles", {})[name] = shares = profile(works[quick])
            told = ", ".join(f"{operator.removeprefix('aten::')} {100 * share:.0f} %" for operator, share in shares)
            print(f"\n{quick}: {told}\n", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
