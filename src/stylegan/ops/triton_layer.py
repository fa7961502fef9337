# mypy: ignore-errors

"""Triton kernels of a layer that blurs before its epilogue; imported only where Triton is (see ops.switch.kernels).

u = B(x) + strength·noise + bias,  t = leaky(u),  y = (t − mean)·rstd·(scale + 1) + shift, B the blur: three symmetric
taps (outer, inner, outer), separable, zero padding. As in `triton_blur.blur`, a program slides down a band of ROWS
rows of BW columns and BC channels of one sample; programs lie as bands within columns. No atomics: each program leaves
one row of partial sums.
"""

from __future__ import annotations

import triton
import triton.language as tl

from stylegan.ops.triton_blur import _row
from stylegan.ops.triton_kernels import _leaky, _parameters, _style


@triton.jit
def blur_statistics(
    x, noise, strength, bias, y, means, squares, H, W, C, sn, sh, sw, sc, zn, bands, outer, inner,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, ROWS: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y = B(x), and of t, from y as it is stored: each program's mean and squared differences [N, programs, C].

    Each column's mean and squares follow its rows (Welford's formula); columns are joined at the end (Chan's).
    """
    n = tl.program_id(1)
    band = tl.program_id(0) % bands
    start = (tl.program_id(0) // bands) * BW
    q = start + tl.arange(0, BW)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    channels = (c < C)[None, :]
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    base = n.to(tl.int64) * sn
    xn, yn, zs = x + base, y + base, noise + n.to(tl.int64) * zn
    first = band * ROWS
    above, _ = _row(
        xn, xn, xn, b, b, first - 1, H, W, q, c, c, C, sh, sw, sc, outer, inner, SLOPE, "plain", False, BW, BC
    )
    here, _ = _row(xn, xn, xn, b, b, first, H, W, q, c, c, C, sh, sw, sc, outer, inner, SLOPE, "plain", False, BW, BC)
    mean, square = tl.zeros([BW, BC], tl.float32), tl.zeros([BW, BC], tl.float32)
    for i in range(ROWS):
        r = first + i
        below, _ = _row(
            xn, xn, xn, b, b, r + 1, H, W, q, c, c, C, sh, sw, sc, outer, inner, SLOPE, "plain", False, BW, BC
        )
        out = (inner * here + outer * (above + below)).to(y.dtype.element_ty)
        present = (q < W) & (q * 0 + r < H)
        inside = present[:, None] & channels
        tl.store(yn + r * sh + q[:, None] * sw + c[None, :] * sc, out, mask=inside)
        u = out.to(tl.float32) + b[None, :]
        if HAS_NOISE:
            z = tl.load(zs + r * W + q, mask=present, other=0.0).to(tl.float32)
            u += z[:, None] * s[None, :]
        d = tl.where(inside, _leaky(u, SLOPE) - mean, 0.0)
        part = 1.0 / (i + 1)
        mean += d * part
        square += d * d * (1.0 - part)
        above = here
        here = below
    columns = tl.minimum(W - start, BW).to(tl.float32)
    rows = tl.minimum(H - first, ROWS).to(tl.float32)
    inside = (q < W)[:, None] & channels
    middle = tl.sum(tl.where(inside, mean, 0.0), axis=0) / columns
    d = tl.where(inside, mean - middle[None, :], 0.0)
    at = (n * tl.num_programs(0) + tl.program_id(0)) * C + c
    tl.store(means + at, middle, mask=c < C)
    tl.store(squares + at, tl.sum(square, axis=0) + tl.sum(d * d, axis=0) * rows, mask=c < C)


@triton.jit
def merge(
    means, squares, mean_out, square_out, H, W, C, bands, chunks,
    ROWS: tl.constexpr, BW: tl.constexpr, CHUNKS: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Mean and squared differences of whole channels [N, C] from those of `blur_statistics` (Chan's formula)."""
    n = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    i = tl.arange(0, CHUNKS)
    at = (n * chunks + i)[:, None] * C + c[None, :]
    inside = (i < chunks)[:, None] & (c < C)[None, :]
    height = tl.minimum(H - (i % bands) * ROWS, ROWS)
    width = tl.minimum(W - (i // bands) * BW, BW)
    count = (height * width).to(tl.float32)[:, None]
    m = tl.load(means + at, mask=inside, other=0.0)
    mean = tl.sum(tl.where(inside, m * count, 0.0), axis=0) / (H * W)
    d = tl.where(inside, m - mean[None, :], 0.0)
    square = tl.load(squares + at, mask=inside, other=0.0)
    tl.store(mean_out + n * C + c, mean, mask=c < C)
    tl.store(square_out + n * C + c, tl.sum(square, axis=0) + tl.sum(d * d * count, axis=0), mask=c < C)


@triton.jit
def _gradient_at(
    x, dy, zs, r, H, W, q, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, SLOPE: tl.constexpr,
    HAS_NOISE: tl.constexpr,
):  # fmt: skip
    """At the pixels q of row r: gradient of u over rstd·(scale + 1), [BW, BC], 0 outside; noise [BW] or zeros."""
    present = (q >= 0) & (q < W) & (q * 0 + r >= 0) & (q * 0 + r < H)
    inside = present[:, None] & channels
    at = r * sh + q[:, None] * sw + c[None, :] * sc
    u = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + b[None, :]
    z = tl.zeros_like(q).to(tl.float32)
    if HAS_NOISE:
        z = tl.load(zs + r * W + q, mask=present, other=0.0).to(tl.float32)
        u += z[:, None] * s[None, :]
    g = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
    g = (g - g_mean[None, :]) - (_leaky(u, SLOPE) - mean[None, :]) * curve[None, :]
    return tl.where(inside, tl.where(u > 0, g, g * SLOPE), 0.0), z


@triton.jit
def _gradient_row(
    x, dy, zs, r, H, W, q, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, outer, inner, SLOPE: tl.constexpr,
    HAS_NOISE: tl.constexpr,
):  # fmt: skip
    """Row r of that gradient through the horizontal taps, at q and at q + 1; its sums over both, and with noise.

    Pairs of pixels, so that the gradient is worked out twice, not three times, for each pixel.
    """
    before, _ = _gradient_at(
        x, dy, zs, r, H, W, q - 1, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, SLOPE, HAS_NOISE
    )
    left, zl = _gradient_at(
        x, dy, zs, r, H, W, q, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, SLOPE, HAS_NOISE
    )
    right, zr = _gradient_at(
        x, dy, zs, r, H, W, q + 1, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, SLOPE, HAS_NOISE
    )
    after, _ = _gradient_at(
        x, dy, zs, r, H, W, q + 2, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, SLOPE, HAS_NOISE
    )
    noisy = left * zl[:, None] + right * zr[:, None]
    return inner * left + outer * (before + right), inner * right + outer * (left + after), left + right, noisy


@triton.jit
def gradient_blur(
    x, noise, strength, bias, style, dy, mean_in, rstd_in, sums, dx, biases, strengths,
    H, W, C, sn, sh, sw, sc, zn, bands, outer, inner,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_STYLE: tl.constexpr,
    ROWS: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """dx = B(gradient of u), x the blurred tensor; shares of the gradients of bias and strength [N, programs, C].

    sums [2, N, C]: of dy·(t − mean)·rstd and of dy over all pixels. What all pixels of a channel are multiplied by
    is left to the end. Every pixel enters the shares of the program that writes it, and no other's.
    """
    n = tl.program_id(1)
    band = tl.program_id(0) % bands
    q = (tl.program_id(0) // bands) * BW + tl.arange(0, BW // 2) * 2
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    channels = (c < C)[None, :]
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    scale, _ = _style(style, n, c, C, HAS_STYLE)
    mean = tl.load(mean_in + n * C + c, mask=c < C, other=0.0)
    rstd = tl.load(rstd_in + n * C + c, mask=c < C, other=0.0)
    curve = tl.load(sums + n * C + c, mask=c < C, other=0.0) * rstd / (H * W)
    g_mean = tl.load(sums + (tl.num_programs(1) + n) * C + c, mask=c < C, other=0.0) / (H * W)
    gain = scale * rstd
    base = n.to(tl.int64) * sn
    xn, gn, dn, zs = x + base, dy + base, dx + base, noise + n.to(tl.int64) * zn
    first = band * ROWS
    above_l, above_r, _, _ = _gradient_row(
        xn, gn, zs, first - 1, H, W, q, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, outer, inner, SLOPE,
        HAS_NOISE,
    )  # fmt: skip
    here_l, here_r, db, ds = _gradient_row(
        xn, gn, zs, first, H, W, q, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, outer, inner, SLOPE, HAS_NOISE
    )
    for i in range(ROWS):
        r = first + i
        below_l, below_r, more, noisy = _gradient_row(
            xn, gn, zs, r + 1, H, W, q, channels, c, sh, sw, sc, s, b, mean, g_mean, curve, outer, inner, SLOPE,
            HAS_NOISE,
        )  # fmt: skip
        mine = tl.where(i + 1 < ROWS, 1.0, 0.0)  # the last row belongs to the band below
        db += more * mine
        ds += noisy * mine
        at = r * sh + q[:, None] * sw + c[None, :] * sc
        left = (inner * here_l + outer * (above_l + below_l)) * gain[None, :]
        right = (inner * here_r + outer * (above_r + below_r)) * gain[None, :]
        row = q * 0 + r < H
        tl.store(dn + at, left.to(dx.dtype.element_ty), mask=((q < W) & row)[:, None] & channels)
        tl.store(dn + at + sw, right.to(dx.dtype.element_ty), mask=((q + 1 < W) & row)[:, None] & channels)
        above_l = here_l
        above_r = here_r
        here_l = below_l
        here_r = below_r
    at = (n * tl.num_programs(0) + tl.program_id(0)) * C + c
    tl.store(biases + at, tl.sum(db, axis=0) * gain, mask=c < C)
    if HAS_NOISE:
        tl.store(strengths + at, tl.sum(ds, axis=0) * gain, mask=c < C)
