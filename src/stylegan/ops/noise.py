"""Noise of a training step on a GPU: each value from its own place, whoever draws it.

A process draws noise for its own rows of the batch only, and yet every row gets what it would get in any other
division of the batch: a value is a function of the step's seed, the row in the whole batch, the layer and the pixel.
It is Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), a cipher of counters, and
the Box-Muller transform. Four values come of each counter; they lie `LANES` pixels apart, so that a kernel writes in
order.

Layers that work on packed tensors take it in their order of pixels (`ops.packed.pixels`), of which it is drawn as well.

Shapes: sizes L layers of (h, w); rows [n], of the batch; noise of all layers in one buffer, layer after layer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import cache

import torch

from stylegan.ops.fused import launch
from stylegan.ops.switch import kernels

LANES = 256  # counters of a program of the kernel, each of which gives four values
MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)  # Salmon et al., table 2
LOW = 0xFFFFFFFF

Sizes = Sequence[tuple[int, int]]


def layers_of(buffer: torch.Tensor, sizes: Sizes, packed: Collection[int] = ()) -> list[torch.Tensor]:
    """The noise of each layer [n, 1, h, w], or [n, 1, h/2, 2w] if it is packed, views of a buffer [n·all pixels]."""
    n = len(buffer) // sum(h * w for h, w in sizes)
    parts = buffer.split([n * h * w for h, w in sizes])
    lying = [(h // 2, 2 * w) if i in packed else (h, w) for i, (h, w) in enumerate(sizes)]
    return [part.view(n, 1, *size) for part, size in zip(parts, lying, strict=True)]


def draw(buffer: torch.Tensor, rows: torch.Tensor, sizes: Sizes, seed: int | torch.Tensor) -> None:
    """Fills a float32 buffer with normal values for some rows of a batch.

    rows, and the seed (from 0 to 2^63 - 1) if it is a tensor, int64, lie on the buffer's device.
    """
    if kernels(buffer):
        blocks = _blocks(tuple(sizes), buffer.device)
        given = seed if isinstance(seed, torch.Tensor) else torch.full((), seed, device=buffer.device)
        launch(
            "triton_noise.normal", (len(blocks), len(rows), 1), buffer, rows, blocks, given, len(rows),
            B=LANES, num_warps=4,
        )  # fmt: skip
        return
    for layer, noise in enumerate(layers_of(buffer, sizes)):
        noise.copy_(normal(rows, layer, noise[0].numel(), int(seed)).view(noise.shape))


def normal(rows: torch.Tensor, layer: int, pixels: int, seed: int) -> torch.Tensor:
    """The reference: values [n, pixels] of one layer."""
    count = math.ceil(pixels / (4 * LANES)) * LANES
    counter = torch.arange(count, device=rows.device).expand(len(rows), count)
    none = torch.zeros_like(counter)
    a, b, c, d = philox((counter, none + rows[:, None], none + layer, none), (seed & LOW, seed >> 32))
    values = torch.stack([*_box_muller(a, b), *_box_muller(c, d)], dim=1)  # n 4 count
    return values.view(len(rows), 4, -1, LANES).transpose(1, 2).reshape(len(rows), -1)[:, :pixels]


def philox(counter: Sequence[torch.Tensor], key: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """Four words of 32 bits (in int64) from four, under two of a key: ten rounds."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high, low = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # modulo 2^64
        c0, c1 = ((low >> 32) & LOW) ^ c1 ^ k0, low & LOW
        c2, c3 = ((high >> 32) & LOW) ^ c3 ^ k1, high & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3


def _box_muller(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    u, v = (torch.where(x > LOW // 2, LOW - x, x).float() * 4.6566127342e-10 for x in (a, b))  # in [0, 1)
    radius = (-2 * u.clamp_min(1e-7).log()).sqrt()
    return radius * (2 * math.pi * v).cos(), radius * (2 * math.pi * v).sin()


@cache  # graphs read it where it lies
def _blocks(sizes: tuple[tuple[int, int], ...], device: torch.device) -> torch.Tensor:
    """What each program of the kernel draws, int32 [programs, 4]."""
    found, begin = [], 0
    for layer, (h, w) in enumerate(sizes):
        found += [(layer, begin, h * w, first) for first in range(0, math.ceil(h * w / (4 * LANES)) * LANES, LANES)]
        begin += h * w
    return torch.tensor(found, dtype=torch.int32).to(device)
