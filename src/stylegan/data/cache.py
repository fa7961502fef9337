"""Train on a raw folder: prepare it once into a cache, open it from there afterwards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

from stylegan.data.dataset import Dataset
from stylegan.data.locking import locked
from stylegan.data.prepare import prepare
from stylegan.data.pyramid import parse_resolution
from stylegan.data.report import PreparedInfo
from stylegan.data.sources import is_prepared, open_source
from stylegan.errors import UserError


def open_or_prepare(
    path: str | Path,
    cache_dir: str | Path | None = None,  # None: the user's cache folder
    tell: Callable[[PreparedInfo], None] | None = None,  # hears what became of the images where they are prepared
    **options: Any,  # of prepare(), without `out` and `overwrite`
) -> Dataset:
    """A prepared set is opened; a folder or zip of images is prepared into the cache, once, and opened.

    The place in the cache follows from the absolute path, the files' names, sizes and times, and the options.
    Processes that ask for the same set at the same time wait for the first. UserError as for prepare(), and
    for options that contradict a set already prepared.
    """
    path = Path(path).expanduser()
    if path.is_dir() and is_prepared(path):
        dataset = Dataset.open(path)
        _check(dataset, path, options)
        return dataset
    folder = cached_path(path, cache_dir, **options)
    if not (folder / "dataset.json").exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another cache") from error
        with locked(folder.parent, wait=True):
            info = prepare(path, folder, **options)
        if tell is not None:
            tell(info)
    return Dataset.open(folder)


def cached_path(path: str | Path, cache_dir: str | Path | None = None, **options: Any) -> Path:
    """Where open_or_prepare keeps the prepared form of a folder or zip."""
    path = Path(path).expanduser()
    root = Path(cache_dir) if cache_dir is not None else Path(platformdirs.user_cache_dir("stylegan-torch")) / "data"
    kept = {key: value for key, value in options.items() if key not in ("workers", "progress") and value is not None}
    if "resolution" in kept:
        kept["resolution"] = parse_resolution(kept["resolution"])
    source = open_source(path, bool(options.get("classes", False)))
    text = json.dumps([source.description, source.listing, kept], sort_keys=True)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem)[:40] or "images"
    return root / f"{stem}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def _check(dataset: Dataset, path: Path, options: dict[str, Any]) -> None:
    """UserError where options were given that this prepared set does not have."""
    resolution = options.get("resolution")
    if resolution is not None:
        wanted = parse_resolution(resolution)
        size = (wanted, wanted) if isinstance(wanted, int) else wanted
        if size != dataset.size:
            h, w = dataset.size
            raise UserError(f"{path}: is prepared at {w}x{h}, not at {resolution}; prepare the images again")
    channels = options.get("channels")
    if channels is not None and channels != dataset.channels:
        raise UserError(f"{path}: has {dataset.channels} channels, not {channels}; prepare the images again")
    if options.get("classes") and not dataset.num_classes:
        raise UserError(f"{path}: was prepared without classes; prepare it again with --classes")
