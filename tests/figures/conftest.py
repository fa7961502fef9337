"""The tiny generators and model files of the drawing tests."""

import pytest

from stylegan.snapshot import save_snapshot
from tests.drawing.conftest import TRADITIONAL, make


@pytest.fixture(scope="session")
def plain():
    return make()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Model files by name: every kind."""
    folder = tmp_path_factory.mktemp("models")
    named = {"kimg": 1.0, "class_names": ["cat", "dog", "3"]}
    return {
        "plain": save_snapshot(folder / "plain.safetensors", make(), training={"kimg": 12.0}),
        "classes": save_snapshot(folder / "c.safetensors", make(labels=3, channels=1), training=named),
        "growing": save_snapshot(folder / "g.safetensors", make(lod=1.5, resolution=(48, 80))),
        "rgba": save_snapshot(folder / "rgba.safetensors", make(channels=4, resolution=16)),
        "six": save_snapshot(folder / "six.safetensors", make(channels=6, resolution=16)),
        "tiny": save_snapshot(folder / "tiny.safetensors", make(resolution=8)),
        "traditional": save_snapshot(folder / "t.safetensors", make(**TRADITIONAL)),
    }
