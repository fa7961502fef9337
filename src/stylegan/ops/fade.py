"""Cross-fade of real images while a new resolution fades in (Progressive GAN, section 2)."""

from __future__ import annotations

import torch

from stylegan import lod as lods
from stylegan.ops.resample import downscale2d, upscale2d


def fade_reals(images: torch.Tensor, lod: float) -> torch.Tensor:
    """Real images of level floor(lod) as the discriminator must see them during a fade; [N, C, h, w].

    lerp(x, up(down(x)), frac(lod)): of the same blended sharpness as the generator's images.
    """
    fade = lods.fade_of(lod)
    return torch.lerp(images, upscale2d(downscale2d(images)), fade) if fade else images  # N C h w
