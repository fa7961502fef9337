"""What noise does: detail and standard deviation (figure 4), and noise by groups of layers (figure 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from stylegan import images
from stylegan.drawing import Look, Sheet, map_seeds, stream
from stylegan.drawing.layout import SMALL
from stylegan.drawing.sheets import tile_shape
from stylegan.errors import UserError
from stylegan.figures.page import Counter, Figure, Progress, opaque

if TYPE_CHECKING:
    from stylegan.networks import Generator

FINE = 8  # figure 5: fine layers are those from 64x64 up
CROPS = 4  # noise realisations shown enlarged


def check_noise(G: Generator) -> None:
    """UserError for a generator without noise inputs (configurations A to D)."""
    if not G.config.noise:
        raise UserError(
            "this generator has no noise inputs (configurations A to D of Table 1), so there is no effect of noise "
            "to show; use a model of configuration E or F"
        )


def noise_deviation(
    G: Generator,
    w: torch.Tensor,  # [1, L, D]
    count: int = 100,
    look: Look | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Standard deviation of each pixel over `count` noise realisations, in levels of 255: float64 [h, w].

    The root of the variance's mean over channels; divided by `count`, not count - 1. Images are clipped to
    [-1, 1] and not rounded. Realisation i is the noise of seed i.
    """
    check_noise(G)
    if count < 2:
        raise UserError(f"--realisations {count}: a standard deviation needs at least 2")
    look = replace(look or Look(), noise="random")
    drawn = stream(G, w.expand(count, -1, -1), look, range(count), progress)
    return _deviation(_levels(picture) for picture in drawn)


def _levels(picture: torch.Tensor) -> np.ndarray:
    """[C, h, w] -> float64 [C, h, w] in [0, 255]; transparency laid over white."""
    values = (picture.detach().double().clamp(-1, 1).cpu().numpy() + 1) * 127.5
    if values.shape[0] != 4:
        return values
    alpha = values[3:] / 255
    return values[:3] * alpha + 255 * (1 - alpha)


def _deviation(values: Iterable[np.ndarray]) -> np.ndarray:
    """[C, h, w] one after the other -> [h, w]; one is held at a time."""
    mean, squares, n = np.zeros(()), np.zeros(()), 0
    for n, value in enumerate(values, 1):
        step = value - mean
        mean = mean + step / n
        squares = squares + step * (value - mean)
    return np.sqrt(squares.mean(0) / n)


def noise_detail(
    G: Generator,
    seeds: Sequence[int],
    realisations: int = 100,
    zoom: int = 4,
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    white: float | None = None,
    progress: Progress | None = None,
) -> Figure:
    """Figure 4: per seed the image, a part of it enlarged under four noises, and each pixel's standard deviation.

    The part has 1/zoom of the height and width, and is the one that varies most; a frame shows it in the first
    image. white: the standard deviation shown as white, in levels of 255; None = the 99.5th percentile of all.
    UserError for a generator without noise inputs.
    """
    look = replace(look or Look(), noise="random").check(G)
    check_noise(G)
    if not len(seeds):
        raise UserError("nothing to draw: give at least one seed")
    height, width, channels = tile_shape(G, look)
    if not 1 <= zoom <= min(height, width):
        raise UserError(f"--zoom {zoom}: must lie between 1 and {min(height, width)}, the images' smaller side")
    if white is not None and white <= 0:
        raise UserError(f"--white {white:g}: must be above 0 levels")
    ws = map_seeds(G, seeds, classes, look)
    crops = min(CROPS, realisations)
    counter = Counter(progress, len(seeds) * (realisations + crops))
    deviations = [noise_deviation(G, w[None], realisations, look, counter.next(realisations)) for w in ws]
    limit = white or max(float(np.percentile(np.stack(deviations), 99.5)), 1e-3)
    big = max(1, math.ceil(SMALL / max(height, width)))  # small images are enlarged first: the frame stays thin
    tile = (height * big, width * big, 1 if channels == 1 else 3)
    titles = ["generated image", *(f"noise {i + 1}" for i in range(crops)), "standard deviation"]
    sheet = Sheet(len(seeds), len(titles), tile, [f"seed {seed}" for seed in seeds], titles)
    for row, (w, deviation) in enumerate(zip(ws, deviations, strict=True)):
        top, left, h, v = _liveliest(deviation, zoom)
        drawn = stream(G, w[None].expand(crops, -1, -1), look, range(crops), counter.next(crops))
        for i, picture in enumerate(drawn):
            image = opaque(images.to_uint8(picture))
            if i == 0:
                sheet.place(row, 0, _framed(images.enlarge(image, big), top * big, left * big, h * big, v * big))
            part = images.enlarge(image[top : top + h, left : left + v], zoom)
            sheet.place(row, i + 1, images.enlarge(part[:height, :width], big))
        grey = np.rint(np.clip(deviation / limit, 0, 1) * 255).astype(np.uint8)[:, :, None]
        sheet.place(row, crops + 1, images.enlarge(np.repeat(grey, tile[2], axis=2), big))
    caption = (
        f"Left: a generated image. Middle: the framed part, enlarged {zoom} times, with {crops} different noises and "
        f"the same latent. Right: the standard deviation of each pixel over {realisations} noises; black = 0, "
        f"white = {limit:.3g} of 255 levels or more. The part is where the image varies most."
    )
    title = "Effect of noise (after figure 4 of the StyleGAN paper)"
    settings = {"seeds": list(seeds), "realisations": realisations, "zoom": zoom, "white": round(limit, 4)}
    return Figure(sheet.image(), title, caption, settings)


def _liveliest(deviation: np.ndarray, zoom: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the part, 1/zoom of each side, with the largest mean deviation."""
    height, width = deviation.shape
    h, w = -(-height // zoom), -(-width // zoom)
    sums = np.pad(deviation.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    top, left = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return int(top), int(left), h, w


def _framed(image: np.ndarray, top: int, left: int, h: int, w: int) -> np.ndarray:
    """The image with a white frame, black around it, just outside a part."""
    framed = image.copy()
    thick = max(1, min(image.shape[:2]) // 200)
    inside = np.zeros(image.shape[:2], bool)
    inside[top : top + h, left : left + w] = True
    for level, distance in ((0, 2 * thick), (255, thick)):
        box = np.zeros_like(inside)
        box[max(0, top - distance) : top + h + distance, max(0, left - distance) : left + w + distance] = True
        framed[box & ~inside] = level
    return framed


def noise_groups(G: Generator, lod: float, split: int | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(coarse layers, fine layers) of figure 5: fine from 64x64 up, or, in smaller networks, the upper half.

    split: first fine layer, instead. UserError where a group would be empty.
    """
    count = len(G.synthesis.noise_sizes(lod))
    first = split if split is not None else FINE if count > FINE else count // 4 * 2 or 1
    if not 0 < first < count:
        raise UserError(f"--split {first}: the first fine layer must lie between 1 and {count - 1}")
    return tuple(range(first)), tuple(range(first, count))


def noise_layers(
    G: Generator,
    seeds: Sequence[int],
    split: int | None = None,
    look: Look | None = None,
    classes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Figure:
    """Figure 5: per seed, noise in all layers, in none, in the fine ones, in the coarse ones (`noise_groups`).

    UserError for a generator without noise inputs.
    """
    chosen = look or Look()
    mode: Literal["random", "stored"] = "stored" if chosen.noise == "stored" else "random"
    look = replace(chosen, noise=mode).check(G)
    check_noise(G)
    if not len(seeds):
        raise UserError("nothing to draw: give at least one seed")
    coarse, fine = noise_groups(G, look.lod_of(G), split)
    sizes = {name: _sizes(G, layers) for name, layers in (("coarse", coarse), ("fine", fine))}
    shown = {"all layers": None, "no noise": (), "fine layers": fine, "coarse layers": coarse}
    height, width, channels = tile_shape(G, look)
    tile = (height, width, 1 if channels == 1 else 3)
    sheet = Sheet(len(seeds), len(shown), tile, [f"seed {seed}" for seed in seeds], list(shown))
    ws = map_seeds(G, seeds, classes, look)
    counter = Counter(progress, len(seeds) * len(shown))
    for column, layers in enumerate(shown.values()):
        pictures = stream(G, ws, replace(look, noise_layers=layers), seeds, counter.next(len(seeds)))
        for row, picture in enumerate(pictures):
            sheet.place(row, column, opaque(images.to_uint8(picture)))
    caption = (
        f"The same latents with noise in all layers, in none, in the fine layers only ({sizes['fine']}), and in the "
        f"coarse layers only ({sizes['coarse']})."
    )
    title = "Noise by layers (after figure 5 of the StyleGAN paper)"
    return Figure(sheet.image(), title, caption, {"seeds": list(seeds), "fine": list(fine), "coarse": list(coarse)})


def _sizes(G: Generator, layers: Sequence[int]) -> str:
    """'4x4 to 32x32': the sizes, width first, of some layers' images."""
    (h0, w0), (h1, w1) = G.config.size(layers[0] // 2), G.config.size(layers[-1] // 2)
    return f"{w0}x{h0}" if (h0, w0) == (h1, w1) else f"{w0}x{h0} to {w1}x{h1}"
