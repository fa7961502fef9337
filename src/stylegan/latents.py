"""Latents: z and noise from seeds, interpolation in Z and W, and style mixing.

Everything drawn here is a pure function of one seed, whatever else is drawn in the same call, so that a
seed names an image. Shapes: N batch, L style layers, D width of w, Z width of z, H height, W width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch

from stylegan import lod as lods
from stylegan.errors import UserError

MAX_SEED = 2**32 - 1
MAX_SEEDS = 10_000_000

# Figure 3 of the paper names three layer ranges by resolution: 4²-8², 16²-32², and 64² up.
RANGES = {"coarse": (0, 4), "middle": (4, 8), "fine": (8, None)}


def parse_seeds(text: str) -> list[int]:
    """Numbers and inclusive ranges, in the order given: "0-63,100,7" -> [0, ..., 63, 100, 7].

    UserError for anything else, for seeds above 2^32 − 1 (numpy's limit), and for no seed at all.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise UserError(f"seeds {text!r}: {part.strip()!r} is no number or range; write for example 0-63,100,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"seeds {text!r}: the range {first}-{last} runs backwards; write {last}-{first}")
        if last > MAX_SEED:
            raise UserError(f"seeds {text!r}: {last} is above the largest seed, {MAX_SEED}")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise UserError(f"seeds {text!r}: more than {MAX_SEEDS:,} seeds; draw them in several parts")
        seeds.extend(range(first, last + 1))
    return seeds


def z_from_seed(seed: int, z_dim: int) -> torch.Tensor:
    """The latent z ~ N(0, I) of one seed: [Z] float32.

    Drawn as the official tools draw it, `numpy.random.RandomState(seed).randn(z_dim)`, so that a seed of the
    official figures gives the official latent. numpy guarantees this stream for all its versions.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"seed {seed}: must lie between 0 and {MAX_SEED}")
    return torch.from_numpy(np.random.RandomState(seed).randn(z_dim).astype(np.float32))


def z_from_seeds(seeds: Sequence[int], z_dim: int) -> torch.Tensor:
    """The latents of several seeds, each a function of its own seed alone: [N, Z] float32."""
    if not len(seeds):
        return torch.empty(0, z_dim)
    return torch.stack([z_from_seed(int(seed), z_dim) for seed in seeds])  # N Z


def noise_from_seeds(seeds: Sequence[int], sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
    """One noise input per layer from per-seed streams: a list of [N, 1, h, w] float32, N(0, 1).

    `sizes` is `G.synthesis.noise_sizes(lod)`. Each (seed, layer) has a PCG64 stream of its own, independent
    of the z of that seed. (Officially noise comes from TensorFlow's generator and cannot be reproduced.)
    """
    layers = []
    for layer, (height, width) in enumerate(sizes):
        rows = []
        for seed in seeds:
            stream = np.random.PCG64(np.random.SeedSequence(int(seed), spawn_key=(layer,)))
            rows.append(np.random.Generator(stream).standard_normal((1, height, width), dtype=np.float32))
        layers.append(torch.from_numpy(np.stack(rows)))  # N 1 h w
    return layers


def lerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
    """Linear interpolation a + t·(b − a), the one to use in W; t a number or broadcastable."""
    return a + (b - a) * t


def slerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
    """Spherical interpolation of normalised a and b, [..., Z] -> unit vectors [..., Z] (section 4.1, PPL).

    t is a number or has shape [..., 1]. Where a and b point the same way the result is a.
    """
    a = a / a.norm(dim=-1, keepdim=True)
    b = b / b.norm(dim=-1, keepdim=True)
    cosine = (a * b).sum(dim=-1, keepdim=True)
    across = b - cosine * a  # the part of b at right angles to a
    sine = across.norm(dim=-1, keepdim=True)
    across = across / sine.clamp_min(1e-12)
    angle = t * torch.atan2(sine, cosine)  # acos(cosine), but exact for small angles too
    mixed = a * torch.cos(angle) + across * torch.sin(angle)
    return mixed / mixed.norm(dim=-1, keepdim=True)


def style_mix(ws_a: torch.Tensor, ws_b: torch.Tensor, layers: Sequence[int]) -> torch.Tensor:
    """Style mixing, section 3.1: ws_a [N or 1, L, D] with the styles of `layers` from ws_b [N or 1, L, D].

    ValueError where L or D differ, or a layer does not exist.
    """
    if ws_a.shape[1:] != ws_b.shape[1:]:
        raise ValueError(f"ws {list(ws_a.shape)} and {list(ws_b.shape)}: layers and width must agree")
    count = ws_a.shape[1]
    if any(not 0 <= layer < count for layer in layers):
        raise ValueError(f"layers {list(layers)}: must lie between 0 and {count - 1}")
    take = torch.zeros(count, 1, dtype=torch.bool, device=ws_a.device)  # L 1
    take[list(layers)] = True
    return torch.where(take, ws_b, ws_a)  # N L D


def layer_ranges(active: int) -> dict[str, tuple[int, ...]]:
    """The ranges of figure 3 that a network of `active` layers has: name -> layer numbers.

    coarse = layers 0-3 (4² and 8²), middle = 4-7 (16² and 32²), fine = 8 and up (64² and larger). A 32x32
    network (8 layers) has coarse and middle only.
    """
    ranges = {name: tuple(range(first, min(end or active, active))) for name, (first, end) in RANGES.items()}
    return {name: layers for name, layers in ranges.items() if layers}


def parse_layers(text: str, active: int) -> tuple[int, ...]:
    """Layer numbers from "coarse", "middle,8" or "4-7,9", for a network of `active` layers.

    UserError for a layer the network does not have; the text says what it has.
    """
    available = layer_ranges(active)
    has = f"this network has layers 0-{active - 1}: " + ", ".join(
        f"{name} = {layers[0]}-{layers[-1]}" for name, layers in available.items()
    )
    chosen: set[int] = set()
    for part in text.split(","):
        name = part.strip().lower()
        match = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", name)
        if name in available:
            chosen.update(available[name])
        elif match is not None and int(match[1]) <= int(match[2] or match[1]) < active:
            chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
        elif name in RANGES:
            side = lods.nominal(RANGES[name][0] // 2)
            raise UserError(f"layers {name!r}: these are the layers from {side}x{side} up, but {has}")
        else:
            raise UserError(f"layers {part.strip()!r}: write coarse, middle, fine or 4-7,9; {has}")
    return tuple(sorted(chosen))


def ease(t: np.ndarray, easing: str) -> np.ndarray:
    """Time in [0, 1] -> position in [0, 1]: "linear", or "smooth" (3t² − 2t³: slow at both ends)."""
    if easing == "linear":
        return t
    if easing == "smooth":
        return t * t * (3.0 - 2.0 * t)
    raise UserError(f"easing {easing!r}: must be linear or smooth")
