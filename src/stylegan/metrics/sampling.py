"""What is measured: generated images as functions of (seed, index), and real ones by index.

Sample i of seed s has its own streams for latent, noise and class, so that it is the same image in any batch,
process and order, and fid2k uses the first 2,000 images of fid50k. The work is cut into chunks of one batch,
numbered through; process r of w takes chunks r, r + w, ...: a chunk is computed the same way whoever does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from stylegan.data import Dataset
from stylegan.errors import UserError
from stylegan.networks import Generator

STREAMS = {"z": 0, "noise": 1, "label": 2, "z2": 3, "t": 4, "mirror": 5, "subset": 6}


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """The random numbers of one purpose of one sample."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index, STREAMS[name]])))


def chunks(count: int, batch: int, rank: int = 0, world: int = 1) -> Iterator[range]:
    """This process's index ranges of 0..count−1."""
    for start in range(rank * batch, count, world * batch):
        yield range(start, min(start + batch, count))


@dataclass
class Fakes:
    """Generated images of one generator under one seed.

    psi None = no truncation, as the paper's metrics are defined; otherwise all layers are truncated. lod None =
    the generator's. Images below its full size are enlarged (nearest), as officially. classes: what labels are
    drawn from, so that classes are as frequent as in the data; None = all equally.
    """

    generator: Generator
    seed: int = 0
    psi: float | None = None
    lod: float | None = None
    classes: np.ndarray | None = None  # int64 [n]

    @property
    def device(self) -> torch.device:
        return self.generator.w_avg.device

    def latents(self, indices: Sequence[int], which: str = "z") -> torch.Tensor:
        """z [N, Z] float32 on the host."""
        width = self.generator.config.z_dim
        rows = [stream(self.seed, i, which).standard_normal(width, dtype=np.float32) for i in indices]
        return torch.from_numpy(np.stack(rows))

    def labels(self, indices: Sequence[int]) -> torch.Tensor | None:
        """One-hot [N, classes] on the generator's device; None for an unconditional one."""
        count = self.generator.config.labels
        if not count:
            return None
        drawn = [stream(self.seed, i, "label").random() for i in indices]
        if self.classes is None:
            numbers = [int(u * count) for u in drawn]
        else:
            numbers = [int(self.classes[int(u * len(self.classes))]) for u in drawn]
        return F.one_hot(torch.tensor(numbers), count).float().to(self.device)

    def noise(self, indices: Sequence[int]) -> list[torch.Tensor] | str:
        """Noise inputs, one [N, 1, h, w] per acting layer, drawn on the generator's device.

        Each sample has its own stream; a CPU and a GPU draw different numbers from it.
        """
        G = self.generator
        if not G.config.noise:
            return "none"
        sizes = G.synthesis.noise_sizes(self.lod_used)
        total = sum(h * w for h, w in sizes)
        where = self.device if self.device.type == "cuda" else torch.device("cpu")
        drawn, source = torch.empty(len(indices), total, device=where), torch.Generator(where)
        for row, index in zip(drawn, indices, strict=True):
            state = np.random.SeedSequence([self.seed, index, STREAMS["noise"]]).generate_state(2, np.uint32)
            source.manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
            torch.randn(total, generator=source, out=row)
        parts = drawn.to(self.device).split([h * w for h, w in sizes], dim=1)
        return [part.reshape(-1, 1, *size).contiguous() for part, size in zip(parts, sizes, strict=True)]  # N 1 h w

    @property
    def lod_used(self) -> float:
        return float(self.generator.lod if self.lod is None else self.lod)

    @torch.inference_mode()
    def map(self, z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """z [N, Z] -> ws [N, L, D], truncated if psi says so."""
        G = self.generator
        return G.truncate(G.mapping(z.to(self.device), labels), self.psi, G.config.num_layers)

    @torch.inference_mode()
    def draw(self, ws: torch.Tensor, noise: Any) -> torch.Tensor:
        """ws [N, L, D] -> images [N, C, H, W] float32 in about [-1, 1], at full size."""
        G = self.generator
        pictures = G.synthesis(ws, self.lod_used, noise)
        height = G.config.resolution[0]
        factor = height // pictures.shape[2]
        return pictures if factor == 1 else F.interpolate(pictures, scale_factor=factor, mode="nearest")


def to_uint8(pictures: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] in about [-1, 1] -> uint8, rounded and clipped as `stylegan.images.to_uint8`, on the device."""
    return (pictures.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def to_levels(pictures: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] in about [-1, 1] -> [0, 255] without rounding, as PPL takes them."""
    return (pictures.float() + 1.0) * 127.5


@dataclass(frozen=True)
class Reals:
    """The images of a data set that generated ones are compared with.

    count None: all; otherwise a random choice without replacement (always the same one: seed 0). mirror: half of
    them, always the same, are flipped left-right, as a training with mirroring has seen them.
    """

    dataset: Dataset
    size: tuple[int, int]
    count: int | None
    mirror: bool = False

    @property
    def indices(self) -> np.ndarray:
        """int64 [n], ascending."""
        n = len(self.dataset)
        if self.count is None or self.count >= n:
            return np.arange(n)
        return np.sort(stream(0, 0, "subset").choice(n, self.count, replace=False))

    def read(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [N, C, H, W] of images by their number in the data set."""
        pictures = self.dataset.read(indices, self.size)
        if self.mirror:
            flips = np.array([stream(0, int(i), "mirror").random() < 0.5 for i in indices], dtype=bool)
            pictures[flips] = pictures[flips, :, :, ::-1]
        return pictures


def check_fit(generator: Generator, dataset: Dataset) -> tuple[int, int]:
    """The level (height, width) of the data set to compare with. UserError where channels or size do not fit."""
    height, width = generator.config.resolution
    if dataset.channels != generator.config.channels:
        raise UserError(f"the model draws {generator.config.channels} channels, the data set has {dataset.channels}")
    if (height, width) not in dataset.levels:
        sizes = ", ".join(f"{w}x{h}" for h, w in dataset.levels)
        raise UserError(
            f"the model draws {width}x{height}, the data set has {sizes}; prepare it at --resolution "
            f"{width if width == height else f'{width}x{height}'}"
        )
    classes = generator.config.labels
    if classes and dataset.num_classes not in (0, classes):
        raise UserError(f"the model has {classes} classes, the data set {dataset.num_classes}")
    return height, width
