"""The rendering thread: newest request per view, clients in turn, a bounded queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stylegan.studio.scheduler import Busy, Scheduler, Task


class Recorder:
    """Makes tasks and remembers what came of them; `gate` holds every step until it is opened."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.errors: list[BaseException | None] = []
        self.gate = threading.Event()
        self.at_work = threading.Event()

    def task(self, name: Any, steps: int = 1, fail: bool = False) -> Task:
        def run() -> Iterator[Any]:
            for i in range(steps):
                self.at_work.set()
                assert self.gate.wait(10)
                if fail:
                    raise RuntimeError("no")
                yield (name, i)

        return Task(run, self.results.append, self.errors.append)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler(bound=4)
    made.start()
    yield made
    made.close()
    assert not made._thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_newest_of_a_view(scheduler: Scheduler) -> None:
    """While one is drawn, 50 more of its view come: only the last of them is drawn after it."""
    record = Recorder()
    scheduler.submit("a", "view", record.task("first"))
    assert record.at_work.wait(10)
    for i in range(50):
        assert scheduler.submit("a", "view", record.task(i))
    assert scheduler.waiting() == 1
    record.gate.set()
    until(lambda: scheduler.waiting() == 0)
    assert record.results == [("first", 0), (49, 0)]
    assert record.errors == [None]  # the replaced one has no end to tell


def test_turns(scheduler: Scheduler) -> None:
    """A long grid of one client does not hold up another's single picture."""
    record = Recorder()
    scheduler.submit("long", "grid", record.task("grid", 100))
    assert record.at_work.wait(10)
    for name in ("b", "c"):
        scheduler.submit(name, "one", record.task(name))
    record.gate.set()
    until(lambda: len(record.results) >= 102)
    order = [name for name, _ in record.results]
    assert order.index("b") <= 2
    assert order.index("c") <= 3
    assert [i for name, i in record.results if name == "grid"] == list(range(100))


def test_bound(scheduler: Scheduler) -> None:
    record = Recorder()
    for i in range(4):
        scheduler.submit(f"c{i}", "view", record.task(i))
    with pytest.raises(Busy, match="4 pictures"):
        scheduler.submit("another", "view", record.task("x"))
    with pytest.raises(Busy):
        scheduler.submit("c0", "a second view", record.task("x"))
    scheduler.submit("c3", "view", record.task("newer"))  # replacing is always possible
    record.gate.set()
    until(lambda: scheduler.waiting() == 0)
    assert [name for name, _ in record.results] == [0, 1, 2, "newer"]


def test_errors_and_goers(scheduler: Scheduler) -> None:
    """An error is told and harms nobody else; a client that goes is forgotten; one that does not listen waits."""
    record = Recorder()
    record.gate.set()
    scheduler.submit("a", "view", record.task("bad", fail=True))
    until(lambda: bool(record.errors))
    assert str(record.errors.pop()) == "no"
    listening = threading.Event()
    scheduler.submit("slow", "view", record.task("slow", 3), listening.is_set)
    scheduler.submit("b", "view", record.task("b"))
    until(lambda: record.results == [("b", 0)])
    listening.set()
    scheduler.wake()
    until(lambda: len(record.results) == 4)
    record.gate.clear()
    record.at_work.clear()
    scheduler.submit("gone", "view", record.task("gone", 50))
    assert record.at_work.wait(10)
    scheduler.cancel("gone")
    record.gate.set()
    until(lambda: scheduler.waiting() == 0)
    scheduler.submit("c", "view", record.task("c"))
    until(lambda: ("c", 0) in record.results)
    assert [r for r in record.results if r[0] == "gone"] in ([], [("gone", 0)])
