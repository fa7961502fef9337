"""A small conditional model and data set, made in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan.config import GeneratorConfig
from stylegan.data import Dataset, prepare_arrays
from stylegan.networks import Generator
from stylegan.snapshot import save_snapshot

CLASSES = 3


def small_generator(**settings: object) -> Generator:
    """16x16, a few channels; weights from seed 0."""
    torch.manual_seed(0)
    config = {"resolution": (16, 16), "z_dim": 6, "w_dim": 6, "mapping_width": 6, "mapping_layers": 2, "fmap_max": 6}
    generator = Generator(GeneratorConfig.model_validate({**config, **settings}))
    with torch.no_grad():
        for layer in generator.synthesis.layers:
            if layer.noise_strength is not None:
                layer.noise_strength.fill_(0.1)
    return generator.eval()


def small_pictures(count: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [n, 3, 16, 16], classes [n]): noise whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % CLASSES
    pictures = rng.integers(0, 60, (count, 3, 16, 16)) + 90 * classes[:, None, None, None]
    return pictures.astype(np.uint8), classes


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def generator() -> Generator:
    return small_generator(labels=CLASSES)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    pictures, classes = small_pictures()
    return Dataset.from_arrays(pictures, classes, ["dark", "grey", "bright"])


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> Path:
    """A folder with model.safetensors and the prepared data set `data`."""
    folder = tmp_path_factory.mktemp("measured")
    save_snapshot(folder / "model.safetensors", generator, training={"kimg": 7})
    pictures, classes = small_pictures()
    prepare_arrays(pictures, classes, folder / "data", class_names=["dark", "grey", "bright"])
    return folder
