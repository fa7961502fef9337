# mypy: ignore-errors
# ruff: noqa: SIM102 (conditions on constants are decided when a kernel is compiled)
"""Triton kernels of the ring (ops.packed): what an image's odd continuation adds to its outermost blocks.

Two opposite edges, first (e = 0) and last (e = 1), of one axis at a time; `last` steps from the one to the other,
`along` from one of their L blocks to the next. A strip is the two sub-pixels nearest the edge of each of its blocks:
v = u·C + c < 2C, u counting along the edge. CORNERS (of the top and bottom edge): a strip reaches one block beyond both
its ends, where the sub-pixel that touches it (u = 0 before, u = 1 after) is minus that of the outermost block.

Packed p [N, 4C, h, w], folded kernel k [O, 4C, 3, 3], y [N, O, h, w], all by their strides. Arithmetic is float32;
products of bfloat16 are exact with PRECISION "tf32" too.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _channels(e, C, AXIS: tl.constexpr, BV: tl.constexpr):
    """For each place v of a strip: (v, u, its channel in p and k)."""
    v = tl.arange(0, BV)
    u = v // C
    sub = 2 * e + u if AXIS == 0 else 2 * u + e
    return v, u, sub * C + v % C


@triton.jit
def _strip(p, q, L, u, present, channel, along, pc, CORNERS: tl.constexpr):
    """The strip at blocks q, [BJ, BV], continued beyond its ends; 0 where there is nothing."""
    inner = (q >= 0) & (q < L)
    sign = tl.where(inner, 1.0, 0.0)[:, None] + tl.zeros_like(u).to(tl.float32)[None, :]
    if CORNERS:
        touches = ((q == -1)[:, None] & (u == 0)[None, :]) | ((q == L)[:, None] & (u == 1)[None, :])
        sign = tl.where(touches, -1.0, sign)
    at = tl.minimum(tl.maximum(q, 0), L - 1)
    s = tl.load(p + at[:, None] * along + channel[None, :] * pc, mask=present[None, :] & (sign != 0), other=0.0)
    return s.to(tl.float32) * sign


@triton.jit
def down(
    p, k, y, L, C, OUT, pn, pc, p_along, p_last, yn, yc, y_along, y_last, ko, kc, k_along, k_last,
    AXIS: tl.constexpr, CORNERS: tl.constexpr, PRECISION: tl.constexpr,
    BJ: tl.constexpr, BO: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """y at the two edges, minus the convolution of their strips."""
    n, e = tl.program_id(1), tl.program_id(2)
    v, u, channel = _channels(e, C, AXIS, BV)
    j, o = tl.program_id(0) * BJ + tl.arange(0, BJ), tl.arange(0, BO)
    here = p + n.to(tl.int64) * pn + e * p_last
    total = tl.zeros([BJ, BO], tl.float32)
    for t in tl.static_range(3):
        s = _strip(here, j + t - 1, L, u, v < 2 * C, channel, p_along, pc, CORNERS)
        taps = k + e * k_last + t * k_along + o[None, :] * ko + channel[:, None] * kc
        w = tl.load(taps, mask=(v < 2 * C)[:, None] & (o < OUT)[None, :], other=0.0).to(tl.float32)
        total = tl.dot(s, w, total, input_precision=PRECISION)
    at = y + n.to(tl.int64) * yn + e * y_last + j[:, None] * y_along + o[None, :] * yc
    inside = (j < L)[:, None] & (o < OUT)[None, :]
    total = tl.load(at, mask=inside, other=0.0).to(tl.float32) - total
    tl.store(at, total.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _row(y, r, L, o, OUT, along, yc):
    """y at blocks r, [BJ, BO]; 0 outside."""
    inside = ((r >= 0) & (r < L))[:, None] & (o < OUT)[None, :]
    return tl.load(y + r[:, None] * along + o[None, :] * yc, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def up(
    p, k, y, L, C, OUT, pn, pc, p_along, p_last, yn, yc, y_along, y_last, ko, kc, k_along, k_last,
    AXIS: tl.constexpr, CORNERS: tl.constexpr, PRECISION: tl.constexpr,
    BJ: tl.constexpr, BO: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """The strips of p, minus what the adjoint of that convolution makes of y at the two edges."""
    n, e = tl.program_id(1), tl.program_id(2)
    v, u, channel = _channels(e, C, AXIS, BV)
    q, o = tl.program_id(0) * BJ + tl.arange(0, BJ), tl.arange(0, BO)
    here = y + n.to(tl.int64) * yn + e * y_last
    total = tl.zeros([BJ, BV], tl.float32)
    for t in tl.static_range(3):
        taps = k + e * k_last + t * k_along + o[:, None] * ko + channel[None, :] * kc
        w = tl.load(taps, mask=(o < OUT)[:, None] & (v < 2 * C)[None, :], other=0.0).to(tl.float32)
        total = tl.dot(_row(here, q - t + 1, L, o, OUT, y_along, yc), w, total, input_precision=PRECISION)
        if CORNERS:
            if t != 1:  # what lies beyond an end is minus what lies before it
                back = tl.dot(_row(here, q, L, o, OUT, y_along, yc), w, input_precision=PRECISION)
                touches = (q == (t // 2) * (L - 1))[:, None] & (u == t // 2)[None, :]
                total -= tl.where(touches, back, 0.0)
    at = p + n.to(tl.int64) * pn + e * p_last + q[:, None] * p_along + channel[None, :] * pc
    inside = (q < L)[:, None] & (v < 2 * C)[None, :]
    total = tl.load(at, mask=inside, other=0.0).to(tl.float32) - total
    tl.store(at, total.to(p.dtype.element_ty), mask=inside)


@triton.jit
def weight(
    p, y, sums, L, C, OUT, pn, pc, p_along, p_last, yn, yc, y_along, y_last,
    AXIS: tl.constexpr, CORNERS: tl.constexpr, PRECISION: tl.constexpr,
    BJ: tl.constexpr, BO: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Sums of strip·y over each program's BJ blocks: [programs of a sample and samples, 2 edges, 3 taps, 2C, O]."""
    n, e = tl.program_id(1), tl.program_id(2)
    v, u, channel = _channels(e, C, AXIS, BV)
    j, o = tl.program_id(0) * BJ + tl.arange(0, BJ), tl.arange(0, BO)
    here = p + n.to(tl.int64) * pn + e * p_last
    g = _row(y + n.to(tl.int64) * yn + e * y_last, j, L, o, OUT, y_along, yc)
    row = ((n * tl.num_programs(0) + tl.program_id(0)) * 2 + e) * 3
    for t in tl.static_range(3):
        s = _strip(here, j + t - 1, L, u, v < 2 * C, channel, p_along, pc, CORNERS)
        found = tl.dot(tl.trans(s), g, input_precision=PRECISION)
        at = sums + ((row + t) * 2 * C + v)[:, None] * OUT + o[None, :]
        tl.store(at, found, mask=(v < 2 * C)[:, None] & (o < OUT)[None, :])
