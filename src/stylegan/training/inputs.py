"""What a static half step takes from outside, in buffers that stay where they are (`stylegan.training.graphs`)."""

from __future__ import annotations

import math

import torch

ALIGNED = 16  # bytes: where every tensor begins

Tensors = dict[str, torch.Tensor]


class Inputs:
    """Buffers on one device, filled anew before each half step.

    What comes from the host, which is many small tensors, crosses over as one.
    """

    def __init__(self, values: Tensors, device: torch.device) -> None:
        self.tensors: Tensors = {name: v.clone() for name, v in values.items() if v.device.type == device.type}
        self._places: dict[str, slice] = {}
        end = 0
        for name, value in values.items():
            if name not in self.tensors:
                self._places[name] = slice(end, end + value.nbytes)
                end += math.ceil(value.nbytes / ALIGNED) * ALIGNED
        self._crossing = torch.zeros(end, dtype=torch.uint8, device=device)
        for name, place in self._places.items():
            self.tensors[name] = self._crossing[place].view(values[name].dtype).view(values[name].shape)

    def fill(self, values: Tensors) -> None:
        """The same tensors by name, with other values; the host does not wait."""
        for name, value in values.items():
            if name not in self._places and value is not self.tensors[name]:
                self.tensors[name].copy_(value, non_blocking=True)
        if self._places:
            staged = torch.empty(len(self._crossing), dtype=torch.uint8, pin_memory=self._crossing.is_cuda)
            for name, place in self._places.items():
                staged[place].view(values[name].dtype).copy_(values[name].flatten())
            self._crossing.copy_(staged, non_blocking=True)
