"""Presets: one table that can be compared by eye. Each is a difference to the defaults of the schema.

The defaults themselves are the paper's FFHQ training at 1024x1024 on 8 GPUs, configuration F of Table 1.
Resolution, channels and labels are not part of a preset: training sets them from the data (and widths
stay those of the paper: fmap_base 8192 and fmap_max 512, whatever the resolution).
"""

from __future__ import annotations

import difflib
from typing import Any

from stylegan.config.schema import Config
from stylegan.errors import UserError

Diff = dict[str, Any]  # nested: section -> field -> value

# 1-GPU batch sizes of the paper's program
_ONE_GPU: Diff = {
    "schedule": {
        "batch": 4,
        "batch_by_resolution": {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
    }
}

_MIRROR: Diff = {"data": {"mirror": True}}  # both data sets of the paper are faces

# Table 1: each configuration adds to the one above it. A is Progressive GAN as published.
_A: Diff = {
    "data": {"mirror": True},
    "generator": {
        "mapping_layers": 0, "label_input": "concat", "constant_input": False, "styles": False, "noise": False,
        "pixel_norm": True, "instance_norm": False, "blur": None, "truncation_psi": None,
        "truncation_cutoff": None,
    },
    "discriminator": {"blur": None, "labels": 0},
    "loss": {"kind": "wgan-gp", "r1_gamma": 0.0, "mixing": 0.0},
    "schedule": {
        "initial_resolution": 4, "total_kimg": 12000, "lr_by_resolution": {1024: 0.0015},
    },
}  # fmt: skip
_B: Diff = {
    "data": {"mirror": True},
    "generator": {
        "mapping_layers": 0, "constant_input": False, "styles": False, "noise": False, "pixel_norm": True,
        "instance_norm": False, "truncation_psi": None, "truncation_cutoff": None,
    },
    "loss": {"mixing": 0.0},
}  # fmt: skip
_C: Diff = _MIRROR | {"generator": {"constant_input": False, "noise": False}, "loss": {"mixing": 0.0}}
_D: Diff = _MIRROR | {"generator": {"noise": False}, "loss": {"mixing": 0.0}}
_E: Diff = _MIRROR | {"loss": {"mixing": 0.0}}
_F: Diff = _MIRROR

# CelebA-HQ was trained with WGAN-GP and learning rates of at most 0.002 (section 2.1 and appendix C)
_CELEBAHQ: Diff = {
    "data": {"mirror": True},
    "loss": {"kind": "wgan-gp", "r1_gamma": 0.0},
    "schedule": {"lr_by_resolution": {128: 0.0015, 256: 0.002, 512: 0.002, 1024: 0.002}},
}

PRESETS: dict[str, tuple[str, Diff]] = {
    "ffhq1024": ("FFHQ as published: configuration F, 8-GPU batches, 25,000 kimg", _MIRROR),
    "ffhq1024-1gpu": ("the same with the published 1-GPU batches", _MIRROR | _ONE_GPU),
    "celebahq1024": ("CelebA-HQ as published: WGAN-GP, learning rate at most 0.002", _CELEBAHQ),
    "table1-a": ("Table 1, A: baseline Progressive GAN, WGAN-GP", _A),
    "table1-b": ("Table 1, B: + blurred up/downsampling, tuned training", _B),
    "table1-c": ("Table 1, C: + mapping network and styles (AdaIN)", _C),
    "table1-d": ("Table 1, D: + learned constant input, no traditional input", _D),
    "table1-e": ("Table 1, E: + noise inputs", _E),
    "table1-f": ("Table 1, F: + mixing regularisation (StyleGAN)", _F),
    "table2-mixing0": ("Table 2: F with mixing in 0 % of the batches", _MIRROR | {"loss": {"mixing": 0.0}}),
    "table2-mixing50": ("Table 2: F with mixing in 50 %", _MIRROR | {"loss": {"mixing": 0.5}}),
    "table2-mixing90": ("Table 2: F with mixing in 90 % (= F)", _MIRROR | {"loss": {"mixing": 0.9}}),
    "table2-mixing100": ("Table 2: F with mixing in 100 %", _MIRROR | {"loss": {"mixing": 1.0}}),
    "table4-traditional0": ("Table 4: traditional generator (B) without mapping network", _B),
    "table4-traditional8": (
        "Table 4: traditional generator with 8 mapping layers",
        _B | {"generator": _B["generator"] | {"mapping_layers": 8}},
    ),
    "table4-style0": ("Table 4: style-based, no mapping layers", _MIRROR | {"generator": {"mapping_layers": 0}}),
    "table4-style1": ("Table 4: style-based, 1 mapping layer", _MIRROR | {"generator": {"mapping_layers": 1}}),
    "table4-style2": ("Table 4: style-based, 2 mapping layers", _MIRROR | {"generator": {"mapping_layers": 2}}),
    "table4-style8": ("Table 4: style-based, 8 mapping layers (= F)", _F),
    "digits": (
        "the demo: 32x32 handwritten digits in a few minutes on a CPU",
        {
            "generator": {"fmap_base": 256, "fmap_max": 48, "z_dim": 64, "w_dim": 64, "mapping_width": 64,
                          "mapping_layers": 4},
            "discriminator": {"fmap_base": 256, "fmap_max": 48},
            "schedule": {"total_kimg": 100, "stable_kimg": 14, "fade_kimg": 4, "batch": 32, "batch_by_resolution": {},
                         "tick_kimg": 2, "tick_kimg_by_resolution": {}, "lr": 0.002, "lr_by_resolution": {},
                         "d_lr_scale": 2.0},
            "loss": {"r1_gamma": 0.3, "mixing": 0.3},
            "training": {"ema_kimg": 1.0},
        },
    ),
    "tiny": (
        "a few-minute training on a CPU: 64 channels at most, short phases",
        {
            "generator": {"fmap_base": 512, "fmap_max": 64, "z_dim": 64, "w_dim": 64, "mapping_width": 64,
                          "mapping_layers": 4},
            "discriminator": {"fmap_base": 512, "fmap_max": 64},
            "schedule": {"total_kimg": 100, "stable_kimg": 12, "fade_kimg": 12, "batch": 32,
                         "batch_by_resolution": {4: 64, 8: 64}, "tick_kimg": 4, "tick_kimg_by_resolution": {},
                         "lr": 0.002, "lr_by_resolution": {}},
            "training": {"ema_kimg": 1.0},
        },
    ),
}  # fmt: skip


def names() -> list[str]:
    """All preset names; `auto` is made from the data and the device by `stylegan.config.auto`."""
    return ["auto", *PRESETS]


def merge(base: Diff, change: Diff) -> Diff:
    """Nested merge: sections are merged field by field, anything else is replaced."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        if key in Config.model_fields and isinstance(old, dict) and isinstance(value, dict):
            merged[key] = {**old, **value}
        else:
            merged[key] = value
    return merged


def check_name(name: str) -> None:
    """UserError for a name that no preset has, with the nearest ones."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
        raise UserError(
            f"preset {name!r}: unknown; {'did you mean ' + ' or '.join(near) + '? ' if near else ''}"
            f"`stylegan presets` lists them all"
        )


def preset(
    name: str,
    resolution: int | tuple[int, int] = 1024,
    channels: int = 3,
    labels: int = 0,
    changes: Diff | None = None,
) -> Config:
    """The configuration of a preset for images of a size, channel count and number of classes.

    resolution: side, or (height, width). changes: nested differences on top, as {"loss": {"r1_gamma": 5}}.
    UserError for an unknown name, with the nearest ones.
    """
    if name == "auto":
        raise UserError(
            "preset 'auto' is made from the data and the machine: use `stylegan train`, or "
            "stylegan.config.auto.choose and stylegan.config.presets.complete"
        )
    check_name(name)
    diff = merge(PRESETS[name][1], changes or {})
    return complete(diff, name, resolution, channels, labels)


def complete(
    diff: Diff,
    name: str,
    resolution: int | tuple[int, int],
    channels: int,
    labels: int,
) -> Config:
    """A nested difference with the data's facts filled in -> Config."""
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    shape: Diff = {"resolution": size, "channels": channels}
    generator = {**shape, "labels": labels, **diff.get("generator", {})}
    discriminator = {**shape, "labels": labels, **diff.get("discriminator", {})}
    if generator.get("mapping_layers") == 0 and "w_dim" not in diff.get("generator", {}):
        z_dim = generator.get("z_dim", 512)
        embedded = generator.get("label_input", "embed") == "embed"
        extra = generator["labels"] if generator["labels"] and not embedded else z_dim if generator["labels"] else 0
        generator["w_dim"] = z_dim + extra  # without layers, w is the normalised input
    return Config.model_validate({**diff, "preset": name, "generator": generator, "discriminator": discriminator})
