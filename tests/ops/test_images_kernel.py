"""Passes over whole images: the kernels give what PyTorch's operators give."""

from __future__ import annotations

import pytest
import torch

from stylegan.ops import images
from stylegan.ops.switch import using_ops
from tests.ops import test_kernels
from tests.ops.test_kernels import DEVICE, normal

fast_and_poisoned = test_kernels.fast_and_poisoned  # a fixture: kernels on, every new tensor full of NaN
pytestmark = test_kernels.pytestmark
SHAPES = [(1, 1, 1, 1), (3, 3, 4, 4), (2, 1, 5, 7), (2, 3, 65, 40), (1, 3, 128, 160)]


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_become_the_same_numbers_to_the_bit(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    given = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(DEVICE)
    turned = (torch.arange(shape[0]) % 2 == 0).to(DEVICE)
    for mirrored in (None, turned):
        with using_ops("reference"):  # on the CPU: on a GPU PyTorch multiplies by 1 / 127.5
            expected = images.from_bytes(given.cpu(), None if mirrored is None else mirrored.cpu())
        assert torch.equal(images.from_bytes(given, mirrored).cpu(), expected)
    assert torch.equal(expected[0], given[0].cpu().flip(2).float() / 127.5 - 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_squared_norm_and_its_derivatives(shape: tuple[int, ...], layout: str) -> None:
    x64 = normal(*shape)
    x = test_kernels.laid_out(x64.float().to(DEVICE), layout).requires_grad_()
    norms, expected = images.squared_norm(x), x64.float().double().square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(norms.double().cpu(), expected, rtol=2e-6, atol=0)
    weights = torch.arange(1.0, len(x) + 1, device=DEVICE)
    (dx,) = torch.autograd.grad((norms * weights).sum(), x, create_graph=True)
    assert torch.equal(dx, x * (2 * weights)[:, None, None, None])
    (ddx,) = torch.autograd.grad(dx.square().sum(), x)
    torch.testing.assert_close(ddx, 8 * weights[:, None, None, None] ** 2 * x)
