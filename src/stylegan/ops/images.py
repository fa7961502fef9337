"""Passes over whole images in training: bytes to the networks' range, and squared norms of gradients by images.

At 1024x1024 a batch of 16 is 200 MB in float32, and PyTorch's operators one after the other read or write it a dozen
times for these two, which is 2 % of a step.

Shapes: images [N, C, H, W].
"""

from __future__ import annotations

from typing import Any

import torch

from stylegan.ops.fused import dense, launch
from stylegan.ops.switch import kernels

VALUES = 4096  # of a program's tile
TILES = 8  # that one program of `squares` adds up


def from_bytes(images: torch.Tensor, mirrored: torch.Tensor | None = None) -> torch.Tensor:
    """uint8 [N, C, H, W] -> float32 in [-1, 1], value / 127.5 - 1; mirrored: bool [N], which are turned left to right.

    Fast: one pass.
    """
    y = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    if kernels(y) and images.is_contiguous():
        each = images[0].numel()
        launch(
            "triton_images.from_bytes", (-(-each // VALUES), len(images), 1),
            images, y if mirrored is None else mirrored, y, each, images.shape[3],
            MIRRORS=mirrored is not None, B=VALUES, num_warps=8,
        )  # fmt: skip
        return y
    if mirrored is not None:  # while a value is one byte
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return torch.div(images, 127.5, out=y).sub_(1.0)


def squared_norm(x: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each sample, [N, C, H, W] -> [N], at least float32. Any order of differentiation.

    Fast: one pass, and one for its derivative.
    """
    if kernels(x):
        return _SquaredNorm.apply(x)
    return x.to(torch.promote_types(x.dtype, torch.float32)).square().sum(dim=(1, 2, 3))


class _SquaredNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        x = dense(x)
        each = x[0].numel()
        programs = -(-each // (VALUES * TILES))
        sums = torch.empty(len(x), programs, dtype=torch.float32, device=x.device)
        launch("triton_images.squares", (programs, len(x), 1), x, sums, each, TILES=TILES, B=VALUES, num_warps=8)
        return sums.sum(dim=1)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return (x * (2.0 * dy)[:, None, None, None]).to(x.dtype)
