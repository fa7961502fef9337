"""Kills a training with SIGKILL at random moments until it has finished; then it must be the uninterrupted one.

    python -m tests.training.kills KILLS [SEED]

A process that has imported everything forks a child for each session, so that a kill costs the child's own time
only. Prints what was survived; exits 1 if the result differs, or a file is corrupt.
"""

from __future__ import annotations

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


def config_of(kills: int) -> stylegan.Config:
    """About two steps per kill, with a checkpoint and a report after each look at the schedule."""
    images = 8 * max(kills, 10)
    return small(
        schedule={"total_kimg": images / 1000, "stable_kimg": images / 5000, "fade_kimg": images / 5000,
                  "tick_kimg": 0.008},
        training={"snapshot_ticks": 5, "keep_every_kimg": 0.1},
    )  # fmt: skip


def session(config: stylegan.Config, run: Path, limit: float, aimed: bool = False) -> str:
    """One child that is killed after `limit` seconds; aimed: then as soon as it saves. How it ended."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if go(config, run).finished else 1
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", flush=True)
        finally:
            os._exit(code)
    checkpoints = run / "checkpoints"
    while time.monotonic() - start < limit or (aimed and not saving(checkpoints) and time.monotonic() - start < 20):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "finished" if status == 0 else "failed"
        time.sleep(0.0002 if aimed else 0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed"


def leftovers(run: Path) -> set[tuple[Path, float]]:
    """Temporary files and folders, and when they were made."""
    paths = (*run.glob("checkpoints/.*"), *run.glob(".*.*"), *run.glob("[gs]*/.*"))
    return {(path, path.stat().st_ctime) for path in paths}


def saving(checkpoints: Path) -> bool:
    return checkpoints.is_dir() and any(name.startswith(".") for name in os.listdir(checkpoints))


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
    config = config_of(kills)
    folder = Path(tempfile.mkdtemp(prefix="stylegan-kills-"))
    run, counts = folder / "run", Counter[str]()
    begin = time.monotonic()
    while True:
        more = counts["killed"] < kills
        limit, aimed = (random.uniform(0.0, 0.7), random.random() < 0.4) if more else (600.0, False)
        before = leftovers(run)
        ending = session(config, run, limit, aimed)
        counts[ending] += 1
        if ending == "failed":
            return 1
        left = leftovers(run)
        counts["while saving"] += any(path.parent.name == "checkpoints" for path, _ in left - before)
        counts["while writing another file"] += any(path.parent.name != "checkpoints" for path, _ in left - before)
        check_files(run)
        if ending == "finished":
            break
    assert not leftovers(run)
    survived = outcome(run)
    assert session(config, folder / "whole", 600.0) == "finished"
    assert_same(survived, outcome(folder / "whole"))
    print(f"survived {dict(counts)} in {time.monotonic() - begin:.0f} s", flush=True)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
