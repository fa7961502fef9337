"""Directions in w, and the small files they live in.

A direction is a unit vector of w space with a scale, the standard deviation of w along it, so that a strength of 1
means the same for all of them; and the layers it acts on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stylegan import images
from stylegan.drawing import Look, Sheet, stream
from stylegan.drawing.render import Progress, check_styles
from stylegan.drawing.sheets import tile_shape
from stylegan.editing.latent_files import FORMAT, Latents, check_model, draw_with_noise, fingerprint, pack, unpack
from stylegan.errors import UserError
from stylegan.snapshot import write_atomically

if TYPE_CHECKING:
    from stylegan.networks import Generator

KEY = "stylegan-directions"
KIND = "a file of directions, as `stylegan directions` writes it"


@dataclass(frozen=True)
class Direction:
    """vector: [D], of length 1. scale: of w along it. layers: those it acts on by default. about: how it was found."""

    name: str
    vector: torch.Tensor
    scale: float
    layers: tuple[int, ...]
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Directions:
    """Directions of one model, by name or number; `fingerprint` is its w space's."""

    items: list[Direction]
    method: str
    fingerprint: str
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Direction]:
        return iter(self.items)

    def __getitem__(self, key: str | int) -> Direction:
        """By name, or by number from 0 (also as text, where no name is that). UserError where there is none."""
        for item in self.items:
            if item.name == key:
                return item
        if str(key).isdecimal() and int(key) < len(self.items):
            return self.items[int(key)]
        names = [item.name for item in self.items]
        near = difflib.get_close_matches(str(key), names, n=3) or names[:8]
        raise UserError(
            f"direction {key!r}: there is none of this name among {len(names)}; the nearest: {', '.join(near)}"
        )


def unit(vector: torch.Tensor) -> torch.Tensor:
    """A vector at length 1 with its largest component positive, so that a method always gives the same sign."""
    vector = vector.float()
    vector = vector / vector.norm().clamp_min(1e-12)
    return vector * torch.sign(vector[vector.abs().argmax()])


def save_directions(path: str | Path, directions: Directions) -> Path:
    """Writes the file atomically; the same directions give the same bytes. UserError for names that collide."""
    names = [d.name for d in directions]
    if len(set(names)) != len(names):
        raise UserError(f"directions {', '.join(names)}: names must differ")
    tensors = {
        "vectors": torch.stack([d.vector.detach().cpu().float() for d in directions]),  # K D
        "scales": torch.tensor([d.scale for d in directions]),
    }
    header = {
        "format": FORMAT,
        "model": directions.fingerprint,
        "method": directions.method,
        "about": directions.about,
        "directions": [{"name": d.name, "layers": list(d.layers), "about": d.about} for d in directions],
    }
    write_atomically(Path(path), pack(tensors, KEY, header))
    return Path(path)


def load_directions(source: str | Path | bytes, G: Generator, any_model: bool = False) -> Directions:
    """Opens a file of directions (its path, or its bytes) for G, on G's device.

    UserError: not such a file, damaged, of another width of w, layers that G lacks, or made for another model
    (unless any_model).
    """
    check_styles(G)
    name, header, tensors = unpack(source, KEY, KIND)
    try:
        vectors, scales = tensors["vectors"].float(), tensors["scales"].float()
        entries = [
            (str(e["name"]), tuple(int(i) for i in e["layers"]), dict(e.get("about") or {}))
            for e in header["directions"]
        ]
        if vectors.ndim != 2 or len(vectors) != len(entries) or scales.shape != (len(entries),) or not entries:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{name}: not {KIND}") from None
    layers = G.config.num_layers
    if vectors.shape[1] != G.config.w_dim:
        width = vectors.shape[1]
        raise UserError(f"{name}: made for another model: of {width} components, w has {G.config.w_dim} here")
    check_model(name, header, G, any_model)
    if any(not 0 <= i < layers for _, chosen, _ in entries for i in chosen):
        raise UserError(f"{name}: made for another model: this one has layers 0-{layers - 1} only")
    items = [
        Direction(text, vector.to(G.w_avg.device), float(scale), chosen, about)
        for (text, chosen, about), vector, scale in zip(entries, vectors, scales, strict=True)
    ]
    about = header.get("about")
    return Directions(items, str(header.get("method", "")), fingerprint(G), about if isinstance(about, dict) else {})


def directions_sheet(
    G: Generator,
    directions: Sequence[Direction] | Directions,
    latents: Latents,
    strengths: Sequence[float] = (-3.0, -1.5, 0.0, 1.5, 3.0),
    look: Look | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """One row per direction, one column per strength, all from one image's latents: uint8 [H, W, C]."""
    from stylegan.editing.edits import Edit, apply_edits

    look = (look or Look(noise="stored")).check(G)
    rows = list(directions)
    if not rows or not len(strengths):
        raise UserError("a sheet needs at least one direction and one strength")
    sheet = Sheet(
        len(rows),
        len(strengths),
        tile_shape(G, look),
        row_labels=[direction.name for direction in rows],
        column_labels=[f"{strength:+g}" if strength else "0" for strength in strengths],
    )
    with torch.no_grad():
        ws = torch.cat([apply_edits(latents.ws, [Edit(row, float(s))]) for row in rows for s in strengths])
    cells = [(i, j) for i in range(len(rows)) for j in range(len(strengths))]
    if latents.noise is not None and G.config.noise:
        own = latents.noise
        drawn = (draw_with_noise(G, ws[i : i + 1], own, look)[0] for i in range(len(ws)))
    else:
        drawn = (image for image in stream(G, ws, look, [int(latents.about.get("seed", 0))] * len(ws)))
    for done, (cell, image) in enumerate(zip(cells, drawn, strict=True), 1):
        sheet.place(*cell, images.to_uint8(image))
        if progress is not None:
            progress(done, len(cells))
    return sheet.image()
