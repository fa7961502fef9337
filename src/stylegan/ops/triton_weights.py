# mypy: ignore-errors
"""Triton kernels that prepare convolution weights; imported only where Triton is (see ops.switch.kernels).

Arithmetic is float32 whatever is stored, and rounded once.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scale(x, y, count, factor, B: tl.constexpr):
    """y = factor·x, `count` values one after the other, in whatever types."""
    at = tl.program_id(0) * B + tl.arange(0, B)
    v = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32)
    tl.store(y + at, (v * factor).to(y.dtype.element_ty), mask=at < count)


@triton.jit
def taps(
    x, y, matrix, OUT, IN, xo, xi, xt, yo, yi, yt, FROM: tl.constexpr, BO: tl.constexpr, BI: tl.constexpr
):  # fmt: skip
    """y[o, i, s] = sum over t < FROM of matrix[s, t]·x[o, i, t]; strides of o, i and tap. A program has one tap s."""
    s = tl.program_id(2)
    o = tl.program_id(0) * BO + tl.arange(0, BO)
    i = tl.program_id(1) * BI + tl.arange(0, BI)
    inside = (o < OUT)[:, None] & (i < IN)[None, :]
    at = x + o[:, None] * xo + i[None, :] * xi
    total = tl.zeros([BO, BI], tl.float32)
    for t in tl.static_range(FROM):
        m = tl.load(matrix + s * FROM + t)  # most are 0, and what is not needed is not read
        needed = inside & (i * 0 + m != 0)[None, :]
        total += m * tl.load(at + t * xt, mask=needed, other=0.0).to(tl.float32)
    tl.store(y + o[:, None] * yo + i[None, :] * yi + s * yt, total.to(y.dtype.element_ty), mask=inside)
