# mypy: ignore-errors
"""Triton kernels of the 1x1 convolutions from and to RGB; imported only where Triton is (see ops.fused_rgb).

An image of K <= 4 channels is read and written by its strides; features are seen as [N, P, C], P pixels in the order
in which they lie, which in packed tensors (ops.packed) is block by block of four. A program's tile holds all C channels
of BP pixels, so that every feature is read or written once; a program works on `tiles` tiles of one sample.
Arithmetic is float32 whatever is stored, and rounded once. Sums over pixels leave each program as one row of partial
sums: no atomics, so that results do not depend on the order in which programs run.

E: features = sum over k of image[k]·w[c, k]    A: image[k] = sum over c of features·w[c, k]    (each other's adjoints)
"""

from __future__ import annotations

import triton
import triton.language as tl

from stylegan.ops.triton_activation import _unpacked_bits
from stylegan.ops.triton_kernels import _before, _combined, _leaky, _parameters, _style


@triton.jit
def _places(q, W, ih, iw, PACKED: tl.constexpr):
    """Where pixels q of the features lie in an image of width W and these strides."""
    if PACKED:
        block, sub = q // 4, q % 4
        row, column = 2 * (block // (W // 2)) + sub // 2, 2 * (block % (W // 2)) + sub % 2
    else:
        row, column = q // W, q % W
    return row * ih + column * iw


@triton.jit
def _read(at, step, inside, K: tl.constexpr):
    """K values `step` apart as four, of which those from K on are not to be used; float32, 0 outside."""
    x0 = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    x1, x2, x3 = x0, x0, x0
    if K > 1:
        x1 = tl.load(at + step, mask=inside, other=0.0).to(tl.float32)
    if K > 2:
        x2 = tl.load(at + 2 * step, mask=inside, other=0.0).to(tl.float32)
    if K > 3:
        x3 = tl.load(at + 3 * step, mask=inside, other=0.0).to(tl.float32)
    return x0, x1, x2, x3


@triton.jit
def _positive(y, bits, at, eighth, inside, whole, BITS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr):
    """Whether y > 0 at some places [BP, BC]: from bits at [BP, BC / 8], or from y."""
    if BITS:
        return _unpacked_bits(tl.load(bits + eighth, mask=whole, other=0), BP, BC)
    return tl.load(y + at, mask=inside, other=0.0).to(tl.float32) > 0


@triton.jit
def _expand(b, w0, w1, w2, w3, x0, x1, x2, x3, K: tl.constexpr):
    """b + sum of w_k·x_k, K of them, for weights w_k [BC] and image channels x_k [BP]: [BP, BC]."""
    v = b[None, :] + w0[None, :] * x0[:, None]
    if K > 1:
        v += w1[None, :] * x1[:, None]
    if K > 2:
        v += w2[None, :] * x2[:, None]
    if K > 3:
        v += w3[None, :] * x3[:, None]
    return v


@triton.jit
def _bias(b, channels, HAS_BIAS: tl.constexpr):
    """Biases at b, float32; 0 without."""
    if HAS_BIAS:
        return tl.load(b, mask=channels, other=0.0).to(tl.float32)
    return tl.zeros(channels.shape, tl.float32)


@triton.jit
def _add_outer(s0, s1, s2, s3, f, x0, x1, x2, x3, K: tl.constexpr):
    """s_k + f·x_k for features f [BP, BC] and image channels x_k [BP]."""
    s0 += f * x0[:, None]
    if K > 1:
        s1 += f * x1[:, None]
    if K > 2:
        s2 += f * x2[:, None]
    if K > 3:
        s3 += f * x3[:, None]
    return s0, s1, s2, s3


@triton.jit
def _store_outer(row, s0, s1, s2, s3, step, inside, K: tl.constexpr):
    """Sums over the pixels of the four s_k [BP, BC], K of them, `step` apart."""
    tl.store(row, tl.sum(s0, axis=0), mask=inside)
    if K > 1:
        tl.store(row + step, tl.sum(s1, axis=0), mask=inside)
    if K > 2:
        tl.store(row + 2 * step, tl.sum(s2, axis=0), mask=inside)
    if K > 3:
        tl.store(row + 3 * step, tl.sum(s3, axis=0), mask=inside)


@triton.jit
def expand(
    image, weight, bias, f, bits, out, sums, P, C, W, sample, ik, ih, iw, wc, wk, sn, sp, sc, gc, gk, tiles,
    SLOPE: tl.constexpr, HAS_BIAS: tl.constexpr, ACTIVATES: tl.constexpr, MASKS: tl.constexpr, BITS: tl.constexpr,
    STORES: tl.constexpr, SUMS: tl.constexpr, PACKED: tl.constexpr,
    K: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """out = E(image) + bias [C]; ACTIVATES: leaky of that, MASKS: times leaky'(f). STORES: whether it is wanted.

    BITS: ACTIVATES leaves a bit for each value, whether it is positive, [N, P, C / 8]; MASKS reads those, not f.
    SUMS: each program's sums of image[k]·f[c] (gc and gk apart) and then of image[k]: [programs, K·C + K].
    """
    chunk, n = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, BC)
    channels = c < C
    w0, w1, w2, w3 = _read(weight + c * wc, wk, channels, K)
    b = _bias(bias + c, channels, HAS_BIAS)
    start = image + n.to(tl.int64) * sample
    base = n.to(tl.int64) * sn
    s0 = tl.zeros([BP, BC], tl.float32)
    s1, s2, s3 = s0, s0, s0
    t0 = tl.zeros([BP], tl.float32)
    t1, t2, t3 = t0, t0, t0
    for i in range(tiles):
        q = (chunk * tiles + i) * BP + tl.arange(0, BP)
        x0, x1, x2, x3 = _read(start + _places(q, W, ih, iw, PACKED), ik, q < P, K)
        at = base + q[:, None] * sp + c[None, :] * sc
        inside = (q < P)[:, None] & channels[None, :]
        eighth, whole = at, inside
        if BITS:
            e = tl.arange(0, BC // 8)
            eighth = base // 8 + q[:, None] * (C // 8) + e[None, :]
            whole = (q < P)[:, None] & (e < C // 8)[None, :]
            if ACTIVATES:  # worked out anew for each place in a byte: to gather eight values costs more
                eight = tl.zeros([BP, BC // 8], tl.int32)
                for k in tl.static_range(8):
                    o = 8 * e + k
                    v0, v1, v2, v3 = _read(weight + o * wc, wk, o < C, K)
                    u = _expand(_bias(bias + o, o < C, HAS_BIAS), v0, v1, v2, v3, x0, x1, x2, x3, K)
                    eight += (u > 0).to(tl.int32) << k
                tl.store(bits + eighth, eight.to(tl.uint8), mask=whole)
        if STORES:
            v = _expand(b, w0, w1, w2, w3, x0, x1, x2, x3, K)
            if ACTIVATES:
                v = tl.where(v > 0, v, v * SLOPE)
            if MASKS:
                v = tl.where(_positive(f, bits, at, eighth, inside, whole, BITS, BP, BC), v, v * SLOPE)
            tl.store(out + at, v.to(out.dtype.element_ty), mask=inside)
        if SUMS:
            g = tl.load(f + at, mask=inside, other=0.0).to(tl.float32)
            s0, s1, s2, s3 = _add_outer(s0, s1, s2, s3, g, x0, x1, x2, x3, K)
            t0 += x0
            t1 += x1
            t2 += x2
            t3 += x3
    if SUMS:
        row = sums + (n * tl.num_programs(0) + chunk) * (K * C + K)
        _store_outer(row + c * gc, s0, s1, s2, s3, gk, channels, K)
        tl.store(row + K * C, tl.sum(t0, axis=0))
        if K > 1:
            tl.store(row + K * C + 1, tl.sum(t1, axis=0))
        if K > 2:
            tl.store(row + K * C + 2, tl.sum(t2, axis=0))
        if K > 3:
            tl.store(row + K * C + 3, tl.sum(t3, axis=0))


@triton.jit
def _contracted(f, w, bias, k, HAS_BIAS: tl.constexpr):
    """Channel k of A(f) + bias: [BP] from f [BP, BC] and w [BC]."""
    a = tl.sum(f * w[None, :], axis=1)
    if HAS_BIAS:
        a += tl.load(bias + k).to(tl.float32)
    return a


@triton.jit
def _store_image(p, step, inside, f, w0, w1, w2, w3, bias, HAS_BIAS: tl.constexpr, K: tl.constexpr):
    """A(f) + bias at the places p of an image whose channels lie `step` apart."""
    tl.store(p, _contracted(f, w0, bias, 0, HAS_BIAS).to(p.dtype.element_ty), mask=inside)
    if K > 1:
        tl.store(p + step, _contracted(f, w1, bias, 1, HAS_BIAS).to(p.dtype.element_ty), mask=inside)
    if K > 2:
        tl.store(p + 2 * step, _contracted(f, w2, bias, 2, HAS_BIAS).to(p.dtype.element_ty), mask=inside)
    if K > 3:
        tl.store(p + 3 * step, _contracted(f, w3, bias, 3, HAS_BIAS).to(p.dtype.element_ty), mask=inside)


@triton.jit
def contract(
    f, weight, bias, y, bits, image, out, sums, P, C, W, sample, ik, ih, iw, on, ok, wc, wk, sn, sp, sc, gc, gk, tiles,
    SLOPE: tl.constexpr, HAS_BIAS: tl.constexpr, MASKS: tl.constexpr, BITS: tl.constexpr,
    STORES: tl.constexpr, SUMS: tl.constexpr, PACKED: tl.constexpr,
    K: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """out = A(f) + bias [K], a contiguous image; MASKS: of f·leaky'(y) instead of f. STORES: whether it is wanted.

    BITS: MASKS takes the signs of y from the bits that `expand` left.
    SUMS: each program's sums of image[k]·f[c] (gc and gk apart) and then of f[c], masked too: [programs, K·C + C].
    """
    chunk, n = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, BC)
    channels = c < C
    w0, w1, w2, w3 = _read(weight + c * wc, wk, channels, K)
    start, to = image + n.to(tl.int64) * sample, out + n.to(tl.int64) * on
    base = n.to(tl.int64) * sn
    s0 = tl.zeros([BP, BC], tl.float32)
    s1, s2, s3, total = s0, s0, s0, s0
    for i in range(tiles):
        q = (chunk * tiles + i) * BP + tl.arange(0, BP)
        at = base + q[:, None] * sp + c[None, :] * sc
        inside = (q < P)[:, None] & channels[None, :]
        g = tl.load(f + at, mask=inside, other=0.0).to(tl.float32)
        if MASKS:
            eighth, whole = at, inside
            if BITS:
                e = tl.arange(0, BC // 8)
                eighth = base // 8 + q[:, None] * (C // 8) + e[None, :]
                whole = (q < P)[:, None] & (e < C // 8)[None, :]
            g = tl.where(_positive(y, bits, at, eighth, inside, whole, BITS, BP, BC), g, g * SLOPE)
        if SUMS:
            x0, x1, x2, x3 = _read(start + _places(q, W, ih, iw, PACKED), ik, q < P, K)
            s0, s1, s2, s3 = _add_outer(s0, s1, s2, s3, g, x0, x1, x2, x3, K)
            total += g
        if STORES:
            p = to + _places(q, W, W, 1, PACKED)
            _store_image(p, ok, q < P, g, w0, w1, w2, w3, bias, HAS_BIAS, K)
    if SUMS:
        row = sums + (n * tl.num_programs(0) + chunk) * (K * C + C)
        _store_outer(row + c * gc, s0, s1, s2, s3, gk, channels, K)
        tl.store(row + K * C + c, tl.sum(total, axis=0), mask=channels)


@triton.jit
def apply_contract(
    x, noise, strength, bias, style, means, squares, weight, image_bias, out,
    P, C, W, sn, sp, sc, zn, on, ok, wc, wk, tiles, chunks, size, eps,
    SLOPE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_STYLE: tl.constexpr, PACKED: tl.constexpr,
    K: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """out = A(y) + image_bias [K], y what `triton_kernels.apply` would write, rounded as there; a contiguous image."""
    chunk, n = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, BC)
    s, b = _parameters(strength, bias, c, C, HAS_NOISE)
    scale, shift = _style(style, n, c, C, HAS_STYLE)
    mean, rstd = _combined(means, squares, n, c, P, C, chunks, size, eps, CHUNKS)
    scale = scale * rstd
    shift = shift - mean * scale
    w0, w1, w2, w3 = _read(weight + c * wc, wk, c < C, K)
    base = n.to(tl.int64) * sn
    zs, to = noise + n.to(tl.int64) * zn, out + n.to(tl.int64) * on
    for i in range(tiles):
        q = (chunk * tiles + i) * BP + tl.arange(0, BP)
        inside = (q < P)[:, None] & (c < C)[None, :]
        t = _leaky(_before(x + base + q[:, None] * sp + c[None, :] * sc, zs, s, b, q, P, inside, HAS_NOISE), SLOPE)
        y = (t * scale[None, :] + shift[None, :]).to(x.dtype.element_ty).to(tl.float32)
        p = to + _places(q, W, W, 1, PACKED)
        _store_image(p, ok, q < P, y, w0, w1, w2, w3, image_bias, True, K)
