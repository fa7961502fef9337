"""SIGINT and SIGTERM: end the session after the current iteration, with a checkpoint."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any


class Signals:
    """Catches both signals within a `with` block. `name` is the first one that came, '' while none has.

    A second one, two seconds later or more, means now (KeyboardInterrupt). Earlier ones are echoes: a terminal
    and torchrun both pass Ctrl-C on; with `patient`, for processes under torchrun, all are.
    """

    def __init__(self, patient: bool = False) -> None:
        self.name = ""
        self._patient = patient
        self._when = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        try:
            self._previous = {s: signal.signal(s, self._caught) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: whoever runs us keeps its handlers
            self._previous = {}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if not self.name:
            self.name, self._when = signal.Signals(number).name, time.monotonic()
        elif not self._patient and time.monotonic() - self._when > 2.0:
            raise KeyboardInterrupt
