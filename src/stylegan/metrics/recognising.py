"""A network that tells a data set's classes apart: features for every metric, and a judge of class-conditional models.

For data without public feature networks (or machines without a network). It has D's architecture, like the
attribute classifiers, but one answer per image (softmax), larger batches, and images that are moved and flipped
at random, which a fast GPU trains in well under a minute. Nothing of the generator is in it, so the share of
generated images whose class it recognises (`recognition`) is an independent judgement.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from stylegan.config import DiscriminatorConfig
from stylegan.data import Dataset
from stylegan.errors import UserError
from stylegan.metrics.classifier import Classifier, Progress, level_for
from stylegan.ops.images import from_bytes
from stylegan.ops.switch import ops_mode, using_ops

RESIDENT_BYTES = 8 << 30  # data sets up to this size lie on the GPU while it trains


@dataclass(frozen=True)
class ClassRecipe:
    """How it is trained. kimg: thousands of images shown; held_out: share that is kept for its accuracy.

    lr: at its highest; it rises over the first 2 % and falls to 0 as half a cosine. shift: pixels that images are
    moved by at most, as a share of the side; mirror: flip half of them left-right, flip: upside down. dropout: of
    the features, before the last layer. width: channels at full depth, which is also the number of features.
    balanced: answers as if all classes were equally frequent (the loss takes their frequencies into account, as in
    Menon et al., 2007.07314), so that a rare class is not taken for a frequent one in doubt.
    """

    kimg: float = 400.0
    batch: int = 128
    lr: float = 0.002
    seed: int = 0
    held_out: float = 0.1
    shift: float = 1 / 16
    mirror: bool = False
    flip: bool = False
    dropout: float = 0.3
    width: int = 256
    balanced: bool = True
    bf16: bool = True  # on GPUs that have it

    def check(self) -> None:
        """UserError for a recipe that cannot be followed."""
        if not self.kimg > 0 or self.batch < 2 or self.width < 1:
            raise UserError(
                f"kimg {self.kimg:g}, batch {self.batch}, width {self.width}: must be above 0, 2 or more, 1 or more"
            )
        if not 0 < self.held_out < 1:
            raise UserError(f"held-out share {self.held_out:g}: must be above 0 and below 1, so that accuracy is known")


@dataclass
class Trained:
    """A classifier of classes with what is known about it, measured on images it was not trained on.

    accuracy: share of held-out images that are recognised; recalls: the same within each class, NaN where none was
    held out; confusion int64 [true, recognised as].
    """

    network: Classifier
    names: list[str]
    accuracy: float
    recalls: list[float]
    confusion: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)


def train_on_classes(
    dataset: Dataset,
    recipe: ClassRecipe | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,  # called with (images shown, images in all)
) -> Trained:
    """Trains one on a labelled data set. UserError for data with fewer than two classes.

    The same seed holds the same images out whatever the device; the global random state is left alone.
    """
    recipe, device = recipe or ClassRecipe(), torch.device(device)
    recipe.check()
    if dataset.num_classes < 2:
        raise UserError(
            "a classifier needs data with at least two classes: prepare it with --classes (sub-folders), or from "
            "a zip with a dataset.json"
        )
    size = level_for(dataset)
    rng = np.random.default_rng(recipe.seed)
    order = rng.permutation(len(dataset))
    count = min(len(order) - 1, max(1, round(len(order) * recipe.held_out)))
    held, train = np.sort(order[:count]), np.sort(order[count:])
    config = DiscriminatorConfig(
        resolution=size,
        channels=dataset.channels,
        labels=dataset.num_classes,
        mbstd_group=0,
        fmap_base=8 * recipe.width,
        fmap_max=recipe.width,
    )
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), using_ops("fast" if ops_mode() == "auto" else ops_mode()):
        torch.manual_seed(recipe.seed)
        network = Classifier(config).to(device)
        if recipe.bf16 and device.type == "cuda" and torch.cuda.is_bf16_supported():
            network.compute_dtype = torch.bfloat16
        _fit(network, Pictures(dataset, train, size, device), recipe, progress)
        network.eval().requires_grad_(False)
        network.compute_dtype = torch.float32
        found = recognised(network, dataset, held, size, device)
    confusion = confusion_table(dataset.classes[held], found, dataset.num_classes)
    names = dataset.class_names or [str(i) for i in range(dataset.num_classes)]
    facts = {
        "recipe": asdict(recipe),
        "data": {"fingerprint": dataset.fingerprint, "images": len(dataset), "held_out": len(held)},
        "attribution": dataset.attribution or None,
    }
    accuracy = float(np.trace(confusion) / max(confusion.sum(), 1))
    return Trained(network, list(names), accuracy, recalls_of(confusion), confusion, facts)


class Pictures:
    """The images that are trained on, as batches on the device: kept there as a whole where they fit."""

    def __init__(self, dataset: Dataset, rows: np.ndarray, size: tuple[int, int], device: torch.device) -> None:
        self.dataset, self.rows, self.size, self.device = dataset, rows, size, device
        self.classes = torch.from_numpy(dataset.classes[rows])
        self.whole: torch.Tensor | None = None
        if device.type != "cpu":
            self.classes = self.classes.to(device)
            if len(rows) * dataset.channels * size[0] * size[1] <= RESIDENT_BYTES:
                self.whole = torch.from_numpy(dataset.read(rows, size)).to(device)

    def take(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(uint8 [N, C, H, W], classes [N]) of positions [N] on the device."""
        if self.whole is not None:
            return self.whole[chosen], self.classes[chosen]
        pictures = torch.from_numpy(self.dataset.read(self.rows[chosen.cpu().numpy()], self.size))
        return pictures.to(self.device), self.classes[chosen]


def _fit(network: Classifier, pictures: Pictures, recipe: ClassRecipe, progress: Progress | None) -> None:
    """Adam (0.9, 0.99) on the cross-entropy; every image is shown once before any is shown again."""
    device, n = pictures.device, len(pictures.rows)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=(0.9, 0.99), eps=1e-8)
    steps = max(1, round(recipe.kimg * 1000 / recipe.batch))
    warm = max(1, steps // 50)
    source = torch.Generator(device).manual_seed(recipe.seed)
    counts = torch.bincount(pictures.classes, minlength=network.config.labels).float().clamp_min(1)
    prior = (counts / counts.sum()).log() if recipe.balanced else torch.zeros_like(counts)
    order = torch.empty(0, dtype=torch.int64, device=device)
    for step in range(steps):
        while len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(n, generator=source, device=device)])
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        images, wanted = pictures.take(chosen)
        images = from_bytes(moved(images, recipe, source))
        along = min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * along
        features, _ = network(images)
        logits = network.head.dense1(F.dropout(features, recipe.dropout))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits + prior, wanted).backward()
        optimizer.step()
        if progress is not None and (step % 10 == 9 or step + 1 == steps):
            progress((step + 1) * recipe.batch, steps * recipe.batch)


def moved(images: torch.Tensor, recipe: ClassRecipe, source: torch.Generator) -> torch.Tensor:
    """uint8 [N, C, H, W], each shifted by its own whole pixels (borders mirrored) and flipped by the recipe."""
    n, _, height, width = images.shape
    index = []
    for side, flips in ((height, recipe.flip), (width, recipe.mirror)):
        reach = int(side * recipe.shift)
        shifts = torch.randint(-reach, reach + 1, (n, 1), generator=source, device=images.device)
        place = (torch.arange(side, device=images.device) + shifts).abs()  # N side
        place = side - 1 - (side - 1 - place).abs()
        if flips:
            turned = torch.rand(n, 1, generator=source, device=images.device) < 0.5
            place = torch.where(turned, side - 1 - place, place)
        index.append(place)
    rows, columns = index
    number = torch.arange(n, device=images.device)[:, None, None]
    found = images.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]  # N H W C
    return found.permute(0, 3, 1, 2)


def recognised(
    network: Classifier, dataset: Dataset, rows: np.ndarray, size: tuple[int, int], device: torch.device
) -> np.ndarray:
    """The class each image of the data set is taken for: int64 [n]."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 128):
            pictures = torch.from_numpy(dataset.read(rows[start : start + 128], size)).to(device)
            _, logits = network(from_bytes(pictures))
            found.append(logits.argmax(1).cpu())
    return torch.cat(found).numpy()


def confusion_table(true: np.ndarray, taken_for: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 [true class, recognised as] from two arrays of class numbers [n]. ValueError where they differ in
    length or a number is not a class."""
    true, taken_for = np.asarray(true, np.int64).reshape(-1), np.asarray(taken_for, np.int64).reshape(-1)
    if len(true) != len(taken_for):
        raise ValueError(f"{len(true)} classes and {len(taken_for)} answers: must be as many")
    both = np.concatenate([true, taken_for])
    if len(both) and (both.min() < 0 or both.max() >= classes):
        raise ValueError(f"classes go from {both.min()} to {both.max()}: must be 0 to {classes - 1}")
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (true, taken_for), 1)
    return table


def recalls_of(confusion: np.ndarray) -> list[float]:
    """Of each class (row of the table) the share that is recognised; NaN for a class without images."""
    table = np.asarray(confusion, np.float64)
    counts = table.sum(1)
    return [float(hit / count) if count else float("nan") for hit, count in zip(np.diag(table), counts, strict=True)]


def recognition(confusion: np.ndarray) -> float:
    """Mean over the classes that have images of the share that is recognised, whatever their numbers."""
    recalls = np.array(recalls_of(confusion))
    if np.isnan(recalls).all():
        raise ValueError("no images: the table of recognised classes is empty")
    return float(np.nanmean(recalls))
