"""What the doctor looks at: a folder, a zip or a prepared set, as items, with its labels checked leniently."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data.dataset import Dataset
from stylegan.data.labels import by_folder, class_of, common_folder
from stylegan.data.shards import sidecar_path
from stylegan.data.sources import RawTable, Source, is_prepared, list_source
from stylegan.errors import UserError

TINY_CLASS = 50  # images under which a class is called tiny
SHOWN = 5


@dataclass(frozen=True)
class PreparedItem:
    """An image of a prepared set, at its full size."""

    name: str
    path: str
    index: int
    digest: str  # of its pixels [C, H, W], as recorded when it was prepared

    def load(self) -> np.ndarray:
        pixels: np.ndarray = _opened(self.path).read([self.index])[0]
        return pixels.transpose(1, 2, 0)  # H W C


@lru_cache(maxsize=2)
def _opened(path: str) -> Dataset:
    return Dataset.open(path)


@dataclass
class Labels:
    """The classes of the images and what is wrong with them."""

    origin: str = ""  # dataset.json, sub-folders, prepared; "" = no labels
    numbers: list[int] = field(default_factory=list)  # class of each image, -1 = none; empty without labels
    names: list[str] = field(default_factory=list)  # of the classes
    counts: list[int] = field(default_factory=list)  # images per class
    problems: list[str] = field(default_factory=list)  # sentences
    hints: list[str] = field(default_factory=list)  # sentences that are no problems
    missing: list[str] = field(default_factory=list)  # labelled, but not there
    extra: list[str] = field(default_factory=list)  # there, but not labelled

    def name_of(self, index: int) -> str:
        """The class of an image, for people."""
        number = self.numbers[index] if self.numbers else -1
        return self.names[number] if 0 <= number < len(self.names) else ""


@dataclass
class Subject:
    """Everything that is known without reading an image."""

    path: Path
    kind: str  # folder, zip, prepared
    items: list[Any]
    labels: Labels
    ignored: dict[str, int] = field(default_factory=dict)  # extension -> files that are no images
    skipped: list[tuple[str, str]] = field(default_factory=list)  # of a prepared set: left out then, and why
    twice: list[str] = field(default_factory=list)  # names that occur more than once in a zip
    size: tuple[int, int] | None = None  # (height, width) of a prepared set
    channels: int = 0  # of a prepared set


def open_subject(path: str | Path, classes: bool = False, exclude: Path | None = None) -> Subject:
    """Lists the images of a folder, zip or prepared set. UserError: no such path, no images, damaged set."""
    path = Path(path).expanduser()
    if path.is_dir() and is_prepared(path):
        return _prepared(path)
    source, raw = list_source(path, exclude)
    names = [item.name for item in source.items]
    twice = [name for name, count in Counter(names).items() if count > 1]
    labels = _check(source, raw, names, classes, str(path))
    return Subject(path, "folder" if path.is_dir() else "zip", source.items, labels, source.ignored, twice=twice)


def _prepared(path: Path) -> Subject:
    dataset = _opened(str(path.resolve()))
    assert dataset.path is not None
    items: list[Any] = []
    for number in range(len(dataset.meta["shards"])):
        try:
            record = json.loads(sidecar_path(dataset.path, number).read_text(encoding="utf-8"))
            rows = list(zip(record["names"], record["digests"], strict=True))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{sidecar_path(path, number)}: damaged ({error}); prepare the data set again") from error
        items += [
            PreparedItem(name, str(dataset.path), len(items) + i, digest) for i, (name, digest) in enumerate(rows)
        ]
    labels = Labels()
    if dataset.num_classes:
        names = dataset.class_names or [str(number) for number in range(dataset.num_classes)]
        labels = Labels("prepared", [int(number) for number in dataset.classes], list(names))
        _balance(labels)
    skipped = [(row["name"], row["reason"]) for row in dataset.meta.get("skipped", [])]
    return Subject(
        path, "prepared", items, labels, dataset.meta.get("ignored", {}), skipped, size=dataset.size,
        channels=dataset.channels,
    )  # fmt: skip


def _check(source: Source, raw: RawTable | None, names: list[str], classes: bool, where: str) -> Labels:
    """The labels as `prepare` would read them, or why it would not."""
    labels = Labels()
    if classes:
        labels.origin = "sub-folders"
        try:
            labels.numbers, labels.names = by_folder(names, where)
        except UserError as error:
            labels.problems.append(str(error))
    elif raw is not None:
        labels.origin = "dataset.json"
        try:
            _read_table(raw.parsed(), names, labels)
        except UserError as error:
            labels.problems.append(str(error))
    else:
        _hint(names, labels)
        return labels
    _balance(labels)
    return labels


def _read_table(table: Any, names: list[str], labels: Labels) -> None:
    """Fills in `labels` from a dataset.json, row by row, whatever is wrong with some of them."""
    if not isinstance(table, dict) or not isinstance(table.get("labels", 0), list | None):
        labels.problems.append('dataset.json: expected {"labels": [["path", class], ...]} or {"labels": null}')
        return
    if not table["labels"]:
        labels.origin = ""
        return
    base = table.get("base", "")
    found: dict[str, int] = {}
    wrong: list[str] = []
    contradicted: list[str] = []
    widths: set[int] = set()
    for row in table["labels"]:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str):
            wrong.append(str(row)[:80])
            continue
        name = row[0].replace("\\", "/").removeprefix("./")
        name = f"{base}/{name}" if base else name
        try:
            number, width = class_of(row[1], name, "dataset.json")
        except UserError:
            wrong.append(str(row)[:80])
            continue
        if found.setdefault(name, number) != number:
            contradicted.append(name)
        widths.add(width)
    known = set(names)
    labels.missing = [name for name in found if name not in known]
    labels.numbers = [found.get(name, -1) for name in names]
    labels.extra = [name for name, number in zip(names, labels.numbers, strict=True) if number < 0]
    for rows, text in (
        (wrong, "rows are no [path, class] pair"),
        (contradicted, "files have two different labels"),
        (labels.missing, "labelled files are not there"),
        (labels.extra, "images have no label"),
    ):
        if rows:
            more = ", ..." if len(rows) > SHOWN else ""
            labels.problems.append(f"dataset.json: {len(rows):,} {text}: {', '.join(rows[:SHOWN])}{more}")
    if len(widths) > 1:
        labels.problems.append(f"dataset.json: one-hot labels of different lengths {sorted(widths)}")
    count = max(max(widths, default=0), max(labels.numbers, default=-1) + 1)
    given = table.get("classes", table.get("class_names"))
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        if len(given) < count:
            labels.problems.append(f"dataset.json: {len(given)} class names, but the labels go up to {count - 1}")
    elif given is not None:
        labels.problems.append("dataset.json: classes must be a list of names")
        given = None
    given = given or []
    labels.names = [given[i] if i < len(given) else str(i) for i in range(max(count, len(given)))]


def _balance(labels: Labels) -> None:
    """Counts the classes and says which are empty or tiny."""
    if not labels.names:
        return
    numbers = np.array([number for number in labels.numbers if number >= 0], np.int64)
    labels.counts = np.bincount(numbers, minlength=len(labels.names)).tolist()
    empty = [name for name, count in zip(labels.names, labels.counts, strict=True) if not count]
    tiny = [f"{n} ({c})" for n, c in zip(labels.names, labels.counts, strict=True) if 0 < c < TINY_CLASS]
    for rows, text in (
        (empty, "classes have no image"),
        (tiny, f"classes have fewer than {TINY_CLASS} images and will be learned badly"),
    ):
        if rows:
            more = ", ..." if len(rows) > SHOWN else ""
            labels.problems.append(f"{len(rows):,} {text}: {', '.join(rows[:SHOWN])}{more}")
    filled = [count for count in labels.counts if count]
    if len(filled) > 1 and max(filled) > 10 * min(filled):
        labels.hints.append(
            f"the largest class has {max(filled) / min(filled):,.0f} times the images of the smallest; "
            f"the model will draw rare classes less well"
        )
    if len(filled) < 2:
        labels.problems.append("all images have the same label; training with labels would learn nothing from it")


def _hint(names: list[str], labels: Labels) -> None:
    """Sub-folders that look like classes."""
    wrapper = common_folder(names)
    shown = [name[len(wrapper) + 1 :] for name in names] if wrapper else names
    folders = Counter(name.partition("/")[0] if "/" in name else "" for name in shown)
    if "" not in folders and 2 <= len(folders) <= 1000 and min(folders.values()) >= 2:
        labels.hints.append(
            f"there are no labels, but {len(folders)} sub-folders; if they are classes, give --classes here and to "
            f"`stylegan prepare`"
        )
