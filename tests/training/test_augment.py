"""Discriminator augmentation: what each transformation does, gradients of gradients, no leaking."""

from __future__ import annotations

import pytest
import torch

from stylegan.config.presets import preset
from stylegan.training.augment import TRANSFORMATIONS, adapted, augment, draw_augmentation
from stylegan.training.schedule import Point
from stylegan.training.step import MicroBatch, Trainer

POLICY = tuple(TRANSFORMATIONS)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 3, 8, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_p_0_changes_nothing_and_p_1_changes_most(images):
    draws = draw_augmentation(POLICY, 6, seed=3)
    assert torch.equal(augment(images, POLICY, draws, 0.0), images)
    changed = augment(images, POLICY, draws, 1.0)
    assert changed.shape == images.shape
    assert all(not torch.equal(a, b) for a, b in zip(changed, images, strict=True))


@pytest.mark.parametrize("name", POLICY)
def test_each_is_applied_with_probability_p_per_sample(name):
    n = 4000
    x = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8).sin().expand(n, -1, -1, -1)
    out = augment(x, (name,), draw_augmentation((name,), n, seed=0), 0.3)
    always = augment(x, (name,), draw_augmentation((name,), n, seed=0), 1.0)
    share = (out != x).flatten(1).any(1).double().mean() / (always != x).flatten(1).any(1).double().mean()
    assert abs(share - 0.3) < 0.04


@pytest.mark.parametrize("name", POLICY)
def test_gradients_of_gradients_pass(name):
    """Each is affine in the pixels, so R1 of a quadratic score has a known form that finite differences confirm."""
    x = torch.rand(2, 3, 4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    draws = draw_augmentation((name,), 2, seed=5).double()
    assert torch.autograd.gradcheck(lambda t: augment(t, (name,), draws, 1.0), x)
    assert torch.autograd.gradgradcheck(lambda t: augment(t, (name,), draws, 1.0).pow(3), x)


def test_geometry_keeps_the_pixels_and_colour_keeps_their_places(images):
    square = images[..., :8]
    u = draw_augmentation(("flip",), 6, seed=2)[:, 0]
    for name in ("flip", "rotate90"):
        out = TRANSFORMATIONS[name](square, u)
        assert torch.equal(out.flatten(2).sort().values, square.flatten(2).sort().values)
    for name in ("brightness", "contrast", "saturation"):
        out = TRANSFORMATIONS[name](images, u)
        order = images[:, 0].flatten(1).argsort()
        if name != "saturation":
            assert torch.equal(out[:, 0].flatten(1).argsort(), order)


def test_cutout_blanks_a_quarter_inside_the_image():
    u = torch.tensor([[0.0, 0.5, 0.5, 0.0]])
    out = TRANSFORMATIONS["cutout"](torch.ones(1, 1, 16, 16), u)
    assert 0.2 <= (out == 0).double().mean() <= 0.3


def test_translation_mirrors_at_the_border():
    x = torch.arange(16.0).reshape(1, 1, 1, 16).expand(1, 1, 16, 16)
    out = TRANSFORMATIONS["translate"](x, torch.tensor([[0.0, 0.5, 1.0, 0.0]]))
    assert out[0, 0, 0].tolist() == [2.0, *range(3, 16), 15.0, 14.0]


def test_the_distribution_can_be_undone_below_p_08():
    """No leaking: with p < 1 the unchanged image is the most frequent outcome, so G's best answer is the data."""
    x = torch.linspace(-1, 1, 8 * 8).reshape(1, 1, 8, 8).expand(3000, -1, -1, -1)
    out = augment(x, ("rotate90",), draw_augmentation(("rotate90",), 3000, seed=1), 0.8)
    shares = torch.stack([(out == x.rot90(k, (2, 3))).flatten(1).all(1).double().mean() for k in range(4)])
    assert shares[0] > shares[1:].max() * 1.5


def test_p_follows_the_overfitting_measure():
    p = torch.tensor(0.1)
    up = adapted(p, torch.tensor(0.9), target=0.6, images=1000, full_kimg=100)
    down = adapted(p, torch.tensor(0.1), target=0.6, images=1000, full_kimg=100)
    assert up == pytest.approx(0.11)
    assert down == pytest.approx(0.09)
    assert adapted(torch.tensor(0.8), torch.tensor(1.0), 0.6, 1000, 100) == pytest.approx(0.8)
    assert adapted(torch.tensor(0.0), torch.tensor(0.0), 0.6, 1000, 100) == 0.0


def _trainer(**augmentation: object) -> Trainer:
    return Trainer(preset("tiny", 16, 1, 0, changes={"augment": augmentation}))


def _step(trainer: Trainer, nimg: int) -> None:
    images = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(nimg))
    none = torch.zeros(8, 0)
    point = Point(nimg, 0.0, 2, 16, 8, 1e-3, 1e-3, 1.0, 1, 1)
    trainer.step(point, nimg, [MicroBatch(torch.arange(8), images, none, none)])


def test_a_training_step_uses_it_and_adapts_p():
    plain, fixed = _trainer(), _trainer(policy=("translate", "cutout"), p=0.7, target=None)
    follows = _trainer(policy=("translate",), p=0.5, target=-1.0, full_kimg=1)
    torch.nn.init.constant_(follows.D.head.dense1.bias, 5.0)  # every real scores above 0: r_t = 1
    for i in range(2):
        for trainer in (plain, fixed, follows):
            _step(trainer, 8 * i)
    assert not torch.equal(plain.D.head.dense1.weight, fixed.D.head.dense1.weight)
    assert fixed.augment_p == pytest.approx(0.7)
    assert follows.augment_p == pytest.approx(0.5 + 2 * 8 / 1000)


def test_p_0_is_the_training_without_it():
    plain, off = _trainer(), _trainer(policy=("translate", "cutout"), p=0.0, target=None)
    for trainer in (plain, off):
        _step(trainer, 0)
    assert torch.equal(plain.G.synthesis.to_rgb[2].weight, off.G.synthesis.to_rgb[2].weight)


def test_unknown_transformations_are_refused():
    with pytest.raises(ValueError, match="translate"):
        preset("tiny", 16, changes={"augment": {"policy": ["shuffle"]}})
