"""Work that is done again and again, recorded once as a CUDA graph: hundreds of small launches become one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

Result = TypeVar("Result")
WARM_UP = 2  # kernels are compiled and chosen in these


class Recording(Generic[Result]):
    """Called, it does the work anew on what lies in the same memory; `result` is overwritten by each call.

    It keeps the work, and with it every tensor that the work reads: else that memory would go to others.
    """

    def __init__(self, graph: Any, result: Result, work: Callable[[], Result]) -> None:
        self.graph, self.result, self.work = graph, result, work

    def __call__(self) -> Result:
        self.graph.replay()
        return self.result


def record(work: Callable[[], Result]) -> Recording[Result] | None:
    """Records `work` on the current GPU after running it twice; None, with a warning, where that cannot be done.

    It must read nothing but tensors that stay where they are, and draw random numbers from the default generator only.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = work()
    except (RuntimeError, torch.OutOfMemoryError) as error:
        first = str(error).splitlines()[0]
        warnings.warn(f"no CUDA graph here ({first}); kernels are launched one by one", stacklevel=2)
        release_generator()
        return None
    return Recording(graph, result, work)


def release_generator() -> None:
    """After a recording that failed: the GPU's random numbers go on; without this PyTorch believes it still records."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())


def repeated(work: Callable[[], Result], device: torch.device) -> Callable[[], Result]:
    """The work itself, or on an NVIDIA GPU its recording where that can be made."""
    return (record(work) if device.type == "cuda" else None) or work
