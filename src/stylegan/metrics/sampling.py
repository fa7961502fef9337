"""What is measured: generated images as functions of (seed, index), and real ones by index.

Sample i of seed s has its own streams for latent, noise and class, so that it is the same image in any batch,
process and order, and fid2k uses the first 2,000 images of fid50k. The work is cut into chunks of one batch,
numbered through; process r of w takes chunks r, r + w, ...: a chunk is computed the same way whoever does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from stylegan.data import Dataset
from stylegan.errors import UserError
from stylegan.networks import Generator, Replay

STREAMS = {"z": 0, "noise": 1, "label": 2, "z2": 3, "t": 4, "mirror": 5, "subset": 6, "cuts": 7}
STREAMS |= {f"mix{i}": 6 + i for i in range(2, 10)}  # the second and further latents of an image (Table 2)


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """The random numbers of one purpose of one sample."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index, STREAMS[name]])))


def chunks(count: int, batch: int, rank: int = 0, world: int = 1) -> Iterator[range]:
    """This process's index ranges of 0..count−1."""
    for start in range(rank * batch, count, world * batch):
        yield range(start, min(start + batch, count))


def for_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """x on the host, in memory from which `to_device` copies to that device without waiting."""
    return x.pin_memory() if device.type == "cuda" and x.device.type == "cpu" else x


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """x on the device; to a GPU the copy goes into its queue, and the host goes on."""
    return x.to(device, non_blocking=device.type == "cuda")


def default_batch(generator: Generator) -> int:
    """Images per pass: 32 on a CPU; on a GPU as many as keep it busy at this size and fit into what is free."""
    device = generator.w_avg.device
    if device.type != "cuda":
        return 32
    height, width = generator.config.resolution
    pixels = 1 << (23 if torch.cuda.mem_get_info(device)[0] >= 24 << 30 else 21)
    return int(2 ** np.floor(np.log2(min(256, max(8, pixels // (height * width))))))


@dataclass(frozen=True)
class Mixed:
    """The further latents of images that are mixed from several: others K-1 times [N, Z]; owner [N, L] in 0..K-1."""

    others: list[torch.Tensor]
    owner: torch.Tensor


@dataclass
class Fakes:
    """Generated images of one generator under one seed.

    psi None = no truncation, as the paper's metrics are defined; otherwise all layers are truncated. lod None =
    the generator's. Images below its full size are enlarged (nearest), as officially. classes: what labels are
    drawn from, so that classes are as frequent as in the data; None = all equally. mixing: how many latents each
    image is mixed from (Table 2). balanced: sample i has class i modulo their number, whatever `classes` says.
    """

    generator: Generator
    seed: int = 0
    psi: float | None = None
    lod: float | None = None
    classes: np.ndarray | None = None  # int64 [n]
    mixing: int = 1
    balanced: bool = False

    @property
    def device(self) -> torch.device:
        return self.generator.w_avg.device

    @cached_property
    def replay(self) -> Replay:
        """The generator as a CUDA graph, where there is a GPU."""
        return Replay(self.generator)

    def _send(self, x: torch.Tensor) -> torch.Tensor:
        """x on the generator's device, without waiting for what it is doing."""
        return to_device(for_device(x, self.device), self.device)

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
        if self.balanced:
            numbers = [i % count for i in indices]
        else:
            drawn = [stream(self.seed, i, "label").random() for i in indices]
            every = np.arange(count) if self.classes is None else self.classes
            numbers = [int(every[int(u * len(every))]) for u in drawn]
        return self._send(F.one_hot(torch.tensor(numbers), count).float())

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

    def mixed(self, indices: Sequence[int]) -> Mixed | None:
        """What the second and further latents of each sample are, and which layers take them; None without mixing.

        The crossover points are drawn for each sample, all different, among the layers that act (Table 2's test).
        """
        if self.mixing == 1:
            return None
        count, active = self.generator.config.num_layers, len(self.generator.synthesis.noise_sizes(self.lod_used))
        owner = np.zeros((len(indices), count), np.int64)
        for row, i in zip(owner, indices, strict=True):
            for cut in stream(self.seed, i, "cuts").choice(np.arange(1, active), self.mixing - 1, replace=False):
                row[cut:] += 1
        others = [self.latents(indices, f"mix{k}") for k in range(2, self.mixing + 1)]
        return Mixed(others, torch.from_numpy(owner))

    def check_mixing(self) -> None:
        """UserError where the network's layers cannot be shared out to so many latents."""
        active = len(self.generator.synthesis.noise_sizes(self.lod_used))
        if self.mixing > 1 and not self.generator.config.styles:
            raise UserError(
                f"_mix{self.mixing}: this is a traditional generator (configuration A or B), which has no styles to mix"
            )
        if not 1 <= self.mixing <= active:
            raise UserError(f"_mix{self.mixing}: this network has {active} layers, so give 1 to {active} latents")

    @property
    def lod_used(self) -> float:
        return float(self.generator.lod if self.lod is None else self.lod)

    @torch.inference_mode()
    def map(self, z: torch.Tensor, labels: torch.Tensor | None, mixed: Mixed | None = None) -> torch.Tensor:
        """z [N, Z] -> ws [N, L, D], mixed with further latents if given, truncated if psi says so."""
        G = self.generator
        ws = G.mapping(self._send(z), labels)
        if mixed is not None:
            every = torch.stack([ws, *(G.mapping(self._send(other), labels) for other in mixed.others)])  # K N L D
            owner = self._send(mixed.owner)[None, :, :, None]
            ws = every.gather(0, owner.expand(1, *ws.shape))[0]
        return G.truncate(ws, self.psi, G.config.num_layers)

    @torch.inference_mode()
    def draw(self, ws: torch.Tensor, noise: Any) -> torch.Tensor:
        """ws [N, L, D] -> images [N, C, H, W] float32 in about [-1, 1], at full size."""
        G = self.generator
        pictures = self.replay.synthesis(ws, self.lod_used, noise)
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
