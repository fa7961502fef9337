"""Discriminator augmentation: what each transformation does, gradients of gradients, no leaking."""

from __future__ import annotations

import pytest
import torch

from stylegan.config.presets import preset
from stylegan.training.augment import MATRICES, TRANSFORMATIONS, adapted, augment, draw_augmentation
from stylegan.training.schedule import Point
from stylegan.training.step import MicroBatch, Trainer
from stylegan.training.warp import multiplied, warp

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
    with pytest.raises(ValueError, match="flip twice"):
        preset("tiny", 16, changes={"augment": {"policy": ["bgc", "flip"]}})


def test_names_of_whole_sets():
    def policy(value: object) -> tuple[str, ...]:
        return preset("tiny", 16, changes={"augment": {"policy": value}}).augment.policy

    assert policy("diffaugment") == ("brightness", "saturation", "contrast", "translate", "cutout")
    assert policy("bgc") == tuple(name for name in TRANSFORMATIONS if name != "cutout")
    assert policy(["bgc", "cutout"]) == POLICY
    assert policy(None) == ()


# --- turning, scaling, stretching -----------------------------------------------------------------------------------


def _disc(side: int) -> torch.Tensor:
    """A smooth blob to the right of the centre."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5 - side / 2, torch.arange(side) + 0.5 - side / 2, indexing="ij")
    return torch.exp(-((x - side / 4) ** 2 + y**2) / 4)[None, None]


def _centre(image: torch.Tensor) -> tuple[float, float]:
    """Where its mass lies, x and y in pixels from the centre."""
    side = image.shape[-1]
    at = torch.arange(side) + 0.5 - side / 2
    mass = image[0, 0] / image[0, 0].sum()
    return float((mass.sum(0) * at).sum()), float((mass.sum(1) * at).sum())


def test_a_quarter_turn_is_rotate90():
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    turned = warp(x, torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]))
    torch.testing.assert_close(turned, x.rot90(1, (2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(warp(x, torch.eye(2)[None]), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("h", "w"), [(8, 12), (12, 8)])
def test_half_a_turn_where_sides_differ(h, w):
    x = torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(warp(x, -torch.eye(2)[None]), x.rot90(2, (2, 3)), rtol=0, atol=1e-5)


def test_what_the_matrices_do():
    x = _disc(32)
    right, none = torch.tensor([[0.0, 0.75, 0, 0]]), torch.tensor([[0.0, 0.5, 0, 0]])
    a, b = _centre(TRANSFORMATIONS["rotate"](x, right))  # 0.75 = a quarter turn
    assert abs(a) < 0.1
    assert abs(abs(b) - 8) < 0.3
    most = torch.tensor([[0.0, 1.0, 0, 0]])
    assert _centre(TRANSFORMATIONS["scale"](x, most))[0] == pytest.approx(8 / 2**0.4, abs=0.3)  # towards the centre
    assert _centre(TRANSFORMATIONS["stretch"](x, most))[0] == pytest.approx(8 / 2**0.4, abs=0.3)
    for name in ("rotate", "scale", "stretch"):
        torch.testing.assert_close(TRANSFORMATIONS[name](x, none), x, rtol=0, atol=1e-5)


def test_together_they_are_one_sampling():
    """A turn and a turn back leave the image sharp, which two samplings would not."""
    x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    draws = torch.zeros(4, 2, 4)
    draws[:, 0, 1], draws[:, 1, 1] = 0.6, 1.0  # a turn by a tenth; 2^0.4 larger
    both = augment(x, ("rotate", "scale"), draws, 1.0)
    expected = warp(x, multiplied(MATRICES["rotate"](draws[:, 0]), MATRICES["scale"](draws[:, 1])))
    assert torch.equal(both, expected)
    draws[:, 1, 0] = 1.0  # not chosen
    alone = augment(x, ("rotate", "scale"), draws, 0.5)
    assert torch.equal(alone, TRANSFORMATIONS["rotate"](x, draws[:, 0]))
    draws[:2, 0, 0] = 1.0
    assert torch.equal(augment(x, ("rotate", "scale"), draws, 0.5)[:2], x[:2])  # to the bit, not nearly


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_places_are_exact_in_half_precision(dtype):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    matrices = MATRICES["rotate"](torch.tensor([[0.0, 0.3, 0, 0], [0.0, 0.9, 0, 0]]))
    out = warp(x, matrices)
    assert out.dtype == dtype
    assert torch.equal(out, warp(x.float(), matrices).to(dtype))


def test_hue_turns_about_grey():
    grey = torch.full((1, 3, 2, 2), 0.3)
    u = torch.tensor([[0.0, 0.5 + 1 / 3, 0, 0]])  # a third of a turn
    torch.testing.assert_close(TRANSFORMATIONS["hue"](grey, u), grey)
    red = torch.tensor([1.0, 0, 0])[None, :, None, None]
    turned = TRANSFORMATIONS["hue"](red, u).flatten()
    assert turned.max() == pytest.approx(1.0, abs=1e-5)
    assert int(turned.argmax()) in (1, 2)
    rgba = torch.rand(1, 4, 2, 2)
    assert torch.equal(TRANSFORMATIONS["hue"](rgba, u)[:, 3], rgba[:, 3])
    assert torch.equal(TRANSFORMATIONS["hue"](rgba[:, :1], u), rgba[:, :1])


# --- leaking ----------------------------------------------------------------------------------------------------------


def _operator(name: str, p: float, kinds: torch.Tensor) -> torch.Tensor:
    """[kinds, kinds]: how often kind j is shown as kind i, by the transformation itself, over evenly spread draws."""
    even = (torch.arange(20) + 0.5) / 20
    draws = torch.zeros(400, 1, 4)
    draws[:, 0, 0], draws[:, 0, 1] = even.repeat(20), even.repeat_interleave(20)
    columns = []
    for kind in kinds:
        out = augment(kind.expand(400, *kind.shape), (name,), draws, p)
        columns.append(torch.stack([(out == other).flatten(1).all(1).double().mean() for other in kinds]))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("name", ["flip", "rotate90"])
@pytest.mark.parametrize(("p", "leaks"), [(0.8, False), (1.0, True)])
def test_g_can_find_the_data_below_p_1_and_only_there(name, p, leaks):
    """The data are all of one kind. G shows kinds with probabilities of its own and lowers the Jensen-Shannon
    divergence of what D sees of both, which is what a perfect D makes it do. With p = 1 every mixture looks right."""
    x = torch.arange(16.0).reshape(1, 4, 4)
    kinds = torch.stack([x.rot90(k, (1, 2)) for k in range(4)] if name == "rotate90" else [x, x.flip(2)])
    shown = _operator(name, p, kinds)
    real = shown[:, 0]
    logits = torch.zeros(len(kinds), dtype=torch.double, requires_grad=True)
    descent = torch.optim.Adam([logits], lr=0.05)
    for _ in range(400):
        fake = shown @ logits.softmax(0)
        middle = (real + fake) / 2
        loss = (torch.special.xlogy(real, real / middle) + torch.special.xlogy(fake, fake / middle)).sum() / 2
        descent.zero_grad()
        loss.backward()
        descent.step()
    share = float(logits.softmax(0)[0].detach())
    assert share == pytest.approx(1 / len(kinds)) if leaks else share > 0.95, share


def test_every_transformation_leaves_the_image_the_likeliest_outcome():
    """ADA, section 2.2: with p below 1 the unchanged image has a probability of its own, whatever the rest does."""
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    n = 2000
    for name in POLICY:
        out = augment(x.expand(n, -1, -1, -1), (name,), draw_augmentation((name,), n, seed=1), 0.8)
        _, counts = out.flatten(1).unique(dim=0, return_counts=True)
        same = (out == x).flatten(1).all(1).sum()
        assert same == counts.max(), name
        assert same > 0.15 * n, name
