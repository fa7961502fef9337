"""How much work a step is: multiply-adds and bytes that no implementation can avoid.

Arithmetic: convolutions only, resampling folded into them (4 taps per output pixel at stride 2). Bytes: every
convolution reads its input and writes its output once, every normalisation reads and writes once more; weights
and everything small are left out. A training iteration is, in units of one forward pass of each network:

    G: forward without gradient in the D step; forward, input and weight gradients in the G step   -> 4
    D: reals and fakes forward and both gradients (6); fakes forward and input gradient (2)         -> 8
    R1: gradient of the input gradient, two more passes and its own weight gradient                 -> 3
"""

from __future__ import annotations

from dataclasses import dataclass

from stylegan.config import Config
from stylegan.config.schema import ImageShape
from stylegan.training.eta import multiply_adds

G_PASSES, D_PASSES, R1_PASSES = 4, 8, 3


@dataclass(frozen=True)
class Work:
    """Per image."""

    flops: float
    bytes: float

    def seconds(self, flops: float, bytes_per_second: float) -> float:
        """The floor where arithmetic and memory traffic never overlap."""
        return self.flops / flops + self.bytes / bytes_per_second


def forward_bytes(shape: ImageShape, level: int, element: int, normalised: bool) -> float:
    """Bytes one forward pass moves per image; `element` bytes per value."""
    values = 0.0
    for k in range(level + 1):
        h, w = shape.size(k)
        outer = h * w * shape.fmaps(k + 1)
        inner = (h * w // 4) * shape.fmaps(k) if k else outer
        values += inner + outer + 2 * outer  # into and out of the convolution at a change of size, then of the other
        if normalised:
            values += 2 * 2 * outer
    h, w = shape.size(level)
    values += h * w * (shape.fmaps(level + 1) + 2 * shape.channels)  # to or from the image
    return values * element


def generation(config: Config, level: int, element: int) -> Work:
    """Work of drawing one image."""
    g = config.generator
    return Work(2 * multiply_adds(g, level), forward_bytes(g, level, element, g.instance_norm))


def iteration(config: Config, level: int, element: int) -> Work:
    """Work of one D step and one G step, per image."""
    g, d, loss = config.generator, config.discriminator, config.loss
    penalised = loss.r1_gamma > 0 or loss.r2_gamma > 0 or loss.kind == "wgan-gp"
    d_passes = D_PASSES + (R1_PASSES / loss.penalty_interval if penalised else 0)
    return Work(
        2 * (multiply_adds(g, level) * G_PASSES + multiply_adds(d, level) * d_passes),
        forward_bytes(g, level, element, g.instance_norm) * G_PASSES
        + forward_bytes(d, level, element, False) * d_passes,
    )
