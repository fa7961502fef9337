"""Cross-fades while a new resolution fades in (Progressive GAN, section 2)."""

from __future__ import annotations

import torch

from stylegan import lod as lods
from stylegan.ops.resample import downscale2d, upscale2d
from stylegan.ops.style import at_least_float32


def blend(x: torch.Tensor, lower: torch.Tensor, lod: float) -> torch.Tensor:
    """lerp(x, lower, frac(lod)), for two tensors of one shape."""
    if not isinstance(lod, lods.FadeInTensor):
        return torch.lerp(x, lower, lods.fade_of(lod))
    # a tensor as weight must have the type of the others, and bfloat16 has too few digits for a fade
    return torch.lerp(at_least_float32(x), at_least_float32(lower), lod.fraction).to(x.dtype)


def fade_reals(images: torch.Tensor, lod: float) -> torch.Tensor:
    """Real images of level floor(lod) as the discriminator must see them during a fade; [N, C, h, w].

    lerp(x, up(down(x)), frac(lod)): of the same blended sharpness as the generator's images.
    """
    return blend(images, upscale2d(downscale2d(images)), lod) if lods.fade_of(lod) else images  # N C h w
