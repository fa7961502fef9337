"""Convolution with an explicit double backward.

R1 (Mescheder et al., 1801.04406) differentiates the discriminator's input gradient once more. PyTorch's own
double backward of convolution is several times slower than it needs to be, because it does not use that the
three maps involved are bilinear and are each other's derivatives:

    forward(x, w) -> y        input_grad(y, w) -> x        weight_grad(x, y) -> w

Each is an autograd Function below whose backward calls the other two, so any order of differentiation costs
only these three. Transposed convolution is `input_grad` used in the forward direction.

Shapes: x [N, Cin, H, W], w [Cout, Cin, k, k], y [N, Cout, H', W'].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from stylegan.ops import paired
from stylegan.ops.switch import exporting

Geometry = tuple[int, int]  # stride, padding (the same in both directions)
_weights_wanted = True


@contextmanager
def without_weight_gradients() -> Iterator[None]:
    """No gradients of convolution weights in the backward passes inside.

    `torch.autograd.grad(scores, images)` does not tell a Function that nobody asked for the weights' part, which is a
    third of that pass. Process-wide, as backward passes of a GPU run in a thread of their own.
    """
    global _weights_wanted
    before, _weights_wanted = _weights_wanted, False
    try:
        yield
    finally:
        _weights_wanted = before


def weights_wanted(ctx: Any, index: int) -> bool:
    """Whether a backward pass must return the gradient of its weight, input `index` of the Function."""
    return bool(_weights_wanted and ctx.needs_input_grad[index])


def conv2d(
    x: torch.Tensor,
    w: torch.Tensor,
    stride: int = 1,
    padding: int = 0,
) -> torch.Tensor:
    """Cross-correlation with zero padding: [N, Cin, H, W] x [Cout, Cin, k, k] -> [N, Cout, H', W']."""
    if exporting():
        return F.conv2d(x, w, stride=stride, padding=padding)
    return _Forward.apply(x, w, (stride, padding))


def exact_conv2d(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """`conv2d` of a 3x3 kernel with padding 1, worked out in float64 and rounded once to the type of x."""
    if not exporting():
        return conv2d(x.double(), w.double(), padding=1).to(x.dtype)
    height, width = x.shape[2:]  # as a matrix product: onnxruntime has no convolution in float64
    x_padded = F.pad(x, (1, 1, 1, 1))
    shifts = [x_padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    columns = torch.cat(shifts, dim=1).flatten(2)  # N 9·Cin H·W
    rows = w.permute(0, 2, 3, 1).flatten(1)  # Cout 9·Cin
    return (rows.double() @ columns.double()).to(x.dtype).unflatten(2, (height, width))


def conv_transpose2d(
    y: torch.Tensor,
    w: torch.Tensor,
    stride: int = 1,
    padding: int = 0,
) -> torch.Tensor:
    """Adjoint of `conv2d` with the same w: [N, Cout, H', W'] -> [N, Cin, (H'−1)·stride − 2·padding + k, ...]."""
    if exporting():
        return F.conv_transpose2d(y, w, stride=stride, padding=padding)
    n, _, h, width = y.shape
    k = w.shape[2]
    size = ((h - 1) * stride - 2 * padding + k, (width - 1) * stride - 2 * padding + k)
    return _InputGrad.apply(y, w, (stride, padding), (n, w.shape[1], *size))


def _gradients(
    y: torch.Tensor,
    x: torch.Tensor,
    w: torch.Tensor,
    geometry: Geometry,
    wanted: list[bool],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    stride, padding = geometry
    return torch.ops.aten.convolution_backward(
        y, x, w, None, [stride, stride], [padding, padding], [1, 1], False, [0, 0], 1, wanted
    )


def _empty_like(y: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """An empty tensor of another shape, channels-last where y is: else a convolution would copy y to its layout."""
    last = y.is_contiguous(memory_format=torch.channels_last) and not y.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=y.dtype, device=y.device, memory_format=layout)


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        y = paired.forward(x, w, *geometry)
        return F.conv2d(x, w, stride=geometry[0], padding=geometry[1]) if y is None else y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w = ctx.saved_tensors
        dx = _InputGrad.apply(dy, w, ctx.geometry, tuple(x.shape)) if ctx.needs_input_grad[0] else None
        dw = _WeightGrad.apply(x, dy, ctx.geometry, tuple(w.shape)) if weights_wanted(ctx, 1) else None
        return dx, dw, None


class _InputGrad(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dy: torch.Tensor, w: torch.Tensor, geometry: Geometry, shape: tuple[int, ...]
    ) -> torch.Tensor:
        ctx.save_for_backward(dy, w)
        ctx.geometry = geometry
        dx = paired.input_gradient(dy, w, *geometry, shape)
        if dx is None:
            x = _empty_like(dy, shape)  # only its shape and layout are looked at
            dx = _gradients(dy, x, w, geometry, [True, False, False])[0]
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dy, w = ctx.saved_tensors
        ddy = _Forward.apply(ddx, w, ctx.geometry) if ctx.needs_input_grad[0] else None
        dw = _WeightGrad.apply(ddx, dy, ctx.geometry, tuple(w.shape)) if weights_wanted(ctx, 1) else None
        return ddy, dw, None, None


class _WeightGrad(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, dy: torch.Tensor, geometry: Geometry, shape: tuple[int, ...]
    ) -> torch.Tensor:
        ctx.save_for_backward(x, dy)
        ctx.geometry = geometry
        dw = paired.weight_gradient(x, dy, *geometry, shape)
        if dw is None:
            w = x.new_empty(shape)  # only its shape and layout are looked at
            dw = _gradients(dy, x, w, geometry, [False, True, False])[1]
        return dw

    @staticmethod
    def backward(ctx: Any, ddw: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, dy = ctx.saved_tensors
        dx = _InputGrad.apply(dy, ddw, ctx.geometry, tuple(x.shape)) if ctx.needs_input_grad[0] else None
        ddy = _Forward.apply(x, ddw, ctx.geometry) if ctx.needs_input_grad[1] else None
        return dx, ddy, None, None
