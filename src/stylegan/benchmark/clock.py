"""Timing on any device, and the device's own limits: copy bandwidth and matrix rate."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median_high

import torch


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


IN_GPU, IN_HOST, IN_CACHE = 2**28, 2**24, 2**16  # values copied: in a GPU's memory, a host's, a processor's cache
GROUP = 0.2  # seconds between two waits for the device, where that is several calls and a fifth of the time there is


def seconds(
    work: Callable[[], object],
    device: torch.device,
    budget: float = 2.0,
    least: int = 3,
    which: Callable[[list[float]], float] = median_high,
) -> float:
    """Median seconds of one call among others, after one to warm up; about `budget` seconds in all, `least` calls.

    which: another choice than the median, such as min for what a device can do at most.
    The device is waited for once in a group of calls: between them the host prepares the next one while the device is
    at work, as in a training.
    """

    def timed(calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        synchronize(device)
        return (time.perf_counter() - begin) / calls

    work()
    synchronize(device)
    end = time.perf_counter() + budget
    times = [timed(1) for _ in range(3)]  # kernels may still be chosen, and graphs recorded, in all but the last
    group = max(1, int(min(GROUP, budget / 5) / max(min(times), 1e-7)))
    if group > 1:
        times = []
    while len(times) < least or (time.perf_counter() < end and len(times) < 200):
        times.append(timed(group))
    return which(times)


@dataclass(frozen=True)
class Limits:
    """What a device can do at most, as measured on it."""

    device: str
    bytes_per_second: float  # read + written by a copy
    flops: float  # of a large matrix product in the precision asked for; 0 where nothing is multiplied
    precision: str


def device_name(device: torch.device) -> str:
    """'NVIDIA H200', or the kind of device with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def copy_rate(device: torch.device, sizes: Sequence[int], budget: float = 1.0) -> float:
    """Bytes a second, read and written, of the size (in float32 values) at which they are most."""
    rates = []
    for size in sizes:
        source = torch.empty(size, dtype=torch.float32, device=device).normal_()
        target = torch.empty_like(source)
        rates.append(2 * source.numel() * 4 / seconds(partial(target.copy_, source), device, budget, which=min))
    return max(rates)


def product_rate(device: torch.device, precision: str, budget: float = 1.0) -> float:
    """Multiplications and additions a second: of a matrix product; on a CPU of a convolution where that is quicker."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
    rate = 2.0 * n**3 / seconds(partial(torch.mm, a, b), device, budget, which=min)
    if device.type == "cuda":
        return rate
    x, w = (torch.randn(*shape, device=device, dtype=dtype) for shape in ((16, 64, 32, 32), (64, 64, 3, 3)))
    with torch.inference_mode():
        convolution = seconds(partial(torch.conv2d, x, w, padding=1), device, budget, which=min)
    return max(rate, 2.0 * x.numel() * 9 * 64 / convolution)


def measure_limits(device: torch.device, precision: str, budget: float = 1.0) -> Limits:
    """Copies and multiplies for about `budget` seconds each.

    Small networks work in a CPU's caches, so less than the rate of copies there would be no floor for them.
    """
    sizes = (IN_GPU,) if device.type == "cuda" else (IN_HOST, IN_CACHE)
    return Limits(
        device_name(device), copy_rate(device, sizes, budget), product_rate(device, precision, budget), precision
    )


class Memory:
    """The most memory in use since it was made, in GB: a GPU's tensors; on Linux what a CPU process has grown by."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif device.type == "cpu":
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
                self._before = self._status("VmRSS")

    def peak(self) -> float:
        """So far; 0 where it cannot be told."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        return max(0, self._status("VmHWM") - self._before) / 1e9 if self._before else 0.0

    @staticmethod
    def _status(name: str) -> int:
        """Bytes, as Linux tells them of this process."""
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        return 0
