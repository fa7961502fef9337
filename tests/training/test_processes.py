"""Two processes under torchrun: the same training as one, exact resume, and what happens when one is in trouble."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stylegan.config import Config
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.training import checkpoint, watchdog
from stylegan.training.batches import check_schedule
from tests.training.small import TWO_GPUS, assert_close, assert_same, go, outcome, small

pytestmark = pytest.mark.slow

# smooth steps (see test_step.SMOOTH), so that weights can be compared with one process's
CONFIG = small(
    schedule={"batch": 8, "repeats": 1, "lr": 0.05},
    training={"adam_eps": 0.1, "hang_seconds": 2.0},
    loss={"penalty_interval": 2},
)
# gradients are summed beside the backward pass
STATIC = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"graphs": "on"})})
PATIENT = STATIC.model_copy(update={"training": STATIC.training.model_copy(update={"hang_seconds": 300.0})})


@dataclass
class Job:
    run: Path
    config: Config = CONFIG
    stop_kimg: float | None = None
    fault: str = ""
    device: str = "cpu"

    def plain(self) -> dict[str, Any]:
        return {
            "run": str(self.run), "config": self.config.model_dump(mode="json"), "stop_kimg": self.stop_kimg,
            "fault": self.fault, "device": self.device,
        }  # fmt: skip


def torchrun(folder: Path, jobs: list[Job], restarts: int = 0) -> subprocess.Popen[str]:
    (folder / "jobs.json").write_text(json.dumps([job.plain() for job in jobs]))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--max-restarts", str(restarts), "-m", "tests.training.together", str(folder / "jobs.json"),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def ended(run: Path, ranks: Sequence[int] = (0, 1)) -> list[dict[str, Any]]:
    return [json.loads((run / f"ended-{rank}.json").read_text()) for rank in ranks]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs by one process and by two."""
    folder = tmp_path_factory.mktemp("together")
    assert go(CONFIG, folder / "one").finished
    go(CONFIG, folder / "one, then two", stop_kimg=0.056)
    jobs = [
        Job(folder / "two"),
        Job(folder / "one, then two"),
        Job(folder / "two, stopped", stop_kimg=0.040),
        Job(folder / "two, stopped", stop_kimg=0.080),
        Job(folder / "two, stopped"),
        Job(folder / "two, stopped"),  # finished by now
        Job(folder / "two, then one", stop_kimg=0.056),
        Job(folder / "signal", fault="SIGTERM"),
        Job(folder / "clock", fault="clock"),
        Job(folder / "memory", fault="out of memory"),
        Job(folder / "disk", fault="disk full"),
        Job(folder / "static", STATIC),
        Job(folder / "static, stopped", STATIC, stop_kimg=0.056),
        Job(folder / "static, stopped", STATIC),
        Job(folder / "static, memory", STATIC, fault="out of memory at once"),
        Job(folder / "drift", fault="drift"),
        Job(folder / "two"),
    ]
    process = torchrun(folder, jobs)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    return folder


def test_two_processes_train_as_one_does(folder: Path) -> None:
    assert_close(outcome(folder / "one"), outcome(folder / "two"))


def test_a_run_goes_on_with_another_number_of_processes(folder: Path) -> None:
    assert_close(outcome(folder / "one"), outcome(folder / "one, then two"))
    shutil.copytree(folder / "two, then one", folder / "copy")
    assert go(CONFIG, folder / "copy").finished
    assert_close(outcome(folder / "one"), outcome(folder / "copy"))


def test_two_processes_resume_exactly(folder: Path) -> None:
    assert_same(outcome(folder / "two"), outcome(folder / "two, stopped"))
    log = (folder / "two, stopped" / "log.txt").read_text()
    assert log.count("on 2 x cpu") == 3
    assert "finished at 0.1 kimg; nothing left to do" in log


def test_sums_beside_the_backward_pass_are_the_same(folder: Path) -> None:
    assert_close(outcome(folder / "two"), outcome(folder / "static"))
    assert_same(outcome(folder / "static"), outcome(folder / "static, stopped"))


def test_one_out_of_memory_before_its_first_sum_makes_both_accumulate(folder: Path) -> None:
    for end in ended(folder / "static, memory"):
        assert end["finished"]
    log = (folder / "static, memory" / "log.txt").read_text()
    assert "going on with the same batch of 8 in 4 passes of at most 1 per process" in log


def test_a_signal_to_one_stops_both(folder: Path) -> None:
    for end in ended(folder / "signal"):
        assert end == {"problem": "", "kimg": 0.056, "finished": False, "stopped": "SIGTERM"}
    run = folder / "signal, finished"
    shutil.copytree(folder / "signal", run)
    assert go(CONFIG, run).finished
    assert_close(outcome(folder / "one"), outcome(run))


def test_the_clock_of_one_stops_both(folder: Path) -> None:
    for end in ended(folder / "clock"):
        assert end == {"problem": "", "kimg": 0.008, "finished": False, "stopped": "stop_minutes"}


def test_one_out_of_memory_makes_both_accumulate(folder: Path) -> None:
    for end in ended(folder / "memory"):
        assert end["finished"]
    log = (folder / "memory" / "log.txt").read_text()
    assert "going on with the same batch of 8 in 2 passes of at most 2 per process" in log
    assert "going on with the same batch of 8 in 4 passes of at most 1 per process" in log
    statistics = [entry["nimg"] for entry in outcome(folder / "memory").stats]
    assert statistics == [entry["nimg"] for entry in outcome(folder / "two").stats]


def test_a_disk_that_fails_the_first_stops_both(folder: Path) -> None:
    assert [end["problem"] for end in ended(folder / "disk")] == ["the disk is full; make room"] * 2


def test_processes_that_drift_apart_are_found_before_anything_is_saved(folder: Path) -> None:
    """By one bit, in one weight of one process; what was saved before is sound, and going on from it exact."""
    problems = {end["problem"] for end in ended(folder / "drift")}
    assert len(problems) == 1  # the same sentence in both
    (problem,) = problems
    found = re.fullmatch(
        r"processes 0 and 1 have different networks \(G\) at 0\.064 kimg, .* The last checkpoint, (.*), is "
        r"sound; run the same command again to go on from there",
        problem,
    )
    assert found, problem
    assert Path(found[1]).is_dir()
    assert go(CONFIG, folder / "drift").finished
    assert_close(outcome(folder / "one"), outcome(folder / "drift"))


def test_killed_then_hung_then_finished(folder: Path, tmp_path: Path) -> None:
    """torchrun restarts both after each; the hung process is named, shows where it hangs, and the result is exact."""
    process = torchrun(tmp_path, [Job(tmp_path / "run", fault="killed, then hung")], restarts=2)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert_same(outcome(folder / "two"), outcome(tmp_path / "run"))
    named = re.search(r"error: process 1 \(host \S+, process \d+\) of 0-1 has not answered for 2 s", output)
    assert named, output
    assert "together.py" in output.split("process 1 hangs here:")[1]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("resumed at") == 2
    assert "process 1 (host" in log


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, TWO_GPUS])])
def test_an_error_in_one_ends_all_at_once(device: str, tmp_path: Path) -> None:
    """The one that broke does not wait for the others, nor they for it; hang_seconds is 300."""
    process = torchrun(tmp_path, [Job(tmp_path / "run", PATIENT, fault="error", device=device)])
    output = process.communicate(timeout=120)[0]
    end = time.time()
    assert process.returncode == 1, output
    broke = re.search(r"broke at (\S+)", output)
    assert broke, output
    assert end - float(broke[1]) < 15  # torchrun gives those that still wait half a minute, then kills them
    assert "LookupError: something that nobody thought of" in output
    (problem,) = [end["problem"] for end in ended(tmp_path / "run", [0])]
    assert problem.startswith("process 0 has lost another process of this training (")
    assert problem.endswith("see above which one ended and why, then run the same command again to go on from the last "
                            "checkpoint")  # fmt: skip


@pytest.mark.gpu
@TWO_GPUS
def test_what_befalls_one_befalls_both_on_gpus(tmp_path: Path) -> None:
    """A signal, too little memory and a drift, one after the other in the same two processes.

    While one compiles kernels, the other waits: on a host with slow processors for longer than 2 s.
    """
    faults = ("SIGTERM", "out of memory", "drift")
    jobs = [Job(tmp_path / fault, PATIENT, fault=fault, device="cuda") for fault in faults]
    process = torchrun(tmp_path, jobs)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0, output
    for end in ended(tmp_path / "SIGTERM"):
        assert end == {"problem": "", "kimg": 0.056, "finished": False, "stopped": "SIGTERM"}
    assert all(end["finished"] for end in ended(tmp_path / "out of memory"))
    assert "in 4 passes of at most 1 per process" in (tmp_path / "out of memory" / "log.txt").read_text()
    problems = {end["problem"] for end in ended(tmp_path / "drift")}
    assert len(problems) == 1, problems
    assert problems.pop().startswith("processes 0 and 1 have different networks (G")


def test_a_stopped_process_is_named_in_time(tmp_path: Path) -> None:
    """SIGSTOP: the process cannot even say that it hangs. hang_seconds is 2, looking takes 0.5 at most."""
    process = torchrun(tmp_path, [Job(tmp_path / "run", fault="stopped")])
    log, end = tmp_path / "run" / "log.txt", time.monotonic() + 60
    try:
        stats = tmp_path / "run" / "stats.jsonl"
        while not (stats.exists() and stats.stat().st_size) and time.monotonic() < end:
            time.sleep(0.02)
        begin = time.monotonic()
        while "process 1 (host" not in log.read_text() and time.monotonic() < end:
            time.sleep(0.02)
        seconds = time.monotonic() - begin
    finally:
        for number in re.findall(r"process 1 \(host \S+, process (\d+)\)", log.read_text()):
            os.kill(int(number), signal.SIGKILL)  # nobody else would: torchrun waits half a minute for it
        process.terminate()
        output = process.communicate(timeout=60)[0]
    assert "has not answered for 2 s" in log.read_text(), output
    assert seconds < 2 + 0.5 + 8  # 8 s for the steps before it, on a busy machine
    loaded, complaints = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert loaded is not None
    assert not complaints


@pytest.mark.parametrize(
    ("schedule", "world", "message"),
    [
        (
            {"batch": 4},
            3,
            r"a batch of 4 \(at 4x4\) cannot be divided among 3 processes; .* a multiple of 3, such as 3",
        ),
        ({"batch": 4, "batch_by_resolution": {16: 6}}, 4, r"a batch of 6 \(at 16x16\) cannot be .* such as 4"),
        ({"batch": 1, "grow": False}, 2, r"a batch of 1 \(at 16x16\) cannot be .* such as 2"),
    ],
)
def test_batches_that_cannot_be_divided(schedule: dict[str, Any], world: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_schedule(small(schedule=schedule), world)
    check_schedule(small(schedule={"batch": 12}), world)


def test_alone_everything_is_free() -> None:
    alone = Processes()
    assert alone.first
    assert alone.most(7) == 7
    assert alone.any(True)
    assert alone.share("x") == "x"
    alone.barrier()
    alone.close()
    assert alone.marks.count == 0


def test_the_watchdog_is_out_of_the_store_before_python_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly the store answers: a thread that is still inside it when Python ends aborts the process."""

    class Store:
        def clone(self) -> Store:
            return self

        def set_timeout(self, limit: Any) -> None:
            assert limit.total_seconds() <= watchdog.ANSWER

        def set(self, key: str, value: str) -> None:
            pass

        def get(self, key: str) -> bytes:
            asked.set()
            time.sleep(1.0)  # many times as long as the watchdog's period
            return b"0"

    asked, store = threading.Event(), Store()
    monkeypatch.setattr(watchdog.dist, "PrefixStore", lambda prefix, inner: inner)
    monkeypatch.setattr(watchdog.dist.distributed_c10d, "_get_default_store", lambda: store)
    monkeypatch.setattr(Processes, "barrier", lambda self: None)
    with watchdog.Watchdog(Processes(rank=0, world=2), 0.2, print) as watching:
        assert asked.wait(10)
        thread = watching._thread
    assert thread is not None
    assert not thread.is_alive()
