"""The ring of packed convolutions as Triton kernels, against PyTorch's operators in float64.

    TRITON_INTERPRET=1 python -m pytest tests/ops/test_ring_kernels.py
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stylegan.ops import fused, fused_ring, packed
from tests.ops import test_kernels
from tests.ops.test_kernels import DEVICE, close, laid_out, normal

pytestmark = test_kernels.pytestmark
fast_and_poisoned = test_kernels.fast_and_poisoned
FUNCTIONS = {"down": packed._down, "up": packed._up, "weight": packed._weight}

# N, C, O, h, w: two blocks, several programs along an edge, the channels of 1024x1024, more outputs than inputs
SHAPES = [(1, 1, 1, 2, 2), (2, 3, 5, 3, 4), (2, 5, 3, 2, 37), (1, 16, 32, 35, 3), (2, 4, 20, 9, 5)]


def arguments(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> dict[str, Any]:
    """What each of the functions takes, float64 and as kernels take it."""
    n, c, o, h, w = shape
    given = {"p": normal(n, 4 * c, h, w), "y": normal(n, o, h, w, seed=1), "k": normal(o, 4 * c, 3, 3, seed=2)}
    kept = {name: tensor.to(dtype) for name, tensor in given.items()}
    found = {}
    for name, names in {"down": "pk", "up": "yk", "weight": "py"}.items():
        rest = (tuple(given["k"].shape),) if name == "weight" else ()
        exact = [kept[i].double() for i in names]
        found[name] = (exact, [laid_out(kept[i].to(DEVICE), layout) for i in names], rest)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "layout"),
    [(torch.float32, "contiguous"), (torch.float32, "channels_last"), (torch.float32, "sliced"),
     (torch.bfloat16, "channels_last")], ids=str,
)  # fmt: skip
def test_kernels_are_the_operators(
    shape: tuple[int, ...], dtype: torch.dtype, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16: of the ring alone, which is small beside what it is added to."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    for name, (exact, ours, rest) in arguments(shape, dtype, layout).items():
        function = FUNCTIONS[name]
        expected = function(*exact, *rest, True)  # float64, which kernels do not know
        close(function(*ours, *rest, True), expected, dtype, name, 2)


@pytest.mark.parametrize("down", [True, False])
def test_derivatives_of_packed_convolutions(down: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the second, and in two launches for a pass, four for a weight's gradient."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    launched: list[str] = []

    def counted(name: str, *arguments: Any, **constants: Any) -> None:
        launched.append(name)
        fused.launch(name, *arguments, **constants)

    monkeypatch.setattr(fused_ring, "launch", counted)
    x, w = normal(2, 12 if down else 4, 6, 5), normal(4, 3, 3, 3, seed=1) if down else normal(3, 4, 3, 3, seed=1)
    function = packed.conv_downscale_packed if down else packed.upscale_conv_packed
    found = []
    for dtype, device in ((torch.float64, "cpu"), (torch.float32, DEVICE)):
        leaves = [t.to(device, dtype).requires_grad_() for t in (x, w)]
        y = function(*leaves, (1.0, 2.0, 1.0))
        first = torch.autograd.grad((y * y * y).sum(), leaves, create_graph=True)
        if dtype == torch.float32:
            names = ["down", "up"] if down else ["up", "down"]
            assert launched == [f"triton_ring.{name}" for name in (*names, "weight") for _ in range(2)]
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        found.append([y, *first, *second])
    for i, (a, b) in enumerate(zip(found[1], found[0], strict=True)):
        close(a, b, torch.float32, f"number {i}", 10)


def test_what_is_left_to_pytorch() -> None:
    p = torch.zeros(1, 8, 4, 4, device=DEVICE)
    assert fused_ring.serves(p, 4)
    assert fused_ring.serves(p.bfloat16(), 64)
    assert not fused_ring.serves(p, 33)
    assert not fused_ring.serves(torch.zeros(1, 68, 4, 4, device=DEVICE), 4)
    assert not fused_ring.serves(p[:, :, :1], 4)
    assert not fused_ring.serves(p.double(), 4)
