# mypy: ignore-errors
"""Triton kernels over whole images (see ops.images); imported only where Triton is (see ops.switch.kernels)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def from_bytes(images, mirrored, out, each, width, MIRRORS: tl.constexpr, B: tl.constexpr):
    """out = images / 127.5 - 1, of contiguous samples of `each` values, rows turned round where `mirrored` says so."""
    sample = tl.program_id(1)
    at = tl.program_id(0) * B + tl.arange(0, B)
    begin = sample.to(tl.int64) * each
    source = at
    if MIRRORS:
        column = at % width
        source = tl.where(tl.load(mirrored + sample) != 0, at + width - 1 - 2 * column, at)
    v = tl.load(images + begin + source, mask=at < each, other=0).to(tl.float32)
    tl.store(out + begin + at, tl.div_rn(v, 127.5) - 1.0, mask=at < each)


@triton.jit
def squares(x, sums, each, TILES: tl.constexpr, B: tl.constexpr):
    """The sum of squares of TILES tiles of a sample, which lies in `each` values one after the other."""
    sample, program = tl.program_id(1), tl.program_id(0)
    begin = x + sample.to(tl.int64) * each
    total = tl.zeros([B], tl.float32)
    for tile in tl.static_range(TILES):
        at = (program * TILES + tile) * B + tl.arange(0, B)
        v = tl.load(begin + at, mask=at < each, other=0.0).to(tl.float32)
        total += v * v
    tl.store(sums + sample * tl.num_programs(0) + program, tl.sum(total, axis=0))
