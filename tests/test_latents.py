"""Latents: seeds, noise, interpolation, mixing and layer ranges."""

import numpy as np
import pytest
import torch

from stylegan import latents
from stylegan.errors import UserError


def test_seed_lists():
    assert latents.parse_seeds("0-3, 100,7") == [0, 1, 2, 3, 100, 7]
    assert latents.parse_seeds("5") == [5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no number or range"),
        ("1,,2", "no number or range"),
        ("-4", "no number or range"),
        ("1.5", "no number or range"),
        ("9-3", "write 3-9"),
        ("4294967296", "largest seed, 4294967295"),
        ("0-4000000000", "in several parts"),
    ],
)
def test_bad_seed_lists(text, message):
    with pytest.raises(UserError, match=message):
        latents.parse_seeds(text)


def test_z_is_the_official_one_and_depends_on_its_seed_alone():
    z = latents.z_from_seeds([5, 3, 5], 512)
    assert z.dtype == torch.float32
    assert torch.equal(z[1], torch.from_numpy(np.random.RandomState(3).randn(512)).float())
    assert torch.equal(z[0], z[2])
    assert latents.z_from_seeds([], 8).shape == (0, 8)
    with pytest.raises(UserError, match="seed -1"):
        latents.z_from_seed(-1, 8)


def test_noise_depends_on_seed_and_layer_alone():
    sizes = [(4, 4), (4, 6), (64, 64)]
    noise = latents.noise_from_seeds([7, 8], sizes)
    assert [tuple(layer.shape) for layer in noise] == [(2, 1, 4, 4), (2, 1, 4, 6), (2, 1, 64, 64)]
    alone = latents.noise_from_seeds([8], [(2, 2), (9, 9), (64, 64)])
    assert torch.equal(noise[2][1:], alone[2])
    assert not torch.equal(noise[0][0].flatten()[:4], noise[1][0].flatten()[:4])
    assert abs(float(noise[2].mean())) < 0.05
    assert abs(float(noise[2].std()) - 1) < 0.05


def test_noise_stream_is_pinned():
    """A change of numpy's normal stream would change every picture: notice it."""
    noise = latents.noise_from_seeds([0], [(1, 3)])[0].flatten()
    assert torch.allclose(noise, torch.tensor([2.1309710, 3.4456377, -0.0092565]), atol=1e-6)


def test_slerp_keeps_to_the_great_circle():
    a, b = latents.z_from_seeds([0, 1], 64).split(1)
    t = torch.linspace(0, 1, 9)[:, None]
    walk = latents.slerp(a.expand(9, -1), b.expand(9, -1), t)
    assert torch.allclose(walk.norm(dim=1), torch.ones(9), atol=1e-6)
    assert torch.allclose(walk[0], (a / a.norm())[0], atol=1e-6)
    assert torch.allclose(walk[-1], (b / b.norm())[0], atol=1e-6)
    steps = (walk[1:] * walk[:-1]).sum(dim=1)
    assert torch.allclose(steps, steps[:1].expand(8), atol=1e-5)
    assert torch.allclose(latents.slerp(a, a, 0.3), a / a.norm(), atol=1e-6)


def test_lerp_takes_numbers_and_tensors():
    a, b = torch.zeros(2, 3), torch.ones(2, 3)
    assert torch.equal(latents.lerp(a, b, 0.25), torch.full((2, 3), 0.25))
    assert torch.equal(latents.lerp(a, b, torch.tensor([[0.0], [1.0]])), torch.tensor([[0.0] * 3, [1.0] * 3]))


def test_style_mix_takes_only_the_named_layers():
    a, b = torch.zeros(1, 6, 4), torch.ones(3, 6, 4)
    mixed = latents.style_mix(a, b, [1, 5])
    assert mixed.shape == (3, 6, 4)
    assert mixed[0, :, 0].tolist() == [0, 1, 0, 0, 0, 1]
    with pytest.raises(ValueError, match="between 0 and 5"):
        latents.style_mix(a, b, [6])
    with pytest.raises(ValueError, match="must agree"):
        latents.style_mix(a, torch.ones(1, 4, 4), [0])


def test_layer_ranges_are_those_of_figure_3():
    assert latents.layer_ranges(18) == {
        "coarse": (0, 1, 2, 3),
        "middle": (4, 5, 6, 7),
        "fine": tuple(range(8, 18)),
    }
    assert list(latents.layer_ranges(8)) == ["coarse", "middle"]
    assert latents.layer_ranges(6)["middle"] == (4, 5)
    assert latents.parse_layers("4-7,9", 18) == (4, 5, 6, 7, 9)
    assert latents.parse_layers("Coarse, 5", 8) == (0, 1, 2, 3, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fine", "from 64x64 up, but this network has layers 0-7"),
        ("7-8", "this network has layers 0-7: coarse = 0-3, middle = 4-7"),
        ("5-4", "this network has"),
        ("big", "write coarse, middle, fine"),
        ("", "write coarse, middle, fine"),
    ],
)
def test_layers_that_do_not_exist(text, message):
    with pytest.raises(UserError, match=message):
        latents.parse_layers(text, 8)


def test_easing():
    t = np.array([0.0, 0.25, 0.5, 1.0])
    assert latents.ease(t, "linear").tolist() == t.tolist()
    assert latents.ease(t, "smooth").tolist() == [0.0, 0.15625, 0.5, 1.0]
    with pytest.raises(UserError, match="linear or smooth"):
        latents.ease(t, "bouncy")
