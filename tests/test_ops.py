"""Operators against independent formulas, to the third derivative where the networks need it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan.ops.conv import conv2d, conv_transpose2d
from stylegan.ops.fade import fade_reals
from stylegan.ops.resample import blur2d, conv_downscale2d, downscale2d, upscale2d, upscale_conv2d
from stylegan.ops.style import (
    add_noise,
    instance_norm,
    minibatch_stddev,
    modulate,
    pixel_norm,
    style_epilogue,
)


def rand(*shape: int, seed: int = 0, grad: bool = True) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(grad)


# (batch, inputs, outputs, height, width, kernel, stride, padding); odd sizes, one sample, not square
GEOMETRIES = [
    (1, 1, 1, 3, 3, 3, 1, 1),
    (2, 3, 2, 5, 7, 3, 1, 1),
    (1, 2, 3, 1, 4, 1, 1, 0),
    (2, 2, 1, 8, 6, 4, 2, 1),
    (1, 3, 2, 7, 9, 4, 2, 1),
    (3, 1, 4, 5, 4, 3, 2, 0),
]


def derivatives(y: torch.Tensor, inputs: list[torch.Tensor], order: int) -> list[torch.Tensor]:
    """Derivatives of a number made from y, up to an order, each of a number made from the ones before."""
    found: list[torch.Tensor] = []
    level = [y]
    for i in range(order):
        number = sum(
            (t * torch.linspace(-1, 2, t.numel(), dtype=t.dtype).reshape(t.shape)).pow(2).sum() for t in level
        )
        level = list(torch.autograd.grad(number, inputs, create_graph=i + 1 < order))
        found += level
    return found


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("transposed", [False, True])
def test_convolution_and_its_derivatives_to_third_order(geometry: tuple[int, ...], transposed: bool) -> None:
    n, inputs, outputs, h, w, k, stride, padding = geometry
    weight = rand(outputs, inputs, k, k, seed=1)
    if transposed:
        x = rand(n, outputs, h, w)
        ours, theirs = (
            conv_transpose2d(x, weight, stride, padding),
            F.conv_transpose2d(x, weight, None, stride, padding),
        )
    else:
        x = rand(n, inputs, h, w)
        ours, theirs = conv2d(x, weight, stride, padding), F.conv2d(x, weight, None, stride, padding)
    torch.testing.assert_close(ours, theirs)
    for found, expected in zip(
        derivatives(ours, [x, weight], 3), derivatives(theirs, [x, weight], 3), strict=True
    ):
        torch.testing.assert_close(
            found, expected, rtol=1e-9, atol=1e-9 * float(expected.detach().abs().max())
        )


@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[3]])
def test_convolution_by_finite_differences(geometry: tuple[int, ...]) -> None:
    n, inputs, outputs, h, w, k, stride, padding = geometry
    x, weight = rand(n, inputs, min(h, 4), min(w, 4)), rand(outputs, inputs, k, k, seed=1)
    assert torch.autograd.gradcheck(lambda a, b: conv2d(a, b, stride, padding), (x, weight))
    assert torch.autograd.gradgradcheck(lambda a, b: conv2d(a, b, stride, padding), (x, weight))
    y = conv2d(x, weight, stride, padding).detach().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda a, b: conv_transpose2d(a, b, stride, padding), (y, weight))


def test_convolution_needs_no_gradient_it_was_not_asked_for() -> None:
    x, weight = rand(1, 2, 4, 4), rand(3, 2, 3, 3, grad=False)
    (dx,) = torch.autograd.grad(conv2d(x, weight, 1, 1).sum(), x)
    assert dx.shape == x.shape
    assert not conv2d(x.detach(), weight, 1, 1).requires_grad


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 3),
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
    h=st.integers(1, 6),
    w=st.integers(1, 6),
)
def test_up_and_down_convolutions_are_resampling_and_convolution(
    n: int, inputs: int, outputs: int, h: int, w: int
) -> None:
    weight = rand(outputs, inputs, 3, 3, seed=2)
    x = rand(n, inputs, h, w)
    torch.testing.assert_close(upscale_conv2d(x, weight), F.conv2d(upscale2d(x), weight, padding=1))
    big = rand(n, inputs, 2 * h, 2 * w)
    torch.testing.assert_close(
        conv_downscale2d(big, weight), F.avg_pool2d(F.conv2d(big, weight, padding=1), 2)
    )


def test_up_and_down_convolutions_to_third_order() -> None:
    x, weight = rand(2, 2, 4, 6), rand(3, 2, 3, 3, seed=2)
    pairs = [
        (upscale_conv2d(x, weight), F.conv2d(upscale2d(x), weight, padding=1)),
        (conv_downscale2d(x, weight), F.avg_pool2d(F.conv2d(x, weight, padding=1), 2)),
    ]
    for ours, theirs in pairs:
        for found, expected in zip(
            derivatives(ours, [x, weight], 3), derivatives(theirs, [x, weight], 3), strict=True
        ):
            torch.testing.assert_close(
                found, expected, rtol=1e-9, atol=1e-9 * float(expected.detach().abs().max())
            )


def test_blur_and_its_second_derivative() -> None:
    x = rand(2, 3, 5, 4)
    taps = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    kernel = (taps[:, None] * taps[None]).expand(3, 1, 3, 3)
    expected = F.conv2d(x, kernel, padding=1, groups=3)
    torch.testing.assert_close(blur2d(x), expected)
    assert torch.autograd.gradcheck(blur2d, x)
    assert torch.autograd.gradgradcheck(lambda a: blur2d(a) ** 2, x)


def test_blur_keeps_the_mean_of_the_inside_and_darkens_the_edge() -> None:
    y = blur2d(torch.ones(1, 1, 6, 6))
    torch.testing.assert_close(y[:, :, 1:-1, 1:-1], torch.ones(1, 1, 4, 4))
    assert y[0, 0, 0, 0].item() == pytest.approx(9 / 16)  # zero padding, as officially


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_upscaling_is_undone_by_downscaling(factor: int) -> None:
    x = rand(2, 3, 3, 5)
    up = upscale2d(x, factor)
    assert up.shape == (2, 3, 3 * factor, 5 * factor)
    torch.testing.assert_close(downscale2d(up, factor), x)
    assert torch.equal(up[:, :, ::factor, ::factor], x)


def test_reals_fade() -> None:
    x = rand(2, 3, 4, 4, grad=False)
    coarse = upscale2d(downscale2d(x))
    assert fade_reals(x, 2.0) is x
    torch.testing.assert_close(fade_reals(x, 1.25), 0.75 * x + 0.25 * coarse)
    torch.testing.assert_close(fade_reals(x, 0.999999), coarse, atol=1e-5, rtol=0)


def test_instance_norm_uses_the_biased_variance_and_epsilon_inside_the_root() -> None:
    x = rand(2, 3, 4, 4, grad=False).float() * 1e-4  # variance 1e-8, as large as epsilon
    mean = x.double().mean((2, 3), keepdim=True)
    variance = x.double().var((2, 3), unbiased=False, keepdim=True)
    torch.testing.assert_close(
        instance_norm(x).double(), (x - mean) / (variance + 1e-8).sqrt(), rtol=1e-4, atol=1e-5
    )
    wrong = F.instance_norm(x, eps=1e-5)  # PyTorch's default, which flattens faint channels
    assert (instance_norm(x) - wrong).abs().max() > 0.3


def test_pixel_norm() -> None:
    x = rand(2, 5, 3, 3, grad=False)
    torch.testing.assert_close(pixel_norm(x).square().mean(1), torch.ones(2, 3, 3, dtype=x.dtype))
    assert torch.equal(pixel_norm(torch.zeros(2, 5)), torch.zeros(2, 5))


def test_noise_is_shared_by_channels_and_strength_is_not() -> None:
    x, noise, strength = rand(2, 3, 4, 4), rand(2, 1, 4, 4, seed=1), rand(3, seed=2)
    torch.testing.assert_close(add_noise(x, noise, strength), x + noise * strength[None, :, None, None])


def test_modulation_is_scale_plus_one_then_shift() -> None:
    x, style = rand(2, 3, 4, 4), rand(2, 2, 3)
    expected = x * (style[:, 0, :, None, None] + 1) + style[:, 1, :, None, None]
    torch.testing.assert_close(modulate(x, style), expected)
    assert torch.equal(modulate(x, torch.zeros_like(style)), x)


def test_epilogue_order() -> None:
    """Noise, bias, leaky ReLU, normalisation, style."""
    x, noise, style = rand(2, 3, 4, 4).float(), rand(2, 1, 4, 4).float(), rand(2, 2, 3).float()
    strength, bias = rand(3, seed=1).float(), rand(3, seed=2).float()
    y = F.leaky_relu(x + noise * strength[:, None, None] + bias[:, None, None], 0.2)
    y = modulate(instance_norm(pixel_norm(y)), style)
    found = style_epilogue(x, noise, strength, bias, style, pixel=True)
    torch.testing.assert_close(found, y)
    plain = style_epilogue(x, None, strength, bias, None, "relu", instance=False)
    torch.testing.assert_close(plain, F.relu(x + bias[:, None, None]))


class TestMinibatchStddev:
    def test_groups_are_strided(self) -> None:
        """Of 8 samples in groups of 4, samples 0, 2, 4, 6 make one group and 1, 3, 5, 7 the other."""
        x = rand(8, 3, 2, 2, grad=False)
        y = minibatch_stddev(x)[:, 3]
        for group in ([0, 2, 4, 6], [1, 3, 5, 7]):
            expected = (x[group].var(0, unbiased=False) + 1e-8).sqrt().mean()
            torch.testing.assert_close(
                y[group], expected.float().double().expand(4, 2, 2), rtol=1e-5, atol=1e-6
            )
        neighbours = (x[:4].var(0, unbiased=False) + 1e-8).sqrt().mean()
        assert abs(y[0, 0, 0] - neighbours) > 1e-3

    def test_is_not_taken_over_the_whole_batch(self) -> None:
        x = rand(8, 3, 2, 2, grad=False)
        x[::2] = 1.0  # one group without any spread
        y = minibatch_stddev(x)[:, 3]
        assert y[0].abs().max() < 2e-4
        assert y[1].min() > 0.1

    def test_appends_and_keeps_what_was_there(self) -> None:
        x = rand(4, 6, 3, 5, grad=False).float()
        y = minibatch_stddev(x, 2, features=3)
        assert y.shape == (4, 9, 3, 5)
        assert torch.equal(y[:, :6], x)
        assert bool((y[:, 6:] == y[:, 6:, :1, :1]).all())

    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_zeros_follow_up_to_a_multiple_of_channels(self, layout: torch.memory_format) -> None:
        x = rand(4, 6, 3, 5, grad=False).float().contiguous(memory_format=layout)
        y, plain = minibatch_stddev(x, 2, 3, multiple=8), minibatch_stddev(x, 2, 3)
        assert y.shape == (4, 16, 3, 5)
        assert torch.equal(y[:, :9], plain)
        assert not y[:, 9:].any()
        assert all(t.is_contiguous(memory_format=layout) for t in (y, plain))
        assert minibatch_stddev(x, 2, 2, multiple=8).shape == (4, 8, 3, 5)

    @pytest.mark.parametrize(
        ("n", "members"), [(1, 1), (2, 2), (3, 3), (5, 1), (6, 3), (7, 1), (9, 3), (12, 4)]
    )
    def test_batches_that_do_not_divide_take_the_largest_divisor(self, n: int, members: int) -> None:
        x = rand(n, 2, 2, 2, grad=False).float()
        y = minibatch_stddev(x)[:, 2, 0, 0]
        own = x.reshape(members, n // members, 2, 2, 2)
        expected = ((own - own.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
        torch.testing.assert_close(y, expected.repeat(members))

    def test_second_derivative(self) -> None:
        """In float32, as the layer computes: R1 needs the derivative of its gradient."""
        x = rand(4, 2, 2, 2).detach().float().requires_grad_()
        (dx,) = torch.autograd.grad(minibatch_stddev(x).square().sum(), x, create_graph=True)
        dx.square().sum().backward()
        assert x.grad is not None
        assert bool(torch.isfinite(x.grad).all())

    def test_equal_samples_have_finite_gradients(self) -> None:
        x = torch.ones(4, 2, 2, 2, requires_grad=True)
        (dx,) = torch.autograd.grad(minibatch_stddev(x).sum(), x, create_graph=True)
        dx.square().sum().backward()
        assert x.grad is not None
        assert bool(torch.isfinite(x.grad).all())
