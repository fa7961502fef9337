"""Values that are not finite: found in the step that made them, and told in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from stylegan.errors import UserError
from stylegan.training.report import averages
from stylegan.training.step import Trainer


class FiniteCheck:
    """Looks at the step statistics for NaN and infinity without making a GPU wait.

    On a CPU `look` raises in the step that went wrong. On a GPU the numbers of one look are examined at the
    next, when they have long arrived; `settle` examines them at once (before anything is saved).
    """

    def __init__(self, trainer: Trainer, checkpoints: Path) -> None:
        self.trainer, self.checkpoints = trainer, checkpoints
        cuda = trainer.statistics.device.type == "cuda"
        self._copy = torch.zeros_like(trainer.statistics, device="cpu", pin_memory=True) if cuda else None
        self._event = torch.cuda.Event() if cuda else None
        self._nimg = -1  # of the numbers on their way; −1 = none

    def look(self, nimg: int) -> None:
        """After a step that ended at `nimg` images. UserError where the training has diverged."""
        if self._copy is None or self._event is None:
            self._examine(self.trainer.statistics, nimg)
            return
        self.settle()
        self._copy.copy_(self.trainer.statistics, non_blocking=True)
        self._event.record()
        self._nimg = nimg

    def settle(self) -> None:
        """Examines the numbers still on their way."""
        if self._copy is not None and self._event is not None and self._nimg >= 0:
            self._event.synchronize()
            nimg, self._nimg = self._nimg, -1
            self._examine(self._copy, nimg)

    def _examine(self, statistics: torch.Tensor, nimg: int) -> None:
        if bool(torch.isfinite(statistics).all()):
            return
        values = {name: value for name, value in averages(statistics).items() if not np.isfinite(value)}
        raise UserError(diverged(self.trainer, values, nimg, self.checkpoints))


def diverged(trainer: Trainer, values: dict[str, float], nimg: int, checkpoints: Path) -> str:
    """What is not finite, where the last sound state is, and what to change."""
    what = " and ".join(f"{name} is {value}" for name, value in values.items())
    tensors = list(_not_finite(trainer))
    held = f"; not finite: {', '.join(tensors[:3])}" + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")
    last = max((path.name for path in checkpoints.glob("[0-9]*")), default="")
    sound = f"The last checkpoint, {checkpoints / last}, is sound" if last else "There is no checkpoint yet"
    return (
        f"the training has diverged: {what} at {nimg / 1000:.3f} kimg{held if tensors else ''}. {sound}; begin a run "
        f"with a lower schedule.lr, a higher loss.r1_gamma, or --training.precision fp32 in a new --out"
    )


def _not_finite(trainer: Trainer) -> Iterator[str]:
    """Names of weights and gradients that hold NaN or infinity, weights first."""
    networks = (("D", trainer.D), ("G", trainer.G))
    for part, network in networks:
        yield from (f"{part}.{n}" for n, p in network.named_parameters() if not bool(torch.isfinite(p).all()))
    for part, network in networks:
        for name, p in network.named_parameters():
            if p.grad is not None and not bool(torch.isfinite(p.grad).all()):
                yield f"the gradient of {part}.{name}"
