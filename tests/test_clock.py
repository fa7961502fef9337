"""How benchmarks time: on a pretended clock and device."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from stylegan.benchmark import clock


class Pretended:
    """A device that works beside its host, which needs some time for each call, more for the first ones."""

    def __init__(self, host: float, device: float, first: list[float]) -> None:
        self.host, self.device, self.first = host, device, first
        self.now = self.ready = 0.0
        self.calls = 0

    def work(self) -> None:
        self.now += self.host + (self.first[self.calls] if self.calls < len(self.first) else 0.0)
        self.ready = max(self.ready, self.now) + self.device
        self.calls += 1

    def synchronize(self, device: torch.device) -> None:
        self.now = max(self.now, self.ready)


@pytest.mark.parametrize(
    ("host", "device", "expected"),
    [
        (0.001, 0.010, 0.010),  # the host prepares a call while the device makes the one before
        (0.010, 0.001, 0.010),  # the host is slower
        (0.001, 0.066, 0.066),
        (1e-5, 1e-6, 1e-5),
        (0.1, 3.0, 3.1),  # alone in its group
        (60.0, 0.0, 60.0),
    ],
)
def test_a_call_among_others(host: float, device: float, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Pretended(host, device, first=[30.0, 5.0])  # kernels are compiled, then graphs recorded
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: it.now))
    monkeypatch.setattr(clock, "synchronize", it.synchronize)
    assert clock.seconds(it.work, torch.device("cpu"), budget=2.0) == pytest.approx(expected, rel=0.02)
    assert it.calls <= 5 or it.now < 40 + 2 * 2.0 + host  # three calls that tell, at most, where each takes long


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be begun anew on Linux only")
def test_the_peak_of_a_measurement_on_a_cpu() -> None:
    cpu = torch.device("cpu")
    for megabytes in (200, 50):  # the second is not hidden by the first
        memory = clock.Memory(cpu)
        if not memory._before:
            pytest.skip("this system does not let a process begin its peak anew")
        torch.ones(megabytes * 10**6 // 4)
        assert memory.peak() == pytest.approx(megabytes / 1000, abs=0.02)
