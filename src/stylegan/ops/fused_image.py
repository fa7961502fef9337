"""Fast form on a GPU, where no gradient is wanted: a layer's epilogue and the 1x1 convolution to RGB as one kernel.

The last layer's output is needed for nothing but the image; not to write it and read it again saves 2 of 5 passes over
the largest tensor of drawing.

Shapes: x [N, C, H, W] channels-last, for packed levels `ops.packed.pixels`; noise [N or 1, 1, H, W]; strength, bias
[C]; style [N, 2, C]; weight [K, C, 1, 1].
"""

from __future__ import annotations

import torch

from stylegan.ops import fused
from stylegan.ops.fused import SLOPES, Plan, dense, launch, power_of_two
from stylegan.ops.fused_rgb import MOST_IMAGE_CHANNELS
from stylegan.ops.switch import kernels

MOST_FEATURES = 64  # all channels of a pixel lie in one tile


def serves(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the kernel knows these features and this weight, and is faster than two."""
    k, c = weight.shape[:2]
    last = x.stride(1) == 1 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    known = last and k <= MOST_IMAGE_CHANNELS and c <= MOST_FEATURES and not fused.fits_whole(x)
    return known and not torch.is_grad_enabled() and kernels(x)


def styled_to_rgb(
    x: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    bias: torch.Tensor,
    style: torch.Tensor | None,
    nonlinearity: str,
    eps: float,
    weight: torch.Tensor,
    image_bias: torch.Tensor,
    packed: bool,
) -> torch.Tensor:
    """ops.rgb.styled_to_rgb with instance norm and without pixel norm: a contiguous image."""
    noise = None if strength is None else noise
    x = dense(x)
    (n, c, h, w), k = x.shape, weight.shape[0]
    plan, stream = Plan.of(x), Plan.of(x, streams=True)
    z, step = fused.noise_of(x, noise)
    given = {"SLOPE": SLOPES[nonlinearity], "HAS_NOISE": noise is not None}
    strengths = bias if strength is None else strength
    means, squares = fused.find_statistics(plan, x, z, step, strengths, bias, given)
    height, width = (2 * h, w // 2) if packed else (h, w)
    image = torch.empty(n, k, height, width, device=x.device, dtype=torch.float32)
    flat = weight.flatten(1)  # K C
    launch(
        "triton_rgb.apply_contract", stream.grid,
        x, z, strengths, bias, bias if style is None else style.contiguous(), means, squares, flat, image_bias, image,
        h * w, c, width, *plan.strides, step, k * h * w, h * w, flat.stride(1), flat.stride(0), stream.tiles,
        plan.chunks, plan.tiles * plan.bp, eps,
        HAS_STYLE=style is not None, PACKED=packed, K=k, CHUNKS=power_of_two(plan.chunks),
        **given, **stream.tile,
    )  # fmt: skip
    return image
