"""Half steps with everything that changes in buffers that stay where they are; on a GPU, replayed as CUDA graphs.

A step at low resolution is thousands of small kernels that the host cannot launch as fast as the GPU runs them. A
CUDA graph launches them all at once, but always reads the same addresses: so images, labels, latents, noise and
every other draw are copied into buffers first, and the style-mixing cutoff, which decides what is computed, becomes
a choice between two computed values. Optimizer, averages, sums over processes and counters stay outside, where
their numbers may change from step to step.

Without a GPU the same static half steps run as they are, which is how tests compare them with the plain ones.

Not covered, and run plainly: fades (the fade is a number inside the networks) and several micro-batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from stylegan import lod as lods
from stylegan.config import Config
from stylegan.training.memory import is_out_of_memory
from stylegan.training.schedule import Point

if TYPE_CHECKING:
    from stylegan.training.step import MicroBatch, Trainer

AUTO_SIDE = 0  # largest side at which `auto` uses graphs: none until measured on a GPU
WARM_UP = 3  # passes before a capture: kernels are compiled and chosen in them

Pass = Callable[["MicroBatch"], tuple[torch.Tensor, torch.Tensor]]
Half = tuple[str, bool, Point]  # "d" or "g", whether penalised, the point of the schedule


@dataclass
class StaticHalf:
    """Buffers of one half step, and its graph once captured."""

    given: dict[str, torch.Tensor]
    part: MicroBatch
    graph: Any = None  # torch.cuda.CUDAGraph
    answer: tuple[torch.Tensor, torch.Tensor] | None = None
    gradients: list[tuple[torch.nn.Parameter, torch.Tensor]] = field(default_factory=list)


class StaticHalves:
    """The static half steps of a trainer, by (half, penalised, size, batch); those of other sizes are dropped."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.setting, self.device = config.training.graphs, device
        self._known: dict[tuple[Any, ...], StaticHalf] = {}
        self._level = -1
        self._pool: Any = None

    def take(self, micro_batches: int, point: Point) -> bool:
        """Whether this half step runs static."""
        wanted = self.setting == "on" or (
            self.setting == "auto" and self.device.type == "cuda" and point.resolution <= AUTO_SIDE
        )
        return wanted and micro_batches == 1 and lods.fade_of(point.lod) == 0.0

    def run(self, trainer: Trainer, key: Half, nimg: int, part: MicroBatch, one_pass: Pass) -> tuple[torch.Tensor, ...]:
        """The pass's answer; afterwards parameters have their gradients, as after the plain pass."""
        half, penalised, point = key
        if point.level != self._level:
            self._known.clear()
            self._level, self._pool = point.level, None
        values = trainer.draw_all(half, point, nimg, part)
        name = (half, penalised, point.lod, point.batch, len(part.rows))
        static = self._known.get(name)
        if static is None:
            given = {k: v.clone() for k, v in values.items()}
            static = self._known[name] = StaticHalf(given, _static_part(part, given))
            self._prepare(trainer, static, one_pass)
        for k, buffer in static.given.items():
            buffer.copy_(values[k], non_blocking=True)
        if static.graph is None:
            return _with(trainer, static, one_pass)
        static.graph.replay()
        for parameter, gradient in static.gradients:
            parameter.grad = gradient
        assert static.answer is not None
        return static.answer

    def _prepare(self, trainer: Trainer, static: StaticHalf, one_pass: Pass) -> None:
        """Captures the graph on a GPU; where that fails, says so and leaves the setting off."""
        if self.device.type != "cuda":
            return
        parameters = [*trainer.G.parameters(), *trainer.D.parameters()]
        try:
            stream = torch.cuda.Stream(self.device)
            stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    _with(trainer, static, one_pass)
                    _forget(parameters)
            torch.cuda.current_stream(self.device).wait_stream(stream)
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                static.answer = _with(trainer, static, one_pass)
            static.gradients = [(p, p.grad) for p in parameters if p.grad is not None]
            static.graph = graph
        except (RuntimeError, torch.OutOfMemoryError) as error:
            if is_out_of_memory(error):
                raise
            first = str(error).splitlines()[0]
            warnings.warn(f"no CUDA graphs in this training ({first}); steps run one by one", stacklevel=2)
            self.setting = "off"
        finally:
            _forget(parameters)


def _forget(parameters: list[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _static_part(part: MicroBatch, given: dict[str, torch.Tensor]) -> MicroBatch:
    return replace(part, images=given["images"], labels=given["labels"], drawn_labels=given["drawn_labels"])


def _with(trainer: Trainer, static: StaticHalf, one_pass: Pass) -> tuple[torch.Tensor, torch.Tensor]:
    """The pass on the buffers."""
    trainer.given = static.given
    try:
        return one_pass(static.part)
    finally:
        trainer.given = None
