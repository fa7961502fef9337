"""Everything random in a training step, as pure functions of (seed, images shown, purpose).

Nothing depends on how many steps ran before in this process, on the number of processes, or on how a batch
is divided: all values are drawn for the whole global batch and each process takes its rows. That is what
makes resuming exact and the number of GPUs irrelevant.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from stylegan import lod as lods
from stylegan.config import GeneratorConfig
from stylegan.networks import SynthesisNetwork


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


@dataclass(frozen=True)
class LatentDraw:
    """Latents for one call of the generator in training, for the whole batch."""

    z: torch.Tensor  # [N, Z]
    z_mixed: torch.Tensor  # [N, Z], second latents of style mixing
    cutoff: int | None  # layers from here on take z_mixed; None = no mixing in this batch


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


def draw_noise(
    synthesis: SynthesisNetwork,
    lod: float,
    batch: int,
    rows: torch.Tensor,
    seed: int,
    device: torch.device,
) -> list[torch.Tensor]:
    """Noise for some rows of a batch, [n, 1, h, w] for each acting layer; [] where the network takes none."""
    if not synthesis.config.noise:
        return []
    generator = torch.Generator(device).manual_seed(seed)
    rows = rows.to(device)
    return [
        torch.randn(batch, 1, *size, device=device, generator=generator)[rows] for size in synthesis.noise_sizes(lod)
    ]
