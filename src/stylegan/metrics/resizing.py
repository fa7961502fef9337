"""Resize filters as matrices: what an image is resized with changes FID by up to 1, so it is named and recorded.

Along each axis the result is M·x with M [out, in]; the filters differ in M only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from stylegan.errors import UserError

FILTERS = {
    "tf1": "bilinear as TensorFlow 1 has it: corners of pixels aligned, no antialiasing (the official Inception)",
    "bilinear": "bilinear between pixel centres, no antialiasing",
    "triangle": "bilinear, widened when reducing (antialiased), as Pillow",
    "bicubic": "bicubic (a = -0.5), widened when reducing (antialiased), as Pillow and clean-fid",
    "box": "mean over the area of each new pixel",
    "none": "not resized",
}


@lru_cache(maxsize=64)
def resize_matrix(inputs: int, outputs: int, name: str) -> np.ndarray:
    """M [outputs, inputs], float64, rows sum to 1. UserError for an unknown filter."""
    scale = inputs / outputs
    if name in ("tf1", "bilinear"):
        offset = 0.0 if name == "tf1" else 0.5
        place = np.clip((np.arange(outputs) + offset) * scale - offset, 0, inputs - 1)
        low = np.floor(place).astype(int)
        high, part = np.minimum(low + 1, inputs - 1), place - low
        matrix = np.zeros((outputs, inputs))
        np.add.at(matrix, (np.arange(outputs), low), 1 - part)
        np.add.at(matrix, (np.arange(outputs), high), part)
        return matrix
    if name == "box":
        edges = np.arange(outputs + 1) * scale
        starts, ends = edges[:-1, None], edges[1:, None]
        pixels = np.arange(inputs)[None]
        return np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, None) / scale
    if name in ("triangle", "bicubic"):
        widen = max(scale, 1.0)
        centre = (np.arange(outputs)[:, None] + 0.5) * scale
        at = np.abs((np.arange(inputs)[None] + 0.5 - centre) / widen)
        if name == "triangle":
            matrix = np.clip(1 - at, 0, None)
        else:
            a = -0.5
            near = (a + 2) * at**3 - (a + 3) * at**2 + 1
            far = a * at**3 - 5 * a * at**2 + 8 * a * at - 4 * a
            matrix = np.where(at < 1, near, np.where(at < 2, far, 0.0))
        return matrix / matrix.sum(1, keepdims=True)
    raise UserError(f"resize filter {name!r}: must be one of {', '.join(FILTERS)}")


@lru_cache(maxsize=64)
def _matrix_on(inputs: int, outputs: int, name: str, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """The same on a device, where it stays: sending it with every batch would wait for the batch before."""
    with torch.inference_mode(False):
        return torch.from_numpy(resize_matrix(inputs, outputs, name)).to(device, dtype)


def resize(images: torch.Tensor, size: tuple[int, int], name: str) -> torch.Tensor:
    """float [N, C, H, W] -> [N, C, h, w] for size (h, w); images of that size are left as they are."""
    height, width = images.shape[2:]
    if (height, width) == size or name == "none":
        return images
    rows = _matrix_on(height, size[0], name, images.device, images.dtype)
    columns = _matrix_on(width, size[1], name, images.device, images.dtype)
    return rows @ images @ columns.T  # N C h w
