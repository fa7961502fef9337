"""Bytes of an image file -> uint8 pixels [C, H, W] in the wanted number of channels, converted with care.

Orientation tags are applied, colour profiles lead to sRGB, transparency is composited, 16-bit and float
images are scaled and not clipped, animations give their first frame. What is damaged is an error.
"""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
# Readers that run no other program (the EPS reader would start Ghostscript).
Image.init()
FORMATS: list[str] = [
    name
    for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "TGA", "AVIF")
    if name in Image.OPEN
]
NPY_MAGIC = b"\x93NUMPY"
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height


class DecodeError(ValueError):
    """The file is no usable image; the text says why, without the file's name."""


def decode(data: bytes | np.ndarray, channels: int, background: Colour = WHITE) -> np.ndarray:
    """uint8 [C, H, W] of an image file's bytes, or of uint8 pixels [H, W] or [H, W, C].

    channels: 1 grey, 3 RGB, 4 RGBA; other counts come from arrays (.npy) only. `background` shows through
    transparent places where there is no alpha channel to keep them. DecodeError: not usable, with the reason.
    """
    pixels = _pixels(data)
    if pixels is not None:
        if pixels.shape[2] == channels:
            return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # C H W
        if channels not in (1, 3, 4) or pixels.shape[2] not in (1, 3, 4):
            raise DecodeError(f"has {pixels.shape[2]} channels where the data set has {channels}")
        return _to_channels(to_image(pixels.transpose(2, 0, 1)), channels, background)
    if channels not in (1, 3, 4):
        raise DecodeError(f"an image file cannot give {channels} channels; store such images as .npy")
    assert isinstance(data, bytes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _open(data)
            image.load()
            return _to_channels(_normalise(image), channels, background)
    except DecodeError:
        raise
    except Exception as error:  # every reader has its own ways to fail
        raise DecodeError(_reason(error)) from error


def probe(data: bytes | np.ndarray) -> tuple[int, int, int]:
    """(height, width, channels) of an image as it would be decoded, with as little reading as possible.

    channels is 1 for a grey image even if it is stored in colour, else 3; an array's own count otherwise.
    """
    pixels = _pixels(data)
    if pixels is not None:
        height, width, channels = pixels.shape
        grey = channels in (3, 4) and is_grey(pixels[:, :, :3].transpose(2, 0, 1))
        return height, width, 1 if grey else channels
    assert isinstance(data, bytes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _open(data)
            width, height = image.size
            if image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8):
                width, height = height, width
            if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
                return height, width, 1
            if image.format == "JPEG" and image.mode == "RGB":
                image.draft("RGB", (64, 64))  # decodes an eighth of the size, enough to tell grey from colour
            image.load()
            return height, width, 1 if is_grey(_to_channels(_normalise(image), 3, WHITE)) else 3
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(_reason(error)) from error


def opened(data: bytes) -> Image.Image:
    """The image with only its header read: format, mode, size, `info`. DecodeError: not a known or allowed image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _open(data)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(_reason(error)) from error


def normalised(image: Image.Image) -> Image.Image:
    """What `opened` gave, read in full: upright, 8 bits, sRGB, mode L, LA, RGB or RGBA. DecodeError: damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            return _normalise(image)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(_reason(error)) from error


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the channels of [C, H, W] are all equal."""
    return bool((pixels[0] == pixels).all())


def to_image(pixels: np.ndarray) -> Image.Image:
    """uint8 [C, H, W] with 1, 3 or 4 channels -> Pillow image L, RGB or RGBA."""
    if pixels.shape[0] == 1:
        return Image.fromarray(np.ascontiguousarray(pixels[0]))
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _pixels(data: bytes | np.ndarray) -> np.ndarray | None:
    """uint8 [H, W, C] of an array or of the bytes of a .npy file; None for any other file."""
    if isinstance(data, bytes):
        if not data.startswith(NPY_MAGIC):
            return None
        try:
            pixels: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
        except Exception as error:
            raise DecodeError(f"not a usable .npy file: {error}") from error
    else:
        pixels = data
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise DecodeError(
            f"array of {pixels.dtype} {list(pixels.shape)}; expected uint8 [height, width] or [height, width, channels]"
        )
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _open(data: bytes) -> Image.Image:
    if not data:
        raise DecodeError("the file is empty")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    limit = Image.MAX_IMAGE_PIXELS
    if limit and image.width * image.height > limit:
        raise Image.DecompressionBombError
    return image


def _normalise(image: Image.Image) -> Image.Image:
    """Upright, 8 bits, sRGB: mode L, LA, RGB or RGBA."""
    profile = image.info.get("icc_profile")
    kind = image.format or ""
    transparent = "transparency" in image.info
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode, kind))
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if transparent or image.mode == "PA" else "RGB")
    elif transparent and image.mode in ("L", "RGB"):
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    elif image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        converted = ImageCms.profileToProfile(image, lab, _srgb(), outputMode="RGB")
        assert converted is not None
        return converted
    image = _to_srgb(image, profile)
    return image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Apply an embedded colour profile; one that is damaged or does not fit the image is left out."""
    if not profile or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
        colour = image.convert(image.mode[:-1]) if alpha else image
        space = source.profile.xcolor_space.strip()
        if colour.mode == "L" and space == "RGB":
            colour = colour.convert("RGB")
        converted: Any = ImageCms.profileToProfile(colour, source, _srgb(), outputMode="RGB")
        if image.mode in ("L", "LA"):
            converted = converted.convert("L")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    if alpha:
        converted.putalpha(alpha)
    return converted


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _eight_bits(values: np.ndarray, mode: str, kind: str) -> np.ndarray:
    """16-bit, 32-bit and float grey [H, W] scaled by the range of their type, never clipped or stretched."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DecodeError("has values that are not numbers")
    if mode == "F":
        limits = [limit for limit in (1.0, 255.0, 65535.0) if high <= limit]
        if low < 0 or not limits:
            raise DecodeError(f"float values from {low:g} to {high:g}; expected 0..1, 0..255 or 0..65535")
        limit = limits[0]
    else:
        if low < 0:
            raise DecodeError(f"negative values (from {low:g}); expected 0..65535")
        limit = 65535.0 if high <= 65535 else 2.0**31 - 1
    return np.rint(values.astype(np.float64) * (255.0 / limit)).astype(np.uint8)


def _to_channels(image: Image.Image, channels: int, background: Colour) -> np.ndarray:
    """Mode L, LA, RGB or RGBA -> uint8 [C, H, W]."""
    if channels == 4:
        image = image.convert("RGBA")
    else:
        if image.mode in ("LA", "RGBA"):
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
        image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # C H W
    return np.ascontiguousarray(pixels)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {(Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not an image in any known format"
    return str(error) or type(error).__name__
