"""Official multi-resolution data sets: `NAME-r02.tfrecords` ... `NAME-r10.tfrecords`, `NAME-rxx.labels`.

One file per resolution 2^r; record i of each is image i. A record is framed by its length and two masked
CRC-32C checksums, and holds a tf.train.Example with the features `shape` (three integers: channels, height,
width) and `data` (the pixels as bytes). Labels are a numpy file [images, classes] of one-hot rows. Everything
is parsed here, without TensorFlow, and checked before it is used.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stylegan.errors import UserError
from stylegan.official.crc32c import masked_crc32c

MAX_RECORD = 1 << 30  # a 1024x1024 RGB image has 3 MB
MAX_SIDE = 1 << 14
_HEAD, _TAIL = 12, 4  # bytes around a record: length and its checksum; checksum of the record
_NAME = re.compile(r"(.*)-r(\d{2})\.tfrecords")


@dataclass(frozen=True)
class TFRecordFile:
    """One file: where its records are. Indexing reads the frames, not the images."""

    path: str
    offsets: tuple[int, ...]  # of the records' frames
    lengths: tuple[int, ...]  # of the records

    @classmethod
    def open(cls, path: str | Path) -> TFRecordFile:
        """Walks the frames of a file, checking each length's checksum. UserError names file and record."""
        offsets: list[int] = []
        lengths: list[int] = []
        at = 0
        try:
            size = os.stat(path).st_size
            with open(path, "rb") as file:
                while at < size:
                    length = _length(file.read(_HEAD), size - at, f"{path}: record {len(offsets)}")
                    offsets.append(at)
                    lengths.append(length)
                    at += _HEAD + length + _TAIL
                    file.seek(at)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
        if not offsets:
            raise UserError(f"{path}: holds no records")
        return cls(str(path), tuple(offsets), tuple(lengths))

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, uint8 [C, H, W], its checksum verified. UserError names file and record."""
        return read_image(self.path, self.offsets[i], self.lengths[i], i)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))


def read_image(path: str, offset: int, length: int, index: int) -> np.ndarray:
    """The image of the record at a byte offset, uint8 [C, H, W]; `index` names it in errors."""
    where = f"{path}: record {index}"
    try:
        with open(path, "rb") as file:
            file.seek(offset + _HEAD)
            data = file.read(length + _TAIL)
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror or error}); check the path") from None
    if len(data) < length + _TAIL:
        raise UserError(f"{where}: is cut short; copy or download the file again")
    body = memoryview(data)[:length]
    (stored,) = struct.unpack("<I", data[length:])
    if masked_crc32c(body) != stored:
        raise UserError(f"{where}: its checksum is wrong (the file is damaged); copy or download it again")
    return parse_example(body, where)


def _length(head: bytes, left: int, where: str) -> int:
    if len(head) < _HEAD:
        raise UserError(f"{where}: is cut short; copy or download the file again")
    length, stored = struct.unpack("<QI", head)
    if masked_crc32c(head[:8]) != stored:
        raise UserError(f"{where}: the checksum of its length is wrong; the file is damaged, or no TFRecord file")
    if length > MAX_RECORD or _HEAD + length + _TAIL > left:
        raise UserError(f"{where}: announces {length:,} bytes where {left - _HEAD:,} are left; the file is cut short")
    return int(length)


def parse_example(data: memoryview, where: str) -> np.ndarray:
    """A serialised tf.train.Example with `shape` and `data` -> uint8 [C, H, W]. UserError for anything else."""
    try:
        features: dict[str, memoryview] = {}
        for message in _fields(data, 1):  # Example.features
            for entry in _fields(message, 1):  # Features.feature, a map
                key = b"".join(_fields(entry, 1)).decode("utf-8", "replace")
                features[key] = next(iter(_fields(entry, 2)))
        shape = _integers(next(iter(_fields(features["shape"], 3))))  # Feature.int64_list
        pixels = next(iter(_fields(next(iter(_fields(features["data"], 1))), 1)))  # Feature.bytes_list.value
    except (ValueError, KeyError, StopIteration, IndexError) as error:
        raise UserError(f"{where}: holds no image as the official programs write it ({error!r})") from None
    if len(shape) != 3 or not all(1 <= side <= MAX_SIDE for side in shape) or np.prod(shape) != len(pixels):
        raise UserError(f"{where}: its shape {shape[:4]} and its {len(pixels):,} bytes of pixels do not agree")
    return np.frombuffer(pixels, np.uint8).reshape(shape)  # C H W


def _fields(data: memoryview, wanted: int) -> list[memoryview]:
    """The length-delimited fields of a protobuf message with a number; ValueError where it is malformed."""
    found, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _varint(data, at)
            if size > len(data) - at:
                raise ValueError("a field is longer than its message")
            if tag >> 3 == wanted:
                found.append(data[at : at + size])
            at += size
        else:
            raise ValueError(f"wire type {kind}")
    if at != len(data):
        raise ValueError("a field is cut short")
    return found


def _integers(data: memoryview) -> list[int]:
    """The values of an Int64List, packed or one by one."""
    values, at = [], 0
    packed = _fields(data, 1)
    for piece in packed:
        at = 0
        while at < len(piece):
            value, at = _varint(piece, at)
            values.append(value)
    if packed:
        return values
    while at < len(data):
        tag, at = _varint(data, at)
        value, at = _varint(data, at)
        if tag != 1 << 3:
            raise ValueError(f"tag {tag} in a list of integers")
        values.append(value)
    return values


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")


@dataclass(frozen=True)
class TFRecordSet:
    """A data set of the official program: one file per resolution, and labels."""

    name: str
    levels: dict[int, TFRecordFile]  # log2 of the resolution -> file, lowest first
    labels: np.ndarray | None  # class numbers [images], int64
    classes: int  # 0 without labels

    @property
    def largest(self) -> TFRecordFile:
        """The file of the full resolution."""
        return self.levels[max(self.levels)]


def is_tfrecord_set(path: Path) -> bool:
    """Whether a folder holds files named as the official program names them."""
    return path.is_dir() and any(_NAME.fullmatch(entry.name) for entry in path.iterdir())


def open_tfrecords(path: str | Path) -> TFRecordSet:
    """A folder of `NAME-rNN.tfrecords` files (or one of these files) -> the data set, indexed, labels read.

    UserError: no or several sets, files of different lengths, damaged frames, labels that do not fit.
    """
    path = Path(path)
    folder, only = (path.parent, path.name) if path.is_file() else (path, None)
    if not folder.is_dir():
        raise UserError(f"{path}: there is no such folder or file")
    matches = [match for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name))]
    names = sorted({match[1] for match in matches if only is None or match.string == only})
    if not names:
        raise UserError(f"{path}: no files named NAME-r02.tfrecords, NAME-r03.tfrecords, ... here")
    if len(names) > 1:
        raise UserError(
            f"{path}: holds several data sets ({', '.join(names[:5])}); give the largest file of one of them"
        )
    name = names[0]
    levels = {
        int(match[2]): TFRecordFile.open(folder / match.string)
        for match in sorted(matches, key=lambda match: match[2])
        if match[1] == name
    }
    counts = {r: len(file) for r, file in levels.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"r{r:02d}: {count}" for r, count in counts.items())
        raise UserError(f"{folder / name}: the files hold different numbers of images ({shown}); one is incomplete")
    labels, classes = None, 0
    file = folder / f"{name}-rxx.labels"
    if file.exists():
        labels, classes = _labels(file, counts[max(counts)])
    return TFRecordSet(name, levels, labels, classes)


def _labels(path: Path, images: int) -> tuple[np.ndarray | None, int]:
    """(class numbers, number of classes) from a one-hot table."""
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise UserError(f"{path}: no numpy file of labels ({str(error)[:120]})") from None
    if not isinstance(table, np.ndarray) or table.ndim != 2 or len(table) < images or table.dtype.kind not in "fiub":
        raise UserError(f"{path}: labels {getattr(table, 'shape', '?')}; expected [{images}, classes]")
    table = table[:images]
    if table.shape[1] == 0:
        return None, 0
    if not ((table == 0) | (table == 1)).all() or not (table.sum(axis=1) == 1).all():
        raise UserError(f"{path}: labels that are not one-hot (one 1 per row); only classes are supported")
    return table.argmax(axis=1), int(table.shape[1])
