"""The official image conversions, with their quirks. The project itself rounds (see `stylegan.images`)."""

from __future__ import annotations

import torch

from stylegan.ops.resample import downscale2d


def images_to_uint8(
    images: torch.Tensor,
    drange: tuple[float, float] = (-1.0, 1.0),
    nchw_to_nhwc: bool = False,
    shrink: int = 1,
) -> torch.Tensor:
    """[N, C, H, W] float -> uint8, box-shrunk first; the value is *truncated*: x·127.5 + 128 for [−1, 1]."""
    x = images.float()
    if shrink > 1:
        x = downscale2d(x, shrink)
    if nchw_to_nhwc:
        x = x.permute(0, 2, 3, 1)  # N H W C
    scale = 255.0 / (drange[1] - drange[0])
    x = x * scale + (0.5 - drange[0] * scale)
    return x.clamp(0, 255).to(torch.uint8)


def images_from_uint8(
    images: torch.Tensor,
    drange: tuple[float, float] = (-1.0, 1.0),
    nhwc_to_nchw: bool = False,
) -> torch.Tensor:
    """uint8 -> float by the official formula (x − drange[0])·(drange[1] − drange[0])/255, which is not the
    inverse of `images_to_uint8`."""
    x = images.float()
    if nhwc_to_nchw:
        x = x.permute(0, 3, 1, 2)  # N C H W
    return (x - drange[0]) * ((drange[1] - drange[0]) / 255)
