"""Tiny random generators, in memory and as model files."""

import pytest
import torch

from stylegan.config import GeneratorConfig
from stylegan.networks import Generator
from stylegan.snapshot import save_snapshot

SMALL = {"fmap_base": 64, "fmap_max": 8, "z_dim": 8, "w_dim": 8, "mapping_width": 8, "mapping_layers": 2}
TRADITIONAL = {
    "styles": False,
    "instance_norm": False,
    "pixel_norm": True,
    "constant_input": False,
    "noise": False,
    "mapping_layers": 0,
    "truncation_psi": None,
    "truncation_cutoff": None,
}


def make(lod=0.0, **settings):
    """A generator whose noise, average w and lod all matter."""
    torch.manual_seed(0)
    G = Generator(GeneratorConfig(**{"resolution": 32, **SMALL, **settings})).eval()
    G.lod = lod
    with torch.no_grad():
        G.w_avg.normal_(0, 0.3)
        for layer in G.synthesis.layers:
            if layer.noise_strength is not None:
                layer.noise_strength.fill_(0.2)
    return G


@pytest.fixture(scope="session")
def plain():
    return make()


@pytest.fixture(scope="session")
def traditional():
    return make(**TRADITIONAL)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Model files by name."""
    folder = tmp_path_factory.mktemp("models")
    training = {"kimg": 12.0, "data": {"attribution": "drawn by hand"}}
    named = {"kimg": 1.0, "class_names": ["cat", "dog", "3"]}
    return {
        "plain": save_snapshot(folder / "plain.safetensors", make(), training=training),
        "classes": save_snapshot(folder / "c.safetensors", make(labels=3, channels=1), training=named),
        "growing": save_snapshot(folder / "g.safetensors", make(lod=1.5, resolution=(48, 80))),
        "six": save_snapshot(folder / "six.safetensors", make(channels=6)),
        "rgba": save_snapshot(folder / "rgba.safetensors", make(channels=4)),
        "traditional": save_snapshot(folder / "t.safetensors", make(**TRADITIONAL)),
    }
