"""A run folder: its lock, its configuration, and what may not change between two sessions.

RUN/config.json, stats.jsonl, log.txt, reals.png, grids/, snapshots/, checkpoints/, tensorboard/,
model.safetensors (the averaged generator as of the last report), timelapse.mp4 (at the end).
"""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stylegan.config import Config
from stylegan.errors import UserError
from stylegan.snapshot import write_atomically

# fields that may differ when a run goes on: they change what is kept, not what is computed
_HOUSEKEEPING = {
    "preset",
    "data.path",
    "training.snapshot_ticks",
    "training.checkpoint_ticks",
    "training.keep_checkpoints",
    "training.keep_every_kimg",
    "training.hang_seconds",
    "training.health",
    "training.micro_batch",
    "training.start_from",
}


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'loss': {'r1_gamma': 10}} -> {'loss.r1_gamma': 10}; tables by resolution stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and not name.endswith("_by_resolution"):
            flat |= flatten(value, name + ".")
        else:
            flat[name] = value
    return flat


FOLDERS = ("checkpoints", "grids", "snapshots")  # of a run
NOTES = (".txt", ".log", ".md", ".json", ".jsonl", ".csv", ".out", ".err")  # that may lie in a run's folder before it


class RunFolder:
    """An exclusively held run folder. UserError where it cannot be written, or is something else's or a process's."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_place(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: the run folder cannot be made ({error.strerror}); choose another --out") from None
        self._lock = FileLock(str(self.path / ".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{path}: another process is training in this folder; wait for it, stop it, or choose another --out"
            ) from None
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None

    def clean(self) -> None:
        """Removes the temporary files of a session that was killed while it wrote."""
        for folder in (self.path, self.path / "grids", self.path / "snapshots"):
            for kind in ("tmp", "png", "mp4"):
                for leftover in folder.glob(f".*.{kind}"):
                    leftover.unlink(missing_ok=True)

    def release(self) -> None:
        """Lets other processes have the folder."""
        self._lock.release()

    def adopt(self, config: Config, extend: bool = False) -> None:
        """Stores the configuration of a new run, or checks that an existing run has the same.

        UserError names the fields that differ. `extend` allows a longer schedule.total_kimg. A folder in which
        nothing was trained yet, because its first command failed, takes any configuration.
        """
        stored = stored_config(self.path)
        if stored is not None and begun(self.path):
            old, new = flatten(stored.model_dump(mode="json")), flatten(config.model_dump(mode="json"))
            differing = {name for name in old if old[name] != new[name]} - _HOUSEKEEPING
            if extend and new["schedule.total_kimg"] > old["schedule.total_kimg"]:
                differing.discard("schedule.total_kimg")
            if differing:
                fields = ", ".join(f"{n} was {old[n]!r} and is now {new[n]!r}" for n in sorted(differing))
                more = "; --extend allows a longer total_kimg" if "schedule.total_kimg" in differing else ""
                raise UserError(
                    f"{self.path}: holds a run with another configuration: {fields}; repeat its settings to go on, "
                    f"or choose another --out{more}"
                )
        if config != stored:
            write_atomically(self.path / "config.json", config.model_dump_json(indent=1).encode())


def check_place(path: Path) -> None:
    """UserError where a folder that holds no run holds images, folders or a data set of somebody else's."""
    if not path.is_dir() or (path / "config.json").exists():
        return
    try:
        entries = sorted(path.iterdir())
    except OSError:  # which taking the folder will say
        return
    for entry in entries:
        foreign = entry.name not in FOLDERS if entry.is_dir() else entry.suffix.lower() not in NOTES
        if foreign and not entry.name.startswith("."):
            raise UserError(
                f"{path}: holds {entry.name}, which is not of a run; choose a new or empty folder for --out"
            )


def begun(path: str | Path) -> bool:
    """Whether something was trained in a folder; not where the first command failed."""
    return any((Path(path) / "checkpoints").glob("*")) or (Path(path) / "stats.jsonl").exists()


def stored_config(path: str | Path) -> Config | None:
    """The configuration of the run in a folder, None where there is no run."""
    file = Path(path) / "config.json"
    if not file.exists():
        return None
    try:
        return Config.model_validate(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not a configuration of this version ({error}); choose another --out") from None


@lru_cache(maxsize=1)
def git_revision() -> str:
    """The revision of the working directory's project, '' where there is none."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
