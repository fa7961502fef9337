"""State dicts of huangzh13/StyleGAN.pytorch. Sizes, depth and classes are read off the shapes.

Its layers, gains and layouts are the official ones. The configuration records what differs: `norm_eps` 1e-5 in
the generator, `from_rgb_activation` off in the discriminator. A class-conditional discriminator adds a learned
picture per class to its input, which this project's cannot represent, and is refused.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from stylegan.config import DiscriminatorConfig, GeneratorConfig
from stylegan.errors import UserError
from stylegan.foreign.keymap import State, Take, binomial, fill
from stylegan.networks import Discriminator, Generator

NAME = "huangzh13/StyleGAN.pytorch"


def is_generator(state: State) -> bool:
    """Whether these keys are its generator's."""
    return "g_synthesis.init_block.const" in state


def is_discriminator(state: State) -> bool:
    """Whether these keys are its discriminator's."""
    return "final_block.dense1.weight" in state


def generator_config(state: State, where: str) -> GeneratorConfig:
    """Its generator, from the shapes. Truncation as its own layer does it (psi 0.7, layers 0 to 7), if it has one."""
    channels = [_side(state, "g_synthesis.init_block.const", 1, where)]
    blocks = _count(state, r"g_synthesis\.blocks\.(\d+)\.conv0_up\.weight", where)
    channels += [_side(state, f"g_synthesis.blocks.{b}.conv0_up.weight", 0, where) for b in range(blocks)]
    layers = _count(state, r"g_mapping\.map\.dense(\d+)\.weight", where)
    classes = _side(state, "class_embedding.weight", 0, where) if "class_embedding.weight" in state else 0
    truncates = "truncation.avg_latent" in state
    config: GeneratorConfig = _valid(
        where,
        GeneratorConfig,
        **_shape(channels, where),
        channels=_side(state, f"g_synthesis.to_rgb.{blocks}.weight", 0, where),
        labels=classes,
        blur=(1.0, 2.0, 1.0) if "g_synthesis.blocks.0.conv0_up.intermediate.kernel" in state else None,
        z_dim=_side(state, "g_mapping.map.dense0.weight", 1, where) // (2 if classes else 1),
        w_dim=_side(state, f"g_mapping.map.dense{layers - 1}.weight", 0, where),
        mapping_layers=layers,
        mapping_width=_side(state, "g_mapping.map.dense0.weight", 0, where),
        norm_eps=1e-5,
        truncation_psi=0.7 if truncates else None,
        truncation_cutoff=8 if truncates else None,
    )
    return config


def discriminator_config(state: State, where: str) -> DiscriminatorConfig:
    """Its discriminator, from the shapes. UserError for a class-conditional one."""
    if any(key.startswith("embeddings.") for key in state):
        raise UserError(
            f"{where}: a class-conditional discriminator of {NAME}: it adds a learned picture per class to its "
            f"input, which cannot be represented here; convert its generator alone (without --training)"
        )
    blocks = _count(state, r"blocks\.(\d+)\.conv0\.weight", where)
    channels = [_side(state, "final_block.conv.weight", 0, where)]
    channels += [_side(state, f"blocks.{blocks - 1 - k}.conv0.weight", 0, where) for k in range(blocks)]
    config: DiscriminatorConfig = _valid(
        where,
        DiscriminatorConfig,
        **_shape(channels, where),
        channels=_side(state, "from_rgb.0.weight", 1, where),
        from_rgb_activation=False,
    )
    return config


def generator(state: State, where: str) -> Generator:
    """The network of a generator state dict; UserError for keys, shapes or filters that do not fit."""
    config = generator_config(state, where)
    network = Generator(config)
    takes = {
        "synthesis.input.constant": Take("g_synthesis.init_block.const"),
        "synthesis.layers.0.bias": Take("g_synthesis.init_block.bias"),
    }
    constants: dict[str, torch.Tensor] = {}
    own = [f"synthesis.noise{i}" for i in range(config.num_layers)]
    if config.labels:
        takes["mapping.label_embedding"] = Take("class_embedding.weight")
    for k in range(config.mapping_layers):
        takes |= _pair(f"mapping.layers.{k}", f"g_mapping.map.dense{k}")
    for i in range(config.num_layers):
        ours, block = f"synthesis.layers.{i}", f"g_synthesis.blocks.{i // 2 - 1}" if i > 1 else "g_synthesis.init_block"
        conv = f"{block}.conv" if i == 1 else f"{block}.conv1" if i % 2 else f"{block}.conv0_up"
        if i:
            rotate = i % 2 == 0 and 4 << (i // 2) >= 128  # the fused form there, without the rotation
            takes[f"{ours}.conv.weight"] = Take(f"{conv}.weight", _rotated if rotate else None)
            takes[f"{ours}.bias"] = Take(f"{conv}.bias")
        if config.blur and i and i % 2 == 0:
            constants[f"{conv}.intermediate.kernel"] = binomial()[None, None]
        epilogue = f"{block}.epi{1 + i % 2}"
        takes[f"{ours}.noise_strength"] = Take(f"{epilogue}.top_epi.noise.weight")
        takes |= _pair(f"{ours}.affine", f"{epilogue}.style_mod.lin")
    for k in range(config.top + 1):
        takes |= _pair(f"synthesis.to_rgb.{k}", f"g_synthesis.to_rgb.{k}")
    if config.truncation_psi is None:
        own.append("w_avg")
    else:
        takes["w_avg"] = Take("truncation.avg_latent")
    fill(network, takes, state, constants, own, where)
    return network.eval()


def discriminator(state: State, where: str) -> Discriminator:
    """The network of a discriminator state dict; UserError for keys, shapes or filters that do not fit."""
    config = discriminator_config(state, where)
    network = Discriminator(config)
    takes: dict[str, Take] = {}
    constants: dict[str, torch.Tensor] = {}
    for i in range(config.top + 1):
        takes |= _pair(f"from_rgb.{config.top - i}", f"from_rgb.{i}")
    for i in range(config.top):
        ours, block = f"blocks.{config.top - 1 - i}", f"blocks.{i}"
        takes |= _pair(f"{ours}.conv", f"{block}.conv0")
        takes[f"{ours}.down.weight"] = Take(f"{block}.conv1_down.weight")
        takes[f"{ours}.down_bias"] = Take(f"{block}.conv1_down.bias")
        constants[f"{block}.blur.kernel"] = binomial()[None, None]
        constants[f"{block}.conv1_down.downscale.blur.kernel"] = torch.full((1, 1, 2, 2), 0.25)
    for name in ("conv", "dense0", "dense1"):
        takes |= _pair(f"head.{name}", f"final_block.{name}")
    fill(network, takes, state, constants, (), where)
    return network.eval()


def _pair(ours: str, theirs: str) -> dict[str, Take]:
    return {f"{ours}.{part}": Take(f"{theirs}.{part}") for part in ("weight", "bias")}


def _rotated(value: torch.Tensor) -> torch.Tensor:
    return value.flip(2, 3)


def _shape(channels: list[int], where: str) -> dict[str, object]:
    """Resolution and the fmap_* rule that gives these channels per level, 4x4 first; UserError if none does."""
    most, last, top = max(channels), channels[-1], len(channels) - 1
    for base in (last << (top + 1), most << (top + 1)):
        if [max(1, min(base >> (k + 1), most)) for k in range(top + 1)] == channels:
            return {"resolution": 4 << top, "fmap_base": base, "fmap_max": most}
    raise UserError(
        f"{where}: channels {channels} from 4x4 up follow no rule min(fmap_base / 2^stage, fmap_max), which is all "
        f"that can be represented"
    )


def _count(state: State, pattern: str, where: str) -> int:
    """How many numbers 0, 1, 2, ... match; UserError where one is left out or there is none."""
    numbers = sorted(int(match[1]) for key in state if (match := re.fullmatch(pattern, key)))
    if not numbers or numbers != list(range(len(numbers))) or len(numbers) > 64:
        raise UserError(
            f"{where}: its layers {pattern.split('(')[0]!r} are numbered {numbers[:10]}; expected 0, 1, 2, ..."
        )
    return len(numbers)


def _side(state: State, key: str, axis: int, where: str) -> int:
    if key not in state or state[key].ndim <= axis:
        raise UserError(f"{where}: its entry {key} is missing or has too few dimensions")
    return int(state[key].shape[axis])


def _valid(where: str, cls: Any, **fields: Any) -> Any:
    try:
        return cls(**fields)
    except ValueError as error:
        raise UserError(f"{where}: its shapes make no network ({str(error).splitlines()[0]})") from None
