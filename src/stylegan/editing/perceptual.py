"""How far two images are apart, for descending on: LPIPS where its weights are at hand, else a pyramid.

The pyramid is the stated fallback: squared differences at every scale from full size down to 8 pixels (2x2 means),
averaged over scales, so that coarse placement and fine detail both have a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.metrics.public import LpipsNetwork

Objective = Callable[[torch.Tensor], torch.Tensor]  # images [N, C, h, w] in [-1, 1] -> [N]
SMALLEST = 8  # pixels of the shorter side at which the pyramid ends
LPIPS_SMALLEST = 16  # below it nothing is left after VGG's four poolings
PIXEL_WEIGHT = 10.0  # of the pyramid beside LPIPS, whose gradient says little about exact colours


class Pyramid:
    """Mean squared difference over scales; of any number of channels."""

    name = "pyramid"

    def against(self, target: torch.Tensor) -> Objective:
        """The distance from target [N, C, h, w], differentiable."""

        def distance(image: torch.Tensor) -> torch.Tensor:
            difference = image - target
            total, scales = difference.square().mean((1, 2, 3)), 1
            while min(difference.shape[2:]) >= 2 * SMALLEST:
                difference = F.avg_pool2d(difference, 2)
                total, scales = total + difference.square().mean((1, 2, 3)), scales + 1
            return total / scales  # N

        return distance

    objective = against  # what is descended on

    @torch.no_grad()
    def distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Of pairs of images [N, C, h, w] in [-1, 1] -> [N]."""
        return self.against(b)(a)


class LpipsDistance(Pyramid):
    """LPIPS with VGG-16 (Zhang et al., 1801.03924); what is descended on also has the pyramid in it."""

    name = "lpips-vgg16"

    def __init__(self, network: LpipsNetwork) -> None:
        self.network = network

    def against(self, target: torch.Tensor) -> Objective:
        """LPIPS from target; its activations are computed once."""
        network, module = self.network, self.network.module
        with torch.no_grad():
            wanted = module.activations(network.prepare(target * 127.5 + 127.5))

        def distance(image: torch.Tensor) -> torch.Tensor:
            found = module.activations(network.prepare(image * 127.5 + 127.5))
            parts = [
                F.conv2d((a - b).square(), weight).mean((1, 2, 3))
                for a, b, weight in zip(found, wanted, module.weights, strict=True)
            ]
            return torch.stack(parts).sum(0)  # N

        return distance

    def objective(self, target: torch.Tensor) -> Objective:
        """LPIPS and the pyramid together."""
        learned, pixels = self.against(target), Pyramid().against(target)
        return lambda image: learned(image) + PIXEL_WEIGHT * pixels(image)


def open_perceptual(
    name: str = "auto",
    device: torch.device | str = "cpu",
    weights: Mapping[str, Path] | None = None,
) -> Pyramid:
    """ "lpips", "pyramid", or "auto": LPIPS where both of its weight files are at hand, and never a download.

    weights: files by key (vgg16, lpips), as `--weights KEY=FILE`. UserError where "lpips" lacks a file.
    """
    from stylegan.metrics.public import LpipsNetwork, open_public
    from stylegan.metrics.weights import FILES, weights_folder

    given = dict(weights or {})
    unknown = sorted(set(given) - {"vgg16", "lpips"})
    if unknown:
        raise UserError(f"--weights {unknown[0]}: projection uses vgg16 and lpips only")
    if name not in ("auto", "lpips", "pyramid"):
        raise UserError(f"--loss {name}: must be auto, lpips or pyramid")
    at_hand = all(key in given or (weights_folder() / FILES[key].filename).is_file() for key in ("vgg16", "lpips"))
    if name == "pyramid" or (name == "auto" and not at_hand):
        return Pyramid()
    network = open_public("lpips", device, given)
    assert isinstance(network, LpipsNetwork)
    return LpipsDistance(network)


def check_size(perceptual: Pyramid, size: tuple[int, int], channels: int) -> None:
    """UserError where the images are nothing that VGG could see."""
    if isinstance(perceptual, LpipsDistance) and (min(size) < LPIPS_SMALLEST or channels not in (1, 3, 4)):
        raise UserError(
            f"--loss lpips: needs images of {LPIPS_SMALLEST} pixels or more with 1, 3 or 4 channels, these are "
            f"{size[1]}x{size[0]} with {channels}; use --loss pyramid"
        )
