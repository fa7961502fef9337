"""Convolutions of few channels with two neighbours in a row taken as one pixel of twice the channels.

cuDNN's kernels work on tiles of 64 or more output channels; with 32 half of each stays idle. A channels-last tensor
[N, C, H, W] read as [N, 2C, H, W/2] is the same memory, so nothing is moved: only the small kernel is rearranged, with
zeros where a pair lies outside the kernel's reach. Three forms, named by what is paired:

- "outputs", 3x3: [O, I, 3, 3] -> [2O, I, 3, 4] of stride (1, 2), 4/3 of the arithmetic;
- "both", 3x3: [O, I, 3, 3] -> [2O, 2I, 3, 3], twice the arithmetic;
- "inputs", 4x4 of stride 2: [O, I, 4, 4] -> [O, 2I, 4, 3] of stride (2, 1), 3/2 of the arithmetic.

Which pays where was measured on an H100 (benchmarks/convolutions.py; docs/performance.md): by up to 2.3 times.

Shapes: x [N, I, H, W], w [O, I, k, k], y [N, O, H', W']; padding is 1 throughout.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from stylegan.ops.prepared import keeps
from stylegan.ops.switch import fast

LEAST_WIDTH = 256  # pixels in a row from which it pays
_STRIDES = {"outputs": [1, 2], "both": [1, 1], "inputs": [2, 1]}


def _readable(x: torch.Tensor) -> bool:
    """Whether x [N, C, H, W] lies so that pairs are a view, where that was found to pay: fast, 16 bits, on a GPU."""
    last = x.stride(1) == 1 and x.is_contiguous(memory_format=torch.channels_last)
    return x.is_cuda and x.dtype.itemsize == 2 and last and fast(x)


def _kind(w_shape: tuple[int, ...], stride: int, padding: int, width: int) -> str | None:
    """"3x3" or "4x4": the convolutions of x of this width that have a paired form."""
    known = {(3, 3, 1, 1): "3x3", (4, 4, 2, 1): "4x4"}
    return known.get((w_shape[2], w_shape[3], stride, padding)) if width >= LEAST_WIDTH and width % 2 == 0 else None


def forward(x: torch.Tensor, w: torch.Tensor, stride: int, padding: int) -> torch.Tensor | None:
    """The convolution of x with w; None where the plain one is faster."""
    o, i = w.shape[:2]
    pays = _kind(tuple(w.shape), stride, padding, x.shape[3]) == "3x3" and o <= 32 and i <= 64
    return convolve(x, w) if pays and _readable(x) else None


def input_gradient(
    dy: torch.Tensor, w: torch.Tensor, stride: int, padding: int, size: tuple[int, ...]
) -> torch.Tensor | None:
    """The gradient by x, of this size, from that by y; None where the plain one is faster."""
    o, i = w.shape[:2]
    kind = _kind(tuple(w.shape), stride, padding, size[3])
    if kind is None or not _readable(dy):
        return None
    if kind == "3x3":
        return convolve(dy, w, adjoint=True) if i <= 32 and o <= 64 else None
    return spread(dy, w, size) if i <= 64 else None


def weight_gradient(
    x: torch.Tensor, dy: torch.Tensor, stride: int, padding: int, shape: tuple[int, ...]
) -> torch.Tensor | None:
    """The gradient by w [O, I, k, k]; None where the plain one is faster."""
    o, i = shape[:2]
    kind = _kind(shape, stride, padding, x.shape[3])
    if kind is None or not (_readable(x) and _readable(dy)):
        return None
    if kind == "4x4":
        return correlate(x, dy, shape, "inputs") if i <= 32 else None
    return correlate(x, dy, shape, "both" if i <= 32 else "outputs") if o <= 32 and i <= 64 else None


# --- the forms themselves, on any device ------------------------------------------------------------------------


def convolve(x: torch.Tensor, w: torch.Tensor, adjoint: bool = False) -> torch.Tensor:
    """3x3 convolution of x, or its adjoint (from y to x), with outputs in pairs."""
    y = F.conv2d(x, kernel(w, "outputs", adjoint), stride=_STRIDES["outputs"], padding=1)
    return from_pairs(y)


def spread(dy: torch.Tensor, w: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """From y to x of this size, the adjoint of the 4x4 convolution of stride 2, with the pixels of x in pairs."""
    n, c, h, width = size
    x = torch.empty(n, 2 * c, h, width // 2, dtype=dy.dtype, device=dy.device, memory_format=torch.channels_last)
    return from_pairs(_gradients(dy, x, kernel(w, "inputs"), "inputs", 0))


def correlate(x: torch.Tensor, dy: torch.Tensor, shape: tuple[int, ...], form: str) -> torch.Tensor:
    """The gradient by w [O, I, k, k] in a form."""
    o, i, k, _ = shape
    wide = {"outputs": (2 * o, i, 3, 4), "both": (2 * o, 2 * i, 3, 3), "inputs": (o, 2 * i, 4, 3)}[form]
    like = torch.empty(wide, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    dk = _gradients(
        dy if form == "inputs" else pairs(dy), x if form == "outputs" else pairs(x), like, form, 1
    )
    _, _, back = _places(o, i, k, form, False, x.dtype, x.device)
    parts = dk.permute(0, 2, 3, 1).flatten()[back]
    dw = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return dw.reshape(o, k, k, i).permute(0, 3, 1, 2)


def _gradients(dy: torch.Tensor, x: torch.Tensor, k: torch.Tensor, form: str, which: int) -> torch.Tensor:
    found: tuple[torch.Tensor, ...] = torch.ops.aten.convolution_backward(
        dy, x, k, None, _STRIDES[form], [1, 1], [1, 1], False, [0, 0], 1, [which == 0, which == 1, False]
    )
    return found[which]


def pairs(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, 2C, H, W/2], a view of a channels-last tensor."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h, w // 2, 2 * c).permute(0, 3, 1, 2)


def from_pairs(x: torch.Tensor) -> torch.Tensor:
    """The inverse: [N, 2C, H, W/2] -> [N, C, H, W]."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h, 2 * w, c // 2).permute(0, 3, 1, 2)


@keeps
def kernel(w: torch.Tensor, form: str, adjoint: bool = False) -> torch.Tensor:
    """w [O, I, k, k] in a form, channels-last; adjoint: of the convolution from y to x (only "outputs")."""
    places, present, _ = _places(*w.shape[:3], form, adjoint, w.dtype, w.device)
    return (w.permute(0, 2, 3, 1).flatten()[places] * present).permute(0, 3, 1, 2)


@cache
def _places(
    o: int, i: int, k: int, form: str, adjoint: bool, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where each value of a paired kernel comes from in w, and whether it does, both [O', k, k', I']; and in which of
    its values each one of w lies, [times, O·k·k·I]. All in channels-last order.
    """
    numbers = torch.arange(o * k * k * i).reshape(o, k, k, i)
    if adjoint:
        numbers = numbers.flip(1, 2).permute(3, 1, 2, 0)
    outputs, _, _, inputs = numbers.shape
    a, b = (1 if form == "inputs" else 2), (1 if form == "outputs" else 2)  # outputs and inputs that lie together
    across = 4 if form == "outputs" else 3
    found = torch.full((a, outputs, k, across, b, inputs), -1)
    for s in range(a):
        for u in range(b):
            for t in range(across):
                # input column of this tap, before padding, less that of the first tap of this output
                column = (t if form == "outputs" else 2 * t + u - 1) - s
                if 0 <= column < k:
                    found[s, :, :, t, u] = numbers[:, :, column]
    flat = found.flatten()
    used = torch.nonzero(flat >= 0).flatten()
    order = used[flat[used].argsort(stable=True)].reshape(numbers.numel(), -1).t().contiguous()
    places = found.reshape(a * outputs, k, across, b * inputs)
    with torch.inference_mode(False):  # kept, and used by autograd later
        present = (places >= 0).to(device, dtype)
        return places.clamp(min=0).to(device), present, order.to(device)
