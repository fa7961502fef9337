"""Walks between seeds: along great circles in Z, or in straight lines in W."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from stylegan import images, latents
from stylegan.drawing.labels import seed_labels
from stylegan.drawing.render import Look, Progress, map_latents, map_seeds, stream
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.networks import Generator

Space = Literal["z", "w"]
Easing = Literal["linear", "smooth"]


def interpolation_path(
    G: Generator,
    seeds: Sequence[int],
    frames: int,
    space: Space = "z",
    loop: bool = True,
    easing: Easing = "linear",
    classes: Sequence[int] | None = None,
    look: Look | None = None,
) -> torch.Tensor:
    """The ws of a walk through the seeds: [frames, L, D].

    `space` "z" goes along great circles of the normalised z (labels move linearly), "w" in straight lines of
    w, the two of section 4.1. With `loop` the last frame leads back to the first; without it the walk ends on
    the last seed. A frame that falls on a seed is that seed's own image. UserError for fewer than 2 seeds
    (1 with frames = 1) or no frames.
    """
    look = look or Look()
    if frames < 1:
        raise UserError(f"--frames {frames}: must be 1 or more")
    if len(seeds) < 2 and frames > 1:
        raise UserError(f"{len(seeds)} seed: a walk needs at least two; write for example --seeds 0-7")
    start, stop, t = _positions(len(seeds), frames, loop, easing)
    if space == "w":
        ws = map_seeds(G, seeds, classes, look)
        return latents.lerp(ws[start], ws[stop], t[:, None, None].to(ws))  # F L D
    if space != "z":
        raise UserError(f"--space {space}: must be z or w")
    z = latents.z_from_seeds(seeds, G.config.z_dim)
    length = latents.lerp(z[start].norm(dim=1), z[stop].norm(dim=1), t)  # F
    walk = latents.slerp(z[start], z[stop], t[:, None]) * length[:, None]  # F Z
    walk = torch.where(t[:, None] == 0, z[start], walk)
    labels = seed_labels(seeds, G.config.labels, classes)
    if labels is not None:
        labels = latents.lerp(labels[start], labels[stop], t[:, None])
    return map_latents(G, walk, labels, look)  # F L D


def _positions(count: int, frames: int, loop: bool, easing: Easing) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each frame the seed it leaves, the seed it goes to, and how far it has come (float32 in [0, 1))."""
    steps = count if loop else count - 1
    position = np.arange(frames) * (steps / (frames if loop else max(frames - 1, 1)))
    start = np.minimum(np.floor(position + 1e-9).astype(int), max(steps - 1, 0) if loop else count - 1)
    t = np.clip(position - start, 0.0, 1.0)
    t[t < 1e-9] = 0.0
    stop = (start + 1) % count
    return torch.from_numpy(start), torch.from_numpy(stop), torch.from_numpy(latents.ease(t, easing)).float()


def interpolation_frames(
    G: Generator,
    seeds: Sequence[int],
    frames: int,
    space: Space = "z",
    loop: bool = True,
    easing: Easing = "linear",
    classes: Sequence[int] | None = None,
    look: Look | None = None,
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """The frames of a walk (see `interpolation_path`), uint8 [h, w, C], drawn as they are asked for.

    Random noise is drawn once, from the first seed, so that details do not flicker.
    """
    look = (look or Look()).check(G)
    ws = interpolation_path(G, seeds, frames, space, loop, easing, classes, look)
    return (images.to_uint8(image) for image in stream(G, ws, look, [seeds[0]] * frames, progress))
