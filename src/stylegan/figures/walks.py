"""Figures of our own about W: interpolation sheets, and what each layer's style does (the swap atlas)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from stylegan import images, latents
from stylegan.drawing import Look, Sheet, interpolation_path, map_seeds, stream
from stylegan.drawing.paths import Space
from stylegan.drawing.render import check_styles
from stylegan.drawing.sheets import tile_shape
from stylegan.errors import UserError
from stylegan.figures.page import Counter, Figure, Progress, opaque

if TYPE_CHECKING:
    from stylegan.networks import Generator


def interpolation(
    G: Generator,
    seeds: Sequence[int],
    steps: int = 9,
    corners: bool = False,
    space: Space | None = None,
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Figure:
    """Steps between seeds: a row per pair of seeds, or (corners) one square between four.

    Straight lines in W, as section 4.1 measures path lengths; space "z" goes along great circles of Z (rows
    only), as do networks without a mapping network. A row has the noise of its first seed throughout. UserError
    for an odd number of seeds, for corners with other than four, and for fewer than 2 steps.
    """
    look = (look or Look()).check(G)
    space = space or ("w" if G.config.mapping_layers else "z")
    if steps < 2:
        raise UserError(f"--steps {steps}: must be 2 or more, both ends included")
    if corners:
        return _square(G, seeds, steps, space, look, classes, progress)
    if len(seeds) < 2 or len(seeds) % 2:
        raise UserError(f"{len(seeds)} seeds: rows go between pairs; give an even number, such as --seeds 0-7")
    pairs = [(seeds[i], seeds[i + 1]) for i in range(0, len(seeds), 2)]
    sheet = Sheet(
        len(pairs),
        steps,
        tile_shape(G, look),
        row_labels=[f"seed {a} to {b}" for a, b in pairs],
        column_labels=[f"t = {i / (steps - 1):.3g}" for i in range(steps)],
    )
    counter = Counter(progress, len(pairs) * steps)
    for row, pair in enumerate(pairs):
        ws = interpolation_path(G, pair, steps, space, loop=False, classes=classes, look=look)
        for column, picture in enumerate(stream(G, ws, look, [pair[0]] * steps, counter.next(steps))):
            sheet.place(row, column, images.to_uint8(picture))
    how = "in straight lines in W" if space == "w" else "along great circles in Z"
    caption = f"Each row goes from one seed (t = 0) to another (t = 1), {how}, in equal steps of t."
    title = f"Interpolation in {space.upper()}"
    settings = {"seeds": list(seeds), "steps": steps, "space": space, "corners": False}
    return Figure(opaque(sheet.image()), title, caption, settings)


def _square(
    G: Generator,
    seeds: Sequence[int],
    steps: int,
    space: Space,
    look: Look,
    classes: Sequence[int] | None,
    progress: Progress | None,
) -> Figure:
    """Bilinear interpolation in W between four seeds in the corners."""
    if len(seeds) != 4:
        raise UserError(f"{len(seeds)} seeds: --corners goes between four; give for example --seeds 0-3")
    if space != "w":
        raise UserError("--corners is bilinear in w: leave out --space z, or take a model with a mapping network")
    ws = map_seeds(G, seeds, classes, look)  # 4 L D: top left, top right, bottom left, bottom right
    t = torch.linspace(0, 1, steps, device=ws.device)[:, None, None]
    left, right = latents.lerp(ws[0], ws[2], t), latents.lerp(ws[1], ws[3], t)  # steps L D
    grid = latents.lerp(left[:, None], right[:, None], t[None]).flatten(0, 1)  # steps·steps L D
    sheet = Sheet(steps, steps, tile_shape(G, look))
    for i, picture in enumerate(stream(G, grid, look, [seeds[0]] * len(grid), progress)):
        sheet.place(i // steps, i % steps, images.to_uint8(picture))
    a, b, c, d = seeds
    caption = (
        f"The corners are the seeds {a} (top left), {b} (top right), {c} (bottom left) and {d} (bottom right); "
        f"everything between is bilinear in w, in equal steps."
    )
    settings = {"seeds": list(seeds), "steps": steps, "space": "w", "corners": True}
    return Figure(opaque(sheet.image()), "Interpolation in W between four seeds", caption, settings)


def swap_atlas(
    G: Generator,
    sources: Sequence[int],
    donors: Sequence[int],
    cumulative: bool = False,
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Figure:
    """A row per layer, a column per pair of seeds: A with that one layer's style taken from B.

    cumulative: with the styles of all layers up to that one, so that A turns into B down the page. The first
    two rows are A and B themselves. Noise, if random, is A's. UserError for a generator without styles, and
    for unequal numbers of seeds.
    """
    look = (look or Look()).check(G)
    check_styles(G)
    if len(sources) != len(donors) or not len(sources):
        raise UserError(f"{len(sources)} seeds A and {len(donors)} seeds B: give as many of both, at least one")
    count = look.layers_of(G)
    ws_a, ws_b = map_seeds(G, sources, classes, look), map_seeds(G, donors, classes, look)
    rows = [ws_a, ws_b]
    labels = ["A", "B"]
    for layer in range(count):
        taken = range(layer + 1) if cumulative else [layer]
        rows.append(latents.style_mix(ws_a, ws_b, list(taken)))
        height, width = G.config.size(layer // 2)
        labels.append(f"{'0-' if cumulative and layer else ''}{layer}: {width}x{height}")
    sheet = Sheet(
        len(rows),
        len(sources),
        tile_shape(G, look),
        row_labels=labels,
        column_labels=[f"A {a}, B {b}" for a, b in zip(sources, donors, strict=True)],
    )
    noise_seeds = [*sources, *donors, *list(sources) * count]
    for i, picture in enumerate(stream(G, torch.cat(rows), look, noise_seeds, progress)):
        sheet.place(i // len(sources), i % len(sources), images.to_uint8(picture))
    what = "all layers up to the named one" if cumulative else "the one layer named on the left"
    caption = (
        f"The upper two rows are the sources A and B. Below them, every image is A with the style of {what} taken "
        f"from B; layers are named by number and image size."
    )
    settings = {"a": list(sources), "b": list(donors), "cumulative": cumulative}
    return Figure(opaque(sheet.image()), "Styles swapped layer by layer", caption, settings)
