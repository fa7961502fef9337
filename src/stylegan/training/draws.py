"""Everything random in a training step, as pure functions of (seed, images shown, purpose).

Nothing depends on how many steps ran before in this process, on the number of processes, or on how a batch
is divided: all values are drawn for the whole global batch and each process takes its rows, but for noise on
GPUs, which is large and drawn so that rows do not depend on each other (`ops.noise`). That is what makes resuming
exact and the number of GPUs irrelevant.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from stylegan import lod as lods
from stylegan.config import GeneratorConfig
from stylegan.networks import SynthesisNetwork
from stylegan.ops import noise


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from numbers and words."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def rows_of_part(batch: int, part: int, parts: int, group: int) -> torch.Tensor:
    """Which samples [batch/parts] of the global batch belong to one part.

    Groups of the minibatch stddev layer stay whole wherever the batch divides, so that the discriminator
    sees the same groups however many parts there are. ValueError where parts do not divide the batch.
    """
    if batch % parts:
        raise ValueError(f"a batch of {batch} cannot be divided into {parts} equal parts")
    members = min(max(group, 1), batch)
    while batch % members or (batch // members) % parts:
        members -= 1  # ends at 1 at the latest, as parts divide the batch
    columns = torch.arange(batch).reshape(members, parts, -1)  # G P columns
    return columns[:, part].reshape(-1)


def sent(drawn: torch.Tensor, device: torch.device) -> torch.Tensor:
    """What was drawn, on the device; the host does not wait for it to arrive.

    From memory that is not pinned it would wait for all that the GPU has been told to do before.
    """
    on_host = device.type == "cuda" and not drawn.is_cuda
    return drawn.pin_memory().to(device, non_blocking=True) if on_host else drawn.to(device)


@dataclass(frozen=True)
class LatentDraw:
    """Latents for one call of the generator in training, for the whole batch."""

    z: torch.Tensor  # [N, Z]
    z_mixed: torch.Tensor  # [N, Z], second latents of style mixing
    cutoff: int | None  # layers from here on take z_mixed; None = no mixing in this batch

    def given(self, rows: torch.Tensor, layers: int) -> dict[str, torch.Tensor]:
        """By name: both latents of some rows, and which layers [L] take the second; on the host."""
        mixes = torch.arange(layers) >= (layers if self.cutoff is None else self.cutoff)
        return {"z": self.z[rows], "z_mixed": self.z_mixed[rows], "mixes": mixes}


def draw_latents(
    config: GeneratorConfig,
    mixing: float,
    lod: float,
    batch: int,
    seed: int,
) -> LatentDraw:
    """Latents and the mixing decision (StyleGAN, section 3.1): one cutoff per batch, in [1, active layers − 1]."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, config.z_dim, generator=generator)
    z_mixed = torch.randn(batch, config.z_dim, generator=generator)
    uniform = torch.rand((), generator=generator).item()
    layers = lods.active_layers(config.num_layers, lod)
    cutoff = int(torch.randint(1, layers, (), generator=generator))
    mixes = config.styles and uniform < mixing
    return LatentDraw(z, z_mixed, cutoff if mixes else None)


def noise_buffer(synthesis: SynthesisNetwork, lod: float, n: int, device: torch.device) -> torch.Tensor:
    """Room for the noise of n samples, of all acting layers."""
    sizes = synthesis.noise_sizes(lod) if synthesis.config.noise else []
    return torch.empty(n * sum(h * w for h, w in sizes), device=device)


def draw_noise(
    synthesis: SynthesisNetwork,
    lod: float,
    batch: int,
    rows: torch.Tensor,  # [n], on the host, or with the seed on the device
    seed: int | torch.Tensor,  # a tensor only on a GPU
    buffer: torch.Tensor,
) -> torch.Tensor:
    """Noise for some rows of a batch, of all acting layers, in their `noise_buffer`, which is returned."""
    if not len(buffer):
        return buffer
    sizes, device = synthesis.noise_sizes(lod), buffer.device
    if device.type == "cuda":
        noise.draw(buffer, sent(rows, device), sizes, seed)
        return buffer
    generator = torch.Generator(device).manual_seed(int(seed))
    whole = np.array_equal(rows.numpy(), np.arange(batch))
    for layer in noise.layers_of(buffer, sizes):
        if whole:
            layer.normal_(generator=generator)
        else:
            drawn = torch.empty(batch, *layer.shape[1:], device=device).normal_(generator=generator)
            layer.copy_(drawn[rows.to(device)])
    return buffer


def noise_layers(synthesis: SynthesisNetwork, lod: float, buffer: torch.Tensor) -> list[torch.Tensor]:
    """Noise of each acting layer, as it takes it, parts of a buffer; [] where the network takes none."""
    if not synthesis.config.noise:
        return []
    packed = synthesis.packed_layers(lod, buffer) if buffer.is_cuda else ()
    return noise.layers_of(buffer, synthesis.noise_sizes(lod), packed)
