"""One writer per output folder, on every system. The lock goes with its process, however that ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stylegan.errors import UserError


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder`/.lock. Where another process holds it: wait for it, or UserError."""
    with open(folder / ".lock", "a+b") as file:
        while not _try(file):
            if not wait:
                raise UserError(f"{folder}: another process is preparing this data set; wait for it to finish")
            time.sleep(0.5)
        yield


def _try(file: IO[bytes]) -> bool:
    """Take the lock without waiting; False where another process has it. Closing the file gives it back."""
    if sys.platform == "win32":
        import msvcrt

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
