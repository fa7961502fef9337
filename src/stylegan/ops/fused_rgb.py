"""Fast forms on a GPU: the 1x1 convolutions from and to RGB, as Triton kernels.

cuDNN's are slow at 3 channels, want the image converted, packed and padded, and leave bias, activation and their
gradients to further passes over the largest tensors there are. Here each of those is read or written once, whatever is
done with it, and images stay as they are: of any strides and type, planar float32 as a rule.

Two linear maps of images x [N, K, H, W] and features f, in which m = leaky'(y) of a given y, or 1, are each other's
derivatives, and so serve every order (R1 needs two); of y only the signs are kept, as bits where eight channels lie
together:

    expand(x, w, b) = m·(E(x, w) + b)                                  features; E: sum over image channels
    contract(f, x, w) = A(m·f, w), outer(x, m·f), sum of m·f           image, [C, K], [C]; A: sum over features

Shapes: features [N, C, H, W] contiguous or channels-last, or packed [N, 4C, H/2, W/2] channels-last (anything else is
copied); w [C, K] of any strides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch

from stylegan.ops import fused
from stylegan.ops.conv import weights_wanted
from stylegan.ops.fused import SLOPES, launch, power_of_two
from stylegan.ops.switch import TYPES, lies_channels_last

MOST_IMAGE_CHANNELS = 4
MOST_FEATURES = 1024  # all channels of a pixel lie in one tile


@dataclass(frozen=True)
class Form:
    """How features lie in memory, and the activation before them: what kernels are told of them."""

    packed: bool
    last: bool  # channels-last
    dtype: torch.dtype
    slope: float = 1.0

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.last else torch.contiguous_format

    def empty(self, image: torch.Tensor, channels: int) -> torch.Tensor:
        """Features of an image, not yet written."""
        n, _, h, w = image.shape
        shape = (n, 4 * channels, h // 2, w // 2) if self.packed else (n, channels, h, w)
        return torch.empty(shape, dtype=self.dtype, device=image.device, memory_format=self.layout)

    def laid(self, features: torch.Tensor) -> torch.Tensor:
        """The same features, lying so."""
        return features.contiguous(memory_format=self.layout)

    def bits(self, image: torch.Tensor, channels: int) -> torch.Tensor | None:
        """As `fused.room_for_bits`."""
        n, _, h, w = image.shape
        return fused.room_for_bits(image.device, n, h * w, channels, self.last)

    def strides(self, pixels: int, channels: int) -> tuple[int, int, int]:
        """Of sample, pixel and channel."""
        return (pixels * channels, channels, 1) if self.last else (pixels * channels, 1, pixels)


@dataclass(frozen=True)
class Plan:
    """How N samples of P pixels are divided: programs for each sample, their tiles, pixels and channels of a tile."""

    chunks: int
    tiles: int
    bp: int
    bc: int

    @classmethod
    def of(cls, n: int, p: int, c: int, only_sums: bool = False) -> Plan:
        """only_sums: for a kernel that writes nothing else, which keeps several values for each of a tile's."""
        bc = power_of_two(c)
        bp = min(power_of_two(p), max((fused.TILE // 2 if only_sums else 2 * fused.TILE) // bc, 1))
        count = -(-p // bp)
        tiles = -(-count // max(-(-2 * fused.PROGRAMS // n), 1))
        return cls(-(-count // tiles), tiles, bp, bc)

    @property
    def constants(self) -> dict[str, int]:
        return {"BP": self.bp, "BC": self.bc, "num_warps": fused.WARPS // 2}


def _summed(sums: torch.Tensor, w: torch.Tensor, by_channel: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of partial sums as ([C, K], in the memory order of w; the rest)."""
    total = sums.sum(dim=0)
    c, k = w.shape
    outer = total[: c * k]
    return outer.view(c, k) if by_channel else outer.view(k, c).t(), total[c * k :]


def _expand(
    image: torch.Tensor,
    w: torch.Tensor,
    form: Form,
    bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    features: torch.Tensor | None = None,
    signs: torch.Tensor | None = None,
    activates: bool = False,
    stores: bool = True,
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """The kernel `expand`: (features, outer(image, features given), sum of the image); None where not wanted.

    mask: features whose signs count, or their bits; signs: bits to be written.
    """
    (n, k, h, width), c = image.shape, w.shape[0]
    plan, sums = Plan.of(n, h * width, c), features is not None
    bits = signs if mask is None or mask.dtype != torch.uint8 else mask
    other = mask if features is None else features
    other = None if other is bits else other
    out = form.empty(image, c) if stores else None
    rows = torch.empty(n * plan.chunks if sums else 0, k * c + k, device=image.device, dtype=torch.float32)
    by_channel = w.stride(0) >= w.stride(1)
    launch(
        "triton_rgb.expand", (plan.chunks, n, 1),
        image, w, w if bias is None else bias, image if other is None else form.laid(other),
        image if bits is None else bits, rows if out is None else out, rows,
        h * width, c, width, *image.stride(), *w.stride(), *form.strides(h * width, c),
        *((k, 1) if by_channel else (1, c)), plan.tiles,
        SLOPE=form.slope, HAS_BIAS=bias is not None, ACTIVATES=activates, MASKS=mask is not None,
        BITS=bits is not None, STORES=stores, SUMS=sums, PACKED=form.packed, K=k, **plan.constants,
    )  # fmt: skip
    return (out, *(_summed(rows, w, by_channel) if sums else (None, None)))


def _contract(
    f: torch.Tensor,
    w: torch.Tensor,
    form: Form,
    shape: tuple[int, ...],
    dtype: torch.dtype | None,
    bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    image: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """The kernel `contract`: (image of a shape and dtype, if any; outer(image given, f) and sum of f, if it is)."""
    (n, k, h, width), c = shape, w.shape[0]
    plan, sums, f = Plan.of(n, h * width, c, only_sums=dtype is None), image is not None, form.laid(f)
    out = None if dtype is None else torch.empty(shape, dtype=dtype, device=f.device)
    rows = torch.empty(n * plan.chunks if sums else 0, k * c + c, device=f.device, dtype=torch.float32)
    bits = mask if mask is not None and mask.dtype == torch.uint8 else None
    whole = f if mask is None or bits is not None else form.laid(mask)
    by_channel = w.stride(0) >= w.stride(1)
    launch(
        "triton_rgb.contract", (plan.chunks, n, 1),
        f, w, w if bias is None else bias, whole, f if bits is None else bits, f if image is None else image,
        rows if out is None else out, rows,
        h * width, c, width, *((0, 0, 0, 0) if image is None else image.stride()), k * h * width, h * width,
        *w.stride(), *form.strides(h * width, c), *((k, 1) if by_channel else (1, c)), plan.tiles,
        SLOPE=form.slope, HAS_BIAS=bias is not None, MASKS=mask is not None,
        BITS=bits is not None, STORES=out is not None, SUMS=sums, PACKED=form.packed, K=k, **plan.constants,
    )  # fmt: skip
    return (out, *(_summed(rows, w, by_channel) if sums else (None, None)))


class _Expand(torch.autograd.Function):
    """m·(E(x, w) + b), m = leaky'(y), 1 without y."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, y: torch.Tensor | None, form: Form
    ) -> torch.Tensor:
        ctx.save_for_backward(x, w, y)
        ctx.form, ctx.bias_type = form, None if b is None else b.dtype
        out = _expand(x, w, form, bias=b, mask=y)[0]
        assert out is not None
        return out

    @staticmethod
    def backward(ctx: Any, df: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*_gradients(ctx, df, *ctx.saved_tensors), None, None)


class _Activated(torch.autograd.Function):
    """leaky(E(x, w) + b); keeps the signs of its output, or all of it, which the next layer keeps anyway."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, form: Form) -> torch.Tensor:
        signs = form.bits(x, len(w))
        y = _expand(x, w, form, bias=b, signs=signs, activates=True)[0]
        assert y is not None
        ctx.save_for_backward(x, w, y if signs is None else signs)
        ctx.form, ctx.bias_type = form, b.dtype
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w, y = ctx.saved_tensors
        return (*_gradients(ctx, dy, x, w, y.detach()), None)


def _gradients(
    ctx: Any, f: torch.Tensor, x: torch.Tensor, w: torch.Tensor, y: torch.Tensor | None
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Gradients of x, w and b, the first inputs of a Function that expands; what nobody wants is not computed."""
    has_bias = ctx.bias_type is not None
    wanted = ctx.needs_input_grad[0], weights_wanted(ctx, 1) or (has_bias and weights_wanted(ctx, 2))
    if not any(wanted):
        return None, None, None
    dx, dw, db = _Contract.apply(f, x, w, y, ctx.form, wanted)
    return dx, dw, db.to(ctx.bias_type) if has_bias and db is not None else None


class _Contract(torch.autograd.Function):
    """A(m·f, w), if an image is wanted; outer(x, m·f) and the sum of m·f over all pixels, if sums are."""

    @staticmethod
    def forward(
        ctx: Any, f: torch.Tensor, x: torch.Tensor, w: torch.Tensor, y: torch.Tensor | None, form: Form,
        wanted: tuple[bool, bool],
    ) -> tuple[torch.Tensor | None, ...]:  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(f, x, w, y)
        ctx.form = form
        image, sums = wanted
        dx, dw, db = _contract(
            f, w, form, tuple(x.shape), x.dtype if image else None, mask=y, image=x if sums else None
        )
        return dx, None if dw is None else dw.to(w.dtype), db

    @staticmethod
    def backward(
        ctx: Any, ddx: torch.Tensor | None, ddw: torch.Tensor | None, ddb: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        f, x, w, y = ctx.saved_tensors
        parts: list[torch.Tensor] = []
        if ctx.needs_input_grad[0]:
            if ddx is not None:
                parts.append(_Expand.apply(ddx, w, ddb, y, ctx.form))
            if ddw is not None or (ddx is None and ddb is not None):
                ours = torch.zeros_like(w) if ddw is None else ddw
                parts.append(_Expand.apply(x, ours, ddb if ddx is None else None, y, ctx.form))
        dx = dw = None
        wanted = ddw is not None and ctx.needs_input_grad[1], ddx is not None and weights_wanted(ctx, 2)
        if any(wanted):
            dx, dw, _ = _Contract.apply(f, x if ddx is None else ddx, w if ddw is None else ddw, y, ctx.form, wanted)
        return reduce(torch.add, parts) if parts else None, dx, dw, None, None, None


class _ToRGB(torch.autograd.Function):
    """A(f, w) + b as a contiguous image of the given shape and type."""

    @staticmethod
    def forward(
        ctx: Any, f: torch.Tensor, w: torch.Tensor, b: torch.Tensor, form: Form, shape: tuple[int, ...],
        dtype: torch.dtype,
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(f, w)
        ctx.form, ctx.bias_type = form, b.dtype
        image = _contract(f, w, form, shape, dtype, bias=b)[0]
        assert image is not None
        return image

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        f, w = ctx.saved_tensors
        wanted = ctx.needs_input_grad[0], weights_wanted(ctx, 1) or weights_wanted(ctx, 2)
        if not any(wanted):
            return None, None, None, None, None, None
        df, dw, db = _ToRGBGradient.apply(g, f, w, ctx.form, wanted)
        return df, dw, None if db is None else db.to(ctx.bias_type), None, None, None


class _ToRGBGradient(torch.autograd.Function):
    """E(g, w), outer(g, f) and the sum of g over all pixels, for the gradient g of an image: one pass over each."""

    @staticmethod
    def forward(
        ctx: Any, g: torch.Tensor, f: torch.Tensor, w: torch.Tensor, form: Form, wanted: tuple[bool, bool]
    ) -> tuple[torch.Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, f, w)
        ctx.form = form
        features, sums = wanted
        df, dw, db = _expand(g, w, form, features=f if sums else None, stores=features)
        return df, None if dw is None else dw.to(w.dtype), db

    @staticmethod
    def backward(
        ctx: Any, ddf: torch.Tensor | None, ddw: torch.Tensor | None, ddb: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        g, f, w = ctx.saved_tensors
        parts: list[torch.Tensor] = []
        df = dw = None
        if ddf is not None:
            dg, dw, _ = _Contract.apply(ddf, g, w, None, ctx.form, (True, weights_wanted(ctx, 2)))
            parts.append(dg)
        if ddw is not None:
            parts.append(_Contract.apply(f, g, ddw, None, ctx.form, (True, False))[0])
            df = _Expand.apply(g, ddw, None, None, ctx.form)
        if ddb is not None:
            parts.append(ddb.to(g.dtype).reshape(1, -1, 1, 1).expand(g.shape))
        return reduce(torch.add, parts) if parts else None, df, dw, None, None


def serves(weight: torch.Tensor, image_channels: int, dtype: torch.dtype) -> bool:
    """Whether the kernels know these features, [C, ...] or [..., C] in the weight, in this type."""
    features = weight.shape[0] * weight.shape[1] // image_channels
    return image_channels <= MOST_IMAGE_CHANNELS and features <= MOST_FEATURES and dtype in TYPES


def from_rgb(
    images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, nonlinearity: str | None, dtype: torch.dtype,
    packed: bool,
) -> torch.Tensor:  # fmt: skip
    """ops.rgb.from_rgb: images of any strides, to any order of differentiation."""
    last = packed or lies_channels_last(images)
    w = weight.flatten(1)  # C K
    if nonlinearity is None:
        return _Expand.apply(images, w, bias, None, Form(packed, last, dtype))
    return _Activated.apply(images, w, bias, Form(packed, last, dtype, SLOPES[nonlinearity]))


def to_rgb(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, packed: bool) -> torch.Tensor:
    """ops.rgb.to_rgb: a contiguous image, to any order of differentiation."""
    last = packed or (features.stride(1) == 1 and not features.is_contiguous())
    n, _, h, w = features.shape
    shape = (n, weight.shape[0], *((2 * h, 2 * w) if packed else (h, w)))
    wide = torch.promote_types(features.dtype, torch.float32)
    form = Form(packed, last, features.dtype)
    return _ToRGB.apply(form.laid(features), weight.flatten(1).t(), bias, form, shape, wide)
