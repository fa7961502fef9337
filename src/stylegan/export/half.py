"""A model file in 16 bits: half the size, and how far its images are from those of the file it was made of."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from stylegan.drawing import default_look, draw_seeds
from stylegan.networks import Generator
from stylegan.snapshot import in_16_bits

SEEDS = 16  # images that are compared


@dataclass(frozen=True)
class Agreement:
    """How alike the images of two generators are, seed by seed, without truncation."""

    count: int
    psnr: float  # dB over all images together, of the range [-1, 1]; infinite where they are the same
    worst: float  # dB of the least alike image
    largest: float  # difference of one value, in steps of 8-bit images

    def __str__(self) -> str:
        if math.isinf(self.psnr):
            return f"{self.count} images, all the same"
        return (
            f"PSNR {self.psnr:.1f} dB over {self.count} images (the least alike {self.worst:.1f} dB), largest "
            f"difference {self.largest:.2f} of 255"
        )


def halved(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    """(the tensors in 16 bits, each in the nearer of the two types; how many in which, and the largest error).

    The error is relative to the largest number of the tensor it is in.
    """
    small = {name: in_16_bits(tensor) for name, tensor in tensors.items()}
    kinds = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in small.values())
    errors = {
        name: float((small[name].float() - tensor.float()).abs().max() / tensor.float().abs().max().clamp_min(1e-30))
        for name, tensor in tensors.items()
        if tensor.numel()
    }
    worst = max(errors, key=lambda name: errors[name])
    told = ", ".join(f"{count} tensors as {kind}" for kind, count in kinds.most_common())
    return small, f"{told}; largest error {errors[worst]:.1e} of a tensor's largest number ({worst})"


def agreement(before: Generator, after: Generator, count: int = SEEDS) -> Agreement:
    """Draws seeds 0, 1, ... from both, without truncation and with the noise of the seed, and compares."""
    channels = None if before.config.channels <= 4 else (0, 1, 2)
    look = replace(default_look(before, channels=channels), psi=None)
    errors, largest = [], 0.0
    pairs = zip(draw_seeds(before, range(count), look), draw_seeds(after, range(count), look), strict=True)
    for one, other in pairs:
        difference = one.float().clamp(-1, 1) - other.float().clamp(-1, 1)
        errors.append(float(difference.square().mean()))
        largest = max(largest, float(difference.abs().max()) * 127.5)
    return Agreement(count, _decibels(sum(errors) / count), _decibels(max(errors)), largest)


def _decibels(error: float) -> float:
    return 10 * math.log10(4.0 / error) if error > 0 else math.inf


def sizes(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> str:
    """What a file is made of, in words: weights, noise buffers, description."""
    noise = sum(t.nbytes for name, t in tensors.items() if ".synthesis.noise" in name)
    weights = sum(t.nbytes for t in tensors.values()) - noise
    text = len(json.dumps(header, ensure_ascii=False).encode())
    return f"weights {weights / 1e6:,.2f} MB, stored noise {noise / 1e6:,.2f} MB, description {text / 1e6:,.3f} MB"


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names and values, whatever file they lie in."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
