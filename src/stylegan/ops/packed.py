"""High resolutions in space-to-depth layout: four pixels side by side become four times the channels.

Few channels and many pixels are what GPU convolutions are worst at. A packed tensor [N, 4C, H/2, W/2] holds pixel
(2i + y, 2j + x) of channel c as channel (2y + x)·C + c of pixel (i, j). On it

- a 3x3 convolution is a 3x3 convolution with a structured kernel (four times the arithmetic, zeros included);
- blur and down-convolution together are one 3x3 convolution [N, 4C, h, w] -> [N, C', h, w], and up-convolution
  and blur are its adjoint: no pass over the large image for the blur, none for the rearrangement;
- noise, bias, activation, normalisation and style act pixel by pixel in whatever order pixels lie (`pixels`).

The official program pads the image between blur and convolution with zeros; a single convolution would see what
the blur spills over the edge. With the image continued oddly about the row just outside (x[-1] = 0, x[-2] = -x[0])
the blur spills nothing, so the function is exact, edges included: the `Ring` below adds what that continuation
contributes, which touches the outermost blocks only.

Shapes: x [N, C, H, W]; packed p [N, 4C, h, w], h = H/2; w [Cout, Cin, 3, 3]; folded kernel k [Cout, 4Cin, 3, 3].
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from stylegan import environment
from stylegan.ops import fused_ring, paired
from stylegan.ops.conv import conv2d, weights_wanted
from stylegan.ops.prepared import keeps
from stylegan.ops.switch import exporting, fast

Taps = tuple[float, ...] | None
_from_side: int | None = None  # what was chosen for the process, over the environment


def pack_from(side: int | None) -> int | None:
    """Sets the smallest side that is packed in fast mode (0 none, -1: 1024 on GPUs, none elsewhere; None: as
    STYLEGAN_PACK_FROM says); what was set before."""
    global _from_side
    before, _from_side = _from_side, side
    return before


def packs(like: torch.Tensor, size: tuple[int, int], taps: Taps) -> bool:
    """Whether a level of this size (H, W), on the device of `like`, works on packed tensors."""
    side = environment.pack_from() if _from_side is None else _from_side
    least = (1024 if like.is_cuda else 0) if side < 0 else side
    known = taps is None or (len(taps) == 3 and taps[0] == taps[2])
    return bool(least) and min(size) >= least and not (size[0] % 2 or size[1] % 2) and known and (
        fast(like) and not exporting()
    )


def pack(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, 4C, H/2, W/2], in the layout of x."""
    n, c, h, w = x.shape
    if x.is_contiguous():
        return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
    rows = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5)  # N h w 2 2 C
    return rows.reshape(n, h // 2, w // 2, 4 * c).permute(0, 3, 1, 2)


def unpack(p: torch.Tensor) -> torch.Tensor:
    """[N, 4C, h, w] -> [N, C, 2h, 2w], in the layout of p."""
    n, c, h, w = p.shape[0], p.shape[1] // 4, *p.shape[2:]
    if p.is_contiguous():
        return p.reshape(n, 2, 2, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c, 2 * h, 2 * w)
    rows = p.permute(0, 2, 3, 1).reshape(n, h, w, 2, 2, c).permute(0, 1, 3, 2, 4, 5)  # N h 2 w 2 C
    return rows.reshape(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


def pack_image(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`pack` into another type and channels-last, as one copy: [N, C, H, W] -> [N, 4C, H/2, W/2]."""
    return _PackImage.apply(x, dtype)


def unpack_image(p: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`unpack` into another type and contiguous, as one copy: [N, 4C, h, w] -> [N, C, 2h, 2w]."""
    return _UnpackImage.apply(p, dtype)


class _PackImage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        ctx.dtype = x.dtype
        n, c, h, w = x.shape
        packed = torch.empty(n, h // 2, w // 2, 2, 2, c, dtype=dtype, device=x.device)
        packed.copy_(x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 3, 5, 1))
        return packed.flatten(3).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _UnpackImage.apply(dy, ctx.dtype), None


class _UnpackImage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        ctx.dtype = p.dtype
        n, c, h, w = p.shape
        image = torch.empty(n, c // 4, 2 * h, 2 * w, dtype=dtype, device=p.device)
        rows = image.unflatten(3, (w, 2)).unflatten(2, (h, 2))  # N C h 2 w 2
        rows.copy_(p.unflatten(1, (2, 2, -1)).permute(0, 3, 4, 1, 5, 2))
        return image

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _PackImage.apply(dy, ctx.dtype), None


def pixels(p: torch.Tensor) -> torch.Tensor:
    """Packed [N, 4C, h, w] as [N, C, h, 4w]: all pixels, in another order; a view of channels-last tensors."""
    n, c, h, w = p.shape
    return p.permute(0, 2, 3, 1).reshape(n, h, 4 * w, c // 4).permute(0, 3, 1, 2)


def packed_pixels(x: torch.Tensor) -> torch.Tensor:
    """`pixels` of `pack`, as one copy: [N, C, 2h, 2w] -> [N, C, h, 4w], contiguous."""
    blocks = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # N C h 2 w 2
    return blocks.transpose(3, 4).flatten(3)


def from_pixels(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `pixels`: [N, C, h, 4w] -> [N, 4C, h, w]."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h, w // 4, 4 * c).permute(0, 3, 1, 2)


@cache
def _positions(kernel: int, taps: Taps, normalize: bool, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Which tap of a kernel goes where in its packed or folded form, along one axis.

    Packed (taps (1,)): [2, 2, k, k] from output sub-pixel, input sub-pixel, packed tap, tap. Folded: [2, 3, 3] from
    input sub-pixel, folded tap, tap; summed over the blur's taps and the two pixels of the mean.
    """
    half, total = kernel // 2, sum(taps) if taps and normalize else 1.0
    values = torch.zeros(2, 2, kernel, kernel, dtype=torch.float64)
    for y in range(2):
        for t in range(kernel):
            for m, f in enumerate(taps or (1.0,)):
                block, u = divmod(y + t + m - half - len(taps or (1.0,)) // 2, 2)
                values[y, u, block + half, t] += f / total
    with torch.inference_mode(False):  # kept, and used by autograd later
        return values.to(device, dtype)


@keeps
def packed_kernel(w: torch.Tensor) -> torch.Tensor:
    """[O, I, k, k] of a full-size convolution (k 1 or 3) -> [4O, 4I, k, k], the same convolution of packed tensors."""
    k = w.shape[2]
    m = _positions(k, None, False, w.dtype, w.device)
    out = torch.einsum("yuas,xvbt,oist->yxouviab", m, m, w)
    return out.reshape(4 * w.shape[0], 4 * w.shape[1], k, k)


@keeps
def folded_adjoint_kernel(w: torch.Tensor, taps: Taps) -> torch.Tensor:
    """`folded_kernel` of the convolution whose adjoint upscales, convolves with w and blurs: [Cin, 4Cout, 3, 3]."""
    return folded_kernel(w.flip(2, 3).transpose(0, 1) * 4.0, taps)


@keeps
def folded_kernel(w: torch.Tensor, taps: Taps, normalize: bool = True) -> torch.Tensor:
    """Blur, 3x3 convolution and 2x2 mean as one kernel of packed tensors: [O, I, 3, 3] -> [O, 4I, 3, 3]."""
    m = _positions(3, taps, normalize, w.dtype, w.device).mean(dim=0)  # u a t
    return torch.einsum("uas,vbt,oist->ouviab", m, m, w).reshape(w.shape[0], 4 * w.shape[1], 3, 3)


def packed_conv2d(p: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """3x3 or 1x1 convolution of the full-size image, zero padding: [N, 4Cin, h, w] -> [N, 4Cout, h, w]."""
    return conv2d(p, packed_kernel(w), padding=w.shape[2] // 2)


def conv_downscale_packed(p: torch.Tensor, w: torch.Tensor, taps: Taps) -> torch.Tensor:
    """2x2 mean of a 3x3 convolution of the blurred image: packed [N, 4Cin, h, w] -> [N, Cout, h, w]."""
    return _Down.apply(p, folded_kernel(w, taps), taps is not None)


def upscale_conv_packed(x: torch.Tensor, w: torch.Tensor, taps: Taps) -> torch.Tensor:
    """Blurred 3x3 convolution of the nearest-upscaled image: [N, Cin, h, w] -> packed [N, 4Cout, h, w]."""
    return _Up.apply(x, folded_adjoint_kernel(w, taps), taps is not None)


# --- the folded convolution, its adjoint and its weight gradient: each other's derivatives ---------------------
#
# At each of the four edges the continuation puts one row of blocks outside. Of its two sub-rows one is 0, the other
# is minus the image's outermost row. The rows above and below reach around the corners, the columns do not.


def _edges(h: int, w: int) -> list[tuple[int, int, slice, slice, slice, slice]]:
    """(axis, sub-pixel, rows and columns of the blocks at that edge, rows and columns of the kernel's taps there)."""
    every, first, last = slice(None), slice(0, 1), slice(2, 3)
    return [
        (0, 0, first, every, first, every),
        (0, 1, slice(h - 1, h), every, last, every),
        (1, 0, every, first, every, first),
        (1, 1, every, slice(w - 1, w), every, last),
    ]


def _half(p: torch.Tensor, axis: int, sub: int) -> torch.Tensor:
    """Channels of one sub-row (axis 0) or sub-column (axis 1) of p or of a kernel: [n, 4C, ...] -> [n, 2, C, ...]."""
    return p.unflatten(1, (2, 2, -1)).select(1 + axis, sub)


def _around(row: torch.Tensor) -> torch.Tensor:
    """A row of blocks continued at both ends: [N, 2, C, 1, w] -> [N, 2C, 1, w + 2]; axis 1 is the sub-column."""
    wide = F.pad(row, (1, 1))
    torch.neg(row[:, 0, :, :, 0], out=wide[:, 0, :, :, 0])
    torch.neg(row[:, 1, :, :, -1], out=wide[:, 1, :, :, -1])
    return wide.flatten(1, 2)


def _around_adjoint(wide: torch.Tensor) -> torch.Tensor:
    """Adjoint of `_around`: [N, 2C, 1, w + 2] -> [N, 2, C, 1, w]."""
    wide = wide.unflatten(1, (2, -1))
    row = wide[..., 1:-1].clone()
    row[:, 0, :, :, 0].sub_(wide[:, 0, :, :, 0])
    row[:, 1, :, :, -1].sub_(wide[:, 1, :, :, -1])
    return row


def _outside(axis: int, half: torch.Tensor) -> torch.Tensor:
    """What the continuation puts beyond an edge, with the sign reversed: [N, 2, C, ...] -> [N, 2C, ...].

    A convolution of it with padding (axis, 0) gives the edge's blocks.
    """
    return _around(half) if axis == 0 else half.flatten(1, 2)


def _down(p: torch.Tensor, k: torch.Tensor, ring: bool) -> torch.Tensor:
    y = paired.forward(p, k, 1, 1)
    y = F.conv2d(p, k, padding=1) if y is None else y
    if ring and fused_ring.serves(p, len(k)):
        fused_ring.down(y, p, k)
        return y
    for axis, sub, rows, columns, tap_rows, tap_columns in _edges(*p.shape[2:]) if ring else []:
        strip = _outside(axis, _half(p[:, :, rows, columns], axis, sub))
        taps = _half(k[:, :, tap_rows, tap_columns], axis, sub).flatten(1, 2)
        y[:, :, rows, columns].sub_(F.conv2d(strip, taps, padding=(axis, 0)))
    return y


def _up(y: torch.Tensor, k: torch.Tensor, ring: bool) -> torch.Tensor:
    p = F.conv_transpose2d(y, k, padding=1)
    if ring and fused_ring.serves(p, len(k)):
        fused_ring.up(p, y, k)
        return p
    for axis, sub, rows, columns, tap_rows, tap_columns in _edges(*y.shape[2:]) if ring else []:
        taps = _half(k[:, :, tap_rows, tap_columns], axis, sub).flatten(1, 2)
        strip = F.conv_transpose2d(y[:, :, rows, columns], taps)
        back = _around_adjoint(strip) if axis == 0 else strip[:, :, 1:-1].unflatten(1, (2, -1))
        _half(p[:, :, rows, columns], axis, sub).sub_(back)
    return p


def _kernel_gradient(p: torch.Tensor, y: torch.Tensor, k: torch.Tensor, padding: tuple[int, int]) -> torch.Tensor:
    return torch.ops.aten.convolution_backward(
        y, p, k, None, [1, 1], padding, [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]


def _weight(p: torch.Tensor, y: torch.Tensor, shape: tuple[int, ...], ring: bool) -> torch.Tensor:
    dk = paired.weight_gradient(p, y, 1, 1, shape)
    dk = _kernel_gradient(p, y, p.new_empty(shape), (1, 1)) if dk is None else dk
    if ring and fused_ring.serves(p, y.shape[1]):
        fused_ring.weight(dk, p, y)
        return dk
    for axis, sub, rows, columns, tap_rows, tap_columns in _edges(*p.shape[2:]) if ring else []:
        strip = _outside(axis, _half(p[:, :, rows, columns], axis, sub))
        part = _half(dk[:, :, tap_rows, tap_columns], axis, sub)
        found = _kernel_gradient(strip, y[:, :, rows, columns], part.flatten(1, 2), (axis, 0))
        part.sub_(found.unflatten(1, (2, -1)))
    return dk


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: torch.Tensor, k: torch.Tensor, ring: bool) -> torch.Tensor:
        ctx.save_for_backward(p, k)
        ctx.ring = ring
        return _down(p, k, ring)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        p, k = ctx.saved_tensors
        dp = _Up.apply(dy, k, ctx.ring) if ctx.needs_input_grad[0] else None
        dk = _Weight.apply(p, dy, tuple(k.shape), ctx.ring) if weights_wanted(ctx, 1) else None
        return dp, dk, None


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, k: torch.Tensor, ring: bool) -> torch.Tensor:
        ctx.save_for_backward(y, k)
        ctx.ring = ring
        return _up(y, k, ring)

    @staticmethod
    def backward(ctx: Any, dp: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        y, k = ctx.saved_tensors
        dy = _Down.apply(dp, k, ctx.ring) if ctx.needs_input_grad[0] else None
        dk = _Weight.apply(dp, y, tuple(k.shape), ctx.ring) if weights_wanted(ctx, 1) else None
        return dy, dk, None


class _Weight(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, p: torch.Tensor, y: torch.Tensor, shape: tuple[int, ...], ring: bool
    ) -> torch.Tensor:
        ctx.save_for_backward(p, y)
        ctx.ring = ring
        return _weight(p, y, shape, ring)

    @staticmethod
    def backward(ctx: Any, ddk: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        p, y = ctx.saved_tensors
        dp = _Up.apply(y, ddk, ctx.ring) if ctx.needs_input_grad[0] else None
        dy = _Down.apply(p, ddk, ctx.ring) if ctx.needs_input_grad[1] else None
        return dp, dy, None, None
