"""Training rate on several GPUs, and from a prepared set on disk beside images that lie on the GPU; prints JSON.

    torchrun --nproc-per-node N benchmarks/scaling.py [--side 1024] [--batch 16] [--precision bf16] [--data DIR]

The same batch on every GPU, official widths (`ffhq1024`), R1 in every step. Run it with N = 1, 2, 4 and divide. With
--data, batches are read from a prepared set of that size as training reads them, after the measurement with resident
images; the rates are medians of single steps. `--tiny` runs the same code on CPUs. `--make DIR` writes 400 JPEGs of
that side instead, with detail at every scale, for `stylegan prepare`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stylegan import distributed
from stylegan.benchmark.clock import device_name, synchronize
from stylegan.config.presets import preset
from stylegan.data import Dataset
from stylegan.ops.switch import using_ops
from stylegan.training import schedule
from stylegan.training.batches import Batches, split_batch
from stylegan.training.step import MicroBatch, Trainer

WARM = 6  # steps that are not counted: kernels are chosen and graphs recorded


def median(step: Callable[[int], None], processes: distributed.Processes, seconds: float) -> float:
    """Seconds of a step, the slowest process's."""
    times: list[float] = []
    begin = time.perf_counter()
    for i in range(10_000):
        synchronize(processes.device)
        processes.barrier()
        start = time.perf_counter()
        step(i)
        synchronize(processes.device)
        if i >= WARM:
            times.append(time.perf_counter() - start)
        if processes.most(int(len(times) >= 3 and time.perf_counter() - begin > seconds)):
            break
    return processes.most(int(statistics.median(times) * 1e9)) / 1e9


def make(folder: Path, side: int, count: int = 400) -> None:
    """Random images with detail at every scale."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for i in range(count):
        image = np.full((side, side, 3), 128.0, np.float32)
        for octave in range(2, side.bit_length() - 1):
            grain = draw.standard_normal((2**octave, 2**octave, 3)).astype(np.float32)
            layers = [Image.fromarray(grain[..., c]).resize((side, side), Image.Resampling.BILINEAR) for c in range(3)]
            image += 60 / octave * np.stack([np.asarray(layer) for layer in layers], axis=2)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04}.jpg", quality=92)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16, help="on each GPU")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--data", help="a prepared set of images of that size")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--make", type=Path)
    given = parser.parse_args()
    if given.make:
        make(given.make, given.side)
        return
    processes = distributed.start("cpu" if given.tiny else "cuda")
    batch = given.batch * processes.world
    changes = {
        "training": {"precision": given.precision},
        "schedule": {"batch": batch, "batch_by_resolution": {}, "grow": False, "total_kimg": 1e6},
    }
    config = preset("tiny" if given.tiny else "ffhq1024", given.side, changes=changes)
    level, device = config.generator.top, processes.device
    point = schedule.at(config.schedule, level, 0)
    found: dict[str, Any] = {"device": device_name(device), "processes": processes.world, "side": given.side,
                             "batch_per_process": given.batch, "precision": given.precision}  # fmt: skip
    with using_ops("fast"):
        trainer = Trainer(config, processes)
        (rows,) = split_batch(config, processes, batch)
        images = torch.randint(0, 256, (given.batch, 3, given.side, given.side), dtype=torch.uint8, device=device)
        none = torch.zeros(given.batch, 0, device=device)
        parts = [MicroBatch(rows, images, none, none)]
        resident = median(lambda i: trainer.step(point, i * batch, parts), processes, given.seconds)
        found["images_per_second"] = round(batch / resident, 2)
        found["ms"] = round(1000 * resident, 2)
        if given.data:
            with Batches(config, Dataset.open(given.data), processes, 0, 0) as batches:

                def step(i: int) -> None:
                    trainer.step(point, i * batch, batches.next(point, i * batch))

                read = median(step, processes, given.seconds)
            found["images_per_second_from_disk"] = round(batch / read, 2)
            found["slower_from_disk"] = round(read / resident - 1, 4)
    if processes.first:
        print(json.dumps(found), flush=True)
    processes.close()


if __name__ == "__main__":
    main()
