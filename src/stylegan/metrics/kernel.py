"""Kernel Inception Distance: the squared maximum mean discrepancy, unbiased (Bińkowski et al., 1801.01401).

Float64 throughout; tensors on a GPU are computed there. Shapes: n, m samples, d features.
"""

from __future__ import annotations

import numpy as np
import torch

Array = np.ndarray | torch.Tensor


def polynomial_kernel(
    x: Array,
    y: Array,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
) -> np.ndarray:
    """k(x, y) = (gamma·x·y + coef0)^degree for rows of x [n, d] and y [m, d] -> [n, m]; gamma None = 1/d."""
    return _kernel(_rows(x), _rows(y), degree, gamma, coef0).cpu().numpy()


def _rows(x: Array) -> torch.Tensor:
    tensor = torch.as_tensor(x)
    if tensor.ndim != 2:
        raise ValueError(f"features {list(tensor.shape)}: expected [n, d]")
    return tensor.double()


def _kernel(
    x: torch.Tensor, y: torch.Tensor, degree: int = 3, gamma: float | None = None, coef0: float = 1.0
) -> torch.Tensor:
    return (x @ y.T * (1.0 / x.shape[1] if gamma is None else gamma) + coef0) ** degree


def mmd2_unbiased(x: Array, y: Array) -> float:
    """Unbiased estimate of the squared MMD of x [n, d] and y [m, d] under the kernel above; may be below 0.

    mean of k(x, x') over pairs of different rows + the same for y − 2·mean of k(x, y) (equation 4 there).
    ValueError below two samples each.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"{n} and {m} samples: KID needs at least 2 of each")
    a, b = _rows(x), _rows(y)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features {list(a.shape)} and {list(b.shape)}: must have the same width")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("features must be finite; a network has produced NaN or infinity")
    within_a, within_b = _kernel(a, a), _kernel(b, b)
    same_a = (within_a.sum() - within_a.trace()) / (n * (n - 1))
    same_b = (within_b.sum() - within_b.trace()) / (m * (m - 1))
    return float(same_a + same_b - 2.0 * _kernel(a, b).mean())


def kid(
    real: Array,  # [n, d]
    fake: Array,  # [m, d]
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> float:
    """KID: the mean of `mmd2_unbiased` over random subsets (100 of 1,000 samples, as in the usual programs).

    Subsets are drawn without replacement from `seed`; a set smaller than `subset_size` is used whole. The
    mean over subsets estimates the same as all samples at once, in bounded memory.
    """
    real, fake = _rows(real), _rows(fake)
    size = min(subset_size, len(real), len(fake))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets if size < max(len(real), len(fake)) else 1):
        a, b = rng.choice(len(real), size, replace=False), rng.choice(len(fake), size, replace=False)
        values.append(mmd2_unbiased(real[a], fake[b]))
    return float(np.mean(values))
