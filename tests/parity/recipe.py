"""Variable values of the recorded networks, remade from their names, shapes and a seed instead of stored.

A value is standard normal noise, drawn by numpy's old generator from (crc32 of the name + seed), then scaled
and shifted so that every part of the network is exercised (no zero noise strengths, no constant of ones).
"""

from __future__ import annotations

import fnmatch
import zlib
from collections.abc import Iterable

import numpy as np

# the first pattern that fits the official name: (scale, offset)
SPREAD = {
    "*dlatent_avg": (0.2, 0.0),
    "*/Noise/weight": (0.3, 0.0),
    "*/const": (0.5, 1.0),
    "*LabelConcat*": (1.0, 0.0),
    "G_mapping/*/weight": (100.0, 0.0),  # lrmul 0.01 brings it back to 1
    "G_mapping/*/bias": (20.0, 0.0),
    "*/StyleMod/bias": (0.3, 0.0),
    "*/bias": (0.2, 0.0),
    "*": (1.0, 0.0),
}


def value(name: str, shape: Iterable[int], seed: int, lod: float = 0.0) -> np.ndarray:
    """The float32 value of one official variable."""
    if name.split("/")[-1] == "lod":
        return np.array(lod, np.float32)
    generator = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    scale, offset = next(spread for pattern, spread in SPREAD.items() if fnmatch.fnmatchcase(name, pattern))
    return (offset + scale * generator.standard_normal(tuple(shape))).astype(np.float32)
