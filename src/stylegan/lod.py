"""Level-of-detail arithmetic: which image size and which layers a `lod` means, and how much is faded.

`lod` counts octaves below full resolution: 0 is full size, 1 half size in each direction, 1.5 is half way
through the fade between the two levels below (Progressive GAN, section 2 and figure 2). A *level* counts
the other way, from the base (level 0, normally 4x4) up; `nominal(level)` = 4·2^level names a level by the
side it would have with a 4x4 base, which is how schedules are written whatever the aspect of the images.
Pure arithmetic, without PyTorch; the cross-fade of real images is in `stylegan.ops.fade`.
"""

from __future__ import annotations

import math
from typing import Any


def split_size(height: int, width: int) -> tuple[int, int, int]:
    """(h0, w0, k) with height = h0·2^k and width = w0·2^k, choosing the base whose area is nearest to 4x4.

    Raises ValueError where no power of two above 1 divides both sides.
    """
    candidates = []
    for k in range(1, 31):
        if height % 2**k or width % 2**k:
            break
        h0, w0 = height >> k, width >> k
        candidates.append((abs(math.log2(h0 * w0) - 4.0), -h0 * w0, h0, w0, k))
    if not candidates:
        raise ValueError(
            f"image size {width}x{height}: width and height must both be a small number times the same power "
            f"of two, such as 256x256, 384x512 or 1280x768; crop or resize the images to such a size"
        )
    _, _, h0, w0, k = min(candidates)
    return h0, w0, k


def nominal(level: int) -> int:
    """4·2^level, the name of a level in schedules and presets (its side for a 4x4 base)."""
    return 4 << level


def level_of(lod: float, top: int) -> int:
    """The highest level that takes part at this lod, in a network whose full size is level `top`."""
    return top - min(math.floor(lod), top)


def fade_of(lod: float) -> float:
    """How much of the next lower level is still mixed in: the fractional part of lod, 0 = not at all."""
    return float(lod - math.floor(lod))


class FadeInTensor(float):
    """A lod whose fraction lies in a tensor on the device, for what is recorded once and replayed with other fades.

    The number itself is any lod within the same fade: levels and sizes follow from it, the blend from `fraction`.
    """

    fraction: Any  # a tensor of one float32

    def __new__(cls, lod: float, fraction: Any) -> FadeInTensor:
        made = super().__new__(cls, lod)
        made.fraction = fraction
        return made


def check_lod(lod: float, top: int) -> float:
    """The lod as a float; ValueError outside [0, top]."""
    if not 0.0 <= lod <= top:
        raise ValueError(f"lod {lod}: must lie between 0 (full resolution) and {top} (the lowest resolution)")
    return lod if isinstance(lod, FadeInTensor) else float(lod)


def active_layers(num_layers: int, lod: float) -> int:
    """How many of the L style layers act at this lod: L − 2·floor(lod)."""
    return num_layers - 2 * math.floor(lod)
