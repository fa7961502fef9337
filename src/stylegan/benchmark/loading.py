"""How fast a prepared set delivers batches at each of its sizes, as training asks for them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from stylegan.benchmark.clock import IN_HOST, Limits, copy_rate, device_name
from stylegan.benchmark.measure import Row
from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.data.loader import DEPTH, Loader, Request
from stylegan.data.prepare import prepare_arrays
from stylegan.data.pyramid import Size
from stylegan.data.sampler import epoch_indices


def synthetic(folder: Path, side: int, count: int = 128) -> Dataset:
    """A prepared set of random numbers, which compress as little as anything; pixels are stored raw anyway."""
    if not (folder / "dataset.json").exists():
        images = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
        prepare_arrays(images, np.arange(count) % 10, folder, attribution="random numbers")
    return Dataset.open(folder)


def _requests(dataset: Dataset, size: Size, batch: int) -> Iterator[Request]:
    """The endless sequence of batches that a run would ask for."""
    for step in itertools.count():
        yield Request(epoch_indices(0, step * batch, batch, len(dataset)), size)


def host_limits() -> Limits:
    """What the host's memory can do: every image is at least read there once and written once."""
    host = torch.device("cpu")
    return Limits(device_name(host), copy_rate(host, (IN_HOST,)), 0.0, "uint8")


def loading(dataset: Dataset, size: Size, batch: int, threads: int, limits: Limits, budget: float) -> Row:
    """Images a second through the Loader at a size (H, W), labels included, after one pass to warm up.

    That pass leaves the set in the page cache where it fits, as in training from the second epoch on. The floor is one
    copy of the batch in memory; the memory is that of the batches read ahead.
    """
    with Loader(dataset, _requests(dataset, size, batch), threads=threads) as loader:
        for _ in range(min(max(4, len(dataset) // batch), 1000)):
            next(loader)
        shown, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < budget or not shown:
            shown += len(next(loader)[0])
    rate = shown / spent
    h, w = size
    image = dataset.channels * h * w  # bytes
    floor = 2 * batch * image / limits.bytes_per_second
    return Row(
        "data", f"{w}x{h}", batch, "uint8", batch / rate * 1e3, rate, DEPTH * batch * image / 1e9, floor * 1e3,
        floor * rate / batch, {"megabytes_per_second": rate * image / 1e6},
    )  # fmt: skip


def batch_of(config: Config, size: Size) -> int:
    """The schedule's batch at a size; 16 where it does not say."""
    return config.schedule.batch_by_resolution.get(max(size), 16)
