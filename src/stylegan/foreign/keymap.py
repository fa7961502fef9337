"""Strict key maps: which entry of another program's state dict becomes which of ours, and how.

Every entry has to be taken or be a known constant, every one of ours has to be given; otherwise the error
names what is missing, left over or of the wrong shape. Nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from stylegan.errors import UserError

State = Mapping[str, torch.Tensor]
Convert = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Take:
    """One of our tensors: the other program's key, and what turns its value into ours (same layout if None)."""

    key: str
    convert: Convert | None = None


def scaled(factor: float) -> Convert:
    """Multiplies by a constant, in float64."""
    return lambda value: (value.double() * factor).float()


def fill(
    network: nn.Module,
    takes: Mapping[str, Take],
    state: State,
    constants: Mapping[str, torch.Tensor],
    own: Iterable[str],
    where: str,
) -> None:
    """Copies a state dict into one of our networks.

    takes: our name -> where it comes from. constants: foreign buffers and the values they must have (blur
    kernels). own: names of ours that the other program does not have and the network keeps as initialised.
    UserError, beginning with `where`, for anything missing, left over, misshapen or of another value.
    """
    ours = network.state_dict()
    own = set(own)
    assert set(takes) | own == set(ours), sorted(set(ours) ^ (set(takes) | own))
    wanted = {take.key for take in takes.values()}
    missing, extra = sorted(wanted - set(state)), sorted(set(state) - wanted - set(constants))
    if missing or extra:
        raise UserError(
            f"{where}: its entries do not fit: {len(missing)} missing ({_some(missing)}), "
            f"{len(extra)} left over ({_some(extra)}); it is of another size, program or version"
        )
    for key, value in constants.items():
        if key in state and (
            state[key].shape != value.shape or not torch.allclose(state[key].float(), value, atol=1e-6)
        ):
            raise UserError(f"{where}: {key} is another filter than {_rows(value)}, which cannot be represented")
    with torch.no_grad():
        for name, take in takes.items():
            given, tensor = state[take.key], ours[name]
            try:
                converted = given if take.convert is None else take.convert(given)
            except (RuntimeError, IndexError):  # another number of dimensions
                converted = given.new_empty(0)
            if converted.shape != tensor.shape:
                raise UserError(
                    f"{where}: {take.key} has shape {list(given.shape)}, which does not become the "
                    f"{list(tensor.shape)} of {name}"
                )
            tensor.copy_(converted)


def binomial() -> torch.Tensor:
    """[1, 2, 1]⊗[1, 2, 1]/16, [3, 3]."""
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    return taps[:, None] * taps[None, :]


def _rows(value: torch.Tensor) -> str:
    return "[1,2,1]x[1,2,1]/16" if value.shape[-1] == 3 else "the 2x2 mean"


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "none"
