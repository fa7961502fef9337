"""Inception-v3 as FID uses it: the network of 2015-12-05 (Szegedy et al., 1512.00567), from public weights.

The layout is the paper's table 1 and figures 5 to 7; names are those of the public weight file. Where the 2015
graph, on which all published FIDs rest, differs from later Inceptions: average pooling leaves padding out of its
mean, the last block pools by maximum, there are 1008 classes, and images are resized by TensorFlow 1's bilinear
rule and shifted by (x − 128)/128.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

Size = int | tuple[int, int]
CLASSES = 1008
FEATURES = 2048


class Conv(nn.Module):
    """Convolution without bias, batch norm (eps 0.001) with its running statistics, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _same(kernel: Size) -> Size:
    """The padding that keeps the size."""
    return kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)


class Mixed(nn.Module):
    """Parallel branches joined along channels. A branch is a chain of convolutions, given as (name, outputs,
    kernel, stride); stride 2 goes without padding. `pool` is what the branch without name does first, or alone.
    """

    def __init__(self, inputs: int, branches: Sequence[Sequence[tuple[str, int, Size, int]]], pool: str) -> None:
        super().__init__()
        self.chains: list[list[str]] = []
        self.pool, self.outputs = pool, 0
        for branch in branches:
            channels = inputs
            for name, outputs, kernel, stride in branch:
                self.add_module(name, Conv(channels, outputs, kernel, stride, _same(kernel) if stride == 1 else 0))
                channels = outputs
            self.chains.append([name for name, *_ in branch])
            self.outputs += channels
        self.outputs += inputs if pool == "reduce" else 0

    def chain(self, names: Sequence[str], x: torch.Tensor) -> torch.Tensor:
        """x through the named convolutions."""
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = []
        for names in self.chains:
            pooled = names[0] == "branch_pool"
            parts.append(self.chain(names, self.pooled(x) if pooled else x))
        if self.pool == "reduce":
            parts.append(F.max_pool2d(x, 3, stride=2))
        return torch.cat(parts, 1)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """3x3 pooling that keeps the size."""
        if self.pool == "max":
            return F.max_pool2d(x, 3, stride=1, padding=1)
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Forked(Mixed):
    """The last two blocks (figure 7): two branches end in a 1x3 and a 3x1 convolution side by side."""

    def __init__(self, inputs: int, pool: str) -> None:
        branches = [
            [("branch1x1", 320, 1, 1)],
            [("branch3x3_1", 384, 1, 1)],
            [("branch3x3dbl_1", 448, 1, 1), ("branch3x3dbl_2", 384, 3, 1)],
            [("branch_pool", 192, 1, 1)],
        ]  # fmt: skip
        super().__init__(inputs, branches, pool)
        for stem in ("branch3x3_2", "branch3x3dbl_3"):
            self.add_module(stem + "a", Conv(384, 384, (1, 3), padding=(0, 1)))
            self.add_module(stem + "b", Conv(384, 384, (3, 1), padding=(1, 0)))
        self.outputs = 320 + 768 + 768 + 192

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        single, double = self.chain(["branch3x3_1"], x), self.chain(["branch3x3dbl_1", "branch3x3dbl_2"], x)
        parts = [self.chain(["branch1x1"], x)]
        for stem, y in (("branch3x3_2", single), ("branch3x3dbl_3", double)):
            parts += [self.chain([stem + "a"], y), self.chain([stem + "b"], y)]
        return torch.cat([*parts, self.chain(["branch_pool"], self.pooled(x))], 1)


def _block_35(inputs: int, pool: int) -> Mixed:
    """Figure 5, at 35x35."""
    return Mixed(inputs, [
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 1)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 1)],
        [("branch_pool", pool, 1, 1)],
    ], "mean")  # fmt: skip


def _block_17(c: int) -> Mixed:
    """Figure 6 with n = 7, at 17x17."""
    row, column = (1, 7), (7, 1)
    return Mixed(768, [
        [("branch1x1", 192, 1, 1)],
        [("branch7x7_1", c, 1, 1), ("branch7x7_2", c, row, 1), ("branch7x7_3", 192, column, 1)],
        [("branch7x7dbl_1", c, 1, 1), ("branch7x7dbl_2", c, column, 1), ("branch7x7dbl_3", c, row, 1),
         ("branch7x7dbl_4", c, column, 1), ("branch7x7dbl_5", 192, row, 1)],
        [("branch_pool", 192, 1, 1)],
    ], "mean")  # fmt: skip


class Inception2015(nn.Module):
    """[N, 3, 299, 299] in [0, 255] -> (features [N, 2048], logits [N, 1008] without the last layer's bias)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_35(192, 32), _block_35(256, 64), _block_35(288, 64)
        self.Mixed_6a = Mixed(288, [
            [("branch3x3", 384, 3, 2)],
            [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 2)],
        ], "reduce")  # fmt: skip
        self.Mixed_6b, self.Mixed_6c = _block_17(128), _block_17(160)
        self.Mixed_6d, self.Mixed_6e = _block_17(160), _block_17(192)
        self.Mixed_7a = Mixed(768, [
            [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)],
            [("branch7x7x3_1", 192, 1, 1), ("branch7x7x3_2", 192, (1, 7), 1), ("branch7x7x3_3", 192, (7, 1), 1),
             ("branch7x7x3_4", 192, 3, 2)],
        ], "reduce")  # fmt: skip
        self.Mixed_7b, self.Mixed_7c = Forked(1280, "mean"), Forked(2048, "max")
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = (x - 128.0) / 128.0
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # N 64 147 147
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # N 192 71 71
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # N 288 35 35
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))  # N 768 17 17
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # N 2048 8 8
        features = x.mean(dim=(2, 3))
        return features, F.linear(features, self.fc.weight)
