"""The last layer's epilogue joined to the image it makes: the same values, in two launches."""

from __future__ import annotations

import pytest
import torch

from stylegan.ops import fused, rgb, switch
from stylegan.ops.packed import from_pixels
from stylegan.ops.style import compose_epilogue, style_epilogue
from tests.ops import test_kernels
from tests.ops.test_kernels import DEVICE, close, normal
from tests.ops.test_layer_kernels import Launched

pytestmark = test_kernels.pytestmark
fast_and_poisoned = test_kernels.fast_and_poisoned  # a fixture: kernels on, every new tensor full of NaN

# N, C, H, W of the features as pixels lie, channels of the image, packed
CASES = [
    ((1, 5, 33, 32), 3, False), ((2, 16, 20, 80), 3, True), ((1, 64, 40, 36), 1, False), ((2, 3, 70, 33), 4, False),
]  # fmt: skip


def inputs(shape: tuple[int, ...], k: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    n, c, h, w = shape
    made = {
        "x": normal(*shape).to(dtype).contiguous(memory_format=torch.channels_last),
        "noise": normal(n, 1, h, w, seed=1).float(),
        "strength": normal(c, seed=2).float(),
        "bias": normal(c, seed=3).float(),
        "style": normal(n, 2, c, seed=4).float(),
        "weight": normal(k, c, 1, 1, seed=5).float(),
        "image_bias": normal(k, seed=6).float(),
    }
    return {name: t.to(DEVICE) for name, t in made.items()}


def joined(t: dict[str, torch.Tensor | None], packed: bool, nonlinearity: str = "lrelu") -> torch.Tensor:
    with torch.no_grad():
        return rgb.styled_to_rgb(
            t["x"], t["noise"], t["strength"], t["bias"], t["style"], nonlinearity, False, True, 1e-8,  # type: ignore[arg-type]
            t["weight"], t["image_bias"], packed,  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.mark.parametrize(("shape", "k", "packed"), CASES, ids=str)
@pytest.mark.parametrize("missing", [(), ("noise", "strength"), ("style",)], ids=str)
def test_it_is_the_epilogue_and_the_convolution(
    shape: tuple[int, ...], k: int, packed: bool, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "TILE", 256)  # several tiles in a program
    monkeypatch.setattr(fused, "PROGRAMS", 4)
    t: dict[str, torch.Tensor | None] = {**inputs(shape, k, torch.float32)} | dict.fromkeys(missing)
    with Launched(monkeypatch, large=1 << 30) as seen:
        found = joined(t, packed, "relu" if k == 1 else "lrelu")
    e = {name: None if v is None else v.cpu().double() for name, v in t.items()}
    y = compose_epilogue(
        e["x"], e["noise"], e["strength"], e["bias"], e["style"], "relu" if k == 1 else "lrelu"  # type: ignore[arg-type]
    )
    with switch.using_ops("reference"):
        y = from_pixels(y.contiguous(memory_format=torch.channels_last)) if packed else y
        expected = rgb.to_rgb(y, e["weight"], e["image_bias"], packed)  # type: ignore[arg-type]
    close(found, expected, torch.float32, "image", 5)
    assert found.is_contiguous()
    assert found.dtype == torch.float32
    assert seen.kernels == ["statistics", "apply_contract"]


@pytest.mark.parametrize("packed", [False, True])
def test_in_bfloat16_it_is_the_two_kernels(packed: bool) -> None:
    t = inputs((2, 16, 20, 80), 3, torch.bfloat16)
    found = joined({**t}, packed)
    with torch.no_grad():
        y = style_epilogue(t["x"], t["noise"], t["strength"], t["bias"], t["style"])
        y = from_pixels(y) if packed else y
        expected = rgb.to_rgb(y, t["weight"], t["image_bias"], packed)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # sums over channels in another order


@pytest.mark.parametrize("shape", [(1, 8, 32, 32), (1, 65, 33, 32)], ids=str)
def test_others_take_two_steps(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images, whose epilogue is one launch anyway, and more channels than a tile has."""
    t = inputs(shape, 3, torch.float32)
    with Launched(monkeypatch, large=1 << 30) as seen:
        found = joined({**t}, False)
    assert seen.kernels[-1] == "contract"
    with torch.no_grad():
        y = style_epilogue(t["x"], t["noise"], t["strength"], t["bias"], t["style"])
        assert torch.equal(found, rgb.to_rgb(y, t["weight"], t["image_bias"]))
