"""Image files made for the tests."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, C], or [H, W] for one channel; smooth enough to resize and compress well."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(2, height // 4), max(2, width // 4), channels), dtype=np.uint8)
    planes = [
        np.asarray(Image.fromarray(small[:, :, c]).resize((width, height), Image.Resampling.BILINEAR))
        for c in range(channels)
    ]
    return planes[0] if channels == 1 else np.stack(planes, axis=-1)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(height: int, width: int, channels: int = 3, seed: int = 0) -> bytes:
    return encoded(Image.fromarray(noise(height, width, channels, seed)))


def fill(folder: Path, count: int, height: int = 16, width: int = 16, channels: int = 3) -> Path:
    """A folder of `count` PNG files 000.png, 001.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / f"{i:03d}.png").write_bytes(png(height, width, channels, seed=i))
    return folder


def bomb(width: int = 40_000, height: int = 40_000) -> bytes:
    """A tiny PNG that claims to be 1.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@dataclass(frozen=True)
class KillerItem:
    """An item whose decoder takes its whole process down, in any process but the one that made it."""

    name: str
    home: int
    label: int | None = None

    def load(self) -> bytes:
        if os.getpid() != self.home:
            os._exit(11)
        return png(16, 16)


def tree(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every file but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
