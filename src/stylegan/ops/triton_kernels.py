# mypy: ignore-errors
# ruff: noqa: SIM102 (conditions on constants are decided when a kernel is compiled)
"""Triton kernels of the fast operators; imported only where Triton is (see ops.switch.kernels).

Every tensor is seen as [N, P, C], P pixels, by its strides, so that one kernel serves channels-last (a pixel's
channels lie together) and contiguous tensors (a channel's pixels do). A program works on `tiles` tiles of BP pixels
by BC channels of one sample; the programs of a sample and channel tile are its `chunks`. Arithmetic is float32
whatever is stored. Sums over pixels leave each program as one row of partial sums: no atomics, so that results do
not depend on the order in which programs run.

u = x + strength·noise + bias,  t = leaky(u),  y = (t − mean)·rstd·(scale + 1) + shift
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _before(xs, zs, strength, bias, p, P, inside, HAS_NOISE: tl.constexpr):
    """u, what enters the activation, for the pixels p whose values of x lie at xs; zs: noise; [BP, BC] float32."""
    u = tl.load(xs, mask=inside, other=0.0).to(tl.float32) + bias[None, :]
    if HAS_NOISE:
        z = tl.load(zs + p, mask=p < P, other=0.0).to(tl.float32)
        u += z[:, None] * strength[None, :]
    return u


@triton.jit
def _leaky(u, SLOPE: tl.constexpr):
    return tl.where(u > 0, u, u * SLOPE)


@triton.jit
def _parameters(strength, bias, c, C, HAS_NOISE: tl.constexpr):
    """Per channel, float32: (strength or 0, bias)."""
    b = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
    s = b * 0.0
    if HAS_NOISE:
        s = tl.load(strength + c, mask=c < C, other=0.0).to(tl.float32)
    return s, b


@triton.jit
def _style(style, n, c, C, HAS_STYLE: tl.constexpr):
    """(scale + 1, shift) of this sample, [BC] float32; style is [N, 2, C]."""
    b = tl.zeros_like(c).to(tl.float32)
    a = b + 1.0
    if HAS_STYLE:
        a += tl.load(style + n * 2 * C + c, mask=c < C, other=0.0).to(tl.float32)
        b += tl.load(style + n * 2 * C + C + c, mask=c < C, other=0.0).to(tl.float32)
    return a, b


@triton.jit
def statistics(
    x, noise, strength, bias, means, squares, P, C, sn, sp, sc, zn, tiles,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Mean of t and sum of squared differences from it, of each chunk: [N, chunks, C] each.

    Differences are taken from the mean of the chunk's first tile, so that a large mean costs no digits.
    """
    chunk, n = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    xn, zs = x + n.to(tl.int64) * sn, noise + n.to(tl.int64) * zn
    first = chunk * tiles * BP
    p = first + tl.arange(0, BP)
    inside = (p < P)[:, None] & (c < C)[None, :]
    t = _leaky(_before(xn + p[:, None] * sp + c[None, :] * sc, zs, s, b, p, P, inside, HAS_NOISE), SLOPE)
    middle = tl.sum(tl.where(inside, t, 0.0), axis=0) / tl.minimum(P - first, BP).to(tl.float32)
    d = tl.where(inside, t - middle[None, :], 0.0)
    total, square = d, d * d
    for i in range(1, tiles):
        q = p + i * BP
        inside = (q < P)[:, None] & (c < C)[None, :]
        t = _leaky(_before(xn + q[:, None] * sp + c[None, :] * sc, zs, s, b, q, P, inside, HAS_NOISE), SLOPE)
        d = tl.where(inside, t - middle[None, :], 0.0)
        total += d
        square += d * d
    count = tl.minimum(P - first, tiles * BP).to(tl.float32)
    off = tl.sum(total, axis=0) / count
    m2 = tl.sum(square, axis=0) - off * off * count
    row = (n * tl.num_programs(0) + chunk) * C + c
    tl.store(means + row, middle + off, mask=c < C)
    tl.store(squares + row, tl.maximum(m2, 0.0), mask=c < C)


@triton.jit
def _combined(means, squares, n, c, P, C, chunks, size, eps, CHUNKS: tl.constexpr):
    """(mean, 1/sqrt(variance + eps)) over all chunks (Chan's formula); [BC]."""
    i = tl.arange(0, CHUNKS)
    rows = (n * chunks + i)[:, None] * C + c[None, :]
    inside = (i < chunks)[:, None] & (c < C)[None, :]
    m = tl.load(means + rows, mask=inside, other=0.0)
    count = tl.maximum(tl.minimum(P - i * size, size), 0).to(tl.float32)[:, None]
    mean = tl.sum(m * count, axis=0) / P
    d = tl.where(inside, m - mean[None, :], 0.0)
    m2 = tl.sum(tl.load(squares + rows, mask=inside, other=0.0), axis=0) + tl.sum(d * d * count, axis=0)
    return mean, 1.0 / tl.sqrt(m2 / P + eps)


@triton.jit
def apply(
    x, noise, strength, bias, style, means, squares, y, mean_out, rstd_out, P, C, sn, sp, sc, zn, tiles,
    chunks, size, eps,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_STYLE: tl.constexpr, INSTANCE: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """y from x and the statistics of `chunks` chunks of `size` pixels [N, chunks, C], whoever found them.

    The first program of each sample also stores mean and rstd [N, C] for the backward.
    """
    chunk, n = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    scale, shift = _style(style, n, c, C, HAS_STYLE)
    if INSTANCE:
        mean, rstd = _combined(means, squares, n, c, P, C, chunks, size, eps, CHUNKS)
        if chunk == 0:
            tl.store(mean_out + n * C + c, mean, mask=c < C)
            tl.store(rstd_out + n * C + c, rstd, mask=c < C)
        scale = scale * rstd
        shift = shift - mean * scale
    base = n.to(tl.int64) * sn
    zs = noise + n.to(tl.int64) * zn
    for i in range(tiles):
        p = (chunk * tiles + i) * BP + tl.arange(0, BP)
        inside = (p < P)[:, None] & (c < C)[None, :]
        at = base + p[:, None] * sp + c[None, :] * sc
        t = _leaky(_before(x + at, zs, s, b, p, P, inside, HAS_NOISE), SLOPE)
        tl.store(y + at, (t * scale[None, :] + shift[None, :]).to(y.dtype.element_ty), mask=inside)


@triton.jit
def apply_whole(
    x, noise, strength, bias, style, y, mean_out, rstd_out, P, C, sn, sp, sc, zn, eps,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_STYLE: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Statistics and y in one launch, where a tile holds all P pixels of a channel."""
    n = tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    scale, shift = _style(style, n, c, C, HAS_STYLE)
    p = tl.arange(0, BP)
    inside = (p < P)[:, None] & (c < C)[None, :]
    at = n.to(tl.int64) * sn + p[:, None] * sp + c[None, :] * sc
    t = _leaky(_before(x + at, noise + n.to(tl.int64) * zn, s, b, p, P, inside, HAS_NOISE), SLOPE)
    mean = tl.sum(tl.where(inside, t, 0.0), axis=0) / P
    d = tl.where(inside, t - mean[None, :], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(d * d, axis=0) / P + eps)
    tl.store(mean_out + n * C + c, mean, mask=c < C)
    tl.store(rstd_out + n * C + c, rstd, mask=c < C)
    out = d * (rstd * scale)[None, :] + shift[None, :]
    tl.store(y + at, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def gradient_sums(
    x, noise, strength, bias, dy, mean_in, rstd_in, shifts, scales, P, C, sn, sp, sc, zn, tiles,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, INSTANCE: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Sums of dy and of dy·(t − mean)·rstd over each chunk: the gradients of shift and scale; [N, chunks, C]."""
    chunk, n = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    mean, rstd = tl.zeros([BC], tl.float32), tl.full([BC], 1.0, tl.float32)
    if INSTANCE:
        mean = tl.load(mean_in + n * C + c, mask=c < C, other=0.0)
        rstd = tl.load(rstd_in + n * C + c, mask=c < C, other=0.0)
    base = n.to(tl.int64) * sn
    zs = noise + n.to(tl.int64) * zn
    shift, scale = tl.zeros([BP, BC], tl.float32), tl.zeros([BP, BC], tl.float32)
    for i in range(tiles):
        p = (chunk * tiles + i) * BP + tl.arange(0, BP)
        inside = (p < P)[:, None] & (c < C)[None, :]
        at = base + p[:, None] * sp + c[None, :] * sc
        t = _leaky(_before(x + at, zs, s, b, p, P, inside, HAS_NOISE), SLOPE)
        g = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
        shift += g
        scale += g * (t - mean[None, :])
    row = (n * tl.num_programs(0) + chunk) * C + c
    tl.store(shifts + row, tl.sum(shift, axis=0), mask=c < C)
    tl.store(scales + row, tl.sum(scale, axis=0) * rstd, mask=c < C)


@triton.jit
def _input_gradient(g, u, mean, rstd, scale, g_mean, gx_mean, SLOPE: tl.constexpr, INSTANCE: tl.constexpr):
    """Gradient of u from the gradient g of y; the means are those of g and of g·(t − mean)·rstd over the pixels."""
    if INSTANCE:
        normal = (_leaky(u, SLOPE) - mean[None, :]) * rstd[None, :]
        g = (g - g_mean[None, :] - normal * gx_mean[None, :]) * rstd[None, :]
    g *= scale[None, :]
    return tl.where(u > 0, g, g * SLOPE)


@triton.jit
def gradient(
    x, noise, strength, bias, style, dy, mean_in, rstd_in, shifts, scales, dx, dstyle, biases, strengths,
    P, C, sn, sp, sc, zn, tiles,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_STYLE: tl.constexpr, INSTANCE: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """dx, dstyle [N, 2, C], and each chunk's share of the gradients of bias and strength [N, chunks, C]."""
    chunk, n, chunks = tl.program_id(0), tl.program_id(1), tl.num_programs(0)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    scale, _ = _style(style, n, c, C, HAS_STYLE)
    mean, rstd = tl.zeros([BC], tl.float32), tl.full([BC], 1.0, tl.float32)
    if INSTANCE:
        mean = tl.load(mean_in + n * C + c, mask=c < C, other=0.0)
        rstd = tl.load(rstd_in + n * C + c, mask=c < C, other=0.0)
    k = tl.arange(0, CHUNKS)
    rows, known = (n * chunks + k)[:, None] * C + c[None, :], (k < chunks)[:, None] & (c < C)[None, :]
    g_sum = tl.sum(tl.load(shifts + rows, mask=known, other=0.0), axis=0)
    gx_sum = tl.sum(tl.load(scales + rows, mask=known, other=0.0), axis=0)
    if HAS_STYLE:
        if chunk == 0:
            tl.store(dstyle + n * 2 * C + c, gx_sum, mask=c < C)
            tl.store(dstyle + n * 2 * C + C + c, g_sum, mask=c < C)
    base = n.to(tl.int64) * sn
    zs = noise + n.to(tl.int64) * zn
    db, ds = tl.zeros([BP, BC], tl.float32), tl.zeros([BP, BC], tl.float32)
    for i in range(tiles):
        p = (chunk * tiles + i) * BP + tl.arange(0, BP)
        inside = (p < P)[:, None] & (c < C)[None, :]
        at = base + p[:, None] * sp + c[None, :] * sc
        u = _before(x + at, zs, s, b, p, P, inside, HAS_NOISE)
        g = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
        d = _input_gradient(g, u, mean, rstd, scale, g_sum / P, gx_sum / P, SLOPE, INSTANCE)
        tl.store(dx + at, d.to(dx.dtype.element_ty), mask=inside)
        d = tl.where(inside, d, 0.0)
        db += d
        if HAS_NOISE:
            ds += d * tl.load(zs + p, mask=p < P, other=0.0).to(tl.float32)[:, None]
    row = (n * chunks + chunk) * C + c
    tl.store(biases + row, tl.sum(db, axis=0), mask=c < C)
    if HAS_NOISE:
        tl.store(strengths + row, tl.sum(ds, axis=0), mask=c < C)


@triton.jit
def gradient_whole(
    x, noise, strength, bias, style, dy, mean_in, rstd_in, dx, dstyle, biases, strengths, P, C, sn, sp, sc, zn,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_STYLE: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """`gradient_sums` and `gradient` in one launch, where a tile holds all P pixels of a channel."""
    n = tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    scale, _ = _style(style, n, c, C, HAS_STYLE)
    mean = tl.load(mean_in + n * C + c, mask=c < C, other=0.0)
    rstd = tl.load(rstd_in + n * C + c, mask=c < C, other=0.0)
    p = tl.arange(0, BP)
    inside = (p < P)[:, None] & (c < C)[None, :]
    at = n.to(tl.int64) * sn + p[:, None] * sp + c[None, :] * sc
    zs = noise + n.to(tl.int64) * zn
    u = _before(x + at, zs, s, b, p, P, inside, HAS_NOISE)
    g = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
    g_sum = tl.sum(g, axis=0)
    gx_sum = tl.sum(g * (_leaky(u, SLOPE) - mean[None, :]), axis=0) * rstd
    if HAS_STYLE:
        tl.store(dstyle + n * 2 * C + c, gx_sum, mask=c < C)
        tl.store(dstyle + n * 2 * C + C + c, g_sum, mask=c < C)
    d = _input_gradient(g, u, mean, rstd, scale, g_sum / P, gx_sum / P, SLOPE, True)
    tl.store(dx + at, d.to(dx.dtype.element_ty), mask=inside)
    d = tl.where(inside, d, 0.0)
    tl.store(biases + n * C + c, tl.sum(d, axis=0), mask=c < C)
    if HAS_NOISE:
        z = tl.load(zs + p, mask=p < P, other=0.0).to(tl.float32)
        tl.store(strengths + n * C + c, tl.sum(d * z[:, None], axis=0), mask=c < C)
