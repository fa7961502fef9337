"""Who hangs: every process of a training tells the others how far it is, and one that falls behind is named.

Each process counts its exchanges with the others (`Processes.marks`). A thread publishes the count in torchrun's
key-value store and reads the others'. A process that hangs stands still at a lower count than those that wait
for it. Then every other process ends, naming it, so that torchrun ends the rest and may restart them all.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from stylegan.distributed import Processes

EXIT_CODE = 75  # EX_TEMPFAIL: try again
ANSWER = 30.0  # seconds in which the store has to answer


class Watchdog:
    """Watches all processes of a training from each of them, within a `with` block; nothing when alone.

    A hang is reported `seconds` after the last sign of progress, plus at most a quarter of that (5 s at most)
    for looking.
    """

    def __init__(self, processes: Processes, seconds: float, say: Callable[[str], None]) -> None:
        self.processes, self.seconds, self.say = processes, seconds, say
        self.period = min(seconds / 4, 5.0)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watchdog:
        if self.processes.world > 1 and self.seconds > 0:
            default: Any = dist.distributed_c10d._get_default_store()
            store = dist.PrefixStore("stylegan-watchdog", default.clone())
            store.set_timeout(timedelta(seconds=ANSWER))
            store.set(f"who{self.processes.rank}", f"host {socket.gethostname()}, process {os.getpid()}")
            store.set(f"at{self.processes.rank}", str(self.processes.marks.count))
            self.processes.barrier()
            self._thread = threading.Thread(target=self._watch, args=(store,), name="stylegan-watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread is not None:  # inside the store when Python ends, it would abort the process
            self._thread.join(timeout=2 * self.period + ANSWER)

    def _watch(self, store: Any) -> None:
        ranks = range(self.processes.world)
        seen = [(-1, time.monotonic())] * len(ranks)  # count, and since when
        while not self._stop.wait(self.period):
            try:
                store.set(f"at{self.processes.rank}", str(self.processes.marks.count))
                counts = [int(store.get(f"at{rank}")) for rank in ranks]
            except (RuntimeError, ValueError):  # the store has gone with its process: the next exchange will tell
                return
            now = time.monotonic()
            seen = [old if old[0] == count else (count, now) for old, count in zip(seen, counts, strict=True)]
            behind, ahead = min(counts), max(counts)
            hung = [r for r in ranks if counts[r] == behind < ahead and now - seen[r][1] > self.seconds]
            if hung and not self._stop.is_set():
                self._end(hung, [store.get(f"who{rank}").decode() for rank in hung])

    def _end(self, hung: list[int], who: list[str]) -> None:
        """Says who hangs, and ends this process: its main thread waits in an exchange that never ends."""
        rank, world = self.processes.rank, self.processes.world
        if rank in hung:
            print(f"process {rank} hangs here:", file=sys.stderr)
            faulthandler.dump_traceback(file=sys.stderr)
            sys.stderr.flush()
            time.sleep(3 * self.period)  # for another one to name it: torchrun ends all when one ends
        elif rank == min(set(range(world)) - set(hung)):
            names = " and ".join(f"{r} ({w})" for r, w in zip(hung, who, strict=True))
            self.say(
                f"error: process {names} of 0-{world - 1} has not answered for {self.seconds:g} s while the others "
                f"wait; ending the training. Run the same command again to go on from the last checkpoint "
                f"(torchrun --max-restarts N does so by itself)"
            )
        sys.stderr.flush()
        os._exit(EXIT_CODE)
