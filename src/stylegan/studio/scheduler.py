"""One rendering thread for all pages: newest request per view, clients in turn, a bounded queue.

A task is an iterator of steps (one picture, or a few). After every step the next client has its turn, so a long
grid does not hold up somebody who drags. A newer task of the same view replaces an older one between two steps.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)


class Busy(RuntimeError):
    """The queue is full; try again in a moment."""


@dataclass
class Task:
    """Steps to be taken, what to do with each result, and with an error (None = finished)."""

    steps: Callable[[], Iterator[Any]]
    deliver: Callable[[Any], None]
    finish: Callable[[BaseException | None], None]
    iterator: Iterator[Any] | None = None
    replaced: bool = False


@dataclass
class Client:
    """The waiting tasks of one page by view, oldest first, and whether it keeps up with what it is sent."""

    tasks: OrderedDict[str, Task] = field(default_factory=OrderedDict)
    keeps_up: Callable[[], bool] = lambda: True


class Scheduler:
    """Runs tasks in one thread. `bound` is the number of tasks that may wait or run at the same time."""

    def __init__(self, bound: int = 48) -> None:
        self.bound = bound
        self._clients: OrderedDict[str, Client] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._running = False
        self._thread = threading.Thread(target=self._work, name="studio-render", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self, wait: float = 10.0) -> None:
        """Ends the thread after the step it is at."""
        with self._changed:
            self._closed = True
            self._clients.clear()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait)

    def submit(self, client: str, view: str, task: Task, keeps_up: Callable[[], bool] | None = None) -> bool:
        """Queues a task; True where it took the place of an older one of its view. Busy: the queue is full."""
        with self._changed:
            old = self._clients[client].tasks.get(view) if client in self._clients else None
            if old is None and self.waiting() >= self.bound:
                raise Busy(f"{self.bound} pictures are being drawn or wait for it")
            own = self._clients.setdefault(client, Client())
            if keeps_up is not None:
                own.keeps_up = keeps_up
            if old is not None:
                old.replaced = True
            own.tasks[view] = task  # keeps the place in line of the one it replaces
            self._changed.notify_all()
        return old is not None

    def cancel(self, client: str, view: str | None = None) -> None:
        """Forgets one view of a client, or all of them."""
        with self._changed:
            own = self._clients.get(client)
            if own is None:
                return
            gone = list(own.tasks.values()) if view is None else [own.tasks[view]] if view in own.tasks else []
            for task in gone:
                task.replaced = True
            if view is None:
                del self._clients[client]
            else:
                own.tasks.pop(view, None)

    def waiting(self) -> int:
        """Tasks that wait or run."""
        return sum(len(client.tasks) for client in self._clients.values())

    def wake(self) -> None:
        """Something a client waited for has happened: look again."""
        with self._changed:
            self._changed.notify_all()

    def wait_idle(self, seconds: float) -> None:
        """Lets drawing go first: returns when nothing waits to be drawn, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self.waiting(), seconds)

    def _next(self) -> tuple[str, str, Task] | None:
        """The next client's oldest task; that client and that task go to the end of their lines."""
        for name, client in list(self._clients.items()):
            if not client.tasks:
                del self._clients[name]
            elif client.keeps_up():
                view, task = next(iter(client.tasks.items()))
                client.tasks.move_to_end(view)
                self._clients.move_to_end(name)
                return name, view, task
        return None

    def _work(self) -> None:
        while True:
            with self._changed:
                chosen = None if self._closed else self._next()
                while chosen is None and not self._closed:
                    self._changed.wait(1.0)
                    chosen = None if self._closed else self._next()
                if chosen is None:
                    return
            self._step(*chosen)

    def _step(self, name: str, view: str, task: Task) -> None:
        error: BaseException | None = None
        done, result = False, None
        try:
            if task.iterator is None:
                task.iterator = task.steps()
            result = next(task.iterator)
        except StopIteration:
            done = True
        except Exception as problem:  # told to the page; the thread goes on for the others
            done, error = True, problem
        try:
            if not done:
                task.deliver(result)
            elif not task.replaced:
                task.finish(error)
        except Exception:
            log.exception("a result could not be delivered")
            done = True
        if done:
            with self._changed:
                own = self._clients.get(name)
                if own is not None and own.tasks.get(view) is task:
                    del own.tasks[view]
                self._changed.notify_all()
