"""From measured features to numbers: the formula of each metric, and its spread over halves of the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from stylegan.errors import UserError
from stylegan.metrics.frechet import FeatureStatistics, factor, frechet_distance
from stylegan.metrics.inception_scores import inception_score
from stylegan.metrics.kernel import kid
from stylegan.metrics.linear_separability import KEPT, most_confident, separability, separability_score
from stylegan.metrics.manifold import (
    density_coverage,
    kth_neighbour_distances,
    memorisation,
    nearest_neighbours,
    precision_recall,
)
from stylegan.metrics.passes import BLOCKS, HALVES, FakeFeatures, RealFeatures, half_rows
from stylegan.metrics.path_length import path_lengths, percentile_filter
from stylegan.metrics.protocols import METRICS, Protocol
from stylegan.metrics.recognising import confusion_table, recalls_of, recognition

NEIGHBOUR_BASELINE = 5000  # training images whose distance to their nearest other one is taken (nn)

Values = tuple[float, ...]
Halves = list[tuple[Values, Values]]  # per way of halving: the values of either half


def spread(halves: Halves) -> Values | None:
    """Standard error of a value over all samples, from the values of halves; None without halves.

    Two halves are independent, so half of their mean squared difference is the variance of a half, and half of
    that the variance over all samples.
    """
    if not halves:
        return None
    differences = np.array([np.subtract(a, b) for a, b in halves])  # ways values
    return tuple(float(v) for v in np.sqrt(np.square(differences).mean(0) / 4))


def entry(protocol: Protocol, values: Values, halves: Halves, **facts: Any) -> dict[str, Any]:
    """One metric as it is written: values by name, standard error, the halves' values, samples, and facts."""
    names = protocol.values
    error = spread(halves)
    each = [dict(zip(names, half, strict=True)) for pair in halves for half in pair]
    return {
        "values": dict(zip(names, values, strict=True)),
        "standard_error": None if error is None else dict(zip(names, error, strict=True)),
        "halves": each,
        "samples": protocol.samples,
        "better": dict(zip(names, METRICS[protocol.kind].better, strict=True)),
        "what": METRICS[protocol.kind].what,
        **facts,
    }


def score(
    protocol: Protocol, real: RealFeatures | None, fake: FakeFeatures, batch: int, device: torch.device
) -> dict[str, Any]:
    """The entry of a metric that compares features (everything but ppl, ls, nn and recognition)."""
    reals = {} if real is None else {"reals": real.count}
    if protocol.kind in ("fid", "fdd"):
        assert real is not None
        values, halves = _frechet(protocol, real, fake, device)
    elif protocol.kind == "is":
        assert fake.probabilities is not None
        p = fake.probabilities[: protocol.samples]
        values, halves = inception_score(p), _halves(p, batch, inception_score, least=10)
    else:
        assert fake.features is not None
        assert real is not None
        assert real.features is not None
        values, halves = _compared(protocol, real.features, fake.features[: protocol.samples], batch, device)
    return entry(protocol, values, halves, **reals)


def _frechet(
    protocol: Protocol, real: RealFeatures, fake: FakeFeatures, device: torch.device
) -> tuple[Values, Halves]:
    assert real.mean is not None
    assert real.covariance is not None
    blocks = fake.blocks[protocol.samples]
    total = _joined(blocks, tuple(range(BLOCKS)))
    root = factor(real.covariance, torch.device("cpu") if device.type == "mps" else device)
    value = frechet_distance(real.mean, real.covariance, total.mean, total.covariance, root)
    halves: Halves = []
    for half in HALVES:
        pair = [_joined(blocks, half), _joined(blocks, _rest(half))]
        if min(part.count for part in pair) >= 2:
            a, b = (_frechet_from_root(real, root, part) for part in pair)
            halves.append(((a,), (b,)))
    return (value,), halves


def _frechet_from_root(real: RealFeatures, root: torch.Tensor, fake: FeatureStatistics) -> float:
    """The Fréchet distance by eigenvalues of rootᵀ·sigma·root: faster, and good enough for a spread."""
    assert real.mean is not None
    assert real.covariance is not None
    sigma = fake.covariance
    product = root.T @ torch.as_tensor(sigma, device=root.device) @ root
    trace = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum().item()
    distance = np.square(real.mean - fake.mean).sum() + np.trace(real.covariance) + np.trace(sigma) - 2 * trace
    return float(distance)


def _joined(blocks: Sequence[FeatureStatistics], which: tuple[int, ...]) -> FeatureStatistics:
    total = FeatureStatistics(len(blocks[0].mean), blocks[0].device)
    for i in which:
        total.merge(blocks[i])
    return total


def _rest(half: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(i for i in range(BLOCKS) if i not in half)


def _halves(rows: np.ndarray, batch: int, formula: Callable[[np.ndarray], Values], least: int, ways: int = 3) -> Halves:
    """The formula on either half of the rows, for some ways of halving; none where a half is too small."""
    found: Halves = []
    for half in HALVES[:ways]:
        inside = half_rows(len(rows), batch, half)
        if min(inside.sum(), (~inside).sum()) >= least:
            found.append((formula(rows[inside]), formula(rows[~inside])))
    return found


def _compared(
    protocol: Protocol, real: np.ndarray, fake: np.ndarray, batch: int, device: torch.device
) -> tuple[Values, Halves]:
    """kid, pr and dc; the latter two on the GPU where there is one, with one way of halving, as they are slow."""
    where = torch.device("cpu") if device.type == "mps" else device
    there = torch.as_tensor(real, device=where)
    if protocol.kind == "kid":

        def kid_of(part: np.ndarray, subsets: int = 20) -> Values:
            return (kid(there, torch.as_tensor(part, device=where), subsets),)

        return kid_of(fake, 100), _halves(fake, batch, kid_of, least=2)
    k = protocol.k
    if min(len(real), len(fake)) <= k:
        raise UserError(f"{protocol.name}: needs more than {k} real and generated images")
    radii = kth_neighbour_distances(there, k)
    formula = precision_recall if protocol.kind == "pr" else density_coverage

    def of(part: np.ndarray) -> Values:
        return formula(there, torch.as_tensor(part, device=where), k, radii)

    return of(fake), _halves(fake, batch, of, least=k + 1, ways=1)


def score_neighbours(
    protocol: Protocol, real: RealFeatures, fake: FakeFeatures, device: torch.device
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """(entry, distance, position among the reals) of each generated image's nearest training image."""
    assert fake.features is not None
    assert real.features is not None
    where = torch.device("cpu") if device.type == "mps" else device
    there = torch.as_tensor(real.features, device=where)
    distances, rows = nearest_neighbours(torch.as_tensor(fake.features[: protocol.samples], device=where), there)
    some = np.random.default_rng(0).permutation(real.count)[:NEIGHBOUR_BASELINE]
    two = nearest_neighbours(there[torch.as_tensor(some, device=where)], there, k=min(2, real.count))
    # the nearest is the image itself, or a copy of it at the same distance 0
    among = two[0][:, -1]
    found = entry(protocol, memorisation(distances[:, 0], among), [], reals=real.count)
    return found, distances[:, 0], rows[:, 0]


def score_recognition(
    protocol: Protocol, probabilities: np.ndarray, names: Sequence[str], batch: int
) -> dict[str, Any]:
    """The entry of a recognition, from p(class) [n, classes] of images whose classes take turns."""
    count = len(names)
    asked = np.arange(protocol.samples) % count
    answers = np.stack([asked, probabilities[: protocol.samples].argmax(1)], 1)  # n 2

    def formula(rows: np.ndarray) -> Values:
        return (recognition(confusion_table(rows[:, 0], rows[:, 1], count)),)

    table = confusion_table(answers[:, 0], answers[:, 1], count)
    recalls = dict(zip(names, recalls_of(table), strict=True))
    facts: dict[str, Any] = {"classes": recalls, "confusion": table.tolist()}
    return entry(protocol, formula(answers), _halves(answers, batch, formula, least=count), **facts)


def score_path(protocol: Protocol, distances: np.ndarray, epsilon: float, batch: int) -> dict[str, Any]:
    """The entry of a path length, from the distances of all steps [n]."""

    def formula(part: np.ndarray) -> Values:
        return (float(percentile_filter(path_lengths(part, epsilon)).mean()),)

    if not np.isfinite(distances).all():
        raise UserError("the model draws NaN or infinity: its weights have diverged; use an earlier snapshot")
    return entry(protocol, formula(distances), _halves(distances, batch, formula, least=1), epsilon=epsilon)


def score_separability(
    protocol: Protocol, latents: np.ndarray, logits: np.ndarray, names: Sequence[str], accuracies: Sequence[float]
) -> dict[str, Any]:
    """The entry of a linear separability, from latents [n, d] and classifier logits [n, attributes]."""
    entropies = separability(latents, logits)
    attributes = {
        name: {
            "conditional_entropy_bits": h,
            "share": float((column > 0).mean()),
            "share_kept": float((column[most_confident(column, round(len(column) * KEPT))] > 0).mean()),
            "classifier_accuracy": accuracy,
        }
        for name, h, column, accuracy in zip(names, entropies, logits.T, accuracies, strict=True)
    }
    return entry(protocol, (separability_score(entropies),), [], attributes=attributes)
