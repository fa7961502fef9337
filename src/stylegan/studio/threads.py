"""How many CPU threads draw: all of them, or one where the machine is busy with other work.

OpenMP's threads wait for each other at every operator. Beside a training that uses all cores, two threads were
measured to be ten times slower than one; on an idle machine they are faster. So both are timed now and then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

LOOK_AGAIN = 30.0  # seconds between two tries of the other number


def overloaded() -> bool:
    """Whether more work waits on this machine than it has cores, as far as the system tells."""
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1) + 1
    except (AttributeError, OSError):
        return False


class Threads:
    """Chooses between one thread and all, by the seconds that an image took with each. For one drawing thread."""

    def __init__(self) -> None:
        self.most = torch.get_num_threads()
        self.count = 1 if overloaded() else self.most
        self.seconds: dict[int, float] = {}
        self._tried = time.monotonic()

    @contextmanager
    def timed(self, images: int) -> Iterator[None]:
        """Draws with the number that is better at present; the block draws so many images."""
        count = self._next()
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)
        begin = time.perf_counter()
        yield
        spent = (time.perf_counter() - begin) / images
        old = self.seconds.get(count)
        self.seconds[count] = spent if old is None or count != self.count else 0.7 * old + 0.3 * spent
        self.count = min(self.seconds, key=self.seconds.__getitem__)

    def _next(self) -> int:
        """Now and then the other number, so that a machine that has become busy, or idle, is noticed."""
        now = time.monotonic()
        if self.most == 1 or now - self._tried < LOOK_AGAIN or (self.count == 1 and overloaded()):
            return self.count
        self._tried = now
        return 1 if self.count == self.most else self.most
