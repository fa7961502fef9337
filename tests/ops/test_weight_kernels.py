"""Triton kernels that prepare convolution weights, as tests/ops/test_kernels.py.

    TRITON_INTERPRET=1 python -m pytest tests/ops/test_weight_kernels.py
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stylegan.ops import fused, fused_weights, resample, switch, weights
from tests.ops import test_kernels
from tests.ops.test_kernels import DEVICE, LAYOUTS, close, laid_out, normal

pytestmark = test_kernels.pytestmark
fast_and_poisoned = test_kernels.fast_and_poisoned

WEIGHTS = [((5, 3, 3, 3), "contiguous"), ((40, 36, 3, 3), "channels_last"), ((1, 5, 3, 3), "channels_last"),
           ((4, 1, 3, 3), "channels_last"), ((3, 4, 3, 3), "sliced"), ((2, 3, 3, 3), "offset")]  # fmt: skip


@pytest.mark.parametrize(("shape", "layout"), WEIGHTS, ids=str)
@pytest.mark.parametrize("adjoint", [False, True])
def test_four_shifts_of_a_weight_to_the_second_derivative(shape: Any, layout: str, adjoint: bool) -> None:
    exact = normal(*shape).float()
    results = []
    for w in (exact.double(), laid_out(exact.to(DEVICE), layout)):
        w.requires_grad_()
        y = resample._four_shifts_adjoint(w) if adjoint else resample._four_shifts(w, gain=0.25)
        out = (y.square() * normal(*y.shape, seed=1).to(y)).sum()
        (first,) = torch.autograd.grad(out, w, create_graph=True)
        results.append([y, first, *torch.autograd.grad(first.square().sum(), w)])
    for i, (a, b) in enumerate(zip(results[1], results[0], strict=True)):
        close(a, b, torch.float32, f"derivative {i}")
    if layout == "channels_last" and min(shape[:2]) > 1:
        assert all(t.is_contiguous(memory_format=torch.channels_last) for t in results[1][:2])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_scaled_weights_are_those_of_pytorch(dtype: torch.dtype, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []

    def counted(name: str, *arguments: Any, **constants: Any) -> None:
        launched.append(name)
        fused.launch(name, *arguments, **constants)

    monkeypatch.setattr(fused_weights, "launch", counted)
    weight = laid_out(normal(40, 30, 3, 3).float().to(DEVICE), layout).requires_grad_()
    dy = laid_out(normal(40, 30, 3, 3, seed=1).to(DEVICE, dtype), layout)
    y = weights.scaled(weight, 0.3, dtype)
    (gradient,) = torch.autograd.grad(y, weight, dy)
    assert torch.equal(gradient, dy.float() * 0.3)
    assert gradient.stride() == y.stride()
    assert launched == ([] if layout == "sliced" else ["triton_weights.scale"] * 2)
    if y.is_cuda or not launched:  # the interpreter cuts bfloat16 off where a GPU rounds
        assert torch.equal(y, (weight * 0.3).to(dtype))
    close(y, weight.detach().double().cpu() * 0.3, torch.bfloat16, "weight")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_gradient_of_a_resampling_weight_needs_no_copy(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels-last from the parameter to its gradient, so that the optimizer takes the gradient as it is."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    parameter = normal(8, 6, 3, 3).float().to(DEVICE).contiguous(memory_format=torch.channels_last).requires_grad_()
    x = normal(2, 6, 8, 8).to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)
    exact = parameter.detach().double().cpu().requires_grad_()
    for up in (False, True):
        function = resample.upscale_conv2d if up else resample.conv_downscale2d
        y = function(x, weights.scaled(parameter, 0.5, dtype))
        (gradient,) = torch.autograd.grad(y.float().square().sum(), parameter)
        with switch.using_ops("reference"):
            expected = function(x.double().cpu(), (exact * 0.5).to(dtype).double())
            (wanted,) = torch.autograd.grad(expected.square().sum(), exact)
        close(y, expected, dtype, "output", 2)
        close(gradient, wanted, dtype, "gradient", 4)
        assert gradient.is_contiguous(memory_format=torch.channels_last)
