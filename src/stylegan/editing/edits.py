"""Edits: directions added to latents, each with a strength and, where asked, layers of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stylegan.editing.directions import Direction, Directions, load_directions
from stylegan.errors import UserError
from stylegan.latents import parse_layers

if TYPE_CHECKING:
    from stylegan.networks import Generator


@dataclass(frozen=True)
class Edit:
    """One direction at one strength, in standard deviations of w; layers None = the direction's own."""

    direction: Direction
    strength: float
    layers: tuple[int, ...] | None = None


def apply_edits(ws: torch.Tensor, edits: Sequence[Edit]) -> torch.Tensor:
    """ws [N, L, D] + strength·scale·vector on the layers of each edit: a new tensor. Order does not matter.

    UserError for a layer that ws does not have and a strength that is no finite number.
    """
    moved = ws.clone()
    for edit in edits:
        layers = list(edit.direction.layers if edit.layers is None else edit.layers)
        if any(not 0 <= layer < ws.shape[1] for layer in layers):
            raise UserError(f"direction {edit.direction.name}: layers {layers}; this network has 0-{ws.shape[1] - 1}")
        if not math.isfinite(edit.strength):
            raise UserError(f"direction {edit.direction.name}: strength {edit.strength} is no number")
        moved[:, layers] += (edit.strength * edit.direction.scale * edit.direction.vector).to(moved)
    return moved


def parse_edit(
    text: str,
    G: Generator,
    any_model: bool = False,
    opened: dict[str, Directions] | None = None,
    folder: Path | None = None,
) -> Edit:
    """An edit as written on the command line: "FILE:NAME=STRENGTH" or "FILE:NAME=STRENGTH@LAYERS".

    LAYERS: coarse, middle, fine or numbers (4-7,9). `opened` keeps files for further calls; a FILE is looked for
    relative to `folder`. UserError for anything else.
    """
    where, equals, amount = text.rpartition("=")
    amount, at, layers = amount.partition("@")
    try:
        strength = float(amount)
    except ValueError:
        strength = math.nan
    if not equals or not math.isfinite(strength):
        raise UserError(f"--direction {text}: write FILE:NAME=STRENGTH or FILE:NAME=STRENGTH@LAYERS")
    direction = parse_direction(where, G, any_model, opened, folder)
    return Edit(direction, strength, parse_layers(layers, G.config.num_layers) if at else None)


def parse_direction(
    text: str,
    G: Generator,
    any_model: bool = False,
    opened: dict[str, Directions] | None = None,
    folder: Path | None = None,
) -> Direction:
    """The direction that "FILE:NAME" names; NAME may be its number, from 0."""
    file, colon, name = text.rpartition(":")
    if not colon or not file or not name:
        raise UserError(f"direction {text}: write FILE:NAME, such as directions.safetensors:sefa-0")
    opened = {} if opened is None else opened
    if file not in opened:
        opened[file] = load_directions((folder or Path()) / file, G, any_model)
    try:
        return opened[file][name]
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
