"""Directions without labels: SeFa (Shen and Zhou, 2007.06600) and GANSpace (Härkönen et al., 2004.02546)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from stylegan.drawing.render import check_styles
from stylegan.editing.directions import Direction, Directions, unit
from stylegan.editing.latent_files import fingerprint
from stylegan.editing.starting import w_statistics
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.networks import Generator

SAMPLES = 20_000  # of w; a mapping network makes that many in a second or a few


def acting_layers(G: Generator) -> tuple[int, ...]:
    """The style layers that act at G's level of detail."""
    return tuple(range(len(G.synthesis.noise_sizes(G.lod))))


def check_layers(G: Generator, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers asked for, or all that act. UserError for others and for none."""
    check_styles(G)
    known = acting_layers(G)
    chosen = known if layers is None else tuple(sorted(set(layers)))
    if not chosen or any(layer not in known for layer in chosen):
        raise UserError(f"layers {list(chosen)}: must be among 0-{known[-1]}")
    return chosen


def style_weights(G: Generator, layers: Sequence[int]) -> torch.Tensor:
    """The affine transforms A of some layers one on another, with the scale they act with: [rows, D]."""
    affine: list[Any] = [G.synthesis.layers[i].affine for i in layers]
    return torch.cat([one.scaled(torch.float32).detach() for one in affine])


def sefa(
    G: Generator,
    count: int = 10,
    layers: Sequence[int] | None = None,
    prefix: str = "sefa",
    seed: int = 0,
) -> Directions:
    """Closed-form factorisation: the eigenvectors of AᵀA with the largest eigenvalues, A the layers' style weights.

    Unit steps in w along them change the styles of these layers most (equation 4 there). The square root of the
    eigenvalue, by how much, is in `about`.
    """
    chosen = check_layers(G, layers)
    weights = style_weights(G, chosen).cpu().double()
    check_count(count, G.config.w_dim)
    values, vectors = torch.linalg.eigh(weights.T @ weights)  # ascending
    order = range(len(values) - 1, len(values) - 1 - count, -1)
    spread = w_statistics(G, SAMPLES // 5, seed)
    items = []
    for number, i in enumerate(order):
        vector = unit(vectors[:, i]).to(G.w_avg.device)
        about = {"gain": round(float(values[i].clamp_min(0).sqrt()), 6)}
        items.append(Direction(f"{prefix}-{number}", vector, scale_along(spread.samples, vector), chosen, about))
    return Directions(items, "sefa", fingerprint(G), {"layers": list(chosen)})


def ganspace(
    G: Generator,
    count: int = 10,
    samples: int = SAMPLES,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    classes: Sequence[int] | None = None,
    prefix: str = "pca",
) -> Directions:
    """Principal components of w over random latents, the largest variance first; its share is in `about`.

    classes: of a conditional generator, None = all in turn.
    """
    chosen = check_layers(G, layers)
    check_count(count, G.config.w_dim)
    w = w_statistics(G, samples, seed, classes).samples.cpu().double()
    centred = w - w.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(w))
    total = float(values.clamp_min(0).sum())
    items = []
    for number in range(count):
        i = len(values) - 1 - number
        variance = max(float(values[i]), 0.0)
        about = {"variance_share": round(variance / max(total, 1e-30), 6)}
        vector = unit(vectors[:, i]).to(G.w_avg.device)
        items.append(Direction(f"{prefix}-{number}", vector, variance**0.5, chosen, about))
    return Directions(items, "ganspace", fingerprint(G), {"samples": samples, "seed": seed, "layers": list(chosen)})


def scale_along(samples: torch.Tensor, vector: torch.Tensor) -> float:
    """Standard deviation of w [n, D] along a unit vector [D]."""
    return float((samples.to(vector) @ vector).std())


def check_count(count: int, width: int) -> None:
    """UserError for more directions than w has dimensions, and for none."""
    if not 1 <= count <= width:
        raise UserError(f"--count {count}: must be 1 to {width}, the width of w")


def joined(parts: Sequence[Directions]) -> Directions:
    """Several sets for the same model as one."""
    methods = list(dict.fromkeys(part.method for part in parts))
    about = parts[0].about if len(parts) == 1 else {"parts": [part.about for part in parts]}
    return Directions([d for part in parts for d in part], "+".join(methods), parts[0].fingerprint, about)
