"""Long work of a page - projections, directions, clips - in one thread of its own, stoppable, with progress."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stylegan.studio.scheduler import Busy

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The page asked to stop."""


@dataclass
class Job:
    """One piece of work. `work` calls `progress` often; its return value is told to the page as the result."""

    kind: str
    owner: str
    request: int
    work: Callable[[Job], dict[str, Any]]
    tell: Callable[[dict[str, Any]], None]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    stopped: bool = False
    enough: bool = False  # end early, and keep what is there
    _told: float = 0.0

    def progress(self, done: int, total: int, **more: Any) -> None:
        """Tells the page how far it is, ten times a second at most. Stopped where it asked for that."""
        if self.stopped:
            raise Stopped
        now = time.monotonic()
        if now - self._told >= 0.1 or done >= total:
            self._told = now
            self.say("running", done=done, total=total, **more)

    def say(self, state: str, **more: Any) -> None:
        """One message to the page."""
        self.tell({"type": "job", "kind": self.kind, "job": self.id, "request": self.request, "state": state, **more})


class Jobs:
    """Jobs one after the other; `bound` may wait."""

    def __init__(self, bound: int = 4) -> None:
        self.bound = bound
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="studio-jobs", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self, wait: float = 10.0) -> None:
        """Stops everything and ends the thread."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            if self._current is not None:
                self._current.stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait)

    def submit(self, job: Job) -> None:
        """Queues a job. Busy: too many wait."""
        with self._changed:
            if len(self._waiting) >= self.bound:
                raise Busy(f"{self.bound} jobs wait already")
            self._waiting.append(job)
            self._changed.notify_all()
        job.say("queued")

    def stop(self, owner: str, id: str | None = None, keep: bool = False) -> None:
        """Stops one job of an owner, or all of them; `keep` asks for what it has found so far."""
        with self._changed:
            current, waiting = (
                self._current,
                [job for job in self._waiting if job.owner == owner and id in (None, job.id)],
            )
            for job in waiting:
                self._waiting.remove(job)
            if current is not None and current.owner == owner and id in (None, current.id):
                current.enough, current.stopped = keep, not keep
        for job in waiting:
            job.say("stopped")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                job = self._current = self._waiting.popleft()
            self._run(job)
            with self._changed:
                self._current = None

    @staticmethod
    def _run(job: Job) -> None:
        from stylegan.studio.core import reason

        try:
            if job.stopped:
                raise Stopped
            job.say("done", result=job.work(job))
        except Stopped:
            job.say("stopped")
        except Exception as error:  # told to the page; the thread goes on for the others
            code, text = reason(error)
            if code == "internal":
                log.exception("%s failed", job.kind)
            job.say("failed", code=code, text=text)
