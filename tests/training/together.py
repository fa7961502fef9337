"""Run by torchrun in tests: trains the runs of a list of jobs, one after the other, in the same processes.

    torchrun --nproc-per-node 2 -m tests.training.together JOBS.json

A job: {"run": folder, "config": {...}, "device": name, "stop_kimg": number or null, "fault": name or ""}. How it ended
is written to RUN/ended-<rank>.json. Faults act in process 1 (or the first, where they are about writing files).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from stylegan.config import Config
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.training import checkpoint
from stylegan.training.step import Trainer
from tests.training.small import go


def at_step(monkeypatch: pytest.MonkeyPatch, nimg: int, act: Any) -> None:
    """Calls act() in the step that follows `nimg` images."""
    original = Trainer._fakes

    def faulty(self: Trainer, half: str, point: Any, lod: float, now: int, part: Any, labels: Any) -> Any:
        if seen.get("nimg") == nimg:
            act(part)
        return original(self, half, point, lod, now, part, labels)

    step, seen = Trainer.step, {"nimg": -1}

    def watched(self: Trainer, point: Any, now: int, parts: Any) -> None:
        seen["nimg"] = now
        step(self, point, now, parts)

    monkeypatch.setattr(Trainer, "_fakes", faulty)
    monkeypatch.setattr(Trainer, "step", watched)


def drifts(monkeypatch: pytest.MonkeyPatch, nimg: int) -> None:
    """One weight of G is another by a bit or two after the step that follows `nimg` images."""
    step = Trainer.step

    def drifting(self: Trainer, point: Any, now: int, parts: Any) -> None:
        step(self, point, now, parts)
        if now == nimg:
            self.G.mapping.layers[0].weight.data[0, 0] *= 1 + 2e-7

    monkeypatch.setattr(Trainer, "step", drifting)


def out_of_memory(part: Any) -> None:
    if len(part.rows) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory")


def breaks(part: Any) -> None:
    print(f"broke at {time.time()}", file=sys.stderr, flush=True)
    raise LookupError("something that nobody thought of")


def no_space(*arguments: Any) -> None:
    raise UserError("the disk is full; make room")


def inject(monkeypatch: pytest.MonkeyPatch, fault: str, rank: int) -> None:
    if fault == "out of memory" and rank == 1:
        at_step(monkeypatch, 48, out_of_memory)
    elif fault == "out of memory at once" and rank == 1:
        at_step(monkeypatch, 0, out_of_memory)
    elif fault == "drift" and rank == 1:
        drifts(monkeypatch, 48)
    elif fault == "disk full" and rank == 0:
        monkeypatch.setattr(checkpoint, "write", no_space)
    elif fault == "SIGTERM" and rank == 1:
        at_step(monkeypatch, 48, lambda part: os.kill(os.getpid(), signal.SIGTERM))
    elif fault == "killed, then hung" and rank == 1:
        attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
        if attempt == "0":
            at_step(monkeypatch, 48, lambda part: os.kill(os.getpid(), signal.SIGKILL))
        elif attempt == "1":
            at_step(monkeypatch, 80, lambda part: time.sleep(1000))
    elif fault == "stopped" and rank == 1:
        at_step(monkeypatch, 48, lambda part: os.kill(os.getpid(), signal.SIGSTOP))
    elif fault == "error" and rank == 1:
        at_step(monkeypatch, 48, breaks)


def main(jobs: str) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    leave, todo = Processes.close, json.loads(Path(jobs).read_text())
    for i, job in enumerate(todo):
        with pytest.MonkeyPatch.context() as monkeypatch:
            if i < len(todo) - 1:  # stay in the process group for the next job
                monkeypatch.setattr(Processes, "close", lambda self, failed=False: None)
            inject(monkeypatch, job["fault"], rank)
            run = Path(job["run"])
            ended: dict[str, Any] = {"problem": ""}
            try:
                limits = {"stop_minutes": 0.0 if rank == 1 and job["fault"] == "clock" else None}
                config, device = Config.model_validate(job["config"]), job["device"]
                result = go(config, run, job["stop_kimg"], device=device, quiet=False, **limits)
                ended |= {"kimg": result.kimg, "finished": result.finished, "stopped": result.stopped}
            except UserError as error:
                ended["problem"] = str(error)
            (run / f"ended-{rank}.json").write_text(json.dumps(ended))
            if ended["problem"] and not job["fault"]:
                print(f"rank {rank}: {ended['problem']}", file=sys.stderr)
                sys.exit(1)
    assert leave is Processes.close


if __name__ == "__main__":
    main(sys.argv[1])
