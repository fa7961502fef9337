"""Checkpoints: everything a run needs to go on exactly, as safetensors and JSON, written atomically.

RUN/checkpoints/00001234567/ holds `tensors.safetensors` (networks, both Adam moments, statistics) and
`state.json` (counters, schedule position, sha256 of the tensors and of itself). A checkpoint is written into a
temporary folder, synced, and renamed; one that is incomplete or whose checksum does not match is skipped and
named. Nothing is removed before its successor is complete. `stylegan.training.writer` does it in the background.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.training.adam import Adam
from stylegan.training.step import Trainer

FORMAT = 1
RESERVE = 1 << 20  # bytes that must stay free beside a checkpoint


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
    micro_batch: int = 0  # most samples per pass after running out of memory; 0 = it never did
    micro_batch_on: str = ""  # the device that ran out


@dataclass
class State:
    """A consistent copy of everything a checkpoint holds, on the CPU."""

    tensors: dict[str, torch.Tensor]
    counters: dict[str, int]
    progress: Progress


@dataclass
class Loaded(State):
    """A checkpoint that has been read and verified."""

    path: Path


# --- trainer <-> tensors ----------------------------------------------------------------------------------


def capture(trainer: Trainer, progress: Progress) -> State:
    """Copies a trainer's state, so that training can go on while it is written."""
    tensors = {name: torch.empty(t.shape, dtype=t.dtype).copy_(t.detach()) for name, t in _tensors(trainer)}
    counters = {"adam_g": trainer.adam_g.steps, "adam_d": trainer.adam_d.steps, "d_steps": trainer.d_steps}
    return State(tensors, counters, replace(progress))


def _tensors(trainer: Trainer) -> Iterator[tuple[str, torch.Tensor]]:
    for part, network in _networks(trainer):
        yield from ((f"{part}.{name}", t) for name, t in network.state_dict().items())
    for part, network, adam in _optimizers(trainer):
        for name, parameter in network.named_parameters():
            yield from ((f"{part}.{name}.{key}", t) for key, t in adam.state.get(parameter, {}).items())
    yield "statistics", trainer.statistics
    yield "augment_p", trainer.augment_p


def restore(trainer: Trainer, state: State) -> None:
    """Puts a state back into a trainer of the same configuration."""
    tensors = state.tensors
    for part, network in _networks(trainer):
        own = {name.removeprefix(part + "."): t for name, t in tensors.items() if name.startswith(part + ".")}
        network.load_state_dict(own)
    for part, network, adam in _optimizers(trainer):
        adam.reset()
        adam.steps = state.counters[part]
        for name, parameter in network.named_parameters():
            values = {key: tensors.get(f"{part}.{name}.{key}") for key in ("step", "exp_avg", "exp_avg_sq")}
            found = {key: value for key, value in values.items() if value is not None}
            if found:
                adam.restore(parameter, found)
    saved = tensors["statistics"]
    trainer.statistics[: len(saved)] = saved.to(trainer.statistics.device)  # earlier versions had fewer
    trainer.augment_p.copy_(tensors["augment_p"])
    trainer.d_steps = state.counters["d_steps"]


def _networks(trainer: Trainer) -> Iterator[tuple[str, torch.nn.Module]]:
    yield from (("G", trainer.G), ("D", trainer.D), ("G_ema", trainer.G_ema))


def _optimizers(trainer: Trainer) -> Iterator[tuple[str, torch.nn.Module, Adam]]:
    yield from (("adam_g", trainer.G, trainer.adam_g), ("adam_d", trainer.D, trainer.adam_d))


# --- writing ----------------------------------------------------------------------------------------------


def write(folder: Path, state: State, keep: int, keep_every_kimg: float = 0.0) -> Path:
    """Writes a checkpoint under RUN/checkpoints and removes the oldest beyond `keep`; its path.

    The first one after every `keep_every_kimg` stays for good (0 = none). UserError where a value is not
    finite, where there is no room, or where the disk fails; what was there before is never touched then.
    """
    progress = state.progress
    bad = [name for name, t in state.tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if bad:
        raise UserError(
            f"{folder}: not saved, as {len(bad)} tensors are not finite at {progress.nimg / 1000:.1f} kimg "
            f"({', '.join(bad[:3])}); earlier checkpoints are sound"
        )
    final = _free_name(folder, progress.nimg)
    temporary = folder / f".{final.name}.tmp"
    size = sum(t.nbytes for t in state.tensors.values())
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        free = shutil.disk_usage(folder).free
        if free < size + RESERVE:
            shutil.rmtree(temporary, ignore_errors=True)
            raise UserError(
                f"{folder}: the disk has {free / 1e6:.1f} MB free, a checkpoint needs {(size + RESERVE) / 1e6:.1f} MB; "
                f"make room and run the same command again to go on from the last checkpoint"
            )
        tensors = temporary / "tensors.safetensors"
        save_file(state.tensors, tensors)
        _sync(tensors)
        body = {
            "format": FORMAT,
            "progress": asdict(progress),
            "counters": state.counters,
            "sha256": _digest(tensors),
            "bytes": tensors.stat().st_size,
        }
        (temporary / "state.json").write_text(json.dumps(body | {"check": _check(body)}, indent=1))
        _sync(temporary / "state.json")
        os.replace(temporary, final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"{final}: the checkpoint cannot be written ({reason}); earlier ones are unharmed: make room or repair "
            f"the disk, then run the same command again to go on from the last one"
        ) from None
    _remove_old(folder, keep, keep_every_kimg)
    return final


def clean(folder: Path) -> None:
    """Removes what a killed process left half-written."""
    for path in folder.glob(".*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _free_name(folder: Path, nimg: int) -> Path:
    """NNN, or NNN-01, ... where this moment was saved before: a complete checkpoint is never replaced in place."""
    names = (f"{nimg:011d}{suffix}" for suffix in ["", *(f"-{i:02d}" for i in range(1, 100))])
    return next((folder / name for name in names if not (folder / name).exists()), folder / f"{nimg:011d}-99")


def _remove_old(folder: Path, keep: int, keep_every_kimg: float) -> None:
    paths = _all(folder)
    kept, buckets = set(paths[-keep:]), {0}
    for path in paths:
        bucket = int(_nimg(path) // (keep_every_kimg * 1000)) if keep_every_kimg > 0 else 0
        if bucket not in buckets:
            kept.add(path)
        buckets.add(bucket)
    for path in set(paths) - kept:
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows does not open folders
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


# --- reading ----------------------------------------------------------------------------------------------


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir() and path.name[:11].isdigit())


def _nimg(path: Path) -> int:
    return int(path.name[:11])


def latest(folder: Path) -> tuple[Loaded | None, list[str]]:
    """The newest sound checkpoint under RUN/checkpoints, and a sentence about each damaged one passed over.

    UserError where there are checkpoints and all are damaged: starting again would overwrite the run.
    """
    complaints: list[str] = []
    damaged: list[str] = []
    for path in reversed(_all(folder)):
        try:
            return _read(path), complaints
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
            damaged.append(f"{path.name} is damaged ({reason})")
            complaints.append(f"checkpoint {path} is damaged ({reason}); using the one before")
    if complaints:
        raise UserError(
            f"{folder}: no checkpoint is sound: {'; '.join(damaged)}; put back a copy, or begin anew with another --out"
        )
    return None, complaints


def _read(path: Path) -> Loaded:
    state: dict[str, Any] = json.loads((path / "state.json").read_text())
    check = state.pop("check")
    if check != _check(state):
        raise ValueError("state.json does not match its checksum")
    if state["format"] != FORMAT:
        raise ValueError(f"format {state['format']}, this version reads {FORMAT}")
    tensors = path / "tensors.safetensors"
    if tensors.stat().st_size != state["bytes"]:
        raise ValueError(f"tensors.safetensors has {tensors.stat().st_size} bytes instead of {state['bytes']}")
    if _digest(tensors) != state["sha256"]:
        raise ValueError("tensors.safetensors does not match its checksum")
    return Loaded(load_file(tensors), state["counters"], Progress(**state["progress"]), path)


def latest_everywhere(folder: Path, processes: Processes) -> tuple[Loaded | None, list[str]]:
    """What `latest` finds in the first process, in every process: the others need not see the folder."""
    found: tuple[Loaded | None, list[str]] = (None, [])
    problem = ""
    if processes.first:
        try:
            clean(folder)
            found = latest(folder)
        except UserError as error:
            problem = str(error)
    problem = processes.share(problem)
    if problem:
        raise UserError(problem)
    loaded, complaints = found
    facts = loaded and (loaded.counters, loaded.progress, loaded.path, _shapes(loaded.tensors))
    facts = processes.share(facts)
    if facts is None or processes.world == 1:
        return found
    counters, progress, path, shapes = facts
    tensors = loaded.tensors if loaded else {n: torch.empty(s, dtype=d) for n, (s, d) in shapes.items()}
    for name in shapes:
        processes.spread_(tensors[name])
    return Loaded(tensors, counters, progress, path), complaints


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (t.shape, t.dtype) for name, t in tensors.items()}
