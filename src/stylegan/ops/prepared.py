"""What is made of weights before each pass, kept for as long as the weights stay as they are, or made ahead.

Scaling, conversion and the kernels of folded, shifted and paired convolutions are small launches, but in drawing a few
images they are a third of all. Whoever draws many images from the same weights keeps them: see networks.replay.
Training makes them anew in each pass, as its weights change with every step, but no layer needs to wait for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import torch

from stylegan.ops.branches import Branch
from stylegan.ops.switch import laid_out

P = ParamSpec("P")
Maker = Callable[Concatenate[torch.Tensor, P], torch.Tensor]
_now = threading.local()


class Prepared:
    """Results of functions marked with `keeps`, by function and arguments; they stay where they are."""

    differentiable = False

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, function: Maker[...], w: torch.Tensor, rest: tuple[Any, ...]) -> torch.Tensor:
        key = (function, id(w), rest)
        if key not in self._known:
            if w.is_cuda and torch.cuda.is_current_stream_capturing():
                return function(w, *rest)  # what a graph makes is there only when it runs
            with torch.inference_mode(False), torch.no_grad():
                made = function(w, *rest)
                made = laid_out(made) if made.ndim == 4 else made  # as convolutions take it, so that none is copied
                self._known[key] = (w, made)  # w too, so that its id is not given to another
        return self._known[key][1]

    def refresh(self) -> None:
        """Makes everything anew, in its place, after the weights have changed."""
        with torch.inference_mode(False), torch.no_grad():
            for (function, _, rest), (w, made) in self._known.items():  # in the order in which they build on another
                made.copy_(function(w, *rest))

    @contextmanager
    def used(self) -> Iterator[None]:
        """In this thread, marked functions return what is kept, and keep what they make."""
        before, _now.kept = getattr(_now, "kept", None), self
        try:
            yield
        finally:
            _now.kept = before


class Ahead:
    """Results of functions marked with `keeps`, made in a branch that waits for nothing but the weights.

    In a CUDA graph that is long before the layer's turn, though it is recorded when the layer asks. Gradients of what
    was made go back to the weights in the same branch, beside the layers that follow in the backward pass.
    """

    differentiable = True

    def __init__(self, device: torch.device) -> None:
        self._branch = Branch(device)
        self._home: torch.cuda.Stream | None = None

    def __call__(self, function: Maker[...], w: torch.Tensor, rest: tuple[Any, ...]) -> torch.Tensor:
        ready = isinstance(w, torch.nn.Parameter) or self._branch.holds(w)
        if not ready or torch.cuda.current_stream(self._branch.device) != self._home:  # or in a branch of its own
            return function(w, *rest)
        with self._branch.further():
            made = function(w, *rest)
            mark = self._branch.mark()
        self._branch.reach(mark)
        self._branch.hold(made)
        return made

    @contextmanager
    def used(self, wanted: bool = True) -> Iterator[None]:
        """In this thread and stream, on a GPU; `join` must follow, after the backward pass if there is one."""
        if not (wanted and self._branch.real):
            yield
            return
        with self._branch.beside():
            pass
        self._home = torch.cuda.current_stream(self._branch.device)
        before, _now.kept = getattr(_now, "kept", None), self
        try:
            yield
        finally:
            _now.kept = before

    def join(self) -> None:
        """What follows comes after all that was made ahead, gradients included."""
        self._branch.join()


def keeps(function: Callable[Concatenate[torch.Tensor, P], torch.Tensor]) -> Callable[
    Concatenate[torch.Tensor, P], torch.Tensor
]:  # fmt: skip
    """Marks a function of a weight and of hashable positional arguments, whose result depends on nothing else."""

    @wraps(function)
    def kept(w: torch.Tensor, /, *rest: P.args, **named: P.kwargs) -> torch.Tensor:
        prepared: Prepared | Ahead | None = getattr(_now, "kept", None)
        if prepared is None or named or (torch.is_grad_enabled() and not prepared.differentiable):
            return function(w, *rest, **named)
        return prepared(function, w, rest)

    return kept
