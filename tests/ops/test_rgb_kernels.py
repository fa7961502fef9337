"""The 1x1 convolutions from and to RGB: kernels against float64, and whole networks with them; see test_kernels.py.

    TRITON_INTERPRET=1 python -m pytest tests/ops/test_rgb_kernels.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stylegan.networks import Discriminator, Generator
from stylegan.ops import fused, fused_rgb, packed, rgb, switch
from stylegan.ops.conv import without_weight_gradients
from tests.ops import test_kernels
from tests.ops.test_kernels import DEVICE, close, laid_out, normal
from tests.training.small import small

pytestmark = test_kernels.pytestmark
fast_and_poisoned = test_kernels.fast_and_poisoned  # a fixture: kernels on, every new tensor full of NaN

# N, K, H, W of the images, C: one pixel, odd sides, not square, few and many features
SHAPES = [(1, 1, 1, 1, 1), (2, 3, 5, 7, 16), (1, 4, 9, 3, 5), (2, 2, 2, 3, 70)]
PACKED = [(1, 3, 2, 2, 1), (2, 3, 6, 10, 16), (1, 4, 4, 2, 5), (1, 1, 2, 4, 70)]
PLACES = [
    (shape, is_packed, ("contiguous", "channels_last", "sliced", "offset")[(i + j) % 4])
    for is_packed, shapes in ((False, SHAPES), (True, PACKED))
    for i, shape in enumerate(shapes)
    for j in (0, 1)
]


@pytest.fixture
def _chunks(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at high resolution, in half of the layouts: several tiles in a program, several programs for a sample."""
    if layout in ("channels_last", "sliced"):
        monkeypatch.setattr(fused, "TILE", 128)
        monkeypatch.setattr(fused, "PROGRAMS", 4)


def leaves(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, dtype: torch.dtype, layout: str
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """(float64 for the reference, the same numbers for the kernels: x in a type and laid out, w and b in float32)."""
    kept = [x.to(dtype), w.float(), b.float()]
    moved = [laid_out(kept[0].to(DEVICE), layout), kept[1].to(DEVICE), kept[2].to(DEVICE)]
    return [t.double().requires_grad_() for t in kept], [t.detach().requires_grad_() for t in moved]


def from_inputs(shape: tuple[int, ...], dtype: torch.dtype, layout: str):  # type: ignore[no-untyped-def]
    n, k, h, w, c = shape
    return leaves(normal(n, k, h, w), normal(c, k, 1, 1, seed=1), normal(c, seed=2), dtype, layout)


def to_inputs(shape: tuple[int, ...], is_packed: bool, dtype: torch.dtype, layout: str):  # type: ignore[no-untyped-def]
    n, k, h, w, c = shape
    features = (n, 4 * c, h // 2, w // 2) if is_packed else (n, c, h, w)
    return leaves(normal(*features), normal(k, c, 1, 1, seed=1), normal(k, seed=2), dtype, layout)


def derivatives(f: Callable[..., torch.Tensor], inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Output, and derivatives to the third order of numbers made of what came before."""
    found = level = [f(*inputs)]
    for order in range(3):
        number = sum((t * t * torch.linspace(0.2, 1, t.numel()).reshape(t.shape).to(t)).sum() for t in level)
        level = list(torch.autograd.grad(number, inputs, create_graph=order < 2))
        found = [*found, *level]
    return found


def same(found: list[torch.Tensor], expected: list[torch.Tensor], dtype: torch.dtype, factor: float) -> None:
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        close(a, b, dtype, f"number {i}", factor)


@pytest.mark.parametrize(("shape", "is_packed", "layout"), PLACES, ids=str)
@pytest.mark.parametrize("nonlinearity", ["lrelu", "relu", None])
@pytest.mark.usefixtures("_chunks")
def test_from_rgb_to_the_third_derivative(
    shape: tuple[int, ...], is_packed: bool, layout: str, nonlinearity: str | None
) -> None:
    exact, ours = from_inputs(shape, torch.float32, layout)
    expected = derivatives(lambda *t: rgb.from_rgb(*t, nonlinearity, torch.float64, is_packed), exact)
    found = derivatives(lambda *t: rgb.from_rgb(*t, nonlinearity, torch.float32, is_packed), ours)
    same(found, expected, torch.float32, 10)
    assert found[1].is_contiguous()  # the image's gradient


@pytest.mark.parametrize(("shape", "is_packed", "layout"), PLACES, ids=str)
@pytest.mark.usefixtures("_chunks")
def test_to_rgb_to_the_third_derivative(shape: tuple[int, ...], is_packed: bool, layout: str) -> None:
    exact, ours = to_inputs(shape, is_packed, torch.float32, layout)
    expected = derivatives(lambda *t: rgb.to_rgb(*t, is_packed), exact)
    found = derivatives(lambda *t: rgb.to_rgb(*t, is_packed), ours)
    same(found, expected, torch.float32, 10)
    assert found[0].is_contiguous()


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("images_in", [torch.float32, torch.bfloat16], ids=str)
def test_from_rgb_in_bfloat16(is_packed: bool, images_in: torch.dtype) -> None:
    """Rounded once, at the end: as near to float64 as bfloat16 can be. The gradient comes laid out otherwise."""
    exact, ours = from_inputs((2, 3, 10, 6, 20), images_in, "channels_last")
    y = rgb.from_rgb(*ours, "lrelu", torch.bfloat16, is_packed)
    expected = rgb.from_rgb(*exact, "lrelu", torch.float64, is_packed)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    close(y, expected, torch.bfloat16, "output", 0.4)
    dy = normal(*y.shape, seed=4).bfloat16()
    found = torch.autograd.grad(y, ours, dy.to(DEVICE))
    assert [t.dtype for t in found] == [t.dtype for t in ours]
    same(list(found), list(torch.autograd.grad(expected, exact, dy.double())), torch.bfloat16, 1)


@pytest.mark.parametrize("is_packed", [False, True])
def test_to_rgb_in_bfloat16(is_packed: bool) -> None:
    exact, ours = to_inputs((2, 3, 10, 6, 20), is_packed, torch.bfloat16, "channels_last")
    image = rgb.to_rgb(*ours, is_packed)
    expected = rgb.to_rgb(*exact, is_packed)
    assert image.dtype == torch.float32
    close(image, expected, torch.float32, "output")
    dy = normal(*image.shape, seed=4).float()
    found = torch.autograd.grad(image, ours, dy.to(DEVICE))
    assert found[0].dtype == torch.bfloat16
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    same(list(found), list(torch.autograd.grad(expected, exact, dy.double())), torch.bfloat16, 1)


class Launched(TorchDispatchMode):
    """What kernels were launched with, and PyTorch's operators on tensors of a size or more in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
        super().__init__()
        self.large, self.kernels, self.operators = large, [], []  # type: ignore[var-annotated]
        original = fused_rgb.launch

        def launch(name: str, *rest: Any, **constants: Any) -> None:
            self.kernels.append((name.split(".")[1], constants["STORES"], constants["SUMS"]))
            with torch.utils._python_dispatch._disable_current_modes():
                original(name, *rest, **constants)

        monkeypatch.setattr(fused_rgb, "launch", launch)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        made = func._schema.name.startswith(("aten::empty", "aten::fill_", "aten::detach"))
        if not view and not made and isinstance(out, torch.Tensor) and out.numel() >= self.large:
            self.operators.append(func._schema.name)
        return out


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("channels", [8, 6])
def test_derivatives_from_rgb_do_not_read_the_features_again(channels: int, is_packed: bool) -> None:
    """Where eight channels lie together their signs are kept as bits."""
    _, (x, w, b) = from_inputs((2, 3, 4, 6, channels), torch.float32, "contiguous")
    y = rgb.from_rgb(x, w, b, "lrelu", torch.float32, is_packed)
    dy = torch.randn(y.shape, device=DEVICE).contiguous(memory_format=torch.channels_last)
    expected = torch.autograd.grad(y, x, dy, retain_graph=True)[0]
    y.data.neg_()
    found = torch.autograd.grad(y, x, dy)[0]
    lies_last = is_packed or y.stride(1) == 1
    assert torch.equal(found, expected) == (lies_last and channels == 8)


@pytest.mark.parametrize("is_packed", [False, True])
def test_nothing_is_computed_that_nobody_asked_for(is_packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One kernel for each pass over the features, no other operator on anything as large as an image."""
    _, (x, w, b) = from_inputs((2, 3, 8, 8, 16), torch.float32, "contiguous")
    with Launched(monkeypatch, large=x.numel()) as seen:

        def kernels() -> list[tuple[str, bool, bool]]:
            """(kernel, whether it wrote a tensor, whether it summed for weights) since the last call."""
            found, seen.kernels = seen.kernels, []
            return found

        y = rgb.from_rgb(x.detach(), w, b, "lrelu", torch.bfloat16, is_packed)
        dy = torch.empty_like(y)
        assert kernels() == [("expand", True, False)]
        torch.autograd.grad(y, (w, b), dy)
        assert kernels() == [("contract", False, True)]  # D's images
        y = rgb.from_rgb(x, w.detach(), b.detach(), "lrelu", torch.bfloat16, is_packed)
        assert torch.autograd.grad(y, x, dy)[0].is_contiguous()
        assert kernels() == [("expand", True, False), ("contract", True, False)]  # G's images through D
        y = rgb.from_rgb(x, w, b, "lrelu", torch.bfloat16, is_packed)
        dy.requires_grad_()
        with without_weight_gradients():
            (gradient,) = torch.autograd.grad(y, x, dy, create_graph=True)
        assert kernels() == [("expand", True, False), ("contract", True, False)]
        torch.autograd.grad(gradient, (dy, w), torch.empty_like(gradient))
        assert sorted(kernels()) == [("contract", False, True), ("expand", True, False)]  # R1
        features = torch.empty_like(y).requires_grad_()
        weight = torch.randn(3, 16, 1, 1, device=DEVICE, requires_grad=True)
        image = rgb.to_rgb(features, weight, torch.zeros(3, device=DEVICE, requires_grad=True), is_packed)
        assert kernels() == [("contract", True, False)]
        torch.autograd.grad(image, (features, weight), torch.empty_like(image))
        assert kernels() == [("expand", True, True)]
    assert seen.operators == []


def test_what_the_kernels_do_not_know_takes_pytorchs_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*rest: Any, **constants: Any) -> None:
        raise AssertionError("launched")

    monkeypatch.setattr(fused_rgb, "launch", never)
    for k, c, dtype in ((5, 4, torch.float32), (3, 1025, torch.float32), (3, 4, torch.float64)):
        x, w, b = normal(1, k, 2, 2), normal(c, k, 1, 1), normal(c)
        x, w, b = x.to(DEVICE, dtype), w.to(DEVICE, dtype), b.to(DEVICE, dtype)
        y = rgb.from_rgb(x, w, b, None, dtype)
        close(y, torch.nn.functional.conv2d(x.double(), w.double(), b.double()).cpu(), torch.float32, "y", 100)
        assert rgb.to_rgb(y, w.transpose(0, 1), b[:1].expand(k)).shape == x.shape


@pytest.fixture
def packed_from_16() -> Iterator[None]:
    before = packed.pack_from(16)
    yield
    packed.pack_from(before)


@pytest.mark.parametrize("lod", [0.0, 0.4, 1.0])
@pytest.mark.usefixtures("packed_from_16")
def test_networks_with_r1_are_the_reference(lod: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """G into D, R1's gradient of the gradient, by all weights of both: kernels in float32 against the reference."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    config = small()
    torch.manual_seed(0)
    g, d = Generator(config), Discriminator(config)
    for p in [*g.parameters(), *d.parameters()]:
        p.data += 0.1 * torch.randn_like(p)
    labels = torch.eye(3)[[0, 1, 2, 0]]
    ws = torch.randn(4, config.generator.num_layers, 8, generator=torch.Generator().manual_seed(1))
    found = []
    for mode, device, dtype in (("reference", "cpu", torch.float64), ("fast", DEVICE, torch.float32)):
        networks = [network.to(device, dtype) for network in (g, d)]
        g.synthesis.compute_dtype = d.compute_dtype = dtype
        with switch.using_ops(mode):
            image = g.synthesis(ws.to(device, dtype), lod, noise="stored")
            scores = d(image, labels.to(device), lod)
            with without_weight_gradients():
                (gradient,) = torch.autograd.grad(scores.sum(), image, create_graph=True)
            wanted = [p for network in networks for n, p in network.named_parameters() if "mapping" not in n]
            rest = torch.autograd.grad(gradient.square().sum() + scores.sum(), wanted, allow_unused=True)
            found.append([image, scores, gradient, *rest])
    largest = max(float(b.detach().norm()) for b in found[0] if b is not None)
    for i, (b, a) in enumerate(zip(*found, strict=True)):
        assert (a is None) == (b is None)
        if a is not None:  # gradients of biases before a norm are 0 but for rounding
            error = float((a.detach().cpu().double() - b.detach()).norm())
            assert error <= 2e-3 * float(b.detach().norm()) + 1e-6 * largest, f"number {i}"
