"""Official StyleGAN and Progressive GAN: networks from their function names, arguments and variables, the image
conversions, pickles and TFRecords. Names are imported on demand: reading a pickle does not need PyTorch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylegan.official.build import build
    from stylegan.official.images import images_from_uint8, images_to_uint8

__all__ = ["build", "images_from_uint8", "images_to_uint8"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "build" if name == "build" else "images"
        value = getattr(importlib.import_module(f"stylegan.official.{module}"), name)
        globals()[name] = value  # importing the module `build` has put the module there, not the function
        return value
    raise AttributeError(f"module 'stylegan.official' has no attribute {name!r}")
