# mypy: ignore-errors
"""Triton kernels of bias and activation; imported only where Triton is (see ops.switch.kernels).

Tensors are seen as [N, P, C] and divided among programs as in `triton_kernels`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from stylegan.ops.triton_kernels import _leaky


@triton.jit
def _packed_bits(true, BP: tl.constexpr, BC: tl.constexpr):
    """[BP, BC] yes or no as bytes [BP, BC / 8], the first in the lowest bit."""
    places = tl.arange(0, 8)[None, None, :]
    return tl.sum(tl.reshape(true.to(tl.int32), [BP, BC // 8, 8]) << places, axis=2).to(tl.uint8)


@triton.jit
def _unpacked_bits(bytes, BP: tl.constexpr, BC: tl.constexpr):
    places = tl.arange(0, 8)[None, None, :]
    return tl.reshape((bytes.to(tl.int32)[:, :, None] >> places) & 1, [BP, BC]) != 0


@triton.jit
def bias_activation(
    x, bias, y, bits, P, C, sn, sp, sc, tiles,
    SLOPE: tl.constexpr, BITS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y = leaky(x + bias). BITS: and whether y > 0, a bit each, [N, P, C / 8]; only where channels lie together."""
    chunk, n = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    b = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
    base = n.to(tl.int64) * sn
    for i in range(tiles):
        p = (chunk * tiles + i) * BP + tl.arange(0, BP)
        inside = (p < P)[:, None] & (c < C)[None, :]
        at = base + p[:, None] * sp + c[None, :] * sc
        u = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + b[None, :]
        out = _leaky(u, SLOPE).to(y.dtype.element_ty)
        tl.store(y + at, out, mask=inside)
        if BITS:
            e = tl.program_id(2) * (BC // 8) + tl.arange(0, BC // 8)
            places = bits + base // 8 + p[:, None] * (C // 8) + e[None, :]
            signs = _packed_bits(out.to(tl.float32) > 0, BP, BC)
            tl.store(places, signs, mask=(p < P)[:, None] & (e < C // 8)[None, :])


@triton.jit
def activation_gradient(
    g, more, y, bits, dx, sums, P, C, sn, sp, sc, tiles,
    SLOPE: tl.constexpr, BITS: tl.constexpr, HAS_MORE: tl.constexpr, SUMS: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """dx = (g + more)·leaky'(y), `more` [C] if any; SUMS: sums of dx over each chunk [N, chunks, C].

    BITS: the sign of y from the bits that `bias_activation` left, so that y need not be read.
    """
    chunk, n = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    add = tl.zeros([BC], tl.float32)
    if HAS_MORE:
        add = tl.load(more + c, mask=c < C, other=0.0).to(tl.float32)
    base = n.to(tl.int64) * sn
    total = tl.zeros([BP, BC], tl.float32)
    for i in range(tiles):
        p = (chunk * tiles + i) * BP + tl.arange(0, BP)
        inside = (p < P)[:, None] & (c < C)[None, :]
        at = base + p[:, None] * sp + c[None, :] * sc
        d = tl.load(g + at, mask=inside, other=0.0).to(tl.float32) + add[None, :]
        if BITS:
            e = tl.program_id(2) * (BC // 8) + tl.arange(0, BC // 8)
            places = bits + base // 8 + p[:, None] * (C // 8) + e[None, :]
            eight = tl.load(places, mask=(p < P)[:, None] & (e < C // 8)[None, :], other=0)
            d = tl.where(_unpacked_bits(eight, BP, BC), d, d * SLOPE)
        else:
            d = tl.where(tl.load(y + at, mask=inside, other=0.0).to(tl.float32) > 0, d, d * SLOPE)
        tl.store(dx + at, d.to(dx.dtype.element_ty), mask=inside)
        if SUMS:
            total += tl.where(inside, d, 0.0)
    if SUMS:
        row = (n * tl.num_programs(0) + chunk) * C + c
        tl.store(sums + row, tl.sum(total, axis=0), mask=c < C)
