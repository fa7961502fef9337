"""Discriminator (Progressive GAN, Table 2 and section 3; blurred resampling from StyleGAN's configuration B)."""

from __future__ import annotations

import torch
from torch import nn

from stylegan import lod as lods
from stylegan.config import Config, DiscriminatorConfig
from stylegan.networks.labels import as_one_hot
from stylegan.networks.layers import EqualizedConv2d, EqualizedLinear, EqualizedWeight, FromRGB
from stylegan.ops.fade import blend
from stylegan.ops.packed import conv_downscale_packed, pack, packs
from stylegan.ops.resample import conv_downscale2d, downscale2d
from stylegan.ops.style import activate, at_least_float32, bias_activate, minibatch_stddev
from stylegan.ops.switch import kernels


class DownBlock(nn.Module):
    """conv, leaky ReLU, blur, down-conv, leaky ReLU: level k -> level k − 1."""

    def __init__(self, config: DiscriminatorConfig, level: int) -> None:
        super().__init__()
        self.config = config
        inputs, outputs = config.fmaps(level + 1), config.fmaps(level)
        middle = outputs if config.widen_first else inputs
        self.conv = EqualizedConv2d(inputs, middle, 3, equalized=config.equalized)
        self.down = EqualizedWeight((outputs, middle, 3, 3), equalized=config.equalized)
        self.down_bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, Cin, H, W], or packed [N, 4·Cin, H/2, W/2], -> [N, Cout, H/2, W/2]."""
        packed = x.shape[1] == 4 * self.conv.weight.shape[1]
        x = self.conv(x, self.config.nonlinearity, blur=None if packed else self.config.blur)
        weight = self.down.scaled(x.dtype)
        x = conv_downscale_packed(x, weight, self.config.blur) if packed else conv_downscale2d(x, weight)
        return bias_activate(x, self.down_bias, self.config.nonlinearity)


class Head(nn.Module):
    """The last block, at level 0: minibatch stddev, 3x3 conv, dense, dense -> one score per class."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        channels, hidden = config.fmaps(1), config.fmaps(0)
        extra = config.mbstd_features if config.mbstd_group > 1 else 0
        self.conv = EqualizedConv2d(channels + extra, channels, 3, equalized=config.equalized)
        self.dense0 = EqualizedLinear(
            channels * config.base[0] * config.base[1], hidden, equalized=config.equalized
        )
        self.dense1 = EqualizedLinear(hidden, max(config.labels, 1), gain=1.0, equalized=config.equalized)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, h0, w0] -> [N, classes or 1], in float32."""
        if self.config.mbstd_group > 1:
            whole = 8 if kernels(x) and x.dtype.itemsize == 2 and x.shape[1] % 8 == 0 else 1  # that a GPU reads at once
            x = minibatch_stddev(x, self.config.mbstd_group, self.config.mbstd_features, whole)
        x = self.conv(x, self.config.nonlinearity)
        x = activate(self.dense0(at_least_float32(x)), self.config.nonlinearity)
        return self.dense1(x)


class Discriminator(nn.Module):
    """images [N, C, h, w] of the lod's own size -> scores [N, 1]."""

    def __init__(self, config: DiscriminatorConfig | Config) -> None:
        super().__init__()
        self.config = config.discriminator if isinstance(config, Config) else config
        config = self.config
        self.lod = 0.0
        self.compute_dtype = torch.float32
        self.from_rgb = nn.ModuleList(
            FromRGB(config.channels, config.fmaps(k + 1), equalized=config.equalized)
            for k in range(config.top + 1)
        )
        self.blocks = nn.ModuleList(DownBlock(config, k) for k in range(1, config.top + 1))
        self.head = Head(config)

    def forward(
        self,
        images: torch.Tensor,
        labels: torch.Tensor | None = None,
        lod: float | None = None,
    ) -> torch.Tensor:
        """images [N, C, h, w], h = full height / 2^floor(lod); labels [N, classes] or [N] -> scores [N, 1].

        With classes the head has one output per class and the score is the one of the label. At a fractional
        lod the 2x2-mean image enters one level below and is blended in. A network without classes ignores
        labels (as Progressive GAN's does). ValueError for sizes, labels or a lod that do not fit.
        """
        config = self.config
        lod = lods.check_lod(self.lod if lod is None else lod, config.top)
        level, fade = lods.level_of(lod, config.top), lods.fade_of(lod)
        n, expected = len(images), (config.channels, *config.size(level))
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(
                f"images {list(images.shape)}: at lod {lod:g} this network takes [N, {', '.join(map(str, expected))}]"
            )
        one_hot = as_one_hot(labels, config.labels, n, like=images) if config.labels else None
        x = self._from_rgb(images, level, packed=self._packs(images, level))
        for k in range(level, 0, -1):
            if k < level and self._packs(x, k):
                x = pack(x)
            x = self.blocks[k - 1](x)
            if k == level and fade:
                x = blend(x, self._from_rgb(downscale2d(images), level - 1), lod)
        scores = self.head(x)
        return scores if one_hot is None else (scores * one_hot).sum(dim=1, keepdim=True)  # N 1

    def _packs(self, like: torch.Tensor, level: int) -> bool:
        return level > 0 and packs(like, self.config.size(level), self.config.blur)

    def _from_rgb(self, images: torch.Tensor, level: int, packed: bool = False) -> torch.Tensor:
        nonlinearity = self.config.nonlinearity if self.config.from_rgb_activation else None
        return self.from_rgb[level](images, nonlinearity, self.compute_dtype, packed)
