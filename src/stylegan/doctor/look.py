"""One image file -> the facts about it. Runs inside worker processes; whatever a file does is a fact, not an error."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from stylegan.data.decode import NPY_MAGIC, ORIENTATION, DecodeError, decode, is_grey, normalised, opened
from stylegan.data.shards import digest_of, reason_of
from stylegan.data.sources import Item
from stylegan.doctor.content import bits_of, ends_early, foreign, mislabelled

SMALL_SIDE = 32  # of the grey picture from which the perceptual hash is made, and candidates are compared by
SMALL_BYTES = SMALL_SIDE * SMALL_SIDE
FLAT = 2.0  # standard deviation (of 255) under which an image is taken for blank


@dataclass(slots=True)
class Facts:
    """What is known of one image."""

    bytes: int = 0  # of the file, or of an array
    format: str = ""  # by content: JPEG, PNG, NPY, ...; "" = none
    mode: str = ""  # Pillow's name, as stored; "C channels" for arrays
    bits: int = 0  # per sample
    height: int = 0  # upright; 0 = unknown
    width: int = 0
    grey: bool = False  # in every pixel, however it is stored
    marks: list[str] = field(default_factory=list)  # animated, rotated, alpha, profile
    colour: list[int] = field(default_factory=list)  # mean red, green and blue, 0..255
    spread: float = 0.0  # standard deviation over pixels, of the channel where it is largest
    digest: str = ""  # of the pixels as a person sees them, and the transparency; "" = not usable
    hash: int = 0  # 64-bit perceptual hash
    problem: str = ""  # kind of finding that makes the file unusable; "" = usable
    notes: dict[str, str] = field(default_factory=dict)  # kind -> what; the problem's reason as well


def examine(item: Item) -> tuple[Facts, bytes]:
    """(facts, SMALL_BYTES bytes of a small grey picture; empty where the image is not usable)."""
    facts = Facts()
    try:
        return facts, _examine(item, facts)
    except DecodeError as error:
        _fail(facts, "unreadable", str(error))
    except Exception as error:
        _fail(facts, "unreadable", reason_of(error))
    return facts, b""


def _fail(facts: Facts, kind: str, reason: str) -> None:
    facts.problem = kind
    facts.notes = {kind: reason} | {k: v for k, v in facts.notes.items() if k == "mislabelled"}


def _examine(item: Item, facts: Facts) -> bytes:
    data = item.load()
    facts.bytes = len(data) if isinstance(data, bytes) else data.nbytes
    expected = getattr(item, "digest", "")
    if expected and isinstance(data, np.ndarray) and digest_of(data.transpose(2, 0, 1)) != expected:
        raise DecodeError("differs from the checksum it was stored with; prepare the data set again")
    if isinstance(data, np.ndarray) or data.startswith(NPY_MAGIC):
        return _array(data, facts)
    if not data:
        raise DecodeError("the file is empty")
    try:
        image = opened(data)
    except DecodeError as error:
        _unopened(data, facts, error)
        return b""
    _header(image, data, facts, item.name)
    try:
        upright = normalised(image)
    except DecodeError as error:
        reason = str(error)
        cut = ends_early(data) or any(word in reason for word in ("truncated", "not enough image data"))
        kind = "truncated" if cut else "bomb" if "too large" in reason else "unreadable"
        if kind == "bomb":
            reason = f"metadata that swells in memory, in a file of {len(data):,} bytes"
        _fail(facts, kind, f"its end is missing, after {len(data):,} bytes" if cut else reason)
        return b""
    if ends_early(data):
        zeros = len(data) - len(data.rstrip(b"\0"))
        if zeros > 64:  # a decoder can make pixels out of zeros
            facts.notes["damaged"] = f"ends in {zeros:,} zero bytes, as after an interrupted copy"
        else:
            facts.notes["no_end"] = "its end mark is missing, but all pixels are there"
    if _orientation(image) != 1:  # asked only now, because asking makes Pillow read all of a PNG
        facts.marks.append("rotated")
    facts.width, facts.height = upright.size
    return _pixels(upright, facts)


def _unopened(data: bytes, facts: Facts, error: DecodeError) -> None:
    """The header cannot be read: why?"""
    cause = error.__cause__
    what = foreign(data)
    if isinstance(cause, Image.DecompressionBombError):
        _fail(facts, "bomb", f"{error}, in a file of {len(data):,} bytes")
    elif "too large" in str(error).lower():
        _fail(facts, "bomb", f"metadata that swells in memory, in a file of {len(data):,} bytes")
    elif what:
        _fail(facts, "not_image", what)
    elif ends_early(data):
        _fail(facts, "truncated", f"ends inside its header, after {len(data):,} bytes")
    else:
        _fail(facts, "unreadable", str(error))


def _header(image: Image.Image, data: bytes, facts: Facts, name: str) -> None:
    facts.format, facts.mode, facts.bits = image.format or "", image.mode, bits_of(image, data)
    facts.width, facts.height = image.size
    if image.format != "MPO" and getattr(image, "is_animated", False):
        facts.marks.append("animated")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        facts.marks.append("alpha")
    if image.info.get("icc_profile"):
        facts.marks.append("profile")
    wrong = mislabelled(name, facts.format)
    if wrong:
        facts.notes["mislabelled"] = wrong


def _orientation(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to leave an image out
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _array(data: bytes | np.ndarray, facts: Facts) -> bytes:
    """An array of pixels, in memory or in a .npy file."""
    facts.format, facts.bits = "NPY" if isinstance(data, bytes) else "array", 8
    try:
        pixels = _raw(data)
    except DecodeError as error:
        reason = str(error)
        cut = any(word in reason for word in ("reshape", "Failed to read", "EOF", "expected 10 bytes"))
        if "pickle" in reason:
            reason = "holds Python objects, not pixels"
        _fail(
            facts,
            "truncated" if cut else "unreadable",
            f"its end is missing, after {len(data):,} bytes" if cut else reason,
        )
        return b""
    channels, facts.height, facts.width = pixels.shape
    facts.mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels, f"{channels} channels")
    if channels not in (1, 3, 4):  # looked at by way of its first channel
        facts.digest = _digest(pixels)
        return _measure(Image.fromarray(np.ascontiguousarray(pixels[0])), pixels, facts)
    if channels == 4:
        facts.marks.append("alpha")
    return _pixels(Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0).copy()), facts)


def _raw(data: bytes | np.ndarray) -> np.ndarray:
    """uint8 [C, H, W]. DecodeError: not usable."""
    if isinstance(data, bytes):
        try:
            array: Any = np.load(io.BytesIO(data), allow_pickle=False)
            channels = array.shape[2] if array.ndim == 3 else 1
        except Exception as error:
            raise DecodeError(f"not a usable .npy file: {str(error) or type(error).__name__}") from error
    else:
        array = data
        channels = data.shape[2] if data.ndim == 3 else 1
    return decode(array, channels)


def _pixels(image: Image.Image, facts: Facts) -> bytes:
    """Measures an upright 8-bit sRGB image of mode L, LA, RGB or RGBA."""
    alpha = None
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        if alpha.getextrema()[0] == 255:
            alpha = None
        elif alpha.getextrema()[1] == 0:
            facts.notes["blank"] = "wholly transparent"
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")
    pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))  # H W, or H W 3
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    facts.grey = pixels.ndim == 2 or is_grey(planes)
    if facts.grey and pixels.ndim == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0]))
        planes = planes[:1]
    facts.digest = _digest(planes, None if alpha is None else np.asarray(alpha))
    if facts.format in ("JPEG", "MPO"):
        share = _grey_end(pixels)
        if share >= 0.1 and share < 1:
            facts.notes["damaged"] = f"the lowest {share:.0%} are plain grey, as when data is missing"
    return _measure(image, planes, facts)


def _digest(planes: np.ndarray, alpha: np.ndarray | None = None) -> str:
    digest = hashlib.blake2b(repr(planes.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(planes.transpose(1, 2, 0)).data)
    if alpha is not None:
        digest.update(np.ascontiguousarray(alpha).data)
    return digest.hexdigest()


def _grey_end(pixels: np.ndarray) -> float:
    """The share of rows at the bottom in which a JPEG decoder has put 128 for want of data."""
    for count, row in enumerate(pixels[::-1]):
        if abs(int(row.min()) - 128) > 1 or abs(int(row.max()) - 128) > 1:
            return count / len(pixels)
    return 1.0


def _measure(image: Image.Image, planes: np.ndarray, facts: Facts) -> bytes:
    """Brightness, contrast, perceptual hash and the small picture, of an image L or RGB."""
    histogram = np.array(image.histogram(), np.float64).reshape(-1, 256)  # channels 256
    values = np.arange(256)
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    means = weights @ values
    spreads = np.sqrt(np.maximum(weights @ values**2 - means**2, 0))
    if len(planes) not in (1, 3):  # further channels of an array
        means, spreads = planes.mean(axis=(1, 2)), planes.std(axis=(1, 2))
    facts.colour = [round(float(mean)) for mean in (means if len(means) == 3 else means[:1].repeat(3))]
    facts.spread = round(float(spreads.max()), 2)
    if facts.spread < FLAT:
        facts.notes.setdefault("blank", f"nearly one colour (contrast {facts.spread:.1f} of 255)")
    small = image.resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("L")
    facts.hash = perceptual_hash(np.asarray(small, np.float64))
    return small.tobytes()


def perceptual_hash(luma: np.ndarray) -> int:
    """64 bits of [32, 32]: which of the 64 lowest cosine coefficients but the mean exceed their median (pHash)."""
    matrix, chosen = _cosines()
    coefficients = (matrix @ luma @ matrix.T).ravel()[chosen]
    bits = coefficients > np.median(coefficients)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@lru_cache(maxsize=1)
def _cosines() -> tuple[np.ndarray, np.ndarray]:
    """(the first rows of the cosine transform, the indices of the 64 lowest frequencies in its product)."""
    count = 12
    k, x = np.arange(count)[:, None], np.arange(SMALL_SIDE)[None]
    matrix = np.cos(np.pi * k * (2 * x + 1) / (2 * SMALL_SIDE))
    radius = (k**2 + k.T**2).astype(np.float64).ravel()
    return matrix, np.argsort(radius, kind="stable")[1:65]
