"""How exact resuming is on a GPU: loss curves of two identical runs, and of one that was stopped and resumed.

    python benchmarks/gpu_resume.py DATA OUT [--device cuda] [--kimg 16]

On a CPU all of them are bit-equal (tested). On a GPU sums are taken in an order that changes from run to run, so two
identical runs drift apart; a resumed run may not drift further. One more run begins on the CPU and goes on on the GPU.
Prints and writes OUT/resume.json: largest and mean difference of each loss over the reports, in units of its size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import stylegan
from stylegan.data import open_or_prepare

LOSSES = ("loss_g", "loss_d", "score_real", "penalty")


def curve(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["loss"] for line in (run / "stats.jsonl").read_text().splitlines()]


def difference(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> dict[str, float]:
    """Largest and mean difference of each loss over the reports, in units of the loss's mean size."""
    assert len(a) == len(b), (len(a), len(b))
    found = {}
    for name in LOSSES:
        size = statistics.mean(abs(x[name]) for x in a)
        apart = [abs(x[name] - y[name]) / size for x, y in zip(a, b, strict=True)]
        found |= {f"{name}_max": max(apart), f"{name}_mean": statistics.mean(apart), f"{name}_first": apart[0]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--kimg", type=float, default=16.0)
    given = parser.parse_args()
    dataset = open_or_prepare(given.data)
    total = given.kimg
    changes = {
        "schedule": {
            "total_kimg": total, "initial_resolution": 8, "stable_kimg": total / 8, "fade_kimg": total / 8, "batch": 32,
            "batch_by_resolution": {}, "tick_kimg": total / 16, "tick_kimg_by_resolution": {},
        },
        "training": {"precision": "bf16" if given.device.startswith("cuda") else "fp32", "checkpoint_ticks": 1000},
    }  # fmt: skip
    config = stylegan.preset("tiny", dataset.size, dataset.channels, changes=changes)
    root = given.out / "resume-runs"
    shutil.rmtree(root, ignore_errors=True)

    def run(name: str, stops: tuple[float, ...] = (), first_device: str = "") -> list[dict[str, Any]]:
        for i, stop in enumerate(stops):
            device = first_device if i == 0 and first_device else given.device
            stylegan.train(config, root / name, device, dataset, stop_kimg=stop, quiet=True)
        stylegan.train(config, root / name, given.device, dataset, quiet=True)
        return curve(root / name)

    once = run("once")
    results: dict[str, Any] = {"device": given.device, "kimg": total, "reports": len(once)}
    others: dict[str, tuple[str, tuple[float, ...], str]] = {
        "two identical runs": ("again", (), ""),
        # in a fade, just after a change of size, and while stable
        "stopped three times": ("stopped", (total * 0.19, total * 0.26, total * 0.7), ""),
        "begun on the CPU": ("cpu-first", (total / 16,), "cpu"),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for what, (name, stops, first_device) in others.items():
        results[what] = found = difference(once, run(name, stops, first_device))
        (given.out / "resume.json").write_text(json.dumps(results, indent=1))
        shown = (f"{k} {v:.2e}" for k, v in found.items() if not k.endswith("_first"))
        print(f"{what:22}", "  ".join(shown), flush=True)


if __name__ == "__main__":
    main()
