"""Layers with an equalised learning rate (Progressive GAN, section 4.1).

Weights are stored as drawn from N(0, 1/lrmul) and multiplied at run time by gain/sqrt(fan_in)·lrmul, so that
Adam's steps have the same relative size everywhere. `lrmul` slows a layer down (mapping network: 0.01).
With `equalized=False` the constant sits in the initial values instead (He initialisation).

Layers compute in the type of their input (bfloat16 or float32); parameters stay float32.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from stylegan.ops.conv import conv2d
from stylegan.ops.packed import from_pixels, packed_conv2d, pixels
from stylegan.ops.resample import bias_activate_blur2d
from stylegan.ops.rgb import from_rgb, to_rgb
from stylegan.ops.style import bias_activate
from stylegan.ops.switch import exact
from stylegan.ops.weights import scaled, widened

SQRT2 = math.sqrt(2.0)


class EqualizedWeight(nn.Module):
    """A weight tensor and its run-time multiplier. `shape` is [out, in] or [out, in, k, k]."""

    def __init__(
        self,
        shape: tuple[int, ...],
        gain: float = SQRT2,  # 1 where no activation follows
        lrmul: float = 1.0,
        equalized: bool = True,
        fan_in: int | None = None,  # None = product of all but the first dimension
    ) -> None:
        super().__init__()
        he_std = gain / math.sqrt(fan_in or math.prod(shape[1:]))
        init_std = 1.0 / lrmul if equalized else he_std / lrmul
        self.scale = he_std * lrmul if equalized else lrmul
        self.weight = nn.Parameter(torch.randn(shape) * init_std)

    def scaled(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight that acts, in the given type."""
        return scaled(self.weight, self.scale, dtype)


class EqualizedLinear(EqualizedWeight):
    """Dense layer; a 4-D input is flattened in C, H, W order. [N, ...] -> [N, out]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        gain: float = SQRT2,
        lrmul: float = 1.0,
        equalized: bool = True,
        bias: bool = True,
        float64: bool = False,  # where ops.switch.exact
    ) -> None:
        super().__init__((outputs, inputs), gain, lrmul, equalized)
        self.float64 = float64
        self.lrmul = lrmul
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stored, x = x.dtype, x.flatten(1)
        x = x.double() if self.float64 and exact(x) else x
        bias = None if self.bias is None else scaled(self.bias, self.lrmul, x.dtype)
        return nn.functional.linear(x, self.scaled(x.dtype), bias).to(stored)  # N out


class EqualizedConv2d(EqualizedWeight):
    """Convolution of odd kernel size, zero padding, same size: [N, Cin, H, W] -> [N, Cout, H, W].

    Packed in, packed out (ops.packed): [N, 4·Cin, h, w] -> [N, 4·Cout, h, w]. Where more inputs come, they are zeros.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        gain: float = SQRT2,
        equalized: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__((outputs, inputs, kernel, kernel), gain, 1.0, equalized)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(
        self, x: torch.Tensor, nonlinearity: str | None = None, blur: tuple[float, ...] | None = None
    ) -> torch.Tensor:
        """`nonlinearity` and `blur` (not of packed tensors) are what follows the bias, if anything."""
        packed = x.shape[1] == 4 * self.weight.shape[1]
        weight = self.scaled(x.dtype)
        if x.shape[1] > weight.shape[1] and not packed:
            weight = widened(weight, x.shape[1])
        x = pixels(packed_conv2d(x, weight)) if packed else conv2d(x, weight, padding=weight.shape[2] // 2)
        if blur is not None and self.bias is not None and nonlinearity is not None:
            return bias_activate_blur2d(x, self.bias, nonlinearity, blur)
        if self.bias is not None and nonlinearity is not None:
            x = bias_activate(x, self.bias, nonlinearity)
        elif self.bias is not None:
            x = x + self.bias.to(x.dtype).reshape(1, -1, 1, 1)
        return from_pixels(x) if packed else x


class FromRGB(EqualizedWeight):
    """1x1 convolution of images, bias, and activation if any: [N, channels, H, W] -> [N, C, H, W], or packed."""

    def __init__(self, channels: int, outputs: int, equalized: bool = True) -> None:
        super().__init__((outputs, channels, 1, 1), equalized=equalized)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(
        self, images: torch.Tensor, nonlinearity: str | None, dtype: torch.dtype, packed: bool = False
    ) -> torch.Tensor:
        """Features in the given type."""
        return from_rgb(images, self.scaled(self.weight.dtype), self.bias, nonlinearity, dtype, packed)


class ToRGB(EqualizedWeight):
    """1x1 convolution and bias: [N, C, H, W], or packed [N, 4C, H/2, W/2], -> images [N, channels, H, W]."""

    def __init__(self, inputs: int, channels: int, equalized: bool = True) -> None:
        super().__init__((channels, inputs, 1, 1), gain=1.0, equalized=equalized)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images in float32 or float64, whatever the type of x."""
        packed = x.shape[1] == 4 * self.weight.shape[1]
        return to_rgb(x, self.scaled(self.weight.dtype), self.bias, packed)
