"""Convolutions in pairs are the plain ones, in every form and to the second derivative."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from stylegan.ops import packed, paired
from stylegan.ops.conv import conv2d, conv_transpose2d

SHAPES = [(3, 5), (4, 2), (1, 1), (2, 8)]  # outputs, inputs


def made(*shape: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, dtype=torch.float64, generator=g)
    return x.contiguous(memory_format=torch.channels_last)


def plain(dy: torch.Tensor, x: torch.Tensor, w: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    wanted = [True, True, False]
    return torch.ops.aten.convolution_backward(
        dy, x, w, None, [stride, stride], [1, 1], [1, 1], False, [0, 0], 1, wanted
    )[:2]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs wherever there are few channels, on any device and in any type and size."""
    monkeypatch.setattr(paired, "_readable", lambda x: x.stride(1) == 1)
    monkeypatch.setattr(paired, "LEAST_WIDTH", 2)


@pytest.mark.parametrize("size", [(6, 8), (3, 2), (5, 6)])
@pytest.mark.parametrize("channels", SHAPES)
def test_each_form_is_the_plain_convolution(channels: tuple[int, int], size: tuple[int, int]) -> None:
    o, i = channels
    x, w, dy = made(2, i, *size), made(o, i, 3, 3, seed=1), made(2, o, *size, seed=2)
    dx, dw = plain(dy, x, w, 1)
    torch.testing.assert_close(paired.convolve(x, w), F.conv2d(x, w, padding=1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(paired.convolve(dy, w, adjoint=True), dx, rtol=1e-12, atol=1e-12)
    for form in ("outputs", "both"):
        found = paired.correlate(x, dy, tuple(w.shape), form)
        torch.testing.assert_close(found, dw, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(6, 8), (4, 2), (2, 6)])
@pytest.mark.parametrize("channels", SHAPES)
def test_each_form_of_stride_two(channels: tuple[int, int], size: tuple[int, int]) -> None:
    o, i = channels
    x, w, dy = made(2, i, *size), made(o, i, 4, 4, seed=1), made(2, o, size[0] // 2, size[1] // 2, seed=2)
    dx, dw = plain(dy, x, w, 2)
    torch.testing.assert_close(paired.spread(dy, w, tuple(x.shape)), dx, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(paired.correlate(x, dy, tuple(w.shape), "inputs"), dw, rtol=1e-12, atol=1e-12)


def test_what_comes_out_lies_channels_last() -> None:
    x, w, dy = made(2, 8, 4, 6), made(4, 8, 3, 3), made(2, 4, 4, 6)
    v, half = made(4, 8, 4, 4), made(2, 4, 2, 3)
    for y in (
        paired.convolve(x, w), paired.convolve(dy, w, adjoint=True), paired.correlate(x, dy, (4, 8, 3, 3), "outputs"),
        paired.correlate(x, dy, (4, 8, 3, 3), "both"), paired.spread(half, v, (2, 8, 4, 6)),
        paired.correlate(x, half, (4, 8, 4, 4), "inputs"),
    ):  # fmt: skip
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("k", "stride"), [(3, 1), (4, 2)])
def test_derivatives_to_the_second(k: int, stride: int) -> None:
    x, w = made(1, 2, 4, 4).requires_grad_(), made(3, 2, k, k, seed=1).requires_grad_()
    assert paired.forward(x, w, stride, 1) is not None or stride == 2

    def work(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return conv2d(x.contiguous(memory_format=torch.channels_last), w, stride=stride, padding=1)

    assert gradcheck(work, (x, w))
    assert gradgradcheck(work, (x, w))
    y = made(1, 3, 4 // stride, 4 // stride).requires_grad_()
    back = conv_transpose2d(y, w, stride=stride, padding=1)
    expected = F.conv_transpose2d(y, w, stride=stride, padding=1)
    torch.testing.assert_close(back, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("o", "i", "k", "stride"), [(32, 32, 3, 1), (32, 64, 3, 1), (64, 32, 4, 2), (128, 64, 4, 2)])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu])])
def test_in_bfloat16_at_the_sizes_where_it_pays(
    o: int, i: int, k: int, stride: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if device == "cpu":
        monkeypatch.setattr(paired, "_readable", lambda x: x.stride(1) == 1)
    x, w = (t.bfloat16().to(device) for t in (made(1, i, 6, 256), made(o, i, k, k, seed=1) / k**2))
    x, w = (t.contiguous(memory_format=torch.channels_last).requires_grad_() for t in (x, w))
    y = conv2d(x, w, stride=stride, padding=1)
    dy = made(*y.shape, seed=2).bfloat16().to(device).contiguous(memory_format=torch.channels_last)
    found = [y, *torch.autograd.grad(y, (x, w), dy)]
    known = paired.input_gradient(dy, w.detach(), stride, 1, tuple(x.shape)), paired.forward(x.detach(), w, stride, 1)
    assert sum(one is not None for one in known) == (2 if i == 32 and k == 3 else 1)
    x64, w64, dy64 = (t.detach().double().cpu() for t in (x, w, dy))
    expected = [F.conv2d(x64, w64, stride=stride, padding=1), *plain(dy64, x64, w64, stride)]
    for a, b in zip(found, expected, strict=True):
        assert float((a.detach().double().cpu() - b).norm()) <= 5e-3 * float(b.norm())


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("taps", [None, (1.0, 2.0, 1.0)])
def test_folded_convolutions_are_the_same_in_pairs(
    taps: tuple[float, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> list[torch.Tensor]:
        p, w = made(2, 4 * 3, 4, 6).requires_grad_(), made(5, 3, 3, 3, seed=1).requires_grad_()
        y = packed.conv_downscale_packed(p, w, taps)
        dp, dw = torch.autograd.grad(y.square().sum(), (p, w), create_graph=True)
        return [y, dp, dw, *torch.autograd.grad(dp.square().sum() + dw.square().sum(), (p, w))]

    in_pairs = found()
    monkeypatch.setattr(paired, "LEAST_WIDTH", 1 << 30)
    for a, b in zip(in_pairs, found(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_other_convolutions_stay_as_they_are() -> None:
    x, w = made(1, 4, 512, 512), made(4, 4, 3, 3)
    assert paired.forward(x, w, 1, 1) is None  # not on a GPU, not of 16 bits
    assert paired.weight_gradient(x, x, 1, 1, (4, 4, 3, 3)) is None
    assert paired.input_gradient(x, w, 1, 1, tuple(x.shape)) is None
