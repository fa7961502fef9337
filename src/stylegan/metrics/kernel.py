"""Kernel Inception Distance: the squared maximum mean discrepancy, unbiased (Bińkowski et al., 1801.01401).

Float64 throughout. Shapes: n, m samples, d features.
"""

from __future__ import annotations

import numpy as np
import torch


def polynomial_kernel(
    x: np.ndarray,
    y: np.ndarray,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
) -> np.ndarray:
    """k(x, y) = (gamma·x·y + coef0)^degree for rows of x [n, d] and y [m, d] -> [n, m]; gamma None = 1/d."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return (x @ y.T * (1.0 / x.shape[1] if gamma is None else gamma) + coef0) ** degree


def mmd2_unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased estimate of the squared MMD of x [n, d] and y [m, d] under the kernel above; may be below 0.

    mean of k(x, x') over pairs of different rows + the same for y − 2·mean of k(x, y) (equation 4 there).
    ValueError below two samples each.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"{n} and {m} samples: KID needs at least 2 of each")
    within_x, within_y = polynomial_kernel(x, x), polynomial_kernel(y, y)
    same_x = (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
    same_y = (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
    return float(same_x + same_y - 2.0 * polynomial_kernel(x, y).mean())


def kid(
    real: np.ndarray | torch.Tensor,  # [n, d]
    fake: np.ndarray | torch.Tensor,  # [m, d]
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> float:
    """KID: the mean of `mmd2_unbiased` over random subsets (100 of 1,000 samples, as in the paper's programs).

    Subsets are drawn without replacement from `seed`; a set smaller than `subset_size` is used whole. The
    mean over subsets estimates the same as all samples at once, in bounded memory.
    """
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    size = min(subset_size, len(real), len(fake))
    rng = np.random.default_rng(seed)
    values = [
        mmd2_unbiased(
            real[rng.choice(len(real), size, replace=False)],
            fake[rng.choice(len(fake), size, replace=False)],
        )
        for _ in range(subsets if size < max(len(real), len(fake)) else 1)
    ]
    return float(np.mean(values))
