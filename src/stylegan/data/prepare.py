"""Turn a source of images into a prepared data set: the work behind `stylegan prepare`.

Interrupted at any time, the same call continues; the result depends on the arguments only, to the byte, and
not on the number of worker processes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL

from stylegan import __version__
from stylegan.data import shards
from stylegan.data.dataset import VERSION, check_arrays
from stylegan.data.decode import probe
from stylegan.data.locking import locked
from stylegan.data.pyramid import (
    FILTERS,
    FITS,
    Size,
    choose_size,
    levels_of,
    parse_colour,
    parse_resolution,
)
from stylegan.data.report import PreparedInfo, progress_bar, skipped_lines
from stylegan.data.shards import Settings, ShardJob
from stylegan.data.sources import FORMAT, ArrayItem, Source, is_prepared, open_source
from stylegan.data.workers import IN_PROCESS, Report, default_workers, run_jobs
from stylegan.errors import UserError

PROBED = 500  # images looked at to choose resolution and channels
OWN_FILES = (
    "dataset.json",
    "prepare.json",
    "classes.npy",
    "shards",
    "level-*",
    "journal-*.tmp",
    "*.json.tmp",
)
SPARE_BYTES = 64 << 20  # left free on the disk
NAMES_OF = {"listing": "names, sizes or times of the source's files", "images": "number of images"}

Progress = Literal["bar"] | Report | None


def prepare(
    src: str | Path,
    out: str | Path,
    *,
    resolution: str | int | Size | None = None,  # 256, "WIDTHxHEIGHT", (height, width); None = chosen
    fit: str = "crop",
    channels: int | None = None,  # None: 1 if all (sampled) images are grey, else 3
    filter: str = "lanczos",
    background: str = "white",  # behind transparent places and around letterboxed images
    classes: bool = False,  # top-level sub-folders are classes
    workers: int | None = None,  # processes; None = one per core
    attribution: str = "",  # "" = the NOTICE.txt of the source, where there is one
    overwrite: bool = False,
    progress: Progress = None,  # "bar", or a function that receives the number of images done
) -> PreparedInfo:
    """Prepare a folder or zip. UserError: anything the user can put right; bad files are only reported."""
    src, out = Path(src).expanduser(), Path(out).expanduser()
    check_options(fit, filter, channels, workers)
    if resolution is not None:
        resolution = parse_resolution(resolution)
    colour = parse_colour(background)
    if src.resolve() == out.resolve():
        raise UserError(f"{out}: is the folder of the images themselves; choose another one for the data set")
    source = open_source(src, classes, exclude=out)
    if len(source.items) < 2:
        raise UserError(f"{src}: only one image ({source.items[0].name}); training needs at least two")
    sizes, found, note = _look(source)
    size, how = choose_size(resolution, fit, sizes)
    notes = [f"size {how}"]
    if channels is None:
        channels = found
        notes.append(note)
    if source.notice and not attribution:
        attribution = source.notice
        notes.append("attribution as in the notice beside the images")
    settings = Settings(tuple(levels_of(size)), channels, fit, filter, colour)
    return _write(source, out, settings, classes, attribution, workers, overwrite, progress, notes)


def prepare_arrays(
    images: np.ndarray,  # uint8 [n, C, H, W]
    classes: Sequence[int] | np.ndarray | None,  # [n], None = no labels
    out: str | Path,
    *,
    class_names: list[str] | None = None,
    attribution: str = "",
    description: str = "arrays in memory",
    overwrite: bool = False,
) -> PreparedInfo:
    """Write arrays as a prepared set; the same arrays again are recognised. UserError as for prepare()."""
    labels, num_classes = check_arrays(images, classes, class_names)
    n, channels, h, w = images.shape
    items = [
        ArrayItem(f"{i:06d}", images[i].transpose(1, 2, 0), None if labels is None else int(labels[i]))
        for i in range(n)
    ]
    digests = [shards.digest_of(image) for image in images]
    listing = shards.fingerprint_of((h, w), channels, digests, labels, num_classes)
    source = Source(items, description, listing, num_classes, class_names)
    settings = Settings(tuple(levels_of((h, w))), channels, "crop", "lanczos", (255, 255, 255))
    return _write(source, Path(out).expanduser(), settings, False, attribution, 1, overwrite, None, [])


def check_options(fit: str, filter: str, channels: int | None, workers: int | None) -> None:
    """UserError: unknown fit or filter, impossible counts."""
    if fit not in FITS:
        raise UserError(f"fit {fit!r}: expected one of {', '.join(FITS)}")
    if filter not in FILTERS:
        raise UserError(f"filter {filter!r}: expected one of {', '.join(FILTERS)}")
    if channels is not None and not 1 <= channels <= 256:
        raise UserError(f"channels {channels}: expected 1 (grey), 3 (RGB), 4 (RGBA) or the count of .npy images")
    if workers is not None and workers < 1:
        raise UserError(f"workers {workers}: must be at least 1")


def _look(source: Source) -> tuple[list[Size], int, str]:
    """((height, width) of a sample, channels, a sentence on the channels). UserError: nothing is readable."""
    order = [source.items[i] for i in probe_order(len(source.items))]
    sizes: list[Size] = []
    kinds: Counter[int] = Counter()
    failed: list[tuple[str, str]] = []
    for item in order:
        if len(sizes) >= PROBED:
            break
        try:
            height, width, channels = probe(item.load())
        except Exception as error:
            failed.append((item.name, shards.reason_of(error)))
            continue
        sizes.append((height, width))
        kinds[channels] += 1
    if not sizes:
        raise UserError(_nothing_left(source, failed))
    sampled = "all images" if len(sizes) == len(source.items) else f"all {len(sizes)} sampled images"
    if set(kinds) == {1}:
        return sizes, 1, f"1 channel, because {sampled} are grey"
    if len(kinds) == 1 and not set(kinds) & {1, 3, 4}:
        (channels,) = kinds
        return sizes, channels, f"{channels} channels, as in {sampled}"
    return sizes, 3, "3 channels (RGB), because there are colour images"


def probe_order(count: int) -> list[int]:
    """The order in which images are looked at to choose a size: spread over the source first, then the rest."""
    step = max(1, count // PROBED)
    return [*range(0, count, step), *(i for i in range(count) if i % step)]


def _nothing_left(source: Source, failed: list[tuple[str, str]]) -> str:
    first = "\n".join(skipped_lines(failed, 3))
    count = len(source.items)
    return f"{source.description}: none of the {count} image files could be used; the first ones:\n{first}"


def _write(
    source: Source,
    out: Path,
    settings: Settings,
    by_folder: bool,
    attribution: str,
    workers: int | None,
    overwrite: bool,
    progress: Progress,
    notes: list[str],
) -> PreparedInfo:
    """Lock, compare with what is there, make the missing shards, finish."""
    size = settings.levels[-1]
    per_shard = shards.shard_size(len(source.items), settings.channels * size[0] * size[1])
    plan = {
        "format": FORMAT,
        "version": VERSION,
        "source": source.description,
        "listing": source.listing,
        "images": len(source.items),
        "resolution": list(size),
        "channels": settings.channels,
        "fit": settings.fit,
        "filter": settings.filter,
        "background": list(settings.background),
        "classes": by_folder,
        "num_classes": source.num_classes,
        "class_names": source.class_names,
        "attribution": attribution,
        "per_shard": per_shard,
    }
    try:
        _check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            if overwrite:
                wipe(out)
            _compare(out, plan)
            begin = time.monotonic()
            jobs = _missing(source, out, settings, per_shard)
            todo = sum(len(job.items) for job in jobs)
            complete = not jobs and (out / "dataset.json").exists()
            if jobs:
                (out / "dataset.json").unlink(missing_ok=True)
                _check_space(out, settings.image_bytes * todo)
                for folder in ("shards", *(shards.level_folder(level) for level in settings.levels)):
                    (out / folder).mkdir(exist_ok=True)
                shards.write_json(out / "prepare.json", plan)
                if todo < len(source.items):
                    notes.append(f"continued after {len(source.items) - todo:,} images of an earlier run")
                count = workers or (1 if todo < IN_PROCESS else default_workers())
                with _reporting(progress, len(source.items), len(source.items) - todo) as report:
                    run_jobs(jobs, min(count, len(jobs)), report)
            elif complete:
                notes.append("was already prepared with these arguments")
            return _finish(source, out, settings, plan, time.monotonic() - begin, todo, notes, complete)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror or error}); choose another folder, or free space and run again"
        ) from error


def _reporting(progress: Progress, total: int, start: int) -> AbstractContextManager[Report]:
    if progress == "bar":
        return progress_bar(total, start)
    return nullcontext(progress if callable(progress) else lambda done: None)


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; give a folder to write the data set to")
    if out.is_dir() and not is_prepared(out) and any(p.name != ".lock" for p in out.iterdir()):
        raise UserError(f"{out}: is not empty and holds no prepared data set; choose a new or empty folder")


def wipe(out: Path) -> None:
    """Remove a prepared set's own files, and nothing else."""
    for pattern in OWN_FILES:
        for path in out.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _compare(out: Path, plan: dict[str, Any]) -> None:
    """UserError where an earlier run, finished or not, had other arguments."""
    path = out / "prepare.json"
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged; use --overwrite to start afresh") from error
    different = [
        f"{NAMES_OF.get(key, key)}" + ("" if key == "listing" else f" ({before.get(key)} there, {value} now)")
        for key, value in plan.items()
        if before.get(key) != value
    ]
    if different:
        raise UserError(
            f"{out}: was prepared with other arguments: {'; '.join(different)}. Choose another folder, or "
            f"--overwrite to start afresh"
        )


def _missing(source: Source, out: Path, settings: Settings, per_shard: int) -> list[ShardJob]:
    """The shards that are not finished yet."""
    jobs = []
    for number, start in enumerate(range(0, len(source.items), per_shard)):
        if shards.read_sidecar(out, number, settings) is None:
            jobs.append(ShardJob(number, source.items[start : start + per_shard], str(out), settings))
    return jobs


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed + SPARE_BYTES > free:
        raise UserError(
            f"{out}: needs {(needed + SPARE_BYTES) / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; choose another disk "
            f"or a lower resolution"
        )


def _finish(
    source: Source,
    out: Path,
    settings: Settings,
    plan: dict[str, Any],
    seconds: float,
    new_images: int,
    notes: list[str],
    complete: bool,
) -> PreparedInfo:
    """Gather the shards' records and write classes.npy and dataset.json."""
    records = []
    for number in range(-(-len(source.items) // plan["per_shard"])):
        record = shards.read_sidecar(out, number, settings)
        if record is None:
            raise UserError(f"{out}: shard {number} is missing or damaged; run the same command again")
        records.append(record)
    skipped = [(skip["name"], skip["reason"]) for record in records for skip in record["skipped"]]
    digests = [digest for record in records for digest in record["digests"]]
    if len(digests) < 2:
        wipe(out)
        if not digests:
            raise UserError(_nothing_left(source, skipped))
        raise UserError(f"{source.description}: only one image could be used; training needs at least two")
    labels = [label for record in records for label in record["labels"]]
    classes = np.array(labels, np.int64) if source.num_classes else None
    counts = {}
    if classes is not None:
        names = source.class_names or [str(number) for number in range(source.num_classes)]
        numbers = np.bincount(classes, minlength=source.num_classes)
        counts = {name: int(number) for name, number in zip(names, numbers, strict=True)}
        empty = [name for name, number in counts.items() if not number]
        if empty:
            notes.append(f"{len(empty)} classes have no image (first: {empty[0]})")
    fingerprint = shards.fingerprint_of(settings.levels[-1], settings.channels, digests, classes, source.num_classes)
    disk = sum(
        shards.shard_bytes(record["count"], settings.channels, level) for record in records for level in settings.levels
    )
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "library": f"stylegan-torch {__version__}",
        "pillow": PIL.__version__,
        "source": source.description,
        "size": list(settings.levels[-1]),  # height, width
        "channels": settings.channels,
        "count": len(digests),
        "levels": [list(level) for level in settings.levels],
        "num_classes": source.num_classes,
        "class_names": source.class_names,
        "class_counts": list(counts.values()),
        "fit": settings.fit,
        "filter": settings.filter,
        "background": list(settings.background),
        "attribution": plan["attribution"],
        "fingerprint": fingerprint,
        "shards": [record["count"] for record in records],
        "enlarged": sum(record["enlarged"] for record in records),
        "greyed": sum(record["greyed"] for record in records),
        "duplicates": len(digests) - len(set(digests)),
        "ignored": source.ignored,
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped],
    }
    if not complete:
        if classes is not None:
            temporary = out / "classes.npy.tmp"
            with open(temporary, "wb") as file:
                np.save(file, classes)
            os.replace(temporary, out / "classes.npy")
        shards.write_json(out / "dataset.json", meta)
    return PreparedInfo(
        path=out,
        count=len(digests),
        size=settings.levels[-1],
        channels=settings.channels,
        levels=list(settings.levels),
        fingerprint=fingerprint,
        class_counts=counts,
        skipped=skipped,
        ignored=source.ignored,
        enlarged=meta["enlarged"],
        greyed=meta["greyed"],
        duplicates=meta["duplicates"],
        disk_bytes=disk,
        seconds=seconds,
        new_images=new_images,
        notes=notes,
    )
