"""Checkpoints written beside the training: a thread that writes one at a time from a copy of the state."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from stylegan.errors import UserError
from stylegan.training import checkpoint
from stylegan.training.checkpoint import Progress, State
from stylegan.training.step import Trainer


class Writer:
    """Writes checkpoints in the background. What goes wrong there comes out as `problem`.

    The thread is no daemon: a Python that ends normally, or by an exception, waits for it.
    """

    def __init__(self, folder: Path, keep: int, keep_every_kimg: float = 0.0) -> None:
        self.folder, self.keep, self.keep_every_kimg = folder, keep, keep_every_kimg
        self.problem = ""  # of the last write; set once, never cleared
        self.blocked = 0.0  # seconds the training has waited for copies and for earlier writes
        self.written = 0
        self._thread: threading.Thread | None = None
        self._last: tuple[int, bool] | None = None

    def save(self, trainer: Trainer, progress: Progress) -> None:
        """Copies the state and begins to write it, after the write before has ended; nothing if it is the same."""
        if self._last == (progress.nimg, progress.finished):
            return
        start = time.monotonic()
        self.wait()
        if not self.problem:
            state = checkpoint.capture(trainer, progress)
            self._last = (progress.nimg, progress.finished)
            self._thread = threading.Thread(target=self._write, args=(state,), name="stylegan-checkpoint")
            self._thread.start()
        self.blocked += time.monotonic() - start

    def wait(self) -> None:
        """Returns when nothing is being written any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, state: State) -> None:
        try:
            checkpoint.write(self.folder, state, self.keep, self.keep_every_kimg)
            self.written += 1
        except UserError as error:
            self.problem = str(error)
        except Exception as error:  # a thread has nobody else to tell
            self.problem = f"{self.folder}: the checkpoint cannot be written ({type(error).__name__}: {error})"
