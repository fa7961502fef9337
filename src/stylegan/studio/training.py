"""Runs for the Training page: state, curves, health, previews. Paths stay here; pages get ids and numbers."""

from __future__ import annotations

import json
import math
import re
import shutil
import threading
from pathlib import Path
from typing import Any

from stylegan.studio.library import Library, RunEntry, Unknown

MAX_LOG = 64 << 20  # bytes of stats.jsonl that are read, from the end
MAX_POINTS = 1500  # of a curve; longer ones are thinned out evenly
HEALTH_KEPT = 8


def overview(library: Library) -> dict[str, Any]:
    """All runs, briefly, and the space that is left."""
    free = []
    for folder in library.folders:
        try:
            free.append(shutil.disk_usage(folder).free)
        except OSError:
            continue
    return {"runs": [summary(entry) for entry in library.runs()], "free_bytes": min(free, default=None)}


def summary(entry: RunEntry) -> dict[str, Any]:
    """One run: numbers and words, no paths."""
    run = entry.run
    last = _last_entry(entry.path / "stats.jsonl")
    grids = grid_numbers(entry)
    left = (last.get("time") or {}).get("seconds_left")
    return clean({
        "id": entry.id, "name": entry.name, "state": run.state, "kimg": run.kimg, "total_kimg": run.total_kimg,
        "resolution": run.resolution, "rate": run.rate, "updated": run.updated, "metric": run.metric,
        "best": run.best, "best_kimg": run.best_kimg, "disk_bytes": run.disk_bytes, "note": _no_paths(run.note),
        "grid": grids[-1] if grids else None, "seconds_left": left if run.state == "running" else None,
        "health": health(last), "schedule": last.get("schedule") or {},
    })  # fmt: skip


def details(entry: RunEntry) -> dict[str, Any]:
    """One run in full: every preview's number, the curves, and the latest health messages."""
    lines = read_log(entry.path / "stats.jsonl")
    grids = grid_numbers(entry)
    messages: list[dict[str, Any]] = []
    seen: set[str] = set()
    for line in reversed(lines):
        for item in health(line):
            if item["code"] not in seen:
                seen.add(item["code"])
                messages.append({**item, "until": None if line is lines[-1] else line.get("kimg")})
    return {**summary(entry), **clean({"grids": grids, "curves": curves(lines), "messages": messages[:HEALTH_KEPT]}),
            "reals": (entry.path / "reals.png").is_file()}  # fmt: skip


def curves(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Columns of numbers against kimg: losses, schedule, time, metrics; thinned out where they are long."""
    step = max(1, math.ceil(len(lines) / MAX_POINTS))
    kept = lines[::step] + (lines[-1:] if lines and (len(lines) - 1) % step else [])
    names: dict[str, None] = {}
    for line in kept:
        for group in ("loss", "schedule", "time", "metrics", "health"):
            values = line.get(group)
            for name, value in values.items() if isinstance(values, dict) else ():
                if _is_number(value):
                    names[f"{group}.{name}"] = None
    columns: dict[str, list[float | None]] = {"kimg": [_number(line.get("kimg")) for line in kept]}
    for name in names:
        group, key = name.split(".", 1)
        columns[name] = [_number((line.get(group) or {}).get(key)) for line in kept]
    return columns


def health(line: dict[str, Any]) -> list[dict[str, Any]]:
    """What a log entry says is wrong, in plain words; [] where it says nothing.

    Each message has its code, since (kimg), text and remedy in English, and kind and values for other languages.
   """
    from stylegan.training.health.judgement import Finding
    from stylegan.training.health.words import REMEDIES, figures, kind_of, seen

    found = line.get("health")
    findings = found.get("findings") if isinstance(found, dict) else None
    messages = []
    for item in findings[:HEALTH_KEPT] if isinstance(findings, list) else []:
        if not isinstance(item, dict) or not isinstance(item.get("code"), str):
            continue
        code, since = item["code"][:80], _number(item.get("since"))
        numbers = {name: float(v) for name, v in item.items() if name != "since" and _number(v) is not None}
        message: dict[str, Any] = {"code": code, "since": since, "kind": None, "values": {}}
        finding = Finding(code, since or 0.0, numbers)
        try:
            text, values = seen(finding), figures(finding)
            message |= {"kind": kind_of(finding).replace(", ", "-").replace(" ", "-"), "values": values}
        except (KeyError, ValueError):  # a finding of a newer version, or one that lacks a number
            text = code
        messages.append(message | {"text": text[:1].upper() + text[1:], "remedy": REMEDIES.get(code, "")})
    return messages


def grid_numbers(entry: RunEntry) -> list[int]:
    """Images shown at each preview, ascending."""
    return sorted(_grids(entry))


def grid_file(entry: RunEntry, number: int) -> Path:
    """The preview at that many images; Unknown where there is none."""
    try:
        return _grids(entry)[number]
    except KeyError:
        raise Unknown(str(number)) from None


def _grids(entry: RunEntry) -> dict[int, Path]:
    found = {}
    for path in (entry.path / "grids").glob("fakes-*.png"):
        match = re.fullmatch(r"fakes-(\d{1,15})\.png", path.name)
        if match and not path.is_symlink():
            found[int(match[1])] = path
    return found


_logs: dict[Path, tuple[tuple[int, int], list[dict[str, Any]]]] = {}
_reading = threading.Lock()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log, from a cache where the file has not changed; half-written lines are left out."""
    try:
        stat = path.stat()
    except OSError:
        return []
    stamp = (stat.st_mtime_ns, stat.st_size)
    with _reading:
        if path in _logs and _logs[path][0] == stamp:
            return _logs[path][1]
        entries = []
        with path.open("rb") as file:
            file.seek(max(0, stat.st_size - MAX_LOG))
            for line in file.read(MAX_LOG).splitlines():
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(entry, dict):
                    entries.append(entry)
        if len(_logs) >= 8:
            _logs.clear()
        _logs[path] = (stamp, entries)
        return entries


def _last_entry(path: Path, tail: int = 1 << 17) -> dict[str, Any]:
    """The last whole line of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - tail))
            lines = file.read(tail).splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            return entry
    return {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    """A finite float; None for everything else, NaN included."""
    if not _is_number(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def clean(value: Any) -> Any:
    """The same with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _no_paths(text: str) -> str:
    """The words with nothing but the last part of absolute paths."""
    return re.sub(r"(?<![\w.])(?:/[^\s/:]+)+/([^\s/:]+)", r"\1", text)
