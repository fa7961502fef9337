"""Classes of a conditional model, by number or by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch

from stylegan.errors import UserError


def parse_classes(
    text: str | None,
    num_classes: int,
    names: Sequence[str] | None = None,
) -> tuple[int, ...] | None:
    """What `--class` says -> the classes to cycle through; None for an unconditional model.

    None = all classes. "3", "cat" and "3,5,cat" name some of them; a class called "3" goes before number 3.
    UserError for a class on an unconditional model, and for one that does not exist.
    """
    if num_classes == 0:
        if text is not None:
            raise UserError(f"--class {text}: this model was trained without classes; leave --class out")
        return None
    if text is None:
        return tuple(range(num_classes))
    names = list(names or ())[:num_classes]
    whole = text.strip()
    parts = [whole] if whole in names else [part.strip() for part in text.split(",")]
    return tuple(_class_number(part, num_classes, names) for part in parts)


def _class_number(text: str, num_classes: int, names: list[str]) -> int:
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < num_classes:
        return int(text)
    known = f"classes 0-{num_classes - 1}"
    if names:
        near = difflib.get_close_matches(text, names, n=3) or names[:8]
        known += f", named for example {', '.join(near)}"
    raise UserError(f"--class {text}: no such class; this model has {known}")


def class_of_seed(seed: int, classes: Sequence[int]) -> int:
    """The class of a seed: the classes in turn, by the seed alone, so that a seed names an image."""
    return classes[seed % len(classes)]


def one_hot(classes: Sequence[int], num_classes: int) -> torch.Tensor:
    """[N, num_classes] float32."""
    return torch.nn.functional.one_hot(torch.tensor(list(classes), dtype=torch.long), num_classes).float()


def seed_labels(seeds: Sequence[int], num_classes: int, classes: Sequence[int] | None) -> torch.Tensor | None:
    """The label of each seed, [N, num_classes]; None for an unconditional generator. classes None = all."""
    if num_classes == 0:
        if classes:
            raise UserError(f"classes {list(classes)}: this generator has no classes; leave them out")
        return None
    chosen = list(classes) if classes else list(range(num_classes))
    wrong = [c for c in chosen if not 0 <= c < num_classes]
    if wrong:
        raise UserError(f"class {wrong[0]}: no such class; this generator has classes 0-{num_classes - 1}")
    return one_hot([class_of_seed(int(seed), chosen) for seed in seeds], num_classes)
