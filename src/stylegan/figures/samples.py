"""Uncurated samples (figures 2, 10-12), style mixing (figure 3) and the truncation sweep (figure 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stylegan import images
from stylegan.drawing import Look, contact_sheet, draw_seeds, mixing_sheet, truncation_sheet
from stylegan.drawing.sheets import tile_shape
from stylegan.errors import UserError
from stylegan.figures.page import Figure, Progress, opaque

if TYPE_CHECKING:
    from stylegan.networks import Generator

UNCURATED_LODS = (0, 1, 2, 2, 3, 3)  # figure 2: one block of columns each, at 1, 1/2, 1/4, 1/4, 1/8, 1/8 of the size
LARGE = 256  # images of this side or more are worth showing at several sizes


def images_per_row(lods: Sequence[int] = UNCURATED_LODS) -> int:
    """How many images one row of figure 2 holds: 2^l for each lod l."""
    return sum(2**lod for lod in lods)


def uncurated(
    G: Generator,
    seeds: Sequence[int],
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    sizes: bool | None = None,
    progress: Progress | None = None,
) -> Figure:
    """Figures 2 and 10-12: one image per seed, none left out.

    sizes: figure 2's layout, in which images get smaller to the right, so that large and many are both seen
    (27 images a row of large ones); False = a grid of equal tiles. None = figure 2's for images of 256 pixels
    and more, if the seeds fill a row. UserError where they do not and it was asked for.
    """
    look = (look or Look()).check(G)
    height, width, _ = tile_shape(G, look)
    each = images_per_row()
    if sizes is None:
        sizes = min(height, width) >= LARGE and len(seeds) >= each
    if not sizes:
        image = contact_sheet(G, seeds, look, classes, progress=progress)
        shown, text = list(seeds), f"{len(seeds)} images, one per seed."
    else:
        rows = len(seeds) // each
        if rows < 1:
            raise UserError(
                f"{len(seeds)} seeds: figure 2's layout takes {each} images a row; give more, as --seeds 0-{each - 1}, "
                f"or --layout grid"
            )
        shown = list(seeds[: rows * each])
        image = _decreasing(G, shown, rows, look, classes, progress)
        text = f"{len(shown)} images, one per seed, at full, half, quarter and eighth size."
    caption = f"{text} Nothing was picked or left out: the seeds are used in their order, down each column of one size."
    if not sizes:
        caption = f"{text} Nothing was picked or left out: the seeds are used in their order, row by row."
    title = "Uncurated samples (after figures 2 and 10-12 of the StyleGAN paper)"
    return Figure(opaque(image), title, caption, {"seeds": shown, "sizes": sizes})


def _decreasing(
    G: Generator,
    seeds: Sequence[int],
    rows: int,
    look: Look,
    classes: Sequence[int] | None,
    progress: Progress | None,
) -> np.ndarray:
    """Blocks of columns side by side; block of lod l: rows·2^l images down a column of 1/2^l of the size."""
    height, width, channels = tile_shape(G, look)
    small = [(-(-height // 2**lod), -(-width // 2**lod)) for lod in UNCURATED_LODS]
    page = np.full((rows * height, sum(w for _, w in small), channels), 255, np.uint8)
    places = [
        (round(i * height / 2**lod), x, lod)
        for lod, x in zip(UNCURATED_LODS, np.cumsum([0, *(w for _, w in small)]).tolist(), strict=False)
        for i in range(rows * 2**lod)
    ]
    for (y, x, lod), picture in zip(places, draw_seeds(G, seeds, look, classes, progress), strict=True):
        tile = images.reduce(images.to_uint8(picture), 2**lod)
        target = page[y : y + tile.shape[0], x : x + tile.shape[1]]
        target[:] = tile[: target.shape[0], : target.shape[1]]
    return page


def mixing(
    G: Generator,
    rows: Sequence[int],
    columns: Sequence[int],
    layers: Mapping[str, Sequence[int]] | None = None,
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Figure:
    """Figure 3: sources A down the side, B along the top; see `stylegan.drawing.mixing_sheet`, whose sheet it is."""
    image = mixing_sheet(G, rows, columns, layers, look, classes, progress)
    caption = (
        "Source A is on the left, source B on top. Every other image is its row's A with the styles of some layers "
        "taken from its column's B: coarse = 4x4 and 8x8, middle = 16x16 and 32x32, fine = 64x64 and up, as far as "
        "this network has them."
    )
    title = "Style mixing (after figure 3 of the StyleGAN paper)"
    settings = {"rows": list(rows), "columns": list(columns)}
    settings |= {"layers": "figure 3" if layers is None else {k: list(v) for k, v in layers.items()}}  # type: ignore[dict-item]
    return Figure(opaque(image), title, caption, settings)


def truncation(
    G: Generator,
    seeds: Sequence[int],
    psis: Sequence[float],
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Figure:
    """Figure 8: one row per seed, one column per psi; see `stylegan.drawing.truncation_sheet`, whose sheet it is."""
    image = truncation_sheet(G, seeds, psis, look, classes, progress)
    caption = (
        "Each row is one seed, w' = mean + psi (w - mean). psi = 1 is the plain image, 0 the image of the mean w, "
        "which is the same for all seeds, and negative psi gives the opposite of the image."
    )
    title = "Truncation trick (after figure 8 of the StyleGAN paper)"
    return Figure(opaque(image), title, caption, {"seeds": list(seeds), "psis": list(psis)})
