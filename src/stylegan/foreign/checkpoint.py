"""Opens PyTorch files of other programs as plain tensors: `torch.load(weights_only=True)`, checked before and after."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stylegan.errors import UserError
from stylegan.foreign import huangzh13, rosinality
from stylegan.foreign.keymap import State

MAX_FILE = 8 << 30
MAX_ENTRIES = 10_000
_PROGRAMS = (rosinality, huangzh13)
_GENERATORS = ("g_running", "generator")  # bundle keys, the averaged one first
_PLAIN = "state dict"  # a file that holds one network and nothing around it


@dataclass
class Checkpoint:
    """The state dicts of one file by role (`g_running`, `generator`, `discriminator`) and whose they are."""

    program: Any  # module rosinality or huangzh13
    states: dict[str, State]
    where: str

    def discriminator(self) -> State:
        """The discriminator's tensors; UserError in a file that has none."""
        if "discriminator" not in self.states:
            raise UserError(f"{self.where}: holds no discriminator")
        return self.states["discriminator"]

    def generator(self) -> State:
        """The tensors of the generator to draw with; UserError in a file that has none."""
        if self.averaged is None:
            raise UserError(f"{self.where}: holds only a discriminator; give the generator's file")
        return self.states[self.averaged]

    @property
    def averaged(self) -> str | None:
        """The role of the generator to draw with; None in a file that holds only a discriminator."""
        return next((role for role in _GENERATORS if role in self.states), None)


def read_checkpoint(path: Path) -> Checkpoint:
    """The state dicts of a PyTorch file, recognised by their keys. Nothing in the file is run.

    UserError: unreadable, more than tensors inside, no program's keys, or an optimizer's state.
    """
    value = _load(path)
    if not isinstance(value, Mapping) or not value:
        raise UserError(f"{path}: holds {type(value).__name__}, where a state dict (names and tensors) is expected")
    if set(value) == {"state", "param_groups"}:
        raise UserError(f"{path}: an optimizer's state, not a network; give the file of the generator")
    roles = {role: value[role] for role in (*_GENERATORS, "discriminator") if isinstance(value.get(role), Mapping)}
    states = roles or {_PLAIN: value}
    checked: dict[str, State] = {
        role: _tensors(state, f"{path}: {role}", path.stat().st_size) for role, state in states.items()
    }
    for program in _PROGRAMS:
        kinds = {role: _kind(program, state) for role, state in checked.items()}
        if any(kinds.values()):
            break
    else:
        shown = ", ".join(str(key)[:60] for key in list(next(iter(checked.values())))[:3])
        raise UserError(
            f"{path}: entries such as {shown} belong to no program known here; known are "
            f"{', '.join(program.NAME for program in _PROGRAMS)}"
        )
    if _PLAIN in checked:
        role = kinds[_PLAIN] or "generator"
        if program is rosinality and role == "generator":
            role = "g_running"  # that program writes the averaged one so, and no other
        return Checkpoint(program, {role: checked[_PLAIN]}, str(path))
    for role, kind in kinds.items():
        if kind != ("discriminator" if role == "discriminator" else "generator"):
            raise UserError(f"{path}: its {role!r} does not look like one of {program.NAME}")
    return Checkpoint(program, checked, str(path))


def _kind(program: Any, state: State) -> str | None:
    if program.is_generator(state):
        return "generator"
    return "discriminator" if program.is_discriminator(state) else None


def _load(path: Path) -> Any:
    try:
        size = path.stat().st_size
        with open(path, "rb"):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    if size > MAX_FILE:
        raise UserError(f"{path}: {size:,} bytes; checkpoints have at most {MAX_FILE:,}")
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                if sum(info.file_size for info in archive.infolist()) > size:
                    raise ValueError("its contents are compressed or overlap, which PyTorch's never are")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped or None)
    except Exception as error:  # torch.load raises nearly every kind for damaged or hostile files
        first = next((line for line in str(error).splitlines() if "Unsupported" in line or "GLOBAL" in line), "")
        reason = first.strip() or (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path}: not a PyTorch file of plain tensors ({reason[:200]}); nothing in it was run"
        ) from None


def _tensors(state: Mapping[Any, Any], where: str, size: int) -> dict[str, torch.Tensor]:
    """Only names and dense floating tensors, together no larger than twice the file (float16 becomes float32).

    `module.` before every name, which PyTorch's wrappers for several GPUs put there, is left out.
    """
    if len(state) > MAX_ENTRIES:
        raise UserError(f"{where}: {len(state):,} entries, at most {MAX_ENTRIES:,} make sense")
    total = 0
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise UserError(f"{where}: entry {str(key)[:60]!r} is {type(value).__name__}, where a tensor is expected")
        if value.layout != torch.strided or not value.is_floating_point() or value.device.type != "cpu":
            raise UserError(f"{where}: entry {key[:60]!r} is no ordinary tensor of floating-point numbers")
        total += value.numel() * value.element_size()
    if total > 2 * size:
        raise UserError(f"{where}: its tensors announce {total:,} bytes, the file has {size:,}")
    wrapped = all(key.startswith("module.") for key in state)
    return {key.removeprefix("module.") if wrapped else key: value for key, value in state.items()}
