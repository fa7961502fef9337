"""Half steps with everything that changes in buffers that stay where they are; on a GPU, replayed as CUDA graphs.

A step at low resolution is thousands of small kernels that the host cannot launch as fast as the GPU runs them. A
CUDA graph launches them all at once, but always reads the same addresses: so images, labels, latents, noise and
every other draw, and the fade, are copied into buffers first, and the style-mixing cutoff, which decides what is
computed, becomes a choice between two computed values. Sums over processes are part of it, beside what is left of the
backward pass (`stylegan.training.exchange`). A second graph holds what follows: statistics, optimizer and averages.

Without a GPU the same static half steps run as they are, which is how tests compare them with the plain ones.

Not covered, and run plainly: several micro-batches.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from stylegan.config import Config
from stylegan.ops.record import release_generator
from stylegan.training.exchange import Exchange, finishing_order
from stylegan.training.inputs import Inputs
from stylegan.training.memory import is_out_of_memory, together
from stylegan.training.schedule import Point

if TYPE_CHECKING:
    from stylegan.training.step import MicroBatch, Trainer

WARM_UP = 3  # passes before a capture: kernels are compiled and chosen in them

Pass = Callable[["MicroBatch"], tuple[torch.Tensor, torch.Tensor]]
Finish = Callable[[torch.Tensor, torch.Tensor], None]
Half = tuple[str, bool, Point]  # "d" or "g", whether penalised, the point of the schedule


@dataclass
class StaticHalf:
    """Buffers of one half step, and its graphs once captured."""

    given: Inputs
    part: MicroBatch
    answer: tuple[torch.Tensor, ...] = ()  # of the pass, always in the same place where there is a graph
    exchange: Exchange | None = None  # of several processes
    graph: Any = None  # torch.cuda.CUDAGraph of the pass
    gradients: list[tuple[torch.nn.Parameter, torch.Tensor]] = field(default_factory=list)
    finished: int = 0  # how often `finish` ran as it is
    finish_graph: Any = None


class StaticHalves:
    """The static half steps of a trainer, by (half, penalised, size, fading, batch); others are dropped."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.setting, self.device = config.training.graphs, device
        self.finish_setting = self.setting
        self._known: dict[tuple[Any, ...], StaticHalf] = {}
        self._level = -1
        self._pool: Any = None
        self.recorded = 0  # how often something was recorded: steps that take seconds and say nothing of the rate

    def take(self, micro_batches: int, point: Point) -> bool:
        """Whether this half step runs static."""
        wanted = self.setting == "on" or (self.setting == "auto" and self.device.type == "cuda")
        return wanted and micro_batches == 1

    def forget(self) -> None:
        """Drops everything recorded: what it was recorded with is no more. Also before processes part (NCCL waits)."""
        for static in self._known.values():
            if static.graph is not None:
                static.graph.reset()
        self._known.clear()
        self._pool = None

    def run(self, trainer: Trainer, key: Half, nimg: int, part: MicroBatch, one_pass: Pass) -> StaticHalf:
        """Makes a pass; afterwards parameters have their gradients, summed over the processes.

        OutOfMemory in every process if one of them ran out; a graph that is replayed does not.
        """
        half, penalised, point = key
        if point.level != self._level:
            self.forget()
            self._level = point.level
        name = (half, penalised, math.floor(point.lod), point.fading, point.batch, len(part.rows))
        static = self._known.get(name)

        def fill() -> None:
            nonlocal static
            values = trainer.draw_all(half, point, nimg, part, None if static is None else static.given.tensors)
            if static is None:
                given = Inputs(values, trainer.processes.device)
                static = StaticHalf(given, _static_part(part, given.tensors))
            static.given.fill(values)

        together(trainer.processes, fill)
        assert static is not None
        if name not in self._known:
            self._prepare(trainer, static, one_pass)
            self._known[name] = static
        if static.graph is not None:
            static.graph.replay()
            for parameter, gradient in static.gradients:
                parameter.grad = gradient
        elif static.exchange is not None:  # a pass made before: whoever runs out of memory now ends its process
            _summed(trainer, static, one_pass)
        else:
            together(trainer.processes, lambda: _make(trainer, static, one_pass))
        return static

    def finish(self, trainer: Trainer, static: StaticHalf, finish: Finish) -> None:
        """What follows the pass: as it is at first, which makes the optimizer's state, then as a graph."""
        if static.graph is None or self.finish_setting == "off" or static.finished == 0:
            static.finished += 1
            finish(*static.answer)
            return
        if static.finish_graph is None:
            static.finish_graph = self._capture(lambda: finish(*static.answer))
        if static.finish_graph is None:
            self.finish_setting = "off"
            finish(*static.answer)
        else:
            static.finish_graph.replay()
            for network in (trainer.G, trainer.G_ema):  # a graph changes weights without a sign (networks.replay)
                torch.autograd.graph.increment_version([*network.parameters(), *network.buffers()])

    def _capture(self, work: Callable[[], Any], required: bool = False) -> Any:
        """A graph of work that ran before, or None.

        Where memory does not suffice for what is `required`, the error is the caller's.
        """
        self.recorded += 1
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
        except (RuntimeError, torch.OutOfMemoryError) as error:
            if required and is_out_of_memory(error):
                raise
            first = str(error).splitlines()[0]
            warnings.warn(f"no CUDA graphs in this training ({first}); steps run one by one", stacklevel=2)
            release_generator()
            return None
        return graph

    def _prepare(self, trainer: Trainer, static: StaticHalf, one_pass: Pass) -> None:
        """Agrees on what processes exchange, and captures the pass's graph on a GPU; every process is here."""
        processes, on_gpu = trainer.processes, self.device.type == "cuda"
        if processes.world == 1 and not on_gpu:
            return
        parameters = [*trainer.G.parameters(), *trainer.D.parameters()]
        order: list[int] = []

        def warm_up() -> None:
            nonlocal order
            stream = torch.cuda.Stream(self.device) if on_gpu else None
            if stream is not None:
                stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP if on_gpu else 1):
                    order = finishing_order(parameters, lambda: _make(trainer, static, one_pass))
                    _forget(parameters)
            if stream is not None:
                torch.cuda.current_stream(self.device).wait_stream(stream)

        def exchange() -> None:
            static.exchange = Exchange(processes, [parameters[i] for i in order], static.answer)

        def record() -> None:
            static.graph = self._capture(lambda: _summed(trainer, static, one_pass), required=True)
            static.gradients = [(p, p.grad) for p in parameters if p.grad is not None]

        try:
            together(processes, warm_up)
            if processes.world > 1:
                order = processes.share(order)
                together(processes, exchange)
                assert static.exchange is not None
                static.exchange.connect()
            if not on_gpu:
                return
            together(processes, record)
            if processes.any(static.graph is None):  # all go the same way, or their sums would not fit together
                static.graph, self.setting = None, "off"
        finally:
            _forget(parameters)


def _forget(parameters: list[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _static_part(part: MicroBatch, given: dict[str, torch.Tensor]) -> MicroBatch:
    return replace(part, **{name: given[name] for name in ("images", "labels", "drawn_labels") if name in given})


def _make(trainer: Trainer, static: StaticHalf, one_pass: Pass) -> tuple[torch.Tensor, ...]:
    """The pass on the buffers."""
    trainer.given = static.given.tensors
    try:
        static.answer = one_pass(static.part)
    finally:
        trainer.given = None
    return static.answer


def _summed(trainer: Trainer, static: StaticHalf, one_pass: Pass) -> tuple[torch.Tensor, ...]:
    """The pass on the buffers, summed over the processes."""
    if static.exchange is None:
        return _make(trainer, static, one_pass)
    static.answer = static.exchange.through(lambda: _make(trainer, static, one_pass))
    return static.answer
