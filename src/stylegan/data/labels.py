"""Classes of images: from the top-level sub-folders, or from a `dataset.json` as is the field's habit.

    {"labels": [["folder/image.png", 3], ...], "classes": ["apple", ...]}     or     {"labels": null}

A label is a class number or a one-hot vector; `classes` (optional) names the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stylegan.errors import UserError

MAX_CLASSES = 100_000  # a larger class number is taken for a mistake


def common_folder(names: Sequence[str]) -> str:
    """The one top-level folder that holds all names, or "" (archives often wrap everything in one)."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    return tops.pop() if len(tops) == 1 else ""


def by_folder(names: Sequence[str], where: str) -> tuple[list[int], list[str]]:
    """Class numbers and names from the top-level sub-folders, numbered in sorted order.

    UserError: images outside of sub-folders, fewer than two sub-folders.
    """
    wrapper = common_folder(names)
    shown = [name[len(wrapper) + 1 :] for name in names] if wrapper else list(names)
    outside = [name for name in shown if "/" not in name]
    if outside and len(outside) < len(shown):
        raise UserError(
            f"{where}: {len(outside)} images lie outside of any class folder (first: {outside[0]}); with "
            f"classes every image must lie in a sub-folder named after its class"
        )
    folders = sorted({name.partition("/")[0] for name in shown if "/" in name})
    if len(folders) < 2:
        raise UserError(
            f"{where}: classes were asked for, but there are no two sub-folders to name them; put each class "
            f"into its own sub-folder, or leave --classes out"
        )
    numbers = {name: number for number, name in enumerate(folders)}
    return [numbers[name.partition("/")[0]] for name in shown], folders


def by_table(names: Sequence[str], table: Any, where: str) -> tuple[list[int], int, list[str] | None]:
    """Class numbers, their count and their names from a parsed dataset.json; ([], 0, None) for no labels.

    UserError: not this format, unknown or unlabelled files, labels that are no class.
    """
    if not isinstance(table, dict) or "labels" not in table:
        raise UserError(f'{where}: expected {{"labels": [["path", class], ...]}} or {{"labels": null}}')
    rows = table["labels"]
    if rows is None:
        return [], 0, None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{where}: labels must be a list of [path, class] pairs, or null")
    base = table.get("base", "")
    labels: dict[str, int] = {}
    widths = set()
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str):
            raise UserError(f"{where}: {str(row)[:80]} is not a [path, class] pair")
        name = row[0].replace("\\", "/").removeprefix("./")
        name = f"{base}/{name}" if base else name
        number, width = class_of(row[1], name, where)
        if labels.setdefault(name, number) != number:
            raise UserError(f"{where}: {name} has two labels, {labels[name]} and {number}; keep one")
        widths.add(width)
    known = set(names)
    missing = [name for name in labels if name not in known]
    if missing:
        raise UserError(
            f"{where}: {len(missing)} labelled files are not there (first: {missing[0]}); correct the paths, "
            f"which are relative to dataset.json"
        )
    unlabelled = [name for name in names if name not in labels]
    if unlabelled:
        raise UserError(
            f"{where}: {len(unlabelled)} images have no label (first: {unlabelled[0]}); label every image, "
            f'or write "labels": null'
        )
    if len(widths) > 1:
        raise UserError(f"{where}: labels are one-hot vectors of different lengths {sorted(widths)}")
    count = widths.pop() or max(labels.values()) + 1
    class_names = table.get("classes", table.get("class_names"))
    if class_names is not None:
        if not isinstance(class_names, list) or not all(isinstance(name, str) for name in class_names):
            raise UserError(f"{where}: classes must be a list of names")
        if len(class_names) < count:
            raise UserError(f"{where}: {len(class_names)} class names, but the labels go up to {count - 1}")
        count = len(class_names)
    return [labels[name] for name in names], count, class_names


def class_of(label: Any, name: str, where: str) -> tuple[int, int]:
    """(class number, 0) of an integer, (position of the 1, length) of a one-hot vector. UserError: neither."""
    if isinstance(label, list) and label and all(isinstance(x, int | float) for x in label):
        if sorted(label)[-1] == 1 and sum(x != 0 for x in label) == 1:
            return label.index(1), len(label)
    elif type(label) in (int, float) and 0 <= label < MAX_CLASSES and label == int(label):
        return int(label), 0
    raise UserError(
        f"{where}: label {str(label)[:60]} of {name} must be a class number (0, 1, 2, ...) or a one-hot vector"
    )
