"""Which images are shown when: a pure function of the seed and the number of images shown so far."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stylegan.errors import UserError

HOLDOUT = 0x5EED  # of the permutation from which held-out images are taken


def epoch_indices(
    seed: int,  # not negative
    position: int,  # images shown before
    count: int,
    n: int,  # size of the data set
) -> np.ndarray:
    """int64 [count]: the indices shown as number position ... position + count - 1.

    The sequence is endless: one permutation of the n images per epoch, each drawn from (seed, epoch). Any
    position is reached in O(n log n), so a resumed run needs no history. ValueError: n < 1, negative numbers.
    """
    if n < 1 or min(seed, position, count) < 0:
        raise ValueError(
            f"seed {seed}, position {position}, count {count}, n {n}: n must be at least 1, the rest not negative"
        )
    parts = []
    while count > 0:
        epoch, start = divmod(position, n)
        part = _permutation(seed, epoch, n)[start : start + count]
        parts.append(part)
        position += len(part)
        count -= len(part)
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def split(
    n: int,  # size of the data set
    holdout: int,  # images to hold out
) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [n - holdout] rows to train on, in their order; int64 [holdout] rows never trained on).

    The same rows whatever the seed of a training, so that runs can be compared: the first of one fixed permutation
    of n, of which more are taken for a larger `holdout`. UserError: more than half of the images.
    """
    if not 0 <= holdout <= n // 2:
        raise UserError(f"data.holdout {holdout}: the data set has {n} images; hold out at most half, {n // 2}")
    order = np.argsort(np.random.PCG64(np.random.SeedSequence((n, HOLDOUT))).random_raw(n), kind="stable")
    held = order[:holdout].astype(np.int64)
    kept = np.ones(n, bool)
    kept[held] = False
    return np.flatnonzero(kept).astype(np.int64), held


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """int64 [n], read-only. Sorts raw 64-bit draws, which numpy promises never to change (unlike shuffle)."""
    raw = np.random.PCG64(np.random.SeedSequence((seed, epoch))).random_raw(n)
    order = np.argsort(raw, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order
