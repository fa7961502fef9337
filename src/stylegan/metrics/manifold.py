"""Precision, recall, density, coverage and nearest neighbours: metrics of balls around samples.

Improved precision and recall: Kynkäänniemi et al. (1904.06991), equations 1 and 2. Density and coverage: Naeem
et al. (2002.09797), equations 4 and 5. Balls are closed: a sample at exactly the radius counts. Distances are
float64, computed in blocks of rows; on a CUDA tensor, on that GPU. Shapes: n, m samples, d features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

BLOCK = 1 << 24  # distances held at a time

Array = np.ndarray | torch.Tensor


def _rows(x: Array) -> torch.Tensor:
    tensor = torch.as_tensor(x)
    if tensor.ndim != 2:
        raise ValueError(f"features {list(tensor.shape)}: expected [n, d]")
    return tensor if tensor.device.type == "mps" else tensor.double()


def _centred(a: Array, b: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sets about one centre, which takes most of the cancellation out of |a|² + |b|² − 2ab."""
    first, second = _rows(a), _rows(b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features {list(first.shape)} and {list(second.shape)}: must have the same width")
    if not (first.isfinite().all() and second.isfinite().all()):
        raise ValueError("features must be finite; a network has produced NaN or infinity")
    centre = second.mean(0)
    return first - centre, second - centre


def _blocks(a: torch.Tensor, b: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """(first row, squared distances [rows, m]) between a [n, d] and b [m, d], a block of rows at a time."""
    norms = b.square().sum(1)
    step = max(1, BLOCK // max(1, len(b)))
    for start in range(0, len(a), step):
        part = a[start : start + step]
        squared = torch.addmm(norms, part, b.T, alpha=-2.0) + part.square().sum(1, keepdim=True)
        scale = part.square().sum(1, keepdim=True) + norms
        # what is left of the cancellation for equal rows counts as 0, so that copies have distance 0
        yield start, torch.where(squared <= 1e-13 * scale, torch.zeros_like(squared), squared)


def pairwise_distances(a: Array, b: Array) -> np.ndarray:
    """Euclidean distances [n, m] between the rows of a [n, d] and b [m, d], all held in memory."""
    first, second = _centred(a, b)
    return torch.cat([block.sqrt() for _, block in _blocks(first, second)]).cpu().numpy()


def kth_neighbour_distances(x: Array, k: int) -> np.ndarray:
    """Distance of each row of x [n, d] to its k-th nearest other row: [n]. ValueError where n <= k."""
    if len(x) <= k:
        raise ValueError(f"{len(x)} samples: the {k}-th nearest neighbour needs more than {k}")
    return nearest_neighbours(x, x, k, same=True)[0][:, -1]


def nearest_neighbours(a: Array, b: Array, k: int = 1, same: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of b [m, d] nearest to each row of a [n, d]: (distances [n, k] ascending, rows of b [n, k]).

    same: a and b are the same set, and no row is a neighbour of its own.
    """
    first, second = _centred(a, b)
    if not 1 <= k <= len(second) - same:
        raise ValueError(f"k = {k}: there are {len(second) - same} neighbours to choose from, so k must be 1 to that")
    distances, indices = [], []
    for start, block in _blocks(first, second):
        if same:
            rows = torch.arange(len(block), device=block.device)
            block[rows, rows + start] = torch.inf
        found = torch.topk(block, k, dim=1, largest=False, sorted=True)
        distances.append(found.values.sqrt().cpu())
        indices.append(found.indices.cpu())
    return torch.cat(distances).numpy(), torch.cat(indices).numpy()


def _inside(a: Array, b: Array, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of balls of radii [m] around b [m, d]: (how many hold each row of a [n], whether each holds any [m])."""
    first, second = _centred(a, b)
    squared = torch.as_tensor(radii, dtype=second.dtype, device=second.device) ** 2
    squared = squared * (1 + 1e-12)  # closed balls, in spite of rounding
    counts, holds = [], torch.zeros(len(second), dtype=torch.bool, device=second.device)
    for _, block in _blocks(first, second):
        inside = block <= squared
        counts.append(inside.sum(1).cpu())
        holds |= inside.any(0)
    return torch.cat(counts).numpy(), holds.cpu().numpy()


def precision_recall(
    real: Array,  # [n, d]
    fake: Array,  # [m, d]
    k: int = 3,
    real_radii: np.ndarray | None = None,  # [n], kth_neighbour_distances(real, k) where already known
) -> tuple[float, float]:
    """(precision, recall), improved: the share of fakes inside the reals' manifold, and the reverse.

    A manifold is the union of balls around samples that reach to the k-th nearest other sample.
    """
    radii = kth_neighbour_distances(real, k) if real_radii is None else real_radii
    precision = (_inside(fake, real, radii)[0] > 0).mean()
    recall = (_inside(real, fake, kth_neighbour_distances(fake, k))[0] > 0).mean()
    return float(precision), float(recall)


def density_coverage(
    real: Array,  # [n, d]
    fake: Array,  # [m, d]
    k: int = 5,
    real_radii: np.ndarray | None = None,  # [n], as above
) -> tuple[float, float]:
    """(density, coverage): how many real balls hold a fake, over k; the share of real balls with a fake in them.

    Density is 1 on average where both sets have one distribution, and may be above.
    """
    radii = kth_neighbour_distances(real, k) if real_radii is None else real_radii
    counts, holds = _inside(fake, real, radii)
    return float(counts.mean() / k), float(holds.mean())


def memorisation(to_real: np.ndarray, among_real: np.ndarray) -> tuple[float, float]:
    """(ratio, copies) from nearest-neighbour distances of fakes to reals [m], and of reals to other reals [n].

    ratio: median of the first over median of the second; far below 1 means that fakes lie closer to training
    images than training images to each other. copies: the share of fakes nearer to a training image than 99 %
    of the training images are to their nearest other one; 0.01 is what a perfect model has.
    """
    to_real, among_real = np.asarray(to_real, np.float64), np.asarray(among_real, np.float64)
    if not (to_real.size and among_real.size):
        raise ValueError(f"{to_real.size} and {among_real.size} distances: needs at least one of each")
    between = float(np.median(among_real))
    ratio = float(np.median(to_real)) / between if between > 0 else float("nan")
    return ratio, float((to_real < np.percentile(among_real, 1)).mean())
