"""Gradients of a half step, summed over the processes while the backward pass still makes others.

They lie in one buffer, in the order in which the pass finishes them, cut into buckets. As soon as a bucket is complete
its sum begins: on a GPU in a stream of its own, as a branch of the half step's CUDA graph; on a CPU in gloo's threads.
D's backward pass starts at 4x4, near which most weights are, and then goes on for long at high resolutions, which hides
their sums; G's ends there. What cannot be hidden is the last bucket.

A process that ran out of memory in between would leave the others in a sum for ever. So this is for passes that every
process has made before (`stylegan.training.graphs`); after others, gradients are summed when all are through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from stylegan.distributed import Processes, Sum, flat, unflat

BUCKET = 16 * 2**20  # bytes
ALIGNED = 64  # values: every gradient begins where the widest loads may

Answer = tuple[torch.Tensor, ...]


def finishing_order(parameters: Sequence[torch.nn.Parameter], work: Callable[[], object]) -> list[int]:
    """Places of the parameters that get a gradient in `work`, in the order in which its backward pass finishes them."""
    order: list[int] = []
    hooks = [
        p.register_post_accumulate_grad_hook(lambda _, place=place: order.append(place))
        for place, p in enumerate(parameters)
        if p.requires_grad
    ]
    try:
        work()
    finally:
        for hook in hooks:
            hook.remove()
    return order


@dataclass
class Bucket:
    """Gradients whose sum begins when all of them are finished."""

    values: torch.Tensor  # part of the exchange's buffer
    places: dict[torch.nn.Parameter, torch.Tensor]  # where each gradient goes, [its size], part of the values
    missing: int = 0


class Exchange:
    """Sums the gradients of a half step, and the small tensors it answers with, over all processes.

    parameters: on the device of `processes`, float32, in the order in which their gradients are finished, the same in
    every process; answer: tensors of the shapes the pass returns.
    """

    def __init__(self, processes: Processes, parameters: Sequence[torch.nn.Parameter], answer: Answer) -> None:
        self.processes, self.parameters = processes, list(parameters)
        tensors = [*self.parameters, *answer]
        rooms = [math.ceil(t.numel() / ALIGNED) * ALIGNED for t in tensors]
        self.buffer = torch.zeros(sum(rooms), device=processes.device)
        places = [room[: t.numel()] for t, room in zip(tensors, self.buffer.split(rooms), strict=True)]
        self.answer = tuple(place.view(t.shape) for t, place in zip(answer, places[len(parameters) :], strict=True))
        self.buckets: list[Bucket] = []
        begin = end = 0
        members: dict[torch.nn.Parameter, torch.Tensor] = {}
        for parameter, place, room in zip(self.parameters, places, rooms, strict=False):
            members[parameter] = place
            end += room
            if (end - begin) * self.buffer.element_size() >= BUCKET:
                self.buckets.append(Bucket(self.buffer[begin:end], members))
                begin, members = end, {}
        self.buckets.append(Bucket(self.buffer[begin:], members))  # the answer too
        self._bucket_of: dict[torch.Tensor, Bucket] = {p: bucket for bucket in self.buckets for p in bucket.places}
        self._begun = 0  # buckets
        self._sums: list[Sum] = []
        self._stream = torch.cuda.Stream(processes.device) if processes.device.type == "cuda" else None
        self._behind: set[torch.cuda.Stream] = set()  # streams in which gradients were finished

    def connect(self) -> None:
        """Sums every bucket once: a library makes its connections the first time, which a graph cannot hold."""
        for bucket in self.buckets:
            self.processes.begin_sum(bucket.values).wait()

    def through(self, one_pass: Callable[[], Answer]) -> Answer:
        """Makes a pass; returns its answer, which like its parameters' gradients is summed over all processes.

        Both lie where they did the time before.
        """
        self._begun, self._sums = 0, []
        for bucket in self.buckets:
            bucket.missing = len(bucket.places)
        for parameter in self.parameters:
            parameter.grad = None
        hooks = [p.register_post_accumulate_grad_hook(self._finished) for p in self.parameters]
        try:
            answer = one_pass()
        finally:
            for hook in hooks:
                hook.remove()
        for place, tensor in zip(self.answer, answer, strict=True):
            place.copy_(tensor)
        self._note_stream()
        while self._begun < len(self.buckets):
            self._begin()
        for begun in self._sums:
            begun.wait()
        if self._stream is not None:
            torch.cuda.current_stream(self.processes.device).wait_stream(self._stream)
        for bucket in self.buckets:  # not before: what the other stream has copied must not be written over
            for parameter, place in bucket.places.items():
                parameter.grad = unflat(place, parameter)
        return self.answer

    def _finished(self, parameter: torch.Tensor) -> None:
        """Its gradient is. Sums begin in the order of buckets, which is the same in every process."""
        self._bucket_of[parameter].missing -= 1
        self._note_stream()
        while self._begun < len(self.buckets) - 1 and self.buckets[self._begun].missing == 0:
            self._begin()

    def _begin(self) -> None:
        bucket = self.buckets[self._begun]
        assert bucket.missing == 0, f"{bucket.missing} gradients of a bucket came never or twice"
        self._begun += 1
        for stream in self._behind:
            assert self._stream is not None
            self._stream.wait_stream(stream)
        self._behind.clear()
        with torch.cuda.stream(self._stream):
            if bucket.places:
                gradients = [flat(p.grad, p) for p in bucket.places if p.grad is not None]
                torch._foreach_copy_(list(bucket.places.values()), gradients)
            self._sums.append(self.processes.begin_sum(bucket.values))

    def _note_stream(self) -> None:
        if self._stream is not None:
            self._behind.add(torch.cuda.current_stream(self.processes.device))
