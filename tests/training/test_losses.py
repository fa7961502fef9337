"""Losses and penalties against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from stylegan.networks import Discriminator
from stylegan.ops.resample import upscale2d
from stylegan.training import losses
from tests.training.small import small

R, F = 0.7, -1.3  # scores of a real and of a fake image


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (losses.g_nonsaturating, -math.log(sigmoid(F))),
        (losses.g_saturating, math.log(1 - sigmoid(F))),
        (losses.g_wgan, -F),
    ],
)
def test_generator_losses(loss: object, value: float) -> None:
    assert callable(loss)
    assert loss(torch.tensor([[F]])).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (losses.d_logistic, -math.log(1 - sigmoid(F)) - math.log(sigmoid(R))),
        (losses.d_wgan, F - R),
        (losses.d_hinge, max(0, 1 + F) + max(0, 1 - R)),
        (losses.d_relativistic, math.log(1 + math.exp(F - R))),
    ],
)
def test_discriminator_losses(loss: object, value: float) -> None:
    assert callable(loss)
    assert loss(torch.tensor([[R]]), torch.tensor([[F]])).item() == pytest.approx(value, rel=1e-6)


def test_relativistic_generator_mirrors_the_discriminator() -> None:
    real, fake = torch.randn(5, 1), torch.randn(5, 1)
    assert torch.equal(losses.g_relativistic(fake, real), losses.d_relativistic(fake, real))


@pytest.mark.parametrize("loss", [losses.g_nonsaturating, losses.g_saturating])
def test_logistic_losses_are_finite_far_out(loss: object) -> None:
    assert callable(loss)
    assert bool(torch.isfinite(loss(torch.tensor([-1e4, 1e4]))).all())


def linear(images: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """A score whose gradient with respect to sample i is slopes[i] everywhere."""
    return (images * slopes[:, None, None, None]).sum(dim=(1, 2, 3), keepdim=False)[:, None]


def test_r1_is_summed_per_sample() -> None:
    images = torch.randn(3, 2, 4, 4, requires_grad=True)
    slopes = torch.tensor([1.0, 2.0, 0.5])
    penalty = losses.r1_penalty(linear(images, slopes), images, gamma=10.0)
    assert penalty.shape == (3,)
    torch.testing.assert_close(penalty, 5.0 * slopes.square() * 32)


def test_wgan_penalty_and_drift() -> None:
    images = torch.randn(2, 1, 2, 2, requires_grad=True)
    slopes = torch.tensor([1.0, 0.25])  # gradient norms 2 and 0.5
    penalty = losses.wgan_penalty(linear(images, slopes), images, weight=10.0, target=2.0)
    torch.testing.assert_close(penalty, torch.tensor([0.0, 10 * 1.5**2 / 4]))
    torch.testing.assert_close(losses.drift_penalty(torch.tensor([[3.0]]), 0.01), torch.tensor([[0.09]]))


def test_interpolation_ends() -> None:
    real, fake = torch.randn(4, 1, 2, 2), torch.randn(4, 1, 2, 2)
    t = torch.tensor([0.0, 1.0, 0.5, 0.25])[:, None, None, None]
    mixed = losses.interpolate(real, fake, t)
    torch.testing.assert_close(mixed[0], real[0])
    torch.testing.assert_close(mixed[1], fake[1])
    torch.testing.assert_close(mixed[3], 0.75 * real[3] + 0.25 * fake[3])


@pytest.mark.parametrize("lod", [0.0, 1.0, 1.5, 2.0])
def test_penalties_are_in_units_of_the_full_image(lod: float) -> None:
    """Officially D sees nearest-enlarged images; the penalty there is the one measured here at the lod's size."""
    torch.manual_seed(0)
    d = Discriminator(small(labels=0))
    size, factor = 16 >> int(lod), 1 << int(lod)
    images = torch.randn(3, 1, size, size, requires_grad=True)
    ours = losses.r1_penalty(d(images, lod=lod), images, 10.0, lod)
    large = upscale2d(images.detach(), factor).requires_grad_() if factor > 1 else images.detach().requires_grad_()
    shrunk = torch.nn.functional.avg_pool2d(large, factor)
    (gradient,) = torch.autograd.grad(d(shrunk, lod=lod).sum(), large)
    torch.testing.assert_close(ours, 5.0 * gradient.square().sum(dim=(1, 2, 3)))
