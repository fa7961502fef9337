"""Where a descent starts: the mean and spread of w, and the random w whose images come nearest to the target.

StyleGAN2's projector starts at the mean of w. A small generator's loss has local minima, so here the mean competes
with the means of classes and with random w, plain and drawn towards the mean; the nearest few are descended from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from stylegan import latents
from stylegan.drawing import one_hot
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.networks import Generator

FIRST_SEED = 1_000_000  # of the latents that statistics are taken of
TOWARDS_MEAN = 0.6  # psi of half of the candidates: photos are nearer to the mean than samples are


@dataclass(frozen=True)
class WStatistics:
    """Of n random w: mean [D], spread (root mean square deviation per component), the samples [n, D] and classes."""

    mean: torch.Tensor
    spread: float
    samples: torch.Tensor
    classes: torch.Tensor | None  # [n]
    class_means: torch.Tensor | None  # [classes, D]


@torch.no_grad()
def w_statistics(
    G: Generator,
    samples: int = 4096,
    seed: int = 0,
    classes: Sequence[int] | None = None,
) -> WStatistics:
    """The statistics of w over random latents; a conditional generator takes its `classes` (None = all) in turn."""
    config, device = G.config, G.w_avg.device
    if samples < 2:
        raise UserError(f"samples {samples}: statistics of w need at least 2")
    first = FIRST_SEED + seed * samples
    z = latents.z_from_seeds([s % latents.MAX_SEED for s in range(first, first + samples)], config.z_dim).to(device)
    number = None
    if config.labels:
        chosen = torch.tensor(list(classes) if classes else list(range(config.labels)))
        number = chosen[torch.arange(samples) % len(chosen)]
    labels = None if number is None else one_hot(number.tolist(), config.labels).to(device)
    parts = batches(samples, 1024)
    w = torch.cat([G.mapping.w(z[p], None if labels is None else labels[p]) for p in parts]).float()  # n D
    means = None
    if number is not None:
        spots = [w[(number == c).to(device)] for c in range(config.labels)]
        means = torch.stack([own.mean(0) if len(own) else w.mean(0) for own in spots])
    spread = float((w - w.mean(0)).square().mean().sqrt())
    return WStatistics(w.mean(0), max(spread, 1e-8), w, number, means)


def candidates(statistics: WStatistics, count: int) -> tuple[torch.Tensor, list[int | None]]:
    """w to try first [n, D] with the class of each: the mean, the means of classes, then `count` random ones."""
    mean, known = statistics.mean, statistics.classes
    rows, classes = [mean[None]], [None]  # type: tuple[list[torch.Tensor], list[int | None]]
    if statistics.class_means is not None and known is not None:
        present = sorted(set(known.tolist()))
        rows.append(statistics.class_means[present])
        classes += present
    taken = statistics.samples[:count]
    nearer = torch.lerp(mean, taken, TOWARDS_MEAN)
    own: list[int | None] = [None] * len(taken) if known is None else known[:count].tolist()
    # every second one near the mean, in pairs of one class each so that both kinds see all classes
    odd = (torch.arange(len(taken)) // max(1, len(set(own))) % 2 == 1).to(mean.device)
    rows.append(torch.where(odd[:, None], nearer, taken))
    return torch.cat(rows), [*classes, *own]


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
