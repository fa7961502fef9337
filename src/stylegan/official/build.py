"""Builds a network from the official function name, keyword arguments and variables.

The official program names a network by a Python function (`training.networks_stylegan.G_style`), its static
keyword arguments, and a list of (variable name, value). This module maps all three: arguments to a
configuration, variable names to this project's parameters. Nothing here executes anything.

Layouts: convolutions are [k, k, in, out] there and [out, in, k, k] here, dense layers [in, out] and [out, in].
The official fused up-convolution (from 128 pixels on, always in Progressive GAN) lacks the rotation by 180
degrees that would make it equal to nearest-up + convolution; rotating those kernels here leaves one
convention inside the project.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stylegan.config import DiscriminatorConfig, GeneratorConfig
from stylegan.errors import UserError
from stylegan.networks import Discriminator, Generator

# arguments that say how the official program computes, not what
_IRRELEVANT = {
    "dtype", "structure", "is_template_graph", "is_training", "is_validation", "randomize_noise",
    "force_clean_graph", "dlatent_broadcast", "truncation_psi_val", "truncation_cutoff_val",
    "style_mixing_prob", "components", "func_name", "name",
}  # fmt: skip

_SHARED = {
    "num_channels": "channels",
    "label_size": "labels",
    "fmap_base": "fmap_base",
    "fmap_decay": "fmap_decay",
    "fmap_max": "fmap_max",
    "use_wscale": "equalized",
}
_STYLE_G = _SHARED | {
    "nonlinearity": "nonlinearity",
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "mapping_layers": "mapping_layers",
    "mapping_fmaps": "mapping_width",
    "mapping_lrmul": "mapping_lrmul",
    "mapping_nonlinearity": "mapping_nonlinearity",
    "normalize_latents": "normalize_z",
    "use_styles": "styles",
    "const_input_layer": "constant_input",
    "use_noise": "noise",
    "use_pixel_norm": "pixel_norm",
    "use_instance_norm": "instance_norm",
    "dlatent_avg_beta": "w_avg_beta",
    "truncation_psi": "truncation_psi",
    "truncation_cutoff": "truncation_cutoff",
}
_STYLE_D = _SHARED | {
    "nonlinearity": "nonlinearity",
    "mbstd_group_size": "mbstd_group",
    "mbstd_num_features": "mbstd_features",
}
_PRO_G = _SHARED | {
    "latent_size": "z_dim",
    "normalize_latents": "normalize_z",
    "use_pixelnorm": "pixel_norm",
}
_PRO_D = _SHARED | {"mbstd_group_size": "mbstd_group"}
_SPECIAL = {"resolution", "fused_scale", "blur_filter", "use_leakyrelu", "pixelnorm_epsilon"}
# the official functions ignore arguments that are meant for others; those of no official function are refused
_KNOWN = _STYLE_G.keys() | _STYLE_D.keys() | _PRO_G.keys() | _PRO_D.keys() | _IRRELEVANT | _SPECIAL


@dataclass(frozen=True)
class _Slot:
    """Where one official variable goes."""

    tensor: torch.Tensor  # parameter or buffer of this project's network
    convert: Callable[[np.ndarray], np.ndarray]


def build(
    func_name: str,
    static_kwargs: Mapping[str, Any],
    variables: Mapping[str, np.ndarray],
) -> Generator | Discriminator:
    """The network an official (function name, keyword arguments, variables) triple stands for.

    func_name: `...networks_stylegan.G_style`, `...D_basic`, `...networks_progan.G_paper` or `...D_paper`; what
    stands before the last dot but one is ignored. static_kwargs: the official names; what is left out has its
    official default. variables: official local names (`G_synthesis/4x4/Const/const`, `lod`, ...) to arrays.

    Raises UserError for an unknown function or argument, a wrong shape, and for variables that are missing or
    left over, naming them.
    """
    make = _builder(func_name)
    plan(func_name, static_kwargs, variables)
    network, slots = make(dict(static_kwargs))
    _fill(network, slots, variables)
    return network.eval().requires_grad_(True)


def plan(
    func_name: str,
    static_kwargs: Mapping[str, Any],
    variables: Mapping[str, np.ndarray],
) -> Generator | Discriminator:
    """`build` without memory for weights (they are on the meta device): checks names and shapes, all the same."""
    with torch.device("meta"):
        network, slots = _builder(func_name)(dict(static_kwargs))
    _check(slots, variables)
    return network


def _builder(func_name: str) -> Callable[[dict[str, Any]], tuple[Generator | Discriminator, dict[str, _Slot]]]:
    kind = ".".join(func_name.split(".")[-2:])
    builders: dict[str, Callable[[dict[str, Any]], tuple[Generator | Discriminator, dict[str, _Slot]]]] = {
        "networks_stylegan.G_style": _style_generator,
        "networks_stylegan.D_basic": _style_discriminator,
        "networks_progan.G_paper": _pro_generator,
        "networks_progan.D_paper": _pro_discriminator,
    }
    aliases = {name.split(".")[1]: name for name in builders}
    kind = kind if kind in builders else aliases.get(kind.split(".")[-1], kind)
    if kind not in builders:
        raise UserError(
            f"official function {func_name!r}: known are {', '.join(builders)}; other networks are not supported"
        )
    return builders[kind]


def _check(slots: dict[str, _Slot], given: Mapping[str, Any]) -> None:
    """UserError unless every slot has a variable of its shape, and every variable but `lod` a slot."""
    lods = [name for name in given if name.split("/")[-1] == "lod"]
    missing = sorted(set(slots) - set(given))
    left_over = sorted(set(given) - set(slots) - set(lods))
    if missing or left_over:
        raise UserError(
            f"official variables do not fit the network: missing {_some(missing)}; left over {_some(left_over)}; "
            f"check the keyword arguments (resolution, channels, labels, fmap_*) the variables were made with"
        )
    for name, slot in slots.items():
        expected = tuple(slot.tensor.shape)
        try:
            shape = slot.convert(np.asarray(given[name])).shape
        except ValueError:  # another number of dimensions
            shape = None
        if shape != expected:
            raise UserError(
                f"official variable {name}: shape {list(np.shape(given[name]))} becomes "
                f"{'nothing usable' if shape is None else list(shape)}, the network has {list(expected)}"
            )


def _fill(network: Generator | Discriminator, slots: dict[str, _Slot], given: Mapping[str, Any]) -> None:
    for name, slot in slots.items():
        value = slot.convert(np.asarray(given[name], dtype=np.float32))
        with torch.no_grad():
            slot.tensor.copy_(torch.from_numpy(np.require(value, requirements=("C", "W"))))
    lods = [name for name in given if name.split("/")[-1] == "lod"]
    for name in sorted(lods, key=lambda name: name.count("/"), reverse=True):
        network.lod = float(np.asarray(given[name]).item())  # the top-level variable has the last word


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


# --- keyword arguments ------------------------------------------------------------------------------------


def _translate(kwargs: dict[str, Any], names: dict[str, str], defaults: dict[str, Any]) -> dict[str, Any]:
    """Official keyword arguments -> fields of a configuration; UserError names the unknown ones."""
    unknown = sorted(set(kwargs) - _KNOWN)
    if unknown:
        raise UserError(f"official arguments {', '.join(unknown)}: not known to any official network")
    merged = defaults | {key: value for key, value in kwargs.items() if key not in _IRRELEVANT}
    fields = {names[key]: value for key, value in merged.items() if key in names}
    if fields.get("z_dim", 0) is None:  # in Progressive GAN: the channels at 4x4
        fields.pop("z_dim")
    size = int(merged["resolution"])
    if size < 8 or size & (size - 1):
        raise UserError(f"official argument resolution {size}: must be a power of two, 8 or more")
    fields["resolution"] = (size, size)
    fields["base"] = (4, 4)
    return fields


def _blur(kwargs: dict[str, Any]) -> tuple[float, ...] | None:
    taps = kwargs.get("blur_filter", [1, 2, 1])
    if not taps or len(taps) == 1:
        return None
    return tuple(float(tap) for tap in taps)


def _fused(kwargs: dict[str, Any], default: bool | str) -> Callable[[int], bool]:
    """Whether the convolution that makes or leaves a side is fused."""
    fused = kwargs.get("fused_scale", default)
    return lambda side: side >= 128 if fused == "auto" else bool(fused)


def _style_generator(kwargs: dict[str, Any]) -> tuple[Generator, dict[str, _Slot]]:
    fields = _translate(kwargs, _STYLE_G, {"resolution": 1024})
    for key in ("truncation_psi", "truncation_cutoff"):
        if key in kwargs and kwargs[key] is None:
            fields[key] = None
    if fields.get("w_avg_beta") is None:
        fields.pop("w_avg_beta", None)
    config = GeneratorConfig(**fields, blur=_blur(kwargs))
    network = Generator(config)
    slots = {"dlatent_avg": _Slot(network.w_avg, _as_is)}
    slots |= _synthesis_slots(network, "G_synthesis/", _fused(kwargs, "auto"))
    if network.mapping.label_embedding is not None:
        slots["G_mapping/LabelConcat/weight"] = _Slot(network.mapping.label_embedding, _as_is)
    for i, layer in enumerate(network.mapping.layers):
        slots |= _with_bias(f"G_mapping/Dense{i}", layer, _dense)
    return network, slots


def _pro_generator(kwargs: dict[str, Any]) -> tuple[Generator, dict[str, _Slot]]:
    fields = _translate(kwargs, _PRO_G, {"resolution": 32, "num_channels": 1})
    fields["nonlinearity"] = "lrelu" if kwargs.get("use_leakyrelu", True) else "relu"
    probe = GeneratorConfig(**fields)
    z_dim = kwargs.get("latent_size") or probe.fmaps(0)
    if kwargs.get("pixelnorm_epsilon", 1e-8) != 1e-8:
        raise UserError(f"official argument pixelnorm_epsilon {kwargs['pixelnorm_epsilon']}: only 1e-8 is supported")
    fields |= PROGAN_GENERATOR | {
        "z_dim": z_dim,
        "w_dim": z_dim + probe.labels,
        "pixel_norm": fields.get("pixel_norm", True),
    }
    network = Generator(GeneratorConfig(**fields))
    fused = bool(kwargs.get("fused_scale", True))  # "auto" counts as true there
    slots = _synthesis_slots(network, "", lambda _: fused)
    if not fused:  # and the layers have other names then
        slots = {name.replace("/Conv0_up/", "/Conv0/"): slot for name, slot in slots.items()}
    return network, slots


# what makes the style-based generator a Progressive GAN one (configuration A)
PROGAN_GENERATOR: dict[str, Any] = {
    "mapping_layers": 0,
    "label_input": "concat",
    "constant_input": False,
    "styles": False,
    "noise": False,
    "pixel_norm": True,
    "instance_norm": False,
    "blur": None,
    "truncation_psi": None,
    "truncation_cutoff": None,
}


def _style_discriminator(kwargs: dict[str, Any]) -> tuple[Discriminator, dict[str, _Slot]]:
    fields = _translate(kwargs, _STYLE_D, {"resolution": 32, "num_channels": 1})
    network = Discriminator(DiscriminatorConfig(**fields, blur=_blur(kwargs)))
    return network, _discriminator_slots(network)


def _pro_discriminator(kwargs: dict[str, Any]) -> tuple[Discriminator, dict[str, _Slot]]:
    fields = _translate(kwargs, _PRO_D, {"resolution": 32, "num_channels": 1})
    fields["labels"] = 0  # officially taken and not used
    if not kwargs.get("fused_scale", True):
        raise UserError(
            f"official argument fused_scale {kwargs['fused_scale']!r} of D_paper: its blocks activate before they "
            f"downscale, which cannot be represented; its generator can be converted (without --training)"
        )
    network = Discriminator(DiscriminatorConfig(**fields, blur=None))
    return network, _discriminator_slots(network)


# --- variable names ---------------------------------------------------------------------------------------


def _as_is(value: np.ndarray) -> np.ndarray:
    return value


def _dense(value: np.ndarray) -> np.ndarray:
    return value.T


def _conv(value: np.ndarray) -> np.ndarray:
    return value.transpose(3, 2, 0, 1)


def _rotated_conv(value: np.ndarray) -> np.ndarray:
    return _conv(value)[:, :, ::-1, ::-1]


def _with_bias(name: str, layer: Any, convert: Callable[[np.ndarray], np.ndarray]) -> dict[str, _Slot]:
    return {f"{name}/weight": _Slot(layer.weight, convert), f"{name}/bias": _Slot(layer.bias, _as_is)}


def _synthesis_slots(network: Any, prefix: str, fused: Callable[[int], bool]) -> dict[str, _Slot]:
    synthesis, top = network.synthesis, network.config.top
    slots: dict[str, _Slot] = {}
    for i, layer in enumerate(synthesis.layers):
        side = 4 << (i // 2)
        first = "Const" if network.config.constant_input else "Dense"
        kind = (first, "Conv")[i] if i < 2 else ("Conv0_up", "Conv1")[i % 2]
        name = f"{prefix}{side}x{side}/{kind}"
        if i == 0 and network.config.constant_input:
            slots[f"{name}/const"] = _Slot(synthesis.input.constant, _as_is)
        elif i == 0:
            slots[f"{name}/weight"] = _Slot(synthesis.input.dense.weight, _dense)
        else:
            rotate = layer.upscale and fused(side)
            slots[f"{name}/weight"] = _Slot(layer.conv.weight, _rotated_conv if rotate else _conv)
        slots[f"{name}/bias"] = _Slot(layer.bias, _as_is)
        if layer.noise_strength is not None:
            slots[f"{name}/Noise/weight"] = _Slot(layer.noise_strength, _as_is)
            slots[f"{prefix}noise{i}"] = _Slot(synthesis.get_buffer(f"noise{i}"), _as_is)
        if layer.affine is not None:
            slots |= _with_bias(f"{name}/StyleMod", layer.affine, _dense)
    for k, layer in enumerate(synthesis.to_rgb):
        slots |= _with_bias(f"{prefix}ToRGB_lod{top - k}", layer, _conv)
    return slots


def _discriminator_slots(network: Any) -> dict[str, _Slot]:
    top = network.config.top
    slots: dict[str, _Slot] = {}
    for k, layer in enumerate(network.from_rgb):
        slots |= _with_bias(f"FromRGB_lod{top - k}", layer, _conv)
    for k, block in enumerate(network.blocks, start=1):
        name = f"{4 << k}x{4 << k}"
        slots |= _with_bias(f"{name}/Conv0", block.conv, _conv)
        slots[f"{name}/Conv1_down/weight"] = _Slot(block.down.weight, _conv)
        slots[f"{name}/Conv1_down/bias"] = _Slot(block.down_bias, _as_is)
    slots |= _with_bias("4x4/Conv", network.head.conv, _conv)
    slots |= _with_bias("4x4/Dense0", network.head.dense0, _dense)
    slots |= _with_bias("4x4/Dense1", network.head.dense1, _dense)
    return slots
