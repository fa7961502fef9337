"""Work that may run beside other work: on a GPU in a stream of its own, else in its turn.

Levels of few pixels are small kernels that leave most of a GPU idle, one after another. What does not need the other's
results can share it: the passes of reals and of fakes through D, the styles of all layers beside the layers before
them, what is made of weights (`ops.prepared.Ahead`). In a CUDA graph streams are branches; a backward pass follows, as
PyTorch computes a gradient in the stream of its forward pass.

What one stream made and another reads must live until both are done, or its memory would be written to in between:
so nothing crosses over but what is small, and it is held to the end of the pass. For a backward pass that is to its
end: a graph's branch may be far ahead of the order in which it was recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_now = threading.local()


class Branch:
    """`with branch.beside(): ...` runs beside what follows, until `branch.join()` or as far as a mark in it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.real = device.type == "cuda"
        self._stream: torch.cuda.Stream | None = None
        self._begun = False
        self._held: dict[int, torch.Tensor] = {}
        if self.real:
            self._stream = torch.cuda.Stream(device)
            # weights are used in both streams: PyTorch waits where it must, and would say so
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)

    @contextmanager
    def beside(self, wanted: bool = True) -> Iterator[None]:
        """After all that was begun before, beside all that comes after. Not `wanted`: in its turn."""
        if self._stream is None or not wanted:
            yield
            return
        self._begun = True
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            yield

    @contextmanager
    def further(self) -> Iterator[None]:
        """After what was begun in this branch, beside all else, what came since included."""
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """What follows comes after all that ran beside."""
        if self._stream is not None and self._begun:
            self._begun = False
            torch.cuda.current_stream(self.device).wait_stream(self._stream)
        self._held.clear()

    def hold(self, tensor: torch.Tensor) -> None:
        """Until `join`: of what was made beside, what is read elsewhere in a backward pass."""
        self._held[id(tensor)] = tensor

    def holds(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._held

    def mark(self) -> torch.cuda.Event | None:
        """How far the work beside is."""
        return None if self._stream is None else self._stream.record_event()

    def reach(self, mark: torch.cuda.Event | None) -> None:
        """What follows comes after the work beside up to a mark."""
        if mark is not None:
            torch.cuda.current_stream(self.device).wait_event(mark)

    @contextmanager
    def offered(self) -> Iterator[None]:
        """To whatever this thread does inside: see `offer`."""
        before, _now.branch = offer(), self
        try:
            yield
        finally:
            _now.branch = before


def offer() -> Branch | None:
    """The branch that this thread may use, if any."""
    branch: Branch | None = getattr(_now, "branch", None)
    return branch
