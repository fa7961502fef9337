"""What processes tell each other while measuring: features in the order of the samples, and moments."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist

from stylegan.distributed import Processes
from stylegan.metrics.frechet import FeatureStatistics
from stylegan.metrics.sampling import chunks


def collect(rows: torch.Tensor, count: int, batch: int, processes: Processes) -> np.ndarray | None:
    """Rows of all processes in the order of the samples, [count, d], in the first process; None in the others.

    rows [n, d] on the host: this process's, in the order in which `chunks` gave them.
    """
    if processes.world == 1:
        return rows.numpy()
    shares = [[i for part in chunks(count, batch, r, processes.world) for i in part] for r in range(processes.world)]
    most = max(len(share) for share in shares)
    own = torch.zeros(most, *rows.shape[1:], dtype=rows.dtype)
    own[: len(rows)] = rows
    boxes = [torch.empty_like(own) for _ in shares] if processes.first else None
    processes.marks.count += 1
    dist.gather(own, boxes, dst=0, group=processes.control)
    processes.marks.count += 1
    if boxes is None:
        return None
    out = np.empty((count, *rows.shape[1:]), rows.numpy().dtype)
    for share, box in zip(shares, boxes, strict=True):
        out[share] = box[: len(share)].numpy()
    return out


def join(statistics: FeatureStatistics, d: int, processes: Processes) -> FeatureStatistics:
    """The statistics of all processes, in every one, added in the order of their ranks."""
    if processes.world == 1:
        return statistics
    own = statistics.state()
    boxes = [torch.empty_like(own) for _ in range(processes.world)]
    processes.marks.count += 1
    dist.all_gather(boxes, own, group=processes.control)
    processes.marks.count += 1
    total = FeatureStatistics(d)
    for box in boxes:
        total.merge(FeatureStatistics.from_state(box, d))
    return total


class Stopwatch:
    """Seconds by purpose. On CUDA the networks' time is that of the GPU, measured by events."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.host: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self.begun = time.perf_counter()

    @contextmanager
    def network(self, name: str) -> Iterator[None]:
        """Times a forward pass."""
        if self.cuda:
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            yield
            last.record()
            self._events.append((name, first, last))
        else:
            with self.work(name):
                yield

    @contextmanager
    def work(self, name: str) -> Iterator[None]:
        """Times work of the host."""
        start = time.perf_counter()
        yield
        self.host[name] = self.host.get(name, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Seconds by purpose, with the total."""
        found = dict(self.host)
        if self._events:
            torch.cuda.synchronize()
        for name, first, last in self._events:
            found[name] = found.get(name, 0.0) + first.elapsed_time(last) / 1000
        return found | {"total": time.perf_counter() - self.begun}
