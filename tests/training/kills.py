"""Kills trainings with SIGKILL at random moments; each must end as the uninterrupted one does.

    python -m tests.training.kills KILLS [SEED]

A process that has imported everything forks a child for each session, so that a kill costs the child's own time
only. Prints what was survived; exits 1 if the result differs, or a file is corrupt.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter  # noqa: F401 - imported before forking

import stylegan
from stylegan.training import checkpoint
from tests.training.small import assert_same, go, outcome, small

CONFIG = small(  # 120 steps, with a report and a checkpoint after every second one
    schedule={"total_kimg": 0.48, "stable_kimg": 0.096, "fade_kimg": 0.096, "tick_kimg": 0.008},
    training={"snapshot_ticks": 5, "keep_every_kimg": 0.1},
)


def session(run: Path, limit: float, aim: str = "") -> str:
    """One child that is killed after `limit` seconds; with an aim, when it next writes a temporary file there."""
    start, before = time.monotonic(), leftovers(run)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if go(CONFIG, run).finished else 1
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", flush=True)
        finally:
            os._exit(code)
    while time.monotonic() - start < limit or (aim and not in_folder(aim, run, before)):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "finished" if status == 0 else "failed"
        time.sleep(0.0002 if aim else 0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed"


def leftovers(run: Path) -> set[tuple[Path, float]]:
    """Temporary files and folders, and when they were made."""
    paths = (*run.glob("checkpoints/.*"), *run.glob(".*.*"), *run.glob("[gs]*/.*"))
    found = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # finished, or cleaned up, in the meantime
            found.add((path, path.stat().st_ctime))
    return found


def in_folder(aim: str, run: Path, before: set[tuple[Path, float]]) -> bool:
    """Whether something is being written: aim is 'checkpoints', or 'other' for everything else."""
    return any((path.parent.name == "checkpoints") == (aim == "checkpoints") for path, _ in leftovers(run) - before)


def check_files(run: Path) -> None:
    """Everything under its final name is whole at every moment."""
    for path in [run / "model.safetensors", *run.glob("snapshots/*.safetensors")]:
        if path.exists():
            stylegan.load(path)
    loaded, complaints = checkpoint.latest(run / "checkpoints")
    assert not complaints, complaints
    assert loaded is not None or not list(run.glob("checkpoints/[0-9]*"))


def main(kills: int, seed: int = 0) -> int:
    torch.set_num_threads(1)
    random.seed(seed)
    folder = Path(tempfile.mkdtemp(prefix="stylegan-kills-"))
    begin, counts = time.monotonic(), Counter[str]()
    assert session(folder / "whole", 600.0) == "finished"
    whole = outcome(folder / "whole")
    while counts["killed"] < kills:
        run = folder / f"run{counts['finished']}"
        more, ending = True, "killed"
        while ending == "killed":
            more = counts["killed"] < kills
            limit = random.uniform(0.0, 1.0) if more else 600.0
            aim = random.choice(["", "", "checkpoints", "other"]) if more else ""
            before = leftovers(run)
            ending = session(run, limit, aim)
            counts[ending] += 1
            counts["while saving"] += in_folder("checkpoints", run, before)
            counts["while writing another file"] += in_folder("other", run, before)
            check_files(run)
        if ending == "failed":
            return 1
        assert not leftovers(run)
        assert_same(outcome(run), whole)
    print(f"survived {dict(counts)} in {time.monotonic() - begin:.0f} s", flush=True)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
