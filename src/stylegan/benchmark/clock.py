"""Timing on any device, and the device's own limits: copy bandwidth and matrix rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


GROUP = 0.2  # seconds between two waits for the device, where that is several calls and a fifth of the time there is


def seconds(work: Callable[[], object], device: torch.device, budget: float = 2.0, least: int = 3) -> float:
    """Median seconds of one call among others, after one to warm up; about `budget` seconds in all, `least` calls.

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
    return sorted(times)[len(times) // 2]


@dataclass(frozen=True)
class Limits:
    """What a device can do at most, as measured on it."""

    device: str
    bytes_per_second: float  # read + written by a copy
    flops: float  # of a large matrix product in the precision asked for
    precision: str


def device_name(device: torch.device) -> str:
    """'NVIDIA H200', or the kind of device with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def measure_limits(device: torch.device, precision: str, budget: float = 1.0) -> Limits:
    """Copies and multiplies large tensors for about `budget` seconds each."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    cuda = device.type == "cuda"
    source = torch.empty(2**28 if cuda else 2**24, dtype=torch.float32, device=device).normal_()
    target = torch.empty_like(source)
    copy = seconds(lambda: target.copy_(source), device, budget)
    n = 8192 if cuda else 1024
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
    product = seconds(lambda: a @ b, device, budget)
    return Limits(device_name(device), 2 * source.numel() * 4 / copy, 2.0 * n**3 / product, precision)
