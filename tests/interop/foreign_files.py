"""Weights and inputs of the recorded foreign networks, remade from names, shapes and a seed; numpy only.

`tests/parity/foreign/layouts.json` has the keys and shapes; the recorded outputs were computed by the other
programs themselves (huangzh13/StyleGAN.pytorch b1dfc47, rosinality/style-based-gan-pytorch 07fa60b) in float64.
Images above 32 pixels are recorded every 2nd, 4th or 8th pixel; of two samples the first.
"""

from __future__ import annotations

import json
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "parity" / "foreign"

# the first pattern found in the key: scale of the normal noise
SCALES = {
    "huangzh13": {
        r"^g_mapping\.map\.dense\d+\.weight$": 100.0, r"^g_mapping\.map\.dense\d+\.bias$": 20.0,
        r"^truncation\.avg_latent$": 0.3, r"style_mod\.lin\.weight$": 0.7, r"noise\.weight$": 0.2,
        r"to_rgb\.\d+\.weight$": 0.5, r"bias$": 0.3, r"": 1.0,
    },
    "rosinality": {
        r"^style\.\d+\.linear\.bias$": 0.2, r"adain\d\.style\.linear\.weight_orig$": 0.5, r"noise\d\.weight_orig$": 2.0,
        r"to_rgb\.\d+\.conv\.weight_orig$": 0.3, r"bias$": 0.3, r"": 1.0,
    },
}  # fmt: skip


@cache
def layouts() -> dict[str, Any]:
    """Program -> network -> [(key, shape)]."""
    found: dict[str, Any] = json.loads((FOLDER / "layouts.json").read_text())
    return found


@cache
def recorded(program: str) -> dict[str, np.ndarray]:
    """Outputs by case name."""
    with np.load(FOLDER / f"{program}.npz") as file:
        return dict(file)


def noise(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Standard normal numbers of the legacy generator, seeded by crc32(name) + seed."""
    return np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(tuple(shape))


def inputs(name: str, shape: tuple[int, ...], seed: int, scale: float = 1.0) -> torch.Tensor:
    """Latents, noise and images of the cases."""
    return torch.from_numpy((noise(name, shape, seed) * scale).astype(np.float32))


def state(program: str, network: str) -> dict[str, torch.Tensor]:
    """A state dict: generators are made from seed 1, discriminators from seed 2."""
    seed = 2 if network.startswith("discriminator") else 1
    return {
        key: torch.from_numpy(_value(program, key, tuple(shape), seed)) for key, shape in layouts()[program][network]
    }


def _value(program: str, key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    binomial = (np.outer([1, 2, 1], [1, 2, 1]) / 16).astype(np.float32)
    if re.search(r"\.(weight|weight_flip|kernel)$", key) and len(shape) == 4 and shape[1:] == (1, 3, 3):
        return np.broadcast_to(binomial, shape).copy()
    if key.endswith("kernel"):
        return np.full(shape, 0.25, np.float32)
    scale = next(scale for pattern, scale in SCALES[program].items() if re.search(pattern, key))
    value = noise(key, shape, seed) * scale
    if re.search(r"adain\d\.style\.linear\.bias$", key):
        value[: shape[0] // 2] += 1
    return value.astype(np.float32)
