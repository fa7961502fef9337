"""Equal images by the digest of their pixels; similar ones by perceptual hash, without comparing all pairs.

Hashes of 64 bits are cut into 10 bands. Two hashes that differ in at most 8 bits agree in at least two bands, so
sorting by each of the 45 pairs of bands brings every such pair side by side. Candidates are then compared by a
small picture of each, because unlike pictures may have like hashes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

BANDS = 10
MAX_BITS = BANDS - 2  # hashes that differ in more bits are not looked at
MAX_RUN = 256  # hashes in one bucket are compared with so many neighbours (nearest in sorted order)
LEAST_CORRELATION = 0.97  # of the small pictures' brightness
MOST_COLOUR = 24.0  # largest difference of mean red, green or blue, of 255
CHUNK = 65_536  # candidates compared at a time


def equal(digests: Sequence[str]) -> list[list[int]]:
    """Groups, of at least two, of positions with the same digest; "" is equal to nothing."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        if digest:
            groups[digest].append(position)
    return [group for group in groups.values() if len(group) > 1]


def similar(
    hashes: np.ndarray,  # uint64 [n]
    pictures: np.ndarray,  # uint8 [n, P]: small RGB pictures, interleaved
) -> list[list[int]]:
    """Groups, of at least two, of positions whose images look alike, directly or by way of others."""
    count = len(hashes)
    roots = np.arange(count)
    edges = np.linspace(0, 64, BANDS + 1).astype(int)
    bands = [
        (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    for first, second in combinations(bands, 2):
        keys = (first << np.uint64(8)) | second
        order = np.lexsort((hashes, keys))
        keys, ordered = keys[order], hashes[order]
        left = np.arange(count)
        for step in range(1, MAX_RUN):
            left = left[left + step < count]
            left = left[keys[left] == keys[left + step]]
            if not len(left):
                break
            close = left[_bits(ordered[left] ^ ordered[left + step]) <= MAX_BITS]
            a, b = order[close], order[close + step]
            apart = roots[a] != roots[b]
            _join(roots, a[apart], b[apart], pictures)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for position, root in enumerate(roots.tolist()):
        groups[root].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _join(roots: np.ndarray, a: np.ndarray, b: np.ndarray, pictures: np.ndarray) -> None:
    """Unites the groups of those pairs that look alike; `roots` names each position's group."""
    for start in range(0, len(a), CHUNK):
        left, right = a[start : start + CHUNK], b[start : start + CHUNK]
        alike = look_alike(pictures[left], pictures[right])
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


def look_alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """bool [m]: whether small pictures, uint8 [m, P], have the same drawing and nearly the same colours."""
    x, y = (p.reshape(len(p), -1, 3).astype(np.float32) for p in (a, b))  # m pixels 3
    colour = np.abs(x.mean(axis=1) - y.mean(axis=1)).max(axis=1)
    u, v = (p.mean(axis=2) - p.mean(axis=(1, 2))[:, None] for p in (x, y))
    scale = np.sqrt((u * u).sum(axis=1) * (v * v).sum(axis=1))
    correlation = (u * v).sum(axis=1) / np.maximum(scale, 1e-6)
    return np.asarray((correlation >= LEAST_CORRELATION) & (colour <= MOST_COLOUR))


_POPULATION = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def _bits(values: np.ndarray) -> np.ndarray:
    """How many bits are set in each uint64."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.asarray(np.bitwise_count(values))
    return np.asarray(_POPULATION[values.view(np.uint8).reshape(-1, 8)].sum(axis=1))
