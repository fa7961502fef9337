"""Linear separability (StyleGAN, section 4.2): how well a hyperplane in latent space tells an attribute.

X is the side of the hyperplane, Y the attribute by a classifier of images. Entropies are in bits. The score,
exp(sum of H(Y|X)) in the paper (natural logarithm), is the same number as 2^(sum of H(Y|X) in bits).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

KEPT = 0.5  # share of the samples that is kept per attribute, the most confident ones: 100,000 of 200,000


def joint_distribution(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """p(X, Y) [2, 2] from two arrays of truth values [n]: row = X, column = Y."""
    x, y = np.asarray(x).astype(bool).reshape(-1), np.asarray(y).astype(bool).reshape(-1)
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} and {len(y)} values: must be as many, and at least one")
    return np.array([[np.mean((x == i) & (y == j)) for j in (False, True)] for i in (False, True)])


def entropy(p: np.ndarray) -> float:
    """H in bits of counts or probabilities of any shape (normalised to sum 1; 0·log 0 = 0)."""
    p = np.asarray(p, np.float64).reshape(-1)
    total = p.sum()
    if not 0 < total < np.inf or p.min() < 0:
        raise ValueError("a distribution needs finite values of 0 or more with a positive sum")
    p = p[p > 0] / total
    return float(-(p * np.log2(p)).sum())


def mutual_information(joint: np.ndarray) -> float:
    """I(X; Y) in bits of a joint table [x, y] of counts or probabilities."""
    joint = _table(joint)
    return entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint)


def _table(joint: np.ndarray) -> np.ndarray:
    joint = np.asarray(joint, np.float64)
    if joint.ndim != 2:
        raise ValueError(f"joint {list(joint.shape)}: expected a table [x, y]")
    return joint


def conditional_entropy(joint: np.ndarray) -> float:
    """H(Y|X) in bits of a joint table [x, y] (rows X, columns Y) of counts or probabilities; never below 0.

    How many bits tell the column once the row is known. ValueError for what is not a table, negative or empty.
    """
    joint = _table(joint)
    return max(entropy(joint) - entropy(joint.sum(1)), 0.0)


def separability_score(entropies: Sequence[float] | np.ndarray) -> float:
    """2^(sum over attributes of H(Y|X) in bits), which is exp of the sum in nats: 1 = perfectly separable."""
    return float(2.0 ** np.sum(np.asarray(entropies, np.float64)))


def linear_svm(
    x: np.ndarray,  # [n, d]
    y: np.ndarray,  # truth values [n]
    c: float = 1.0,
    tolerance: float = 1e-8,
    steps: int = 100,
) -> np.ndarray:
    """The linear SVM: weights [d + 1], bias last, that minimise |w|²/2 + c·sum of max(0, 1 − ±(w·x + b))².

    The objective of LIBLINEAR, and so of scikit-learn's LinearSVC, which the official program uses: squared
    hinge, bias penalised like a weight. It is convex and smooth, and Newton's method with a line search ends at
    its one minimum, so the result depends on nothing else.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or np.shape(y) != x.shape[:1]:
        raise ValueError(f"x {list(x.shape)}, y {list(np.shape(y))}: must be [n, d] and [n]")
    rows = np.concatenate([x, np.ones((len(x), 1))], axis=1)  # n d+1
    signs = np.where(np.asarray(y).astype(bool), 1.0, -1.0)
    w = np.zeros(rows.shape[1])

    def objective(weights: np.ndarray, scores: np.ndarray) -> float:
        return 0.5 * float(weights @ weights) + c * float(np.square(np.maximum(1.0 - signs * scores, 0.0)).sum())

    scores = rows @ w
    value, first = objective(w, scores), 0.0
    for step in range(steps):
        active = signs * scores < 1.0
        part = rows[active]
        gradient = w + 2.0 * c * (part.T @ (scores[active] - signs[active]))
        size = float(np.linalg.norm(gradient))
        first = size if step == 0 else first
        if size <= tolerance * max(first, 1e-30):
            break
        hessian = np.eye(len(w)) + 2.0 * c * (part.T @ part)
        move = -np.linalg.solve(hessian, gradient)
        along, length, slope = rows @ move, 1.0, float(gradient @ move)
        while length > 1e-10:
            trial = objective(w + length * move, scores + length * along)
            if trial <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break
        w, scores, value = w + length * move, scores + length * along, trial
    return w


def svm_side(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Which side of the hyperplane (weights [d + 1], bias last) each row of x [n, d] is on: bool [n]."""
    return np.asarray(x, np.float64) @ weights[:-1] + weights[-1] > 0


def most_confident(logits: np.ndarray, keep: int) -> np.ndarray:
    """Rows of the `keep` most confident predictions, from logits [n] of one attribute (ties by row): [keep]."""
    return np.argsort(-np.abs(np.asarray(logits, np.float64)), kind="stable")[:keep]


def separability(latents: np.ndarray, logits: np.ndarray, keep: float = KEPT) -> list[float]:
    """H(Y|X) in bits per attribute, from latents [n, d] and classifier logits [n, attributes].

    Per attribute: the most confident `keep` of the samples (half: 100,000 of 200,000 in the paper), Y the sign
    of the logit, a linear SVM fitted to them, X its side. An attribute of which only one value is left has
    H(Y|X) = 0, as Y is certain.
    """
    latents, logits = np.asarray(latents), np.asarray(logits, np.float64)
    if latents.ndim != 2 or logits.ndim != 2 or len(latents) != len(logits):
        raise ValueError(
            f"latents {list(latents.shape)}, logits {list(logits.shape)}: must be [n, d] and [n, attributes]"
        )
    entropies = []
    for column in logits.T:
        rows = most_confident(column, max(2, round(len(column) * keep)))
        x, y = latents[rows], column[rows] > 0
        entropies.append(conditional_entropy(joint_distribution(svm_side(linear_svm(x, y), x), y)))
    return entropies
