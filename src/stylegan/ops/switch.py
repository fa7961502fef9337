"""Which form of an operator runs: the readable reference, or the fast one that computes the same function.

`reference` takes the steps of the official program one by one and rounds as it does; `fast` folds and fuses.
They agree to float32 rounding. `auto`, the default, is fast on GPUs and the reference on CPUs, where
`stylegan train` asks for the fast forms (2 to 4 times quicker convolutions at a change of resolution).
The environment variable STYLEGAN_OPS, or `set_ops`, overrides it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MODES = ("auto", "reference", "fast")
_mode = os.environ.get("STYLEGAN_OPS", "auto")


def set_ops(mode: str) -> None:
    """Chooses for the whole process: 'auto', 'reference' or 'fast'. ValueError for anything else."""
    global _mode
    if mode not in MODES:
        raise ValueError(f"operators {mode!r}: must be {', '.join(MODES)}")
    _mode = mode


def ops_mode() -> str:
    """What was chosen. ValueError where STYLEGAN_OPS holds something else."""
    if _mode not in MODES:
        raise ValueError(f"STYLEGAN_OPS={_mode!r}: must be {', '.join(MODES)}")
    return _mode


@contextmanager
def using_ops(mode: str) -> Iterator[None]:
    """Chooses for a block of code."""
    before = ops_mode()
    set_ops(mode)
    try:
        yield
    finally:
        set_ops(before)


def exporting() -> bool:
    """Whether torch.export is tracing: then plain PyTorch operators take the place of the autograd Functions."""
    return torch.compiler.is_exporting()


def fast(x: torch.Tensor) -> bool:
    """Whether the fast form runs for this input."""
    mode = ops_mode()
    return mode == "fast" or (mode == "auto" and x.is_cuda)
