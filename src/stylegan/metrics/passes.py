"""Images through feature networks: the data set's once (then from the cache), generated ones for every model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from stylegan.distributed import Processes
from stylegan.drawing.render import exact_float32
from stylegan.errors import UserError
from stylegan.metrics.cached import key_path, load_arrays, store_arrays
from stylegan.metrics.exchange import Stopwatch, collect, join
from stylegan.metrics.features import FeatureNetwork, describe
from stylegan.metrics.frechet import FeatureStatistics
from stylegan.metrics.sampling import Fakes, Reals, chunks, for_device, to_device, to_uint8

READERS = 4  # threads that read the data set ahead
STAY_BYTES = 2 << 30  # features that are needed one by one stay on a GPU up to this size, and are fetched at the end
BLOCKS = 8  # generated chunks are dealt to so many blocks, of which halves are made
HALVES = ((0, 1, 2, 3), (0, 1, 4, 5), (0, 2, 4, 6))  # one half each; the other is the rest

Progress = Callable[[str, int, int], None]  # what, images done, images in all


@dataclass
class Measured:
    """How a set was measured: who shares the work, in what batches, and who is told."""

    processes: Processes
    batch: int
    watch: Stopwatch
    progress: Progress | None = None

    def tell(self, what: str, done: int, total: int) -> None:
        if self.progress is not None and self.processes.first:
            self.progress(what, min(done, total), total)

    def shares(self, count: int) -> list[range]:
        """This process's chunks of `count` samples."""
        return list(chunks(count, self.batch, self.processes.rank, self.processes.world))


@dataclass
class RealFeatures:
    """Mean [d] and covariance [d, d] of the data set's features, and the features [n, d] where asked for.

    Only the first process has them. cached: whether they came from the cache.
    """

    count: int
    mean: np.ndarray | None = None
    covariance: np.ndarray | None = None
    features: np.ndarray | None = None
    cached: bool = False


def measure_reals(
    network: FeatureNetwork,
    reals: Reals,
    keep: bool,
    how: Measured,
    cache: Path | None,
) -> RealFeatures:
    """The data set under one protocol, from the cache or measured (by all processes) and stored there."""
    indices = reals.indices
    description = {
        "fingerprint": reals.dataset.fingerprint,
        "size": list(reals.size),
        "images": len(indices),
        "mirror": reals.mirror,
        "network": describe(network),
    }
    path = None if cache is None else key_path(cache, "features" if keep else "moments", description)
    with alone(path if how.processes.first else None):
        return _cached_or_measured(network, reals, indices, keep, how, cache, path, description)


@contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """One program at a time measures what belongs into this file; the others wait, and find it there."""
    lock = None
    if path is not None:
        with suppress(OSError):  # a cache that cannot be written is no error
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{path}.lock")
            lock.acquire()
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _cached_or_measured(
    network: FeatureNetwork, reals: Reals, indices: np.ndarray, keep: bool, how: Measured, cache: Path | None,
    path: Path | None, description: Mapping[str, object],
) -> RealFeatures:  # fmt: skip
    if how.processes.first and path is not None:
        stored = load_arrays(path, description)
        if stored is None and not keep and cache is not None:
            stored = load_arrays(key_path(cache, "features", description), description)
        made = _from_cache(stored, len(indices), network.dim, keep)
    else:
        made = None
    if how.processes.share(made is not None):
        return made or RealFeatures(len(indices), cached=True)
    made = _measure_reals(network, reals, indices, keep, how)
    if how.processes.first and path is not None and made.mean is not None and made.covariance is not None:
        arrays = {"mean": made.mean, "covariance": made.covariance}
        if made.features is not None:
            arrays["features"] = made.features
        store_arrays(path, description, arrays)
    return made


def _from_cache(stored: Mapping[str, np.ndarray] | None, n: int, d: int, keep: bool) -> RealFeatures | None:
    if stored is None or stored["mean"].shape != (d,) or stored["covariance"].shape != (d, d):
        return None
    features = stored.get("features")
    if keep and (features is None or features.shape != (n, d)):
        return None
    return RealFeatures(n, stored["mean"], stored["covariance"], features if keep else None, cached=True)


def _measure_reals(
    network: FeatureNetwork, reals: Reals, indices: np.ndarray, keep: bool, how: Measured
) -> RealFeatures:
    statistics = FeatureStatistics(network.dim, _sums_on(network.device))
    kept: list[torch.Tensor] = []
    title = f"data set, {network.identity.name}"
    parts = how.shares(len(indices))
    stay = _stays(len(parts) * how.batch, network)

    def read(part: range) -> torch.Tensor:
        return for_device(torch.from_numpy(reals.read(indices[part.start : part.stop])), network.device)

    with ThreadPoolExecutor(READERS, thread_name_prefix="stylegan-metrics") as pool, exact_float32(network.device):
        ahead = [pool.submit(read, part) for part in parts[: 2 * READERS]]
        for number, part in enumerate(parts):
            with how.watch.work("waiting for images of the data set"):
                pictures = ahead.pop(0).result()
            if number + 2 * READERS < len(parts):
                ahead.append(pool.submit(read, parts[number + 2 * READERS]))
            pictures = to_device(pictures, network.device)
            with how.watch.network("feature network"):
                features, _ = network(pictures)
            with how.watch.work("statistics"):
                statistics.add(features)
                if keep:
                    kept.append(features.float() if stay else features.float().cpu())
            how.tell(title, part.stop, len(indices))
    how.tell(title, len(indices), len(indices))
    statistics = join(statistics, network.dim, how.processes)
    features_all = _collect(kept, network.dim, len(indices), how) if keep else None
    if not how.processes.first:
        return RealFeatures(len(indices))
    return RealFeatures(len(indices), statistics.mean, statistics.covariance, features_all)


@dataclass(frozen=True)
class Request:
    """What is wanted of one network on generated images: moments of the first n (several n), features, logits."""

    network: FeatureNetwork
    moments: tuple[int, ...] = ()
    keep: int = 0  # features of the first so many
    logits: int = 0  # probabilities of the first so many

    @property
    def most(self) -> int:
        return max((*self.moments, self.keep, self.logits))


@dataclass
class FakeFeatures:
    """What a request got; complete in the first process only.

    blocks: by count, the moments of each of the 8 blocks. features [keep, d], probabilities [logits, classes].
    pictures: uint8 [n, C, H, W], the first few images, where asked for.
    """

    blocks: dict[int, list[FeatureStatistics]] = field(default_factory=dict)
    features: np.ndarray | None = None
    probabilities: np.ndarray | None = None


def measure_fakes(fakes: Fakes, requests: Sequence[Request], how: Measured) -> list[FakeFeatures]:
    """Generated images, each drawn once, through all networks. UserError where the weights have diverged."""
    most = max(request.most for request in requests)
    title = "generated images" + (f", {fakes.mixing} latents each" if fakes.mixing > 1 else "")
    title += ", classes in turns" if fakes.balanced else ""
    found = [
        FakeFeatures({n: [FeatureStatistics(r.network.dim, _sums_on(r.network.device)) for _ in range(BLOCKS)]
                      for n in r.moments})
        for r in requests
    ]  # fmt: skip
    kept: list[list[torch.Tensor]] = [[] for _ in requests]
    sure: list[list[torch.Tensor]] = [[] for _ in requests]
    finite = torch.ones((), dtype=torch.bool, device=fakes.device)
    with exact_float32(fakes.device):
        for part in how.shares(most):
            with how.watch.work("latents and noise"):
                z, labels, noise = fakes.latents(part), fakes.labels(part), fakes.noise(part)
                mixed = fakes.mixed(part)
            with how.watch.network("generator"):
                pictures = fakes.draw(fakes.map(z, labels, mixed), noise)
            finite &= torch.isfinite(pictures).all()
            levels = to_uint8(pictures)
            for i, request in enumerate(requests):
                if part.start >= request.most:
                    continue
                with how.watch.network("feature network"):
                    features, logits = request.network(levels[: request.most - part.start])
                with how.watch.work("statistics"):
                    _take(request, found[i], kept[i], sure[i], part, features, logits, how.batch)
            how.tell(title, part.stop, most)
    how.tell(title, most, most)
    if how.processes.any(not bool(finite)):
        raise UserError("the model draws NaN or infinity: its weights have diverged; use an earlier snapshot")
    for i, request in enumerate(requests):
        for n, blocks in found[i].blocks.items():
            found[i].blocks[n] = [join(block, request.network.dim, how.processes) for block in blocks]
        if request.keep:
            found[i].features = _collect(kept[i], request.network.dim, request.keep, how)
        if request.logits:
            width = how.processes.most(sure[i][0].shape[1] if sure[i] else 0)
            found[i].probabilities = _collect(sure[i], width, request.logits, how)
    return found


def _take(
    request: Request, found: FakeFeatures, kept: list[torch.Tensor], sure: list[torch.Tensor], part: range,
    features: torch.Tensor, logits: torch.Tensor | None, batch: int,
) -> None:  # fmt: skip
    """Files a chunk's features under everything that wants them."""
    block = part.start // batch % BLOCKS
    for n, blocks in found.blocks.items():
        if part.start < n:
            blocks[block].add(features[: n - part.start])
    if part.start < request.keep:
        rows = features[: request.keep - part.start].float()
        kept.append(rows if _stays(request.keep, request.network) else rows.cpu())
    if part.start < request.logits:
        assert logits is not None
        rows = logits[: request.logits - part.start]
        rows = rows.cpu() if rows.device.type == "mps" else rows  # which has no float64
        sure.append(rows.double().softmax(1).float())


def _collect(parts: list[torch.Tensor], width: int, count: int, how: Measured) -> np.ndarray | None:
    rows = torch.cat(parts).cpu() if parts else torch.empty(0, width)
    return collect(rows, count, how.batch, how.processes)


def _stays(count: int, network: FeatureNetwork) -> bool:
    """Whether `count` features stay on the network's device until the end: fetching each batch would wait for it."""
    return network.device.type == "cuda" and 4 * count * network.dim <= STAY_BYTES


def half_rows(count: int, batch: int, half: tuple[int, ...]) -> np.ndarray:
    """Which of `count` samples belong to a half: bool [count]."""
    return np.isin(np.arange(count) // batch % BLOCKS, half)


def _sums_on(device: torch.device) -> torch.device:
    """Where moments are summed: MPS has no float64."""
    return torch.device("cpu") if device.type == "mps" else device
