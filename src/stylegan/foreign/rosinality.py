"""Checkpoints of rosinality/style-based-gan-pytorch (always 1024x1024, 512 wide, 8 mapping layers).

Where that program differs from the official one, the configuration says so: `norm_eps` 1e-5,
`bias_before_blur`, `shared_noise`, and in the discriminator `widen_first` and a whole-batch deviation. Its
other differences are factors, taken up here: gain sqrt(2) in to_rgb, style and last dense layer; no learning
rate multiplier in the mapping network's weights (·100); equalised noise strengths (·sqrt(2/C)); the style's
+1 kept in its bias; fused up-convolutions as the mean instead of the sum of four shifts (÷4), transposed,
and rotated by 180 degrees with respect to nearest-up + convolution.
"""

from __future__ import annotations

import math

import torch

from stylegan.config import DiscriminatorConfig, GeneratorConfig
from stylegan.foreign.keymap import Convert, State, Take, binomial, fill, scaled
from stylegan.networks import Discriminator, Generator

NAME = "rosinality/style-based-gan-pytorch"
TOP = 8
WHOLE_BATCH = 65536  # as a minibatch-stddev group
_SQRT2 = math.sqrt(2.0)


def is_generator(state: State) -> bool:
    """Whether these keys are its generator's."""
    return "generator.progression.0.conv1.input" in state


def is_discriminator(state: State) -> bool:
    """Whether these keys are its discriminator's."""
    return "linear.linear.weight_orig" in state and "progression.8.conv1.0.conv.weight_orig" in state


def generator_config() -> GeneratorConfig:
    """Its generator. Sampling there truncates every layer with psi 0.7."""
    return GeneratorConfig(
        norm_eps=1e-5, bias_before_blur=True, shared_noise=True, truncation_psi=0.7, truncation_cutoff=2 * TOP + 2
    )


def discriminator_config(state: State) -> DiscriminatorConfig:
    """Its discriminator; the activation of from_rgb is an option there that shows in the keys."""
    return DiscriminatorConfig(
        mbstd_group=WHOLE_BATCH,
        widen_first=True,
        from_rgb_activation="from_rgb.0.0.conv.weight_orig" in state,
    )


def generator(state: State, where: str) -> Generator:
    """The network of a generator state dict; UserError for keys, shapes or filters that do not fit."""
    network = Generator(generator_config())
    takes = {"synthesis.input.constant": Take("generator.progression.0.conv1.input")}
    constants: dict[str, torch.Tensor] = {}
    for k in range(8):
        takes |= _pair(f"mapping.layers.{k}", f"style.{2 * k + 1}.linear.weight_orig", scaled(100.0))
        takes[f"mapping.layers.{k}.bias"] = Take(f"style.{2 * k + 1}.linear.bias", scaled(100.0))
    for i in range(TOP + 1):
        block, channels = f"generator.progression.{i}", network.config.fmaps(i + 1)
        first, second = f"synthesis.layers.{2 * i}", f"synthesis.layers.{2 * i + 1}"
        if i and f"{block}.conv1.0.weight" in state:
            takes |= _pair(first, f"{block}.conv1.0.weight", _fused, ".conv.weight")
            blur = f"{block}.conv1.1"
        elif i:
            takes |= _pair(first, f"{block}.conv1.1.conv.weight_orig", None, ".conv.weight")
            blur = f"{block}.conv1.2"
        if i:
            constants |= _blur(blur, channels)
        takes |= _pair(second, f"{block}.conv2.conv.weight_orig", None, ".conv.weight")
        for layer, number in ((first, 1), (second, 2)):
            strength = math.sqrt(2 / channels)
            takes[f"{layer}.noise_strength"] = Take(f"{block}.noise{number}.weight_orig", _flat(strength))
            style = f"{block}.adain{number}.style.linear"
            takes[f"{layer}.affine.weight"] = Take(f"{style}.weight_orig", scaled(_SQRT2))
            takes[f"{layer}.affine.bias"] = Take(f"{style}.bias", _without_one)
        takes |= _pair(f"synthesis.to_rgb.{i}", f"generator.to_rgb.{i}.conv.weight_orig", scaled(_SQRT2))
    own = [f"synthesis.noise{i}" for i in range(2 * TOP + 2)] + ["synthesis.layers.0.bias", "w_avg"]
    fill(network, takes, state, constants, own, where)
    return network.eval()


def discriminator(state: State, where: str) -> Discriminator:
    """The network of a discriminator state dict; UserError for keys, shapes or filters that do not fit."""
    config = discriminator_config(state)
    network = Discriminator(config)
    takes: dict[str, Take] = {}
    constants: dict[str, torch.Tensor] = {}
    for j in range(TOP + 1):
        from_rgb = f"from_rgb.{j}.0.conv" if config.from_rgb_activation else f"from_rgb.{j}.conv"
        takes |= _pair(f"from_rgb.{TOP - j}", f"{from_rgb}.weight_orig", None)
    for j in range(TOP):
        ours, theirs = f"blocks.{TOP - 1 - j}", f"progression.{j}"
        takes |= _pair(f"{ours}.conv", f"{theirs}.conv1.0.conv.weight_orig", None)
        fused = f"{theirs}.conv2.1.weight" in state
        down = f"{theirs}.conv2.1" if fused else f"{theirs}.conv2.1.conv"
        takes[f"{ours}.down.weight"] = Take(f"{down}.weight" if fused else f"{down}.weight_orig")
        takes[f"{ours}.down_bias"] = Take(f"{down}.bias")
        constants |= _blur(f"{theirs}.conv2.0", config.fmaps(TOP - j))
    takes |= _pair("head.conv", f"progression.{TOP}.conv1.0.conv.weight_orig", None)
    takes |= _pair("head.dense0", f"progression.{TOP}.conv2.0.conv.weight_orig", lambda value: value.flatten(1))
    takes |= _pair("head.dense1", "linear.linear.weight_orig", scaled(_SQRT2))
    fill(network, takes, state, constants, (), where)
    return network.eval()


def reached(state: State) -> int:
    """The step (level) the training had reached: blocks above it still have their initial zero biases."""
    for i in range(TOP, 0, -1):
        block = f"generator.progression.{i}"
        names = [f"{block}.conv2.conv.bias", f"{block}.noise1.weight_orig", f"{block}.noise2.weight_orig"]
        if any(bool(state[name].any()) for name in names if name in state):
            return i
    return 0


def _pair(ours: str, key: str, convert: Convert | None, suffix: str = ".weight") -> dict[str, Take]:
    """Weight and bias of a layer; the bias stands beside the weight and is taken as it is."""
    bias = key.rsplit(".", 1)[0] + ".bias"
    return {f"{ours}{suffix}": Take(key, convert), f"{ours}.bias": Take(bias)}


def _fused(value: torch.Tensor) -> torch.Tensor:
    return value.transpose(0, 1).flip(2, 3) / 4


def _flat(factor: float) -> Convert:
    return lambda value: (value.double().flatten() * factor).float()


def _without_one(value: torch.Tensor) -> torch.Tensor:
    value = value.clone()
    value[: len(value) // 2] -= 1
    return value


def _blur(key: str, channels: int) -> dict[str, torch.Tensor]:
    kernel = binomial().expand(channels, 1, 3, 3)
    return {f"{key}.weight": kernel, f"{key}.weight_flip": kernel}
