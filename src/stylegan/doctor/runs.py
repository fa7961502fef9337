"""Runs below a folder: what each one is, whether it is running, and how far it has come."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stylegan.errors import UserError

TAIL = 1 << 16  # bytes of a log that are read
HIGHER_IS_BETTER = re.compile(r"^(pr|precision|recall|density|coverage|is\d|inception)", re.IGNORECASE)


@dataclass
class Run:
    """One run folder."""

    path: str
    state: str  # running, finished, stopped, crashed, new
    kimg: float = 0.0
    total_kimg: float = 0.0
    resolution: str = ""  # width x height; '8x8 of 64x64' where it has not grown to its full size
    rate: float = 0.0  # images per second, at the last report
    updated: float = 0.0  # time of the last sign of life, seconds since 1970
    grid: str = ""  # the newest preview
    metric: str = ""  # name of the metric
    best: float | None = None  # its best value
    best_kimg: float = 0.0
    disk_bytes: int = 0
    note: str = ""  # why it ended, where that is not plain
    health: list[str] = field(default_factory=list)  # codes of what was found at the last report: collapse, ...

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


def find_runs(folder: str | Path) -> list[Run]:
    """All runs in or below a folder, by path. UserError: no such folder."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give the one that holds your runs")
    found = []
    for here, folders, files in os.walk(folder):
        if "config.json" in files and _is_run(Path(here) / "config.json"):
            folders.clear()
            found.append(look(Path(here)))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return sorted(found, key=lambda run: run.path)


def _is_run(file: Path) -> bool:
    config = _json(file)
    return {"generator", "schedule", "training"} <= config.keys()


def look(path: Path) -> Run:
    """The state of one run, from its files; nothing is changed."""
    config = _json(path / "config.json")
    last, metric, best, best_kimg = _statistics(path)
    saved = _progress(path)
    kimg = max(last.get("kimg", 0.0), saved.get("nimg", 0) / 1000)
    words = _last_words(path / "log.txt")
    state, note = _state(path, saved, words)
    size = config.get("generator", {}).get("resolution") or (0, 0)
    full = f"{size[1]}x{size[0]}"
    smaller = 2 ** math.ceil(_lod(last.get("schedule")))  # a level that fades in is not reached yet
    reached = full if smaller == 1 else f"{size[1] // smaller}x{size[0] // smaller} of {full}"
    grids = sorted((path / "grids").glob("*.png"))
    disk, updated = _disk(path)
    return Run(
        path=str(path),
        state=state,
        kimg=kimg,
        total_kimg=float(config.get("schedule", {}).get("total_kimg", 0)),
        resolution=reached,
        rate=float(last.get("time", {}).get("images_per_second", 0.0)),
        updated=updated,
        grid=str(grids[-1]) if grids else "",
        metric=metric,
        best=best,
        best_kimg=best_kimg,
        disk_bytes=disk,
        note=note,
        health=_health(last),
    )


def _state(path: Path, saved: dict[str, Any], words: str) -> tuple[str, str]:
    if is_held(path / ".lock"):
        return "running", ""
    told = not saved and words.startswith("finished: ")  # checkpoints take space, and may have been deleted since
    if saved.get("finished") or told:
        return "finished", ""
    if not words and not saved:
        return "new", "has not begun"
    if re.search(r"(^|: )(stopped|already at)\b", words):
        return "stopped", words
    return "crashed", f"last words: {words}" if words else ""


def _lod(schedule: Any) -> float:
    """The lod in a report's part on the schedule; 0 for whatever is none."""
    value = schedule.get("lod") if isinstance(schedule, dict) else None
    return float(value) if isinstance(value, int | float) and 0 <= value <= 16 else 0.0


def _health(last: dict[str, Any]) -> list[str]:
    """The codes of what a report found."""
    health = last.get("health")
    found = health.get("findings") if isinstance(health, dict) else None
    if not isinstance(found, list):
        return []
    return [str(finding["code"]) for finding in found if isinstance(finding, dict) and "code" in finding]


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock file. Asks for a shared lock for a moment; a missing file is not held."""
    if sys.platform == "win32":
        from filelock import FileLock, Timeout

        if not lock.exists():
            return False
        try:
            with FileLock(str(lock), timeout=0):
                return False
        except (Timeout, OSError):
            return True
    import fcntl

    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _statistics(path: Path) -> tuple[dict[str, Any], str, float | None, float]:
    """(last line of stats.jsonl, the first metric's name, its best value, where)."""
    last: dict[str, Any] = {}
    metric, best, where = "", None, 0.0
    for file in (path / "stats.jsonl", *sorted(path.glob("metric*.jsonl"))):
        for entry in _lines(file):
            if file.name == "stats.jsonl":
                last = entry
            metrics = entry.get("metrics") or {}
            for name, value in metrics.items() if isinstance(metrics, dict) else ():
                if not isinstance(value, int | float) or not math.isfinite(value) or (metric and name != metric):
                    continue
                sign = -1 if HIGHER_IS_BETTER.match(name) else 1
                if best is None or sign * value < sign * best:
                    metric, best, where = name, float(value), float(entry.get("kimg", 0.0))
    return last, metric, best, where


def _lines(file: Path) -> list[dict[str, Any]]:
    """The JSON objects of a log; a half-written line is left out."""
    found = []
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _progress(path: Path) -> dict[str, Any]:
    """The progress that the newest readable checkpoint records."""
    for folder in sorted((path / "checkpoints").glob("[0-9]*"), reverse=True):
        progress = _json(folder / "state.json").get("progress")
        if isinstance(progress, dict):
            return progress
    return {}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _last_words(log: Path) -> str:
    """The last line of log.txt without its time."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    line = next((line for line in reversed(lines) if line.strip()), "")
    return re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line)[:300]


def _disk(path: Path) -> tuple[int, float]:
    """(bytes of all files, time of the newest)."""
    total, newest = 0, 0.0
    for here, _, files in os.walk(path):
        for name in files:
            try:
                stat = os.lstat(os.path.join(here, name))
            except OSError:  # a checkpoint that has just been removed
                continue
            total += stat.st_size
            newest = max(newest, stat.st_mtime)
    return total, newest
