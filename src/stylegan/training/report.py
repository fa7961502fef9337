"""What a run says: a line per tick for people, stats.jsonl for programs, TensorBoard for both."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from stylegan.training.statistics import STATISTICS


def averages(statistics: torch.Tensor) -> dict[str, float]:
    """Means over a tick from a row of sums in the order of STATISTICS."""
    sums = dict(zip(STATISTICS, statistics.double().tolist(), strict=True))
    steps, penalties = max(sums.pop("steps"), 1.0), sums.pop("penalty_steps")
    penalty = sums.pop("penalty") / penalties if penalties else 0.0
    return {name: value / steps for name, value in sums.items()} | {"penalty": penalty}


def memory_gb(device: torch.device) -> float:
    """Peak memory in GB: of the GPU, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


class Report:
    """The log of one session of a run. Silent in all processes but the first."""

    def __init__(self, run: Path, active: bool, total_nimg: int, log_bytes: int, step: int, quiet: bool) -> None:
        self.run, self.active, self.quiet = run, active, quiet
        if not active:
            return
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._cut_log(run / "stats.jsonl", log_bytes)
        self._log = (run / "log.txt").open("a", encoding="utf-8")
        self._board: Any = None
        self._purge = step + 1 if step else 0  # what TensorBoard has from here on is about to be made again
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if self.console.is_terminal and not quiet:
            columns = (BarColumn(30), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self.console, refresh_per_second=4, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("starting", total=total_nimg)

    @staticmethod
    def _cut_log(path: Path, length: int) -> None:
        """Drops what a previous session wrote after the checkpoint this one starts from."""
        with path.open("ab") as file:
            if path.stat().st_size > length:
                file.truncate(length)

    @property
    def log_bytes(self) -> int:
        """Length of stats.jsonl, to be stored in checkpoints."""
        return (self.run / "stats.jsonl").stat().st_size if self.active else 0

    def say(self, text: str) -> None:
        """A line on the terminal and in log.txt."""
        if not self.active:
            return
        with contextlib.suppress(OSError):  # a full disk must not hide the message
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            self._log.flush()
        if not self.quiet:
            self.console.print(text, markup=False)

    def shout(self, text: str) -> None:
        """A line that must be seen, from any process and even when quiet."""
        if self.active:
            with contextlib.suppress(OSError):
                self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
                self._log.flush()
        print(text, file=sys.stderr, flush=True)

    def live(self, nimg: int, text: str) -> None:
        """Moves the progress bar."""
        if self.active and self._bar is not None:
            self._bar.update(self._task, completed=nimg, description=text)

    def tick(self, entry: dict[str, Any], grid: np.ndarray | None) -> None:
        """One report: a line in stats.jsonl (wall-clock facts under "time"), scalars and the grid in TensorBoard."""
        if not self.active:
            return
        with (self.run / "stats.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        board = self._tensorboard()
        step = entry["nimg"]
        for group in ("loss", "schedule", "metrics", "health", "time"):
            for name, value in entry.get(group, {}).items():
                if isinstance(value, int | float):
                    board.add_scalar(f"{group}/{name}", value, step)
        if grid is not None:
            board.add_image("fakes", grid, step, dataformats="HWC")

    def news(self, text: str, nimg: int) -> None:
        """A line about the training's health, on the terminal, in log.txt and in TensorBoard."""
        if self.active:
            self.say(text)
            self._tensorboard().add_text("health", text, nimg)

    def image(self, name: str, grid: np.ndarray) -> None:
        """A picture that does not change, in TensorBoard."""
        if self.active:
            self._tensorboard().add_image(name, grid, 0, dataformats="HWC")

    def _tensorboard(self) -> Any:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.run / "tensorboard"), purge_step=self._purge, flush_secs=20)
        return self._board

    def close(self) -> None:
        """Flushes everything."""
        if not self.active:
            return
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()
        self._log.close()
