"""Noise by rows: the reference is Philox as published, normal and independent; the kernel draws the same."""

from __future__ import annotations

import pytest
import torch

from stylegan.ops import noise
from stylegan.ops.packed import packed_pixels
from stylegan.ops.switch import using_ops
from tests.ops import test_kernels
from tests.ops.test_kernels import DEVICE

SIZES = [(4, 4), (3, 5), (6, 10), (48, 80), (64, 64)]


def drawn(rows: list[int], seed: int, mode: str = "reference", sizes: noise.Sizes = SIZES) -> list[torch.Tensor]:
    buffer = torch.full((len(rows) * sum(h * w for h, w in sizes),), float("nan"), device=DEVICE)
    with using_ops(mode):
        noise.draw(buffer, torch.tensor(rows, device=DEVICE), sizes, seed)
    return noise.layers_of(buffer, sizes)


@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter: str, key: str, wanted: str) -> None:
    words = [torch.tensor(int(word, 16)) for word in counter.split()]
    found = noise.philox(words, [int(word, 16) for word in key.split()])
    assert [f"{int(word):08x}" for word in found] == wanted.split()


def test_a_row_is_the_same_in_every_division_of_the_batch() -> None:
    whole = drawn([0, 1, 2, 3, 4, 5], 2**62 + 5)
    part = drawn([4, 1], 2**62 + 5)
    for ours, all_rows in zip(part, whole, strict=True):
        assert torch.equal(ours, all_rows[[4, 1]])


def test_noise_differs_by_seed_row_layer_and_place() -> None:
    a, other, high = drawn([0, 1], 7)[-1], drawn([0, 1], 8)[-1], drawn([0, 1], 7 + 2**40)[-1]
    same_size = drawn([0, 1], 7, sizes=[(64, 64), (64, 64)])
    pairs = [(a, other), (a, high), (a[0], a[1]), (same_size[0], same_size[1]), (a[:, :, :32], a[:, :, 32:])]
    for x, y in pairs:
        both = torch.stack([x.flatten(), y.flatten()])
        assert abs(float(torch.corrcoef(both)[0, 1])) < 0.06  # 4096 values: 4 standard deviations
        assert float((x == y).float().mean()) < 0.01


def test_noise_is_normal() -> None:
    values = drawn(list(range(16)), 3, sizes=[(128, 128)])[0].flatten().double().cpu()
    assert abs(float(values.mean())) < 0.01  # 262,144 values: 5 standard deviations
    assert abs(float(values.std()) - 1) < 0.01
    assert abs(float((values**4).mean()) - 3) < 0.1
    share = torch.special.ndtr(values).histc(20, 0, 1) / len(values)
    assert float((share - 0.05).abs().max()) < 0.0025
    nearby = torch.stack([values[:-1], values[1:]])
    assert abs(float(torch.corrcoef(nearby)[0, 1])) < 0.01


@pytest.mark.gpu
@test_kernels.pytestmark[1]
@pytest.mark.parametrize("seed", [0, 1, 16, 2**31, 2**63 - 1])
def test_the_kernel_draws_what_the_reference_draws(seed: int) -> None:
    for rows in ([0], [5, 1, 70]):
        for ours, wanted in zip(drawn(rows, seed, "fast"), drawn(rows, seed), strict=True):
            torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@test_kernels.pytestmark[1]
def test_the_seed_may_lie_on_the_device() -> None:
    rows, room = torch.tensor([1, 3], device=DEVICE), torch.empty(2 * 64 * 64, device=DEVICE)
    with using_ops("fast"):
        noise.draw(room, rows, [(64, 64)], torch.tensor(2**40 + 7, device=DEVICE))
    assert torch.equal(room.view(2, 1, 64, 64), drawn([1, 3], 2**40 + 7, "fast", [(64, 64)])[0])


def test_noise_of_packed_layers_is_seen_as_they_see_pixels() -> None:
    plain, packed = noise.layers_of(torch.arange(2.0 * (16 + 48)), [(4, 4), (6, 8)], [1])
    assert plain.shape == (2, 1, 4, 4)
    assert packed.shape == packed_pixels(torch.zeros(2, 1, 6, 8)).shape
