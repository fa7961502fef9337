"""Where images come from: a folder, a zip, or either with a `dataset.json` of labels; or official TFRecords.

Nothing is decoded here. A source is a list of items; an item has a `name` (a path with forward slashes), a
`label` (class number or None) and `load()`, which returns the bytes of an image file or an array of pixels.
Any other storage becomes a source by offering the same three things; items travel to worker processes, so
they must pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stylegan.data.labels import by_folder, by_table, common_folder
from stylegan.errors import UserError
from stylegan.official.tfrecords import is_tfrecord_set, open_tfrecords, read_image

FORMAT = "stylegan-torch data"  # the `format` field of a prepared set's own JSON files
IMAGE_EXTENSIONS = frozenset(
    f".{kind}"
    for kind in (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "gif", "tif", "tiff", "bmp", "tga"),
        *("ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "jpx", "avif", "npy"),
    )
)
MAX_FILE_BYTES = 1 << 30  # larger files are refused unread
MAX_TABLE_BYTES = 1 << 28  # the same for dataset.json
NOTICES = ("NOTICE.txt", "NOTICE", "ATTRIBUTION.txt")  # whom to credit, beside the images; the first there is taken
MAX_NOTICE_BYTES = 1 << 14


class Item(Protocol):
    """One image of a source, not yet read."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> int | None: ...

    def load(self) -> bytes | np.ndarray:
        """The image file's bytes, or uint8 pixels [H, W] or [H, W, C]. Any exception means: not readable."""
        ...


@dataclass(frozen=True)
class FileItem:
    """An image file in a folder."""

    name: str
    path: str
    label: int | None = None

    def load(self) -> bytes:
        with open(self.path, "rb") as file:
            return _bounded(file.read(MAX_FILE_BYTES + 1))


@dataclass(frozen=True)
class ZipItem:
    """An image file in a zip, read in place."""

    name: str
    archive: str
    member: str
    label: int | None = None

    def load(self) -> bytes:
        with _open_zip(self.archive, os.getpid()).open(self.member) as file:
            return _bounded(file.read(MAX_FILE_BYTES + 1))


@dataclass(frozen=True)
class ArrayItem:
    """An image that is already in memory: uint8 pixels [H, W, C]."""

    name: str
    pixels: np.ndarray
    label: int | None = None

    def load(self) -> np.ndarray:
        return self.pixels


@dataclass(frozen=True)
class TFRecordItem:
    """An image of an official data set: record `index` of a file, whose checksum is verified when it is read."""

    name: str
    path: str
    offset: int  # of the record, in bytes
    length: int
    index: int
    label: int | None = None

    def load(self) -> np.ndarray:
        return read_image(self.path, self.offset, self.length, self.index).transpose(1, 2, 0)  # H W C


@dataclass
class Source:
    """An ordered list of images with what is known about them as a whole."""

    items: list[Any]  # of Item, sorted by name
    description: str  # absolute path, or what it is
    listing: str  # sha256 of names, sizes and times: changes when the source does
    num_classes: int = 0
    class_names: list[str] | None = None
    ignored: dict[str, int] = field(default_factory=dict)  # extension -> files that are no images
    notice: str = ""  # the text of a NOTICE.txt at its root: whom to credit


@dataclass(frozen=True)
class RawTable:
    """A `dataset.json` as found."""

    data: bytes
    where: str  # for messages
    base: str  # the folder its paths are relative to, inside the source; "" = the source's root

    def parsed(self) -> Any:
        """The JSON, with `base` where there is one. UserError: not JSON."""
        try:
            table = json.loads(self.data)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.where}: not valid JSON ({error}); correct or remove it") from error
        return {**table, "base": self.base} if isinstance(table, dict) and self.base else table


def open_source(path: str | Path, classes: bool = False, exclude: Path | None = None) -> Source:
    """List the images of a folder or zip, in the order of their names, or an official TFRecord set in its own.

    `classes`: the top-level sub-folders are the classes; otherwise the labels of `dataset.json`, where there
    is one, are used. `exclude`: a folder to leave out (the output, where it lies inside the source).
    UserError: no such path, neither folder nor zip, already prepared, no images, bad labels.
    """
    path = Path(path).expanduser()
    source, raw = list_source(path, exclude)
    if source.items and isinstance(source.items[0], TFRecordItem):
        if classes:
            raise UserError(f"{path}: TFRecords have no sub-folders; their classes are those of the .labels file")
        return source
    table = raw.parsed() if raw and not classes else None
    names = [item.name for item in source.items]
    if classes:
        labels, source.class_names = by_folder(names, str(path))
        source.num_classes = len(source.class_names)
    elif table is not None:
        labels, source.num_classes, source.class_names = by_table(names, table, f"{path}: dataset.json")
    if source.num_classes:
        source.items = [replace(item, label=label) for item, label in zip(source.items, labels, strict=True)]
        source.listing = hashlib.sha256(f"{source.listing} {labels}".encode()).hexdigest()
    return source


def list_source(path: Path, exclude: Path | None = None) -> tuple[Source, RawTable | None]:
    """The images of a folder or zip without their labels, and its `dataset.json`, not yet parsed; or an official
    TFRecord set (a folder of NAME-rNN.tfrecords, or one of these files), labels and all.

    UserError: no such path, neither folder nor zip, already prepared, no images.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such folder or zip; check the path")
    if is_tfrecord_set(path) or (path.is_file() and path.suffix == ".tfrecords"):
        return _list_tfrecords(path.resolve()), None
    if path.is_dir():
        if is_prepared(path):
            raise UserError(f"{path}: this is already a prepared data set; give it to `stylegan train`")
        source, table = _list_folder(path.resolve(), exclude)
    elif zipfile.is_zipfile(path):
        source, table = _list_zip(path.resolve())
    else:
        raise UserError(f"{path}: neither a folder nor a zip of images; unpack other archives into a folder first")
    if not source.items:
        found = ", ".join(f"{count} {kind}" for kind, count in source.ignored.items()) or "nothing"
        raise UserError(
            f"{path}: no images here (found {found}); expected files such as .jpg, .png, .webp, .tif or .npy"
        )
    return source, table


def _list_tfrecords(path: Path) -> Source:
    """The images of the full resolution; the lower ones are made afresh, and come out the same."""
    found = open_tfrecords(path)
    file, labels = found.largest, found.labels
    items = [
        TFRecordItem(f"{found.name}/{i:08d}", file.path, offset, length, i, None if labels is None else int(labels[i]))
        for i, (offset, length) in enumerate(zip(file.offsets, file.lengths, strict=True))
    ]
    stat = os.stat(file.path)
    listing = _digest([(file.path, stat.st_size, stat.st_mtime_ns), ("labels", [item.label for item in items], 0)])
    return Source(items, str(path), listing, found.classes)


def is_prepared(path: Path) -> bool:
    """Whether a folder holds a prepared set, finished or begun."""
    return any(_has_format(path / name) for name in ("prepare.json", "dataset.json"))


def _has_format(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            return f'"format": "{FORMAT}"' in file.read(200)
    except (OSError, UnicodeDecodeError):
        return False


def _list_folder(root: Path, exclude: Path | None) -> tuple[Source, RawTable | None]:
    """Walk a folder, links followed once, hidden files and prepared sets left out."""
    found: list[tuple[str, str, int, int]] = []  # name, path, bytes, time
    ignored: Counter[str] = Counter()
    visited = set()
    skip = exclude.resolve() if exclude else None

    def unreadable(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")

    for folder, folders, files in os.walk(root, followlinks=True, onerror=unreadable):
        here = Path(folder)
        identity = os.path.realpath(folder)
        if identity in visited or here.resolve() == skip or (here != root and is_prepared(here)):
            folders.clear()
            continue
        visited.add(identity)
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for file in files:
            if _hidden(file) or (here == root and file == "dataset.json"):
                continue
            extension = os.path.splitext(file)[1].lower()
            if extension not in IMAGE_EXTENSIONS:
                ignored[extension or "(no extension)"] += 1
                continue
            full = os.path.join(folder, file)
            try:
                stat = os.stat(full)
                size, time = stat.st_size, stat.st_mtime_ns
            except OSError:  # a dangling link: reported when it is read
                size, time = -1, -1
            found.append((os.path.relpath(full, root).replace(os.sep, "/"), full, size, time))
    found.sort()
    names = [name for name, *_ in found]
    wrapper = common_folder(names)
    table = None
    for base in ("", wrapper) if wrapper else ("",):
        file_path = root / base / "dataset.json"
        if file_path.is_file():
            if file_path.stat().st_size > MAX_TABLE_BYTES:
                raise UserError(f"{file_path}: larger than {MAX_TABLE_BYTES >> 20} MiB; no list of labels is")
            table = RawTable(file_path.read_bytes(), str(file_path), base)
            if base:
                ignored[".json"] -= 1
            break
    notices = (root / base / name for base in ("", wrapper) for name in NOTICES)
    notice = next((_notice(file.read_bytes()) for file in notices if file.is_file() and _is_short(file)), "")
    items = [FileItem(name, full) for name, full, _, _ in found]
    listing = _digest((name, size, time) for name, _, size, time in found)
    return Source(items, str(root), listing, ignored=dict(sorted((+ignored).items())), notice=notice), table


def _list_zip(path: Path) -> tuple[Source, RawTable | None]:
    """List the members of a zip; hidden files and macOS resource forks are left out."""
    try:
        archive = _open_zip(str(path), os.getpid())
        members = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path}: the zip cannot be read ({error}); copy or download it again") from error
    ignored: Counter[str] = Counter()
    found: list[tuple[str, zipfile.ZipInfo]] = []
    tables: dict[str, zipfile.ZipInfo] = {}
    for info in members:
        name = info.filename.replace("\\", "/")
        parts = name.split("/")
        if any(_hidden(part) for part in parts):
            continue
        extension = os.path.splitext(parts[-1])[1].lower()
        if parts[-1] == "dataset.json" and len(parts) <= 2:
            tables["/".join(parts[:-1])] = info
        elif extension in IMAGE_EXTENSIONS:
            found.append((name, info))
        else:
            ignored[extension or "(no extension)"] += 1
    found.sort(key=lambda pair: pair[0])
    wrapper = common_folder([name for name, _ in found])
    table = None
    base = "" if "" in tables else wrapper
    if base in tables:
        if tables[base].file_size > MAX_TABLE_BYTES:
            raise UserError(f"{path}: dataset.json is larger than {MAX_TABLE_BYTES >> 20} MiB")
        table = RawTable(archive.read(tables[base]), f"{path}: dataset.json", base)
    small = {info.filename.replace("\\", "/"): info for info in members if info.file_size <= MAX_NOTICE_BYTES}
    notices = [small[at] for at in (f"{b}{name}" for b in ("", f"{wrapper}/") for name in NOTICES) if at in small]
    notice = _notice(archive.read(notices[0])) if notices else ""
    items = [ZipItem(name, str(path), info.filename) for name, info in found]
    listing = _digest((name, info.file_size, info.CRC) for name, info in found)
    return Source(items, str(path), listing, ignored=dict(sorted((+ignored).items())), notice=notice), table


@lru_cache(maxsize=4)
def _open_zip(path: str, process: int) -> zipfile.ZipFile:
    """An open archive, kept for the next image; `process` keeps forked children off the parent's handle."""
    return zipfile.ZipFile(path)


def _is_short(path: Path) -> bool:
    return path.stat().st_size <= MAX_NOTICE_BYTES


def _notice(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES >> 30} GiB")
    return data


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _digest(rows: Any) -> str:
    digest = hashlib.sha256()
    for name, size, stamp in rows:
        digest.update(f"{name}\0{size}\0{stamp}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
