"""What a synthesis layer does after its convolution, and the other normalisations.

Sources: StyleGAN section 2, equation 1 (AdaIN), section 3.2 (noise); AdaIN 1703.06868; Progressive GAN
section 4.2 (pixel norm) and section 3 (minibatch standard deviation).

Shapes: x [N, C, H, W]; noise [N or 1, 1, H, W]; strength, bias [C]; style [N, 2, C] (scale, shift).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from stylegan.ops import fused
from stylegan.ops.switch import exporting, fast, kernels


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """x itself in float32 or float64, else in float32: the type for statistics and for images."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def activate(x: torch.Tensor, nonlinearity: str = "lrelu") -> torch.Tensor:
    """Leaky ReLU with slope 0.2, or ReLU; same shape."""
    return F.leaky_relu(x, 0.2) if nonlinearity == "lrelu" else F.relu(x)


def bias_activate(x: torch.Tensor, bias: torch.Tensor, nonlinearity: str = "lrelu") -> torch.Tensor:
    """The activation of x + bias, bias [C]; [N, C, H, W]. Fast: one pass, and one for each derivative."""
    if kernels(x):
        return fused.bias_activation(x, bias, nonlinearity)
    return activate(x + bias.to(x.dtype).reshape(1, -1, 1, 1), nonlinearity)


def pixel_norm(x: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """x / sqrt(mean over axis 1 of x² + eps), Progressive GAN section 4.2; [N, C] or [N, C, H, W]."""
    if exporting():  # PyTorch's ONNX exporter drops an addend of 1e-8, taking it for 0
        return x * (eps**-0.5 * torch.rsqrt(x.square().mean(dim=1, keepdim=True) / eps + 1))
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + eps)


def instance_norm(x: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """Zero mean, unit (biased) variance per sample and channel, eps inside the root; [N, C, H, W].

    Statistics are taken in float32 or float64, whatever the type of x. Fast: PyTorch's layer norm over H and W
    of contiguous tensors.
    """
    if fast(x) and (exporting() or x.is_contiguous()):
        if exporting():  # other programs take the variance as E[x²] − E[x]², exact only where the mean is 0
            x = x - x.mean(dim=(2, 3), keepdim=True)
        return F.layer_norm(x.flatten(2), (x.shape[2] * x.shape[3],), eps=eps).view(x.shape)
    y = at_least_float32(x)
    y = y - y.mean(dim=(2, 3), keepdim=True)
    y = y * torch.rsqrt(y.square().mean(dim=(2, 3), keepdim=True) + eps)
    return y.to(x.dtype)


def add_noise(x: torch.Tensor, noise: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """x + strength·noise: one noise image shared by all channels, one strength per channel (box B)."""
    return torch.addcmul(x, noise.to(x.dtype), strength.to(x.dtype).reshape(1, -1, 1, 1))


def modulate(x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """x·(scale + 1) + shift with style [N, 2, C]: the last half of AdaIN, equation 1."""
    scale, shift = style.to(x.dtype)[:, :, :, None, None].unbind(1)  # each N C 1 1
    return torch.addcmul(shift, x, scale + 1)


def style_epilogue(
    x: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    bias: torch.Tensor,
    style: torch.Tensor | None,
    nonlinearity: str = "lrelu",
    pixel: bool = False,
    instance: bool = True,
    eps: float = 1e-8,
) -> torch.Tensor:
    """Noise, bias, activation, pixel norm, instance norm, style, in the official order; [N, C, H, W].

    Fast: two reads and one write in all (without pixel norm, and where no gradient of the noise is wanted).
    """
    if kernels(x) and not pixel and not (noise is not None and noise.requires_grad):
        return fused.epilogue(x, noise, strength, bias, style, nonlinearity, instance, eps)
    return compose_epilogue(x, noise, strength, bias, style, nonlinearity, pixel, instance, eps)


def compose_epilogue(
    x: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    bias: torch.Tensor,
    style: torch.Tensor | None,
    nonlinearity: str = "lrelu",
    pixel: bool = False,
    instance: bool = True,
    eps: float = 1e-8,
) -> torch.Tensor:
    """`style_epilogue` step by step, on any device and to any order of differentiation.

    bfloat16 is rounded to once, at the end: where a channel varies little, rounding before the norm is amplified.
    """
    stored, x = x.dtype, at_least_float32(x)
    if not torch.is_grad_enabled() and not exporting():
        return _in_place(x, noise, strength, bias, style, nonlinearity, pixel, instance, eps).to(stored)
    if noise is not None and strength is not None:
        x = add_noise(x, noise, strength)
    x = activate(x + bias.to(x.dtype).reshape(1, -1, 1, 1), nonlinearity)
    if pixel:
        x = pixel_norm(x, eps)
    if instance:
        x = instance_norm(x, eps)
    return (x if style is None else modulate(x, style)).to(stored)


def _in_place(
    x: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    bias: torch.Tensor,
    style: torch.Tensor | None,
    nonlinearity: str,
    pixel: bool,
    instance: bool,
    eps: float,
) -> torch.Tensor:
    """The same, to the bit, where no gradient is wanted: later steps in the first one's memory (fresh pages cost)."""
    b = bias.to(x.dtype).reshape(1, -1, 1, 1)
    x = x + b if noise is None or strength is None else add_noise(x, noise, strength).add_(b)
    x = F.leaky_relu_(x, 0.2) if nonlinearity == "lrelu" else x.relu_()
    if pixel:
        x = pixel_norm(x, eps)
    if instance:
        x = instance_norm(x, eps)
    if style is None:
        return x
    scale, shift = style.to(x.dtype)[:, :, :, None, None].unbind(1)  # each N C 1 1
    return torch.addcmul(shift, x, scale + 1, out=x)


def minibatch_stddev(x: torch.Tensor, group: int = 4, features: int = 1, multiple: int = 1) -> torch.Tensor:
    """Appends the standard deviation over groups of samples as feature maps: [N, C, H, W] -> [N, C+F, H, W].

    Groups have min(group, N) members that are strided (sample i is in group i mod N/G), as officially. Where
    N is no multiple of that, which the official program refuses, the largest divisor of N is taken.
    `multiple`: of how many there must be channels in all; zeros follow.
    """
    n, c, h, w = x.shape
    g = next(g for g in range(min(group, n), 0, -1) if n % g == 0)
    y = at_least_float32(x).reshape(g, n // g, features, c // features, h, w)  # G M F c H W
    y = y - y.mean(dim=0, keepdim=True)
    y = (y.square().mean(dim=0) + 1e-8).sqrt()  # M F c H W
    y = y.mean(dim=(2, 3, 4))  # M F
    y = y.repeat(g, 1)[:, :, None, None].expand(n, features, h, w).to(x.dtype)  # N F H W
    missing = -(c + features) % multiple
    parts = [x, y, x.new_zeros(n, missing, h, w)] if missing else [x, y]
    if x.stride(1) == 1:  # channels-last, which with a part that is not the result would not be
        return torch.cat([t.permute(0, 2, 3, 1) for t in parts], dim=3).permute(0, 3, 1, 2)
    return torch.cat(parts, dim=1)
