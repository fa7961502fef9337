"""Classifiers with the discriminator's architecture, trained on the data set's own labels.

StyleGAN, appendix on linear separability: one classifier per attribute, D's architecture, learning rate 0.001,
batches of 8, Adam (0, 0.99, 1e-8). Here one network has an output per attribute, which all share its layers;
minibatch stddev is left out, so that a prediction depends on its image alone. Its last hidden layer also makes a
feature network of any data set with classes, without a download.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from stylegan.config import DiscriminatorConfig
from stylegan.data import Dataset
from stylegan.errors import UserError
from stylegan.metrics.features import FeatureNetwork, Identity, sha256_of
from stylegan.networks import Discriminator
from stylegan.ops.images import from_bytes
from stylegan.ops.style import activate
from stylegan.snapshot import write_atomically

LARGEST = 256  # images are classified at up to this size, as in the paper

Progress = Callable[[int, int], None]


class Classifier(Discriminator):
    """images [N, C, H, W] in [-1, 1] -> (features [N, hidden], logits [N, attributes])."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        x = self._from_rgb(images, self.config.top)
        for block in reversed(self.blocks):
            x = block(x)
        head = self.head
        x = activate(head.conv(x), self.config.nonlinearity)
        hidden = activate(head.dense0(x.float()), self.config.nonlinearity)
        return hidden, head.dense1(hidden)


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained. kimg: thousands of images shown; held_out: share kept for its accuracy."""

    kimg: float = 200.0
    batch: int = 8
    lr: float = 0.001
    seed: int = 0
    held_out: float = 0.1
    fmap_base: float = 8192
    fmap_max: int = 512


def one_versus_rest(dataset: Dataset) -> tuple[np.ndarray, list[str]]:
    """The data set's classes as attributes: (targets float32 [n, attributes] of 0 and 1, names).

    Two classes are one attribute. UserError for a data set without classes.
    """
    if dataset.num_classes < 2:
        raise UserError(
            "linear separability needs attributes: prepare the data with --classes (sub-folders or a dataset.json), "
            "or give --attributes FILE.csv with one row per image"
        )
    names = dataset.class_names or [str(i) for i in range(dataset.num_classes)]
    one_hot = dataset.labels(np.arange(len(dataset)))  # n classes
    present = [c for c in range(dataset.num_classes) if 0 < one_hot[:, c].sum() < len(dataset)]
    if dataset.num_classes == 2:
        present = present[1:]
    return one_hot[:, present], [names[c] for c in present]


def read_attributes(path: Path, count: int) -> tuple[np.ndarray, list[str]]:
    """Attributes from a CSV: a header of names, then one row per image in the data set's order.

    1 or true = has it, 0, -1 or false = has not, empty = unknown (not trained on). A first column called index,
    image, file or name is skipped. -> (float32 [n, attributes], NaN = unknown; names).
    """
    import csv

    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--attributes {path}: cannot be read ({error})") from None
    if len(rows) - 1 != count:
        found = max(len(rows) - 1, 0)
        raise UserError(f"--attributes {path}: {found} rows after the header, but the data has {count} images")
    first = 1 if rows[0][0].strip().lower() in ("index", "image", "file", "filename", "name") else 0
    meaning = {"1": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "-1": 0.0, "false": 0.0, "no": 0.0, "": np.nan}
    names = [name.strip() for name in rows[0][first:]]
    values = np.empty((count, len(names)), np.float32)
    for i, row in enumerate(rows[1:]):
        cells = [cell.strip().lower() for cell in row[first:]]
        if len(cells) != len(names) or any(cell not in meaning for cell in cells):
            raise UserError(f"--attributes {path}: row {i + 2} must hold {len(names)} values, each 1, 0, -1 or empty")
        values[i] = [meaning[cell] for cell in cells]
    if not names:
        raise UserError(f"--attributes {path}: has no attribute columns")
    return values, names


def level_for(dataset: Dataset) -> tuple[int, int]:
    """The largest level of the data set that is not above 256 pixels."""
    return max((size for size in dataset.levels if max(size) <= LARGEST), default=dataset.levels[0])


def train_classifier(
    dataset: Dataset,
    targets: np.ndarray,  # float32 [n, attributes], NaN = unknown
    recipe: Recipe,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[Classifier, list[float]]:
    """Trains one; -> (classifier in evaluation mode, accuracy per attribute on the images held out)."""
    size = level_for(dataset)
    config = DiscriminatorConfig(
        resolution=size,
        channels=dataset.channels,
        labels=targets.shape[1],
        mbstd_group=0,
        fmap_base=recipe.fmap_base,
        fmap_max=recipe.fmap_max,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = Classifier(config).to(device)
    rng = np.random.default_rng(recipe.seed)
    order = rng.permutation(len(dataset))
    held = order[: int(len(order) * recipe.held_out)]
    train = order[len(held) :]
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=(0.0, 0.99), eps=1e-8)
    total = max(1, round(recipe.kimg * 1000))
    for start in range(0, total, recipe.batch):
        rows = train[rng.integers(0, len(train), recipe.batch)]
        images = from_bytes(torch.from_numpy(dataset.read(rows, size)).to(device))
        wanted = torch.from_numpy(targets[rows]).to(device)
        _, logits = network(images)
        loss = _loss(logits, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress(min(start + recipe.batch, total), total)
    network.eval().requires_grad_(False)
    return network, _accuracies(network, dataset, targets, held, size, device)


def _loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of the known targets."""
    known = ~torch.isnan(wanted)
    losses = F.binary_cross_entropy_with_logits(logits, torch.nan_to_num(wanted), reduction="none")
    return (losses * known).sum() / known.sum().clamp_min(1)


def _accuracies(
    network: Classifier, dataset: Dataset, targets: np.ndarray, held: np.ndarray, size: tuple[int, int],
    device: torch.device | str,
) -> list[float]:  # fmt: skip
    if not len(held):
        return [float("nan")] * targets.shape[1]
    found = []
    with torch.inference_mode():
        for start in range(0, len(held), 64):
            rows = held[start : start + 64]
            images = from_bytes(torch.from_numpy(dataset.read(rows, size)).to(device))
            found.append(network(images)[1].cpu().numpy() > 0)
    predicted, truth = np.concatenate(found), targets[held]
    return [
        float((p == (t > 0.5))[~np.isnan(t)].mean()) if (~np.isnan(t)).any() else float("nan")
        for p, t in zip(predicted.T, truth.T, strict=True)
    ]


def save_classifier(
    path: Path,
    network: Classifier,
    names: list[str],
    accuracies: Sequence[float | None],
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a .safetensors that `--features` and `open_classifier` read. accuracies: on held-out images, by name.

    facts: what else is known, as JSON values; with "accuracy" (of one answer per image) it is a network of classes.
    """
    header = {"config": network.config.model_dump(mode="json"), "names": names, "accuracies": list(accuracies)}
    header |= {"facts": dict(facts or {})}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, save(tensors, metadata={"format": "pt", "stylegan_classifier": json.dumps(header)}))
    return path


class ClassifierNetwork(FeatureNetwork):
    """A trained classifier as a feature network: its last hidden layer, and its logits."""

    rgb = False

    def __init__(
        self, network: Classifier, names: list[str], sha256: str, device: torch.device | str, name: str = "classifier"
    ) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.names, self.device = names, torch.device(device)
        self.accuracies: list[float] = []
        self.class_names = names if network.config.labels == len(names) > 1 else None
        self.dim, self.has_logits = network.config.fmaps(0), network.config.labels > 1
        self.identity = Identity(name, sha256, network.config.resolution, "box")

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        if x.shape[1] != self.network.config.channels:
            raise UserError(
                f"{self.identity.name}: takes images of {self.network.config.channels} channels, not {x.shape[1]}"
            )
        features, logits = self.network(x / 127.5 - 1.0)
        return features, logits


def open_classifier(path: Path, device: torch.device | str = "cpu", name: str | None = None) -> ClassifierNetwork:
    """Reads what `save_classifier` wrote; `name` None = the file's. UserError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["stylegan_classifier"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with torch.random.fork_rng(devices=[]):
            network = Classifier(DiscriminatorConfig.model_validate(header["config"]))
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: not a classifier of this project ({str(error).splitlines()[0][:120]})") from None
    made = ClassifierNetwork(network, list(header["names"]), sha256_of(path), device, name or path.name)
    made.accuracies = [float("nan") if value is None else value for value in header["accuracies"]]
    facts = header.get("facts") or {}
    made.facts = {"held_out_accuracy": facts["accuracy"]} if "accuracy" in facts else {}
    return made
