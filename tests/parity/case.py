"""Reading the recorded cases of the official program, and the one place that says how near is near enough.

`cases/` holds outputs and gradients computed by the unmodified official TensorFlow code in float32 on a CPU,
and `tolerance.json` how far each of those lies from a float64 run of the same code: [greatest error, greatest
absolute value]. This project's float32 result may lie five times as far from the recorded one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stylegan.networks import Discriminator, Generator
from stylegan.official import build
from tests.parity import recipe

CASES = Path(__file__).parent / "cases"
FACTOR = 5.0

# Floors, for where a recorded error is smaller than float32 can promise (a lucky sum, or a plain copy):
# one rounding step of the tensor's greatest value
ULP = 2.0**-23
# floor and ceiling of the limit for discriminator scores: sums of terms of about 1, so a single score may
# agree by luck (1.6e-8), and so alike that 1e-4 would not tell samples apart
SCORES = (5e-7, 5e-6)
# of a gradient's greatest value: sums over 8 images of 32x32, whose order depends on the number of threads:
# one gradient is 2.4 times its recorded error off with two threads, 5.05 times with one
GRADIENTS = 5e-6

FUNCTIONS = {
    "style32": ("training.networks_stylegan.G_style", "training.networks_stylegan.D_basic"),
    "progan32": ("training.networks_progan.G_paper", "training.networks_progan.D_paper"),
}
NETWORKS = list(FUNCTIONS)


def tensor(array: NDArray[Any]) -> torch.Tensor:
    """A float32 tensor that shares nothing with the recorded array."""
    return torch.tensor(np.array(array))


@cache
def meta(name: str) -> dict[str, Any]:
    """Keyword arguments, seeds, variables and losses of a network case."""
    found: dict[str, Any] = json.loads((CASES / "networks.json").read_text())[name]
    return found


@cache
def _tolerances() -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = json.loads((CASES / "tolerance.json").read_text())
    return found


@dataclass
class Recorded:
    """One file of recorded arrays, with the tolerance of each."""

    name: str
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with np.load(CASES / f"{self.name}.npz") as file:
            self.arrays = dict(file)

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self.arrays[key]

    def limit(self, key: str) -> float:
        """Greatest permitted difference for a key."""
        error, largest = _tolerances()[self.name].get(key, (0.0, 0.0))
        limit = FACTOR * max(error, ULP * largest)
        if "_grads_" in self.name:
            limit = max(limit, GRADIENTS * largest)
        return (
            min(max(limit, SCORES[0]), SCORES[1])
            if key.startswith("D_") and self.name.endswith("_io")
            else limit
        )

    def check(self, key: str, found: torch.Tensor | NDArray[Any]) -> None:
        """Asserts that a result has the recorded one's shape and lies near it."""
        actual = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
        wanted = self[key]
        assert actual.shape == wanted.shape, (
            f"{self.name} {key}: shape {actual.shape}, recorded {wanted.shape}"
        )
        error = float(np.abs(actual.astype(np.float64) - wanted).max(initial=0.0))
        limit = self.limit(key)
        RATIOS[f"{self.name}/{key}"] = error / limit if limit else error
        assert error <= limit, f"{self.name} {key}: error {error:.3g}, limit {limit:.3g}"


RATIOS: dict[str, float] = {}  # filled by `check`: error over limit, by case, for whoever wants the margins


@cache
def recorded(name: str) -> Recorded:
    """A file of `cases/`, read once."""
    return Recorded(name)


def variables(name: str, network: str, lod: float = 0.0) -> dict[str, NDArray[Any]]:
    """Official variables by name. network: "G", "D", or "Gs" (the averaged generator, other values)."""
    facts = meta(name)
    kind = network[0]
    return {
        variable: recipe.value(variable, shape, facts["seeds"][network], lod)
        for variable, shape in facts[f"{kind}_vars"]
    }


def generator(name: str, network: str = "G", lod: float = 0.0) -> Generator:
    """The recorded generator in this project's form."""
    built = build(FUNCTIONS[name][0], meta(name)["G_static_kwargs"], variables(name, network, lod))
    assert isinstance(built, Generator)
    return built


def discriminator(name: str, lod: float = 0.0) -> Discriminator:
    """The recorded discriminator in this project's form."""
    built = build(FUNCTIONS[name][1], meta(name)["D_static_kwargs"], variables(name, "D", lod))
    assert isinstance(built, Discriminator)
    return built
