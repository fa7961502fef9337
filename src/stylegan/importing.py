"""Models of other programs as this project's networks: what a file is, and everything it holds, converted.

The format is told by content, not by name. A converted model carries its origin in `training["lineage"]`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from stylegan import __version__
from stylegan.errors import UserError
from stylegan.foreign import huangzh13, rosinality
from stylegan.foreign.checkpoint import Checkpoint, read_checkpoint
from stylegan.formats import sniff
from stylegan.networks import Discriminator, Generator
from stylegan.official.pickles import read_pickle

WAvg = Literal["stored", "recompute"]
MEAN_SAMPLES = 10 * 1024  # of w, as rosinality's sampling program takes them
_HUANGZH13_NAME = re.compile(r"GAN_GEN(_SHADOW)?_(\d{1,3})_(\d{1,9})\.pth")


@dataclass
class Imported:
    """A converted model: the generator to draw with, and what training on needs if asked for.

    training: kimg where the file's name tells it, lod, lineage. notes: sentences the user should read.
    """

    generator: Generator
    discriminator: Discriminator | None = None
    generator_raw: Generator | None = None
    training: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(
    path: str | Path,
    training: bool = False,
    w_avg: WAvg = "stored",
    resolution: int | None = None,
) -> Imported:
    """Converts a file of another program.

    training: also the discriminator and the raw generator, so that training can go on; UserError where the
    file lacks them. w_avg: the running mean of w as stored, or recomputed from 10,240 latents (which happens
    anyway where the file has none). resolution: what the training had reached, where the file does not tell.
    """
    path = Path(path)
    kind = sniff(path)
    if kind == "snapshot":
        raise UserError(f"{path}: is a model file of this project (or another .safetensors); nothing to convert")
    shadow = _averaged_beside(path) if training and kind == "pytorch" else None
    path = shadow or path
    made = _from_pickle(path, training) if kind == "pickle" else _from_checkpoint(path, training)
    if shadow is not None:
        made.notes.insert(0, f"the averaged generator was taken from {shadow.name} beside it")
    if resolution is not None:
        _set_resolution(made, resolution, path)
    lineage = made.training["lineage"][-1]
    generators = [made.generator] + ([made.generator_raw] if made.generator_raw else [])
    if not made.generator.config.styles:
        lineage["w_avg"] = "without meaning here"
    elif w_avg == "recompute" or not bool(made.generator.w_avg.any()):
        for network in generators:
            network.w_avg.copy_(mean_w(network))
        lineage["w_avg"] = f"mean of w over {MEAN_SAMPLES:,} latents (seed 0)"
    else:
        lineage["w_avg"] = "as stored in the file"
    lineage["converted_by"] = f"stylegan-torch {__version__}"
    made.training["lod"] = made.generator.lod
    return made


@torch.no_grad()
def mean_w(network: Generator, samples: int = MEAN_SAMPLES) -> torch.Tensor:
    """Mean of w over latents drawn from seed 0, classes in turn; [D]."""
    draw = torch.Generator().manual_seed(0)
    total = torch.zeros(network.config.w_dim, dtype=torch.float64)
    for start in range(0, samples, 1024):
        n = min(1024, samples - start)
        z = torch.randn(n, network.config.z_dim, generator=draw)
        classes = network.config.labels
        labels = torch.arange(start, start + n) % classes if classes else None
        total += network.mapping.w(z, labels).double().sum(0)
    return (total / samples).float()


def _from_pickle(path: Path, training: bool) -> Imported:
    file = read_pickle(path)
    lineage = file.lineage()
    file.check(training)
    generator = file.generator.build()
    assert isinstance(generator, Generator)
    made = Imported(generator, training={"lineage": [lineage]})
    if generator.config.styles:
        made.training["mixing"] = file.generator.kwargs.get("style_mixing_prob", 0.9) or 0.0
    if training:
        raw, discriminator = file.networks["G"].build(), file.networks["D"].build()
        assert isinstance(raw, Generator)
        assert isinstance(discriminator, Discriminator)
        _agree(generator, raw, discriminator, path)
        made.generator_raw, made.discriminator = raw, discriminator
    kimg = kimg_in_name(path)
    if kimg is not None:
        made.training["kimg"] = kimg
        lineage["kimg_from"] = "the file's name"
    return made


def kimg_in_name(path: Path) -> int | None:
    """Images shown, in thousands, from the name that the official programs give their files; None for others."""
    match = re.fullmatch(r"network-snapshot-(\d{1,9})\.pkl", path.name)
    return int(match[1]) if match else None


def _agree(generator: Generator, raw: Generator, discriminator: Discriminator, path: Path) -> None:
    if raw.config != generator.config:
        raise UserError(f"{path}: G and Gs are of different make; convert without --training")
    for name in ("resolution", "channels"):
        ours, theirs = getattr(generator.config, name), getattr(discriminator.config, name)
        if ours != theirs:
            raise UserError(f"{path}: the generator's {name} is {_shown(ours)}, the discriminator's {_shown(theirs)}")


def _shown(value: int | tuple[int, ...]) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _from_checkpoint(path: Path, training: bool) -> Imported:
    checkpoint = read_checkpoint(path)
    program = checkpoint.program
    state = checkpoint.generator()
    lineage: dict[str, Any] = {
        "event": "converted",
        "format": f"checkpoint of {program.NAME}",
        "file": str(path),
        "sha256": _sha256(path),
    }
    generator = program.generator(state, str(path))
    made = Imported(generator, training={"lineage": [lineage]})
    lineage["generator_from"] = checkpoint.averaged
    seed_noise(generator)
    if program is rosinality:
        _rosinality(made, checkpoint, path, training)
    else:
        _huangzh13(made, checkpoint, path, training)
    for network in (made.generator_raw, made.discriminator):
        if network is not None:
            network.lod = generator.lod
    return made


def reached_lod(checkpoint: Checkpoint, role: str, path: Path, top: int) -> tuple[float, str]:
    """(lod, what told it) of a foreign generator: its training had reached level top − lod.

    The names the programs give their files tell it, and in rosinality's, otherwise, which layers still have
    their initial values. Such files are written when a level is complete, so the lod is whole.
    """
    if checkpoint.program is rosinality:
        if match := re.fullmatch(r"train_step-(\d{1,3})\.model", path.name):
            return float(top - min(max(int(match[1]) - 1, 0), top)), "the file's name"
        reached = rosinality.reached(checkpoint.states[role])
        return float(top - reached), "which layers still have their initial values"
    if match := _HUANGZH13_NAME.fullmatch(path.name):
        return float(top - min(int(match[2]), top)), "the file's name"
    return 0.0, "nothing, so that full resolution is assumed"


def _rosinality(made: Imported, checkpoint: Checkpoint, path: Path, training: bool) -> None:
    averaged = checkpoint.averaged
    assert averaged is not None
    made.generator.lod, told_by = reached_lod(checkpoint, averaged, path, rosinality.TOP)
    side = 1024 >> int(made.generator.lod)
    made.notes.append(f"trained up to {side}x{side} of 1024x1024, told by {told_by}; --resolution corrects it")
    if "g_running" not in checkpoint.states:
        made.notes.append("the file has no averaged generator (g_running); the raw one was taken")
    if training:
        if "discriminator" not in checkpoint.states or "generator" not in checkpoint.states:
            raise UserError(f"{path}: has no raw generator and discriminator to train on; give a train_step-K.model")
        made.generator_raw = rosinality.generator(checkpoint.states["generator"], f"{path}: generator")
        made.discriminator = rosinality.discriminator(checkpoint.states["discriminator"], f"{path}: discriminator")
        seed_noise(made.generator_raw)


def _averaged_beside(path: Path) -> Path | None:
    """huangzh13's averaged generator of the same moment, where path is its raw one and there is one."""
    match = _HUANGZH13_NAME.fullmatch(path.name)
    if not match or match[1]:
        return None
    shadow = path.with_name(f"GAN_GEN_SHADOW_{match[2]}_{match[3]}.pth")
    return shadow if shadow.exists() else None


def _huangzh13(made: Imported, checkpoint: Checkpoint, path: Path, training: bool) -> None:
    averaged = checkpoint.averaged
    assert averaged is not None
    made.generator.lod, told_by = reached_lod(checkpoint, averaged, path, made.generator.config.top)
    made.training["lineage"][-1]["lod_from"] = told_by
    match = _HUANGZH13_NAME.fullmatch(path.name)
    if match:
        made.training["lineage"][-1] |= {"depth": int(match[2]), "epoch": int(match[3])}
    if match and match[1] and made.generator.config.truncation_psi is not None:
        made.notes.append(
            "the stored mean of w of an averaged (SHADOW) file of this program is not the average of its w: for "
            "truncation as it is meant, convert with --w-avg recompute"
        )
    if training:
        if not match:
            raise UserError(
                f"{path}: training on needs the files GAN_GEN_D_E, GAN_GEN_SHADOW_D_E and GAN_DIS_D_E, so named"
            )
        number = f"{match[2]}_{match[3]}.pth"
        raw, dis = (path.with_name(f"GAN_{part}_{number}") for part in ("GEN", "DIS"))
        for needed in (raw, dis):
            if not needed.exists():
                raise UserError(f"{needed}: not found; training on needs it beside {path.name}")
        others = {part: read_checkpoint(file) for part, file in (("raw", raw), ("discriminator", dis))}
        for part, other in others.items():
            if other.program is not huangzh13:
                raise UserError(f"{other.where}: is of {other.program.NAME}, not the {part} beside {path.name}")
        made.generator_raw = huangzh13.generator(others["raw"].generator(), str(raw))
        made.discriminator = huangzh13.discriminator(others["discriminator"].discriminator(), str(dis))
        _agree(made.generator, made.generator_raw, made.discriminator, path)
        seed_noise(made.generator_raw)
        made.training["lineage"][-1]["with"] = {str(file): _sha256(file) for file in (raw, dis)}


@torch.no_grad()
def seed_noise(network: Generator) -> None:
    """Gives stored noise, which other programs' files lack, fixed values (seed 0)."""
    draw = torch.Generator().manual_seed(0)
    for name, buffer in network.synthesis.named_buffers():
        if re.fullmatch(r"noise\d+", name):
            buffer.copy_(torch.randn(buffer.shape, generator=draw))


def _set_resolution(made: Imported, resolution: int, path: Path) -> None:
    config = made.generator.config
    sides = [config.size(level)[0] for level in range(config.top + 1)]
    if resolution not in sides:
        raise UserError(f"--resolution {resolution}: {path} has {', '.join(map(str, sides))}")
    lod = float(config.top - sides.index(resolution))
    for network in (made.generator, made.generator_raw, made.discriminator):
        if network is not None:
            network.lod = lod


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
