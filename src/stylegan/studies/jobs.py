"""The trainings and measurements of a study, each a command of its own in a process of its own.

A job is one training and its measurement. Commands are the public ones (`stylegan train`, `stylegan evaluate`), so
that each can be repeated by hand; what they print is kept beside the run.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from stylegan.config.presets import Diff
from stylegan.metrics.features import sha256_of
from stylegan.snapshot import write_atomically
from stylegan.studies.plan import Plan


@dataclass(frozen=True)
class Slot:
    """A place where one job runs at a time: a device and the environment that chooses it."""

    name: str
    device: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """One configuration with one seed. problem: why it failed, '' while it has not."""

    plan: Plan
    run: str
    seed: int
    stage: str = "waiting"  # waiting, training, measuring, done, failed
    problem: str = ""
    slot: Slot | None = None
    process: subprocess.Popen[bytes] | None = None
    output: IO[bytes] | None = None

    @property
    def name(self) -> str:
        return f"{self.run} seed {self.seed}"

    @property
    def folder(self) -> Path:
        return self.plan.folder(self.run, self.seed)

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"

    def trained(self) -> dict[str, Any] | None:
        """What was noted when the training ended; None while it has not, or where its model is gone."""
        return _read(self.folder / "trained.json") if self.model.exists() else None

    def measured(self) -> dict[str, Any] | None:
        """The record of its metrics; None where one is missing, or they belong to another model."""
        found = _read(self.folder / "metrics.json")
        if found is None or not self.model.exists():
            return None
        names = set(self.plan.metrics(self.run))
        same = (found.get("model") or {}).get("sha256") == sha256_of(self.model)
        return found if same and names <= set(found.get("metrics", {})) else None

    def train_command(self, device: str) -> list[str]:
        """`stylegan train` for this configuration."""
        plan = self.plan
        height, width = plan.size
        words = ["train", str(plan.data), "--out", str(self.folder)]
        words += ["--preset", plan.table.runs[self.run].preset, "--no-labels", "--device", device]
        words += ["--resolution", str(width) if width == height else f"{width}x{height}"]
        return [*words, *as_arguments(plan.settings(self.run, self.seed))]

    def measure_command(self, device: str) -> list[str]:
        """`stylegan evaluate` for its model."""
        plan = self.plan
        words = ["evaluate", str(self.model), str(plan.data), "--metrics", ",".join(plan.metrics(self.run))]
        words += ["--device", device, "--out", str(self.folder / "metrics.json")]
        if plan.features:
            words += ["--features", plan.features]
        return [*words, *plan.measuring]

    def advance(self, slot: Slot) -> bool:
        """Starts the next command this job needs; False where nothing is left to do."""
        self.slot, self.problem = slot, ""
        if self.trained() is None:
            self._start("training", self.train_command(slot.device), slot)
        elif self.measured() is None:
            self._start("measuring", self.measure_command(slot.device), slot)
        else:
            self.stage = "done"
            return False
        return True

    def _start(self, stage: str, words: list[str], slot: Slot) -> None:
        self.stage = stage
        self.folder.mkdir(parents=True, exist_ok=True)
        self.output = (self.folder / f"{stage}.txt").open("ab")
        self.output.write(f"$ stylegan {shlex.join(words)}\n".encode())
        self.output.flush()
        detached: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if sys.platform == "win32"
            else {"start_new_session": True}  # Ctrl-C reaches the study alone, which passes it on once
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stylegan.studies.child", *words],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "STYLEGAN_STUDY": str(os.getpid()), **slot.environment},
            **detached,
        )

    def poll(self) -> bool:
        """Whether its command has ended; then the outcome is in `stage` and `problem`."""
        if self.process is None or self.process.poll() is None:
            return False
        code = self.process.returncode
        self._close()
        if code == 0 and self.stage == "training" and not self.model.exists():
            self.problem, self.stage = "training ended without a model", "failed"
        elif code == 0 and self.stage == "training":
            facts = {"kimg": self.plan.config(self.run, self.seed).schedule.total_kimg, **self._last_report()}
            write_atomically(self.folder / "trained.json", json.dumps(facts, indent=1).encode())
        elif code != 0:
            self.problem = f"{self.stage} ended with {_reason(code)}: {self.last_words()}"
            self.stage = "failed"
        elif self.stage == "measuring" and self.measured() is None:
            self.problem, self.stage = "measuring ended without its results", "failed"
        return True

    def stop(self) -> None:
        """Asks its command to save and end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait(self) -> None:
        """Waits for the end of a command that was asked to stop; the job may go on another time."""
        if self.process is not None:
            self.process.wait()
            self._close()
            self.stage = "waiting"

    def kill(self) -> None:
        """Ends its command at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        self.wait()

    def _close(self) -> None:
        self.process = None
        if self.output is not None:
            self.output.close()

    def _last_report(self) -> dict[str, Any]:
        reports = statistics(self.folder)
        return {"seconds": reports[-1]["time"]["seconds"]} if reports else {}

    def last_words(self) -> str:
        """The last error, or the last line, that its command printed."""
        try:
            text = (self.folder / f"{self.stage}.txt").read_bytes()[-8000:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or lines or [""])[-1][:300]


def as_arguments(diff: Diff) -> list[str]:
    """{"loss": {"r1_gamma": 5}} -> ["--loss.r1_gamma", "5"]."""
    words = []
    for section, values in diff.items():
        for name, value in values.items():
            words += [f"--{section}.{name}", value if isinstance(value, str) else json.dumps(value)]
    return words


def statistics(folder: Path) -> list[dict[str, Any]]:
    """The reports of a run so far; a line that is being written is left out."""
    try:
        text = (folder / "stats.jsonl").read_text(encoding="utf-8")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code}" + (" (killed; was the memory full?)" if code == -9 else "")
