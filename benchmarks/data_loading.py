"""Images per second that the Loader delivers at each resolution, from a prepared set on the disk.

    python benchmarks/data_loading.py [--threads 2] [--seconds 2] [--folder /tmp/set] [--markdown]

A synthetic set is written once: 1024x1024 RGB, a few hundred images, all nine levels. Batches are random, as in
training. After the first pass the set is in the page cache, as a set that fits into memory is in training.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stylegan.data import Dataset, Loader, Request, epoch_indices
from stylegan.data.prepare import prepare_arrays

# Batch per resolution: the official single-GPU schedule, and 4 at full size.
BATCH = {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4, 1024: 4}


def build(folder: Path, count: int) -> Dataset:
    """Noise compresses as little as anything, which makes no difference to raw pixels."""
    if not (folder / "dataset.json").exists():
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (count, 3, 1024, 1024), dtype=np.uint8)
        prepare_arrays(images, np.arange(count) % 10, folder, attribution="random numbers")
    return Dataset.open(folder)


def requests(dataset: Dataset, size: tuple[int, int], batch: int) -> Iterator[Request]:
    """The endless sequence of batches that a run would ask for."""
    for step in itertools.count():
        yield Request(epoch_indices(0, step * batch, batch, len(dataset)), size)


def measure(dataset: Dataset, size: tuple[int, int], threads: int, seconds: float) -> float:
    """Images per second through the Loader, the labels included."""
    batch = BATCH[size[0]]
    with Loader(dataset, requests(dataset, size, batch), depth=4, threads=threads) as loader:
        for _ in range(max(4, len(dataset) // batch)):  # one pass to warm up
            next(loader)
        shown, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            shown += len(next(loader)[0])
        return shown / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="per resolution")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where the synthetic set is kept (default: temporary)")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        dataset = build(arguments.folder or Path(temporary) / "set", arguments.images)
        if arguments.markdown:
            print("| resolution | batch | images/s | MB/s |\n|---|---|---|---|")
        for size in dataset.levels:
            rate = measure(dataset, size, arguments.threads, arguments.seconds)
            side, megabytes = size[0], rate * 3 * size[0] * size[1] / 1e6
            if arguments.markdown:
                print(f"| {side}x{side} | {BATCH[side]} | {rate:,.0f} | {megabytes:,.0f} |", flush=True)
            else:
                line = f"{side:>4}x{side:<4} batch {BATCH[side]:>3} {rate:>10,.0f} images/s {megabytes:>7,.0f} MB/s"
                print(line, flush=True)


if __name__ == "__main__":
    main()
