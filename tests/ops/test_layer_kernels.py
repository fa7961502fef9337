"""The blur and the epilogue after it as one operator: kernels against float64, and whole generators with them.

    TRITON_INTERPRET=1 python -m pytest tests/ops/test_layer_kernels.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stylegan.networks import Generator
from stylegan.ops import fused, fused_blur, fused_image, fused_layer, fused_rgb, switch
from stylegan.ops.resample import blur2d, blur_epilogue
from stylegan.ops.style import compose_epilogue
from tests.ops import test_kernels
from tests.ops.test_kernels import DEVICE, close, epilogue_inputs, laid_out, normal
from tests.training.small import small

fast_and_poisoned = test_kernels.fast_and_poisoned  # a fixture: kernels on, every new tensor full of NaN
pytestmark = test_kernels.pytestmark
TAPS = (1.0, 2.0, 1.0)

# N, C, H, W: odd sides, not square, one sample, one channel, one column, one row, more than a tile of channels
SHAPES = [(2, 3, 7, 9), (1, 5, 9, 4), (2, 1, 6, 11), (1, 70, 5, 3), (2, 4, 9, 1), (1, 2, 1, 6)]
LAYOUTS = ["contiguous", "channels_last", "sliced", "offset"]
PLACES = [(SHAPES[i], LAYOUTS[(i + j) % 4]) for i in range(len(SHAPES)) for j in (0, 1)]
CASES: dict[str, dict[str, Any]] = {
    "all": {},
    "shared noise": {"shared": True},
    "no noise": {"noise": False},
    "no style": {"style": False},
    "relu, nothing else": {"noise": False, "style": False, "nonlinearity": "relu"},
    "large epsilon": {"eps": 1e-2},
    "other taps": {"taps": (0.5, 3.0, 0.5)},
}


@pytest.fixture
def _divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at high resolution: not one launch for a whole channel, several bands, columns, chunks, tiles of channels."""
    monkeypatch.setattr(fused_blur, "ROWS", 4)
    monkeypatch.setattr(fused, "TILE", 64)
    monkeypatch.setattr(fused, "WHOLE", 0)
    monkeypatch.setattr(fused, "PROGRAMS", 12)
    monkeypatch.setattr(fused_layer, "MERGED", 8)


def run(t: dict[str, Any], case: dict[str, Any], function: Callable[..., torch.Tensor]) -> torch.Tensor:
    return function(
        t["x"], case.get("taps", TAPS), t["noise"], t["strength"], t["bias"], t["style"],
        case.get("nonlinearity", "lrelu"), eps=case.get("eps", 1e-8),
    )  # fmt: skip


def composed(x: torch.Tensor, taps: tuple[float, ...], *rest: Any, **options: Any) -> torch.Tensor:
    return compose_epilogue(blur2d(x, taps), *rest, **options)


class Launched(TorchDispatchMode):
    """The kernels that were launched, and PyTorch's operators on tensors of a size or more in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
        super().__init__()
        self.large = large
        self.kernels: list[str] = []
        self.operators: list[str] = []
        original = fused.launch

        def launch(name: str, *rest: Any, **constants: Any) -> None:
            self.kernels.append(name.rpartition(".")[2])
            with torch.utils._python_dispatch._disable_current_modes():
                original(name, *rest, **constants)

        for module in (fused, fused_blur, fused_image, fused_layer, fused_rgb):
            monkeypatch.setattr(module, "launch", launch)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        made = func._schema.name.startswith(("aten::empty", "aten::fill_", "aten::detach"))
        if not view and not made and isinstance(out, torch.Tensor) and out.numel() >= self.large:
            self.operators.append(func._schema.name)
        return out


def check(shape: tuple[int, ...], dtype: torch.dtype, layout: str, case: dict[str, Any]) -> None:
    inputs = epilogue_inputs(shape, dtype, layout, case)
    if dtype != torch.float32:  # a mean beside which the variation is small is rounded away between the two
        x, bias = normal(*shape).to(dtype), normal(shape[1], seed=3).float()
        inputs.exact |= {"x": x.double().requires_grad_(), "bias": bias.double().requires_grad_()}
        moved = laid_out(x.to(DEVICE), layout)
        inputs.ours |= {"x": moved.requires_grad_(), "bias": bias.to(DEVICE).requires_grad_()}

    def reference(x: torch.Tensor, taps: tuple[float, ...], *rest: Any, **options: Any) -> torch.Tensor:
        """Its blurred tensor is the stored one: rounding turns the sign of a few values, and with it their slope."""
        blurred, stored = blur2d(x, taps), blur2d(inputs.ours["x"].detach(), taps).double().cpu()
        return compose_epilogue(blurred + (stored - blurred.detach()), *rest, **options)

    expected, found = run(inputs.exact, case, reference), run(inputs.ours, case, blur_epilogue)
    assert found.dtype == dtype
    if layout == "channels_last":
        assert found.is_contiguous(memory_format=torch.channels_last)
    close(found, expected, dtype, "output")
    dy = normal(*shape, seed=9).to(dtype)
    leaves = [name for name, t in inputs.exact.items() if t is not None and t.requires_grad]
    wanted = torch.autograd.grad(expected, [inputs.exact[k] for k in leaves], dy.double())
    got = torch.autograd.grad(found, [inputs.ours[k] for k in leaves], laid_out(dy.to(DEVICE), layout))
    for name, a, b in zip(leaves, got, wanted, strict=True):
        close(a, b, dtype, f"gradient of {name}", 4)


class TestKernels:
    pytestmark = pytest.mark.usefixtures("_divided")

    @pytest.mark.parametrize(("shape", "layout"), PLACES, ids=str)
    def test_any_shape_and_layout(self, shape: tuple[int, ...], layout: str) -> None:
        check(shape, torch.float32, layout, {})

    @pytest.mark.parametrize("name", CASES)
    @pytest.mark.parametrize(
        ("dtype", "layout"),
        [(torch.float32, "contiguous"), (torch.float32, "channels_last"), (torch.bfloat16, "channels_last")],
        ids=str,
    )
    def test_each_part_left_out(self, name: str, dtype: torch.dtype, layout: str) -> None:
        check((2, 6, 9, 7), dtype, layout, CASES[name])

    def test_passes_over_the_tensor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One kernel for each pass, no other operator on anything as large as the tensor."""
        inputs = epilogue_inputs((2, 6, 9, 7), torch.float32, "channels_last", {})
        dy = torch.empty_like(inputs.ours["x"])
        with Launched(monkeypatch, large=dy.numel()) as seen:
            y = run(inputs.ours, {}, blur_epilogue)
            assert seen.kernels == ["blur_statistics", "merge", "apply"]
            torch.autograd.grad(y, [t for t in inputs.ours.values() if t.requires_grad], dy)
            assert seen.kernels[3:] == ["gradient_sums", "gradient_blur"]
        assert seen.operators == []

    def test_the_same_numbers_every_time_and_without_gradients(self) -> None:
        inputs = epilogue_inputs((2, 6, 9, 7), torch.float32, "channels_last", {})
        y = run(inputs.ours, {}, blur_epilogue)
        with torch.no_grad():
            assert torch.equal(run(inputs.ours, {}, blur_epilogue), y)

    def test_large_mean_costs_no_digits(self) -> None:
        x = (normal(2, 4, 16, 16) + 1000).float()
        zero = torch.zeros(4)
        expected = blur_epilogue(x.double(), TAPS, None, None, zero.double(), None)
        inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # at the edge, zeros outside are blurred in
        flat = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        flat_expected = blur_epilogue(flat.double(), TAPS, None, None, zero.double(), None)
        found = blur_epilogue(x.to(DEVICE), TAPS, None, None, zero.to(DEVICE), None)
        close(found, expected, torch.float32, "with an edge")
        found = blur_epilogue(flat.to(DEVICE), TAPS, None, None, zero.to(DEVICE), None)
        close(found[inside].cpu(), flat_expected[inside], torch.float32, "inside", 10)

    def test_second_derivative_is_composed_not_wrong(self) -> None:
        inputs = epilogue_inputs((2, 3, 5, 4), torch.float32, "contiguous", {})
        found = []
        for t, function in ((inputs.exact, composed), (inputs.ours, blur_epilogue)):
            x = t["x"].square()  # not a leaf, as in a network
            if t is inputs.ours:
                x = laid_out(x, "channels_last")
            y = run({**t, "x": x}, {}, function)
            leaves = [t[k] for k in ("x", "strength", "bias", "style")]
            weight = normal(2, 3, 5, 4, seed=7).to(y)
            first = torch.autograd.grad((y.square() * weight).sum(), leaves, create_graph=True)
            found.append((first, torch.autograd.grad(sum(g.square().sum() for g in first), leaves)))
        for order in (0, 1):
            for a, b in zip(found[1][order], found[0][order], strict=True):
                close(a, b, torch.float32, f"derivative {order + 1}", 10)

    def test_noise_that_is_learned_gets_its_gradient(self) -> None:
        inputs = epilogue_inputs((2, 3, 5, 4), torch.float32, "contiguous", {})
        grads = []
        for t, function in ((inputs.exact, composed), (inputs.ours, blur_epilogue)):
            noise = t["noise"].requires_grad_()
            y = run({**t, "noise": noise}, {}, function)
            grads.append(torch.autograd.grad((y.square() * normal(2, 3, 5, 4, seed=7).to(y)).sum(), noise)[0])
        close(grads[1], grads[0], torch.float32, "gradient of the noise", 10)

    def test_flat_channel_is_finite(self) -> None:
        x = torch.zeros(2, 4, 8, 8, device=DEVICE, requires_grad=True)  # flat after the blur as well
        y = blur_epilogue(x, TAPS, None, None, torch.ones(4, device=DEVICE), None)
        assert float(y.detach().abs().max()) < 1e-2
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert bool(torch.isfinite(dx).all())

    @pytest.mark.parametrize("bias_first", [False, True])
    @pytest.mark.parametrize("lod", [0.0, 0.4])
    def test_generators_are_the_reference(
        self, lod: float, bias_first: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        config = small().generator.model_copy(update={"bias_before_blur": bias_first})
        torch.manual_seed(0)
        g = Generator(config)
        for p in g.parameters():
            p.data += 0.1 * torch.randn_like(p)
        ws = torch.randn(3, config.num_layers, 8, generator=torch.Generator().manual_seed(1))
        found = []
        for mode, device, dtype in (("reference", "cpu", torch.float64), ("fast", DEVICE, torch.float32)):
            g.to(device, dtype).synthesis.compute_dtype = dtype
            seen = Launched(monkeypatch, large=1 << 30)
            with switch.using_ops(mode):
                image = g.synthesis(ws.to(device, dtype), lod, noise="stored")
                wanted = [p for name, p in g.named_parameters() if "mapping" not in name]
                rest = torch.autograd.grad(image.square().sum(), wanted, allow_unused=True)
            if mode == "fast":
                assert ("gradient_blur" in seen.kernels) == (not bias_first)
            found.append([image, *rest])
        largest = max(float(b.detach().norm()) for b in found[0] if b is not None)
        for i, (b, a) in enumerate(zip(*found, strict=True)):
            assert (a is None) == (b is None)
            if a is not None:  # gradients of biases before a norm are 0 but for rounding
                error = float((a.detach().cpu().double() - b.detach()).norm())
                assert error <= 2e-3 * float(b.detach().norm()) + 1e-6 * largest, f"number {i}"


@pytest.mark.parametrize(
    ("shape", "options", "kernels"),
    [
        ((1, 8, 32, 32), {}, ["blur", "apply_whole"]),
        ((1, 8, 33, 32), {}, ["blur_statistics", "merge", "apply"]),
        ((1, 8, 33, 32), {"instance": False}, ["blur", "apply"]),
        ((1, 8, 33, 32), {"pixel": True}, ["blur"]),
        ((1, 8, 33, 32), {"taps": (1.0, 3.0, 3.0, 1.0)}, ["statistics", "apply"]),
    ],
    ids=str,
)
def test_each_layer_takes_the_fewest_passes(
    shape: tuple[int, ...], options: dict[str, Any], kernels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = normal(*shape).float().to(DEVICE)
    options = dict(options)
    taps, bias = options.pop("taps", TAPS), torch.zeros(shape[1], device=DEVICE)
    with Launched(monkeypatch, large=1 << 30) as seen, torch.no_grad():
        y = blur_epilogue(x, taps, None, None, bias, None, **options)
    assert seen.kernels == kernels
    close(y, composed(x.double(), taps, None, None, bias, None, **options).cpu(), torch.float32, "output")
