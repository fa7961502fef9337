"""The run-time multiplier of equalised weights, together with the change of type (Progressive GAN, section 4.1)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from stylegan.ops import fused_weights
from stylegan.ops.prepared import keeps
from stylegan.ops.switch import exporting


@keeps
def scaled(weight: torch.Tensor, scale: float, dtype: torch.dtype) -> torch.Tensor:
    """weight·scale in another type, laid out as the weight is; multiplied in float32 or float64, then rounded once."""
    if dtype == weight.dtype or exporting():
        return (weight if scale == 1.0 else weight * scale).to(dtype)
    return _Scaled.apply(weight, scale, dtype)


@keeps
def widened(weight: torch.Tensor, inputs: int) -> torch.Tensor:
    """[O, I, k, k] -> [O, inputs, k, k], for inputs of which those after I are zeros."""
    return F.pad(weight, (0, 0, 0, 0, 0, inputs - weight.shape[1]))


@cache
def _multiplier(scale: float, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """[1]: with an axis, so that a product with bfloat16 is taken in this type."""
    with torch.inference_mode(False):  # kept, and used by autograd later
        return torch.full((1,), scale, dtype=dtype, device=device)


class _Scaled(torch.autograd.Function):
    """One pass where multiplication and conversion are two; linear, so its derivative is itself.

    The gradient lies as the weight does, whatever layout it came in, so that the optimizer can take it as it is.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: float, dtype: torch.dtype, layout: tuple[int, ...] | None = None
    ) -> torch.Tensor:
        if layout is None:
            y = torch.empty_like(x, dtype=dtype)
        else:
            y = torch.empty_strided(x.shape, layout, dtype=dtype, device=x.device)
        ctx.scale, ctx.dtype, ctx.layout = scale, x.dtype, y.stride()
        if not fused_weights.scale(x, y, scale):
            torch.mul(x, _multiplier(scale, torch.promote_types(x.dtype, torch.float32), x.device), out=y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _Scaled.apply(dy, ctx.scale, ctx.dtype, ctx.layout), None, None, None
