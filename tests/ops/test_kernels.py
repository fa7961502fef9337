"""Triton kernels against float64 references: on a GPU, or on the CPU under Triton's interpreter.

    TRITON_INTERPRET=1 python -m pytest tests/ops/test_kernels.py

Without a GPU and without Triton there is nothing to run here; CI has neither, so these are run by hand and on
the lent machine (`pytest -m gpu`).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from stylegan.ops import fused, fused_blur, resample, style, switch
from stylegan.ops.conv import without_weight_gradients

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="no GPU, and no Triton to interpret kernels"),
]

# N, C, H, W: one sample, odd sides, not square, few channels, more than a tile of pixels or of channels
SHAPES = [(1, 1, 1, 1), (2, 3, 4, 4), (1, 5, 7, 3), (2, 1, 33, 17), (1, 70, 3, 4), (1, 20, 40, 64)]
LAYOUTS = ["contiguous", "channels_last", "sliced", "offset"]
PLACES = [(SHAPES[i], LAYOUTS[(i + j) % 4]) for i in range(len(SHAPES)) for j in (0, 1)]
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 1.2e-2}


@pytest.fixture(autouse=True)
def fast_and_poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels on, and every new tensor full of NaN, so that an element nobody wrote is seen."""

    def poisoned(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def made(*arguments: Any, **options: Any) -> torch.Tensor:
            tensor = make(*arguments, **options)
            return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

        return made

    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    with switch.using_ops("fast"):
        assert switch.kernels(torch.zeros(1, device=DEVICE))
        yield


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values in another place in memory."""
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        wide = torch.full((*x.shape[:3], 2 * x.shape[3]), float("nan"), dtype=x.dtype, device=x.device)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "offset":
        more = torch.full((x.shape[0] + 1, *x.shape[1:]), float("nan"), dtype=x.dtype, device=x.device)
        more[1:] = x
        return more[1:]
    return x


def close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype, what: str, factor: float = 1.0) -> None:
    """Relative error of the whole tensor; NaN never passes."""
    found, expected = found.detach().double().cpu(), expected.detach()
    assert found.shape == expected.shape, what
    error = float((found - expected).norm() / expected.norm().clamp_min(1e-6))
    assert error <= factor * TOLERANCE[dtype], f"{what}: {error:.2g}"


class Inputs:
    """Leaves in float64 for the reference, and the same rounded and laid out for the kernels."""

    def __init__(self, dtype: torch.dtype, layout: str, **tensors: torch.Tensor | None) -> None:
        self.exact: dict[str, Any] = {}
        self.ours: dict[str, Any] = {}
        for name, tensor in tensors.items():
            if tensor is None:
                self.exact[name] = self.ours[name] = None
                continue
            kept = tensor.to(dtype) if tensor.ndim == 4 and name != "noise" else tensor.float()
            grad = name != "noise"
            self.exact[name] = kept.double().requires_grad_(grad)
            moved = kept.to(DEVICE)
            if name in ("x", "dy"):
                moved = laid_out(moved, layout)
            self.ours[name] = moved.detach().requires_grad_(grad)


# --- the generator's epilogue -----------------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "all": {},
    "shared noise": {"shared": True},
    "no noise": {"noise": False},
    "no style": {"style": False},
    "no instance norm": {"instance": False},
    "relu, nothing else": {"noise": False, "style": False, "instance": False, "nonlinearity": "relu"},
    "large epsilon": {"eps": 1e-2},
}


def epilogue_inputs(shape: tuple[int, ...], dtype: torch.dtype, layout: str, case: dict[str, Any]) -> Inputs:
    n, c, h, w = shape
    noisy = case.get("noise", True)
    return Inputs(
        dtype,
        layout,
        x=normal(*shape) + 3,  # a mean beside which the variation is small
        noise=normal(1 if case.get("shared") else n, 1, h, w, seed=1) if noisy else None,
        strength=normal(c, seed=2) if noisy else None,
        bias=normal(c, seed=3) - 2,
        style=normal(n, 2, c, seed=4) if case.get("style", True) else None,
    )


def run_epilogue(t: dict[str, Any], case: dict[str, Any], function: Callable[..., torch.Tensor]) -> torch.Tensor:
    return function(
        t["x"], t["noise"], t["strength"], t["bias"], t["style"], case.get("nonlinearity", "lrelu"), False,
        case.get("instance", True), case.get("eps", 1e-8),
    )  # fmt: skip


def check_epilogue(shape: tuple[int, ...], dtype: torch.dtype, layout: str, case: dict[str, Any]) -> None:
    inputs = epilogue_inputs(shape, dtype, layout, case)
    expected = run_epilogue(inputs.exact, case, style.compose_epilogue)
    found = run_epilogue(inputs.ours, case, style.style_epilogue)
    assert found.dtype == dtype
    single = case.get("instance", True) and shape[2] * shape[3] < 4  # the norm of next to nothing
    close(found, expected, dtype, "output", 1e3 if single else 1)
    if single:
        return
    dy = normal(*shape, seed=9).to(dtype)
    leaves = [name for name, t in inputs.exact.items() if t is not None and t.requires_grad]
    wanted = torch.autograd.grad(expected, [inputs.exact[k] for k in leaves], dy.double())
    got = torch.autograd.grad(found, [inputs.ours[k] for k in leaves], laid_out(dy.to(DEVICE), layout))
    for name, a, b in zip(leaves, got, wanted, strict=True):
        close(a, b, dtype, f"gradient of {name}", 4)


@pytest.mark.parametrize(("shape", "layout"), PLACES, ids=str)
def test_epilogue_of_any_shape_and_layout(shape: tuple[int, ...], layout: str) -> None:
    check_epilogue(shape, torch.float32, layout, {})


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_epilogue_with_each_part_left_out(name: str, dtype: torch.dtype) -> None:
    check_epilogue((2, 6, 9, 11), dtype, "channels_last", CASES[name])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_epilogue_in_several_chunks(name: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at high resolution: small tiles, several of them in a program, several programs for a sample."""
    monkeypatch.setattr(fused, "TILE", 32)
    monkeypatch.setattr(fused, "WHOLE", 0)
    monkeypatch.setattr(fused, "PROGRAMS", 12)
    check_epilogue((2, 6, 13, 11), torch.float32, layout, CASES[name])


def test_epilogue_of_a_flat_channel_is_finite_and_small() -> None:
    """The learned constant is flat at first: no variation to divide by."""
    x = torch.ones(2, 4, 16, 16, device=DEVICE, requires_grad=True)
    for whole in (fused.WHOLE, 0):
        fused.WHOLE, before = whole, fused.WHOLE
        try:
            y = style.style_epilogue(x, None, None, torch.zeros(4, device=DEVICE), None)
        finally:
            fused.WHOLE = before
        assert float(y.detach().abs().max()) < 1e-2
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert bool(torch.isfinite(dx).all())


def test_second_derivative_of_the_epilogue_is_composed_not_wrong() -> None:
    inputs = epilogue_inputs((2, 3, 5, 4), torch.float32, "contiguous", {})
    found = []
    for t, function in ((inputs.exact, style.compose_epilogue), (inputs.ours, style.style_epilogue)):
        x = t["x"].square()  # not a leaf, as in a network
        if t is inputs.ours:
            x = laid_out(x, "channels_last")
        y = run_epilogue({**t, "x": x}, {}, function)
        leaves = [t[k] for k in ("x", "strength", "bias", "style")]
        weight = normal(2, 3, 5, 4, seed=7).to(y)
        first = torch.autograd.grad((y.square() * weight).sum(), leaves, create_graph=True)
        found.append((first, torch.autograd.grad(sum(g.square().sum() for g in first), leaves)))
    for order in (0, 1):
        for a, b in zip(found[1][order], found[0][order], strict=True):
            close(a, b, torch.float32, f"derivative {order + 1}", 10)


def test_noise_that_is_learned_gets_its_gradient() -> None:
    inputs = epilogue_inputs((2, 3, 5, 4), torch.float32, "contiguous", {})
    grads = []
    for t, function in ((inputs.exact, style.compose_epilogue), (inputs.ours, style.style_epilogue)):
        noise = t["noise"].requires_grad_()
        y = run_epilogue({**t, "noise": noise}, {}, function)
        grads.append(torch.autograd.grad((y.square() * normal(2, 3, 5, 4, seed=7).to(y)).sum(), noise)[0])
    close(grads[1], grads[0], torch.float32, "gradient of the noise", 10)


# --- bias and activation, blur: to the second derivative --------------------------------------------------------


def derivatives(f: Callable[..., torch.Tensor], leaves: list[torch.Tensor], weight: torch.Tensor) -> list[torch.Tensor]:
    """Output, first derivatives, and derivatives of a number made of those."""
    y = f(*leaves)
    scalar = (y.square() * weight.to(y)).sum()
    first = torch.autograd.grad(scalar, leaves, create_graph=True)
    second = torch.autograd.grad(sum((g * g).sum() for g in first), leaves, create_graph=True)
    third = torch.autograd.grad(sum((g * g).sum() for g in second), leaves)
    return [y, *first, *second, *third]


OCTETS = [((2, 8, 5, 3), "channels_last"), ((1, 24, 7, 9), "channels_last"), ((2, 72, 3, 1), "channels_last"),
          ((2, 16, 1, 1), "contiguous"), ((1, 8, 4, 5), "contiguous")]  # fmt: skip  # one bit for each sign, or not


@pytest.mark.parametrize(("shape", "layout"), PLACES + OCTETS, ids=str)
@pytest.mark.parametrize("nonlinearity", ["lrelu", "relu"])
def test_bias_and_activation_to_the_third_derivative(shape: tuple[int, ...], layout: str, nonlinearity: str) -> None:
    inputs = Inputs(torch.float32, layout, x=normal(*shape), bias=normal(shape[1], seed=1))
    weight = normal(*shape, seed=5)

    def reference(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return style.activate(x + bias.reshape(1, -1, 1, 1), nonlinearity)

    expected = derivatives(reference, list(inputs.exact.values()), weight)
    found = derivatives(
        lambda x, b: style.bias_activate(x, b, nonlinearity), list(inputs.ours.values()), weight.to(DEVICE)
    )
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        close(a, b, torch.float32, f"number {i}", 10)


@pytest.mark.parametrize("channels", [6, 24])
def test_bias_and_activation_in_bfloat16_and_several_chunks(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "TILE", 64)
    monkeypatch.setattr(fused, "PROGRAMS", 12)
    inputs = Inputs(torch.bfloat16, "channels_last", x=normal(2, channels, 13, 11), bias=normal(channels, seed=1))
    expected = style.activate(inputs.exact["x"] + inputs.exact["bias"].reshape(1, -1, 1, 1))
    found = style.bias_activate(inputs.ours["x"], inputs.ours["bias"])
    assert found.is_contiguous(memory_format=torch.channels_last)
    close(found, expected, torch.bfloat16, "output")
    dy = normal(2, channels, 13, 11, seed=2).bfloat16()
    wanted = torch.autograd.grad(expected, list(inputs.exact.values()), dy.double())
    got = torch.autograd.grad(found, list(inputs.ours.values()), dy.to(DEVICE))  # contiguous, x is not
    for a, b in zip(got, wanted, strict=True):
        close(a, b, torch.bfloat16, "gradient", 2)


def test_derivatives_of_an_activation_do_not_read_its_output_again() -> None:
    """Where eight channels lie together their signs are kept as bits."""
    for channels, layout, kept in ((8, "channels_last", True), (8, "contiguous", False), (6, "channels_last", False)):
        x = laid_out(normal(2, channels, 5, 3).float().to(DEVICE), layout)
        y = style.bias_activate(x.clone().requires_grad_(), torch.zeros(channels, device=DEVICE))
        expected = torch.where(x > 0, 1.0, 0.2)
        y.data.fill_(1.0)
        (gradient,) = torch.autograd.grad(y, y.grad_fn.next_functions[0][0].variable, torch.ones_like(y))
        assert torch.allclose(gradient, expected) == kept


def test_derivatives_of_an_activation_and_blur_do_not_read_its_input_again() -> None:
    for channels, layout, kept in ((8, "channels_last", True), (8, "contiguous", False), (6, "channels_last", False)):
        values = laid_out(normal(2, channels, 5, 3).float().to(DEVICE), layout)
        x, bias = values.clone().requires_grad_(), torch.zeros(channels, device=DEVICE)
        y = resample.bias_activate_blur2d(x, bias, "lrelu", (1.0, 2.0, 1.0))
        dy = normal(2, channels, 5, 3, seed=1).float().to(DEVICE)
        expected = torch.where(values > 0, 1.0, 0.2) * resample.blur2d(dy, (1.0, 2.0, 1.0))
        x.data.fill_(1.0)
        (gradient,) = torch.autograd.grad(y, x, dy)
        assert torch.allclose(gradient, expected, atol=1e-6) == kept


BLURRED = [((1, 1, 1, 1), "contiguous"), ((2, 3, 5, 4), "sliced"), ((1, 5, 7, 3), "channels_last"),
           ((1, 2, 6, 9), "offset"), ((1, 3, 9, 8), "contiguous"), ((2, 8, 6, 5), "channels_last"),
           ((1, 72, 5, 4), "channels_last"), ((1, 8, 5, 4), "contiguous")]  # fmt: skip


@pytest.mark.parametrize(("shape", "layout"), BLURRED, ids=str)
@pytest.mark.parametrize("taps", [(1.0, 2.0, 1.0), (0.5, -1.0, 0.5)], ids=str)
def test_blur_to_the_second_derivative(
    shape: tuple[int, ...], layout: str, taps: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_blur, "ROWS", 4)  # several bands and columns of programs
    monkeypatch.setattr(fused, "TILE", 16)
    normalize = sum(taps) != 0
    inputs = Inputs(torch.float32, layout, x=normal(*shape))
    weight = normal(*shape, seed=5)
    numbers = []
    for x, like in ((inputs.exact["x"], weight), (inputs.ours["x"], weight.to(DEVICE))):
        y = resample.blur2d(x, taps, normalize)
        (first,) = torch.autograd.grad((y.square() * like.to(y)).sum(), x, create_graph=True)
        numbers.append([y, first, torch.autograd.grad(first.square().sum(), x)[0]])
    for i, (a, b) in enumerate(zip(numbers[1], numbers[0], strict=True)):
        close(a, b, torch.float32, f"derivative {i}", 10)


@pytest.mark.parametrize(("shape", "layout"), BLURRED, ids=str)
@pytest.mark.parametrize("nonlinearity", ["lrelu", "relu"])
def test_bias_activation_and_blur_to_the_third_derivative(
    shape: tuple[int, ...], layout: str, nonlinearity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_blur, "ROWS", 4)
    monkeypatch.setattr(fused, "TILE", 16)
    inputs = Inputs(torch.float32, layout, x=normal(*shape), bias=normal(shape[1], seed=1))
    weight = normal(*shape, seed=5)

    def joined(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return resample.bias_activate_blur2d(x, bias, nonlinearity, (1.0, 2.0, 1.0))

    expected = derivatives(joined, list(inputs.exact.values()), weight)
    found = derivatives(joined, list(inputs.ours.values()), weight.to(DEVICE))
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        close(a, b, torch.float32, f"number {i}", 10)


def test_bias_activation_and_blur_in_bfloat16_with_a_gradient_laid_out_otherwise() -> None:
    inputs = Inputs(torch.bfloat16, "channels_last", x=normal(2, 20, 10, 18), bias=normal(20, seed=1))
    dy = normal(2, 20, 10, 18, seed=2).bfloat16()
    numbers = []
    for t in (inputs.exact, inputs.ours):
        y = resample.bias_activate_blur2d(t["x"], t["bias"], "lrelu", (1.0, 2.0, 1.0))
        numbers.append([y, *torch.autograd.grad(y, list(t.values()), dy.to(y))])
    assert numbers[1][0].is_contiguous(memory_format=torch.channels_last)
    for i, (a, b) in enumerate(zip(numbers[1], numbers[0], strict=True)):
        close(a, b, torch.bfloat16, f"number {i}", 2)


def test_blur_in_bfloat16_keeps_the_layout() -> None:
    inputs = Inputs(torch.bfloat16, "channels_last", x=normal(2, 20, 10, 18))
    found = resample.blur2d(inputs.ours["x"])
    assert found.is_contiguous(memory_format=torch.channels_last)
    close(found, resample.blur2d(inputs.exact["x"]), torch.bfloat16, "output")


@pytest.mark.parametrize("blurs", [False, True])
def test_sums_for_the_bias_are_taken_only_where_they_are_wanted(blurs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in R1's first pass and its derivative, nor where the bias is not trained."""
    taken: list[bool] = []

    def counted(name: str, *arguments: Any, **constants: Any) -> None:
        taken.extend([constants["SUMS"]] if "SUMS" in constants else [])
        original(name, *arguments, **constants)

    original = fused.launch
    for module in (fused, fused_blur):
        monkeypatch.setattr(module, "launch", counted)
    x, bias = (normal(*shape).float().to(DEVICE) for shape in ((2, 3, 5, 4), (3,)))

    def value(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        y = resample.bias_activate_blur2d(x, bias, "lrelu", (1, 2, 1)) if blurs else style.bias_activate(x, bias)
        return (y * y * y).sum()

    value(x.requires_grad_(), bias).backward()
    assert not any(taken)
    taken.clear()
    scalar = value(x, bias.requires_grad_())
    with without_weight_gradients():
        (first,) = torch.autograd.grad(scalar, x, create_graph=True)
    assert not any(taken)
    (scalar + first.square().sum()).backward()
    assert sum(taken) == 1
    assert bias.grad is not None
    assert bool(bias.grad.isfinite().all())
