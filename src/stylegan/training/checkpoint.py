"""Checkpoints: everything a run needs to go on exactly, as safetensors and JSON, written atomically.

RUN/checkpoints/00001234567/ holds `tensors.safetensors` (networks, both Adam moments, statistics) and
`state.json` (counters, schedule position, sha256 of the tensors). A checkpoint is written into a temporary
folder, synced, and renamed; one that is incomplete or whose checksum does not match is skipped and named.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from stylegan.errors import UserError
from stylegan.training.adam import Adam
from stylegan.training.step import Trainer

FORMAT = 1


@dataclass
class Progress:
    """Where a run stands, beside the tensors."""

    nimg: int = 0  # real images shown
    lod: float = -1.0  # of the last iteration; −1 before the first
    tick: int = 0  # reports written
    tick_start: int = 0  # nimg at the last report
    seconds: float = 0.0  # training time over all sessions
    log_bytes: int = 0  # length of stats.jsonl
    finished: bool = False


def tensors_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """All tensors of a trainer by name."""
    tensors = {f"{part}.{name}": t for part, net in _networks(trainer) for name, t in net.state_dict().items()}
    for part, net, adam in _optimizers(trainer):
        for name, parameter in net.named_parameters():
            for key, value in adam.state.get(parameter, {}).items():
                tensors[f"{part}.{name}.{key}"] = value
    tensors["statistics"] = trainer.statistics
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def restore(trainer: Trainer, tensors: dict[str, torch.Tensor], counters: dict[str, int]) -> None:
    """Puts tensors back into a trainer of the same configuration."""
    for part, net in _networks(trainer):
        own = {name.removeprefix(part + "."): t for name, t in tensors.items() if name.startswith(part + ".")}
        net.load_state_dict(own)
    for part, net, adam in _optimizers(trainer):
        adam.reset()
        adam.steps = counters[part]
        for name, parameter in net.named_parameters():
            prefix = f"{part}.{name}."
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if prefix + key in tensors:
                    value = tensors[prefix + key]
                    adam.state[parameter][key] = value if key == "step" else value.to(parameter.device)
    trainer.statistics.copy_(tensors["statistics"])
    trainer.d_steps = counters["d_steps"]


def _networks(trainer: Trainer) -> Iterator[tuple[str, torch.nn.Module]]:
    yield from (("G", trainer.G), ("D", trainer.D), ("G_ema", trainer.G_ema))


def _optimizers(trainer: Trainer) -> Iterator[tuple[str, torch.nn.Module, Adam]]:
    yield from (("adam_g", trainer.G, trainer.adam_g), ("adam_d", trainer.D, trainer.adam_d))


def write(folder: Path, trainer: Trainer, progress: Progress, keep: int) -> Path:
    """Writes a checkpoint under RUN/checkpoints and removes the oldest beyond `keep`; its path."""
    data = save(tensors_of(trainer))
    state = {
        "format": FORMAT,
        "progress": asdict(progress),
        "counters": {
            "adam_g": trainer.adam_g.steps, "adam_d": trainer.adam_d.steps, "d_steps": trainer.d_steps,
        },
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }  # fmt: skip
    final = folder / f"{progress.nimg:011d}"
    temporary = folder / f".{final.name}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        free = shutil.disk_usage(folder).free
        if free < len(data) + 2**20:
            raise UserError(
                f"{folder}: {free / 1e6:.0f} MB free, a checkpoint needs {len(data) / 1e6:.0f} MB; make room and "
                f"run the same command again to go on from the last checkpoint"
            )
        _write_synced(temporary / "tensors.safetensors", data)
        _write_synced(temporary / "state.json", json.dumps(state, indent=1).encode())
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"{final}: the checkpoint cannot be written ({error.strerror or error}); earlier ones are unharmed"
        ) from None
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


@dataclass
class Loaded:
    """A checkpoint that has been read and verified."""

    path: Path
    progress: Progress
    counters: dict[str, int]
    tensors: dict[str, torch.Tensor]


def latest(folder: Path) -> tuple[Loaded | None, list[str]]:
    """The newest sound checkpoint under RUN/checkpoints, and a sentence about each damaged one passed over."""
    complaints: list[str] = []
    for path in reversed(_all(folder)):
        try:
            return _read(path), complaints
        except (OSError, ValueError, KeyError, TypeError) as error:
            complaints.append(f"checkpoint {path} is damaged ({error}); using the one before")
    return None, complaints


def _read(path: Path) -> Loaded:
    state: dict[str, Any] = json.loads((path / "state.json").read_text())
    if state["format"] != FORMAT:
        raise ValueError(f"format {state['format']}, this version reads {FORMAT}")
    data = (path / "tensors.safetensors").read_bytes()
    if len(data) != state["bytes"]:
        raise ValueError(f"tensors.safetensors has {len(data)} bytes instead of {state['bytes']}")
    if hashlib.sha256(data).hexdigest() != state["sha256"]:
        raise ValueError("tensors.safetensors does not match its checksum")
    return Loaded(path, Progress(**state["progress"]), state["counters"], load(data))
