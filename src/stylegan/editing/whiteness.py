"""Noise inputs kept noise while they are optimised (Karras et al., StyleGAN2, 1912.04958, appendix D).

What the image needs must be found in w. So the noise may not become a picture: the autocorrelation of each noise
map, at several scales, is pushed to zero, and its mean and variance are put back after every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

SMALLEST = 8  # maps are looked at down to this side


def autocorrelation(noise: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum over maps [N, 1, h, w] and scales of the squared mean products of neighbours: [N], 0 for white noise.

    Neighbours are one pixel to the right and one below, around the border. A scale is the 2x2 mean of the one
    before, times 2, which gives white noise its variance of 1 back.
    """
    total = torch.zeros(noise[0].shape[0], device=noise[0].device) if noise else torch.zeros(1)
    for layer in noise:
        x = layer
        while True:
            across, down = (x * x.roll(1, 3)).mean((1, 2, 3)), (x * x.roll(1, 2)).mean((1, 2, 3))
            total = total + across.square() + down.square()
            if min(x.shape[2:]) < 2 * SMALLEST:
                break
            x = F.avg_pool2d(x, 2) * 2
    return total


@torch.no_grad()
def renormalise(noise: Sequence[torch.Tensor]) -> None:
    """Each map to mean 0 and variance 1, in place."""
    for layer in noise:
        layer.sub_(layer.mean((2, 3), keepdim=True))
        layer.mul_(torch.rsqrt(layer.square().mean((2, 3), keepdim=True).clamp_min(1e-8)))
