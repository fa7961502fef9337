"""A low-resolution frame of what a slow network is going to draw, from its lower levels alone.

The `to_rgb` layers of lower levels are what growing left behind: no longer trained since, or never. So the studio
learns a readout of its own, by ridge regression from the lower level's features to the reduced pictures, from the
pictures that are drawn anyway. (Measured on a 64x64 model in training, on seeds not learned from, after 24 pictures:
25 dB PSNR, where the network's own lower readouts gave 16 dB one octave down and 11 dB two octaves down.)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from stylegan.lod import level_of

if TYPE_CHECKING:
    from stylegan.networks import Generator

SMALLEST = 32  # a frame smaller than this tells nothing
FEW, ENOUGH = 6, 64  # pictures learned from before it is used, and at most
ROWS = 2048  # pixels taken from one picture
RIDGE = 1e-3  # relative to the mean square of the features


class Sketch:
    """The lower levels of a synthesis network with a learned readout, `octaves` below what is drawn."""

    def __init__(self, G: Generator, octaves: int = 2) -> None:
        self.generator, self.octaves = G, octaves
        self.level = level_of(float(G.lod), G.config.top) - octaves
        self.lod = float(G.config.top - self.level)
        self.possible = self.level >= 1 and min(G.config.size(self.level)) >= SMALLEST
        self.learned = 0  # pictures
        self._used = 0  # of them in the present readout
        self._gram: torch.Tensor | None = None
        self._moment: torch.Tensor | None = None
        self._network: nn.Module | None = None
        self._random = torch.Generator().manual_seed(0)

    @contextmanager
    def watching(self) -> Iterator[list[torch.Tensor]]:
        """Learns from the pictures [N, C, H, W] that the caller puts into the list, drawn inside the block."""
        drawn: list[torch.Tensor] = []
        if not self.possible or self.learned >= ENOUGH:
            yield drawn
            return
        features: list[torch.Tensor] = []
        layer = self.generator.synthesis.layers[2 * self.level + 1]
        hook = layer.register_forward_hook(lambda _module, _inputs, out: features.append(out))
        try:
            yield drawn
        finally:
            hook.remove()
        if features and drawn:
            self._learn(features[0].float(), drawn[0].float())

    def _learn(self, features: torch.Tensor, pictures: torch.Tensor) -> None:
        """features [N, F, h, w], pictures [N, C, H, W]: adds to the sums the readout is solved from."""
        reduced = nn.functional.avg_pool2d(pictures, 2**self.octaves)
        for x, y in zip(features.flatten(2), reduced.flatten(2), strict=True):
            pick = torch.randperm(x.shape[1], generator=self._random)[:ROWS].to(x.device)
            rows = torch.cat([x[:, pick].T, torch.ones(len(pick), 1, device=x.device)], dim=1).double()  # P F+1
            gram, moment = rows.T @ rows, rows.T @ y[:, pick].T.double()
            self._gram = gram if self._gram is None else self._gram + gram
            self._moment = moment if self._moment is None else self._moment + moment
            self.learned += 1

    def network(self) -> nn.Module | None:
        """A synthesis network to be drawn with at `lod`; None before enough has been learned."""
        if self.learned < FEW:
            return None
        if self._network is None or self.learned >= self._used + 8:
            self._network, self._used = self._solve(), self.learned
        return self._network

    def _solve(self) -> nn.Module:
        assert self._gram is not None
        assert self._moment is not None
        penalty = RIDGE * self._gram.diagonal().mean() * torch.eye(len(self._gram), device=self._gram.device)
        weights = torch.linalg.solve(self._gram + penalty, self._moment).float()  # F+1 C
        readout = nn.Conv2d(weights.shape[0] - 1, weights.shape[1], 1).to(weights.device)
        assert readout.bias is not None
        with torch.no_grad():
            readout.weight.copy_(weights[:-1].T[:, :, None, None])
            readout.bias.copy_(weights[-1])
        own = self.generator.synthesis
        network = copy.copy(own)  # shares every layer but the list of readouts
        network._modules = dict(own._modules)
        network._modules["to_rgb"] = nn.ModuleList([*own.to_rgb[: self.level], readout])
        return network
