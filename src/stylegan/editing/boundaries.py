"""Directions with labels: normals of linear boundaries in w (InterFaceGAN, Shen et al., 2005.09635).

Two values, as of a class or a yes/no score, give the normal of a linear SVM's hyperplane; scores of more values the
weights of a ridge regression. Both point to where the class or the score is.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stylegan import images
from stylegan.drawing import map_seeds
from stylegan.editing.directions import Direction, Directions
from stylegan.editing.factorise import check_layers, scale_along
from stylegan.editing.latent_files import fingerprint, load_latents
from stylegan.editing.starting import w_statistics
from stylegan.errors import UserError
from stylegan.metrics.linear_separability import linear_svm, svm_side

if TYPE_CHECKING:
    from stylegan.networks import Generator

FEWEST = 8  # rows of scores that a direction is fitted to
HELD_OUT = 5  # every fifth row measures the fit and is not fitted to
RIDGES = 10.0 ** np.arange(-3, 7)  # penalties tried, for standardised data
COSTS = (1.0, 0.1, 0.01, 0.001, 0.0001)  # of the SVM, for standardised data
GIVEN_UP = 0.03  # accuracy that a direction with more movement in it may cost


def from_labels(
    G: Generator,
    class_names: Sequence[str] | None = None,
    samples: int = 4000,
    seed: int = 0,
    layers: Sequence[int] | None = None,
) -> Directions:
    """One direction towards each class of a conditional generator, away from the others.

    UserError for a generator with fewer than two classes.
    """
    chosen, classes = check_layers(G, layers), G.config.labels
    if classes < 2:
        raise UserError("--method labels: this model has no classes; give --scores FILE.csv, or use sefa or ganspace")
    found = w_statistics(G, max(samples, 2 * HELD_OUT * classes), seed)
    assert found.classes is not None
    number = found.classes.numpy()
    known = list(class_names or ())
    names = [clean(known[c]) if c < len(known) else f"class-{c}" for c in range(classes)]
    if len(set(names)) < classes:
        names = [f"{name}-{c}" for c, name in enumerate(names)]
    items = [
        fitted(name, found.samples, (number == c).astype(float), chosen, found.samples) for c, name in enumerate(names)
    ]
    return Directions(items, "labels", fingerprint(G), {"samples": len(number), "seed": seed})


@dataclass(frozen=True)
class Scores:
    """What a CSV of scores says: w [n, D] of its rows, and the scores [n] of each column."""

    w: torch.Tensor
    columns: dict[str, np.ndarray]


def from_scores(
    G: Generator,
    scores: Scores,
    layers: Sequence[int] | None = None,
    seed: int = 0,
) -> Directions:
    """One direction per column of scores, towards larger ones. UserError: too few rows, or all of one score."""
    chosen = check_layers(G, layers)
    if len(scores.w) < FEWEST:
        raise UserError(f"--scores: {len(scores.w)} rows; a direction needs {FEWEST} or more, better hundreds")
    typical = w_statistics(G, seed=seed).samples
    items = [fitted(clean(name), scores.w, values, chosen, typical) for name, values in scores.columns.items()]
    return Directions(items, "scores", fingerprint(G), {"rows": len(scores.w)})


def fitted(
    name: str,
    w: torch.Tensor,
    values: np.ndarray,
    layers: tuple[int, ...],
    typical: torch.Tensor,
) -> Direction:
    """The direction in w [n, D] along which values [n] rise; `typical` w [m, D] give its scale."""
    if not np.isfinite(values).all():
        raise UserError(f"scores {name}: row {int(np.argmin(np.isfinite(values))) + 1} is no finite number")
    levels = np.unique(values)
    if len(levels) < 2:
        raise UserError(f"scores {name}: all are {values[0]:g}; a direction needs different ones")
    x = w.detach().cpu().double().numpy()
    x = (x - x.mean(0)) / max(float(np.sqrt(x.var(0).mean())), 1e-12)
    held = np.arange(len(x)) % HELD_OUT == HELD_OUT - 1
    if len(levels) == 2:
        yes = values == levels[1]
        cost, accuracy = choose_cost(x, yes, held)
        about: dict[str, Any] = {"fit": "linear SVM", "cost": cost}
        if accuracy is not None:
            about["held_out_accuracy"] = round(accuracy, 4)
        weights = linear_svm(x, yes, cost)[:-1]
    else:
        weights, penalty = ridge(x, values)
        trial, _ = ridge(x[~held], values[~held])
        offset = values[~held].mean() - (x[~held] @ trial).mean()
        residual = values[held] - x[held] @ trial - offset
        about = {"fit": "ridge regression", "penalty": penalty}
        if values[held].var() > 0:
            about["held_out_r2"] = round(float(1 - np.mean(residual**2) / values[held].var()), 4)
    vector = torch.from_numpy(weights / max(float(np.linalg.norm(weights)), 1e-300)).float().to(typical.device)
    return Direction(name, vector, scale_along(typical, vector), layers, about)


def choose_cost(x: np.ndarray, yes: np.ndarray, held: np.ndarray) -> tuple[float, float | None]:
    """(cost of the SVM, its accuracy on the held-out rows, both sides counting alike; None where one has no rows).

    A hard boundary's normal separates best along components in which w hardly varies, and moving along it changes
    little. The less an error costs, the more the normal turns to the difference of the means. So the smallest cost
    is taken whose accuracy is within 3 points of the best.
    """
    if len({(h, y) for h, y in zip(held.tolist(), yes.tolist(), strict=True)}) < 4:
        return COSTS[0], None
    found = []
    for cost in COSTS:
        side = svm_side(linear_svm(x[~held], yes[~held], cost), x[held])
        found.append(float(np.mean([np.mean(side[yes[held] == value] == value) for value in (True, False)])))
    best = max(found)
    return next((c, a) for c, a in zip(reversed(COSTS), reversed(found), strict=True) if a >= best - GIVEN_UP)


def ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Ridge regression of y [n] on x [n, d]: (weights [d], penalty), the penalty of least generalised cross-validation.

    Golub, Heath and Wahba, 1979: n·|residual|² / (n − trace of the hat matrix)², without fitting n times.
    """
    x, y = x - x.mean(0), y - y.mean()
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    along, n = left.T @ y, len(y)
    outside = max(float(y @ y - along @ along), 0.0)  # the part of y that no weights can explain
    best, weights, chosen = math.inf, np.zeros(x.shape[1]), 0.0
    for penalty in RIDGES:
        shrink = singular**2 / (singular**2 + penalty)
        freedom = n - 1 - shrink.sum()
        score = (outside + float((((1 - shrink) * along) ** 2).sum())) / max(freedom, 1e-9) ** 2
        if freedom > 1e-6 and score < best:
            best, chosen = score, float(penalty)
            weights = right.T @ (singular / (singular**2 + penalty) * along)
    return weights, chosen


def clean(name: str) -> str:
    """A name that can stand in FILE:NAME=STRENGTH."""
    return re.sub(r"[^\w.+-]+", "-", name.strip()).strip("-") or "unnamed"


def read_scores(path: str | Path, G: Generator, any_model: bool = False) -> Scores:
    """A CSV with a column `seed` or `file`, for conditional models `class` if it is not the seed's turn, and scores.

    `file` names a w file, or a PNG that `stylegan generate` drew from a seed, relative to the CSV. Every other
    column is a score. UserError names the row of whatever is missing or no number.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a CSV ({getattr(error, 'strerror', None) or 'not text'})") from None
    try:
        rows = list(csv.DictReader(io.StringIO(text), restkey="(too many)", restval=""))
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as a CSV ({error})") from None
    header = [str(name) for name in rows[0]] if rows else []
    source = next((name for name in ("seed", "file") if name in header), None)
    names = [name for name in header if name not in ("seed", "file", "class")]
    if source is None or not names:
        raise UserError(f"{path}: needs a header with a column seed or file, and one or more columns of scores")
    if any("(too many)" in row for row in rows):
        raise UserError(f"{path}: a row has more values than the header has names")
    columns: dict[str, np.ndarray] = {name: np.empty(len(rows)) for name in names}
    w = []
    for i, row in enumerate(rows):
        where = f"{path}, line {i + 2}"
        for name in names:
            columns[name][i] = _number(row[name], f"{where}, {name}")
        class_ = int(_number(row["class"], f"{where}, class", whole=True)) if row.get("class") else None
        w.append(_w_of(G, row[source], class_, source, path.parent, where, any_model))
    return Scores(torch.stack(w), columns)


def _number(text: str, where: str, whole: bool = False) -> float:
    try:
        value = float(int(text)) if whole else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {text!r} is no {'whole' if whole else 'finite'} number; correct or remove the row")
    return value


def _w_of(
    G: Generator, text: str, class_: int | None, source: str, folder: Path, where: str, any_model: bool
) -> torch.Tensor:
    """w [D] of one row."""
    seed = text
    if source == "file":
        if text.lower().endswith(".safetensors"):
            return load_latents(folder / text, G, any_model).ws.mean(dim=(0, 1))
        settings = images.read_parameters(folder / text)
        if "seed" not in settings or settings.get("command") != "stylegan generate":
            raise UserError(f"{where}: {text} was not drawn from one seed; project it and give its w file")
        seed, class_ = str(settings["seed"]), settings.get("class", class_)
    number = int(_number(seed, f"{where}, seed", whole=True))
    return map_seeds(G, [number], None if class_ is None else [int(class_)])[0, 0].clone()
