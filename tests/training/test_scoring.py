"""Metrics during training: measured when due, in the log, and the best model kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stylegan import UserError, load
from stylegan.config.presets import preset
from stylegan.data.dataset import Dataset
from stylegan.distributed import Processes
from stylegan.networks import Generator
from stylegan.training import train
from stylegan.training.scoring import Scoring


def config(**training: object):
    nets = {"fmap_max": 8}
    schedule = {"total_kimg": 0.048, "stable_kimg": 0.016, "fade_kimg": 0.008, "batch": 8, "batch_by_resolution": {},
                "tick_kimg": 0.016, "repeats": 1}  # fmt: skip
    changes = {"generator": nets, "discriminator": nets, "schedule": schedule, "training": training}
    return preset("tiny", 16, 1, changes=changes)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.from_arrays(np.random.default_rng(0).integers(0, 256, (40, 1, 16, 16), dtype=np.uint8))


def test_measured_when_due_and_the_best_is_kept(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = {"metrics": "fid32", "metrics_features": "pixels", "metrics_every_kimg": 0.032}
    train(config(**asked), tmp_path / "run", "cpu", dataset, quiet=True)
    entries = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert [entry["nimg"] for entry in entries if "metrics" in entry] == [32, 48]  # every 0.032 kimg and at the end
    values = {entry["kimg"]: entry["metrics"]["fid32"] for entry in entries if "metrics" in entry}
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best["value"] == min(values.values())
    assert values[best["kimg"]] == best["value"]
    assert load(tmp_path / "run" / "best.safetensors").training["metrics"] == {"fid32": best["value"]}


def test_unknown_metrics_are_refused_before_training(dataset, tmp_path):
    with pytest.raises(UserError, match="fud2k"):
        train(config(metrics="fud2k"), tmp_path / "run", "cpu", dataset, quiet=True)
    assert not (tmp_path / "run" / "stats.jsonl").exists()


def test_for_some_metrics_more_is_better(tmp_path):
    c = config()
    g = Generator(c)
    scoring = Scoring(c, g, tmp_path, Processes())
    assert scoring.keep_if_best({"pr2k3_precision": 0.5}, g, c, {"kimg": 1.0})
    assert not scoring.keep_if_best({"pr2k3_precision": 0.4}, g, c, {"kimg": 2.0})
    assert scoring.keep_if_best({"pr2k3_precision": 0.6}, g, c, {"kimg": 3.0})
    assert scoring.keep_if_best({"fid2k": 9.0}, g, c, {"kimg": 4.0})
    assert not scoring.keep_if_best({"fid2k": 10.0}, g, c, {"kimg": 5.0})
