"""Perceptual path length (StyleGAN, section 4.1, equations 2 and 3), as functions of arrays.

PPL = E[d(g(x(t)), g(x(t + eps))) / eps²], with d the perceptual distance of two images, x(t) a slerp between
two latents in Z or a lerp between two w in W, t uniform in [0, 1) ("full") or 0 ("end"). Float64.
"""

from __future__ import annotations

import numpy as np

EPSILON = 1e-4  # the paper's step


def normalize(x: np.ndarray) -> np.ndarray:
    """Vectors [..., d] at length 1. ValueError for a vector of length 0 (officially NaN)."""
    x = np.asarray(x, np.float64)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    if (length == 0).any():
        raise ValueError(f"{int((length == 0).sum())} of {length.size} vectors have length 0, and so no direction")
    return x / length


def _per_vector(t: np.ndarray | float, vectors: np.ndarray) -> np.ndarray:
    """t as a number or [..., 1]; one number per vector, [...], gets its last axis."""
    t = np.asarray(t, np.float64)
    return t[..., None] if t.ndim and t.ndim == vectors.ndim - 1 else t


def lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """a + t·(b − a), for W; a, b [..., d], t a number, [...] or [..., 1] -> [..., d]."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a + (b - a) * _per_vector(t, a)


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """Spherical interpolation, for Z: unit vectors [..., d] from a, b [..., d] of any length but 0.

    t: a number, [...] or [..., 1]; 0 gives a's direction, 1 b's, and values outside go on along the great circle.

    With a and b normalised: d = a·b, angle = t·acos(d), c = normalise(b − d·a), normalise(a·cos + c·sin).
    Where a and b point the same way, or opposite ways, c is 0 and the result ±a (officially NaN).
    """
    a, b = normalize(a), normalize(b)
    d = (a * b).sum(axis=-1, keepdims=True)
    angle = _per_vector(t, a) * np.arccos(np.clip(d, -1.0, 1.0))
    across = b - d * a
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    c = np.divide(across, length, out=np.zeros_like(across), where=length > 0)
    mixed = a * np.cos(angle) + c * np.sin(angle)
    norm = np.linalg.norm(mixed, axis=-1, keepdims=True)
    return np.divide(mixed, norm, out=np.broadcast_to(a, mixed.shape).copy(), where=norm > 0)


def path_lengths(distances: np.ndarray, epsilon: float = EPSILON) -> np.ndarray:
    """Perceptual distances [n] of steps of size epsilon -> distances / epsilon² [n] (equation 2)."""
    if not epsilon > 0:
        raise ValueError(f"epsilon = {epsilon}: the size of a step must be above 0 (the paper's is {EPSILON})")
    return np.asarray(distances, np.float64) / epsilon**2


def percentile_filter(values: np.ndarray, low: float = 1.0, high: float = 99.0) -> np.ndarray:
    """The values between two percentiles, both ends included, in their order: [n] -> [m].

    The lower bound is the data point at or below the 1st percentile, the upper one the data point at or above the
    99th (numpy's "lower" and "higher"), as in the official program. ValueError for no values and for NaN.
    """
    values = np.asarray(values, np.float64).reshape(-1)
    if not 0 <= low <= high <= 100:
        raise ValueError(f"percentiles {low} and {high}: must be within 0 and 100, the lower one first")
    if not len(values):
        raise ValueError("no values to take percentiles of")
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {len(values)} values are NaN")
    lo = np.percentile(values, low, method="lower")
    hi = np.percentile(values, high, method="higher")
    return values[(values >= lo) & (values <= hi)]


def ppl(distances: np.ndarray, epsilon: float = EPSILON) -> float:
    """Perceptual path length from distances [n] of single steps: divided by epsilon², filtered, averaged.

    Distances that are divided already: epsilon=1. ValueError for no distances and for NaN.
    """
    return float(percentile_filter(path_lengths(distances, epsilon)).mean())
