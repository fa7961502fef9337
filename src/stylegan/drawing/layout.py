"""The page a sheet is laid out on: tiles in rows and columns, with text beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stylegan import images

SMALL = 96  # tiles smaller than this are enlarged by a whole factor
LARGEST = 8192  # pages larger than this are drawn with reduced tiles


class Sheet:
    """A white page of rows x columns tiles, filled one by one, so that only the page is held in memory.

    `lead` sets the first row and column apart (the sources of a mixing sheet). Labels are drawn above the
    columns and, upright, left of the rows; a band (text, number of rows) names a group of rows further left.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        tile: tuple[int, ...],  # height, width, channels
        row_labels: Sequence[str] = (),
        column_labels: Sequence[str] = (),
        bands: Sequence[tuple[str, int]] = (),
        lead: bool = False,
    ) -> None:
        height, width, channels = tile
        images.check_channels(channels)
        self.rows, self.columns, self.lead = rows, columns, lead
        self.enlarge = max(1, math.ceil(SMALL / max(height, width)))
        self.reduce = max(1, math.ceil(max(rows * height, columns * width) / LARGEST))
        if self.reduce > 1:
            self.enlarge = 1
        self.tile = (
            math.ceil(height * self.enlarge / self.reduce),
            math.ceil(width * self.enlarge / self.reduce),
        )
        side = min(self.tile)
        self.gap = max(2, side // 64)
        self.step = 4 * self.gap  # the wider gap after a lead row or column and between bands
        size = max(11, min(48, side // 7))
        self.line = round(size * 1.5)
        self.breaks = list(np.cumsum([count for _, count in bands])[:-1]) if bands else []
        margin = 2 * self.gap if row_labels or column_labels or bands else 0
        left = margin + self.line * (bool(row_labels) + bool(bands)) + self.gap * bool(row_labels)
        top = margin + (self.line if column_labels else 0)
        self.origin = (top, left)
        end_y, end_x = self._corner(rows - 1, columns - 1)
        shape = (end_y + self.tile[0] + margin, end_x + self.tile[1] + margin, channels)
        self._page = np.full(shape, 255, dtype=np.uint8)
        corners = [(margin, self._corner(0, j)[1], self.tile[1]) for j in range(columns)]
        self._write(column_labels, corners, size, upright=False)
        corners = [(self._corner(i, 0)[0], left - self.gap - self.line, self.tile[0]) for i in range(rows)]
        self._write(row_labels, corners, size, upright=True)
        corners, first = [], int(lead)
        for _, count in bands:
            y, last = self._corner(first, 0)[0], self._corner(first + count - 1, 0)[0]
            corners.append((y, margin, last + self.tile[0] - y))
            first += count
        self._write([text for text, _ in bands], corners, size, upright=True)

    def _corner(self, row: int, column: int) -> tuple[int, int]:
        """(y, x) of a tile's upper left pixel."""
        y = self.origin[0] + row * (self.tile[0] + self.gap)
        x = self.origin[1] + column * (self.tile[1] + self.gap)
        if self.lead:
            y += self.step * (row > 0)
            x += self.step * (column > 0)
        return y + self.step * sum(row - self.lead >= first for first in self.breaks), x

    def place(self, row: int, column: int, image: np.ndarray) -> None:
        """Puts uint8 [H, W, C] into its cell, enlarged or reduced as the page asks."""
        tile = images.reduce(images.enlarge(image, self.enlarge), self.reduce)
        y, x = self._corner(row, column)
        self._page[y : y + tile.shape[0], x : x + tile.shape[1]] = tile

    def _write(self, texts: Sequence[str], strips: Sequence[tuple[int, int, int]], size: int, upright: bool) -> None:
        """Black texts, each centred in its strip (y, x, length), in the one size that fits all of them.

        `upright` texts read up the page.
        """
        pairs = list(zip(texts, strips, strict=False))
        while size > 7 and any(font(size).getlength(text) > length for text, (_, _, length) in pairs):
            size -= 1
        for text, (y, x, length) in pairs:
            strip = Image.new("L", (length, self.line), 255)
            draw = ImageDraw.Draw(strip)
            draw.text((length / 2, self.line / 2), text, fill=0, font=font(size), anchor="mm")
            if upright:
                strip = strip.transpose(Image.Transpose.ROTATE_90)
            ink = np.asarray(strip)[:, :, None]
            colours = min(self._page.shape[2], 3)  # transparency stays opaque
            self._page[y : y + ink.shape[0], x : x + ink.shape[1], :colours] = ink

    def image(self) -> np.ndarray:
        """The page so far, uint8 [H, W, C]."""
        return self._page


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font, which has Latin letters only (no ψ)."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
