"""Fast forms on a GPU: the blur, alone and together with the bias and activation before it, as Triton kernels.

The functions compute what those of the same name in ops.resample do, and are called by them where ops.switch.kernels
says so; to any order of differentiation, each order one pass (R1 needs two orders).

Shapes: x [N, C, H, W] contiguous or channels-last (anything else is copied); bias [C].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from stylegan.ops import fused
from stylegan.ops.conv import weights_wanted
from stylegan.ops.fused import SLOPES, dense, launch, like, power_of_two

ROWS = 16  # that a program slides down
WARPS = 4


@dataclass(frozen=True)
class Slide:
    """How [N, C, H, W] is divided among programs that slide down bands of rows; strides in elements."""

    size: tuple[int, int, int, int]  # N, C, H, W
    strides: tuple[int, int, int, int]  # of sample, row, column, channel
    rows: int
    bw: int
    bc: int

    @classmethod
    def of(cls, x: torch.Tensor, least: int = 1, tile: int | None = None) -> Slide:
        """The division of dense x [N, C, H, W]: programs of so many values (TILE/2), at least so many columns."""
        n, c, h, w = x.shape
        last = not x.is_contiguous() or c > 1 == h * w
        bc = min(power_of_two(c), 64) if last else 1
        bw = max(min(power_of_two(w), min(tile or fused.TILE, fused.TILE // 2) // bc), least)
        strides = (c * h * w, w * c, c, 1) if last else (c * h * w, w, 1, h * w)
        return cls((n, c, h, w), strides, ROWS, bw, bc)

    @property
    def bands(self) -> int:
        return -(-self.size[2] // self.rows)

    @property
    def programs(self) -> int:
        """For one sample and tile of channels."""
        return self.bands * -(-self.size[3] // self.bw)

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.programs, self.size[0], -(-self.size[1] // self.bc))

    @property
    def shape(self) -> tuple[int, int, int, int, int, int, int]:
        """H, W, C and the strides, as kernels take them."""
        return (self.size[2], self.size[3], self.size[1], *self.strides)

    @property
    def tile(self) -> dict[str, int]:
        return {"ROWS": self.rows, "BW": self.bw, "BC": self.bc}

    def bits(self, like: torch.Tensor) -> torch.Tensor | None:
        """As `fused.room_for_bits`."""
        n, c, h, w = self.size
        return fused.room_for_bits(like.device, n, h * w, c, self.strides[3] == 1)

    def sums(self, like: torch.Tensor) -> torch.Tensor:
        """Room for a sum per program, [N, programs, C] float32."""
        return torch.empty(self.size[0], self.programs, self.size[1], device=like.device, dtype=torch.float32)


def _filter(
    x: torch.Tensor,
    taps: tuple[float, float],
    enters: str = "plain",
    signs: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    more: torch.Tensor | None = None,
    slope: float = 0.0,
    masks: bool = False,
    summed: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel `blur` on dense x: (y, sums [N, programs, C] of it if wanted). signs: bits, or what has them."""
    slide, y = Slide.of(x), torch.empty_like(x)
    sums = slide.sums(x) if summed else torch.empty(0, 0, 0, device=x.device)
    other = x if signs is None else signs
    launch(
        "triton_blur.blur", slide.grid,
        x, other, other, x if bias is None else bias, x if more is None else more, y, sums, *slide.shape,
        slide.bands, *taps,
        SLOPE=slope, ENTERS=enters, MASKS=masks, SUMS=summed, HAS_MORE=more is not None,
        BITS=other.dtype == torch.uint8, num_warps=WARPS, **slide.tile,
    )  # fmt: skip
    return y, sums


def _laid(g: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """g as the values lay whose signs these are: bits are kept of channels-last tensors only."""
    return g.contiguous(memory_format=torch.channels_last) if signs.dtype == torch.uint8 else like(g, signs)


def two_taps(taps: tuple[float, ...], normalize: bool) -> tuple[float, float]:
    """(outer, inner) of three symmetric taps."""
    total = sum(taps) if normalize else 1.0
    return taps[0] / total, taps[1] / total


class Blur(torch.autograd.Function):
    """The blur of x by (outer, inner) taps."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, taps: tuple[float, float]) -> torch.Tensor:
        ctx.taps = taps
        return _filter(dense(x), taps)[0]

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return Blur.apply(dy, ctx.taps), None  # symmetric taps: its own adjoint


def blur(x: torch.Tensor, taps: tuple[float, ...], normalize: bool) -> torch.Tensor:
    """ops.resample.blur2d for three symmetric taps."""
    return Blur.apply(x, two_taps(taps, normalize))


class _ActivationBlur(torch.autograd.Function):
    """B(leaky(u)), u = x + bias; its derivative by x, v -> B(leaky'(u)·v), has an adjoint as cheap.

    Keeps the signs of u, as bits where eight channels lie together, else x.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, bias: torch.Tensor, slope: float, taps: tuple[float, float]
    ) -> torch.Tensor:
        signs = Slide.of(x).bits(x)
        y, _ = _filter(x, taps, "activated", signs, bias=bias, slope=slope)
        ctx.save_for_backward(x if signs is None else signs, bias)
        ctx.slope, ctx.taps = slope, taps
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        signs, bias = ctx.saved_tensors
        wanted = weights_wanted(ctx, 1)
        dx, db = _ActivationBlurGradient.apply(dy, signs.detach(), bias.detach(), ctx.slope, ctx.taps, wanted)
        return dx, None if db is None else db.to(bias.dtype), None, None


class _ActivationBlurGradient(torch.autograd.Function):
    """leaky'(u)·B(g) and, if wanted, its sum per channel: linear in g."""

    @staticmethod
    def forward(
        ctx: Any, g: torch.Tensor, signs: torch.Tensor, bias: torch.Tensor, slope: float, taps: tuple[float, float],
        summed: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(signs, bias)
        ctx.slope, ctx.taps, ctx.shape, ctx.dtype = slope, taps, g.shape, g.dtype
        dx, sums = _filter(_laid(g, signs), taps, "plain", signs, bias, slope=slope, masks=True, summed=summed)
        return dx, sums.sum(dim=(0, 1)) if summed else None

    @staticmethod
    def backward(
        ctx: Any, ddx: torch.Tensor | None, ddb: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        signs, bias = ctx.saved_tensors
        if ddx is None and ddb is None:
            return None, None, None, None, None, None
        if ddx is None:
            ddx = torch.zeros(ctx.shape, dtype=ctx.dtype, device=signs.device)
        return _ActivationBlurTangent.apply(ddx, ddb, signs, bias, ctx.slope, ctx.taps), None, None, None, None, None


class _ActivationBlurTangent(torch.autograd.Function):
    """B(leaky'(u)·(v + more)): linear in v [N, C, H, W] and more [C], the adjoint of `_ActivationBlurGradient`."""

    @staticmethod
    def forward(
        ctx: Any, v: torch.Tensor, more: torch.Tensor | None, signs: torch.Tensor, bias: torch.Tensor, slope: float,
        taps: tuple[float, float],
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(signs, bias)
        ctx.slope, ctx.taps, ctx.has_more = slope, taps, more is not None
        return _filter(_laid(v, signs), taps, "masked", signs, bias, more, slope)[0]

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        signs, bias = ctx.saved_tensors
        dv, dmore = _ActivationBlurGradient.apply(dy, signs, bias, ctx.slope, ctx.taps, ctx.has_more)
        return dv, dmore, None, None, None, None


def activation_blur(x: torch.Tensor, bias: torch.Tensor, nonlinearity: str, taps: tuple[float, ...]) -> torch.Tensor:
    """ops.resample.bias_activate_blur2d for three symmetric taps, to any order of differentiation."""
    return _ActivationBlur.apply(dense(x), bias, SLOPES[nonlinearity], two_taps(taps, True))
