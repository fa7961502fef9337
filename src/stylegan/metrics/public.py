"""The feature networks that metrics are defined with, from their public weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from stylegan.errors import UserError
from stylegan.metrics.dinov2 import VisionTransformer
from stylegan.metrics.features import FeatureNetwork, Identity, as_rgb
from stylegan.metrics.inception import FEATURES, Inception2015
from stylegan.metrics.vgg import Lpips, Vgg16, lpips_tensors
from stylegan.metrics.weights import fill, find_weights, read_tensors

LPIPS_SIDE = 256  # larger images are reduced to this by box means, as officially

NETWORKS = ("inception", "vgg16", "lpips", "dinov2")


class PublicNetwork(FeatureNetwork):
    """Any of them but LPIPS, around its PyTorch module."""

    def __init__(self, module: nn.Module, identity: Identity, dim: int, device: torch.device | str) -> None:
        self.module = module.eval().requires_grad_(False).to(device)
        self.identity, self.dim, self.device = identity, dim, torch.device(device)
        self.has_logits = isinstance(module, Inception2015 | Vgg16)

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        found = self.module(x)
        return found if isinstance(found, tuple) else (found, None)


class LpipsNetwork(FeatureNetwork):
    """LPIPS as a distance; features, where asked for, are its weighted unit activations, averaged over pixels."""

    dim = 64 + 128 + 256 + 512 + 512

    def __init__(self, module: Lpips, sha256: str, device: torch.device | str) -> None:
        self.module = module.eval().requires_grad_(False).to(device)
        self.identity = Identity("lpips-vgg16", sha256, None, "box")
        self.device = torch.device(device)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """As officially: images larger than 256 pixels are averaged over squares, smaller ones stay."""
        x = as_rgb(images.to(self.device, non_blocking=self.device.type == "cuda").float())
        factor = max(x.shape[2:]) // LPIPS_SIDE
        return x if factor < 2 else torch.nn.functional.avg_pool2d(x, factor)

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        taken = self.module.activations(x)
        scaled = [(a * w.clamp_min(0).sqrt()).mean((2, 3)) for a, w in zip(taken, self.module.weights, strict=True)]
        return torch.cat(scaled, 1), None

    def distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """LPIPS of pairs: [N] float64."""
        with torch.inference_mode():
            found = self.module(self.prepare(a), self.prepare(b))
        return found.cpu().double() if self.device.type == "mps" else found.double()


def open_public(name: str, device: torch.device | str, given: Mapping[str, Path]) -> FeatureNetwork:
    """One of NETWORKS with its weights. UserError where a file is missing or wrong, saying what to do."""
    if name == "lpips":
        (lin_path, lin_hash), (path, digest) = find_weights("lpips", given), find_weights("vgg16", given)
        lpips = Lpips()
        fill(lpips, lpips_tensors(read_tensors(path), read_tensors(lin_path)), lin_path)
        if any(bool((weight < 0).any()) for weight in lpips.weights):
            raise UserError(f"{lin_path}: not LPIPS weights: some are negative")
        return LpipsNetwork(lpips, hashlib.sha256((digest + lin_hash).encode()).hexdigest(), device)
    path, digest = find_weights(name, given)
    tensors = read_tensors(path)
    if name == "dinov2":
        try:
            transformer = VisionTransformer.of(tensors)
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: not DINOv2 weights ({error})") from None
        fill(transformer, tensors, path)
        side = 224 // transformer.patch * transformer.patch
        identity = Identity("dinov2-vitl14", digest, (side, side), "bicubic")
        return PublicNetwork(transformer, identity, transformer.width, device)
    if name == "vgg16":
        vgg = Vgg16()
        fill(vgg, tensors, path)
        return PublicNetwork(vgg, Identity("vgg16-fc2", digest, (224, 224), "triangle"), 4096, device)
    inception = Inception2015()
    fill(inception, tensors, path)
    return PublicNetwork(inception, Identity("inception-2015-12-05", digest, (299, 299), "tf1"), FEATURES, device)
