"""A prepared data set: images at every level of their pyramid, by index, from any thread."""

from __future__ import annotations

import hashlib
import json
import mmap
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data.pyramid import Size, levels_of, pyramid
from stylegan.data.shards import (
    HEADER_BYTES,
    digest_of,
    fingerprint_of,
    npy_header,
    shard_bytes,
    shard_path,
    sidecar_path,
)
from stylegan.data.sources import FORMAT
from stylegan.errors import UserError

VERSION = 1  # of the format
OPEN_MAPS = 128  # shards mapped at a time; a map holds a file descriptor
KEPT_BYTES = 64 << 20  # levels up to this size are kept in memory instead, shard by shard


class Dataset:
    """Images uint8 [n, C, H, W] at all levels, with optional classes. Made by open() or from_arrays()."""

    def __init__(
        self,
        meta: dict[str, Any],
        classes: np.ndarray | None,  # int64 [n]
        path: Path | None,
        arrays: dict[Size, np.ndarray] | None = None,  # level -> uint8 [n, C, h, w], for sets in memory
    ) -> None:
        self.meta = meta
        self.path = path
        self.size: Size = (meta["size"][0], meta["size"][1])  # height, width
        self.levels: list[Size] = [(h, w) for h, w in meta["levels"]]  # base first
        self.channels: int = meta["channels"]
        self.num_classes: int = meta["num_classes"]  # 0 = no labels
        self.class_names: list[str] | None = meta["class_names"]
        self.fingerprint: str = meta["fingerprint"]
        self.attribution: str = meta["attribution"]
        self._count: int = meta["count"]
        self._arrays = arrays
        self._classes = classes if classes is not None else np.full(self._count, -1, np.int64)
        self._shards: list[int] = meta["shards"]
        self._starts = np.concatenate([[0], np.cumsum(self._shards)]).astype(np.int64)
        self._maps: OrderedDict[tuple[Size, int], np.ndarray] = OrderedDict()
        self._kept: dict[tuple[Size, int], np.ndarray] = {}
        self._lock = threading.Lock()

    @staticmethod
    def open(path: str | Path) -> Dataset:
        """Open what `stylegan prepare` wrote; the size and shape of every file is checked.

        UserError: not a prepared set, not finished, from a newer version, or damaged.
        """
        path = Path(path).expanduser().resolve()
        try:
            meta = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if (path / "prepare.json").exists():
                raise UserError(
                    f"{path}: preparing this data set was interrupted; run the same `stylegan prepare` again"
                ) from error
            raise UserError(f"{path}: not a prepared data set; make one with `stylegan prepare SRC OUT`") from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise UserError(f"{path}: not a prepared data set; make one with `stylegan prepare {path} OUT`")
        if meta["version"] > VERSION:
            raise UserError(f"{path}: format version {meta['version']}, this program reads up to {VERSION}; upgrade it")
        classes = np.load(path / "classes.npy", allow_pickle=False) if meta["num_classes"] else None
        dataset = Dataset(meta, classes, path)
        dataset._check_files()
        return dataset

    @staticmethod
    def from_arrays(
        images: np.ndarray,  # uint8 [n, C, H, W]
        classes: Sequence[int] | np.ndarray | None = None,  # [n]
        class_names: list[str] | None = None,
        attribution: str = "",
    ) -> Dataset:
        """A data set in memory, the same in every respect. UserError: wrong type, shape, size or labels."""
        labels, num_classes = check_arrays(images, classes, class_names)
        size = (int(images.shape[2]), int(images.shape[3]))
        levels = levels_of(size)
        arrays = dict(zip(levels, pyramid(images, len(levels)), strict=True))
        digests = [digest_of(image) for image in images]
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "size": list(size),
            "channels": int(images.shape[1]),
            "count": len(images),
            "levels": [list(level) for level in levels],
            "num_classes": num_classes,
            "class_names": class_names,
            "fingerprint": fingerprint_of(size, images.shape[1], digests, labels, num_classes),
            "attribution": attribution,
            "source": "arrays in memory",
            "shards": [len(images)],
        }
        return Dataset(meta, labels, None, arrays)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        h, w = self.size
        return f"Dataset({self._count} images, {self.channels}x{h}x{w}, {self.num_classes} classes)"

    def __reduce__(self) -> Any:
        if self.path is not None:
            return Dataset.open, (self.path,)
        return Dataset, (self.meta, self._classes, None, self._arrays)

    @property
    def classes(self) -> np.ndarray:
        """int64 [n]: the class of each image; -1 everywhere in a set without labels."""
        return self._classes

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 [N, num_classes], one-hot; [N, 0] without labels."""
        indices = self._checked(indices)
        out = np.zeros((len(indices), self.num_classes), np.float32)  # N classes
        if self.num_classes:
            out[np.arange(len(indices)), self._classes[indices]] = 1
        return out

    def read(
        self,
        indices: Sequence[int] | np.ndarray,  # [N], any order, repeats allowed
        size: Size | None = None,  # (height, width) of a level; None = full
    ) -> np.ndarray:
        """uint8 [N, C, height, width], a copy. ValueError: no such level; IndexError: no such image."""
        size = self.size if size is None else (int(size[0]), int(size[1]))
        if size not in self.levels:
            raise ValueError(f"size {size} (height, width): the data set has {self.levels}")
        indices = self._checked(indices)
        if self._arrays is not None:
            return self._arrays[size][indices]  # N C h w
        out = np.empty((len(indices), self.channels, *size), np.uint8)
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        local = indices - self._starts[shards]
        for shard in np.unique(shards):
            rows = np.flatnonzero(shards == shard)
            if self._scattered(size):
                self._read_rows(size, int(shard), local, rows, out)
                continue
            source = self._map(size, int(shard))
            if out[0].nbytes < 4096:
                out[rows] = source[local[rows]]
            else:  # one contiguous copy each, without a temporary
                for row in rows:
                    out[row] = source[local[row]]
        return out

    def verify(self) -> None:
        """Read everything and compare with the recorded checksums. UserError names the first damaged file."""
        if self.path is None:
            return
        digests: list[str] = []
        labels: list[int | None] = []
        for number, count in enumerate(self._shards):
            try:
                record = json.loads(sidecar_path(self.path, number).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(f"{sidecar_path(self.path, number)}: damaged ({error}); prepare again") from error
            digests += record["digests"]
            labels += record["labels"]
            for size in self.levels:
                file = shard_path(self.path, size, number)
                pixels: np.ndarray = self._map(size, number) if count else np.empty(0, np.uint8)
                if hashlib.sha256(pixels.data).hexdigest() != record["sha256"][file.parent.name]:
                    raise UserError(f"{file}: its content has changed since it was written; prepare again")
                if size == self.size and [digest_of(pixels[i]) for i in range(count)] != record["digests"]:
                    raise UserError(f"{file}: images differ from their digests; prepare again")
        classes = self._classes if self.num_classes else None
        found = fingerprint_of(self.size, self.channels, digests, classes, self.num_classes)
        if found != self.fingerprint or (self.num_classes and list(self._classes) != labels):
            raise UserError(f"{self.path}: labels or fingerprint do not fit the images; prepare again")

    def _checked(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        array = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(array) and (array.min() < 0 or array.max() >= self._count):
            raise IndexError(f"indices {array.min()}..{array.max()}: the data set has {self._count} images")
        return array

    def _check_files(self) -> None:
        assert self.path is not None
        if sum(self._shards) != self._count or len(self._classes) != self._count:
            raise UserError(f"{self.path}: counts of images and labels disagree; prepare again")
        for size in self.levels:
            for number, count in enumerate(self._shards):
                file = shard_path(self.path, size, number)
                expected = shard_bytes(count, self.channels, size)
                found = file.stat().st_size if file.exists() else 0
                if found != expected:
                    raise UserError(
                        f"{file}: {found:,} bytes instead of {expected:,}; the data set is damaged, prepare again"
                    )

    def _bytes(self, size: Size) -> int:
        """Bytes of a whole level."""
        return self._count * self.channels * size[0] * size[1]

    def _scattered(self, size: Size) -> bool:
        """Whether a level has too many shards to keep them mapped, so that each image is read on its own."""
        return len(self._shards) > OPEN_MAPS and self._bytes(size) > KEPT_BYTES

    def _read_rows(
        self,
        size: Size,
        shard: int,
        local: np.ndarray,  # [N], position of each image in its shard
        rows: np.ndarray,  # the rows of `out` that lie in this shard
        out: np.ndarray,  # uint8 [N, C, h, w]
    ) -> None:
        assert self.path is not None
        file = shard_path(self.path, size, shard)
        with open(file, "rb", buffering=0) as handle:
            for row in rows:
                handle.seek(HEADER_BYTES + int(local[row]) * out[row].nbytes)
                if handle.readinto(out[row].data) != out[row].nbytes:
                    raise UserError(f"{file}: ends too early; the data set is damaged, prepare again")

    def _map(self, size: Size, shard: int) -> np.ndarray:
        """uint8 [m, C, h, w] of one shard, mapped read-only; the longest unused map is dropped.

        Small levels are read instead and kept: a batch of tiny images touches nearly every shard.
        """
        key = (size, shard)
        if key in self._kept:
            return self._kept[key]
        with self._lock:
            if key in self._maps:
                self._maps.move_to_end(key)
                return self._maps[key]
            assert self.path is not None
            shape = (self._shards[shard], self.channels, *size)
            file = shard_path(self.path, size, shard)
            keep = self._bytes(size) <= KEPT_BYTES
            with open(file, "rb") as handle:
                data: Any = handle.read() if keep else mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            if data[:HEADER_BYTES] != npy_header(shape):
                raise UserError(f"{file}: not uint8 {list(shape)} as recorded; prepare again")
            array: np.ndarray = np.frombuffer(data, np.uint8, offset=HEADER_BYTES).reshape(shape)
            if keep:
                self._kept[key] = array
                return array
            self._maps[key] = array
            if len(self._maps) > OPEN_MAPS:
                self._maps.popitem(last=False)
            return array


def check_arrays(
    images: np.ndarray,
    classes: Sequence[int] | np.ndarray | None,
    class_names: list[str] | None,
) -> tuple[np.ndarray | None, int]:
    """(int64 [n] or None, number of classes). UserError: wrong type, shape, size or labels."""
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) < 1:
        raise UserError(f"images: {images.dtype} {list(images.shape)}; expected uint8 [n, channels, height, width]")
    if classes is None:
        if class_names:
            raise UserError("class_names without classes; give the class of each image as well")
        return None, 0
    labels = np.asarray(classes)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise UserError(
            f"classes: {labels.dtype} {list(labels.shape)}; expected {len(images)} numbers from 0 on, one per image"
        )
    count = int(labels.max()) + 1
    if class_names is not None:
        if len(class_names) < count:
            raise UserError(f"{len(class_names)} class names, but the classes go up to {count - 1}")
        count = len(class_names)
    return labels.astype(np.int64), count
