"""Fast form on a GPU: the blur of a layer of the generator together with the epilogue after it, as Triton kernels.

Forward, 2 reads and 2 writes: the blur takes the statistics for the norm along, then everything else is one pass.
Backward, 4 reads and 1 write: the sums for the norm, then the gradient, blurred as it is worked out. What is kept is
the blurred tensor. Gradients of gradients are composed of PyTorch's operators, as those of the epilogue alone.

Shapes: x [N, C, H, W] contiguous or channels-last (anything else is copied); noise [N or 1, 1, H, W];
strength, bias [C]; style [N, 2, C].
"""

from __future__ import annotations

from typing import Any

import torch

from stylegan.ops import fused, fused_blur
from stylegan.ops.fused import SLOPES, Plan, dense, launch, like, power_of_two

MERGED = 8192  # partial sums that one program merges at once
WARPS = 4  # of the two that slide
SMALL_TILE = 512  # of `gradient_blur`, which keeps much for each value

Taps = tuple[float, float]  # (outer, inner)


class _BlurEpilogue(torch.autograd.Function):
    """(y, blurred): `blurred` is an output so that what is saved has a derivative by x, for gradients of gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        noise: torch.Tensor | None,
        strength: torch.Tensor | None,
        bias: torch.Tensor,
        style: torch.Tensor | None,
        options: tuple[str, bool, float],  # nonlinearity, instance (True), eps
        taps: Taps,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.set_materialize_grads(False)
        nonlinearity, _, eps = options
        n, c, h, w = x.shape
        z, step = fused.noise_of(x, noise)
        weight = bias if strength is None else strength
        slide = fused_blur.Slide.of(x)
        blurred, y = torch.empty_like(x), torch.empty_like(x)
        means, squares = slide.sums(x), slide.sums(x)
        merged, square, mean, rstd = torch.empty(4, n, c, device=x.device, dtype=torch.float32)
        form = {"SLOPE": SLOPES[nonlinearity], "HAS_NOISE": noise is not None}
        launch(
            "triton_layer.blur_statistics", slide.grid, x, z, weight, bias, blurred, means, squares,
            *slide.shape, step, slide.bands, *taps, num_warps=WARPS, **form, **slide.tile,
        )  # fmt: skip
        chunks = power_of_two(slide.programs)
        some = min(max(MERGED // chunks, 1), power_of_two(c))
        launch(
            "triton_layer.merge", (n, -(-c // some), 1), means, squares, merged, square, h, w, c,
            slide.bands, slide.programs, ROWS=slide.rows, BW=slide.bw, CHUNKS=chunks, BC=some, num_warps=fused.WARPS,
        )  # fmt: skip
        plan = Plan.of(x, streams=True)
        launch(
            "apply", plan.grid, blurred, z, weight, bias, bias if style is None else style.contiguous(),
            merged, square, y, mean, rstd, *plan.shape, step, plan.tiles, 1, plan.p, eps,
            HAS_STYLE=style is not None, INSTANCE=True, CHUNKS=1, **form, **plan.tile,
        )  # fmt: skip
        ctx.save_for_backward(blurred, noise, strength, bias, style, mean, rstd)
        ctx.options, ctx.taps = options, taps
        return y, blurred

    @staticmethod
    def backward(
        ctx: Any, dy: torch.Tensor | None, dblurred: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        given = ctx.saved_tensors[:5]
        found: list[torch.Tensor | None] = [None] * 5
        if dy is not None and torch.is_grad_enabled():  # a gradient of this gradient may be asked for
            found = fused.composed(given, dy, ctx.options, ctx.needs_input_grad)
            dblurred = found[0] if dblurred is None or found[0] is None else dblurred + found[0]
            found[0] = None
        elif dy is not None:
            found = _gradients(ctx, dy)
        if dblurred is not None:
            more = fused_blur.Blur.apply(dblurred, ctx.taps)
            found[0] = more if found[0] is None else found[0] + more
        return (*found, None, None)


def _gradients(ctx: Any, dy: torch.Tensor) -> list[torch.Tensor | None]:
    """By x, noise, strength, bias, style, from kernels."""
    x, noise, strength, bias, style, mean, rstd = ctx.saved_tensors
    z, step = fused.noise_of(x, noise)
    weight, dy = bias if strength is None else strength, like(dy, x)
    form = {"SLOPE": SLOPES[ctx.options[0]], "HAS_NOISE": noise is not None}
    plan = Plan.of(x)
    scales, shifts = parts = torch.empty(2, plan.n, plan.chunks, plan.c, device=x.device, dtype=torch.float32)
    launch(
        "gradient_sums", plan.grid, x, z, weight, bias, dy, mean, rstd, shifts, scales,
        *plan.shape, step, plan.tiles, INSTANCE=True, **form, **plan.tile,
    )  # fmt: skip
    sums = parts.sum(dim=2)  # 2 N C
    slide = fused_blur.Slide.of(x, least=2, tile=SMALL_TILE if plan.bc == 64 else 2 * SMALL_TILE)  # as measured
    dx = torch.empty_like(x)
    biases, strengths = sides = torch.empty(2, plan.n, slide.programs, plan.c, device=x.device, dtype=torch.float32)
    launch(
        "triton_layer.gradient_blur", slide.grid,
        x, z, weight, bias, bias if style is None else style.contiguous(), dy, mean, rstd, sums, dx, biases, strengths,
        *slide.shape, step, slide.bands, *ctx.taps,
        HAS_STYLE=style is not None, num_warps=WARPS, **form, **slide.tile,
    )  # fmt: skip
    dbias, dstrength = fused.bias_and_strength(sides, noise, bias, strength)
    return [dx, None, dstrength, dbias, None if style is None else sums.transpose(0, 1).to(style.dtype)]


def blur_epilogue(
    x: torch.Tensor,
    taps: tuple[float, ...],
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    bias: torch.Tensor,
    style: torch.Tensor | None,
    nonlinearity: str,
    eps: float,
) -> torch.Tensor:
    """ops.resample.blur_epilogue for three symmetric taps, with instance norm; noise gets no gradient."""
    if strength is None:
        noise = None
    options, outer_inner = (nonlinearity, True, eps), fused_blur.two_taps(taps, True)
    return _BlurEpilogue.apply(dense(x), noise, strength, bias, style, options, outer_inner)[0]
