"""Equal images by the digest of their pixels; similar ones by perceptual hash, without comparing all pairs.

A hash is 8 bytes. Two hashes that differ in at most 6 bits agree in at least two bytes, so sorting by each of the 28
pairs of bytes brings every such pair side by side. Candidates are then compared by a small picture of each, because
unlike pictures may have like hashes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

MAX_BITS = 6  # hashes that differ in more bits are not looked at
PAIRS = list(combinations(range(8), 2))
MAX_RUN = 64  # hashes in one bucket are compared with so many neighbours (nearest in sorted order)
LEAST_CORRELATION = 0.988  # of the small pictures' brightness
MOST_COLOUR = 24.0  # largest difference of mean red, green or blue, of 255
CHUNK = 16_384  # candidates compared at a time
# for each set of agreeing bytes (as bits, first byte highest) the first pair in it, so that no candidate comes twice
_FIRST = np.array(
    [next((n for n, (i, j) in enumerate(PAIRS) if agree >> (7 - i) & agree >> (7 - j) & 1), -1) for agree in range(256)]
)


def equal(digests: Sequence[str]) -> list[list[int]]:
    """Groups, of at least two, of positions with the same digest; "" is equal to nothing."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        if digest:
            groups[digest].append(position)
    return [group for group in groups.values() if len(group) > 1]


def similar(
    hashes: np.ndarray,  # uint64 [n]
    pictures: np.ndarray,  # uint8 [n, side·side]: small grey pictures
    colours: np.ndarray,  # float [n, 3]: mean colours
) -> list[list[int]]:
    """Groups, of at least two, of positions whose images look alike, directly or by way of others."""
    count = len(hashes)
    roots = np.arange(count)
    bytes_ = np.ascontiguousarray(hashes).view(np.uint8).reshape(count, 8)
    for number, (first, second) in enumerate(PAIRS):
        keys = bytes_[:, first].astype(np.uint16) << 8 | bytes_[:, second]
        order = np.lexsort((hashes, keys))
        keys, ordered = keys[order], hashes[order]
        left = np.arange(count)
        for step in range(1, MAX_RUN):
            left = left[left + step < count]
            left = left[keys[left] == keys[left + step]]
            if not len(left):
                break
            differing = ordered[left] ^ ordered[left + step]
            agree = np.packbits(differing.view(np.uint8).reshape(-1, 8) == 0, axis=1)[:, 0]
            chosen = left[(_bits(differing) <= MAX_BITS) & (_FIRST[agree] == number)]
            a, b = order[chosen], order[chosen + step]
            apart = roots[a] != roots[b]
            _join(roots, a[apart], b[apart], pictures, colours)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for position, root in enumerate(roots.tolist()):
        groups[root].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _join(roots: np.ndarray, a: np.ndarray, b: np.ndarray, pictures: np.ndarray, colours: np.ndarray) -> None:
    """Unites the groups of those pairs that look alike; `roots` names each position's group."""
    for start in range(0, len(a), CHUNK):
        left, right = a[start : start + CHUNK], b[start : start + CHUNK]
        near = np.abs(colours[left] - colours[right]).max(axis=1) <= MOST_COLOUR
        left, right = left[near], right[near]
        alike = correlation(pictures[left], pictures[right]) >= LEAST_CORRELATION
        renamed: dict[int, int] = {}
        for x, y in zip(roots[left[alike]].tolist(), roots[right[alike]].tolist(), strict=True):
            x, y = _end(renamed, x), _end(renamed, y)
            if x != y:
                renamed[max(x, y)] = min(x, y)
        if renamed:
            names = np.arange(len(roots))
            for old in renamed:
                names[old] = _end(renamed, old)
            roots[:] = names[roots]


def _end(renamed: dict[int, int], name: int) -> int:
    while name in renamed:
        name = renamed[name]
    return name


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float [m]: of brightness, between small pictures uint8 [m, P]."""
    x, y = (p.astype(np.float32) for p in (a, b))
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.einsum("mp,mp->m", x, x) * np.einsum("mp,mp->m", y, y))
    return np.asarray(np.einsum("mp,mp->m", x, y) / np.maximum(scale, 1e-6))


_POPULATION = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def _bits(values: np.ndarray) -> np.ndarray:
    """How many bits are set in each uint64."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.asarray(np.bitwise_count(values))
    return np.asarray(_POPULATION[values.view(np.uint8).reshape(-1, 8)].sum(axis=1))
