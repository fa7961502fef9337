"""Recorded work computes anew from the same memory; without a GPU it is the work itself."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch

from stylegan.ops.record import Recording, record, repeated


def test_on_a_cpu_the_work_itself_is_repeated() -> None:
    def work() -> int:
        return 1

    assert repeated(work, torch.device("cpu")) is work


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_recording_reads_and_writes_the_same_memory_with_gradients() -> None:
    x = torch.ones(3, device="cuda", requires_grad=True)

    def work() -> tuple[torch.Tensor, torch.Tensor]:
        y = (x * x).sum()
        return y.detach(), torch.autograd.grad(y, x)[0]

    recorded = record(work)
    assert recorded is not None
    for value in (2.0, 5.0):
        with torch.no_grad():
            x.fill_(value)
        y, gradient = recorded()
        assert float(y) == 3 * value**2
        assert torch.equal(gradient, torch.full_like(x, 2 * value))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_what_cannot_be_recorded_runs_as_it_is() -> None:
    x = torch.ones(3, device="cuda")

    def work() -> float:
        return float(x.sum())  # waits for the device

    with pytest.warns(UserWarning, match="no CUDA graph here"):
        assert repeated(work, x.device)() == 3.0
    assert torch.randn(4, device="cuda").isfinite().all()  # random numbers go on


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_what_the_work_alone_holds_is_kept() -> None:
    def made() -> Callable[[], torch.Tensor]:
        given = torch.full((1000,), 2.0, device="cuda")
        return repeated(lambda: given * 3, given.device)

    recorded = made()
    others = [torch.full((1000,), 7.0, device="cuda") for _ in range(100)]  # would take memory that became free
    assert torch.equal(recorded(), torch.full((1000,), 6.0, device="cuda"))
    assert len(others) == 100


def test_a_recording_holds_its_work() -> None:
    given = torch.ones(3)
    held = weakref.ref(given)

    def work(kept: torch.Tensor = given) -> torch.Tensor:
        return kept

    recording = Recording(None, given.clone(), work)
    del given, work
    gc.collect()
    assert held() is not None
    del recording
    gc.collect()
    assert held() is None
