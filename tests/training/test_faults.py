"""NaN and infinity, memory that does not suffice, and the detection of both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from stylegan.errors import UserError
from stylegan.training import checkpoint, memory
from stylegan.training.step import Trainer
from tests.training.small import assert_close, go, outcome, read_stats, small
from tests.training.test_resume import uninterrupted


def poison(monkeypatch: pytest.MonkeyPatch, step: int, change: Any) -> list[int]:
    """Calls change(trainer) before the step with this number; the list holds nimg of every step begun."""
    begun: list[int] = []
    original = Trainer.step

    def poisoned(self: Trainer, point: Any, nimg: int, parts: Any) -> None:
        begun.append(nimg)
        if len(begun) == step:
            change(self)
        original(self, point, nimg, parts)

    monkeypatch.setattr(Trainer, "step", poisoned)
    return begun


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.D.head.dense1.bias.data.fill_(math.nan), "D.head.dense1.bias"),
        (lambda t: t.G.synthesis.layers[1].bias.data.fill_(math.inf), "G.synthesis.layers.1.bias"),
        (lambda t: t.G.mapping.layers[0].weight.data[0].fill_(math.nan), "G.mapping.layers.0.weight"),
    ],
)
def test_not_finite_stops_in_that_step(
    change: Any, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = poison(monkeypatch, 19, change)
    with pytest.raises(UserError) as caught:
        go(small(), tmp_path)
    assert len(begun) == 19
    text = str(caught.value)
    assert "the training has diverged: loss_d is nan" in text
    assert "at 0.076 kimg" in text
    assert named in text or "more" in text
    assert f"The last checkpoint, {tmp_path / 'checkpoints' / '00000000064'}, is sound" in text
    assert "lower schedule.lr" in text
    assert "higher loss.r1_gamma" in text
    monkeypatch.undo()
    loaded, complaints = checkpoint.latest(tmp_path / "checkpoints")
    assert loaded is not None
    assert (loaded.progress.nimg, complaints) == (64, [])
    assert all(bool(torch.isfinite(t).all()) for t in loaded.tensors.values())


def test_weights_that_break_in_the_last_half_step_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of a step are finite, then its update of G is not, and a checkpoint follows: refused."""
    original = Trainer.g_step

    def broken(self: Trainer, point: Any, nimg: int, parts: Any) -> None:
        original(self, point, nimg, parts)
        if nimg == 60:  # the step before the report at 64
            self.G.synthesis.to_rgb[1].bias.data.fill_(math.nan)

    monkeypatch.setattr(Trainer, "g_step", broken)
    with pytest.raises(UserError, match=r"not saved, as \d tensors are not finite|diverged|NaN"):
        go(small(), tmp_path)
    loaded, complaints = checkpoint.latest(tmp_path / "checkpoints")
    assert loaded is not None
    assert (loaded.progress.nimg, complaints) == (32, [])


# --- memory -----------------------------------------------------------------------------------------------


class Exhausted:
    """Networks that run out of memory with more than `most` samples at a time, from level 1 on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, where: str, error: Exception | None = None) -> None:
        self.passes: list[int] = []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        fakes = Trainer._fakes

        def limited(trainer: Trainer, half: str, point: Any, lod: Any, nimg: int, part: Any, labels: Any) -> Any:
            if point.level >= 1 and len(part.rows) > most and where == half.upper():
                raise self.error
            self.passes.append(len(part.rows))
            return fakes(trainer, half, point, lod, nimg, part, labels)

        monkeypatch.setattr(Trainer, "_fakes", limited)


@pytest.mark.parametrize("where", ["D", "G"])
def test_out_of_memory_halves_the_micro_batch_and_goes_on(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch 16 -> 8 -> 4 per pass: the same global batch, so the same training up to rounding."""
    config = small(schedule={"batch": 16, "repeats": 1, "lr": 0.05}, training={"adam_eps": 0.1})
    exhausted = Exhausted(monkeypatch, 4, where)
    assert go(config, tmp_path / "a").finished
    log = (tmp_path / "a" / "log.txt").read_text()
    assert "out of memory: going on with the same batch of 16 in 2 passes of at most 8 per process" in log
    assert "out of memory: going on with the same batch of 16 in 4 passes of at most 4 per process" in log
    assert log.count("out of memory") == 2
    assert set(exhausted.passes) <= {16, 8, 4}
    assert exhausted.passes[-1] == 4
    monkeypatch.undo()
    assert go(config, tmp_path / "b").finished
    a, b = outcome(tmp_path / "a"), outcome(tmp_path / "b")
    assert_close(a, b)
    assert [e["nimg"] for e in a.stats] == [e["nimg"] for e in b.stats]


def test_a_run_remembers_what_fits_and_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(schedule={"batch": 8})
    Exhausted(monkeypatch, 2, "D")
    assert go(config, tmp_path / "a").finished
    go(config, tmp_path / "b", stop_kimg=0.080)
    log = (tmp_path / "b" / "log.txt").read_text()
    assert log.count("out of memory") == 2
    assert go(config, tmp_path / "b").finished
    assert (tmp_path / "b" / "log.txt").read_text().count("out of memory") == 2
    a, b = outcome(tmp_path / "a"), outcome(tmp_path / "b")
    assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
    loaded, _ = checkpoint.latest(tmp_path / "b" / "checkpoints")
    assert loaded is not None
    assert (loaded.progress.micro_batch, loaded.progress.micro_batch_on) == (2, "cpu")
    # on a device with other memory it is tried anew
    monkeypatch.undo()
    monkeypatch.setattr(memory, "describe", lambda device: "a larger GPU")
    longer = small(schedule={"batch": 8, "total_kimg": 0.16})
    assert go(longer, tmp_path / "b", extend=True).finished


def test_one_sample_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Exhausted(monkeypatch, 0, "D")
    with pytest.raises(UserError, match=r"out of memory at 8x8 with one sample at a time; train at a lower resolution"):
        go(small(), tmp_path)
    loaded, _ = checkpoint.latest(tmp_path / "checkpoints")
    assert loaded is None or loaded.progress.nimg <= 32


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_all_ways_to_run_out_are_recognised(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.is_out_of_memory(error)
    Exhausted(monkeypatch, 2, "D", error)
    assert go(small(schedule={"total_kimg": 0.04}), tmp_path).finished


def test_the_hosts_own_allocator() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert memory.is_out_of_memory(caught.value)


def test_other_errors_are_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not memory.is_out_of_memory(RuntimeError("shape mismatch"))
    Exhausted(monkeypatch, 2, "D", RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        go(small(), tmp_path)
    monkeypatch.undo()
    assert go(small(), tmp_path).finished  # and the run goes on once the error is mended
    assert read_stats(tmp_path)[-1]["nimg"] == 120
    assert outcome(tmp_path).model == uninterrupted("labels").model
