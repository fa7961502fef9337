"""How a prepared set lies on the disk, and the work of making one shard of it. Runs inside worker processes.

    OUT/dataset.json              what the set is; written last, so its presence means: complete
    OUT/prepare.json              the arguments, written first; a second run compares them
    OUT/classes.npy               int64 [n], only with labels
    OUT/level-0008x0008/00000.npy uint8 [m, C, 8, 8], height x width; one folder per level, one file per shard
    OUT/shards/00000.json         names, digests and checksums of the shard's m images, and what was left out

Every shard covers a fixed range of the source's items, whatever the number of workers; m is smaller than the
range where files could not be read. Files are written under temporary names and renamed; the JSON comes last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data.decode import Colour, decode, is_grey
from stylegan.data.pyramid import Size, fit_image, pyramid
from stylegan.data.sources import Item

HEADER_BYTES = 128  # the npy header, padded to this so that pixels start at a known offset
SHARD_BYTES = 256 << 20  # of the highest level
SHARD_IMAGES = 4096
SHARD_COUNT = 32  # smaller shards for smaller sets, so that every worker has some
SHARD_LEAST = 64


@dataclass(frozen=True)
class Settings:
    """What is done to each image."""

    levels: tuple[Size, ...]  # (height, width), base first
    channels: int
    fit: str
    filter: str
    background: Colour

    @property
    def image_bytes(self) -> int:
        """Bytes of one image at all levels."""
        return sum(self.channels * h * w for h, w in self.levels)


@dataclass(frozen=True)
class ShardJob:
    """One shard to make. Items with a `skip` reason are left out unread; `journal` notes the current one."""

    number: int
    items: Sequence[Item]
    out: str
    settings: Settings
    skip: dict[int, str] = field(default_factory=dict)
    journal: str | None = None

    def build(self, tick: Callable[[], None]) -> None:
        """Make the shard."""
        build_shard(self, tick)


class Stopped(Exception):
    """The parent asked the workers to stop."""


def shard_size(count: int, top_bytes: int) -> int:
    """Items per shard of a set of `count` items whose full-size images have `top_bytes` bytes."""
    spread = max(SHARD_LEAST, -(-count // SHARD_COUNT))
    return max(1, min(SHARD_IMAGES, SHARD_BYTES // top_bytes, spread))


def level_folder(size: Size) -> str:
    """Folder name of a level: level-HEIGHTxWIDTH."""
    return f"level-{size[0]:04d}x{size[1]:04d}"


def shard_path(out: str | Path, size: Size, number: int) -> Path:
    """The .npy of one level of one shard."""
    return Path(out) / level_folder(size) / f"{number:05d}.npy"


def sidecar_path(out: str | Path, number: int) -> Path:
    """The .json of one shard."""
    return Path(out) / "shards" / f"{number:05d}.json"


def shard_bytes(count: int, channels: int, size: Size) -> int:
    """Exact file size of a shard of `count` images."""
    return HEADER_BYTES + count * channels * size[0] * size[1]


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Header of a version 1.0 .npy file of uint8 in C order, always 128 bytes long."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    body = text.encode("ascii").ljust(HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def write_json(path: Path, value: Any, compact: bool = False) -> None:
    """Write under a temporary name, flush to the disk, rename."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, indent=None if compact else 1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_sidecar(out: str | Path, number: int, settings: Settings) -> dict[str, Any] | None:
    """A finished shard's record, or None where the shard must be made (again)."""
    try:
        record: dict[str, Any] = json.loads(sidecar_path(out, number).read_text(encoding="utf-8"))
        for size in settings.levels:
            expected = shard_bytes(record["count"], settings.channels, size)
            if shard_path(out, size, number).stat().st_size != expected:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record


def build_shard(job: ShardJob, tick: Callable[[], None]) -> None:
    """Decode, fit and write one shard. `tick` is called after each item and may raise Stopped.

    What an image does wrong is recorded in the sidecar; only errors of writing (OSError) come out.
    """
    settings = job.settings
    finals = [shard_path(job.out, size, job.number) for size in settings.levels]
    temporaries = [path.with_name(path.name + ".tmp") for path in finals]
    files = []
    sums = [hashlib.sha256() for _ in finals]
    names: list[str] = []
    labels: list[int | None] = []
    digests: list[str] = []
    skipped: list[dict[str, str]] = []
    enlarged = greyed = 0
    try:
        for path in temporaries:
            files.append(open(path, "wb"))  # noqa: SIM115
            files[-1].write(npy_header((0, 0, 0, 0)))
        for index, item in enumerate(job.items):
            if job.journal:
                Path(job.journal).write_text(str(index))
            if index in job.skip:
                skipped.append({"name": item.name, "reason": job.skip[index]})
                tick()
                continue
            try:
                levels, was_small, was_colour = _convert(item, settings)
            except Exception as error:
                skipped.append({"name": item.name, "reason": reason_of(error)})
                tick()
                continue
            for file, checksum, pixels in zip(files, sums, levels, strict=True):
                data = pixels.tobytes()
                file.write(data)
                checksum.update(data)
            names.append(item.name)
            labels.append(item.label)
            digests.append(digest_of(levels[-1]))
            enlarged += was_small
            greyed += was_colour
            tick()
        for file, (h, w) in zip(files, settings.levels, strict=True):
            file.seek(0)
            file.write(npy_header((len(names), settings.channels, h, w)))
            file.close()
        for temporary, final in zip(temporaries, finals, strict=True):
            os.replace(temporary, final)
    finally:
        for file in files:
            file.close()
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
    record = {
        "count": len(names),
        "enlarged": enlarged,
        "greyed": greyed,
        "skipped": skipped,
        "sha256": {level_folder(s): c.hexdigest() for s, c in zip(settings.levels, sums, strict=True)},
        "labels": labels,
        "names": names,
        "digests": digests,
    }
    write_json(sidecar_path(job.out, job.number), record, compact=True)


def _convert(item: Item, settings: Settings) -> tuple[list[np.ndarray], bool, bool]:
    """(levels base first, whether it was enlarged, whether colour was lost)."""
    data = item.load()
    greyed = False
    pixels = decode(data, settings.channels, settings.background)
    if settings.channels == 1 and not isinstance(data, np.ndarray):
        greyed = not is_grey(decode(data, 3, settings.background))
    fitted, enlarged = fit_image(pixels, settings.levels[-1], settings.fit, settings.filter, settings.background)
    return pyramid(fitted, len(settings.levels)), enlarged, greyed


def digest_of(pixels: np.ndarray) -> str:
    """128 bits of the sha256 of one full-size image, in hex."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()[:32]


def reason_of(error: BaseException) -> str:
    """One line on why an image could not be used."""
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split())[:200] or type(error).__name__


def fingerprint_of(
    size: Size,
    channels: int,
    digests: Sequence[str],
    classes: Sequence[int] | np.ndarray | None,
    num_classes: int,
) -> str:
    """sha256 of the content: size, every full-size image in order, and the labels; not the storage."""
    digest = hashlib.sha256(f"{size[0]}x{size[1]}x{channels} {num_classes}\n".encode())
    for index, one in enumerate(digests):
        label = "" if classes is None or not num_classes else int(classes[index])
        digest.update(f"{one} {label}\n".encode())
    return digest.hexdigest()
