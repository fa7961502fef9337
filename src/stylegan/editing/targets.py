"""A photo, cut and reduced to what a generator draws: the same steps by which `stylegan prepare` made its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from stylegan.data.decode import DecodeError, decode, opened
from stylegan.data.pyramid import fit_image
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.networks import Generator

Fit = Literal["crop", "letterbox"]
MAX_PIXELS = 50_000_000  # of one photo; 4 bytes each while it is open
MAX_BYTES = 256 << 20


def target_size(G: Generator) -> tuple[int, int]:
    """(height, width) of the images that G draws at the level of detail it has been trained to."""
    height, width = G.synthesis.noise_sizes(G.lod)[-1]
    return height, width


def read_target(
    source: str | Path | bytes,
    G: Generator,
    fit: Fit = "crop",
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """An image file (its path, or its bytes) as G could have drawn it: uint8 [h, w, C].

    Orientation tags, colour profiles and transparency are handled as in `stylegan prepare`. "crop" keeps the
    largest centred part of G's aspect, "letterbox" the whole image on white; both reduce with Lanczos. Pixels
    are counted before any is decoded. UserError: no image, damaged, too large, or no way to G's channels.
    """
    if fit not in ("crop", "letterbox"):
        raise UserError(f"--fit {fit}: must be crop or letterbox")
    name, data = _bytes_of(source)
    try:
        if data[:6] != b"\x93NUMPY":  # an array (.npy) has as many pixels as it has bytes
            width, height = opened(data).size
            if width * height > max_pixels:
                raise UserError(
                    f"{name}: {width}x{height} are {width * height / 1e6:.0f} million pixels, at most "
                    f"{max_pixels / 1e6:g} million are read; reduce it first"
                )
        pixels = decode(data, G.config.channels)
    except DecodeError as error:
        raise UserError(f"{name}: {error}; give an image file such as PNG or JPEG") from None
    fitted, _ = fit_image(pixels, target_size(G), fit)
    return np.ascontiguousarray(fitted.transpose(1, 2, 0))  # h w C


def _bytes_of(source: str | Path | bytes) -> tuple[str, bytes]:
    """(name for messages, content). UserError where the file is missing, a folder, or absurdly large."""
    if isinstance(source, bytes):
        return "the image", source
    path = Path(source)
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give image files, such as {path}/*.png")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES >> 20} MB; reduce it first")
        return str(path), path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
