# mypy: ignore-errors
"""Triton kernel of the blur, alone or with bias and activation; imported only where Triton is (see ops.fused_blur).

A program slides down a band of ROWS rows of BW columns and BC channels of one sample, so that each row is filtered
across once; programs lie as bands within columns. No atomics: each program leaves one row of partial sums.
"""

from __future__ import annotations

import triton
import triton.language as tl

from stylegan.ops.triton_activation import _packed_bits, _unpacked_bits
from stylegan.ops.triton_kernels import _leaky


@triton.jit
def _positive(u, bits, bias, at, eighth, inside, whole, BITS: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr):
    """Whether u + bias > 0 at some places [BW, BC]: from bits at [BW, BC / 8], or from u."""
    if BITS:
        return _unpacked_bits(tl.load(bits + eighth, mask=whole, other=0), BW, BC)
    return tl.load(u + at, mask=inside, other=0.0).to(tl.float32) + bias[None, :] > 0


@triton.jit
def _entering(
    x, u, bits, bias, more, here, q, r, c, e, C, sh, sw, sc,
    SLOPE: tl.constexpr, ENTERS: tl.constexpr, BITS: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """What enters the filter at the pixels q of row r, float32, 0 where they are not `here`; see `blur`."""
    at = r * sh + q[:, None] * sw + c[None, :] * sc
    inside = here[:, None] & (c < C)[None, :]
    v = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if ENTERS == "activated":
        v = tl.where(inside, _leaky(v + bias[None, :], SLOPE), 0.0)
    if ENTERS == "masked":
        v = tl.where(inside, v + more[None, :], 0.0)
        eighth = (r * sh + q[:, None] * sw) // 8 + e[None, :]
        whole = here[:, None] & (e < C // 8)[None, :]
        v = tl.where(_positive(u, bits, bias, at, eighth, inside, whole, BITS, BW, BC), v, v * SLOPE)
    return v


@triton.jit
def _row(
    x, u, bits, bias, more, r, H, W, q, c, e, C, sh, sw, sc, outer, inner,
    SLOPE: tl.constexpr, ENTERS: tl.constexpr, BITS: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Row r of the image through the horizontal taps (outer, inner, outer), and itself; [BW, BC] float32, 0 outside."""
    rows = q * 0 + r
    here = (rows >= 0) & (rows < H)
    before = here & (q >= 1) & (q - 1 < W)
    left = _entering(
        x, u, bits, bias, more, before, q - 1, r, c, e, C, sh, sw, sc, SLOPE, ENTERS, BITS, BW, BC
    )
    middle = _entering(
        x, u, bits, bias, more, here & (q < W), q, r, c, e, C, sh, sw, sc, SLOPE, ENTERS, BITS, BW, BC
    )
    right = _entering(
        x, u, bits, bias, more, here & (q + 1 < W), q + 1, r, c, e, C, sh, sw, sc, SLOPE, ENTERS, BITS, BW, BC
    )
    return inner * middle + outer * (left + right), middle


@triton.jit
def blur(
    x, u, bits, bias, more, y, sums, H, W, C, sn, sh, sw, sc, bands, outer, inner,
    SLOPE: tl.constexpr, ENTERS: tl.constexpr, MASKS: tl.constexpr, SUMS: tl.constexpr, HAS_MORE: tl.constexpr,
    BITS: tl.constexpr, ROWS: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Symmetric separable filter of three taps, zero padding.

    ENTERS: "plain", x itself; "activated", leaky(x + bias); "masked", (x + more)·leaky'(u + bias), `more` [C] if any.
    MASKS: what leaves the filter is multiplied by leaky'(u + bias). SUMS: and summed over a program: [N, programs, C].
    BITS: "activated" leaves a bit for each value, whether x + bias > 0, [N, H, W, C / 8]; others read those, not u.
    """
    n = tl.program_id(1)
    band = tl.program_id(0) % bands
    q = (tl.program_id(0) // bands) * BW + tl.arange(0, BW)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    e = c  # of bytes, only where there are bits
    if BITS:
        e = tl.program_id(2) * (BC // 8) + tl.arange(0, BC // 8)
    b, add = tl.zeros([BC], tl.float32), tl.zeros([BC], tl.float32)
    if ENTERS != "plain" or (MASKS and not BITS):
        b = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
    if HAS_MORE:
        add = tl.load(more + c, mask=c < C, other=0.0).to(tl.float32)
    base = n.to(tl.int64) * sn
    xn, un, bn, yn = x + base, u + base, bits + base // 8, y + base
    first = band * ROWS
    above, _ = _row(
        xn, un, bn, b, add, first - 1, H, W, q, c, e, C, sh, sw, sc, outer, inner, SLOPE, ENTERS, BITS, BW, BC
    )
    here, middle = _row(
        xn, un, bn, b, add, first, H, W, q, c, e, C, sh, sw, sc, outer, inner, SLOPE, ENTERS, BITS, BW, BC
    )
    total = tl.zeros([BW, BC], tl.float32)
    for i in range(ROWS):
        r = first + i
        below, following = _row(
            xn, un, bn, b, add, r + 1, H, W, q, c, e, C, sh, sw, sc, outer, inner, SLOPE, ENTERS, BITS, BW, BC
        )
        out = inner * here + outer * (above + below)
        at = r * sh + q[:, None] * sw + c[None, :] * sc
        present = (q < W) & (q * 0 + r < H)
        inside = present[:, None] & (c < C)[None, :]
        if BITS:
            eighth = (r * sh + q[:, None] * sw) // 8 + e[None, :]
            whole = present[:, None] & (e < C // 8)[None, :]
            if ENTERS == "activated":
                tl.store(bn + eighth, _packed_bits(middle > 0, BW, BC), mask=whole)
        else:
            eighth, whole = at, inside
        if MASKS:
            out = tl.where(_positive(un, bn, b, at, eighth, inside, whole, BITS, BW, BC), out, out * SLOPE)
        if SUMS:
            total += tl.where(inside, out, 0.0)
        tl.store(yn + at, out.to(y.dtype.element_ty), mask=inside)
        above = here
        here = below
        middle = following
    if SUMS:
        tl.store(sums + (n * tl.num_programs(0) + tl.program_id(0)) * C + c, tl.sum(total, axis=0), mask=c < C)
