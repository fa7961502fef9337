"""Feature networks: uint8 images -> features, under one small interface, by name or from a file.

`open_features` knows: pixels (no file), inception, vgg16, lpips, dinov2 (public weights, see weights.py), a
.safetensors of this project's classifier, a .onnx (data, needs onnxruntime), and a TorchScript .pt/.ts, which is
a program and runs only where the user says so. Pickled modules and .pt2 (which unpickles) are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stylegan.errors import UserError
from stylegan.metrics.resizing import FILTERS, resize


@dataclass(frozen=True)
class Identity:
    """What is written beside every number: which network, with which weights, fed with images how."""

    name: str
    sha256: str  # of the weights, "" = there are none
    size: tuple[int, int] | None  # (height, width) of its input; None = the images' own
    resize: str


class FeatureNetwork:
    """The interface. A subclass fills in `identity`, `dim` and `run`."""

    identity: Identity
    dim: int  # number of features
    has_logits = False  # whether run gives class logits too
    rgb = True  # whether it wants 3 channels
    class_names: list[str] | None = None  # of the logits, where they are known
    facts: Mapping[str, Any] = {}  # what else is written beside its numbers
    device: torch.device = torch.device("cpu")

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """float32 [N, C, h, w] in [0, 255], resized -> (features [N, dim] float32, logits [N, classes] or None)."""
        raise NotImplementedError

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 or float [N, C, H, W] in [0, 255] -> what `run` takes: colours, then size."""
        x = images.to(self.device, non_blocking=self.device.type == "cuda").float()
        if self.rgb:
            x = as_rgb(x)
        return x if self.identity.size is None else resize(x, self.identity.size, self.identity.resize)

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """images as for `prepare` -> (features, logits or None)."""
        with torch.inference_mode():
            return self.run(self.prepare(images))

    def distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Perceptual distance of image pairs, float [N, C, H, W] in [0, 255] each -> [N] float64.

        Mean squared difference of the features; LPIPS has a distance of its own.
        """
        fa, fb = self(a)[0], self(b)[0]
        on_host = fa.device.type == "mps"
        return (fa - fb).cpu().double().square().mean(1) if on_host else (fa - fb).double().square().mean(1)


def as_rgb(x: torch.Tensor) -> torch.Tensor:
    """float [N, C, H, W] in [0, 255] -> 3 channels: grey repeated, transparency over white. UserError otherwise."""
    channels = x.shape[1]
    if channels == 3:
        return x
    if channels == 1:
        return x.expand(-1, 3, -1, -1)
    if channels == 4:
        alpha = x[:, 3:] / 255.0
        return x[:, :3] * alpha + 255.0 * (1.0 - alpha)
    raise UserError(
        f"images of {channels} channels: this feature network takes 1, 3 or 4; use --features pixels, or an exported "
        f"network made for {channels} channels"
    )


class Pixels(FeatureNetwork):
    """No network: the pixels of the image, reduced to at most 16 on its longer side by box means, in [0, 1].

    For tests and offline work; its distances mean what pixels mean, which is little.
    """

    rgb = False
    SIDE = 16

    def __init__(self, channels: int, size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        factor = max(1.0, max(size) / self.SIDE)
        small = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
        self.identity = Identity("pixels", "", small, "box")
        self.dim = channels * small[0] * small[1]
        self.device = torch.device(device)

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        return (x / 255.0).flatten(1), None


def open_features(
    spec: str,
    image: tuple[int, int, int],  # channels, height, width
    device: torch.device | str = "cpu",
    weights: Mapping[str, Path] | None = None,  # name -> file, for the public networks
    resize_filter: str | None = None,  # instead of the network's own
    trust_torchscript: bool = False,
) -> FeatureNetwork:
    """A feature network by name or file. UserError where it is unknown, or its file missing, saying what to do."""
    from stylegan.metrics.exported import open_exported
    from stylegan.metrics.public import NETWORKS, open_public

    if resize_filter is not None and resize_filter not in FILTERS:
        raise UserError(f"--resize {resize_filter}: must be one of {', '.join(FILTERS)}")
    network: FeatureNetwork
    if spec == "pixels":
        network = Pixels(image[0], image[1:], device)
    elif spec in NETWORKS:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn before the real ones are read
            network = open_public(spec, device, weights or {})
    elif Path(spec).suffix or Path(spec).exists():
        network = open_exported(Path(spec), image, device, trust_torchscript)
    else:
        names = ", ".join(["pixels", *NETWORKS])
        raise UserError(f"--features {spec}: must be one of {names}, or a file (.onnx, .safetensors, TorchScript)")
    if resize_filter is not None:
        old = network.identity
        if resize_filter == "none":
            raise UserError("--resize none: a network of fixed input size needs a filter")
        network.identity = Identity(old.name, old.sha256, old.size, resize_filter)
    return network


def sha256_of(path: Path) -> str:
    """The hash of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(network: FeatureNetwork) -> dict[str, Any]:
    """The identity as it is written into results."""
    i = network.identity
    size = None if i.size is None else f"{i.size[1]}x{i.size[0]}"
    return {"name": i.name, "sha256": i.sha256 or None, "input": size, "resize": i.resize, "features": network.dim}
