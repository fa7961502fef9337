"""A figure: a picture, what it shows in words, and the page that has both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from stylegan import images
from stylegan.drawing.layout import font

NARROWEST = 480  # narrower pictures get white margins, so that a caption has room
SMALLEST_TEXT = 13
TEXT_SHARE = 64  # text is 1/64 of the page's width, which reads well when the page fills a screen

Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class Figure:
    """image uint8 [H, W, 1 or 3] on white; title one line; caption a few sentences; settings for the file."""

    image: np.ndarray
    title: str
    caption: str
    settings: dict[str, Any] = field(default_factory=dict)

    def page(self, facts: str = "") -> np.ndarray:
        """The picture with title, caption and `facts` (grey: model and settings) below it, uint8 [H, W, 1 or 3]."""
        image = self.image
        width = max(image.shape[1], NARROWEST)
        size = max(SMALLEST_TEXT, round(width / TEXT_SHARE))
        margin = size
        pieces = [_side_margins(image, width)]
        for text, scale, level in ((self.title, 1.3, 0), (self.caption, 1.0, 0), (facts, 0.85, 110)):
            if text:
                pieces.append(_text(text, width, margin, round(size * scale), level, image.shape[2]))
        pieces.append(np.full((margin, width, image.shape[2]), 255, np.uint8))
        return np.concatenate(pieces)


def opaque(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C]: transparency laid over white; grey stays grey. UserError for other channel counts."""
    images.check_channels(image.shape[2])
    return images.to_rgb(image) if image.shape[2] == 4 else image


def _side_margins(image: np.ndarray, width: int) -> np.ndarray:
    """The picture in the middle of a white strip of this width."""
    left = (width - image.shape[1]) // 2
    right = width - image.shape[1] - left
    return np.pad(image, ((0, 0), (left, right), (0, 0)), constant_values=255)


def _text(text: str, width: int, margin: int, size: int, level: int, channels: int) -> np.ndarray:
    """Wrapped text on white: uint8 [h, width, channels]. level: 0 = black."""
    face, step = font(size), round(1.4 * size)
    lines = wrap(text, width - 2 * margin, face.getlength)
    strip = Image.new("L", (width, margin // 2 + step * len(lines)), 255)
    draw = ImageDraw.Draw(strip)
    for i, line in enumerate(lines):
        draw.text((margin, margin // 2 + step * i + step / 2), line, fill=level, font=face, anchor="lm")
    return np.repeat(np.asarray(strip)[:, :, None], channels, axis=2)


def wrap(text: str, width: float, length: Callable[[str], float]) -> list[str]:
    """Lines of at most this width, broken at blanks, and inside words that are wider."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if length(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and length(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


class Counter:
    """One progress over several passes: each pass gets a callback of its own."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.before = progress, total, 0

    def next(self, images_in_pass: int) -> Progress:
        """The callback of the next pass."""
        start, self.before = self.before, self.before + images_in_pass
        return partial(self._tell, start)

    def _tell(self, start: int, done: int, _: int) -> None:
        if self.progress is not None:
            self.progress(start + done, self.total)
