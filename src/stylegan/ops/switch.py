"""Which form of an operator runs: the readable reference, or the fast one that computes the same function.

`reference` takes the steps of the official program one by one and rounds as it does (drawing without gradients on a
CPU, in places less: `exact`); `fast` folds and fuses.
They agree to float32 rounding. `auto`, the default, is fast on GPUs and the reference on CPUs, where
`stylegan train` asks for the fast forms (2 to 4 times quicker convolutions at a change of resolution).
The environment variable STYLEGAN_OPS, or `set_ops`, overrides it.

On a GPU the fast forms are Triton kernels where Triton works, else PyTorch operators; that is tried once, and a
warning says what was found wrong. With TRITON_INTERPRET=1 kernels run (slowly) on the CPU, for tests.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from stylegan import environment
from stylegan.environment import MODES

TYPES = (torch.float32, torch.bfloat16, torch.float16)  # that kernels know
_mode: str | None = None  # what was chosen for the process, over the environment
_float64_exports = True


def set_ops(mode: str) -> None:
    """Chooses for the whole process: 'auto', 'reference' or 'fast'. ValueError for anything else."""
    global _mode
    if mode not in MODES:
        raise ValueError(f"operators {mode!r}: must be {', '.join(MODES)}")
    _mode = mode


def ops_mode() -> str:
    """What was chosen. UserError where STYLEGAN_OPS holds something else."""
    return _mode or environment.operators()


@contextmanager
def using_ops(mode: str) -> Iterator[None]:
    """Chooses for a block of code."""
    global _mode
    before = _mode
    set_ops(mode)
    try:
        yield
    finally:
        _mode = before


def exporting() -> bool:
    """Whether torch.export is tracing: then plain PyTorch operators take the place of the autograd Functions."""
    return torch.compiler.is_exporting()


@contextmanager
def exporting_with(float64: bool) -> Iterator[None]:
    """Whether programs traced in a block of code may use float64 (see `exact`)."""
    global _float64_exports
    before, _float64_exports = _float64_exports, float64
    try:
        yield
    finally:
        _float64_exports = before


def fast(x: torch.Tensor) -> bool:
    """Whether the fast form runs for this input."""
    mode = ops_mode()
    return mode == "fast" or (mode == "auto" and x.is_cuda)


def exact(x: torch.Tensor) -> bool:
    """Whether float32 is worked on in float64 where that costs little and rounding counts most, and rounded once after.

    So draw the reference on a CPU, where no gradient is wanted (with gradients it rounds as the official one does), and
    exported programs. Where: the generator's dense layers (mapping, styles), the truncation, and
    the convolutions of the lowest levels, whose errors reach whole areas of the image.
    """
    if x.dtype != torch.float32 or x.device.type != "cpu" or torch.is_grad_enabled():
        return False
    return _float64_exports if exporting() else not fast(x)


def kernels(x: torch.Tensor) -> bool:
    """Whether Triton kernels run for this input: fast, in a type they know, on a device where they work."""
    if not fast(x) or exporting() or x.dtype not in TYPES:
        return False
    return bool(x.numel()) and (x.is_cuda or interpreting()) and _kernels_work(x.device.type)


def interpreting() -> bool:
    """Whether Triton was asked to interpret its kernels on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _kernels_work(kind: str) -> bool:
    """Runs the smallest kernel once on this kind of device; warns where that fails."""
    try:
        fused = importlib.import_module("stylegan.ops.fused")
        x = torch.tensor([-1.0, 2.0], device=kind).reshape(1, 1, 1, 2)
        y = fused.bias_activation(x, torch.ones(1, device=kind), "lrelu").flatten().tolist()
        if y == [0.0, 3.0]:
            return True
        problem = f"a kernel gave {y} for [0.0, 3.0]"
    except Exception as error:  # a missing package, compiler or driver: whatever it is, PyTorch's operators serve
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
    warnings.warn(f"no Triton kernels on {kind}, PyTorch's operators instead ({problem})", stacklevel=2)
    return False


def describe(device: torch.device) -> str:
    """What runs on a device, in words: 'reference', 'fast' or 'fast, Triton kernels'."""
    x = torch.zeros(1, device=device)
    return "reference" if not fast(x) else "fast, Triton kernels" if kernels(x) else "fast"


def laid_out(x: torch.Tensor) -> torch.Tensor:
    """x [N, C, H, W] in the layout that networks compute in: channels-last in the fast forms on a GPU, else as it is.

    STYLEGAN_LAYOUT (auto, channels_last or contiguous) overrides it. Every operator keeps the layout it is given.
    """
    return x.contiguous(memory_format=torch.channels_last) if _asks_for_channels_last(x) else x


def lies_channels_last(x: torch.Tensor) -> bool:
    """Whether what a network makes of images x [N, C, H, W] is channels-last: `laid_out` makes them so, or they are."""
    return _asks_for_channels_last(x) or (x.stride(1) == 1 and not x.is_contiguous())


def _asks_for_channels_last(x: torch.Tensor) -> bool:
    chosen = environment.layout()
    return chosen == "channels_last" or (chosen == "auto" and x.is_cuda and fast(x))
