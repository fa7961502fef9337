"""Work through items in several processes. One bad image, a killed worker or Ctrl-C must not lose it all.

An image that kills its worker (a crash inside a decoder, or out of memory) is found by repeating the shard
alone with a journal, and is then left out like any other bad file.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Protocol

from stylegan.data.shards import Stopped


class Job(Protocol):
    """A range of items and what is done to them; a frozen dataclass that pickles (`data.shards.ShardJob`)."""

    @property
    def number(self) -> int: ...

    @property
    def items(self) -> Sequence[Any]: ...

    @property
    def out(self) -> str:
        """A folder for the journal."""
        ...

    @property
    def skip(self) -> dict[int, str]:
        """Items to leave out unread, and why."""
        ...

    def build(self, tick: Callable[[], None]) -> None:
        """Does the work. Calls `tick` after each item; writes the item's index to `journal`, if set, before it."""
        ...


Report = Callable[[int], None]  # receives the number of images done so far
IN_PROCESS = 256  # fewer images than this are not worth starting processes for

_done: Any = None  # shared counter of images, set in each worker
_stop: Any = None  # shared flag


def default_workers() -> int:
    """One process per core that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(jobs: Sequence[Job], workers: int, report: Report) -> None:
    """Do all jobs. OSError: the output cannot be written. KeyboardInterrupt leaves finished shards."""
    if workers <= 1:
        _run_here(jobs, 0, report)
        return
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that imports the user's script has come here again.
        raise RuntimeError("prepare() in a script must stand under `if __name__ == '__main__':`")
    context = multiprocessing.get_context("spawn")
    counter, stop = context.Value("q", 0), context.Value("b", 0)
    pending, finished = list(jobs), 0
    while pending:
        counter.value = finished
        done, suspects = _run_pool(pending, workers, context, counter, stop, report)
        for job in suspects:
            counter.value = finished + sum(len(job.items) for job in done)
            if not _run_alone(job, context, counter, stop, report):
                finished_numbers = {job.number for job in done}
                rest = [job for job in pending if job.number not in finished_numbers]
                _run_here(rest, counter.value, report)
                return
            done.append(job)
        numbers = {job.number for job in done}
        finished += sum(len(job.items) for job in done)
        pending = [job for job in pending if job.number not in numbers]
    report(finished)


def _run_here(jobs: Sequence[Job], start: int, report: Report) -> None:
    count = start

    def tick() -> None:
        nonlocal count
        count += 1
        report(count)

    for job in jobs:
        job.build(tick)


def _run_pool(
    jobs: Sequence[Job],
    workers: int,
    context: Any,
    counter: Any,
    stop: Any,
    report: Report,
) -> tuple[list[Job], list[Job]]:
    """(finished jobs, jobs that were under way when a worker died); the rest was not begun."""
    done: list[Job] = []
    queue = list(jobs)[::-1]
    running: dict[Future[None], Job] = {}
    pool = _pool(workers, context, counter, stop)
    try:
        while queue or running:
            while queue and len(running) < workers + 1:
                job = queue.pop()
                running[pool.submit(_work, job)] = job
            ready, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            report(counter.value)
            for future in ready:
                future.result()
                done.append(running.pop(future))
    except BrokenProcessPool:
        for future, job in running.items():
            if future.done() and future.exception() is None:
                done.append(job)
        finished = {job.number for job in done}
        suspects = {job.number: job for job in running.values() if job.number not in finished}
        if queue and not suspects:  # died between two jobs
            return done, [queue[-1]]
        return done, list(suspects.values())
    except BaseException:
        stop.value = 1
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return done, []


def _run_alone(job: Job, context: Any, counter: Any, stop: Any, report: Report) -> bool:
    """Repeat one shard in its own process, leaving out what kills it. False: no process even starts."""
    journal = Path(job.out) / f"journal-{job.number:05d}.tmp"
    try:
        for _ in range(len(job.items) + 1):
            journal.unlink(missing_ok=True)
            before = counter.value
            _, suspects = _run_pool([_with(job, journal=str(journal))], 1, context, counter, stop, report)
            if not suspects:
                return True
            counter.value = before
            if not journal.exists():
                return False
            culprit = int(journal.read_text() or 0)
            reason = "reading it crashed the worker process (damaged file, or out of memory)"
            job = _with(job, skip={**job.skip, culprit: reason})
        raise AssertionError("every item of a shard was left out, yet its worker still dies")
    finally:
        journal.unlink(missing_ok=True)


def _with(job: Job, **changes: Any) -> Job:
    changed: Job = replace(job, **changes)  # type: ignore[type-var]
    return changed


def _pool(workers: int, context: Any, counter: Any, stop: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, context, initializer=_start, initargs=(counter, stop))


def _start(counter: Any, stop: Any) -> None:
    """Set up a worker: Ctrl-C is the parent's business, and a worker does not outlive its parent."""
    global _done, _stop
    _done, _stop = counter, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow_parent() -> None:
        if parent is not None:
            wait_for([parent.sentinel])
            os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()


def _work(job: Job) -> None:
    job.build(_tick)


def _tick() -> None:
    with _done.get_lock():
        _done.value += 1
    if _stop.value:
        raise Stopped
