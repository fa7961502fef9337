"""The mean of each class in W, and samples drawn towards it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from stylegan import images, latents
from stylegan.drawing import Look, Sheet, one_hot, stream
from stylegan.drawing.render import MEAN_OF, check_styles, class_centres, map_latents
from stylegan.drawing.sheets import tile_shape
from stylegan.errors import UserError
from stylegan.figures.page import Figure, Progress, opaque

if TYPE_CHECKING:
    from stylegan.networks import Generator

MOST_ROWS = 16  # classes drawn where none are named

def class_means(
    G: Generator,
    seeds: Sequence[int],
    psi: float = 0.5,
    classes: Sequence[int] | None = None,
    names: Sequence[str] = (),
    mean_of: int = MEAN_OF,
    look: Look | None = None,
    progress: Progress | None = None,
) -> Figure:
    """A row per class: the image of its mean w (psi 0), then seeds truncated towards that mean.

    Truncation is w' = mean of the class + psi (w - mean of the class), in all layers; the network's own mean
    over all classes plays no part. classes None = all, at most 16. UserError for an unconditional generator and
    for one without styles.
    """
    look = (look or Look()).check(G)
    count = G.config.labels
    if not count:
        raise UserError(
            "this model was trained without classes, so there are no class means; train one with `stylegan train "
            "--labels`, or draw the mean of all with `stylegan truncation`"
        )
    check_styles(G)
    if mean_of < 1:
        raise UserError(f"--mean-of {mean_of}: must be 1 or more")
    chosen = list(dict.fromkeys(classes if classes is not None else range(count)))
    left_out = max(0, len(chosen) - MOST_ROWS) if len(chosen) == count else 0
    chosen = chosen[: len(chosen) - left_out]
    z = latents.z_from_seeds(seeds, G.config.z_dim)
    rows, centres = [], class_centres(G, chosen, mean_of)
    for number in chosen:
        mean = centres[number]
        ws = map_latents(G, z, one_hot([number] * len(seeds), count), Look(batch=look.batch))
        rows += [mean.expand(1, *ws.shape[1:]), torch.lerp(mean.to(ws), ws, float(psi))]
    columns = len(seeds) + 1
    labels = [names[number] if number < len(names) else f"class {number}" for number in chosen]
    titles = ["mean", *(f"seed {seed}" for seed in seeds)]
    sheet = Sheet(len(chosen), columns, tile_shape(G, look), labels, titles)
    noise_seeds = [seeds[0] if len(seeds) else 0, *seeds] * len(chosen)
    for i, picture in enumerate(stream(G, torch.cat(rows), look, noise_seeds, progress)):
        sheet.place(i // columns, i % columns, images.to_uint8(picture))
    caption = (
        f"Left: the image of each class's mean w (of {mean_of:,} latents). Right: seeds drawn with that class, "
        f"truncated towards its mean with psi = {psi:g}; the same seeds in every row."
    )
    if left_out:
        caption += f" The first {len(chosen)} of {count} classes; choose others with --class."
    settings = {"seeds": list(seeds), "psi": psi, "cutoff": G.config.num_layers, "classes": chosen, "mean_of": mean_of}
    return Figure(opaque(sheet.image()), "Class means in W", caption, settings)
