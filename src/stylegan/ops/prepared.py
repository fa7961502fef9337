"""What is made of weights before each pass, kept for as long as the weights stay as they are.

Scaling, conversion and the kernels of folded, shifted and paired convolutions are small launches, but in drawing a few
images they are a third of all. Training makes them anew in each pass, as its weights change with every step; whoever
draws many images from the same weights keeps them: see networks.replay.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import torch

from stylegan.ops.switch import laid_out

P = ParamSpec("P")
Maker = Callable[Concatenate[torch.Tensor, P], torch.Tensor]
_now = threading.local()


class Prepared:
    """Results of functions marked with `keeps`, by function and arguments; they stay where they are."""

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


def keeps(function: Callable[Concatenate[torch.Tensor, P], torch.Tensor]) -> Callable[
    Concatenate[torch.Tensor, P], torch.Tensor
]:  # fmt: skip
    """Marks a function of a weight and of hashable positional arguments, whose result depends on nothing else."""

    @wraps(function)
    def kept(w: torch.Tensor, /, *rest: P.args, **named: P.kwargs) -> torch.Tensor:
        prepared: Prepared | None = getattr(_now, "kept", None)
        if prepared is None or named or torch.is_grad_enabled():
            return function(w, *rest, **named)
        return prepared(function, w, rest)

    return kept
