"""Packed (space-to-depth) forms are the plain operators, edges included, to the third derivative, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from stylegan.networks import Discriminator, Generator
from stylegan.ops import packed
from stylegan.ops.conv import conv2d
from stylegan.ops.resample import blur2d, conv_downscale2d, upscale_conv2d
from stylegan.ops.switch import using_ops
from tests.training.small import small

TAPS = [(1.0, 2.0, 1.0), (0.25, 1.0, 0.25), None]
SIZES = [(2, 2), (2, 6), (4, 2), (8, 6), (10, 4)]  # one block in a direction: both edges at once


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def derivatives(y: torch.Tensor, inputs: list[torch.Tensor], order: int = 3) -> list[torch.Tensor]:
    found, level = [y], [y]
    for i in range(order):
        number = sum((t * torch.linspace(-1, 2, t.numel(), dtype=t.dtype).reshape(t.shape)).pow(2).sum() for t in level)
        level = list(torch.autograd.grad(number, inputs, create_graph=i + 1 < order))
        found += level
    return found


def same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.detach().abs().max()))


@pytest.mark.parametrize("channels_last", [False, True])
def test_packing_moves_pixels_and_is_undone(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.arange(2 * 3 * 4 * 6).float().reshape(2, 3, 4, 6).contiguous(memory_format=layout)
    p = packed.pack(x)
    assert p.shape == (2, 12, 2, 3)
    assert p.is_contiguous(memory_format=layout)
    for y in range(2):
        for z in range(2):
            group = (2 * y + z) * 3
            assert torch.equal(p[:, group : group + 3], x[:, :, y::2, z::2])
    assert torch.equal(packed.unpack(p), x)
    assert packed.unpack(p).is_contiguous(memory_format=layout)
    assert torch.equal(packed.from_pixels(packed.pixels(p)), p)
    assert torch.equal(packed.packed_pixels(x), packed.pixels(p))
    assert packed.packed_pixels(x).is_contiguous()
    assert torch.equal(packed.pixels(p).flatten(2).sort(dim=2).values, x.flatten(2).sort(dim=2).values)
    if channels_last:
        assert packed.pixels(p).data_ptr() == p.data_ptr()  # no copy


def test_images_are_packed_and_converted_in_one_copy() -> None:
    """As `pack` and `unpack`, and to the second derivative: they are each other's adjoints."""
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    p = packed.pack_image(x, torch.float64)
    assert torch.equal(p, packed.pack(x))
    assert p.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(packed.unpack_image(p, torch.float64), x)
    image = x.detach().float()
    rounded = packed.pack_image(image, torch.bfloat16)
    assert torch.equal(rounded, packed.pack(image.bfloat16()))
    assert torch.equal(packed.unpack_image(rounded, torch.float32), image.bfloat16().float())
    assert torch.autograd.gradcheck(lambda x: packed.pack_image(x, torch.float64), x)
    assert torch.autograd.gradgradcheck(
        lambda x: packed.unpack_image(packed.pack_image(x, torch.float64) ** 3, torch.float64), x
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution(size: tuple[int, int], kernel: int) -> None:
    x, w = normal(2, 3, *size), normal(2, 3, kernel, kernel, seed=1)
    ours = packed.unpack(packed.packed_conv2d(packed.pack(x), w))
    same(derivatives(ours, [x, w]), derivatives(conv2d(x, w, padding=kernel // 2), [x, w]))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("taps", TAPS, ids=str)
def test_blur_and_down_convolution(size: tuple[int, int], taps: packed.Taps) -> None:
    x, w = normal(2, 3, *size), normal(2, 3, 3, 3, seed=1)
    ours = packed.conv_downscale_packed(packed.pack(x), w, taps)
    theirs = conv_downscale2d(x if taps is None else blur2d(x, taps), w)
    same(derivatives(ours, [x, w]), derivatives(theirs, [x, w]))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("taps", TAPS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_up_convolution_and_blur(size: tuple[int, int], taps: packed.Taps, channels_last: bool) -> None:
    h, width = size[0] // 2, size[1] // 2
    x, w = normal(2, 3, h, width), normal(2, 3, 3, 3, seed=1)
    given = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    ours = packed.unpack(packed.upscale_conv_packed(given, w, taps))
    theirs = upscale_conv2d(x, w)
    same(derivatives(ours, [x, w]), derivatives(theirs if taps is None else blur2d(theirs, taps), [x, w]))


def test_the_edge_needs_its_treatment() -> None:
    """Without it the fold is right inside and wrong in the outermost row: the trap this module is about."""
    x, w = normal(1, 2, 8, 8).detach(), normal(2, 2, 3, 3, seed=1).detach()
    theirs = blur2d(upscale_conv2d(x, w))
    kernel = packed.folded_kernel(w.flip(2, 3).transpose(0, 1) * 4.0, (1.0, 2.0, 1.0))
    difference = (packed.unpack(packed._up(x, kernel, ring=False)) - theirs).abs()
    assert float(difference[:, :, 1:-1, 1:-1].max()) < 1e-12
    assert float(difference[:, :, 0].max()) > 1e-2


def test_where_levels_are_packed() -> None:
    x = torch.zeros(1)
    with using_ops("fast"):
        assert not packed.packs(x, (1024, 1024), None)  # not on a CPU
        before = packed.pack_from(8)
        try:
            assert packed.packs(x, (8, 12), (1.0, 2.0, 1.0))
            assert not packed.packs(x, (4, 12), None)
            assert not packed.packs(x, (9, 12), None)
            assert not packed.packs(x, (8, 8), (1.0, 3.0, 3.0, 1.0))
            with using_ops("reference"):
                assert not packed.packs(x, (8, 8), None)
        finally:
            packed.pack_from(before)


@pytest.fixture
def packed_from_8() -> Iterator[None]:
    before = packed.pack_from(8)
    with using_ops("fast"):
        yield
    packed.pack_from(before)


@pytest.mark.parametrize("lod", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    "changes", [{}, {"blur": None}, {"bias_before_blur": True}, {"shared_noise": True}, {"norm_eps": 1e-3}], ids=str
)
@pytest.mark.usefixtures("packed_from_8")
def test_networks_are_the_same_function_with_packed_levels(lod: float, changes: dict[str, object]) -> None:
    """Images, scores, gradients and R1's gradients of gradients, with every level from 8 on packed."""
    torch.manual_seed(0)
    common = {name: value for name, value in changes.items() if name == "blur"}
    config = small(generator=changes, discriminator=common)
    g, d = Generator(config).double(), Discriminator(config).double()
    for network in (g.synthesis, d):
        network.compute_dtype = torch.float64
    for p in [*g.parameters(), *d.parameters()]:
        p.data += 0.1 * torch.randn_like(p)
    labels = torch.eye(3)[[0, 1, 2, 0]]
    found = []
    for side in (0, 8):
        packed.pack_from(side)
        ws = torch.randn(4, config.generator.num_layers, 8, generator=torch.Generator().manual_seed(1)).double()
        image = g.synthesis(ws, lod, noise="stored")
        scores = d(image, labels, lod)
        (gradient,) = torch.autograd.grad(scores.sum(), image, create_graph=True)
        leaves = [p for n, p in [*g.synthesis.named_parameters(), *d.named_parameters()] if "dense" not in n]
        rest = torch.autograd.grad((gradient.square().sum() + scores.sum()), leaves, allow_unused=True)
        found.append([image, scores, gradient, *rest])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6 * float(b.detach().abs().max()) + 1e-12)
