"""Move bad files of a folder out of the way, and back. Nothing is ever deleted or overwritten.

DIR/quarantine.json        which file came from where, and why; written before anything moves
DIR/files/...              the files, under the paths they had
DIR/dataset.json.before    the labels, where rows of moved files had to be taken out
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stylegan.data.locking import locked
from stylegan.data.shards import write_json
from stylegan.doctor.findings import KINDS, MOVED
from stylegan.errors import UserError

FORMAT = "stylegan-torch quarantine"
MANIFEST = "quarantine.json"
BEFORE = "dataset.json.before"


@dataclass
class Outcome:
    """What was moved, or put back, and what was not and why."""

    done: list[str] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def parse_kinds(text: str) -> tuple[str, ...]:
    """`blank,tiny` -> kinds of findings; `default`. UserError: unknown kinds, or one that is never moved."""
    chosen: list[str] = []
    for word in text.replace(" ", "").split(","):
        if word == "default":
            chosen += MOVED
        elif word not in KINDS or word in ("conflict", "twice"):
            known = ", ".join(kind for kind in KINDS if kind not in ("conflict", "twice"))
            raise UserError(f"--kinds {word!r}: expected default or some of {known}")
        else:
            chosen.append(word)
    return tuple(dict.fromkeys(chosen))


def check_place(data: Path, kind: str, place: Path) -> None:
    """UserError where the data cannot be quarantined, or not there."""
    if kind == "zip":
        raise UserError(
            f"{data}: files inside a zip cannot be moved; unpack it into a folder and run the doctor on that, or leave "
            f"it: `stylegan prepare` leaves unusable files out by itself"
        )
    if kind == "prepared":
        raise UserError(f"{data}: is a prepared data set; quarantine the folder it was made from, and prepare it again")
    root, place = data.resolve(), place.resolve()
    if place == root or root in place.parents or place in root.parents:
        raise UserError(f"{place}: lies inside the images' folder, or around it; choose a folder beside it")
    if place.exists() and not place.is_dir():
        raise UserError(f"{place}: is a file; give a folder")
    if place.is_dir() and not (place / MANIFEST).exists() and any(p.name != ".lock" for p in place.iterdir()):
        raise UserError(f"{place}: is not empty and no quarantine; choose a new folder")


def quarantine(
    root: Path,  # the folder of the images
    place: Path,
    findings: Mapping[str, Mapping[str, str]],  # kind -> name -> reason
    kinds: Sequence[str] = MOVED,
) -> Outcome:
    """Moves the files of these kinds to `place`; see `restore`. UserError: cannot be written, or not this folder's."""
    check_place(root, "folder", place)
    root = root.resolve()
    chosen: dict[str, tuple[str, str]] = {}
    protected = findings.get("conflict", {})
    for kind in kinds:
        for name, reason in findings.get(kind, {}).items():
            if name not in protected or KINDS[kind].level == "bad":
                chosen.setdefault(name, (kind, reason))
    outcome = Outcome()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with locked(place):
            manifest: dict[str, Any] = {"format": FORMAT, "version": 1, "files": []}
            if (place / MANIFEST).exists():
                manifest = _read(place)
            if manifest.setdefault("source", str(root)) != str(root):
                raise UserError(f"{place}: holds files of {manifest['source']}; choose another folder")
            taken = {row["stored"] for row in manifest["files"]}
            rows = []
            for name, (kind, reason) in sorted(chosen.items()):
                problem = _outside(root, root / name)
                if problem:
                    outcome.left.append((name, problem))
                    continue
                stored = _free(place, name, taken)
                rows.append({"name": name, "stored": stored, "kind": kind, "reason": reason})
            manifest["files"] += rows
            write_json(place / MANIFEST, manifest)
            for row in rows:
                try:
                    _move(root / row["name"], place / "files" / row["stored"])
                    outcome.done.append(row["name"])
                except OSError as error:
                    outcome.left.append((row["name"], error.strerror or str(error)))
            moved = set(outcome.done)
            left = {name for name, _ in outcome.left}
            manifest["files"] = [row for row in manifest["files"] if row not in rows or row["name"] not in left]
            _unlabel(root, place, manifest, moved)
            write_json(place / MANIFEST, manifest)
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror or error}); choose another folder") from error
    return outcome


def restore(place: Path) -> Outcome:
    """Puts everything back where it was; what is in the way stays, and the quarantined file with it."""
    if not (place / MANIFEST).is_file():
        raise UserError(f"{place}: is no quarantine (there is no {MANIFEST}); give the folder named with --quarantine")
    outcome = Outcome()
    try:
        with locked(place):
            manifest = _read(place)
            root = Path(manifest["source"])
            remaining = []
            for row in manifest["files"]:
                source, target = place / "files" / row["stored"], root / row["name"]
                if not os.path.lexists(source):
                    if not os.path.lexists(target):
                        outcome.left.append((row["name"], "is no longer in the quarantine"))
                    continue
                if os.path.lexists(target):
                    outcome.left.append((row["name"], "another file is there now"))
                    remaining.append(row)
                    continue
                try:
                    _move(source, target)
                    outcome.done.append(row["name"])
                except OSError as error:
                    outcome.left.append((row["name"], error.strerror or str(error)))
                    remaining.append(row)
            _relabel(root, place, manifest, set(outcome.done), bool(remaining))
            manifest["files"] = remaining
            write_json(place / MANIFEST, manifest)
            _tidy(place / "files")
    except OSError as error:
        raise UserError(f"{place}: cannot be read or written ({error.strerror or error})") from error
    return outcome


def _read(place: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}")
        for row in manifest["files"]:
            for path in (row["name"], row["stored"]):
                if Path(path).is_absolute() or ".." in Path(path).parts:
                    raise ValueError(f"path {path}")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place / MANIFEST}: damaged ({error}); put it back from a copy") from error
    return manifest


def _outside(root: Path, path: Path) -> str:
    """Why a file is not moved: it lies elsewhere by way of a link; "" = it is moved."""
    if path.parent.resolve() != path.parent and root not in (path.parent.resolve(), *path.parent.resolve().parents):
        return "lies outside of the folder, behind a link"
    return ""


def _free(place: Path, name: str, taken: set[str]) -> str:
    """A path in the quarantine that nothing has: the name, or name~2, ..."""
    stem, suffix = os.path.splitext(name)
    for number in range(1, 1_000_000):
        stored = name if number == 1 else f"{stem}~{number}{suffix}"
        if stored not in taken and not os.path.lexists(place / "files" / stored):
            taken.add(stored)
            return stored
    raise OSError(errno.EEXIST, "too many files of one name")


def _move(source: Path, target: Path) -> None:
    """Rename, or copy, compare and then remove where the target is on another disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    temporary = target.with_name(target.name + ".part")
    try:
        shutil.copy2(source, temporary, follow_symlinks=False)
        if not temporary.is_symlink() and _sha256(temporary) != _sha256(source):
            raise OSError(errno.EIO, "the copy differs from the original")
        os.rename(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    source.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _table(root: Path, names: set[str]) -> tuple[Path, dict[str, Any], str] | None:
    """(dataset.json, its content, the folder its paths start from), where it has labels."""
    for file in (root / "dataset.json", *(root / top / "dataset.json" for top in {n.partition("/")[0] for n in names})):
        try:
            table = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(table, dict) and isinstance(table.get("labels"), list):
            base = file.parent.relative_to(root).as_posix()
            return file, table, "" if base == "." else base + "/"
    return None


def _name_of(row: Any, base: str) -> str:
    if isinstance(row, list) and row and isinstance(row[0], str):
        return base + row[0].replace("\\", "/").removeprefix("./")
    return ""


def _unlabel(root: Path, place: Path, manifest: dict[str, Any], moved: set[str]) -> None:
    """Takes the moved files out of dataset.json, whose first state is kept in the quarantine."""
    found = _table(root, moved) if moved else None
    if found is None:
        return
    file, table, base = found
    kept = [row for row in table["labels"] if _name_of(row, base) not in moved]
    if len(kept) == len(table["labels"]):
        return
    if not (place / BEFORE).exists():
        shutil.copy2(file, place / BEFORE)
    manifest.setdefault("rows", []).extend(row for row in table["labels"] if _name_of(row, base) in moved)
    write_json(place / MANIFEST, manifest)
    write_json(file, table | {"labels": kept})
    manifest["table"] = {"path": file.relative_to(root).as_posix(), "base": base, "sha256": _sha256(file)}


def _relabel(root: Path, place: Path, manifest: dict[str, Any], back: set[str], partly: bool) -> None:
    """Puts rows of restored files back: the very file of before, where nobody has changed it since."""
    table = manifest.get("table")
    if not table or not back:
        return
    file, base = root / table["path"], table["base"]
    if not partly and file.is_file() and _sha256(file) == table["sha256"] and (place / BEFORE).exists():
        os.replace(place / BEFORE, file)
        del manifest["table"], manifest["rows"]
        return
    now = json.loads(file.read_bytes()) if file.is_file() else {}
    if isinstance(now, dict) and isinstance(now.get("labels"), list):
        there = {_name_of(row, base) for row in now["labels"]}
        rows = [row for row in manifest["rows"] if _name_of(row, base) in back - there]
        write_json(file, now | {"labels": now["labels"] + rows})
        manifest["rows"] = [row for row in manifest["rows"] if _name_of(row, base) not in back]
        manifest["table"]["sha256"] = ""


def _tidy(folder: Path) -> None:
    """Removes empty folders that the quarantine had made for itself."""
    for here, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(here):
            os.rmdir(here)
