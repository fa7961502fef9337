# mypy: ignore-errors
"""Triton kernel that draws the noise of a training step; imported only where Triton is (see ops.switch.kernels)."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.random import pair_uniform_to_normal, uint_to_uniform_float


@triton.jit
def put(out, at, area, values):
    tl.store(out + at, values, mask=at < area)


@triton.jit
def normal(out, rows, blocks, seed, n, B: tl.constexpr):
    """Normal values of one row of the batch, in 4·B pixels of one layer (see ops.noise).

    seed: where it lies. blocks: of each program of axis 0 its layer, where the layer begins among all, its pixels, and
    its first counter.
    """
    row, block = tl.program_id(1), blocks + 4 * tl.program_id(0)
    layer, begin, area, first = tl.load(block), tl.load(block + 1), tl.load(block + 2), tl.load(block + 3)
    counter = first + tl.arange(0, B)
    none = counter * 0
    a, b, c, d = tl.philox(tl.load(seed), counter, none + tl.load(rows + row).to(tl.int32), none + layer, none)
    w, x = pair_uniform_to_normal(uint_to_uniform_float(a), uint_to_uniform_float(b))
    y, z = pair_uniform_to_normal(uint_to_uniform_float(c), uint_to_uniform_float(d))
    to = out + begin.to(tl.int64) * n + row.to(tl.int64) * area
    at = 4 * first + tl.arange(0, B)
    put(to, at, area, w)
    put(to, at + B, area, x)
    put(to, at + 2 * B, area, y)
    put(to, at + 3 * B, area, z)
