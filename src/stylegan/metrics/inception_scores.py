"""Inception score (Salimans et al., 1606.03498, section 4)."""

from __future__ import annotations

import numpy as np


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """(mean, standard deviation) over splits of exp(mean of KL(p(y|x) || p(y))), from p(y|x) [n, classes].

    The samples are cut into `splits` consecutive parts, each with its own p(y). ValueError below one sample
    per split, and for rows that are not probabilities.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or len(p) < splits:
        raise ValueError(f"probabilities {list(p.shape)}: expected [n, classes] with n of at least {splits} (splits)")
    if not np.allclose(p.sum(1), 1.0, atol=1e-4) or p.min() < 0:
        raise ValueError("probabilities: every row must be 0 or more and sum to 1; apply softmax to the logits")
    scores = []
    for i in range(splits):
        part = p[i * len(p) // splits : (i + 1) * len(p) // splits]
        marginal = part.mean(0, keepdims=True)
        ratio = np.divide(part, marginal, out=np.ones_like(part), where=part > 0)  # 0·log 0 = 0
        scores.append(np.exp((part * np.log(ratio)).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
