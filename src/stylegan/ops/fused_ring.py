"""Fast form on a GPU: the ring of ops.packed, two launches for all four edges where PyTorch's operators take thirty.

Shapes: packed p [N, 4C, h, w]; folded kernel k [O, 4C, 3, 3]; y [N, O, h, w]; any strides.
"""

from __future__ import annotations

from typing import Any

import torch

from stylegan.ops.fused import launch, power_of_two
from stylegan.ops.switch import kernels

BLOCKS = 32  # of an edge, of one program
MOST = 128  # bytes of a strip's and of y's channels, all of which a program holds
WARPS = {"down": 4, "up": 4, "weight": 2}  # with which none spills registers


def serves(p: torch.Tensor, outputs: int) -> bool:
    """Whether the kernels know these tensors. One row or column of blocks would be both of two edges."""
    fits = max(p.shape[1] // 2, outputs) * p.element_size() <= MOST
    return kernels(p) and min(p.shape[2:]) > 1 and fits


def _steps(x: torch.Tensor, axis: int) -> tuple[int, int]:
    """From one block or tap to the next along an edge of this axis, and from the first edge to the last."""
    across, along = (2, 3) if axis == 0 else (3, 2)
    return x.stride(along), (x.shape[across] - 1) * x.stride(across)


def _run(name: str, axis: int, p: torch.Tensor, y: torch.Tensor, third: torch.Tensor, k: torch.Tensor | None) -> None:
    n, channels, h, w = p.shape
    length, outputs = (w if axis == 0 else h), y.shape[1]
    tensors = (p, y, third) if k is None else (p, k, y)
    strides = [s for x in (p, y) for s in (x.stride(0), x.stride(1), *_steps(x, axis))]
    if k is not None:
        strides += [k.stride(0), k.stride(1), *_steps(k, axis)]
    constants: dict[str, Any] = {"AXIS": axis, "CORNERS": axis == 0, "BJ": BLOCKS, "num_warps": WARPS[name]}
    constants["PRECISION"] = "ieee" if p.dtype == torch.float32 else "tf32"
    constants |= {"BO": max(power_of_two(outputs), 16), "BV": max(power_of_two(channels // 2), 16)}
    launch(
        f"triton_ring.{name}", (-(-length // BLOCKS), n, 2),
        *tensors, length, channels // 4, outputs, *strides, **constants,
    )  # fmt: skip


def down(y: torch.Tensor, p: torch.Tensor, k: torch.Tensor) -> None:
    """Takes from y, the convolution of p with k, what the continuation of p does not add."""
    for axis in (0, 1):  # one after the other, as they share the corners
        _run("down", axis, p, y, y, k)


def up(p: torch.Tensor, y: torch.Tensor, k: torch.Tensor) -> None:
    """The adjoint of `down`: takes from p, the transposed convolution of y with k."""
    for axis in (0, 1):
        _run("up", axis, p, y, p, k)


def weight(dk: torch.Tensor, p: torch.Tensor, y: torch.Tensor) -> None:
    """The derivative of `down` by k: takes from dk, the gradient of k for the gradient y."""
    n, channels, h, w = p.shape
    for axis, length in ((0, w), (1, h)):
        programs = n * -(-length // BLOCKS)
        sums = torch.empty(programs, 2, 3, 2, channels // 4, y.shape[1], device=p.device, dtype=torch.float32)
        _run("weight", axis, p, y, sums, None)
        total = sums.sum(dim=0).permute(0, 4, 2, 3, 1)  # edge O u C tap
        for edge in (0, 1):
            part = dk.select(2 + axis, 2 * edge).unflatten(1, (2, 2, -1))  # O 2 2 C tap
            part.select(1 + axis, edge).sub_(total[edge])
