"""ws -> images, in batches, such that a seed gives the same image whatever the batch size.

On the CPU the last bits of float32 convolutions and matrix products depend on how many samples are computed
together (measured with PyTorch 2.13: 3x3 convolutions of 4² to 32² and dense layers, batch 1 or 3 against
16). There, samples are computed one at a time, which makes files equal to the byte. On a GPU samples are
batched, with TF32 off; the same seed then gives the same image up to single levels of 255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from stylegan import images, latents
from stylegan.drawing.labels import seed_labels
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.networks import Generator

NoiseMode = Literal["random", "stored", "none"]
Progress = Callable[[int, int], None]  # images done, images in all
MEAN_OF = 1000  # latents the mean w of a class is taken of


@dataclass(frozen=True)
class Look:
    """How to draw. The defaults draw the plain network: no truncation, noise from the seed, batches of 16."""

    psi: float | None = None  # truncation psi; None or 1 = no truncation
    cutoff: int | None = None  # how many layers are truncated; None = all of them
    noise: NoiseMode = "random"  # "random": from each seed; "stored": the network's own; "none"
    lod: float | None = None  # level of detail; None = the one the network was trained to
    batch: int = 16  # samples per pass on a GPU; the CPU takes one at a time
    channels: tuple[int, ...] | None = None  # image channels to draw; None = all
    noise_layers: tuple[int, ...] | None = None  # layers that get their noise, the others none; None = all
    centres: torch.Tensor | None = field(default=None, compare=False)  # [classes, D]: truncate towards these

    def check(self, G: Generator) -> Look:
        """The look with its settings checked against a generator. UserError names what does not fit."""
        if self.batch < 1:
            raise UserError(f"--batch {self.batch}: must be 1 or more")
        if self.noise not in ("random", "stored", "none"):
            raise UserError(f"--noise {self.noise}: must be random, stored or none")
        if self.psi is not None and self.psi != 1:
            check_truncatable(G)
        if self.cutoff is not None and not 0 <= self.cutoff <= G.config.num_layers:
            raise UserError(
                f"--cutoff {self.cutoff}: this network has {G.config.num_layers} layers; "
                f"give 0 to {G.config.num_layers}, or all"
            )
        for channel in self.channels or ():
            if not 0 <= channel < G.config.channels:
                raise UserError(f"--channels {channel}: the images have channels 0-{G.config.channels - 1}")
        return self

    def lod_of(self, G: Generator) -> float:
        """The level of detail that is drawn."""
        return float(G.lod if self.lod is None else self.lod)

    def layers_of(self, G: Generator) -> int:
        """How many style layers act at that level of detail."""
        return len(G.synthesis.noise_sizes(self.lod_of(G)))


def default_look(G: Generator, **settings: Any) -> Look:
    """The look that G's configuration asks for (psi 0.7, cutoff 8 in the paper), with `settings` replaced."""
    look, config = Look(), G.config
    if config.truncation_cutoff is not None:
        look = replace(look, cutoff=min(config.truncation_cutoff, config.num_layers))
        if G.truncatable:
            look = replace(look, psi=config.truncation_psi)
    return replace(look, **settings)


def check_truncatable(G: Generator) -> None:
    """UserError for a generator without a mean w to truncate towards (traditional generators, A and B)."""
    if not G.truncatable:
        raise UserError(
            "this is a traditional generator (configuration A or B): it keeps no average w, towards which "
            "truncation moves; draw it without --psi, or use a model of configuration C to F"
        )


def check_styles(G: Generator) -> None:
    """UserError for a generator whose layers take no styles (traditional generators, A and B)."""
    if not G.config.styles:
        raise UserError(
            "this is a traditional generator (configuration A or B): its latent enters at the first layer, "
            "so there are no styles to mix; use a model of configuration C to F"
        )


def map_seeds(
    G: Generator,
    seeds: Sequence[int],
    classes: Sequence[int] | None = None,
    look: Look | None = None,
) -> torch.Tensor:
    """The truncated ws of seeds: [N, L, D] on the generator's device. `classes` take turns, None = all."""
    labels = seed_labels(seeds, G.config.labels, classes)
    return map_latents(G, latents.z_from_seeds(seeds, G.config.z_dim), labels, look or Look())


def map_latents(G: Generator, z: torch.Tensor, labels: torch.Tensor | None, look: Look) -> torch.Tensor:
    """z [N, Z], labels [N, classes] or None -> truncated ws [N, L, D] on the generator's device."""
    look.check(G)
    device = G.w_avg.device
    z = z.to(device)
    labels = None if labels is None else labels.to(device)
    cutoff = G.config.num_layers if look.cutoff is None else look.cutoff
    rows = []
    with torch.inference_mode(), exact_float32(device):
        for start, stop in _chunks(len(z), look.batch, device):
            part = None if labels is None else labels[start:stop]
            ws = G.mapping(z[start:stop], part)
            if look.centres is None or part is None:
                rows.append(G.truncate(ws, look.psi, cutoff))
            else:  # labels between two classes have a centre between theirs
                rows.append(truncate_towards(part @ look.centres.to(part), ws, look.psi, cutoff))
    if not rows:
        return torch.empty(0, G.config.num_layers, G.config.w_dim, device=device)
    return torch.cat(rows)  # N L D


def truncate_towards(centre: torch.Tensor, ws: torch.Tensor, psi: float | None, cutoff: int) -> torch.Tensor:
    """`Generator.truncate` towards a centre of one's own, [N, D], instead of the mean of all: ws [N, L, D]."""
    if psi is None:
        return ws
    truncated = torch.lerp(centre[:, None], ws[:, :cutoff], float(psi))
    return torch.cat([truncated, ws[:, cutoff:]], dim=1)  # N L D


def class_centres(G: Generator, classes: Sequence[int] | None = None, count: int = MEAN_OF) -> torch.Tensor:
    """The mean w of classes over the latents of seeds 0 to count − 1, the same for each: [all classes, D].

    For `Look.centres`: truncation then pulls a class towards its own mean, not towards that of all, which makes
    classes alike. Rows of classes that are not asked for (None = all) hold the mean of all. UserError for a model
    without classes or without styles.
    """
    if not G.config.labels:
        raise UserError(
            "this model was trained without classes, so there are no class means; leave --towards class out, or train "
            "one with `stylegan train --labels`"
        )
    check_truncatable(G)
    device = G.w_avg.device
    z = latents.z_from_seeds(range(count), G.config.z_dim).to(device)
    centres = G.w_avg.detach().float().repeat(G.config.labels, 1)  # classes D
    with torch.inference_mode(), exact_float32(device):
        for number in range(G.config.labels) if classes is None else dict.fromkeys(classes):
            labels = torch.full((count,), number, device=device)
            centres[number] = G.mapping.w(z, labels).double().mean(0).to(centres)
    return centres


def stream(
    G: Generator,
    ws: torch.Tensor,
    look: Look | None = None,
    noise_seeds: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Iterator[torch.Tensor]:
    """ws [N, L, D] -> the images one after the other, [C, h, w] in about [-1, 1], on the generator's device.

    `noise_seeds` gives the seed of each row's random noise; None = 0, 1, 2, ... Only one batch is held at a
    time. UserError as in `Look.check`.
    """
    look = (look or Look()).check(G)
    seeds = range(len(ws)) if noise_seeds is None else noise_seeds
    if len(seeds) != len(ws):
        raise ValueError(f"{len(seeds)} noise seeds for {len(ws)} rows of ws: give one per row")
    for start, stop in _chunks(len(ws), look.batch, G.w_avg.device):
        yield from _render_batch(G, ws[start:stop], seeds[start:stop], look)
        if progress is not None:
            progress(stop, len(ws))


@torch.inference_mode()
def _render_batch(G: Generator, ws: torch.Tensor, noise_seeds: Sequence[int], look: Look) -> torch.Tensor:
    """ws [n, L, D] -> images [n, C, h, w]."""
    lod, device = look.lod_of(G), G.w_avg.device
    noise: Any = look.noise if G.config.noise else "none"
    if noise == "random":
        drawn = latents.noise_from_seeds(list(dict.fromkeys(noise_seeds)), G.synthesis.noise_sizes(lod))
        index = {seed: i for i, seed in enumerate(dict.fromkeys(noise_seeds))}
        noise = [layer[[index[seed] for seed in noise_seeds]].to(device) for layer in drawn]
    if look.noise_layers is not None and noise != "none":
        if noise == "stored":
            noise = [G.synthesis.get_buffer(f"noise{i}") for i in range(look.layers_of(G))]
        noise = [x if i in look.noise_layers else torch.zeros_like(x) for i, x in enumerate(noise)]
    try:
        with exact_float32(device):
            pictures = G.synthesis(ws.to(device), lod=lod, noise=noise)
    except torch.OutOfMemoryError as error:
        raise UserError(f"--batch {len(ws)}: the GPU's memory is too small for it; halve it") from error
    return pictures if look.channels is None else pictures[:, list(look.channels)]


def render(
    G: Generator,
    ws: torch.Tensor,
    look: Look | None = None,
    noise_seeds: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """ws [N, L, D] -> uint8 [N, h, w, C]; see `stream`, which holds one batch at a time."""
    drawn = [images.to_uint8(image) for image in stream(G, ws, look, noise_seeds, progress)]
    if not drawn:
        raise UserError("nothing to draw: give at least one seed")
    return np.stack(drawn)


def draw_seeds(
    G: Generator,
    seeds: Sequence[int],
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Iterator[torch.Tensor]:
    """The image of each seed, [C, h, w] in about [-1, 1], one batch held at a time."""
    look = (look or Look()).check(G)
    for start, stop in _chunks(len(seeds), look.batch, G.w_avg.device):
        part = seeds[start:stop]
        yield from stream(G, map_seeds(G, part, classes, look), look, part)
        if progress is not None:
            progress(stop, len(seeds))


def _chunks(count: int, batch: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """(start, stop) of each pass: one sample at a time on the CPU, for the reason at the top of this file."""
    step = 1 if device.type == "cpu" else batch
    for start in range(0, count, step):
        yield start, min(start + step, count)


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """On CUDA: no TF32, and no choice of algorithm by timing. The old settings come back."""
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = tf32
