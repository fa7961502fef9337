"""Processes of one training, as `torchrun` starts them: NCCL on GPUs, gloo on CPUs. Alone, everything is free."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist

from stylegan.errors import UserError

HOST_THREADS = torch.get_num_threads()  # as PyTorch found them; a training on a GPU takes one (training.step)


def _lies_last(x: torch.Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


def flat(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Values of x in the order in which those of `like` lie; if its own lie so and densely a view, else a copy."""
    return (x.permute(0, 2, 3, 1) if _lies_last(like) else x).reshape(-1)


def unflat(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The reverse of `flat`: a view of values [size] with the shape of `like`, lying as it does."""
    if _lies_last(like):
        n, c, h, w = like.shape
        return values.view(n, h, w, c).permute(0, 3, 1, 2)
    return values.view(like.shape)


class Sum(Protocol):
    """A sum over all processes that has begun."""

    def wait(self) -> object:
        """On the host until it is there; of a GPU's, what follows in the current stream waits, the host does not."""


@dataclass
class Marks:
    """How often this process has come to an exchange with the others, or left one: a measure of how far it is."""

    count: int = 0


@dataclass(frozen=True)
class Processes:
    """Which process this is. `control` is a gloo group for decisions on the host, None when alone.

    Every exchange is counted in `marks` before and after, so that `stylegan.training.watchdog` can tell a
    process that hangs from those that wait for it.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    control: Any = None
    marks: Marks = field(default_factory=Marks)

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sum_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Adds tensors over all processes in place, in one flat exchange; all float32 on `device`.

        A tensor must lie the same way in every process: values go in the order in which they lie, so that
        channels-last gradients are not rearranged on the way there and back.
        """
        if self.world == 1:
            return
        given = list(tensors)
        parts = [flat(tensor, tensor) for tensor in given]
        joined = torch.cat(parts)
        self.marks.count += 1
        dist.all_reduce(joined)
        self.marks.count += 1
        torch._foreach_copy_(parts, joined.split([part.numel() for part in parts]))
        for tensor, part in zip(given, parts, strict=True):
            if part.data_ptr() != tensor.data_ptr():
                tensor.copy_(unflat(part, tensor))

    def begin_sum(self, values: torch.Tensor) -> Sum:
        """Begins to add values over all processes in place, and returns; they are not to be touched before `wait`.

        All processes begin the same sums in the same order, while nothing else is exchanged but on the host.
        """
        begun: Sum = dist.all_reduce(values, async_op=True)
        return begun

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; host only."""
        return bool(self.most(int(flag)))

    def most(self, value: int) -> int:
        """The largest value of all processes; host only."""
        if self.world == 1:
            return value
        box = torch.tensor([value])
        self.marks.count += 1
        dist.all_reduce(box, op=dist.ReduceOp.MAX, group=self.control)
        self.marks.count += 1
        return int(box.item())

    def share(self, value: Any) -> Any:
        """The first process's value, in every process."""
        if self.world == 1:
            return value
        box = [value]
        self.marks.count += 1
        dist.broadcast_object_list(box, src=0, group=self.control)
        self.marks.count += 1
        return box[0]

    def spread_(self, tensor: torch.Tensor) -> None:
        """Overwrites a tensor on the host with the first process's."""
        if self.world > 1:
            dist.broadcast(tensor, src=0, group=self.control)

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.world > 1:
            self.marks.count += 1
            dist.barrier(group=self.control)
            self.marks.count += 1

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.close(failed=kind is not None)

    def close(self, failed: bool = False) -> None:
        """Leaves the process groups, and ends their threads: one that frees a tensor while Python ends aborts it.

        A process that failed leaves at once: NCCL's orderly way out waits for the others, who wait for this one's next
        exchange, and learn from gloo's closed connection that it will not come.
        """
        if self.world > 1 and dist.is_initialized():
            leave = dist.destroy_process_group
            if failed and self.device.type == "cuda":
                leave = getattr(dist.distributed_c10d, "_abort_process_group", leave)  # experimental, as of 2.13
            with suppress(RuntimeError) if failed else nullcontext():  # what is to be told is why this one failed
                leave()
            object.__setattr__(self, "control", None)  # whose threads live as long as it is held


def choose_device(name: str) -> torch.device:
    """'auto', 'cpu', 'cuda', 'cuda:1', 'mps' -> device; UserError where it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        elif torch.backends.mps.is_available():
            name = "mps"
        else:
            name = "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r}: must be auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(
                f"device {name!r}: PyTorch {torch.__version__} sees no CUDA GPU here; use --device cpu, or install "
                f"a GPU driver and a CUDA build of PyTorch (pytorch.org)"
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise UserError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA GPUs, from cuda:0")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device {name!r}: Apple's Metal is not available here; use --device cpu")
    elif device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device {name!r}: must be auto, cpu, cuda, cuda:N or mps")
    return device


def start(device_name: str = "auto") -> Processes:
    """Joins the processes torchrun has started (WORLD_SIZE in the environment), or stays alone."""
    device = choose_device(device_name)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes(device=device)
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UserError(
                f"{os.environ.get('LOCAL_WORLD_SIZE', world)} processes on a machine with "
                f"{torch.cuda.device_count()} GPUs; start at most one per GPU (torchrun --nproc-per-node)"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # torchrun keeps one store for all restarts: without a prefix, processes find their dead forerunners in it
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        shared, _, _ = next(iter(dist.rendezvous("env://", rank, world)))
        store = dist.PrefixStore(f"stylegan-attempt-{attempt}", shared)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    # the first process may prepare data for hours; who hangs once training runs is the watchdog's business
    return Processes(rank, world, device, dist.new_group(backend="gloo", timeout=timedelta(hours=24)))
