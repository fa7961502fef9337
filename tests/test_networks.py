"""Generator and Discriminator: sizes, levels, fades, noise, truncation, labels, and every preset."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from stylegan.config import Config, DiscriminatorConfig, GeneratorConfig
from stylegan.config.presets import PRESETS, preset
from stylegan.networks import Discriminator, Generator
from stylegan.ops.conv import exact_conv2d
from stylegan.ops.resample import downscale2d, upscale2d
from stylegan.ops.switch import exact, using_ops

TINY: dict[str, Any] = {"fmap_base": 64, "fmap_max": 8, "resolution": 32}
TINY_G: dict[str, Any] = TINY | {"z_dim": 8, "w_dim": 8, "mapping_width": 8, "mapping_layers": 2}


def make_g(**changes: Any) -> Generator:
    """A small generator whose noise, biases and w_avg are not at their neutral first values."""
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(**(TINY_G | changes)))
    with torch.no_grad():
        for name, parameter in g.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                parameter.normal_(0, 0.2)
        g.w_avg.normal_()
    return g.eval()


def make_d(**changes: Any) -> Discriminator:
    torch.manual_seed(1)
    return Discriminator(DiscriminatorConfig(**(TINY | changes))).eval()


def z_of(g: Generator, n: int = 2) -> torch.Tensor:
    return torch.randn(n, g.config.z_dim, generator=torch.Generator().manual_seed(5))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts_of_the_paper() -> None:
    with torch.device("meta"):
        g, d = Generator(GeneratorConfig()), Discriminator(DiscriminatorConfig())
    assert (parameters(g), parameters(d)) == (26_219_627, 23_087_249)
    assert g.config.num_layers == 18


class TestLevels:
    @pytest.mark.parametrize("lod", [0.0, 0.3, 1.0, 1.99, 2.5, 3.0])
    def test_images_have_the_size_of_the_lod(self, lod: float) -> None:
        g, d = make_g(), make_d()
        side = 32 >> int(lod)
        images = g(z_of(g), lod=lod)
        assert images.shape == (2, 3, side, side)
        assert d(images, lod=lod).shape == (2, 1)

    @pytest.mark.parametrize("lod", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
    def test_only_the_blocks_a_lod_needs_are_computed(self, lod: float) -> None:
        g, d = make_g(), make_d()
        called: list[str] = []
        for network, prefixes in ((g.synthesis, ("layers.", "to_rgb.")), (d, ("blocks.", "from_rgb."))):
            for name, module in network.named_modules():
                if name.startswith(prefixes) and name.count(".") == 1:
                    module.register_forward_hook(lambda *_, name=name: called.append(name))
        d(g(z_of(g), lod=lod), lod=lod)
        level = 3 - int(lod)
        image_levels = {level, level - 1} if lod % 1 else {level}
        expected = [f"layers.{i}" for i in range(2 * level + 2)] + [f"blocks.{k}" for k in range(level)]
        expected += [f"{name}.{k}" for name in ("to_rgb", "from_rgb") for k in image_levels]
        assert sorted(called) == sorted(expected)

    @pytest.mark.parametrize("lod", [1.0, 2.0])
    def test_fade_is_continuous(self, lod: float) -> None:
        """Just below a whole lod the new level weighs nothing: the image is the lower one, enlarged."""
        g, d = make_g(), make_d()
        z = z_of(g)
        at, above, below = (g(z, noise="stored", lod=lod + e) for e in (0.0, 1e-6, -1e-6))
        torch.testing.assert_close(above, at, atol=1e-4, rtol=0)
        torch.testing.assert_close(below, upscale2d(at), atol=1e-4, rtol=0)
        scores = d(at, lod=lod)
        torch.testing.assert_close(d(at, lod=lod + 1e-6), scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(d(upscale2d(at), lod=lod - 1e-6), scores, atol=1e-4, rtol=0)

    def test_fade_is_a_straight_blend(self) -> None:
        g = make_g()
        z = z_of(g)
        high, low = g(z, noise="stored", lod=1.0), upscale2d(g(z, noise="stored", lod=2.0))
        torch.testing.assert_close(g(z, noise="stored", lod=1.25), 0.75 * high + 0.25 * low)

    def test_discriminator_ignores_detail_that_is_faded_out(self) -> None:
        d = make_d()
        images = torch.randn(2, 3, 32, 32)
        coarse = upscale2d(downscale2d(images))
        torch.testing.assert_close(d(images, lod=1 - 1e-7), d(coarse, lod=1 - 1e-7), atol=1e-4, rtol=0)

    def test_a_network_starts_from_its_own_lod(self) -> None:
        g, d = make_g(), make_d()
        g.lod = d.lod = 2.0
        assert d(g(z_of(g))).shape == (2, 1)
        assert g(z_of(g)).shape[2] == 8
        assert g(z_of(g), lod=0.0).shape[2] == 32

    @pytest.mark.parametrize("lod", [-0.1, 3.01, 100.0])
    def test_lods_outside_are_refused(self, lod: float) -> None:
        g, d = make_g(), make_d()
        with pytest.raises(ValueError, match=r"must lie between 0 .* and 3"):
            g(z_of(g), lod=lod)
        with pytest.raises(ValueError, match=r"must lie between 0 .* and 3"):
            d(torch.zeros(1, 3, 32, 32), lod=lod)


class TestShapes:
    @pytest.mark.parametrize(
        ("height", "width", "base"), [(384, 512, (3, 4)), (768, 1280, (3, 5)), (48, 32, (6, 4))]
    )
    def test_native_aspects(self, height: int, width: int, base: tuple[int, int]) -> None:
        size = {"resolution": (height, width), "fmap_base": 16, "fmap_max": 2}
        g, d = make_g(**size), make_d(**size)
        assert g.config.base == base
        with torch.no_grad():
            for lod in (0.0, 1.5):
                images = g(z_of(g, 1), lod=lod)
                assert images.shape == (1, 3, height >> int(lod), width >> int(lod))
                assert d(images, lod=lod).shape == (1, 1)

    @pytest.mark.parametrize("channels", [1, 4, 7])
    def test_channels(self, channels: int) -> None:
        g, d = make_g(channels=channels), make_d(channels=channels)
        images = g(z_of(g), lod=0.5)
        assert images.shape == (2, channels, 32, 32)
        assert d(images, lod=0.5).shape == (2, 1)

    @pytest.mark.parametrize("n", [1, 5])
    def test_any_batch(self, n: int) -> None:
        g = make_g()
        assert g(torch.ones(n, 8)).shape == (n, 3, 32, 32)

    def test_wrong_inputs_are_named(self) -> None:
        g, d = make_g(), make_d()
        with pytest.raises(ValueError, match=r"z \[2, 9\]: this network takes \[N, 8\]"):
            g(torch.zeros(2, 9))
        with pytest.raises(ValueError, match=r"ws \[2, 7, 8\]: this network takes \[N, 8, 8\]"):
            g.synthesis(torch.zeros(2, 7, 8))
        with pytest.raises(
            ValueError, match=r"images \[1, 3, 32, 32\]: at lod 1 this network takes \[N, 3, 16, 16\]"
        ):
            d(torch.zeros(1, 3, 32, 32), lod=1.0)
        with pytest.raises(ValueError, match=r"images \[1, 1, 32, 32\]"):
            d(torch.zeros(1, 1, 32, 32))

    @pytest.mark.parametrize("dtype", [torch.bfloat16])
    def test_bfloat16_convolutions_leave_images_and_scores_in_float32(self, dtype: torch.dtype) -> None:
        g, d = make_g(), make_d()
        exact = g(z_of(g), noise="stored")
        g.synthesis.compute_dtype = d.compute_dtype = dtype
        images = g(z_of(g), noise="stored")
        assert images.dtype == d(images).dtype == torch.float32
        assert 0 < (images - exact).abs().max() < 0.3 * exact.abs().max()


class TestNoise:
    def test_random_noise_follows_the_generator(self) -> None:
        g = make_g()
        z = z_of(g)

        def draw(seed: int) -> torch.Tensor:
            return g(z, generator=torch.Generator().manual_seed(seed))

        assert torch.equal(draw(1), draw(1))
        assert not torch.equal(draw(1), draw(2))
        assert not torch.equal(g(z), g(z))

    def test_random_noise_differs_between_samples_and_stored_does_not(self) -> None:
        g = make_g()
        z = z_of(g, 1).expand(2, -1)
        a, b = g(z, noise="random")
        assert not torch.equal(a, b)
        a, b = g(z, noise="stored")
        torch.testing.assert_close(a, b)

    def test_stored_noise_is_part_of_the_weights(self) -> None:
        g = make_g()
        assert [tuple(g.synthesis.get_buffer(f"noise{i}").shape[2:]) for i in (0, 1, 2, 7)] == [
            (4, 4), (4, 4), (8, 8), (32, 32)
        ]  # fmt: skip
        copy = Generator(g.config)
        copy.load_state_dict(g.state_dict())
        assert torch.equal(copy(z_of(g), noise="stored"), g(z_of(g), noise="stored"))

    @pytest.mark.parametrize("lod", [0.0, 1.5])
    def test_given_noise(self, lod: float) -> None:
        g = make_g()
        sizes = g.synthesis.noise_sizes(lod)
        assert len(sizes) == 8 - 2 * int(lod)
        stored = [g.synthesis.get_buffer(f"noise{i}") for i in range(len(sizes))]
        expected = g(z_of(g), noise="stored", lod=lod)
        assert torch.equal(g(z_of(g), noise=stored, lod=lod), expected)
        each = [t.expand(2, -1, -1, -1) for t in stored]
        torch.testing.assert_close(g(z_of(g), noise=each, lod=lod), expected)
        zeros = [torch.zeros_like(t) for t in stored]
        torch.testing.assert_close(g(z_of(g), noise=zeros, lod=lod), g(z_of(g), noise="none", lod=lod))

    def test_wrong_noise_is_named(self) -> None:
        g = make_g()
        with pytest.raises(ValueError, match="noise 'loud': must be"):
            g(z_of(g), noise="loud")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="3 noise tensors: this lod needs 8"):
            g(z_of(g), noise=[torch.zeros(1, 1, 4, 4)] * 3)
        with pytest.raises(ValueError, match=r"noise 2 .*must be \[2 or 1, 1, 8, 8\]"):
            g(z_of(g), noise=[torch.zeros(1, 1, 4, 4)] * 8)

    def test_noise_starts_without_effect(self) -> None:
        torch.manual_seed(0)
        g = Generator(GeneratorConfig(**TINY_G))
        assert torch.equal(g(z_of(g), noise="random"), g(z_of(g), noise="none"))


class TestTruncation:
    def test_default_is_the_configuration(self) -> None:
        g = make_g(truncation_psi=0.6, truncation_cutoff=3)
        ws = g.mapping(z_of(g))
        assert torch.equal(g.truncate(ws), g.truncate(ws, 0.6, 3))
        z = z_of(g)
        assert torch.equal(g(z, noise="none"), g.synthesis(g.truncate(ws, 0.6, 3), noise="none"))

    @pytest.mark.parametrize(("psi", "cutoff"), [(None, 8), (1.0, 8), (0.5, None), (0.5, 0)])
    def test_no_truncation(self, psi: float | None, cutoff: int | None) -> None:
        g = make_g()
        ws = g.mapping(z_of(g))
        assert torch.equal(g.truncate(ws, psi, cutoff), ws)

    @pytest.mark.parametrize("cutoff", [1, 4, 8, 50])
    def test_formula(self, cutoff: int) -> None:
        g = make_g()
        ws = torch.randn(2, 8, 8)
        found = g.truncate(ws, 0.3, cutoff)
        expected = g.w_avg + 0.3 * (ws - g.w_avg)
        torch.testing.assert_close(found[:, :cutoff], expected[:, :cutoff])
        assert torch.equal(found[:, cutoff:], ws[:, cutoff:])

    def test_psi_zero_gives_the_mean_image(self) -> None:
        g = make_g()
        a, b = g(z_of(g), psi=0.0, cutoff=8, noise="none")
        torch.testing.assert_close(a, b)

    def test_traditional_generators_are_not_truncated(self) -> None:
        g = Generator(preset("table1-b", 32).generator)
        ws = torch.randn(1, g.config.num_layers, g.config.w_dim)
        assert torch.equal(g.truncate(ws, 0.5, 8), ws)
        assert not g.truncatable

    def test_w_avg_follows_the_mean_of_the_batch(self) -> None:
        """Tracked, not sampled, and from all samples: beta 0.995."""
        g = make_g()
        before = g.w_avg.clone()
        w = g.mapping(z_of(g, 16))[:, 0].detach()
        g.update_w_avg(w.mean(0))
        torch.testing.assert_close(g.w_avg, before * 0.995 + w.mean(0) * 0.005)
        assert not torch.equal(g.w_avg, before * 0.995 + w[0] * 0.005)
        assert not g.w_avg.requires_grad

    def test_w_avg_can_be_frozen(self) -> None:
        g = make_g(w_avg_beta=1.0)
        before = g.w_avg.clone()
        g.update_w_avg(torch.ones(8))
        assert torch.equal(g.w_avg, before)


class TestMapping:
    def test_every_layer_gets_the_same_w(self) -> None:
        g = make_g()
        ws = g.mapping(z_of(g))
        assert ws.shape == (2, 8, 8)
        assert bool((ws == ws[:, :1]).all())
        assert torch.equal(ws[:, 0], g.mapping.w(z_of(g)))

    def test_length_of_z_does_not_matter(self) -> None:
        g = make_g()
        torch.testing.assert_close(g.mapping(z_of(g) * 7), g.mapping(z_of(g)))
        g = make_g(normalize_z=False)
        assert (g.mapping(z_of(g) * 7) - g.mapping(z_of(g))).abs().max() > 0.1

    def test_layers_can_take_different_w(self) -> None:
        """Coarse layers from one latent, fine ones from another: both are seen in the image."""
        g = make_g()
        ws = g.mapping(z_of(g))
        mixed = torch.cat([ws[:1, :4], ws[1:, 4:]], dim=1)
        image = g.synthesis(mixed, noise="none")
        for i in range(2):
            assert not torch.equal(image[0], g.synthesis(ws, noise="none")[i])
        low = g.synthesis(mixed, lod=2.0, noise="none")  # layers 0-3 only
        torch.testing.assert_close(low[0], g.synthesis(ws, lod=2.0, noise="none")[0])


class TestLabels:
    @pytest.mark.parametrize("label_input", ["embed", "concat"])
    def test_one_hot_and_numbers_agree(self, label_input: str) -> None:
        g, d = make_g(labels=3, label_input=label_input), make_d(labels=3)
        numbers = torch.tensor([2, 0])
        rows = torch.nn.functional.one_hot(numbers, 3).float()
        z = z_of(g)
        images = g(z, numbers, noise="none")
        assert torch.equal(images, g(z, rows, noise="none"))
        assert torch.equal(d(images, numbers), d(images, rows))
        assert not torch.equal(images, g(z, torch.tensor([1, 1]), noise="none"))

    def test_score_is_the_output_of_the_label(self) -> None:
        d = make_d(labels=3)
        images = torch.randn(4, 3, 32, 32)
        d.head.dense1.bias.data = torch.tensor([10.0, 20.0, 30.0])
        scores = torch.cat([d(images, torch.full((4,), k)) for k in range(3)], dim=1)
        assert scores.shape == (4, 3)
        assert bool((scores.mean(0).diff() > 5).all())

    @pytest.mark.parametrize(
        ("labels", "words"),
        [
            (None, "class-conditional: pass labels"),
            (torch.tensor([0, 3]), "between 0 and 3: must be 0 to 2"),
            (torch.tensor([-1, 2]), "between -1 and 2"),
            (torch.zeros(2, 4), r"labels \[2, 4\]: must be \[2, 3\]"),
            (torch.zeros(1, 3), r"labels \[1, 3\]"),
        ],
    )
    def test_wrong_labels_are_named(self, labels: torch.Tensor | None, words: str) -> None:
        g, d = make_g(labels=3), make_d(labels=3)
        with pytest.raises(ValueError, match=words):
            g(z_of(g), labels)
        with pytest.raises(ValueError, match=words):
            d(torch.zeros(2, 3, 32, 32), labels)

    def test_unconditional_networks_take_empty_labels(self) -> None:
        g = make_g()
        assert torch.equal(g(z_of(g), torch.zeros(2, 0), noise="none"), g(z_of(g), noise="none"))
        with pytest.raises(ValueError, match="no classes"):
            g(z_of(g), torch.zeros(2, 3))


class TestFirstValues:
    """Equalised learning rate (ProGAN 4.1): what the layers are before training."""

    def test_stored_weights_are_standard_normal_and_the_scale_is_applied_when_used(self) -> None:
        torch.manual_seed(0)
        g = Generator(GeneratorConfig(resolution=16, fmap_max=64, z_dim=64, w_dim=64, mapping_width=64))
        weight = g.synthesis.layers[1].conv
        assert weight is not None
        assert weight.weight.std().item() == pytest.approx(1.0, rel=0.05)
        assert weight.scale == pytest.approx((2 / (9 * 64)) ** 0.5)
        first = g.mapping.layers[0]
        assert first.weight.std().item() == pytest.approx(100.0, rel=0.05)  # lrmul 0.01
        assert first.scale == pytest.approx((2 / 64) ** 0.5 * 0.01)
        assert g.synthesis.to_rgb[0].scale == pytest.approx((1 / 64) ** 0.5)  # gain 1
        affine = g.synthesis.layers[0].affine
        assert affine is not None
        assert affine.scale == pytest.approx((1 / 64) ** 0.5)

    def test_without_equalised_rates_the_function_has_the_same_spread(self) -> None:
        torch.manual_seed(0)
        a, b = (
            Generator(GeneratorConfig(**(TINY_G | {"fmap_max": 64, "equalized": e}))) for e in (True, False)
        )
        spread = [
            [layer.conv.scaled(torch.float32).std().item() for layer in list(g.synthesis.layers)[1:]]
            for g in (a, b)
        ]
        torch.testing.assert_close(torch.tensor(spread[0]), torch.tensor(spread[1]), rtol=0.2, atol=0)

    def test_constant_is_ones_and_biases_are_zero(self) -> None:
        g = Generator(GeneratorConfig(**TINY_G))
        state = dict(g.named_parameters())
        assert bool((state["synthesis.input.constant"] == 1).all())
        assert all(not p.any() for name, p in state.items() if name.endswith(("bias", "noise_strength")))


NETWORK_PRESETS = [name for name in PRESETS if name != "auto"]


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("name", NETWORK_PRESETS)
def test_every_preset_makes_networks_that_play_together(name: str, labels: int) -> None:
    narrow = {"fmap_base": 128, "fmap_max": 16}
    small = {} if name == "tiny" else {"z_dim": 16, "mapping_width": 16}
    with_mapping = preset(name).generator.mapping_layers > 0
    if with_mapping and name != "tiny":
        small["w_dim"] = 16
    config: Config = preset(
        name, 32, labels=labels, changes={"generator": narrow | small, "discriminator": narrow}
    )
    g, d = Generator(config), Discriminator(config)
    numbers = torch.tensor([0, labels - 1]) if labels else None
    with torch.no_grad():
        for lod in (0.0, 1.5):
            images = g(z_of(g), numbers, lod=lod)
            assert images.shape == (2, 3, 32 >> int(lod), 32 >> int(lod))
            assert torch.isfinite(images).all()
            assert d(images, numbers, lod=lod).shape == (2, 1)
    assert g.truncatable == ("table1-a" not in name and "table1-b" not in name and "traditional" not in name)


def test_presets_of_table_1_differ_as_the_paper_says() -> None:
    a, b, c, d, e, f = (preset(f"table1-{letter}", 32) for letter in "abcdef")
    assert (a.loss.kind, b.loss.kind) == ("wgan-gp", "logistic")
    assert (a.generator.blur, b.generator.blur) == (None, (1.0, 2.0, 1.0))
    assert (b.generator.styles, c.generator.styles) == (False, True)
    assert (b.generator.mapping_layers, c.generator.mapping_layers) == (0, 8)
    assert (c.generator.constant_input, d.generator.constant_input) == (False, True)
    assert (d.generator.noise, e.generator.noise) == (False, True)
    assert (e.loss.mixing, f.loss.mixing) == (0.0, 0.9)
    assert e.generator == f.generator


def test_styles_and_low_levels_are_exact_where_no_gradient_is_wanted() -> None:
    """On a CPU, in the reference; float32 in, float32 out. With gradients and in the fast forms they round as ever."""
    x = torch.zeros(1)
    assert not exact(x)
    with torch.no_grad():
        assert exact(x)
        assert not exact(x.double())
        assert not exact(x.bfloat16())
        with using_ops("fast"):
            assert not exact(x)
    g = make_g().eval()
    z = torch.randn(4, g.config.z_dim)
    with torch.no_grad():
        ws, exactly = g.truncate(g.mapping(z), 0.7), g.double().mapping(z.double())
        expected = g.truncate(exactly, 0.7)
    assert ws.dtype == torch.float32
    assert (ws - expected).abs().max() <= 3e-7 * expected.abs().max()
    v, w = torch.randn(2, 256, 4, 4), torch.randn(8, 256, 3, 3)
    with torch.no_grad():
        found, wide = exact_conv2d(v, w), torch.nn.functional.conv2d(v.double(), w.double(), padding=1)
    assert torch.equal(found, wide.float())
