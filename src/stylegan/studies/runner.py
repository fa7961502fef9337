"""Runs the jobs of a study in its slots: one after the other or side by side, resumably, whatever one of them does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filelock import FileLock, Timeout

from stylegan import images
from stylegan.errors import UserError
from stylegan.studies.jobs import Job, Slot
from stylegan.studies.plan import Plan
from stylegan.studies.results import number
from stylegan.studies.timing import Clock
from stylegan.training.signals import Signals

POLL = 0.2  # seconds between two looks at the processes
LINE = 60.0  # seconds between two lines about the whole study


@dataclass
class Outcome:
    """How a session of a study ended. stopped: the signal that ended it early, '' otherwise."""

    jobs: list[Job]
    stopped: str = ""

    @property
    def failed(self) -> list[Job]:
        return [job for job in self.jobs if job.stage == "failed"]


def make_slots(gpus: int, jobs: int, cores: int | None = None) -> list[Slot]:
    """`jobs` slots on each of `gpus` GPUs, or on the CPU where gpus is 0.

    A GPU's number is one of those in CUDA_VISIBLE_DEVICES, if that is set. Where there are several slots, they share
    the cores by OMP_NUM_THREADS, unless that is set. UserError for fewer than one slot, and for more GPUs than are
    visible.
    """
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: must be 1 or more")
    cores, count = cores or os.cpu_count() or 1, max(gpus, 1) * jobs
    own = {} if "OMP_NUM_THREADS" in os.environ or count == 1 else {"OMP_NUM_THREADS": str(max(1, cores // count))}
    if gpus == 0:
        return [Slot(f"CPU job {i}", "cpu", own) for i in range(jobs)]
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = visible or [str(i) for i in range(gpus)]
    if gpus > len(names):
        raise UserError(f"--gpus {gpus}: CUDA_VISIBLE_DEVICES names only {len(names)}")
    return [
        Slot(f"GPU {name}", "cuda", {"CUDA_VISIBLE_DEVICES": name, **own}) for name in names[:gpus] for _ in range(jobs)
    ]


def make_jobs(plan: Plan) -> list[Job]:
    """All jobs, seed by seed, so that a first complete table is there early."""
    return [Job(plan, run, seed) for seed in plan.seeds for run in plan.runs]


def every_job(plan: Plan, jobs: Sequence[Job]) -> list[Job]:
    """The jobs of this session, and those that the folder's study was asked for earlier, in the table's order."""
    runs, seeds = plan.all_measured()
    own = {(job.run, job.seed): job for job in jobs}
    found = []
    for run in runs:
        for seed in seeds:
            job = own.get((run, seed)) or Job(plan, run, seed)
            if job.stage == "waiting" and job.measured() is not None:
                job.stage = "done"
            found.append(job)
    return found


def run_study(
    plan: Plan,
    slots: Sequence[Slot],
    say: Callable[[str], None],
    changed: Callable[[list[Job]], None] | None = None,  # called whenever a job has ended
    show: Callable[[float, str], None] | None = None,  # called about once a second: share done, line
) -> Outcome:
    """Trains and measures everything that is not done yet. A job that fails is reported, and the others go on.

    Calling it again goes on where it stopped, and tries failed jobs again. SIGINT and SIGTERM end it after the
    trainings under way have saved. UserError where another study, or another process, has the folder.
    """
    images.prepare_folder(plan.out)
    lock = FileLock(str(plan.out / ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{plan.out}: another process is running this study; wait for it or stop it") from None
    try:
        plan.store()
        outcome = Outcome(make_jobs(plan))
        with Signals() as signals:
            _run(outcome, slots, signals, say, changed, show)
        return outcome
    finally:
        lock.release()


def _run(
    outcome: Outcome,
    slots: Sequence[Slot],
    signals: Signals,
    say: Callable[[str], None],
    changed: Callable[[list[Job]], None] | None,
    show: Callable[[float, str], None] | None,
) -> None:
    jobs = outcome.jobs
    clock, free, waiting = Clock(jobs, len(slots)), list(slots), list(jobs)
    running: list[Job] = []
    last_line = last_show = time.monotonic()
    try:
        while (waiting or running) and not signals.name:
            while waiting and free:
                job = waiting.pop(0)
                if job.advance(free[0]):
                    running.append(job)
                    say(f"{job.name}: {job.stage} on {free.pop(0).name}")
            for job in [job for job in running if job.poll()]:
                _after(job, running, free, say)
                if job not in running and changed is not None:
                    changed(jobs)
            now = time.monotonic()
            if show is not None and now - last_show >= 1.0:
                last_show = now
                show(clock.share(), clock.line())
            if show is None and now - last_line >= LINE:
                last_line = now
                say(clock.line())
            time.sleep(POLL if running else 0.0)
        if signals.name:
            outcome.stopped = signals.name
            say(f"stopped by {signals.name}: waiting for {len(running)} to save")
            for job in running:
                job.stop()
            for job in running:
                job.wait()
    except BaseException:
        for job in running:
            job.kill()
        raise


def _after(job: Job, running: list[Job], free: list[Slot], say: Callable[[str], None]) -> None:
    """What follows a command that has ended: the job's next one, or its slot is free again."""
    assert job.slot is not None
    if job.stage != "failed" and job.advance(job.slot):
        say(f"{job.name}: {job.stage} on {job.slot.name}")
        return
    running.remove(job)
    free.append(job.slot)
    told = f": {job.problem} (the others go on)" if job.problem else _numbers(job)
    say(f"{job.name}: {job.stage}{told}")


def _numbers(job: Job) -> str:
    """': fid10k 12.3, kid10k 0.4' of a job that has been measured."""
    metrics = (job.measured() or {}).get("metrics", {})
    found = [
        f"{name if len(entry['values']) == 1 else f'{name} {key}'} {number(value)}"
        for name, entry in metrics.items()
        for key, value in entry["values"].items()
    ]
    return f": {', '.join(found)}" if found else ""
