"""Synthesis network g: W -> image (StyleGAN, figure 1b), and the traditional generator (figure 1a)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import nn

from stylegan import lod as lods
from stylegan.config import GeneratorConfig
from stylegan.networks.layers import SQRT2, EqualizedLinear, EqualizedWeight, ToRGB
from stylegan.ops.branches import Branch, offer
from stylegan.ops.conv import conv2d, exact_conv2d
from stylegan.ops.fade import blend
from stylegan.ops.packed import from_pixels, packed_conv2d, packed_pixels, packs, pixels, unpack, upscale_conv_packed
from stylegan.ops.resample import blur2d, blur_epilogue, upscale2d, upscale_conv2d
from stylegan.ops.rgb import styled_to_rgb
from stylegan.ops.style import style_epilogue
from stylegan.ops.switch import exact, laid_out

EXACT_PIXELS = 8 * 8  # size of level up to which convolutions are worked out in float64 where `exact`
Noise = Literal["random", "stored", "none"] | Sequence[torch.Tensor]


class ConstantInput(nn.Module):
    """The learned constant the synthesis starts from (configuration D): [1, C, h0, w0], ones at first."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.ones(1, channels, *size))

    def forward(self, ws: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """ws [N, L, D] -> [N, C, h0, w0], the same for every sample."""
        return self.constant.to(dtype).expand(ws.shape[0], -1, -1, -1)


class DenseInput(nn.Module):
    """The traditional input (configurations A-C): a dense layer from w, gain sqrt(2)/4; its bias comes after."""

    def __init__(self, config: GeneratorConfig, channels: int) -> None:
        super().__init__()
        h, w = config.base
        self.shape = (channels, h, w)
        self.dense = EqualizedLinear(
            config.w_dim, channels * h * w, gain=SQRT2 / 4, equalized=config.equalized, bias=False, float64=True
        )

    def forward(self, ws: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """ws [N, L, D], of which the first layer's w is used -> [N, C, h0, w0]."""
        return self.dense(ws[:, 0]).reshape(-1, *self.shape).to(dtype)  # N C h0 w0


class SynthesisLayer(nn.Module):
    """One style block: convolution, noise (B), bias, leaky ReLU, instance norm, style (A, AdaIN).

    The first layer has no convolution of its own; the first of each further level upscales and blurs.
    """

    def __init__(self, config: GeneratorConfig, index: int) -> None:
        super().__init__()
        self.config = config
        level = index // 2
        inputs, outputs = config.fmaps(max(level, 1) if index % 2 == 0 else level + 1), config.fmaps(level + 1)
        self.small = math.prod(config.size(level)) <= EXACT_PIXELS
        self.upscale = index > 0 and index % 2 == 0
        self.conv = (
            EqualizedWeight((outputs, inputs, 3, 3), equalized=config.equalized) if index > 0 else None
        )
        self.noise_strength = nn.Parameter(torch.zeros(outputs)) if config.noise else None
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = (
            EqualizedLinear(config.w_dim, 2 * outputs, gain=1.0, equalized=config.equalized, float64=True)
            if config.styles
            else None
        )

    def forward(
        self,
        x: torch.Tensor,
        w: torch.Tensor,
        noise: torch.Tensor | None,
        packed: bool = False,
        rgb: ToRGB | None = None,
        style: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x [N, Cin, H, W], w [N, D], noise [N or 1, 1, H', W'] -> [N, Cout, H', W'].

        `packed`: this level's tensors are packed (ops.packed), the one it is upscaled from is not; noise may be.
        `rgb`: what makes the image of its output, which takes its place; not of a layer that upscales.
        `style`: of w, where that is known already.
        """
        bias: torch.Tensor = self.bias
        taps = None  # of the blur that comes right before the epilogue
        if self.conv is not None:
            weight = self.conv.scaled(x.dtype)
            small = self.small and exact(x)
            if packed:
                x = upscale_conv_packed(x, weight, self.config.blur) if self.upscale else packed_conv2d(x, weight)
                x = pixels(x)
                if noise is not None and noise.shape[2:] != x.shape[2:]:
                    noise = packed_pixels(noise)
            elif self.upscale:
                x = exact_conv2d(upscale2d(x), weight) if small else upscale_conv2d(x, weight)
                taps = self.config.blur
                if self.config.bias_before_blur:
                    x = x + bias.to(x.dtype).reshape(1, -1, 1, 1)
                    x, taps = blur2d(x, taps) if taps else x, None
                    bias = torch.zeros_like(bias)
            else:
                x = exact_conv2d(x, weight) if small else conv2d(x, weight, padding=1)
        style = self.style(w) if style is None else style
        after = (
            noise,
            self.noise_strength,
            bias,
            style,
            self.config.nonlinearity,
            self.config.pixel_norm,
            self.config.instance_norm,
            self.config.norm_eps,
        )
        if rgb is not None:
            return styled_to_rgb(x, *after, rgb.scaled(rgb.weight.dtype), rgb.bias, packed)
        x = blur_epilogue(x, taps, *after) if taps else style_epilogue(x, *after)
        return from_pixels(x) if packed else x

    def style(self, w: torch.Tensor) -> torch.Tensor | None:
        """A of the paper: w [N, D] -> scale and shift [N, 2, C]; None without styles."""
        return None if self.affine is None else self.affine(w).reshape(w.shape[0], 2, -1)


class _Styles:
    """The styles of all layers, worked out beside the layers where a branch is offered; else left to each layer."""

    def __init__(
        self, branch: Branch | None = None, layers: Iterable[Any] = (), ws: Sequence[torch.Tensor] = ()
    ) -> None:
        self.branch = branch
        self.made: list[tuple[torch.Tensor | None, Any]] = []
        if branch is None:
            return
        for layer, w in zip(layers, ws, strict=False):
            style = layer.style(w)
            self.made.append((style, branch.mark()))
            if style is not None and style.requires_grad:  # read again in the layer's backward pass
                branch.hold(style)

    def reach(self, i: int) -> torch.Tensor | None:
        """The style of layer i, which with its noise is there for what comes next."""
        if self.branch is None:
            return None
        style, mark = self.made[i]
        self.branch.reach(mark)
        return style


class SynthesisNetwork(nn.Module):
    """ws [N, L, D] -> images [N, C, h, w]. Layers 2k and 2k+1 make level k; every level has its to_rgb."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.lod = 0.0  # to which these weights have been trained; used where a call names none
        channels = config.fmaps(1)
        self.input = (
            ConstantInput(channels, config.base) if config.constant_input else DenseInput(config, channels)
        )
        self.layers = nn.ModuleList(SynthesisLayer(config, i) for i in range(config.num_layers))
        self.to_rgb = nn.ModuleList(
            ToRGB(config.fmaps(k + 1), config.channels, equalized=config.equalized)
            for k in range(config.top + 1)
        )
        if config.noise:
            for i, size in enumerate(self.noise_sizes(0.0)):
                self.register_buffer(f"noise{i}", torch.randn(1, 1, *size))

    def noise_sizes(self, lod: float) -> list[tuple[int, int]]:
        """(height, width) of the noise of each layer that acts at this lod."""
        layers = lods.active_layers(self.config.num_layers, lod)
        return [self.config.size(i // 2) for i in range(layers)]

    def packed_layers(self, lod: float, like: torch.Tensor) -> list[int]:
        """Layers that act at this lod and work on packed tensors (ops.packed), on the device of `like`."""
        return [i for i in range(lods.active_layers(self.config.num_layers, lod)) if self._packs(i // 2, like)]

    def forward(
        self,
        ws: torch.Tensor,
        lod: float | None = None,
        noise: Noise = "random",
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """ws [N, L, D] -> images [N, C, h, w] in about [−1, 1], h = full height / 2^floor(lod).

        At a fractional lod the next lower level's image is blended in (Progressive GAN, figure 2). Only the
        layers of the levels in use are computed; lod None is the network's own. `noise` is drawn afresh
        ("random", from `generator` if given), the stored buffers ("stored"), left out ("none"), or a list of
        [N or 1, 1, h, w], one per acting layer; those of packed layers may lie as `ops.packed.packed_pixels`.
        ValueError for shapes or a lod that do not fit.
        """
        config = self.config
        lod = lods.check_lod(self.lod if lod is None else lod, config.top)
        if ws.ndim != 3 or ws.shape[1:] != (config.num_layers, config.w_dim):
            raise ValueError(f"ws {list(ws.shape)}: this network takes [N, {config.num_layers}, {config.w_dim}]")
        level, fade = lods.level_of(lod, config.top), lods.fade_of(lod)
        per_layer = ws.unbind(1)  # the gradients of all are put together once; those of ws[:, i] one by one
        branch, styles = offer(), _Styles()
        with branch.beside() if branch else nullcontext():
            noises = self._noises(noise, ws.shape[0], lod, ws.device, generator)
            if config.shared_noise:
                noises = [noises[i - i % 2] for i in range(len(noises))]
            if branch:
                styles = _Styles(branch, self.layers, per_layer[: 2 * level + 2])
        x = laid_out(self.input(ws, self.compute_dtype))
        lower, packed = x, False
        own = isinstance(self.to_rgb[level], ToRGB) and not self._looked_at()
        last = self.to_rgb[level] if own and not torch.is_grad_enabled() else None  # joined to the last layer
        for k in range(level + 1):
            lower = x = unpack(x) if packed else x
            packed = self._packs(k, x)
            for i in (2 * k, 2 * k + 1):
                rgb = last if i == 2 * level + 1 else None
                x = self.layers[i](x, per_layer[i], noises[i], packed, rgb, styles.reach(i))
        image = self.to_rgb[level](x) if last is None else x
        if fade:
            image = blend(image, upscale2d(self.to_rgb[level - 1](lower)), lod)
        return image  # N C h w

    def _packs(self, level: int, like: torch.Tensor) -> bool:
        """Whether a level works on packed tensors (ops.packed); not where someone looks at its layers' outputs."""
        config = self.config
        known = level > 0 and not config.bias_before_blur
        return known and packs(like, config.size(level), config.blur) and not self._looked_at()

    def _looked_at(self) -> bool:
        """Whether someone looks at what layers make, or changes it."""
        return any(m._forward_hooks or m._forward_pre_hooks for m in (*self.layers, *self.to_rgb))

    def _noises(
        self, noise: Noise, n: int, lod: float, device: torch.device, generator: torch.Generator | None
    ) -> list[torch.Tensor | None]:
        sizes = self.noise_sizes(lod)
        if not self.config.noise or (isinstance(noise, str) and noise == "none"):
            return [None] * len(sizes)
        if isinstance(noise, str):
            if noise == "random":
                return [torch.randn(n, 1, *size, device=device, generator=generator) for size in sizes]
            if noise == "stored":
                return [self.get_buffer(f"noise{i}") for i in range(len(sizes))]
            raise ValueError(f"noise {noise!r}: must be 'random', 'stored', 'none' or a list of tensors")
        given = list(noise)
        if len(given) not in (len(sizes), self.config.num_layers):
            raise ValueError(f"{len(given)} noise tensors: this lod needs {len(sizes)}, one per acting layer")
        for i, (tensor, (h, w)) in enumerate(zip(given, sizes, strict=False)):
            known = [(n, 1, h, w), (1, 1, h, w)] + [(n, 1, h // 2, 2 * w)] * self._packs(i // 2, tensor)
            if tensor.shape not in known:
                raise ValueError(f"noise {i} {list(tensor.shape)}: must be [{n} or 1, 1, {h}, {w}]")
        return [tensor.to(device) for tensor in given[: len(sizes)]]
