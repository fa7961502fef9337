"""What is measured at every report, on latents and images that stay the same for the whole run.

- Scores of D: real images that are trained on, held-out ones that are not (`data.holdout`), and fakes of G, the
  network D plays against. An overfitting D tells the first two apart (ADA, 2006.06676, section 2 and figure 1).
- Diversity, pixels and the distance to the data: from the averaged G, as it is what a user gets. Images are compared
  as thumbnails of at most 16x16, which shows what collapses and costs next to nothing.
- Norms: gradients (means over the report's steps), weights, w_avg, and the squared slope of D at real images,
  which is what R1 keeps small; it is measured also where gamma is 0.

Everything is a function of (seed, images shown): no state, no draw from the training's own streams.
Shapes: P probes, R reals, T pixels times channels of a thumbnail.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.data.sampler import split
from stylegan.networks import Generator
from stylegan.ops.fade import fade_reals
from stylegan.ops.images import from_bytes
from stylegan.training.draws import seed_of
from stylegan.training.schedule import Point
from stylegan.training.step import Trainer

PROBES = 64  # fakes, reals, held-out images that are looked at
CLASSES = 16  # classes that are looked at, at most
CHUNK = 16  # images that go through a network together; scores of D depend on it (minibatch stddev)
THUMBNAIL = 16  # side of the images whose diversity is measured, at most
SAME = 2 / 255  # pixels within a grey level count as identical
TWINS = 0.05  # images nearer than this share of the data's mean distance count as identical


@dataclass(frozen=True)
class Group:
    """Images that are looked at together: rows of the data set and their classes."""

    rows: np.ndarray  # int64 [R]
    classes: np.ndarray  # int64 [R]; -1 where the networks take no labels


class Probe:
    """The fixed latents and images of a run."""

    def __init__(self, config: Config, dataset: Dataset, device: torch.device) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        seed = config.training.seed
        self._random = np.random.default_rng(seed_of(seed, "health"))
        train, held = split(len(dataset), config.data.holdout)
        self.images = len(train)
        self.reals = self._reals(train)
        self.held = Group(held[:PROBES], self._classes(held[:PROBES]))
        self.train = self._like(train, self.held) if len(held) else self.reals
        # as many fakes as reals, of the same classes
        generator = torch.Generator().manual_seed(seed_of(seed, "health"))
        self.z = torch.randn(len(self.reals.rows), config.generator.z_dim, generator=generator).to(device)

    # --- what is looked at --------------------------------------------------------------------------------

    def _classes(self, rows: np.ndarray) -> np.ndarray:
        return self.dataset.classes[rows] if self.config.generator.labels else np.full(len(rows), -1, np.int64)

    def _reals(self, train: np.ndarray) -> Group:
        """Up to PROBES training images in random order, as many of each of up to CLASSES classes."""
        classes = self._classes(train)
        kinds = [kind for kind in np.unique(classes) if (classes == kind).sum() > 1]
        kinds = kinds if len(kinds) <= CLASSES else list(self._random.choice(kinds, CLASSES, replace=False))
        rows = [self._some(train[classes == kind], PROBES // len(kinds)) for kind in kinds]
        chosen = self._random.permutation(np.concatenate(rows) if rows else train[:PROBES])
        return Group(chosen, self._classes(chosen))

    def _like(self, train: np.ndarray, held: Group) -> Group:
        """Training images of the same classes, in the same order, as held-out ones."""
        classes, rows = self._classes(train), []
        for kind in held.classes:
            members = train[classes == kind]
            rows.append(self._random.choice(members if len(members) else train))
        return Group(np.array(rows), held.classes)

    def _some(self, rows: np.ndarray, count: int) -> np.ndarray:
        return self._random.choice(rows, min(count, len(rows)), replace=False)

    def _labels(self, group: Group) -> torch.Tensor | None:
        count = self.config.generator.labels
        return F.one_hot(torch.from_numpy(group.classes), count).float().to(self.device) if count else None

    # --- measuring ----------------------------------------------------------------------------------------

    def measure(self, trainer: Trainer, point: Point, means: dict[str, float]) -> dict[str, float]:
        """All measures of a trainer at a point of its schedule, from the report's means of STATISTICS."""
        found = {name: means[name] for name in ("sign_real", "sign_fake", "grad_g", "grad_d")}
        found["gap"] = means["score_real"] - means["score_fake"]
        found["passes"] = point.nimg / self.images
        found |= self._scores(trainer, point) | self._pictures(trainer, point)
        # without the mapping network, whose weights are stored 1/lrmul times as large; w_avg tells of it
        for name, network in (("g", trainer.G.synthesis), ("d", trainer.D)):
            found[f"weight_{name}"] = float(torch.nn.utils.get_total_norm(list(network.parameters())).cpu())
        found["w_avg"] = float(trainer.G.w_avg.norm().cpu())
        return {name: round(value, 6) for name, value in found.items() if math.isfinite(value)}

    def _scores(self, trainer: Trainer, point: Point) -> dict[str, float]:
        """D on training and held-out images and on fakes, none of them augmented; its squared slope at reals."""
        fake = torch.cat(list(self._score(trainer, point, self._fakes(trainer.G, point, "random"), self.reals)))
        train = torch.cat(list(self._score(trainer, point, self._images(self.train, point), self.train)))
        found = {
            "score_train": train.mean().item(),
            "score_fake": fake.mean().item(),
            "sign_train": train.sign().mean().item(),
            "r1": self._slope(trainer, point),
        }
        if len(self.held.rows):
            held = torch.cat(list(self._score(trainer, point, self._images(self.held, point), self.held)))
            found |= {"score_heldout": held.mean().item(), "sign_heldout": held.sign().mean().item()}
            apart, spread = found["score_train"] - found["score_fake"], train.std().item()
            if apart > 0.25 * spread:  # otherwise D does not know reals from fakes, and there is nothing to compare
                # r_v of ADA: 0 where held-out images score as training images do, 1 where they score as fakes
                found["overfit"] = (found["score_train"] - found["score_heldout"]) / apart
                found["overfit_error"] = math.hypot(spread, held.std().item()) / (math.sqrt(len(held)) * apart)
        return found

    def _score(
        self, trainer: Trainer, point: Point, images: Iterator[torch.Tensor], group: Group
    ) -> Iterator[torch.Tensor]:
        labels = self._labels(group)
        with torch.no_grad():
            for i, chunk in enumerate(images):
                part = None if labels is None else labels[i * CHUNK : i * CHUNK + len(chunk)]
                yield trainer.D(chunk, part, point.lod).squeeze(1).cpu()

    def _slope(self, trainer: Trainer, point: Point) -> float:
        """Mean squared gradient of D's score at some training images, in units of the full-size image."""
        images = next(self._images(self.train, point)).requires_grad_(True)
        labels = self._labels(self.train)
        scores = trainer.D(images, None if labels is None else labels[: len(images)], point.lod)
        (gradient,) = torch.autograd.grad(scores.sum(), images)
        return (gradient.float().square().sum(dim=(1, 2, 3)).mean() * 0.25 ** math.floor(point.lod)).item()

    def _images(self, group: Group, point: Point, size: tuple[int, int] | None = None) -> Iterator[torch.Tensor]:
        """Real images by CHUNK, as D sees them at this lod: [n, C, h, w]; of another size: as they are."""
        for i in range(0, len(group.rows), CHUNK):
            level = size or self.config.generator.size(point.level)
            chunk = torch.from_numpy(self.dataset.read(group.rows[i : i + CHUNK], level))
            images = from_bytes(chunk.to(self.device))
            yield images if size else fade_reals(images, point.lod)

    def _fakes(self, network: Generator, point: Point, noise: Literal["random", "stored"]) -> Iterator[torch.Tensor]:
        """Fakes by CHUNK, not truncated: [n, C, h, w]."""
        labels = self._labels(self.reals)
        seed = seed_of(self.config.training.seed, "health noise")
        generator = torch.Generator(self.device).manual_seed(seed) if noise == "random" else None
        with torch.no_grad():
            for i in range(0, len(self.z), CHUNK):
                part = None if labels is None else labels[i : i + CHUNK]
                yield network(self.z[i : i + CHUNK], part, None, noise=noise, lod=point.lod, generator=generator)

    def _pictures(self, trainer: Trainer, point: Point) -> dict[str, float]:
        """Diversity, distance to the data, identical pixels and identical images of the averaged generator."""
        level = point.level
        while min(self.config.generator.size(level)) > THUMBNAIL:
            level -= 1
        size = self.config.generator.size(level)
        fakes = torch.cat([F.adaptive_avg_pool2d(x, size).cpu() for x in self._fakes(trainer.G_ema, point, "stored")])
        reals = torch.cat([chunk.cpu() for chunk in self._images(self.reals, point, size)])
        if level == point.level:
            reals = fade_reals(reals, point.lod)
        return compare(reals, fakes, self.reals.classes)


def compare(reals: torch.Tensor, fakes: torch.Tensor, classes: np.ndarray) -> dict[str, float]:
    """Fakes beside as many reals of the same classes, both [R, C, h, w] in [-1, 1]; classes int64 [R].

    diversity: mean distance of two fakes relative to that of two reals; diversity_within: of the same class.
    distance: the energy distance of both sets, relative to the mean distance of two reals; 0 = alike.
    same_pixels: share of the pixels that are the same in all fakes of a class, beyond those of the reals.
    twins: share of the fakes that have a nearly identical other one of their class.
    """
    x, y = reals.double().flatten(1), fakes.double().flatten(1)  # R T
    real, fake, cross = torch.cdist(x, x), torch.cdist(y, y), torch.cdist(x, y)  # R R
    kinds = torch.from_numpy(classes)
    others = ~torch.eye(len(kinds), dtype=torch.bool)
    within = (kinds[:, None] == kinds[None]) & others
    base = _mean(real[others])
    if base == 0 or not bool(within.any()):
        return {}
    found = {
        "diversity": _mean(fake[others]) / base,
        "distance": (2 * _mean(cross) - _mean(fake[others]) - base) / base,
    }
    if len(kinds.unique()) > 1:
        found["diversity_within"] = _mean(fake[within]) / max(_mean(real[within]), 1e-9)
    nearest = fake.masked_fill(~within, math.inf).min(dim=1).values
    found["twins"] = _mean((nearest < TWINS * _mean(real[within])).double())
    found["same_pixels"] = max(0.0, _same(fakes, kinds) - _same(reals, kinds))
    return found


def _mean(values: torch.Tensor) -> float:
    return float(values.mean())


def _same(images: torch.Tensor, kinds: torch.Tensor) -> float:
    """Share of the pixels [R, C, h, w] that are the same in all images of a class, mean over classes."""
    parts = [images[kinds == kind] for kind in kinds.unique()]
    return sum(_mean((part.amax(0) - part.amin(0) <= SAME).all(0).double()) for part in parts) / len(parts)
