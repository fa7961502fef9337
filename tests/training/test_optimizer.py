"""Adam in the official form, and the averaged generator."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stylegan.networks import Generator
from stylegan.training.adam import Adam
from stylegan.training.ema import ema_beta, update_ema
from tests.training.small import small


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-8, 1e-10])
@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.5, 0.9)])
def test_adam_is_kingma_and_bas_efficient_form(betas: tuple[float, float], scale: float) -> None:
    """theta -= lr·sqrt(1−b2^t)/(1−b1^t)·m/(sqrt(v)+eps), also where gradients are as small as epsilon."""
    b1, b2 = betas
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(50, dtype=torch.float64))
    adam = Adam([parameter], lr=0.1, betas=betas, eps=1e-8)
    theta, m, v = parameter.detach().clone(), torch.zeros(50).double(), torch.zeros(50).double()
    for t in range(1, 8):
        gradient = torch.randn(50, dtype=torch.float64) * scale
        parameter.grad = gradient.clone()
        adam.step()
        m = b1 * m + (1 - b1) * gradient
        v = b2 * v + (1 - b2) * gradient**2
        theta -= 0.1 * (1 - b2**t) ** 0.5 / (1 - b1**t) * m / (v.sqrt() + 1e-8)
        torch.testing.assert_close(parameter.detach(), theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_the_form_for_gpus_is_the_same(scale: float) -> None:
    """Fused, with the bias corrections in the rate; a weight laid out channels-last, and one that gets no gradient."""
    torch.manual_seed(0)
    first = torch.randn(5, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    pairs = [[nn.Parameter(first.clone()), nn.Parameter(torch.ones(2))] for _ in range(2)]
    kinds = [Adam(parameters, lr=0.1, fused=fused) for parameters, fused in zip(pairs, (False, True), strict=True)]
    for t in range(6):
        gradient = torch.randn(5, 4, 3, 3).contiguous(memory_format=torch.channels_last) * scale
        for adam, parameters in zip(kinds, pairs, strict=True):
            parameters[0].grad = gradient.clone()
            if t == 3:
                adam.reset()
            if t == 4:  # what a checkpoint keeps, laid out otherwise
                kept = adam.state[parameters[0]].items()
                state = {k: v.clone(memory_format=torch.contiguous_format) for k, v in kept}
                adam.restore(parameters[0], state)
            adam.set_lr(0.1 / (t + 1))
            adam.step()
    torch.testing.assert_close(pairs[1][0], pairs[0][0], rtol=1e-5, atol=1e-6)
    assert torch.equal(pairs[1][1], torch.ones(2))
    steps = {float(adam.state[parameters[0]]["step"]) for adam, parameters in zip(kinds, pairs, strict=True)}
    assert steps == {3.0}


def test_pytorchs_own_adam_differs_for_tiny_gradients() -> None:
    """Why the project has its own."""
    ours, theirs = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    for parameter, kind in ((ours, Adam), (theirs, torch.optim.Adam)):
        optimizer = kind([parameter], lr=1.0, betas=(0.0, 0.99), eps=1e-8)
        parameter.grad = torch.full((1,), 1e-8)
        optimizer.step()
    assert ours.item() == pytest.approx(-0.1 / 1.1, rel=1e-5)  # 0.1·g/(0.1·g + eps) at g = eps
    assert theirs.item() == pytest.approx(-0.5, rel=1e-5)


def test_reset_forgets_moments_and_steps() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    adam = Adam([parameter], lr=0.1)
    for _ in range(3):
        parameter.grad = torch.ones(3)
        adam.step()
    adam.reset()
    assert adam.steps == 0
    assert not adam.state
    before = parameter.detach().clone()
    parameter.grad = torch.full((3,), 7.0)
    adam.step()
    torch.testing.assert_close(parameter.detach() - before, torch.full((3,), -0.1))  # a first step is ±lr


def test_parameters_without_gradient_stay() -> None:
    used, unused = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))
    adam = Adam([used, unused], lr=0.1)
    used.grad = torch.ones(2)
    adam.step()
    assert torch.equal(unused, torch.ones(2))


def test_half_life_in_images_whatever_the_batch() -> None:
    for batches in ([10_000], [32] * 300 + [16] * 25, [4] * 1000 + [512] * 10 + [880]):
        assert sum(batches) == 10_000
        weight = 1.0
        for batch in batches:
            weight *= ema_beta(batch, 10.0)
        assert weight == pytest.approx(0.5, rel=1e-9)
    assert ema_beta(32, 0.0) == 0.0


def test_average_of_parameters_copy_of_buffers() -> None:
    torch.manual_seed(0)
    average, network = Generator(small()), Generator(small())
    network.w_avg.fill_(3.0)
    expected = {
        name: 0.25 * average.get_parameter(name).detach() + 0.75 * p.detach() for name, p in network.named_parameters()
    }
    update_ema(average, network, 0.25)
    for name, value in expected.items():
        torch.testing.assert_close(average.get_parameter(name).detach(), value)
    for ours, theirs in zip(average.buffers(), network.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    update_ema(average, network, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(average.parameters(), network.parameters(), strict=True))
