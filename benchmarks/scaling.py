"""Training rate on several GPUs, and from a prepared set on disk beside images that lie on the GPU; prints JSON.

    torchrun --nproc-per-node N benchmarks/scaling.py [--side 1024] [--batch 16] [--precision bf16] [--data DIR]
    torchrun --nproc-per-node N benchmarks/scaling.py --schedule [--precision bf16]

The same batch on every GPU, official widths (`ffhq1024`), R1 in every step; the first GPU by itself, then all of them.
Rates are medians of ten steps each, which begin together. With --data, batches are then read from a prepared set of
that size as training reads them, each image once: nothing of the set is in the page cache when it begins, and the rate
is that of the whole epoch but for its first ten steps. --schedule measures every phase at its batch for 8 GPUs, divided
among N, and predicts the hours of the whole training from them, sums over processes included. `--tiny` runs the same
code on CPUs. `--make DIR` writes 2,400 JPEGs of that side instead, with detail at every scale, for `stylegan prepare`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stylegan import distributed
from stylegan import lod as lods
from stylegan.benchmark.clock import device_name, synchronize
from stylegan.benchmark.measure import predict_hours
from stylegan.config import Config
from stylegan.config.presets import Diff, preset
from stylegan.data import Dataset
from stylegan.ops.switch import using_ops
from stylegan.training import schedule
from stylegan.training.batches import Batches, split_batch
from stylegan.training.step import MicroBatch, Trainer

STEPS = 10  # begun together, then measured at once: processes that stay in step would wait for each other's launches


def median(step: Callable[[int], None], processes: distributed.Processes, seconds: float) -> float:
    """Seconds of a step, the slowest process's. The first steps are not counted: graphs are recorded."""
    times: list[float] = []
    begin = time.perf_counter()
    for i in range(10_000):
        synchronize(processes.device)
        processes.barrier()
        start = time.perf_counter()
        for j in range(STEPS):
            step(i * STEPS + j)
        synchronize(processes.device)
        if i:
            times.append((time.perf_counter() - start) / STEPS)
        if processes.most(int(len(times) >= 3 and time.perf_counter() - begin > seconds)):
            break
    return processes.most(int(statistics.median(times) * 1e9)) / 1e9


def resident(trainer: Trainer, processes: distributed.Processes, level: int, batch: int, seconds: float) -> float:
    """Seconds of a step with `batch` images on each GPU, which lie there."""
    config, device, n = trainer.config, processes.device, batch * processes.world
    trainer.processes = processes
    trainer.halves.forget()
    lod = float(config.generator.top - level)
    point = schedule.Point(0, lod, level, lods.nominal(level), n, 1e-3, 1e-3, 1.0, 1, 1)
    shape = (batch, 3, *config.generator.size(level))
    images, none = torch.randint(0, 256, shape, dtype=torch.uint8, device=device), torch.zeros(batch, 0, device=device)
    parts = [MicroBatch(rows, images, none, none) for rows in split_batch(config, processes, n)]
    return median(lambda i: trainer.step(point, i * n, parts), processes, seconds)


def epoch(step: Callable[[int], None], processes: distributed.Processes, steps: int) -> float:
    """Mean seconds of a step from the eleventh on, the slowest process's."""
    for i in range(steps):
        if i == STEPS:
            synchronize(processes.device)
            processes.barrier()
            start = time.perf_counter()
        step(i)
    synchronize(processes.device)
    return processes.most(int((time.perf_counter() - start) / (steps - STEPS) * 1e9)) / 1e9


def forget(folder: Path) -> None:
    """Takes the files of a folder out of the page cache; nothing is left to be written to the disk either."""
    os.sync()
    for path in filter(Path.is_file, folder.rglob("*")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk(folder: Path) -> float:
    """Bytes a second of reading the set's largest files one after the other, up to 1 GB, from the disk."""
    forget(folder)
    files = sorted(filter(Path.is_file, folder.rglob("*")), key=lambda path: -path.stat().st_size)
    begin, done = time.perf_counter(), 0
    for path in files:
        with path.open("rb", buffering=0) as file:
            while done < 1e9 and (part := file.read(8 << 20)):
                done += len(part)
    rate = done / (time.perf_counter() - begin)
    forget(folder)
    return rate


def make(folder: Path, side: int, count: int = 2400) -> None:
    """Random images with detail at every scale."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 1) // 4)) as pool:  # others may be measuring beside it
        list(pool.map(draw, [(folder / f"{i:04}.jpg", side, i) for i in range(count)], chunksize=8))


def draw(given: tuple[Path, int, int]) -> None:
    """One of them."""
    path, side, seed = given
    random = np.random.default_rng(seed)
    image = np.full((side, side, 3), 128.0, np.float32)
    for octave in range(2, side.bit_length() - 1):
        grain = random.standard_normal((2**octave, 2**octave, 3)).astype(np.float32)
        layers = [Image.fromarray(grain[..., c]).resize((side, side), Image.Resampling.BILINEAR) for c in range(3)]
        image += 60 / octave * np.stack([np.asarray(layer) for layer in layers], axis=2)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=92)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16, help="on each GPU")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--data", type=Path, help="a prepared set of images of that size")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--schedule", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--make", type=Path)
    given = parser.parse_args()
    if given.make:
        make(given.make, given.side)
        return
    with distributed.start("cpu" if given.tiny else "cuda") as processes, using_ops("fast"):
        found = measured(given, processes)
        if processes.first:
            print(json.dumps(found), flush=True)


def measured(given: argparse.Namespace, processes: distributed.Processes) -> dict[str, Any]:
    """What was asked for."""
    name, world = "tiny" if given.tiny else "ffhq1024", processes.world
    training: Diff = {"precision": given.precision, "graphs": "on"}
    found: dict[str, Any] = {
        "device": device_name(processes.device), "processes": world, "precision": given.precision,
    }  # fmt: skip
    if given.schedule:
        config = preset(name, given.side, changes={"training": training})
        return found | phases(config, processes, given.seconds)
    fixed: Diff = {"batch": given.batch * world, "batch_by_resolution": {}, "grow": False, "total_kimg": 1e6}
    config = preset(name, given.side, changes={"training": training, "schedule": fixed})
    return found | fixed_size(config, processes, given)


def fixed_size(config: Config, processes: distributed.Processes, given: argparse.Namespace) -> dict[str, Any]:
    """One GPU, all of them, and from disk."""
    trainer, level, batch = Trainer(config, processes), config.generator.top, given.batch * processes.world
    found: dict[str, Any] = {"side": given.side, "batch_per_process": given.batch}
    if processes.first:
        alone = distributed.Processes(device=processes.device)
        one = given.batch / resident(trainer, alone, level, given.batch, given.seconds)
        found["images_per_second_of_the_first"] = round(one, 2)
    processes.barrier()
    step = resident(trainer, processes, level, given.batch, given.seconds)
    found |= {"images_per_second": round(batch / step, 2), "ms": round(1000 * step, 2)}
    if processes.first:
        found["times_the_first"] = round(batch / step / one, 3)
    if given.data:
        point, dataset = schedule.at(config.schedule, level, 0), Dataset.open(given.data)
        steps = len(dataset) // batch
        if steps < 3 * STEPS:
            sys.exit(f"{given.data}: {len(dataset)} images are {steps} steps of {batch}; it takes {3 * STEPS} or more")
        if processes.first:
            found["megabytes_per_second_of_the_disk"] = round(disk(Path(given.data)) / 1e6)
        processes.barrier()
        with Batches(config, dataset, processes, 0, 0) as batches:
            read = epoch(lambda i: trainer.step(point, i * batch, batches.next(point, i * batch)), processes, steps)
        found |= {"images_per_second_from_disk": round(batch / read, 2), "slower_from_disk": round(read / step - 1, 4)}
        found["images_read"] = steps * batch
    trainer.halves.forget()
    return found


def phases(config: Config, processes: distributed.Processes, seconds: float) -> dict[str, Any]:
    """Every phase, and the hours of the whole schedule."""
    trainer, rates, rows = Trainer(config, processes), {}, []
    for level in range(config.schedule.initial_resolution.bit_length() - 3, config.generator.top + 1):
        batch = config.schedule.batch_by_resolution.get(lods.nominal(level), config.schedule.batch)
        share = batch // processes.world
        step = resident(trainer, processes, level, share, seconds)
        rates[level] = share * processes.world / step
        rows.append({"side": 4 << level, "batch": batch, "ms": round(1000 * step, 2),
                     "images_per_second": round(rates[level], 1)})  # fmt: skip
        if processes.first:
            print(rows[-1], file=sys.stderr, flush=True)
    trainer.halves.forget()
    return {"phases": rows, "hours": round(predict_hours(config, rates), 2)}


if __name__ == "__main__":
    main()
