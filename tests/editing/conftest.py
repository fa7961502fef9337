"""Tiny generators, some with a structure that is known, and model files of them."""

import numpy as np
import pytest
import torch

from stylegan import images
from stylegan.config import GeneratorConfig
from stylegan.drawing import Look, map_seeds, render
from stylegan.networks import Generator
from stylegan.snapshot import save_snapshot

SMALL = {"fmap_base": 128, "fmap_max": 16, "z_dim": 8, "w_dim": 8, "mapping_width": 8, "mapping_layers": 2}
TRADITIONAL = {
    "styles": False, "instance_norm": False, "pixel_norm": True, "constant_input": False, "noise": False,
    "mapping_layers": 0, "truncation_psi": None, "truncation_cutoff": None,
}  # fmt: skip


def make(lod=0.0, seed=0, **settings):
    """A generator whose noise, average w and lod all matter."""
    torch.manual_seed(seed)
    G = Generator(GeneratorConfig(**{"resolution": 16, **SMALL, **settings})).eval()
    G.lod = lod
    with torch.no_grad():
        if G.config.constant_input:
            G.synthesis.input.constant.normal_()  # ones, as at first, would leave all structure to the noise
        for layer in G.synthesis.layers:
            if layer.noise_strength is not None:
                layer.noise_strength.fill_(0.1)
        for to_rgb in G.synthesis.to_rgb:
            to_rgb.weight.mul_(0.3)
        labels = torch.eye(G.config.labels)[torch.arange(500) % G.config.labels] if G.config.labels else None
        G.w_avg.copy_(G.mapping.w(torch.randn(500, G.config.z_dim), labels).mean(0))
    return G


def linear(width=8, labels=0, **settings):
    """A generator whose w is a linear map of the normalised z (and label), returned as [width, inputs].

    One mapping layer with so large a bias that the leaky ReLU never bends. Normalised z has covariance I.
    """
    G = make(z_dim=width, w_dim=width, mapping_layers=1, labels=labels, **settings)
    layer = G.mapping.layers[0]
    with torch.no_grad():
        layer.bias.fill_(1000.0 / layer.lrmul)
    return G, layer


def sample(G, seed, noise="random", psi=1.0, classes=None):
    """The image of a seed, uint8 [h, w, C]."""
    look = Look(noise=noise, psi=psi)
    return render(G, map_seeds(G, [seed], classes, look), look, [seed])[0]


@pytest.fixture(scope="session")
def plain():
    return make()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Model files by name."""
    folder = tmp_path_factory.mktemp("models")
    named = {"kimg": 1.0, "class_names": ["cat", "sea: dog", "owl"], "lineage": [{"kind": "fine-tuning"}]}
    return {
        "plain": save_snapshot(folder / "plain.safetensors", make(), training={"kimg": 2.0}),
        "half": save_snapshot(folder / "half.safetensors", make(), dtype=torch.float16),
        "other": save_snapshot(folder / "other.safetensors", make(seed=1)),
        "wide": save_snapshot(folder / "wide.safetensors", make(w_dim=12)),
        "classes": save_snapshot(folder / "c.safetensors", make(labels=3, channels=1), training=named),
        "growing": save_snapshot(folder / "g.safetensors", make(lod=1.5, resolution=(48, 80))),
        "traditional": save_snapshot(folder / "t.safetensors", make(**TRADITIONAL)),
    }


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    """A picture of 40x30 with a bright upper left corner."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:15, :20] = (250, 120, 30)
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    images.write_png(path, pixels)
    return path
