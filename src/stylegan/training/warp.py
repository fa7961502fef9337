"""Turning, scaling and stretching of images, one matrix per sample, differentiable any number of times.

PyTorch's bilinear `grid_sample` has no derivative of its derivative, which R1 needs. For a fixed grid it is linear in
the image, so its gradient is its adjoint, the adjoint's gradient is itself again, and these two make every order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import grid_sample

_BILINEAR, _REFLECTION = 0, 2  # as PyTorch's operators count them


class _Sample(torch.autograd.Function):
    """images [N, C, H, W] at the places of a grid [N, H, W, 2]."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(grid)
        return grid_sample(images, grid, "bilinear", "reflection", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradient, grid), None


class _Spread(torch.autograd.Function):
    """The adjoint of _Sample: values go back to the places they would be taken from."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(grid)
        shape_only = torch.empty_like(values)
        spread: torch.Tensor = torch.ops.aten.grid_sampler_2d_backward(
            values, shape_only, grid, _BILINEAR, _REFLECTION, False, [True, False]
        )[0]
        return spread

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradient, grid), None


def warp(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Each output pixel is taken from matrix · (its offset from the centre, x and y in pixels); outside is mirrored.

    images [N, C, H, W], matrices [N, 2, 2]. Bilinear, computed in at least float32, and without matrix products: in
    TF32 the places would be wrong by a twentieth of a pixel.
    """
    kind = images.dtype if images.dtype == torch.double else torch.float32
    _, _, h, w = images.shape
    m = matrices.to(kind)[:, None, None]  # N 1 1 2 2
    y = (torch.arange(h, device=images.device, dtype=kind) + 0.5 - h / 2)[:, None]  # H 1
    x = torch.arange(w, device=images.device, dtype=kind) + 0.5 - w / 2  # W
    from_x = (m[..., 0, 0] * x + m[..., 0, 1] * y) * (2 / w)  # N H W
    from_y = (m[..., 1, 0] * x + m[..., 1, 1] * y) * (2 / h)  # N H W
    sampled: torch.Tensor = _Sample.apply(images.to(kind), torch.stack([from_x, from_y], dim=3))
    return sampled.to(images.dtype)


def multiplied(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a · b of matrices [N, 2, 2], in full precision on every device."""
    return (a[:, :, :, None] * b[:, None, :, :]).sum(dim=2)  # N 2 2
