"""Every loss, preset and precision goes through a step of every kind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylegan.config import Config
from stylegan.config.presets import PRESETS, merge, preset
from stylegan.training import schedule
from stylegan.training.step import MicroBatch, Trainer
from tests.training.small import go, outcome, pictures, read_stats, small

NARROW = {
    "generator": {"fmap_base": 64, "fmap_max": 8, "z_dim": 8, "mapping_width": 8},
    "discriminator": {"fmap_base": 64, "fmap_max": 8},
    "schedule": {"batch": 4, "batch_by_resolution": {}},
}


def two_steps(config: Config) -> Trainer:
    """One step at full resolution and one inside a fade."""
    trainer = Trainer(config)
    data = pictures(config.generator.channels)
    top = config.generator.top
    fade = round((config.schedule.stable_kimg + config.schedule.fade_kimg / 3) * 1000)
    for nimg in (fade, 10**8):
        point = schedule.at(config.schedule, top, nimg)
        images = torch.from_numpy(data.read(np.arange(4), config.generator.size(point.level)))
        classes = config.generator.labels
        labels = torch.from_numpy(data.labels(np.arange(4)))[:, :classes]
        drawn = torch.from_numpy(data.labels(np.arange(4, 8)))[:, :classes]
        trainer.step(point, nimg, [MicroBatch(torch.arange(4), images, labels, drawn)])
    return trainer


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("name", [n for n in PRESETS if n.startswith(("table", "ffhq1024", "celebahq"))])
def test_preset(name: str, labels: int) -> None:
    without_mapping = PRESETS[name][1].get("generator", {}).get("mapping_layers") == 0  # w is z there
    narrow = NARROW if without_mapping else merge(NARROW, {"generator": {"w_dim": 8}})
    config = preset(name, 16, 3, labels, narrow)
    trainer = two_steps(config)
    assert bool(torch.isfinite(trainer.statistics).all())
    assert trainer.statistics[0] == 2
    for network in (trainer.G, trainer.D, trainer.G_ema):
        assert all(bool(torch.isfinite(p).all()) for p in network.parameters())


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize(
    "loss",
    [
        {"kind": "logistic"}, {"kind": "logistic", "r1_gamma": 0.0}, {"kind": "logistic", "r2_gamma": 1.0},
        {"kind": "wgan-gp"}, {"kind": "wgan-gp", "r1_gamma": 0.0, "wgan_target": 750.0}, {"kind": "hinge"},
        {"kind": "relativistic", "r2_gamma": 10.0}, {"kind": "relativistic", "r1_gamma": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_loss(loss: dict[str, Any], labels: int, tmp_path: Path) -> None:
    config = small(labels=labels, loss=loss, schedule={"total_kimg": 0.032, "stable_kimg": 0.008, "fade_kimg": 0.008})
    assert go(config, tmp_path).finished
    (entry,) = read_stats(tmp_path)
    assert all(math.isfinite(value) for value in entry["loss"].values())
    penalised = loss["kind"] == "wgan-gp" or loss.get("r1_gamma", 10) > 0 or loss.get("r2_gamma", 0) > 0
    assert (entry["loss"]["penalty"] > 0) == penalised


def test_relativistic_pairs_share_their_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the G step too, each fake is compared with a real of its own class."""
    config = small(loss={"kind": "relativistic"})
    trainer = Trainer(config)
    data = pictures()
    images = torch.from_numpy(data.read(np.arange(4)))
    labels, drawn = (torch.from_numpy(data.labels(np.arange(i, i + 4))) for i in (0, 4))
    seen: list[torch.Tensor] = []
    original = trainer.D.forward
    monkeypatch.setattr(trainer.D, "forward", lambda x, y, lod: seen.append(y) or original(x, y, lod))  # type: ignore[func-returns-value]
    trainer.g_step(schedule.at(config.schedule, 2, 10**6), 0, [MicroBatch(torch.arange(4), images, labels, drawn)])
    assert len(seen) == 2
    assert all(torch.equal(given, labels) for given in seen)


def test_bf16_stays_close_to_fp32(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"schedule": {"grow": False, "batch": 8, "total_kimg": 0.032}}
    go(small(**changes), tmp_path / "fp32")
    go(small(**changes, training={"precision": "bf16"}), tmp_path / "bf16")
    a, b = outcome(tmp_path / "fp32"), outcome(tmp_path / "bf16")
    assert not all(torch.equal(a.tensors[n], b.tensors[n]) for n in a.tensors)
    for ours, theirs in zip(a.stats, b.stats, strict=True):
        for name in ("loss_d", "loss_g", "score_real"):
            assert abs(ours["loss"][name] - theirs["loss"][name]) < 0.05, name
    assert all(t.dtype == torch.float32 for t in b.tensors.values())


def test_tf32_is_fp32_on_a_cpu(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"schedule": {"total_kimg": 0.032}}
    go(small(**changes), tmp_path / "fp32")
    go(small(**changes, training={"precision": "tf32"}), tmp_path / "tf32")
    a, b = outcome(tmp_path / "fp32"), outcome(tmp_path / "tf32")
    assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def test_colour_and_wide_images(tmp_path: Path) -> None:
    from stylegan.data.dataset import Dataset

    rng = np.random.default_rng(0)
    wide = Dataset.from_arrays(rng.integers(0, 256, (8, 4, 16, 24), dtype=np.uint8))
    size = {"resolution": [16, 24]}
    config = small(labels=0, channels=4, generator={**NARROW["generator"], "w_dim": 8, **size}, discriminator=size)
    assert go(config, tmp_path, dataset=wide).finished
