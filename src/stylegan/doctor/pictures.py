"""What the report shows: thumbnails as data URIs, within a budget, and histograms as inline SVG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from stylegan.data.decode import NPY_MAGIC, decode, normalised, opened
from stylegan.data.pyramid import Size

SIDE = 112  # longest side of a thumbnail
BUDGET = 6 << 20  # bytes of all thumbnails in a report


class Thumbnails:
    """Makes each thumbnail once; when the budget is spent there are no more."""

    def __init__(self, items: Sequence[Any], budget: int = BUDGET) -> None:
        self._items, self._left = items, budget
        self._made: dict[tuple[int, Size | None], str] = {}

    def uri(self, index: int, crop: Size | None = None) -> str:
        """data:image/... of an item, cropped to an aspect where asked; "" where it cannot be shown."""
        key = (index, crop)
        if key not in self._made:
            self._made[key] = self._make(index, crop) if self._left > 0 else ""
            self._left -= len(self._made[key])
        return self._made[key]

    def _make(self, index: int, crop: Size | None) -> str:
        try:
            return to_uri(_shown(self._items[index].load()), crop)
        except Exception:  # whatever the file does, the report is written
            return ""


def _shown(data: bytes | np.ndarray) -> Image.Image:
    """An item's data as an image L or RGB, transparency over a light grey."""
    if isinstance(data, np.ndarray) or data.startswith(NPY_MAGIC):
        array = data if isinstance(data, np.ndarray) else np.load(io.BytesIO(data), allow_pickle=False)
        channels = array.shape[2] if array.ndim == 3 else 1
        if channels not in (1, 3, 4):
            array, channels = array[:, :, 0], 1
        pixels = decode(array, channels)
        image = Image.fromarray(pixels[0] if channels == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    else:
        image = opened(data)
        if image.format == "JPEG":
            image.draft("RGB", (2 * SIDE, 2 * SIDE))  # decodes a fraction of large photos
        image = normalised(image)
    if image.mode in ("LA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (236, 236, 236, 255)), image)
    return image if image.mode == "L" else image.convert("RGB")


def to_uri(image: Image.Image, crop: Size | None = None) -> str:
    """A small JPEG (PNG for tiny images) of L or RGB, as a data URI."""
    if crop is not None:
        height, width = crop
        wide = min(image.width, max(1, round(image.height * width / height)))
        high = min(image.height, max(1, round(image.width * height / width)))
        left, top = (image.width - wide) // 2, (image.height - high) // 2
        image = image.crop((left, top, left + wide, top + high))
    scale = SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    kind = "PNG" if image.width * image.height <= 1024 else "JPEG"
    image.save(buffer, kind, **({} if kind == "PNG" else {"quality": 82}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def histogram(
    values: Sequence[float] | np.ndarray,
    title: str,
    unit: str = "",
    log: bool = False,  # logarithmic bins, for sizes and aspects
    mark: float | None = None,  # a vertical line, such as the recommended size
) -> str:
    """An SVG of the distribution, with the counts in tooltips. "" without values."""
    data = np.asarray(values, np.float64)
    if log:
        data = np.maximum(data, 1e-6)
    if not len(data):
        return ""
    low, high = float(data.min()), float(data.max())
    if mark is not None:
        low, high = min(low, mark), max(high, mark)
    if log:
        if high < low * 1.2:
            low, high = low / 1.1, high * 1.1
        edges = np.exp(np.linspace(math.log(low), math.log(high), 31))
    else:
        edges = np.linspace(low, max(high, low + 1), 31)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    counts, _ = np.histogram(data, edges)
    bars = [(float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    width, height, top = 300, 96, max(1, int(counts.max()))
    step = width / len(bars)
    parts = []
    for i, (a, b, n) in enumerate(bars):
        if n:
            h = max(1.5, height * n / top)
            parts.append(
                f'<rect x="{i * step:.1f}" y="{height - h:.1f}" width="{step - 1:.1f}" height="{h:.1f}">'
                f"<title>{_number(a)} to {_number(b)}{unit}: {n:,}</title></rect>"
            )
    if mark is not None:
        place = np.interp(math.log(mark) if log else mark, np.log(edges) if log else edges, np.arange(len(edges)))
        parts.append(f'<line class="mark" x1="{place * step:.1f}" x2="{place * step:.1f}" y1="0" y2="{height}"/>')
    ticks = [edges[0], edges[len(edges) // 2], edges[-1]]
    for x, anchor, value in zip((0, width / 2, width), ("start", "middle", "end"), ticks, strict=True):
        parts.append(f'<text x="{x}" y="{height + 14}" text-anchor="{anchor}">{_number(value)}{unit}</text>')
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {width} {height + 18}" role="img" '
        f'aria-label="{escape(title, quote=True)}"><line class="axis" x1="0" x2="{width}" y1="{height}" y2="{height}"/>'
        f"{''.join(parts)}</svg></figure>"
    )


def bars(counts: dict[str, int], limit: int = 40, total: int = 0) -> str:
    """Horizontal bars as an HTML table: name, bar, count, share of `total` (0 = of their sum)."""
    if not counts:
        return ""
    top = max(max(counts.values()), 1)
    total = total or max(sum(counts.values()), 1)
    rows = [
        f'<tr><th>{escape(name)}</th><td class="bar"><i style="width:{100 * count / top:.1f}%"></i></td>'
        f"<td>{count:,}</td><td>{count / total:.1%}</td></tr>"
        for name, count in list(counts.items())[:limit]
    ]
    if len(counts) > limit:
        rows.append(f'<tr><td colspan="4">... and {len(counts) - limit:,} more in report.json</td></tr>')
    return f'<table class="bars">{"".join(rows)}</table>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 20 else f"{value:.2g}"
