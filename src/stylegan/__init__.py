"""StyleGAN (Karras, Laine, Aila 2018) and Progressive GAN: complete, exact and fast.

    G = stylegan.load("model.safetensors").generator
    images = G(stylegan.z_from_seeds([0, 1, 2], G.config.z_dim), psi=0.7)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module; imported when first used, so that `stylegan --help` does not wait for PyTorch
_PUBLIC = {
    "Config": "stylegan.config",
    "DiscriminatorConfig": "stylegan.config",
    "GeneratorConfig": "stylegan.config",
    "Discriminator": "stylegan.networks",
    "Generator": "stylegan.networks",
    "Replay": "stylegan.networks",
    "Snapshot": "stylegan.snapshot",
    "UserError": "stylegan.errors",
    "load": "stylegan.snapshot",
    "save_snapshot": "stylegan.snapshot",
    "train": "stylegan.training",
    "preset": "stylegan.config.presets",
    "z_from_seeds": "stylegan.latents",
}

# parts of the Python interface, imported when first named: `import stylegan; help(stylegan.metrics)`
_MODULES = (
    *("config", "data", "drawing", "editing", "figures", "images", "latents", "metrics"),
    *("networks", "ops", "snapshot", "studies", "studio", "training", "video"),
)

__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from stylegan.config import Config, DiscriminatorConfig, GeneratorConfig
    from stylegan.config.presets import preset
    from stylegan.errors import UserError
    from stylegan.latents import z_from_seeds
    from stylegan.networks import Discriminator, Generator, Replay
    from stylegan.snapshot import Snapshot, load, save_snapshot
    from stylegan.training import train


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"stylegan.{name}")
    raise AttributeError(f"module 'stylegan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
