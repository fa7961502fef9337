"""Fit an image to the data set's size, and make its resolution pyramid. Sizes are (height, width) here.

Only `WIDTHxHEIGHT` texts, as a person writes them, have the width first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

from stylegan.data.decode import Colour, to_image
from stylegan.errors import UserError

Size = tuple[int, int]
FITS = ("crop", "letterbox", "native")
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
AUTO_LIMIT = 1024  # the longest side that is chosen unasked
# Level 0 of a native size: near 4x4 (8 to 32 pixels), so that growing starts small whatever the aspect.
NATIVE_BASES = [(h, w) for h in range(2, 17) for w in range(2, 17) if 8 <= h * w <= 32]


def levels_of(size: Size) -> list[Size]:
    """(height, width) of each level, base (normally 4x4) first. UserError: a size not allowed."""
    from stylegan import lod  # here, so that worker processes do without torch

    try:
        h0, w0, k = lod.split_size(*size)
    except ValueError as error:
        raise UserError(str(error)) from error
    return [(h0 << level, w0 << level) for level in range(k + 1)]


def parse_resolution(text: str | int | Sequence[int]) -> int | Size:
    """`256` -> 256; `384x512` (width x height) -> (512, 384); a tuple is (height, width) already.

    UserError: anything else.
    """
    if isinstance(text, str):
        match = re.fullmatch(r"\s*(\d{1,6})\s*(?:[xX×]\s*(\d{1,6})\s*)?", text)
        if not match:
            raise UserError(f"resolution {text!r}: expected one number, such as 256, or WIDTHxHEIGHT")
        width, height = match.groups()
        value: int | Size = (int(height), int(width)) if height else int(width)
    else:
        value = int(text) if isinstance(text, int) else (int(text[0]), int(text[1]))
    if min((value,) if isinstance(value, int) else value) < 1:
        raise UserError(f"resolution {text}: must be positive")
    return value


def parse_colour(text: str) -> Colour:
    """A name or #rrggbb -> (red, green, blue). UserError: unknown colour."""
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UserError(f"background {text!r}: expected a colour name or #rrggbb") from error
    return red, green, blue


def choose_size(
    resolution: int | Size | None,
    fit: str,
    sizes: Sequence[Size],  # (height, width) of (a sample of) the images
) -> tuple[Size, str]:
    """The (height, width) of the data set and one sentence on how it was chosen.

    None: the largest allowed size not above the median image, at most 1024. A number: that square, or for
    `native` the longest side. UserError: a size that no network of the family can have.
    """
    if isinstance(resolution, tuple):
        levels_of(resolution)
        return resolution, f"{_text(resolution)} (width x height), as asked"
    limit = resolution or AUTO_LIMIT
    array = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)  # n 2
    if fit == "native":
        return _native_size(limit, array, asked=resolution is not None)
    if resolution:
        levels_of((resolution, resolution))
        return (resolution, resolution), f"{resolution}x{resolution}, as asked"
    side = np.median(array.min(axis=1) if fit == "crop" else array.max(axis=1))
    chosen = 8
    while chosen * 2 <= min(side, limit):
        chosen *= 2
    which = "shorter" if fit == "crop" else "longer"
    return (chosen, chosen), (
        f"{chosen}x{chosen}, the largest power of two not above the median {which} side ({side:.0f} pixels) "
        f"and {AUTO_LIMIT}"
    )


def _native_size(limit: int, sizes: np.ndarray, asked: bool) -> tuple[Size, str]:
    """The allowed size that keeps most of an image of median aspect; among near equals the largest."""
    height, width = np.median(sizes, axis=0)
    aspect = float(np.exp(np.median(np.log(sizes[:, 1] / sizes[:, 0]))))
    bound_h, bound_w = (limit, limit) if asked else (min(height, limit), min(width, limit))
    candidates = []
    for h0, w0 in NATIVE_BASES:
        k = 1
        while h0 << (k + 1) <= bound_h and w0 << (k + 1) <= bound_w:
            k += 1
        kept = min(w0 / h0 / aspect, aspect / (w0 / h0))  # share of the image left by a minimal crop
        candidates.append((kept, (h0 << k) * (w0 << k), (h0 << k, w0 << k)))
    best = max(kept for kept, _, _ in candidates)
    kept, _, size = max((c for c in candidates if c[0] >= best - 0.03), key=lambda c: (c[1], c[0]))
    reason = f"within {limit} pixels" if asked else f"not above the median image ({width:.0f}x{height:.0f})"
    return size, (f"{_text(size)} (width x height), {reason}; an image of median aspect keeps {kept:.0%} of its area")


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def fit_image(
    pixels: np.ndarray,  # uint8 [C, H, W]
    size: Size,
    fit: str = "crop",
    filter: str = "lanczos",
    background: Colour = (255, 255, 255),
) -> tuple[np.ndarray, bool]:
    """(uint8 [C, height, width], whether it was enlarged).

    crop and native: the largest centred part of the target's aspect, then resized. letterbox: the whole
    image, resized to fit, centred on `background` (transparent where there is an alpha channel).
    """
    channels, h, w = pixels.shape
    height, width = size
    if fit == "letterbox":
        scale = min(height / h, width / w)
        inner = (
            max(1, min(height, round(h * scale))),
            max(1, min(width, round(w * scale))),
        )
        resized = _resize(pixels, inner, filter)
        if inner == size:
            return resized, scale > 1
        red, green, blue = background
        fill = {1: [round(0.299 * red + 0.587 * green + 0.114 * blue)], 3: [red, green, blue]}.get(channels)
        fill = fill or ([red, green, blue, 0] if channels == 4 else [255] * channels)
        canvas = np.empty((channels, height, width), np.uint8)
        canvas[:] = np.array(fill, np.uint8)[:, None, None]
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        canvas[:, top : top + inner[0], left : left + inner[1]] = resized
        return canvas, scale > 1
    if w * height > h * width:
        crop_h, crop_w = h, max(1, round(h * width / height))
    else:
        crop_h, crop_w = max(1, round(w * height / width)), w
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    part = pixels[:, top : top + crop_h, left : left + crop_w]
    return _resize(part, size, filter), crop_h < height or crop_w < width


def _resize(pixels: np.ndarray, size: Size, filter: str) -> np.ndarray:
    """Pillow's antialiased resize of uint8 [C, H, W]; colours are premultiplied where there is an alpha."""
    if pixels.shape[1:] == size:
        return np.ascontiguousarray(pixels)
    shape = (size[1], size[0])
    if pixels.shape[0] in (1, 3, 4):
        resized = np.asarray(to_image(pixels).resize(shape, FILTERS[filter]))
        return np.ascontiguousarray(resized[None] if resized.ndim == 2 else resized.transpose(2, 0, 1))  # C H W
    planes = [to_image(plane[None]).resize(shape, FILTERS[filter]) for plane in pixels]
    return np.stack([np.asarray(plane) for plane in planes])  # C H W


def pyramid(pixels: np.ndarray, count: int) -> list[np.ndarray]:
    """uint8 [..., H, W] -> `count` levels, lowest first, as the official exporter makes them:

    2x2 means chained in float32; each level rounded (half to even) and clipped on its own.
    """
    levels = [pixels]
    mean = pixels.astype(np.float32)
    for _ in range(count - 1):
        mean = (
            mean[..., 0::2, 0::2] + mean[..., 0::2, 1::2] + mean[..., 1::2, 0::2] + mean[..., 1::2, 1::2]
        ) * np.float32(0.25)  # ... H/2 W/2
        levels.append(np.rint(mean).clip(0, 255).astype(np.uint8))
    return levels[::-1]
