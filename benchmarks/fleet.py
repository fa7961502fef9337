"""Jobs over the GPUs of one machine within a number of seconds, their small results in one archive as they come.

    python benchmarks/fleet.py benchmarks/four_gpus.toml --stage 1 --out $OUT [--within 560]

A lent machine is there for minutes, a command on it for less, and what a command wrote comes back only where it was put
in time. So: every job has a GPU (or several, or none) to itself; it begins when its files and GPUs are there and enough
time is left; at the end those still running get SIGTERM, which trainings and studies take as "save and stop"; and
OUT/results.tgz is rewritten every few seconds with each job's log and the files it names. The same command again, on
the same machine, goes on: jobs that ended well are not run again.

The jobs are TOML: a table per job with `run` (bash; $W is the work folder, $OUT what comes back, $GPUS how many GPUs it
has), and, where they differ from the default, `stage` (1; a list for several), `gpus` (1), `needs` (files in $W that
must exist before), `seconds` (it is not begun with less left, 30), `keep` (globs in $W for the archive), `alone`
(nothing else runs beside it, for timing; what is listed below it waits), `each` (a list of strings: one job for each,
which finds its words in $1, $2, ...).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SAVING = 45.0  # seconds that jobs have to save themselves at the end
ARCHIVE = 6.0  # seconds between two archives
LARGEST = 12 << 20  # bytes of a file that is brought back


@dataclass
class Job:
    """One table of the file."""

    name: str
    run: str
    stage: int | list[int] = 1
    gpus: int = 1
    needs: list[str] = field(default_factory=list)
    seconds: float = 30.0
    keep: list[str] = field(default_factory=list)
    alone: bool = False
    words: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    on: list[str] = field(default_factory=list)
    code: int | None = None


class Fleet:
    """The jobs of a stage, the GPUs they share, and the time there is."""

    def __init__(self, jobs: list[Job], gpus: list[str], work: Path, out: Path, within: float) -> None:
        self.jobs, self.free, self.work, self.out = jobs, list(gpus), work, out
        self.begin, self.end = time.monotonic(), time.monotonic() + within
        self.most = len(gpus)
        self.ended = work / "ended"
        self.logs = work / "logs"
        for folder in (self.ended, self.logs, out):
            folder.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begin:5.0f} s] {text}", flush=True)

    def run(self) -> int:
        """How many jobs failed or were not begun."""
        waiting = [job for job in self.jobs if not (self.ended / job.name).exists()]
        running: list[Job] = []
        last = 0.0
        while waiting or running:
            left = self.end - SAVING - time.monotonic()
            if left <= 0:
                break
            for job in list(waiting):
                if self._fits(job, running, left):
                    self._start(job)
                    waiting.remove(job)
                    running.append(job)
                elif job.alone and self._ready(job, left):
                    break
            self._collect(running)
            if not running and not any(self._fits(job, running, left) for job in waiting):
                break  # what is left waits for files that nobody makes, or for more time
            if time.monotonic() - last > ARCHIVE:
                self.archive()
                last = time.monotonic()
            time.sleep(0.2)
        for job in running:
            self.say(f"{job.name}: asked to stop")
            self._signal(job, signal.SIGTERM)
        while running and time.monotonic() < self.end - 5:
            self._collect(running)
            time.sleep(0.2)
        for job in running:
            self._signal(job, signal.SIGKILL)
        for job in waiting:
            self.say(f"{job.name}: not begun")
        self.archive()
        return len(waiting) + sum(job.code != 0 for job in self.jobs if job.process is not None)

    def _fits(self, job: Job, running: list[Job], left: float) -> bool:
        quiet = not running if job.alone else not any(other.alone for other in running)
        return quiet and self._ready(job, left) and len(self.free) >= min(job.gpus, self.most)

    def _ready(self, job: Job, left: float) -> bool:
        return left >= job.seconds and all((self.work / name).exists() for name in job.needs)

    def _start(self, job: Job) -> None:
        count = min(job.gpus, self.most)
        job.on, self.free = self.free[:count], self.free[count:]
        given = {
            "W": str(self.work),
            "OUT": str(self.out),
            "GPUS": str(count),
            "CUDA_VISIBLE_DEVICES": ",".join(job.on),
        }
        self.say(f"{job.name}: begins{' on GPU ' + ', '.join(job.on) if job.on else ''}")
        with (self.logs / f"{job.name}.txt").open("ab") as log:
            job.process = subprocess.Popen(
                ["bash", "-c", job.run, job.name, *job.words],
                stdout=log,
                stderr=log,
                env=os.environ | given,
                start_new_session=True,
            )

    def _collect(self, running: list[Job]) -> None:
        for job in list(running):
            assert job.process is not None
            job.code = job.process.poll()
            if job.code is None:
                continue
            running.remove(job)
            self.free += job.on
            self.say(f"{job.name}: {'done' if job.code == 0 else f'ended with {job.code}'}")
            if job.code == 0:
                (self.ended / job.name).touch()

    def _signal(self, job: Job, number: signal.Signals) -> None:
        """To all processes of the job, as each is the first of a session of its own."""
        assert job.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, number)

    def archive(self) -> None:
        """results.tgz, whole at every moment."""
        part = self.out / "results.part"
        with tarfile.open(part, "w:gz") as archive:
            for pattern in ["logs/*.txt", *[glob for job in self.jobs for glob in job.keep]]:
                for path in sorted(self.work.glob(pattern)):
                    if path.is_file() and path.stat().st_size <= LARGEST:
                        archive.add(path, path.relative_to(self.work))
        part.replace(self.out / "results.tgz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/stylegan-fleet"))
    parser.add_argument("--gpus", default="", help="as 0,1; default: all that nvidia-smi lists, or one that is none")
    parser.add_argument("--within", type=float, default=560.0, help="seconds")
    given = parser.parse_args()
    gpus = given.gpus.split(",") if given.gpus else [str(i) for i in range(_count())]
    jobs = [job for name, table in tomllib.loads(given.jobs.read_text()).items() for job in jobs_of(name, table)]
    jobs = [job for job in jobs if given.stage in (job.stage if isinstance(job.stage, list) else [job.stage])]
    sys.exit(min(Fleet(jobs, gpus, given.work, given.out, given.within).run(), 100))


def jobs_of(name: str, table: dict[str, Any]) -> list[Job]:
    """One, or one for each of `each`, named after its first word."""
    each = table.pop("each", None)
    if each is None:
        return [Job(name, **table)]
    return [Job(f"{name}-{words.split()[0]}", **table, words=shlex.split(words)) for words in each]


def _count() -> int:
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 1
    return max(1, listed.count("GPU "))


if __name__ == "__main__":
    main()
