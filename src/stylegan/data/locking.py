"""One writer per output folder. The lock goes with its process, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stylegan.errors import UserError


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder`/.lock. Where another process holds it: wait for it, or UserError.

    On a file system without locks nothing is held.
    """
    lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
    try:
        held = lock.acquire(poll_interval=0.2)
    except Timeout:
        raise UserError(f"{folder}: another process is preparing this data set; wait for it to finish") from None
    except NotImplementedError:  # a file system without locks
        yield
        return
    with held:
        yield
