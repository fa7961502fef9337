"""Exact resume: N steps are k steps, a stop, and the rest, bit by bit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch

from stylegan.snapshot import load
from stylegan.training import checkpoint
from tests.training.small import Outcome, assert_same, go, outcome, pictures, read_stats, small

VARIANTS: dict[str, dict[str, Any]] = {
    "labels": {},
    "no labels": {"labels": 0},
    "accumulation and lazy R1": {"training": {"micro_batch": 2}, "loss": {"penalty_interval": 3}},
    "wgan-gp, rarely saved": {"loss": {"kind": "wgan-gp"}, "training": {"checkpoint_ticks": 3}},
    "relativistic, whole-batch stddev": {
        "loss": {"kind": "relativistic", "r2_gamma": 1.0}, "discriminator": {"mbstd_group": 65536},
    },
    "augmentation that adapts": {
        "augment": {"policy": ["translate", "cutout"], "p": 0.3, "full_kimg": 0.2}, "labels": 0,
    },
    "bf16, no growing": {"training": {"precision": "bf16"}, "schedule": {"grow": False}},
}  # fmt: skip


@cache
def uninterrupted(variant: str) -> Outcome:
    run = Path(mkdtemp(prefix="stylegan-whole-"))
    assert go(small(**VARIANTS[variant]), run).finished
    return outcome(run)


@pytest.mark.parametrize(
    ("variant", "stops"),
    [
        ("labels", [0.024]),  # where 8x8 begins to fade in
        ("labels", [0.040]),  # inside that fade
        ("labels", [0.008, 0.048, 0.072, 0.080, 0.112]),
        ("no labels", [0.056]),
        ("accumulation and lazy R1", [0.016, 0.032, 0.096]),
        ("wgan-gp, rarely saved", [0.040]),
        ("relativistic, whole-batch stddev", [0.080]),
        ("augmentation that adapts", [0.056]),
        ("bf16, no growing", [0.064]),
    ],
)
def test_stopping_changes_nothing(variant: str, stops: list[float], tmp_path: Path) -> None:
    config = small(**VARIANTS[variant])
    for kimg in stops:
        result = go(config, tmp_path, stop_kimg=kimg)
        assert (result.finished, result.stopped) == (False, "stop_kimg")
        assert result.kimg == kimg
    assert go(config, tmp_path).finished
    assert_same(outcome(tmp_path), uninterrupted(variant))


def test_work_after_the_last_checkpoint_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between two checkpoints leaves grids, logs and a model that are ahead; they are made again."""
    from stylegan.training import loop

    ticks = 0
    original = loop._Session._after

    def crash(self: Any, point: Any) -> str:
        nonlocal ticks
        ticks += self.progress.nimg == 112
        if ticks:
            raise RuntimeError("power failure")
        return original(self, point)

    config = small(training={"checkpoint_ticks": 2})
    monkeypatch.setattr(loop._Session, "_after", crash)
    with pytest.raises(RuntimeError, match="power failure"):
        go(config, tmp_path)
    monkeypatch.undo()
    loaded, _ = checkpoint.latest(tmp_path / "checkpoints")
    assert loaded is not None
    assert loaded.progress.nimg < 112
    assert go(config, tmp_path).finished
    assert_same(outcome(tmp_path), uninterrupted("labels"))


def test_a_longer_schedule_goes_on_where_the_shorter_ended(tmp_path: Path) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    assert go(small(schedule={"total_kimg": 0.088}), short).finished
    assert go(small(), short, extend=True).finished
    assert go(small(), long).finished
    a, b = outcome(short), outcome(long)
    for name in a.tensors.keys() - {"statistics"}:  # the shorter run's last report came earlier
        assert a.tensors[name].equal(b.tensors[name]), name
    assert a.model == b.model


def test_the_first_checkpoint_before_any_report(tmp_path: Path) -> None:
    config = small(schedule={"tick_kimg": 100.0})
    go(config, tmp_path, stop_kimg=0.008)
    assert go(config, tmp_path).finished
    whole = tmp_path / "whole"
    assert go(config, whole).finished
    assert_same(outcome(tmp_path), outcome(whole))


def test_stopped_by_the_clock_and_the_model_is_as_it_stands(tmp_path: Path) -> None:
    """After no time at all: one look at the schedule, then saved, resumable to the same end."""
    result = go(small(), tmp_path, stop_minutes=0.0)
    assert (result.finished, result.stopped) == (False, "stop_minutes")
    assert 0 < result.kimg < 0.024
    assert read_stats(tmp_path) == []  # before the first report
    model = load(tmp_path / "model.safetensors")
    assert model.training["kimg"] == result.kimg
    loaded, _ = checkpoint.latest(tmp_path / "checkpoints")
    assert loaded is not None
    assert torch.equal(loaded.tensors["G_ema.w_avg"], model.generator.w_avg)
    assert "stopped as asked at 0.0 kimg; saved" in (tmp_path / "log.txt").read_text()
    assert go(small(), tmp_path, stop_minutes=60.0).finished
    assert_same(outcome(tmp_path), uninterrupted("labels"))


def test_stop_kimg_behind_the_run_does_nothing(tmp_path: Path) -> None:
    go(small(), tmp_path, stop_kimg=0.024)
    before = outcome_of_checkpoints(tmp_path)
    result = go(small(), tmp_path, stop_kimg=0.008)
    assert (result.kimg, result.finished, result.stopped) == (0.024, False, "stop_kimg")
    assert outcome_of_checkpoints(tmp_path) == before


def outcome_of_checkpoints(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}


def test_another_data_path_is_the_same_run(tmp_path: Path) -> None:
    """What identifies the data is its fingerprint, not where it lies."""
    go(small(data={"path": "/here", "mirror": True}), tmp_path, stop_kimg=0.016)
    assert go(small(data={"path": "/there", "mirror": True}), tmp_path, dataset=pictures()).finished
