"""The paper's sheets for any generator: uncurated samples (figure 2), mixing (3), truncation sweep (8)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from stylegan import images, latents
from stylegan.drawing.labels import class_of_seed
from stylegan.drawing.layout import Sheet
from stylegan.drawing.render import (
    Look,
    Progress,
    check_styles,
    check_truncatable,
    draw_seeds,
    map_seeds,
    stream,
)
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.networks import Generator


def tile_shape(G: Generator, look: Look) -> tuple[int, int, int]:
    """(height, width, channels) of what is drawn. UserError where no image file holds that many channels."""
    height, width = G.synthesis.noise_sizes(look.lod_of(G))[-1]
    channels = G.config.channels if look.channels is None else len(look.channels)
    images.check_channels(channels)
    return height, width, channels


def contact_shape(G: Generator, count: int, classes: Sequence[int] | None = None) -> tuple[int, int]:
    """(columns, rows) that suit `count` images: about square; one column per class for up to 16 classes."""
    cycle = len(classes) if classes else G.config.labels
    if 2 <= cycle <= 16 and count > cycle:
        columns = cycle
    else:
        columns = images.square_columns(count, *G.config.resolution)
    return columns, math.ceil(count / columns)


def contact_sheet(
    G: Generator,
    seeds: Sequence[int],
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    shape: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Figure 2, uncurated: one image per seed -> uint8 [H, W, C]. `shape` is (columns, rows), None = it fits.

    A conditional generator goes through `classes` (None = all) by seed.
    """
    look = look or Look()
    _check_seeds(seeds)
    columns, rows = shape or contact_shape(G, len(seeds), classes)
    sheet = Sheet(rows, columns, tile_shape(G, look))
    for i, image in enumerate(draw_seeds(G, seeds[: rows * columns], look, classes, progress)):
        sheet.place(i // columns, i % columns, images.to_uint8(image))
    return sheet.image()


def figure_3_bands(rows: int, active: int) -> list[tuple[str, tuple[int, ...], int]]:
    """How figure 3 shares out its rows: (range, its layers, number of rows); 3 : 2 : 1 as in the paper.

    Ranges that a small network lacks get no rows; every range it has gets at least one.
    """
    ranges = latents.layer_ranges(active)
    shares = np.array([3, 2, 1][: len(ranges)])
    counts = np.maximum(1, np.floor(rows * shares / shares.sum()).astype(int))
    for i in range(max(0, rows - int(counts.sum()))):
        counts[i % len(counts)] += 1
    return [(name, layers, int(n)) for (name, layers), n in zip(ranges.items(), counts, strict=True)]


def mixing_sheet(
    G: Generator,
    rows: Sequence[int],
    columns: Sequence[int],
    layers: Mapping[str, Sequence[int]] | None = None,
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Figure 3: sources A down the side, sources B along the top; a cell is A with some styles from B.

    `layers` maps a title to the layers taken from B, drawn for every row; None = the paper's layout, in which
    the rows are shared out to coarse, middle and fine (the rows are repeated if there are fewer). Noise, if
    random, is that of the first row's seed throughout. Untruncated by default, as the official figure is.
    UserError for a generator without styles.
    """
    look = (look or Look()).check(G)
    check_styles(G)
    _check_seeds(rows)
    _check_seeds(columns)
    bands: list[tuple[str, tuple[int, ...], list[int]]] = []  # title, layers, row numbers
    if layers is None:
        first = 0
        for name, chosen, count in figure_3_bands(len(rows), look.layers_of(G)):
            numbers = [i % len(rows) for i in range(first, first + count)]
            bands.append((f"{name.capitalize()} from B", chosen, numbers))
            first += count
    else:
        bands = [(title, tuple(chosen), list(range(len(rows)))) for title, chosen in layers.items()]
    ws_a, ws_b = map_seeds(G, rows, classes, look), map_seeds(G, columns, classes, look)
    order = [i for _, _, numbers in bands for i in numbers]
    sheet = Sheet(
        len(order) + 1,
        len(columns) + 1,
        tile_shape(G, look),
        row_labels=["", *(f"A: seed {rows[i]}" for i in order)],
        column_labels=["", *(f"B: seed {seed}" for seed in columns)],
        bands=[(title, len(numbers)) for title, _, numbers in bands],
        lead=True,
    )
    cells = [(0, j + 1) for j in range(len(columns))]
    mixed = [ws_b]  # the top row: the sources B themselves
    row = 1
    for _, chosen, numbers in bands:
        for i in numbers:
            mixed += [ws_a[i : i + 1], latents.style_mix(ws_a[i : i + 1], ws_b, chosen)]
            cells += [(row, j) for j in range(len(columns) + 1)]
            row += 1
    noise_seeds = [rows[0]] * len(cells)
    for cell, image in zip(cells, stream(G, torch.cat(mixed), look, noise_seeds, progress), strict=True):
        sheet.place(*cell, images.to_uint8(image))
    return sheet.image()


def truncation_sheet(
    G: Generator,
    seeds: Sequence[int],
    psis: Sequence[float],
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Figure 8: one row per seed, one column per psi; the psi of `look` is not used.

    All layers are truncated unless the look has a cutoff, as in the official figure. Noise, if random, is the
    seed's own along its row. UserError for a generator without an average w.
    """
    look = (look or Look()).check(G)
    check_truncatable(G)
    _check_seeds(seeds)
    if not psis:
        raise UserError("a truncation sweep needs at least one psi, such as --psis 1,0.7,0.5,0,-0.5,-1")
    cutoff = G.config.num_layers if look.cutoff is None else look.cutoff
    cells = [(i, j) for i in range(len(seeds)) for j in range(len(psis))]
    columns = [map_seeds(G, seeds, classes, replace(look, psi=psi, cutoff=cutoff)) for psi in psis]
    swept = torch.stack(columns, dim=1).flatten(0, 1)  # N·P L D
    sheet = Sheet(
        len(seeds),
        len(psis),
        tile_shape(G, look),
        row_labels=[_row_label(G, seed, classes) for seed in seeds],
        column_labels=[f"psi = {psi:g}" for psi in psis],
    )
    noise_seeds = [seeds[i] for i, _ in cells]
    for cell, image in zip(cells, stream(G, swept, look, noise_seeds, progress), strict=True):
        sheet.place(*cell, images.to_uint8(image))
    return sheet.image()


def _row_label(G: Generator, seed: int, classes: Sequence[int] | None) -> str:
    if not G.config.labels:
        return f"seed {seed}"
    return f"seed {seed}, class {class_of_seed(seed, classes or range(G.config.labels))}"


def _check_seeds(seeds: Sequence[int]) -> None:
    if not len(seeds):
        raise UserError("nothing to draw: give at least one seed")
