"""The fast forms without gradients: the same images, and nothing that was handed in is written to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stylegan.networks import Generator
from stylegan.ops.resample import _folds, blur2d, blur_epilogue, conv_downscale2d, upscale_conv2d
from stylegan.ops.style import style_epilogue
from stylegan.ops.switch import using_ops
from tests.training.small import small


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("style", [True, False])
@pytest.mark.parametrize("options", [{}, {"pixel": True, "instance": False}, {"nonlinearity": "relu"}], ids=str)
def test_epilogue_in_place_is_the_epilogue_and_spares_its_inputs(
    noise: bool, style: bool, options: dict[str, Any]
) -> None:
    given = [
        normal(2, 3, 8, 6),
        normal(2, 1, 8, 6) if noise else None,
        normal(3),
        normal(3) + 1,
        normal(2, 2, 3) if style else None,
    ]
    before = [None if t is None else t.clone() for t in given]
    expected = style_epilogue(*given, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        assert torch.equal(style_epilogue(*given, **options), expected)  # type: ignore[arg-type]
    with torch.no_grad(), using_ops("fast"):
        found = style_epilogue(*given, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for a, b in zip(given, before, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{}, {"noise": False}, {"constant_input": False}, {"styles": False, "pixel_norm": True}], ids=str
)
def test_images_without_gradients_twice_and_with(changes: dict[str, Any]) -> None:
    """Twice: a constant that an in-place step had written to would show in the second."""
    torch.manual_seed(0)
    g = Generator(small(labels=0, generator=changes)).eval()
    for p in g.parameters():
        p.data += 0.1 * torch.randn_like(p)
    z = normal(3, g.config.z_dim)
    expected = g(z, noise="stored")
    with torch.inference_mode(), using_ops("fast"):
        found = [g(z, noise="stored") for _ in range(2)]
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], expected, rtol=1e-3, atol=1e-3)


def test_small_images_are_not_folded_on_a_cpu_and_agree_either_way() -> None:
    w = normal(3, 4, 3, 3)
    with using_ops("fast"):
        assert not _folds(torch.zeros(1), 63)
        assert _folds(torch.zeros(1), 64)
        for n in (1, 8):
            x = normal(n, 4, 4, 4)
            plain = [upscale_conv2d(x[i : i + 1], w) for i in range(n)], [
                conv_downscale2d(x[i : i + 1], w) for i in range(n)
            ]
            torch.testing.assert_close(upscale_conv2d(x, w), torch.cat(plain[0]), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(conv_downscale2d(x, w), torch.cat(plain[1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["reference", "fast"])
def test_blur_and_epilogue_without_kernels_are_the_two_operators_to_the_bit(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    rest = [normal(2, 1, 8, 6), *(normal(*s).requires_grad_() for s in ((3,), (3,), (2, 2, 3)))]
    taps, dy, found = (1.0, 2.0, 1.0), normal(2, 3, 8, 6) + 1, []
    with using_ops(mode):
        for joined in (True, False):
            x = normal(2, 3, 8, 6).requires_grad_()
            y = blur_epilogue(x, taps, *rest) if joined else style_epilogue(blur2d(x, taps), *rest)
            found.append([y, *torch.autograd.grad(y, [x, *rest[1:]], dy)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("lod", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu])])
def test_images_are_the_same_with_and_without_gradients(lod: float, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    torch.manual_seed(0)
    g = Generator(small().generator).to(device)
    for p in g.parameters():
        p.data += 0.1 * torch.randn_like(p)
    ws = torch.randn(3, g.config.num_layers, 8, device=device)
    for mode in ("reference", "fast"):
        with using_ops(mode):
            expected = g.synthesis(ws, lod, noise="stored").detach()
            with torch.no_grad():
                torch.testing.assert_close(g.synthesis(ws, lod, noise="stored"), expected, rtol=1e-4, atol=1e-4)


def test_a_hook_on_the_last_layer_sees_its_features() -> None:
    g = Generator(small().generator)
    ws, seen = torch.randn(1, g.config.num_layers, 8), []
    handle = g.synthesis.layers[-1].register_forward_hook(lambda module, given, out: seen.append(out.shape))
    with torch.no_grad():
        image = g.synthesis(ws)
        handle.remove()
        assert torch.equal(g.synthesis(ws, noise="none"), g.synthesis(ws, noise="none"))
    assert seen == [(1, g.config.fmaps(g.config.top + 1), *image.shape[2:])]
