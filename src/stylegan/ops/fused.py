"""Fast forms on a GPU: layer epilogue, bias and activation, each a few passes of Triton kernels.

The functions compute what those of the same name in ops.style and ops.resample do, and are called by them where
ops.switch.kernels says so. Forward and backward of the epilogue read x twice or four times and write once, whatever
the number of steps in between; nothing but x itself is kept for the backward.

Orders of differentiation: bias and activation to any order (R1 needs two). The epilogue's gradient
comes from kernels; where a gradient of that gradient is asked for, it is composed of PyTorch's operators instead.

Shapes: x [N, C, H, W] contiguous or channels-last (anything else is copied); noise [N or 1, 1, H, W].
"""

from __future__ import annotations

import importlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from stylegan.ops.conv import weights_wanted

TILE = 2048  # values in a program's tile: 8 in each thread, one 16-byte access in bfloat16
WHOLE = 8192  # a channel's pixels, times at least a few channels, that one program holds at once
PROGRAMS = 1056  # programs aimed at: eight for each of an H100's or H200's 132 multiprocessors
MOST_CHUNKS = 64  # per sample and channel tile: every program reads the sums of all of them
WARPS = 8
SLOPES = {"lrelu": 0.2, "relu": 0.0}


@contextmanager
def undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM wait within a `with` block, also for programs started in it.

    Triton starts ptxas and a C compiler for a kernel's first launch. Ctrl-C in a terminal, and torchrun's SIGTERM, go
    to all programs of a process group: one that ended those would end a training too, instead of having it saved.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # asked first: the next line may raise KeyboardInterrupt
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _sigterm_is_caught() -> bool:
    """Whether this process has a handler for SIGTERM, as in a training; False on Windows, which has no signal masks."""
    return hasattr(signal, "pthread_sigmask") and callable(signal.getsignal(signal.SIGTERM))


def launch(name: str, grid: tuple[int, int, int], x: torch.Tensor, *rest: Any, **constants: Any) -> None:
    """Runs a kernel of ops.triton_kernels, or "module.kernel" of ops, on the device of x, its first argument."""
    module, _, kernel = name.rpartition(".")
    kernels = importlib.import_module(f"stylegan.ops.{module or 'triton_kernels'}")
    with torch.cuda.device_of(x), undisturbed() if _sigterm_is_caught() else nullcontext():
        getattr(kernels, kernel)[grid](x, *rest, **constants)


def power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def dense(x: torch.Tensor) -> torch.Tensor:
    """x itself if contiguous or channels-last, else a copy that is one of them."""
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    last = x.stride(1) == 1 and x.shape[1] > 1
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def like(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """y in the type and layout of x, which is dense."""
    y = y.to(x.dtype)
    if y.stride() == x.stride():
        return y
    return torch.empty_like(x).copy_(y)


def room_for_bits(device: torch.device, n: int, pixels: int, channels: int, together: bool) -> torch.Tensor | None:
    """For a bit per value, [N, P, C / 8] bytes; None where a byte's eight channels do not lie together."""
    if not together or channels % 8:
        return None
    return torch.empty(n, pixels, channels // 8, device=device, dtype=torch.uint8)


@dataclass(frozen=True)
class Plan:
    """How [N, P, C] is divided among programs; strides in elements."""

    n: int
    p: int
    c: int
    strides: tuple[int, int, int]  # of sample, pixel, channel
    bp: int
    bc: int
    tiles: int
    chunks: int
    warps: int

    @classmethod
    def of(cls, x: torch.Tensor, whole: bool = False, streams: bool = False) -> Plan:
        """The plan for dense x [N, C, H, W]; `whole`: one tile holds all pixels of a channel.

        `streams`: of a kernel that keeps next to nothing from tile to tile, for which larger tiles of fewer warps are
        quicker, and more programs.
        """
        times = 2 if streams else 1
        n, c, h, w = x.shape
        p = h * w
        last = not x.is_contiguous() or c > 1 == p  # channels lie together
        if whole:
            bp = power_of_two(p)
            bc = min(power_of_two(c), max(WHOLE // bp, 1), 64)
        elif last:
            bc = min(power_of_two(c), 64)
            bp = min(power_of_two(p), times * TILE // bc)
        else:
            bp = min(power_of_two(p), times * TILE)
            bc = min(power_of_two(c), times * TILE // bp)
        count = -(-p // bp)
        most = MOST_CHUNKS * times**2
        chunks = min(max(-(-times * PROGRAMS // (n * -(-c // bc))), 1), most, count)
        tiles = -(-count // chunks)
        strides = (p * c, c, 1) if last else (p * c, 1, p)
        return cls(n, p, c, strides, bp, bc, tiles, -(-count // tiles), WARPS // times)

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.chunks, self.n, -(-self.c // self.bc))

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """P, C and the strides, as kernels take them."""
        return (self.p, self.c, *self.strides)

    @property
    def tile(self) -> dict[str, int]:
        """A program's tile, as kernels take it."""
        return {"BP": self.bp, "BC": self.bc, "num_warps": self.warps}

    def sums(self, like: torch.Tensor) -> torch.Tensor:
        """Room for a sum per chunk, [N, chunks, C] float32."""
        return torch.empty(self.n, self.chunks, self.c, device=like.device, dtype=torch.float32)

    def bits(self, like: torch.Tensor) -> torch.Tensor | None:
        """As `room_for_bits`."""
        return room_for_bits(like.device, self.n, self.p, self.c, self.strides[2] == 1)


def fits_whole(x: torch.Tensor) -> bool:
    """Whether one program holds all pixels of a few channels, so that one launch normalises them: up to 32x32."""
    pixels = power_of_two(x.shape[2] * x.shape[3])
    return pixels * min(power_of_two(x.shape[1]), 8) <= WHOLE


# --- the generator's layer epilogue ---------------------------------------------------------------------------


class _Epilogue(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        noise: torch.Tensor | None,
        strength: torch.Tensor | None,
        bias: torch.Tensor,
        style: torch.Tensor | None,
        options: tuple[str, bool, float],  # nonlinearity, instance, eps
    ) -> torch.Tensor:
        nonlinearity, instance, eps = options
        whole = instance and fits_whole(x)
        plan = Plan.of(x, whole)
        z, step = noise_of(x, noise)
        styles = bias if style is None else style.contiguous()
        y = torch.empty_like(x)
        mean, rstd = (torch.empty(plan.n, plan.c, device=x.device, dtype=torch.float32) for _ in range(2))
        given = {"SLOPE": SLOPES[nonlinearity], "HAS_NOISE": noise is not None}
        weight = bias if strength is None else strength
        if whole:
            launch(
                "apply_whole", plan.grid, x, z, weight, bias, styles, y, mean, rstd, *plan.shape, step, eps,
                HAS_STYLE=style is not None, **given, **plan.tile,
            )  # fmt: skip
        else:
            means, squares = find_statistics(plan, x, z, step, weight, bias, given) if instance else (mean, mean)
            stream = Plan.of(x, streams=True)
            launch(
                "apply", stream.grid, x, z, weight, bias, styles, means, squares, y, mean, rstd,
                *plan.shape, step, stream.tiles, plan.chunks, plan.tiles * plan.bp, eps,
                HAS_STYLE=style is not None, INSTANCE=instance, CHUNKS=power_of_two(plan.chunks),
                **given, **stream.tile,
            )  # fmt: skip
        ctx.save_for_backward(x, noise, strength, bias, style, mean, rstd)
        ctx.options = options
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, noise, strength, bias, style, mean, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be asked for
            return (*composed((x, noise, strength, bias, style), dy, ctx.options, ctx.needs_input_grad), None)
        nonlinearity, instance, _ = ctx.options
        whole = instance and fits_whole(x)
        plan, dy = Plan.of(x, whole), like(dy, x)
        z, step = noise_of(x, noise)
        styles = bias if style is None else style.contiguous()
        weight = bias if strength is None else strength
        dx, dstyle = torch.empty_like(x), torch.empty_like(styles, dtype=torch.float32)
        biases, strengths = parts = torch.empty(2, plan.n, plan.chunks, plan.c, device=x.device, dtype=torch.float32)
        given = {"SLOPE": SLOPES[nonlinearity], "HAS_NOISE": noise is not None, **plan.tile}
        if whole:
            launch(
                "gradient_whole", plan.grid, x, z, weight, bias, styles, dy, mean, rstd, dx, dstyle, biases, strengths,
                *plan.shape, step,
                HAS_STYLE=style is not None, **given,
            )  # fmt: skip
        else:
            shifts, scales = plan.sums(x), plan.sums(x)
            launch(
                "gradient_sums", plan.grid, x, z, weight, bias, dy, mean, rstd, shifts, scales,
                *plan.shape, step, plan.tiles,
                INSTANCE=instance, **given,
            )  # fmt: skip
            launch(
                "gradient", plan.grid, x, z, weight, bias, styles, dy, mean, rstd, shifts, scales,
                dx, dstyle, biases, strengths, *plan.shape, step, plan.tiles,
                HAS_STYLE=style is not None, INSTANCE=instance, CHUNKS=power_of_two(plan.chunks), **given,
            )  # fmt: skip
        dbias, dstrength = bias_and_strength(parts, noise, bias, strength)
        return dx, None, dstrength, dbias, None if style is None else dstyle.to(style.dtype), None


def find_statistics(
    plan: Plan, x: torch.Tensor, z: torch.Tensor, step: int, weight: torch.Tensor, bias: torch.Tensor,
    form: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Means and sums of squared differences of the plan's chunks, [N, chunks, C]; z, step: of `noise_of`."""
    means, squares = plan.sums(x), plan.sums(x)
    launch(
        "statistics", plan.grid, x, z, weight, bias, means, squares, *plan.shape, step, plan.tiles, **form, **plan.tile
    )
    return means, squares


def bias_and_strength(
    parts: torch.Tensor, noise: torch.Tensor | None, bias: torch.Tensor, strength: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Their gradients [C] from the programs' partial sums [2, N, programs, C], in one launch where both are wanted."""
    if noise is None or strength is None:
        return parts[0].sum(dim=(0, 1)).to(bias.dtype), None
    dbias, dstrength = parts.sum(dim=(1, 2))
    return dbias.to(bias.dtype), dstrength.to(strength.dtype)


def noise_of(x: torch.Tensor, noise: torch.Tensor | None) -> tuple[torch.Tensor, int]:
    """Contiguous noise, and the step from one sample's to the next; anything where there is none."""
    if noise is None:
        return x, 0
    return noise.contiguous(), 0 if noise.shape[0] == 1 else noise.shape[2] * noise.shape[3]


def composed(
    inputs: tuple[torch.Tensor | None, ...], dy: torch.Tensor, options: tuple[str, bool, float], needed: Any
) -> list[torch.Tensor | None]:
    """Gradients of the epilogue as a differentiable composition of PyTorch's operators."""
    from stylegan.ops.style import compose_epilogue

    nonlinearity, instance, eps = options
    x, noise, strength, bias, style = inputs
    assert x is not None
    assert bias is not None
    y = compose_epilogue(x, noise, strength, bias, style, nonlinearity, False, instance, eps)
    wanted = [t for t, need in zip(inputs, needed, strict=False) if need and t is not None]
    found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True))
    return [next(found) if need and t is not None else None for t, need in zip(inputs, needed, strict=False)]


def epilogue(
    x: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    bias: torch.Tensor,
    style: torch.Tensor | None,
    nonlinearity: str,
    instance: bool,
    eps: float,
) -> torch.Tensor:
    """ops.style.style_epilogue without pixel norm; noise gets no gradient."""
    if strength is None:
        noise = None
    return _Epilogue.apply(dense(x), noise, strength, bias, style, (nonlinearity, instance, eps))


# --- bias and activation --------------------------------------------------------------------------------------


class _BiasActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bias: torch.Tensor, slope: float) -> torch.Tensor:
        plan, y = Plan.of(x, streams=True), torch.empty_like(x)
        bits = plan.bits(x)  # a sixteenth of what reading y again would cost each derivative
        launch(
            "triton_activation.bias_activation", plan.grid,
            x, bias, y, y if bits is None else bits, *plan.shape, plan.tiles,
            SLOPE=slope, BITS=bits is not None, **plan.tile,
        )  # fmt: skip
        ctx.save_for_backward(y, bits)
        ctx.slope, ctx.bias_type = slope, bias.dtype
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        y, bits = ctx.saved_tensors
        dx, db = _ActivationGradient.apply(dy, None, y.detach(), bits, ctx.slope, weights_wanted(ctx, 1))
        return dx, None if db is None else db.to(ctx.bias_type), None


class _ActivationGradient(torch.autograd.Function):
    """(g + more)·leaky'(y) and, if wanted, its sum per channel: linear in g and more, so its derivative is itself.

    `bits`, if any, say where y > 0.
    """

    @staticmethod
    def forward(
        ctx: Any, g: torch.Tensor, more: torch.Tensor | None, y: torch.Tensor, bits: torch.Tensor | None,
        slope: float, summed: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
        ctx.set_materialize_grads(False)
        plan, g, dx = Plan.of(y, streams=True), like(g, y), torch.empty_like(y)
        sums = plan.sums(y) if summed else torch.empty(0, 0, 0, device=y.device)
        launch(
            "triton_activation.activation_gradient", plan.grid,
            g, sums if more is None else more, y, y if bits is None else bits, dx, sums, *plan.shape, plan.tiles,
            SLOPE=slope, BITS=bits is not None, HAS_MORE=more is not None, SUMS=summed, **plan.tile,
        )  # fmt: skip
        ctx.save_for_backward(y, bits)
        ctx.slope, ctx.has_more = slope, more is not None
        return dx, sums.sum(dim=(0, 1)) if summed else None

    @staticmethod
    def backward(
        ctx: Any, ddx: torch.Tensor | None, ddb: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        y, bits = ctx.saved_tensors
        if ddx is None and ddb is None:
            return None, None, None, None, None, None
        ddx = torch.zeros_like(y) if ddx is None else ddx
        dg, dmore = _ActivationGradient.apply(ddx, ddb, y, bits, ctx.slope, ctx.has_more)
        return dg, dmore, None, None, None, None


def bias_activation(x: torch.Tensor, bias: torch.Tensor, nonlinearity: str) -> torch.Tensor:
    """leaky(x + bias) with bias [C], to any order of differentiation; [N, C, H, W]."""
    return _BiasActivation.apply(dense(x), bias, SLOPES[nonlinearity])
