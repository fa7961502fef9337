"""`python -m stylegan.studies.child VERB ...`: a command of a study, which ends, saving, when the study is gone.

A study that is killed cannot stop its trainings any more; they notice that they have another parent.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time


def follow(parent: int, every: float = 1.0) -> None:
    """Sends SIGTERM to this process once its parent is another one than `parent`. Without effect on Windows."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGTERM)

    if sys.platform != "win32":
        threading.Thread(target=watch, name="stylegan-study", daemon=True).start()


if __name__ == "__main__":
    follow(int(os.environ.get("STYLEGAN_STUDY") or os.getppid()))
    runpy.run_module("stylegan", run_name="__main__", alter_sys=True)
