"""The 1x1 convolutions between images and features, of which images are few channels at the highest resolutions.

Shapes: images [N, K, H, W]; features [N, C, H, W], or packed [N, 4C, H/2, W/2] (ops.packed); bias [C] or [K].
"""

from __future__ import annotations

import torch

from stylegan.ops import fused_image, fused_rgb
from stylegan.ops.conv import conv2d
from stylegan.ops.packed import from_pixels, pack_image, packed_conv2d, pixels, unpack_image
from stylegan.ops.style import bias_activate, style_epilogue
from stylegan.ops.switch import kernels, laid_out


def from_rgb(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    nonlinearity: str | None,
    dtype: torch.dtype,
    packed: bool = False,
) -> torch.Tensor:
    """Features of images in the given type: 1x1 convolution, weight [C, K, 1, 1], bias, and activation if any.

    Fast: one pass, and one for each derivative; images and weight are not rounded to `dtype` before.
    """
    if kernels(images) and fused_rgb.serves(weight, weight.shape[1], dtype):
        return fused_rgb.from_rgb(images, weight, bias, nonlinearity, dtype, packed)
    x, weight = pack_image(images, dtype) if packed else laid_out(images.to(dtype)), weight.to(dtype)
    x = pixels(packed_conv2d(x, weight)) if packed else conv2d(x, weight)
    x = _add(x, bias) if nonlinearity is None else bias_activate(x, bias, nonlinearity)
    return from_pixels(x) if packed else x


def to_rgb(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, packed: bool = False) -> torch.Tensor:
    """Images, in float32 or float64, of features: 1x1 convolution, weight [K, C, 1, 1], and bias.

    Fast: one pass, and one for all first derivatives; the weight is not rounded to the type of the features before.
    """
    if kernels(features) and fused_rgb.serves(weight, weight.shape[0], features.dtype):
        return fused_rgb.to_rgb(features, weight, bias, packed)
    weight, wide = weight.to(features.dtype), torch.promote_types(features.dtype, torch.float32)
    if packed:
        return unpack_image(from_pixels(_add(pixels(packed_conv2d(features, weight)), bias)), wide)
    return _add(conv2d(features, weight), bias).to(wide)


def styled_to_rgb(
    x: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    bias: torch.Tensor,
    style: torch.Tensor | None,
    nonlinearity: str,
    pixel: bool,
    instance: bool,
    eps: float,
    weight: torch.Tensor,
    image_bias: torch.Tensor,
    packed: bool = False,
) -> torch.Tensor:
    """to_rgb of ops.style.style_epilogue of x; packed: of `ops.packed.pixels`.

    Fast where no gradient is wanted, with instance norm above 32x32: what lies between is not written.
    """
    if instance and not pixel and fused_image.serves(x, weight):
        return fused_image.styled_to_rgb(
            x, noise, strength, bias, style, nonlinearity, eps, weight, image_bias, packed
        )
    x = style_epilogue(x, noise, strength, bias, style, nonlinearity, pixel, instance, eps)
    return to_rgb(from_pixels(x) if packed else x, weight, image_bias, packed)


def _add(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return x + bias.to(x.dtype).reshape(1, -1, 1, 1)
