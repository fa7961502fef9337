"""Small models with random weights: conditional ones at 64 pixels, a plain one at 256."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stylegan.config import GeneratorConfig
from stylegan.networks import Generator
from stylegan.snapshot import Snapshot, load, save_snapshot
from tests.cli.conftest import stylegan  # noqa: F401

TRAINING = {
    "kimg": 12.5,
    "class_names": ["cats", "dogs", "owls"],
    "attribution": "Drawn by nobody | CC0",
    "data": {"images": 1000, "fingerprint": "abc", "path": "/home/somebody/pictures"},
    "lineage": [{"event": "converted", "format": "a pickle", "file": "/home/somebody/net.pkl", "sha256": "00ff"}],
}


def made(path: Path, resolution: int | tuple[int, int], lod: float = 0.0, **options: Any) -> Snapshot:
    """A model file with nothing at its initial value, opened."""
    torch.manual_seed(0)
    small = {"fmap_max": 16, "fmap_base": 512, "z_dim": 16, "w_dim": 16, "mapping_width": 16, "mapping_layers": 2}
    G = Generator(GeneratorConfig(resolution=resolution, **{**small, **options})).eval()
    G.lod = lod
    with torch.no_grad():
        G.w_avg.normal_()
        for layer in G.synthesis.layers:
            layer.bias.normal_()
            if layer.noise_strength is not None:
                layer.noise_strength.normal_()
    config = {"data": {"path": "/home/somebody/pictures"}, "loss": {"kind": "logistic", "r1_gamma": 10.0}}
    return load(save_snapshot(path / "model.safetensors", G, config=config, training=TRAINING))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """16x16, three classes."""
    return made(tmp_path_factory.mktemp("small"), 16, labels=3)


@pytest.fixture(scope="session")
def classes64(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """64x64, three classes."""
    return made(tmp_path_factory.mktemp("classes64"), 64, labels=3)
