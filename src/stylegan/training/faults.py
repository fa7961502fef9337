"""Values that are not finite, networks that differ, processes and disks that fail: found early, and told in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.training.report import averages
from stylegan.training.step import Trainer


@contextmanager
def in_words(processes: Processes, run: str | Path) -> Iterator[None]:
    """Turns the errors of a lost process and of a disk that takes no more, within a `with` block, into UserErrors."""
    try:
        yield
    except RuntimeError as error:
        if processes.world == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise UserError(
            f"process {processes.rank} has lost another process of this training ({str(error).splitlines()[0]}); "
            f"see above which one ended and why, then run the same command again to go on from the last checkpoint"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise
        raise UserError(
            f"{error.filename or run}: cannot be written ({error.strerror}); make room or repair the disk, then "
            f"run the same command again to go on from the last checkpoint"
        ) from error


class Soundness:
    """Looks at the step statistics for NaN and infinity without making a GPU wait, and whether processes agree.

    On a CPU `look` raises in the step that went wrong. On a GPU the numbers of one look are examined at the
    next, when they have long arrived; `confirm` examines them, and the networks, at once (before anything is saved).
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
        self._settle()
        self._copy.copy_(self.trainer.statistics, non_blocking=True)
        self._event.record()
        self._nimg = nimg

    def confirm(self, nimg: int) -> None:
        """All that is to be known at `nimg` images. UserError where the training has diverged, or processes have."""
        self._settle()
        check_same(self.trainer, nimg, self.checkpoints)

    def _settle(self) -> None:
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
    return (
        f"the training has diverged: {what} at {nimg / 1000:.3f} kimg{held if tensors else ''}. {_sound(checkpoints)}; "
        f"begin a run with a lower schedule.lr, a higher loss.r1_gamma, or --training.precision fp32 in a new --out"
    )


def check_same(trainer: Trainer, nimg: int, checkpoints: Path) -> None:
    """UserError, in every process, where the networks of one are not the first's to the last bit.

    All start alike and take the same steps, so that a difference is a fault: of an exchange, or of a GPU.
    """
    processes = trainer.processes
    if processes.world == 1:
        return
    networks = {"G": trainer.G, "D": trainer.D, "G_ema": trainer.G_ema}
    digests = [int(number) for number in torch.stack([_digest(network) for network in networks.values()])]
    wrong = [own != first for own, first in zip(digests, processes.share(digests), strict=True)]
    unlike = {name: processes.most(processes.rank * w) for name, w in zip(networks, wrong, strict=True)}
    if any(unlike.values()):
        names = ", ".join(name for name, rank in unlike.items() if rank)
        raise UserError(
            f"processes 0 and {max(unlike.values())} have different networks ({names}) at {nimg / 1000:.3f} kimg, "
            f"though they take the same steps: a GPU or the exchange between them has failed, or they run on unlike "
            f"GPUs or versions of PyTorch. {_sound(checkpoints)}; run the same command again to go on from there"
        )


def _digest(network: torch.nn.Module) -> torch.Tensor:
    """A sum of the bits of all weights and averages; stays on the device."""
    tensors = [t.detach() for t in (*network.parameters(), *network.buffers()) if t.dtype == torch.float32]
    return torch.stack([t.view(torch.int32).sum(dtype=torch.int64) for t in tensors]).sum()


def _sound(checkpoints: Path) -> str:
    last = max((path.name for path in checkpoints.glob("[0-9]*")), default="")
    return f"The last checkpoint, {checkpoints / last}, is sound" if last else "There is no checkpoint yet"


def _not_finite(trainer: Trainer) -> Iterator[str]:
    """Names of weights and gradients that hold NaN or infinity, weights first."""
    networks = (("D", trainer.D), ("G", trainer.G))
    for part, network in networks:
        yield from (f"{part}.{n}" for n, p in network.named_parameters() if not bool(torch.isfinite(p).all()))
    for part, network in networks:
        for name, p in network.named_parameters():
            if p.grad is not None and not bool(torch.isfinite(p.grad).all()):
                yield f"the gradient of {part}.{name}"
