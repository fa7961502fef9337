"""Images: [-1, 1] <-> uint8, grids, and files that carry the settings they were drawn with.

An image array is uint8 [H, W, C]; a batch of tensors is [N, C, H, W]. Files appear atomically: a reader
never sees half a file, and an interrupted run leaves the previous one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from stylegan.errors import UserError

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
PARAMETERS = "parameters"  # the PNG text key that carries the settings as JSON


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """[..., C, H, W] in about [-1, 1] -> uint8 [..., H, W, C], rounded and clipped: rint(x·127.5 + 127.5).

    -1 becomes 0 and 1 becomes 255. (Officially x·127.5 + 128 is truncated, which is half a level brighter.)
    UserError where an image holds NaN or infinity.
    """
    if not bool(torch.isfinite(images).all()):
        raise UserError("the image holds NaN or infinity: the weights have diverged; use an earlier snapshot")
    values = (images.detach().float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return values.movedim(-3, -1).contiguous().cpu().numpy()  # ... H W C


def to_float(images: np.ndarray) -> torch.Tensor:
    """uint8 [..., H, W, C] -> float32 [..., C, H, W] in [-1, 1]: x/127.5 − 1, the inverse of `to_uint8`."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3))).float() / 127.5 - 1.0


def check_channels(channels: int) -> None:
    """UserError where no image file format holds this many channels."""
    if channels not in MODES:
        raise UserError(
            f"the images have {channels} channels, and image files hold 1, 3 or 4: choose some with "
            f"--channels {'0,1,2' if channels > 3 else '0'}, or get all from `stylegan generate --format npy`"
        )


def to_pil(image: np.ndarray) -> Image.Image:
    """uint8 [H, W, C] with C = 1, 3 or 4 -> Pillow image. UserError for other channel counts."""
    check_channels(image.shape[2])
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def from_pil(image: Image.Image) -> np.ndarray:
    """Pillow image of mode L, RGB or RGBA -> uint8 [H, W, C]."""
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


def to_rgb(image: np.ndarray, background: int = 255) -> np.ndarray:
    """uint8 [H, W, 1, 3 or 4] -> [H, W, 3]: grey repeated, transparency laid over the background (white)."""
    check_channels(image.shape[2])
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 4:
        alpha = image[:, :, 3:].astype(np.float32) / 255.0
        mixed = image[:, :, :3] * alpha + background * (1.0 - alpha)
        return np.rint(mixed).astype(np.uint8)
    return image


def grid(images: np.ndarray | Sequence[np.ndarray], columns: int | None = None, gap: int = 0) -> np.ndarray:
    """Images of one size, [N, H, W, C], laid out in rows -> uint8 [rows·H + gaps, columns·W + gaps, C].

    columns None: about as wide as high. Gaps and cells left over are white.
    """
    if not len(images):
        raise ValueError("a grid needs at least one image")
    height, width, channels = images[0].shape
    columns = columns or square_columns(len(images), height, width)
    rows = math.ceil(len(images) / columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        canvas[y : y + height, x : x + width] = image
    return canvas


def square_columns(count: int, height: int, width: int) -> int:
    """How many columns make a grid of `count` images about as wide as it is high."""
    return max(1, min(count, math.ceil(math.sqrt(count * height / width))))


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Nearest neighbour by a whole factor: [H, W, C] -> [H·factor, W·factor, C]."""
    if factor == 1:
        return image
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def reduce(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over factor x factor boxes: [H, W, C] -> [ceil(H/factor), ceil(W/factor), C]."""
    return image if factor == 1 else from_pil(to_pil(image).reduce(factor))


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place when the block ends well.

    On any error the temporary file is removed. UserError where the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give a file name for the output")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None


def unwritable(path: Path, error: OSError) -> UserError:
    """The error for an output that the system refuses, with its reason."""
    reason = error.strerror or str(error)
    return UserError(f"{path}: cannot be written ({reason}); choose another place with --out")


def prepare_folder(path: str | Path) -> Path:
    """The folder, made if missing. UserError where no file can be written into it (it tries one)."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".stylegan.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def write_png(path: str | Path, image: np.ndarray, parameters: Mapping[str, Any] | None = None) -> None:
    """uint8 [H, W, C], C = 1, 3 or 4, as PNG; `parameters` go into its text chunk `parameters` as JSON.

    The same input gives the same bytes. UserError for other channel counts and unwritable places.
    """
    picture = to_pil(image)
    text = PngImagePlugin.PngInfo()
    if parameters is not None:
        text.add_text(PARAMETERS, json.dumps(dict(parameters)))
        text.add_text("Software", "stylegan-torch")
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=text)


def read_parameters(path: str | Path) -> dict[str, Any]:
    """The settings that `write_png` stored in a PNG. UserError where there are none."""
    try:
        with Image.open(path) as picture:
            text = picture.info.get(PARAMETERS)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as an image ({error})") from error
    if not isinstance(text, str):
        raise UserError(f"{path}: carries no drawing settings; did another program write or re-save it?")
    parameters: dict[str, Any] = json.loads(text)
    return parameters


def write_npy(path: str | Path, image: torch.Tensor) -> None:
    """[C, H, W] as a float32 .npy file: the network's own values, about [-1, 1], any channel count."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, image.detach().float().cpu().numpy())
