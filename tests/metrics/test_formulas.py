"""The formulas against closed forms and cases worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan import metrics


def random_covariance(rng: np.random.Generator, d: int, rank: int | None = None) -> np.ndarray:
    a = rng.standard_normal((d, rank or d))
    return a @ a.T


# --- Fréchet distance -----------------------------------------------------------------------------------------


def test_frechet_of_commuting_gaussians() -> None:
    """For a common basis of eigenvectors: |mu1 − mu2|² + sum of (sqrt(a) − sqrt(b))²."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    a, b = rng.random(12) * 5, rng.random(12) * 5
    b[:4] = 0
    mu = rng.standard_normal(12)
    found = metrics.frechet_distance(mu, basis * a @ basis.T, np.zeros(12), basis * b @ basis.T)
    assert found == pytest.approx(mu @ mu + np.square(np.sqrt(a) - np.sqrt(b)).sum(), rel=1e-12)


def test_frechet_of_one_dimension() -> None:
    assert metrics.frechet_distance([1.0], [[4.0]], [3.0], [[9.0]]) == pytest.approx(4.0 + 1.0, abs=1e-12)


def test_frechet_agrees_with_the_matrix_root() -> None:
    sqrtm = pytest.importorskip("scipy.linalg").sqrtm
    rng = np.random.default_rng(1)
    s1, s2 = random_covariance(rng, 20), random_covariance(rng, 20)
    expected = np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert metrics.frechet_distance(np.zeros(20), s1, np.zeros(20), s2) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_rank_deficient_covariances() -> None:
    """A rank-1 pair has the closed form tr + tr − 2·|a·b|; equal singular matrices have distance 0."""
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal(300), rng.standard_normal(300)
    zero = np.zeros(300)
    found = metrics.frechet_distance(zero, np.outer(a, a), zero, np.outer(b, b))
    assert found == pytest.approx(a @ a + b @ b - 2 * abs(a @ b), rel=1e-12)
    singular = random_covariance(rng, 300, rank=20)
    assert metrics.frechet_distance(zero, singular, zero, singular) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(zero, np.zeros((300, 300)), zero, np.outer(a, a)) == pytest.approx(a @ a)


def test_fid_of_features_is_that_of_their_statistics() -> None:
    rng = np.random.default_rng(4)
    real, fake = rng.standard_normal((60, 5)), rng.standard_normal((70, 5)) * 2 + 1
    pair = (real.mean(0), np.cov(real, rowvar=False), fake.mean(0), np.cov(fake, rowvar=False))
    assert metrics.fid(real, fake) == pytest.approx(metrics.frechet_distance(*pair), rel=1e-12)
    with pytest.raises(ValueError, match="at least 2"):
        metrics.fid(real[:1], fake)


def test_frechet_is_symmetric_and_checked() -> None:
    rng = np.random.default_rng(3)
    s1, s2, mu = random_covariance(rng, 9, 5), random_covariance(rng, 9), rng.standard_normal(9)
    assert metrics.frechet_distance(mu, s1, -mu, s2) == pytest.approx(metrics.frechet_distance(-mu, s2, mu, s1))
    with pytest.raises(ValueError, match=r"must be \[d\], \[d, d\]"):
        metrics.frechet_distance(mu, s1, mu[:3], s2)
    with pytest.raises(ValueError, match="finite"):
        metrics.frechet_distance(mu * np.nan, s1, mu, s2)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 1500), max_size=5), offset=st.sampled_from([0.0, 1e6]))
def test_streamed_statistics_are_those_of_the_batch(cuts: list[int], offset: float) -> None:
    x = np.random.default_rng(0).standard_normal((1500, 4)) + offset
    places = sorted({0, 1500, *cuts})
    parts = [x[a:b] for a, b in pairwise(places)]
    mean, covariance = metrics.feature_statistics(parts)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(covariance, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-9)
    merged = metrics.FeatureStatistics(4)
    for part in parts:
        other = metrics.FeatureStatistics(4)
        other.add(part)
        merged.merge(metrics.FeatureStatistics.from_state(other.state(), 4))
    np.testing.assert_allclose(merged.covariance, covariance, rtol=1e-9, atol=1e-9)


# --- KID --------------------------------------------------------------------------------------------------------


def test_kid_is_unbiased() -> None:
    """Its mean over repeats is 0 for one distribution (the biased estimate's is far from it)."""
    rng = np.random.default_rng(0)
    values = [metrics.mmd2_unbiased(rng.standard_normal((30, 5)), rng.standard_normal((25, 5))) for _ in range(600)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


def test_kid_by_its_definition() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((4, 3)), rng.standard_normal((5, 3)) + 1

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 3 + 1) ** 3

    same_x = np.mean([k(x[i], x[j]) for i in range(4) for j in range(4) if i != j])
    same_y = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    expected = same_x + same_y - 2 * np.mean([k(a, b) for a in x for b in y])
    assert metrics.mmd2_unbiased(x, y) == pytest.approx(expected, rel=1e-12)
    assert metrics.kid(x, y, subset_size=4) != pytest.approx(expected)  # subsets of y
    assert metrics.kid(x, y[:4]) == pytest.approx(metrics.mmd2_unbiased(x, y[:4]), rel=1e-12)


def test_kid_over_subsets_estimates_the_same() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((400, 6)), rng.standard_normal((400, 6)) * 1.3
    whole = metrics.mmd2_unbiased(x, y)
    assert metrics.kid(x, y, subsets=200, subset_size=100) == pytest.approx(whole, rel=0.1)
    assert metrics.kid(x, y, 5, 50, seed=1) == metrics.kid(x, y, 5, 50, seed=1)


# --- precision, recall, density, coverage --------------------------------------------------------------------


def test_precision_and_recall_of_constructed_manifolds() -> None:
    """Reals: two far clusters. Fakes: one of them, and as many points far from both."""
    rng = np.random.default_rng(0)
    cluster_a, cluster_b = rng.random((50, 3)), rng.random((50, 3)) + 100
    inside, outside = rng.random((30, 3)) * 0.5 + 0.25, rng.random((30, 3)) - 500
    real, fake = np.concatenate([cluster_a, cluster_b]), np.concatenate([inside, outside])
    precision, recall = metrics.precision_recall(real, fake, k=3)
    assert precision == pytest.approx(0.5)
    assert 0.1 < recall <= 0.5
    density, coverage = metrics.density_coverage(real, fake, k=5)
    assert 0.3 < density < 1.2  # half of the fakes count, where the balls overlap most
    assert 0.3 < coverage <= 0.5
    assert metrics.precision_recall(real, real) == (1.0, 1.0)
    assert metrics.precision_recall(real, real + 1e4) == (0.0, 0.0)
    assert metrics.density_coverage(real, real + 1e4) == (0.0, 0.0)


def test_balls_on_a_line_by_hand() -> None:
    """Reals 0, 1, 3, 7 with k = 1 have radii 1, 1, 2, 4; balls are closed."""
    real, fake = np.array([[0.0], [1], [3], [7]]), np.array([[-1.0], [2.5], [11], [12]])
    np.testing.assert_array_equal(metrics.kth_neighbour_distances(real, 1), [1, 1, 2, 4])
    precision, recall = metrics.precision_recall(real, fake, k=1)
    assert precision == 0.75  # 12 lies outside
    assert recall == 0.75  # fakes' radii are 3.5, 3.5, 1, 1: 0, 1 and 3 lie inside, 7 does not


def test_density_by_hand() -> None:
    real, fake = np.array([[0.0], [1], [3], [7]]), np.array([[-1.0], [2.5], [11], [12]])
    density, coverage = metrics.density_coverage(real, fake, k=1)
    # -1 lies in the ball of 0; 2.5 in that of 3; 11 in that of 7; 12 in none
    assert density == pytest.approx(3 / 4)
    assert coverage == pytest.approx(3 / 4)


def test_density_of_one_distribution_is_one() -> None:
    rng = np.random.default_rng(5)
    sets = rng.standard_normal((20, 2, 200, 2))
    found = [metrics.density_coverage(real, fake)[0] for real, fake in sets]
    assert np.mean(found) == pytest.approx(1.0, abs=0.05)


def test_nearest_neighbours_and_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    real = rng.standard_normal((300, 8)) * 100 + 1000
    fake = np.concatenate([real[[5, 250]], rng.standard_normal((40, 8)) * 100 + 1000])
    monkeypatch.setattr("stylegan.metrics.manifold.BLOCK", 900)  # several blocks
    distances, rows = metrics.nearest_neighbours(fake, real, k=2)
    expected = np.linalg.norm(fake[:, None] - real[None], axis=2)
    np.testing.assert_allclose(distances[2:], np.sort(expected, axis=1)[2:, :2], rtol=1e-9)
    assert list(rows[:2, 0]) == [5, 250]
    assert list(distances[:2, 0]) == [0, 0]
    np.testing.assert_allclose(metrics.pairwise_distances(fake, real), expected, rtol=1e-7, atol=1e-3)
    among = metrics.kth_neighbour_distances(real, 1)
    ratio, copies = metrics.memorisation(distances[:, 0], among)
    assert 0.8 < ratio < 1.3
    assert copies >= 2 / 42
    with pytest.raises(ValueError, match="needs more than 300"):
        metrics.kth_neighbour_distances(real, 300)


# --- Inception score ------------------------------------------------------------------------------------------


def test_inception_score_closed_forms() -> None:
    certain = np.eye(4)[np.arange(400) % 4]
    assert metrics.inception_score(certain) == (pytest.approx(4.0), pytest.approx(0.0))
    assert metrics.inception_score(np.full((100, 7), 1 / 7))[0] == pytest.approx(1.0)
    two = np.array([[0.9, 0.1], [0.1, 0.9]] * 10)
    kl = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert metrics.inception_score(two, splits=2)[0] == pytest.approx(np.exp(kl), rel=1e-12)
    with pytest.raises(ValueError, match="softmax"):
        metrics.inception_score(np.full((100, 7), 3.0))


# --- path length ------------------------------------------------------------------------------------------------


def test_slerp_properties() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20, 9)) * 3, rng.standard_normal((20, 9))
    unit_a, unit_b = metrics.normalize(a), metrics.normalize(b)
    np.testing.assert_allclose(metrics.slerp(a, b, 0.0), unit_a, atol=1e-14)
    np.testing.assert_allclose(metrics.slerp(a, b, 1.0), unit_b, atol=1e-14)
    t = rng.random((20, 1))
    point = metrics.slerp(a, b, t)
    np.testing.assert_allclose(np.linalg.norm(point, axis=1), 1, rtol=1e-14)
    whole = np.arccos((unit_a * unit_b).sum(1))
    np.testing.assert_allclose(np.arccos((unit_a * point).sum(1)), whole * t[:, 0], atol=1e-7)
    np.testing.assert_allclose(metrics.slerp(b, a, 1 - t), point, atol=1e-13)
    np.testing.assert_array_equal(metrics.slerp(a, b, t[:, 0]), point)
    np.testing.assert_array_equal(metrics.lerp(a, b, t[:, 0]), a + t * (b - a))
    np.testing.assert_allclose(metrics.slerp([1.0, 0], [0, 5.0], 0.5), [0.5**0.5] * 2, rtol=1e-15)
    np.testing.assert_allclose(metrics.slerp(a, a, 0.3), unit_a, atol=1e-7)
    assert np.isfinite(metrics.slerp(a, -a, 0.5)).all()


def test_slerp_is_that_of_the_drawing_program() -> None:
    import torch

    from stylegan.latents import slerp

    a, b = np.random.default_rng(1).standard_normal((2, 5, 12))
    theirs = slerp(torch.from_numpy(a), torch.from_numpy(b), 0.37).numpy()
    np.testing.assert_allclose(metrics.slerp(a, b, 0.37), theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (list(range(101)), list(range(1, 100))),  # percentiles fall on 1 and 99
        (list(range(100)), list(range(100))),  # 0.99 -> the data point below, 0; 98.01 -> the one above, 99
        (list(range(201)), list(range(2, 199))),
        ([5.0], [5.0]),
        ([3, 1, 2], [3, 1, 2]),
        ([*range(1, 200), 1e9], [*range(2, 200)]),  # 200 values: ranks 1.99 -> 1 and 197.01 -> 198
    ],
)
def test_percentile_filter_by_hand(values: list[float], kept: list[float]) -> None:
    assert list(metrics.percentile_filter(np.array(values))) == kept


def test_ppl_of_nothing_or_nan() -> None:
    with pytest.raises(ValueError, match="no values"):
        metrics.ppl([])
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        metrics.ppl([1.0, np.nan])


def test_ppl_of_distances() -> None:
    distances = np.arange(101.0)
    assert metrics.ppl(distances, epsilon=0.5) == pytest.approx(50 * 4)
    np.testing.assert_allclose(metrics.path_lengths([1e-8, 2e-8]), [1, 2], rtol=1e-12)


def test_ppl_of_a_linear_map() -> None:
    """g(w) = A·w with squared distance: every step between w0 and w1 has length |A(w1 − w0)|², at any t."""
    rng = np.random.default_rng(0)
    a, w0, w1, t = rng.standard_normal((7, 4)), *rng.standard_normal((2, 500, 4)), rng.random((500, 1))
    steps = metrics.lerp(w0, w1, t + 1e-4) @ a.T - metrics.lerp(w0, w1, t) @ a.T
    expected = metrics.percentile_filter(np.square((w1 - w0) @ a.T).sum(1)).mean()
    assert metrics.ppl(np.square(steps).sum(1)) == pytest.approx(expected, rel=1e-8)


# --- separability ------------------------------------------------------------------------------------------------


def test_entropies_by_hand() -> None:
    assert metrics.entropy([1, 1]) == 1
    assert metrics.entropy([[1, 0], [0, 3]]) == pytest.approx(2 - 0.75 * np.log2(3))
    independent = np.outer([0.5, 0.5], [0.25, 0.75])
    assert metrics.conditional_entropy(independent) == pytest.approx(metrics.entropy([1, 3]), rel=1e-14)
    assert metrics.conditional_entropy(np.eye(2)) == 0
    noisy = np.array([[0.45, 0.05], [0.05, 0.45]])
    assert metrics.conditional_entropy(noisy) == pytest.approx(metrics.entropy([0.9, 0.1]), rel=1e-14)
    assert metrics.mutual_information(noisy) == pytest.approx(1 - metrics.entropy([0.9, 0.1]), rel=1e-13)
    table = np.array([[3, 1], [0, 4]])  # rows X: H(Y|X) = 1/2·H(3/4) + 1/2·0
    assert metrics.conditional_entropy(table) == pytest.approx(metrics.entropy([3, 1]) / 2, rel=1e-14)
    assert metrics.conditional_entropy(table) != metrics.conditional_entropy(table.T)


def test_separability_score() -> None:
    assert metrics.separability_score([0, 0]) == 1
    assert metrics.separability_score([1, 0.5]) == pytest.approx(2**1.5)
    nats = np.array([0.3, 0.9]) * np.log(2)
    assert metrics.separability_score([0.3, 0.9]) == pytest.approx(np.exp(nats.sum()), rel=1e-14)


def test_joint_distribution() -> None:
    table = metrics.joint_distribution([1, 1, 0, 0], [1, 0, 0, 0])
    np.testing.assert_array_equal(table, [[0.5, 0], [0.25, 0.25]])


def test_svm_is_that_of_liblinear() -> None:
    LinearSVC = pytest.importorskip("sklearn.svm").LinearSVC
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5))
    y = x @ [1, -2, 0, 0, 1] + rng.standard_normal(300) > 0.5
    model = LinearSVC(dual=False, tol=1e-10, max_iter=10000).fit(x, y)
    found = metrics.linear_svm(x, y)
    np.testing.assert_allclose(found, [*model.coef_[0], model.intercept_[0]], atol=1e-6)


def test_known_clusters_are_separable_and_mixed_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, 6))
    linear, hidden = z[:, 0] * 3, z[:, 1] * z[:, 2]  # a hyperplane tells the first, none tells the second
    first, second = metrics.separability(z, np.stack([linear, hidden], 1))
    assert first < 0.02
    assert second > 0.9
    assert metrics.separability(z, np.full((2000, 1), 5.0)) == [0.0]  # always present: nothing to tell


def test_every_function_of_arrays_is_in_the_table() -> None:
    """docs/metrics.md has shapes, units and source of each."""
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    table = page.split("## The formulas, as functions of arrays")[1].split("\n## ")[0]
    machinery = {"METRICS", "evaluate", "evaluate_during_training", "open_features", "parse_metric", "parse_metrics",
                 "normalize", "pairwise_distances", "polynomial_kernel"}  # fmt: skip
    functions = {name for name in metrics.__all__ if name[0].islower()} - machinery
    missing = {name for name in functions if f"`{name}(" not in table}
    assert not missing


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: metrics.fid(np.ones(5), np.ones(5)), r"features \[5\]: expected \[n, d\]"),
        (lambda: metrics.fid(np.ones((5, 2)), np.ones((5, 3))), r"must be \[d\], \[d, d\]"),
        (lambda: metrics.kid(np.ones((5, 2)), np.ones((5, 3))), "must have the same width"),
        (lambda: metrics.kid(np.full((5, 2), np.nan), np.ones((5, 2))), "must be finite"),
        (lambda: metrics.precision_recall(np.full((5, 2), np.nan), np.ones((5, 2))), "must be finite"),
        (lambda: metrics.nearest_neighbours(np.ones((5, 2)), np.ones((5, 2)), 6), "k = 6: there are 5 neighbours"),
        (lambda: metrics.memorisation(np.array([]), np.ones(3)), "0 and 3 distances"),
        (lambda: metrics.mutual_information(np.ones(2)), "expected a table"),
        (lambda: metrics.conditional_entropy(np.array([[np.inf, 1], [1, 1]])), "finite"),
        (lambda: metrics.linear_svm(np.ones((5, 2)), np.array([True])), r"must be \[n, d\] and \[n\]"),
        (lambda: metrics.separability(np.ones((5, 2)), np.ones(5)), r"must be \[n, d\] and \[n, attributes\]"),
        (lambda: metrics.slerp(np.zeros(3), np.ones(3), 0.5), "have length 0"),
        (lambda: metrics.path_lengths(np.ones(3), 0.0), "must be above 0"),
        (lambda: metrics.percentile_filter(np.ones(3), 90, 10), "the lower one first"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_lists_and_tensors_are_taken_too() -> None:
    real = np.random.default_rng(0).normal(size=(30, 3))
    fake = real * 1.2 + 0.1
    for function in (metrics.fid, metrics.kid, metrics.precision_recall, metrics.density_coverage):
        expected = function(real, fake)
        assert function(real.tolist(), fake.tolist()) == pytest.approx(expected)
        assert function(torch.tensor(real), torch.tensor(fake)) == pytest.approx(expected)


def test_found_from_the_package() -> None:
    code = "import stylegan, sys; assert 'torch' not in sys.modules; help(stylegan.metrics)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("frechet_distance(", "percentile_filter(", "slerp(", "conditional_entropy(", "ppl("):
        assert f"    {name}" in told, name
    import stylegan

    assert "metrics" in dir(stylegan)
    with pytest.raises(AttributeError, match="no attribute 'metriks'"):
        _ = stylegan.metriks
