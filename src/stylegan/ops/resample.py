"""Resampling: nearest up, box down, the binomial blur, and convolutions that change the resolution.

Sources: Progressive GAN section 2 (nearest up, 2x2 mean down); StyleGAN section 2 and Table 1, B (the
"bilinear sampling" of the paper is a [1,2,1] blur after up- and before down-sampling).

Shapes: x [N, C, H, W], w [Cout, Cin, 3, 3].
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F

from stylegan.ops import fused, fused_blur, fused_layer, fused_weights
from stylegan.ops.conv import conv2d, conv_transpose2d
from stylegan.ops.prepared import keeps
from stylegan.ops.style import bias_activate, style_epilogue
from stylegan.ops.switch import exporting, fast, kernels


def upscale2d(x: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """Nearest neighbour: [N, C, H, W] -> [N, C, factor·H, factor·W], channels-last where x is."""
    n, c, h, w = x.shape
    if not exporting() and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        rows = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(n, h, factor, w, factor, c)
        return rows.reshape(n, h * factor, w * factor, c).permute(0, 3, 1, 2)
    x = x[:, :, :, None, :, None].expand(n, c, h, factor, w, factor)  # N C H f W f
    return x.reshape(n, c, h * factor, w * factor)


def downscale2d(x: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """Box mean: [N, C, H, W] -> [N, C, H/factor, W/factor]."""
    return F.avg_pool2d(x, factor)


def blur2d(
    x: torch.Tensor,
    taps: tuple[float, ...] = (1.0, 2.0, 1.0),
    normalize: bool = True,
) -> torch.Tensor:
    """Separable filter taps⊗taps with zero padding, same size: [N, C, H, W] -> [N, C, H, W].

    An even number of taps pads (n−1)//2 before and n//2 after. Its gradient is, as in the official program,
    the same filter flipped with the same padding: exact for an odd number of taps, off by a pixel for an
    even one (no published configuration uses one).
    """
    if exporting():  # without the cache of kernels, where a tensor of the trace would live on
        return _filter(x, taps, _kernel.__wrapped__(taps, normalize, x.shape[1], x.dtype, x.device))
    if len(taps) == 3 and taps[0] == taps[2] and kernels(x):
        return fused_blur.blur(x, taps, normalize)
    return _Blur.apply(x, taps, normalize)


def bias_activate_blur2d(
    x: torch.Tensor, bias: torch.Tensor, nonlinearity: str, taps: tuple[float, ...]
) -> torch.Tensor:
    """blur2d of the activation of x + bias, bias [C]; [N, C, H, W]. Fast: one pass, and one for each derivative."""
    if len(taps) == 3 and taps[0] == taps[2] and kernels(x):
        return fused_blur.activation_blur(x, bias, nonlinearity, taps)
    return blur2d(bias_activate(x, bias, nonlinearity), taps)


def blur_epilogue(
    x: torch.Tensor,
    taps: tuple[float, ...],
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    bias: torch.Tensor,
    style: torch.Tensor | None,
    nonlinearity: str = "lrelu",
    pixel: bool = False,
    instance: bool = True,
    eps: float = 1e-8,
) -> torch.Tensor:
    """style_epilogue of blur2d(x, taps); [N, C, H, W].

    Fast, with instance norm above 32x32: the blur finds the norm's statistics, and the gradient is blurred as it is
    worked out, which saves a read of the tensor, and a read and a write of its gradient. Up to 32x32 the epilogue
    alone is one launch, where this would be two.
    """
    known = len(taps) == 3 and taps[0] == taps[2] and instance and not pixel
    known = known and not (noise is not None and noise.requires_grad)
    if known and kernels(x) and not fused.fits_whole(x):
        return fused_layer.blur_epilogue(x, taps, noise, strength, bias, style, nonlinearity, eps)
    return style_epilogue(blur2d(x, taps), noise, strength, bias, style, nonlinearity, pixel, instance, eps)


@lru_cache(maxsize=64)
def _kernel(
    taps: tuple[float, ...], normalize: bool, channels: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    f = torch.tensor(taps, dtype=torch.float64)
    k = f[:, None] * f[None, :]
    if normalize:
        k = k / k.sum()
    return k.to(device, dtype).expand(channels, 1, *k.shape).contiguous()  # C 1 k k


def _filter(x: torch.Tensor, taps: tuple[float, ...], kernel: torch.Tensor) -> torch.Tensor:
    n = len(taps)
    if n % 2:
        return F.conv2d(x, kernel, padding=n // 2, groups=x.shape[1])
    before, after = (n - 1) // 2, n // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, groups=x.shape[1])


class _Blur(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, taps: tuple[float, ...], normalize: bool) -> torch.Tensor:
        ctx.taps, ctx.normalize = taps, normalize
        return _filter(x, taps, _kernel(taps, normalize, x.shape[1], x.dtype, x.device))

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _Blur.apply(dy, ctx.taps[::-1], ctx.normalize), None, None


def _folds(x: torch.Tensor, pixels: int) -> bool:
    """Whether the 4x4 form pays: on a CPU, making its kernel costs as much as it saves over some 50 small pixels."""
    return fast(x) and (x.is_cuda or exporting() or pixels >= 64)


@cache
def _shifts(flipped: bool, gain: float, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """[9, 16] and its transpose: where each tap of a 3x3 kernel goes in the sum of its four one-pixel shifts."""
    m = torch.zeros(3, 3, 4, 4, dtype=torch.float64)
    for y, x, dy, dx in product(range(3), range(3), range(2), range(2)):
        m[y, x, y + dy, x + dx] = gain
    m = (m.flip(0, 1) if flipped else m).reshape(9, 16)
    with torch.inference_mode(False):  # kept, and used by autograd later
        return m.to(device, dtype), m.t().contiguous().to(device, dtype)


def _four_shifts(w: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """gain times the sum of the four one-pixel shifts of the zero-padded kernel: [O, I, 3, 3] -> [O, I, 4, 4]."""
    return _shifted(w, False, gain)


def _four_shifts_adjoint(w: torch.Tensor) -> torch.Tensor:
    """The same of the rotated kernel, as `conv_transpose2d` takes it: [O, I, 3, 3] -> [I, O, 4, 4]."""
    return _shifted(w, True, 1.0)


@keeps
def _shifted(w: torch.Tensor, adjoint: bool, gain: float) -> torch.Tensor:
    """As a matrix product: with 512 channels that takes a tenth of the time of padding, shifting and adding.

    On a GPU a kernel: with channels-last weights the product costs three copies that rearrange them.
    """
    if kernels(w):
        m, transposed = _shifts(adjoint, gain, torch.float32, w.device)
        return fused_weights.taps(w, transposed, m, adjoint)
    m, _ = (_shifts.__wrapped__ if exporting() else _shifts)(adjoint, gain, w.dtype, w.device)
    shifted = (w.flatten(2) @ m).unflatten(2, (4, 4))
    return shifted.transpose(0, 1) if adjoint else shifted


def upscale_conv2d(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """3x3 convolution of the nearest-upscaled image: [N, Cin, H, W] -> [N, Cout, 2H, 2W].

    Fast (and officially from 128 pixels on): one transposed convolution of stride 2 with a 4x4 kernel, the same
    function at 4/9 of the arithmetic. (The official fused form leaves out the rotation by 180 degrees that this
    needs, so its kernels are rotated once when official weights are read.)
    """
    if not (_folds(x, x.shape[0] * x.shape[2] * x.shape[3]) or 2 * min(x.shape[2:]) >= 128):
        return conv2d(upscale2d(x), w, padding=1)
    return conv_transpose2d(x, _four_shifts_adjoint(w), stride=2, padding=1)


def conv_downscale2d(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """2x2 mean of a 3x3 convolution: [N, Cin, H, W] -> [N, Cout, H/2, W/2].

    Fast (and officially from 128 pixels on): one convolution of stride 2 with a 4x4 kernel.
    """
    if not (_folds(x, x.shape[0] * x.shape[2] * x.shape[3] // 4) or min(x.shape[2:]) >= 128):
        return downscale2d(conv2d(x, w, padding=1))
    return conv2d(x, _four_shifts(w, gain=0.25), stride=2, padding=1)
