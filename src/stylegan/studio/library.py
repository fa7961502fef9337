"""The models and runs a studio shows. Pages name them by ids made here; no page can name a file.

What is found follows from the start arguments alone: model files, `hf://` names, folders with runs and models.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylegan import hub
from stylegan.doctor.runs import Run, find_runs
from stylegan.errors import UserError
from stylegan.formats import sniff

if TYPE_CHECKING:
    from stylegan.snapshot import Snapshot

log = logging.getLogger(__name__)
KEPT = 3  # models held in memory
LOOK_AGAIN = 2.0  # seconds between two looks at the folders, or at a model's file


class Unknown(KeyError):
    """No such model, run or upload."""


def make_id(text: str) -> str:
    """A short name for something, the same each time: 12 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


@dataclass
class Entry:
    """A model file and what to call it."""

    id: str
    name: str
    path: Path
    run: str | None = None  # id of the run it belongs to


@dataclass
class RunEntry:
    """A run folder."""

    id: str
    name: str
    path: Path
    run: Run


@dataclass
class Opened:
    """A loaded model. `cache` is the renderer's, for one state of the file."""

    entry: Entry
    snapshot: Snapshot
    stamp: tuple[int, int]
    checked: float
    cache: dict[str, Any] = field(default_factory=dict)


class Library:
    """What the start arguments name. UserError where they name nothing that can be shown."""

    def __init__(self, places: list[str], device: str = "cpu") -> None:
        self.device = device
        self.folders: list[Path] = []
        self._fixed: list[Entry] = []
        self._entries: dict[str, Entry] = {}
        self._runs: dict[str, RunEntry] = {}
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._next_scan = 0.0
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        for place in places:
            self._add(place)
        self.scan(force=True)

    def _add(self, place: str) -> None:
        path = hub.fetch(place) if hub.is_reference(place) else Path(place).expanduser()
        if path.is_dir():
            self.folders.append(path)
            return
        if not path.exists():
            raise UserError(f"{place}: no such file or folder; give a model, or the folder that holds your runs")
        if sniff(path) != "snapshot":
            raise UserError(
                f"{place}: another program's model; make it one of this project first: "
                f"stylegan convert {place} model.safetensors"
            )
        name = place if hub.is_reference(place) else f"{path.parent.resolve().name}/{path.name}"
        self._fixed.append(Entry(make_id(str(path.resolve())), name, path))

    def scan(self, force: bool = False) -> None:
        """Looks at the folders again if the last look is a while ago."""
        with self._lock:
            begin = time.monotonic()
            if not force and begin < self._next_scan:
                return
            entries = {entry.id: entry for entry in self._fixed}
            runs: dict[str, RunEntry] = {}
            for folder in self.folders:
                for found in _runs_in(folder):
                    run = self._run(folder, Path(found.path), found)
                    runs[run.id] = run
                    for entry in _models_of(run):
                        entries.setdefault(entry.id, entry)
                for path in sorted(folder.glob("*.safetensors")):
                    entry = Entry(make_id(str(path.resolve())), path.name, path)
                    if entry.id not in entries and _is_model(path):
                        entries[entry.id] = entry
            self._entries, self._runs = entries, runs
            # large folders are looked at less often, so that looking never takes more than a tenth of the time
            now = time.monotonic()
            self._next_scan = now + max(LOOK_AGAIN, 9 * (now - begin))

    @staticmethod
    def _run(folder: Path, path: Path, found: Run) -> RunEntry:
        inside = path.resolve().relative_to(folder.resolve())
        return RunEntry(make_id(str(path.resolve())), str(inside) if inside.parts else path.resolve().name, path, found)

    def models(self) -> list[Entry]:
        """Every model, in the order of the arguments, then by run."""
        self.scan()
        return list(self._entries.values())

    def runs(self) -> list[RunEntry]:
        """Every run, by name."""
        self.scan()
        return list(self._runs.values())

    def entry(self, id: str) -> Entry:
        """The model with an id; Unknown otherwise."""
        try:
            return self._entries[id]
        except KeyError:
            raise Unknown(id) from None

    def run(self, id: str) -> RunEntry:
        """The run with an id; Unknown otherwise."""
        try:
            return self._runs[id]
        except KeyError:
            raise Unknown(id) from None

    def open(self, id: str) -> Opened:
        """The model, loaded; loaded anew where training has replaced the file. Keeps a few in memory."""
        from stylegan.snapshot import load

        with self._loading:
            entry, opened = self.entry(id), self._opened.get(id)
            if opened is not None and time.monotonic() - opened.checked < LOOK_AGAIN:
                self._opened.move_to_end(id)
                return opened
            try:
                stat = entry.path.stat()
            except OSError:
                self._opened.pop(id, None)
                raise UserError(f"{entry.name}: the file is gone") from None
            stamp = (stat.st_mtime_ns, stat.st_size)
            if opened is None or opened.stamp != stamp:
                opened = Opened(entry, load(entry.path, device=self.device), stamp, time.monotonic())
                self._opened[id] = opened
                while len(self._opened) > KEPT:
                    self._opened.popitem(last=False)
            opened.checked = time.monotonic()
            self._opened.move_to_end(id)
            return opened


def _runs_in(folder: Path) -> list[Run]:
    """The runs of a folder; none, with a line in the log, where one of them is damaged in a way nobody expected."""
    try:
        return find_runs(folder)
    except UserError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OSError):
        log.exception("the runs in %s cannot be listed", folder)
        return []


def _is_model(path: Path) -> bool:
    """Whether the header says that this project wrote it. The header alone is read, and no more than 64 MiB."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return length < 1 << 26 and b'"stylegan"' in file.read(length)
    except OSError:
        return False


def _models_of(run: RunEntry) -> list[Entry]:
    """The newest model of a run and its snapshots, newest first."""
    found = []
    newest = run.path / "model.safetensors"
    if newest.is_file():
        found.append(Entry(make_id(str(newest.resolve())), run.name, newest, run.id))
    for path in sorted((run.path / "snapshots").glob("*.safetensors"), reverse=True):
        match = re.search(r"(\d+)kimg", path.name)
        label = f"{int(match[1]):,} kimg" if match else path.stem
        found.append(Entry(make_id(str(path.resolve())), f"{run.name} · {label}", path, run.id))
    return found
