"""Fréchet distance between Gaussians, and means and covariances of features as they arrive.

Heusel et al. (1706.08500), equation 6: FID is this distance in Inception's 2048 features. Everything here is
float64. Shapes: n samples, d features.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch


def frechet_distance(
    mu1: np.ndarray,  # [d]
    sigma1: np.ndarray,  # [d, d]
    mu2: np.ndarray,
    sigma2: np.ndarray,
    root1: torch.Tensor | None = None,  # factor(sigma1), where it is already known
) -> float:
    """Squared Fréchet distance |mu1 − mu2|² + tr(sigma1 + sigma2 − 2·(sigma1·sigma2)^½), as FID is defined.

    sigma must be symmetric and positive semi-definite, of any rank. Officially the root is
    `scipy.linalg.sqrtm`, of which the real part is taken; that is unstable for singular matrices, which
    `trace_sqrt_product` is not. Never below 0. ValueError for shapes that disagree and for NaN or infinity.
    """
    mu1, mu2 = np.asarray(mu1, np.float64).reshape(-1), np.asarray(mu2, np.float64).reshape(-1)
    sigma1, sigma2 = np.atleast_2d(np.asarray(sigma1, np.float64)), np.atleast_2d(np.asarray(sigma2, np.float64))
    d = len(mu1)
    if len(mu2) != d or sigma1.shape != (d, d) or sigma2.shape != (d, d):
        raise ValueError(
            f"mu1 [{len(mu1)}], sigma1 {list(sigma1.shape)}, mu2 [{len(mu2)}], sigma2 {list(sigma2.shape)}: "
            f"must be [d], [d, d], [d], [d, d]"
        )
    if not all(np.isfinite(values).all() for values in (mu1, sigma1, mu2, sigma2)):
        raise ValueError("means and covariances must be finite; a network has produced NaN or infinity")
    distance = np.square(mu1 - mu2).sum() + np.trace(sigma1) + np.trace(sigma2)
    return max(float(distance - 2.0 * trace_sqrt_product(sigma1, sigma2, root1)), 0.0)


def fid(
    real: np.ndarray,  # [n, d]
    fake: np.ndarray,  # [m, d]
) -> float:
    """FID of two sets of features: the Fréchet distance of their means and covariances (divided by n − 1).

    ValueError for fewer than two samples, for different widths, and for NaN or infinity.
    """
    return frechet_distance(*feature_statistics(np.asarray(real)), *feature_statistics(np.asarray(fake)))


def trace_sqrt_product(
    sigma1: np.ndarray,  # [d, d]
    sigma2: np.ndarray,  # [d, d]
    root1: torch.Tensor | None = None,  # factor(sigma1), where it is already known; its device does the work
) -> float:
    """tr((sigma1·sigma2)^½) of two covariances: the sum of the singular values of A1ᵀ·A2, where sigma = A·Aᵀ.

    Singular values, unlike roots of eigenvalues, keep their relative accuracy where the matrices are singular
    (fewer samples than features). They are computed on the host, as CUDA's routines for them are iterations (Jacobi)
    that are made for small matrices; benchmarks/gpu_metrics.py compares both.
    """
    root = factor(sigma1) if root1 is None else root1
    product = (root.T @ factor(sigma2, root.device)).cpu()
    return float(torch.linalg.svdvals(product).sum()) if min(product.shape) else 0.0


def factor(sigma: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """A [d, r] with A·Aᵀ = sigma [d, d], r its rank; eigenvalues within rounding error of 0 are left out.

    (PyTorch's decompositions are several times as fast as numpy's, and run on GPUs.)
    """
    matrix = torch.as_tensor(np.asarray(sigma, np.float64), device=device)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(torch.float64).eps
    return vectors[:, kept] * values[kept].sqrt()


class FeatureStatistics:
    """Mean and covariance of features that arrive in batches; memory does not grow with their number.

    Batches are joined by the exact rule for means and centred sums of products (Chan, Golub and LeVeque 1979),
    so that nothing is lost where the mean is large against the spread. Small batches are gathered first: a step
    costs d² whatever its size. `device`: where the sums are kept and made (float64; a CUDA GPU takes this work off
    the processor).
    """

    GATHER = 512  # samples taken in at once

    def __init__(self, d: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self._mean = torch.zeros(d, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(d, d, dtype=torch.float64, device=device)  # sum of (x − mean)(x − mean)ᵀ
        self._waiting: list[torch.Tensor] = []

    def add(self, features: np.ndarray | torch.Tensor) -> None:
        """Takes features [n, d] in."""
        x = torch.as_tensor(features)
        if x.ndim != 2 or x.shape[1] != len(self._mean):
            raise ValueError(f"features {list(x.shape)}: expected [n, {len(self._mean)}]")
        self.count += len(x)
        self._waiting.append(x.to(self._mean.device, copy=True))
        if sum(map(len, self._waiting)) >= self.GATHER:
            self._take_in()

    def _take_in(self) -> None:
        """Adds what has been gathered to the sums."""
        waiting, self._waiting = self._waiting, []
        if waiting and (n := sum(map(len, waiting))):
            x = torch.cat([part.double() for part in waiting])
            mean = x.mean(0)
            centred = x - mean
            self._join(self.count - n, n, mean, centred.T @ centred)

    def merge(self, other: FeatureStatistics) -> None:
        """Takes in everything another one has seen."""
        self._take_in()
        other._take_in()
        if other.count:
            device = self._mean.device
            self._join(self.count, other.count, other._mean.to(device), other._scatter.to(device))
            self.count += other.count

    def _join(self, before: int, count: int, mean: torch.Tensor, scatter: torch.Tensor) -> None:
        """Sums over `before` samples and over `count` more."""
        total = before + count
        step = mean - self._mean
        self._scatter += scatter
        self._scatter.addr_(step, step, alpha=before * count / total)
        self._mean += step * (count / total)

    @property
    def device(self) -> torch.device:
        """Where the sums are."""
        return self._mean.device

    @property
    def mean(self) -> np.ndarray:
        """float64 [d]."""
        self._take_in()
        return self._mean.cpu().numpy().copy()

    @property
    def covariance(self) -> np.ndarray:
        """float64 [d, d], divided by n − 1, as numpy.cov and the official program. ValueError below 2 samples."""
        if self.count < 2:
            raise ValueError(f"{self.count} samples: a covariance needs at least 2")
        self._take_in()
        return (self._scatter / (self.count - 1)).cpu().numpy()

    def state(self) -> torch.Tensor:
        """Everything as one float64 vector [1 + d + d²] on the host, to send to another process."""
        self._take_in()
        head = torch.tensor([float(self.count)], dtype=torch.float64)
        return torch.cat([head, self._mean.cpu(), self._scatter.cpu().reshape(-1)])

    @staticmethod
    def from_state(vector: torch.Tensor, d: int) -> FeatureStatistics:
        """The inverse of `state`."""
        made = FeatureStatistics(d)
        made.count = int(vector[0].item())
        made._mean, made._scatter = vector[1 : d + 1].clone(), vector[d + 1 :].reshape(d, d).clone()
        return made


def feature_statistics(features: np.ndarray | torch.Tensor | Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(mean [d], covariance [d, d]) in float64 of features [n, d], or of batches of them as they arrive."""
    statistics: FeatureStatistics | None = None
    for batch in [features] if isinstance(features, np.ndarray | torch.Tensor) else features:
        if len(shape := np.shape(np.asarray(batch))) != 2:
            raise ValueError(f"features {list(shape)}: expected [n, d], or batches of that shape")
        statistics = statistics or FeatureStatistics(batch.shape[1])
        statistics.add(batch)
    if statistics is None:
        raise ValueError("no features: give at least two samples")
    return statistics.mean, statistics.covariance
