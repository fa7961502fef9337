"""Fast forms on a GPU: what is done to convolution weights before each pass, one launch for each step.

Weights lie channels-last, [O, k, k, I] in memory, and so do the kernels and gradients made of them: nothing is
rearranged on the way to a convolution or to the optimizer.

Shapes: w [O, I, k, k].
"""

from __future__ import annotations

import math
from typing import Any

import torch

from stylegan.ops.fused import launch
from stylegan.ops.switch import TYPES, kernels

VALUES = 1024  # of a program, in each kernel
SIDE = 32  # of a program's tile of O and I


def scale(x: torch.Tensor, y: torch.Tensor, factor: float) -> bool:
    """y = factor·x, rounded once, where a kernel can: y is dense, and x must lie as it does. Whether that was so."""
    if not (kernels(x) and y.dtype in TYPES and x.stride() == y.stride()):
        return False
    launch("triton_weights.scale", (-(-x.numel() // VALUES), 1, 1), x, y, x.numel(), factor, B=VALUES, num_warps=4)
    return True


class _Taps(torch.autograd.Function):
    """Every [k, k] of w through a matrix [k'², k²], `forth`; `back` is its transpose. Any order of differentiation."""

    @staticmethod
    def forward(
        ctx: Any, w: torch.Tensor, forth: torch.Tensor, back: torch.Tensor, transposes: bool, last: bool
    ) -> torch.Tensor:
        ctx.rest = (back, forth, transposes, last)
        if w.stride(2) != w.shape[3] * w.stride(3):  # taps must lie evenly
            w = w.contiguous()
        o, i, k, _ = w.shape
        side = math.isqrt(len(forth))
        layout = torch.channels_last if last else torch.contiguous_format
        shape = (i, o, side, side) if transposes else (o, i, side, side)
        y = torch.empty(shape, dtype=w.dtype, device=w.device, memory_format=layout)
        ours = (y.stride(1), y.stride(0)) if transposes else (y.stride(0), y.stride(1))
        launch(
            "triton_weights.taps", (-(-o // SIDE), -(-i // SIDE), side * side),
            w, y, forth, o, i, w.stride(0), w.stride(1), w.stride(3), *ours, y.stride(3),
            FROM=k * k, BO=SIDE, BI=SIDE, num_warps=4,
        )  # fmt: skip
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _Taps.apply(dy, *ctx.rest), None, None, None, None


def taps(w: torch.Tensor, forth: torch.Tensor, back: torch.Tensor, transposes: bool) -> torch.Tensor:
    """[O, I, k, k] -> [O, I, k', k'], or [I, O, k', k'] if it transposes, by a matrix [k'², k²] and its transpose.

    Channels-last where w is, and so is its gradient.
    """
    return _Taps.apply(w, forth, back, transposes, w.stride(1) == 1 and not w.is_contiguous())
