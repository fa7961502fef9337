"""Jobs in slots: order, failures, going on, stopping, GPUs, and the time left; with fake trainings."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from stylegan.errors import UserError
from stylegan.studies.jobs import Job, Slot
from stylegan.studies.results import number
from stylegan.studies.runner import every_job, make_jobs, make_slots, run_study
from stylegan.studies.timing import Clock
from tests.studies.conftest import digest, order, record

CPU = [Slot("CPU job 0", "cpu")]


def test_configurations_run_one_after_another_seed_by_seed(plan_of, behaviours):
    plan, said = plan_of(runs="A,F", seeds=(0, 3)), []
    outcome = run_study(plan, CPU, said.append)
    names = ["A-seed0", "F-seed0", "A-seed3", "F-seed3"]
    assert order(plan) == [f"{stage} {name} -" for name in names for stage in ("training", "measuring")]
    assert [job.stage for job in outcome.jobs] == ["done"] * 4
    (line,) = (line for line in said if line.startswith("F seed 3: done"))
    (name, entry), *_ = record(plan.folder("F", 3) / "metrics.json")["metrics"].items()
    assert f"done: {name} fid {number(entry['values']['fid'])}, " in line


def test_what_is_done_is_not_done_again(plan_of, behaviours):
    plan = plan_of(runs="A,F")
    run_study(plan, CPU, lambda _: None)
    before = order(plan)
    assert all(job.stage == "done" for job in run_study(plan, CPU, lambda _: None).jobs)
    assert order(plan) == before
    more = plan_of(runs="A,F", metrics="fid10,kid10")
    run_study(more, CPU, lambda _: None)
    assert order(plan)[len(before) :] == ["measuring A-seed0 -", "measuring F-seed0 -"]
    (plan.folder("A", 0) / "model.safetensors").write_text("another")
    run_study(more, CPU, lambda _: None)
    assert order(plan)[-1] == "measuring A-seed0 -"
    assert record(plan.folder("A", 0) / "metrics.json")["model"]["sha256"] == digest(
        plan.folder("A", 0) / "model.safetensors"
    )


@pytest.mark.parametrize("stage", ["training", "measuring"])
def test_a_crash_is_reported_and_the_others_go_on(plan_of, behaviours, stage):
    plan, said, counts = plan_of(runs="A,B,F"), [], []
    behaviours[f"{stage} B"] = "crash"
    outcome = run_study(plan, CPU, said.append, lambda jobs: counts.append(sum(j.stage == "done" for j in jobs)))
    assert [job.stage for job in outcome.jobs] == ["done", "failed", "done"]
    assert outcome.failed[0].problem == f"{stage} ended with exit code 2: error: the disk is on fire"
    assert any("the others go on" in line for line in said)
    assert counts == [1, 1, 2]
    behaviours.clear()
    done = len(order(plan))
    assert not run_study(plan, CPU, said.append).failed
    expected = {"training": ["training", "measuring"], "measuring": ["measuring"]}[stage]
    assert order(plan)[done:] == [f"{what} B-seed0 -" for what in expected]


def test_a_killed_training_is_named(plan_of, behaviours):
    job = Job(plan_of(), "A", 0)
    behaviours["training A"] = "slow"
    assert job.advance(CPU[0])
    job.process.kill()
    job.process.wait()
    assert job.poll()
    assert "signal 9 (killed; was the memory full?)" in job.problem


def test_slots_work_side_by_side_each_on_its_gpu(plan_of, behaviours):
    plan = plan_of()
    slots = [Slot(f"GPU {i}", "cuda", {"CUDA_VISIBLE_DEVICES": str(i)}) for i in range(3)]
    run_study(plan, slots, lambda _: None)
    lines = [line.split() for line in order(plan)]
    first = [line[2] for line in lines if line[0] == "training"][:3]
    assert sorted(first) == ["0", "1", "2"]
    assert len(lines) == 12
    for name in {line[1] for line in lines}:
        assert len({line[2] for line in lines if line[1] == name}) == 1, "measured where it was trained"


def test_a_signal_lets_trainings_save(plan_of, behaviours):
    plan, said = plan_of(runs="A,F"), []
    behaviours["training A"] = "slow"

    def stop_when_it_runs():
        while not (plan.folder("A", 0) / "began").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop_when_it_runs)
    thread.start()
    outcome = run_study(plan, CPU, said.append)
    thread.join()
    assert outcome.stopped == "SIGINT"
    assert (plan.folder("A", 0) / "saved").exists()
    assert [job.stage for job in outcome.jobs] == ["waiting", "waiting"]
    assert not outcome.failed
    behaviours.clear()
    assert not run_study(plan, CPU, said.append).stopped
    assert order(plan)[1:] == [f"{s} {n}-seed0 -" for n in "AF" for s in ("training", "measuring")]


def test_one_process_per_folder(plan_of, behaviours):
    plan = plan_of()
    plan.out.mkdir()
    with FileLock(str(plan.out / ".lock")), pytest.raises(UserError, match="another process is running this study"):
        run_study(plan, CPU, lambda _: None)


def test_slots_of_gpus_and_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [slot.environment for slot in make_slots(1, 1)] == [{"CUDA_VISIBLE_DEVICES": "0"}]
    assert [slot.environment for slot in make_slots(2, 1, cores=16)] == [
        {"CUDA_VISIBLE_DEVICES": str(i), "OMP_NUM_THREADS": "8"} for i in (0, 1)
    ]
    assert [slot.environment["OMP_NUM_THREADS"] for slot in make_slots(1, 6, cores=16)] == ["2"] * 6
    assert [slot.name for slot in make_slots(1, 2)] == ["GPU 0", "GPU 0"]
    assert [slot.environment for slot in make_slots(0, 2, cores=6)] == [{"OMP_NUM_THREADS": "3"}] * 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in make_slots(2, 1)] == ["4", "7"]
    with pytest.raises(UserError, match="names only 2"):
        make_slots(3, 1)
    with pytest.raises(UserError, match="--jobs 0"):
        make_slots(0, 0)


def test_time_left_is_what_the_measured_rates_say(plan_of, behaviours):
    """Two of three jobs open, one slot: images left at the measured rate, and the measurement's time for each."""
    plan = plan_of(runs="B,C,D", changes={"schedule": {"grow": False}})
    jobs = make_jobs(plan)
    clock = Clock(jobs, 1)
    clock.look()
    assert clock.left() == (None, False)
    assert "time left not known before the first report" in clock.line()
    run_study(plan_of(runs="B", changes={"schedule": {"grow": False}}), CPU, lambda _: None)  # 400 img/s, 7 s measuring
    jobs[0].stage = "done"
    clock.look()
    total = plan.config("C", 0).schedule.total_kimg * 1000
    seconds, complete = clock.left()
    assert complete
    assert seconds == pytest.approx(2 * (total / 400 + 7))
    assert clock.share() == pytest.approx(1 / 3)
    assert Clock(jobs, 2).slots == 2
    clock.slots = 2
    assert clock.left()[0] == pytest.approx(total / 400 + 7)
    assert clock.line().startswith("1 of 3 done, about ")


def test_results_cover_what_was_asked_for_before(plan_of, behaviours):
    run_study(plan_of(runs="A"), CPU, lambda _: None)
    later = plan_of(runs="F", seeds=(1,))
    outcome = run_study(later, CPU, lambda _: None)
    found = {(job.run, job.seed): job.stage for job in every_job(later, outcome.jobs)}
    assert found == {("A", 0): "done", ("A", 1): "waiting", ("F", 0): "waiting", ("F", 1): "done"}


ORPHAN = """
import os, pathlib, signal, sys, time
from stylegan.studies.child import follow
place = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: ((place / "saved").touch(), os._exit(0)))
follow(int(sys.argv[2]), 0.1)
(place / "began").touch()
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2], str(os.getpid())], start_new_session=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="parents do not change there")
def test_trainings_of_a_killed_study_save_and_end(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, ORPHAN, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (tmp_path / "saved").exists()
    parent.kill()
    parent.wait()
    while not (tmp_path / "saved").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "saved").exists()


def test_a_training_without_a_model_is_a_failure(plan_of, behaviours):
    plan = plan_of(runs="A")
    behaviours["training A"] = "nothing"
    assert [job.problem for job in run_study(plan, CPU, lambda _: None).jobs] == ["training ended without a model"]
