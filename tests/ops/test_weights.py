"""Equalised weights, scaled and converted in one pass."""

from __future__ import annotations

import pytest
import torch

from stylegan.networks.layers import EqualizedConv2d
from stylegan.ops.weights import scaled


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_pass_is_both_steps_to_the_bit(dtype: torch.dtype) -> None:
    weight = torch.randn(5, 4, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    found = scaled(weight, 0.3, dtype)
    assert torch.equal(found, (weight * 0.3).to(dtype))
    assert found.stride() == weight.stride()
    dy = torch.randn(5, 4, 3, 3).to(dtype)
    (gradient,) = torch.autograd.grad(found, weight, dy)
    assert gradient.dtype == torch.float32
    assert torch.equal(gradient, dy.float() * 0.3)


def test_a_gradient_of_the_gradient_passes_through() -> None:
    weight = torch.randn(6, requires_grad=True)
    (gradient,) = torch.autograd.grad(scaled(weight, 2.0, torch.float64).square().sum(), weight, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), weight)
    torch.testing.assert_close(gradient, 8 * weight)
    torch.testing.assert_close(second, torch.full((6,), 8.0))


def test_inputs_that_are_zeros_change_nothing() -> None:
    torch.manual_seed(0)
    conv, x = EqualizedConv2d(9, 4, 3), torch.randn(2, 9, 5, 5)
    expected = conv(x, "lrelu")
    gradients = torch.autograd.grad(expected.square().sum(), list(conv.parameters()))
    found = conv(torch.cat([x, torch.zeros(2, 7, 5, 5)], dim=1), "lrelu")
    torch.testing.assert_close(found, expected)
    for ours, wanted in zip(torch.autograd.grad(found.square().sum(), list(conv.parameters())), gradients, strict=True):
        torch.testing.assert_close(ours, wanted)
