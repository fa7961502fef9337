"""Discriminator augmentation for small data sets: reals and fakes are changed alike before D sees them.

Sources: ADA (Karras et al. 2020, 2006.06676): every transformation is applied with probability p, which keeps
G from learning the changes ("leaking") as long as p is well below 1, and p follows the overfitting measure
r_t = mean sign(D(real)); DiffAugment (Zhao et al. 2020, 2006.10738): colour, translation and cutout, all
differentiable, always applied. Every transformation here is linear in the pixels (plus a constant), so gradients of
gradients pass through it, and R1 is taken with respect to the image before it.

It differs from ADA's program in the following: turning, scaling and stretching together are one bilinear sampling
without ADA's wavelet filters; brightness, contrast and saturation are measured in DiffAugment's way.

Shapes: images [N, C, H, W] in about [-1, 1]; random numbers are drawn for the whole batch on the host. Nothing here
waits for the device, so that a step with augmentation can be a CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from stylegan.training.warp import multiplied, warp

Draw = torch.Tensor  # [N, 4] uniform in [0, 1): whether, and up to three parameters


def flip(images: torch.Tensor, u: Draw) -> torch.Tensor:
    """Left-right."""
    return torch.where((u[:, 1] < 0.5)[:, None, None, None], images.flip(3), images)


def rotate90(images: torch.Tensor, u: Draw) -> torch.Tensor:
    """By 0, 90, 180 or 270 degrees; where height and width differ, by 0 or 180."""
    square = images.shape[2] == images.shape[3]
    turns = (u[:, 1] * 4).long() if square else (u[:, 1] * 2).long() * 2
    out = images
    for k in (1, 2, 3) if square else (2,):
        out = torch.where((turns == k)[:, None, None, None], images.rot90(k, (2, 3)), out)
    return out


def translate(images: torch.Tensor, u: Draw, share: float = 0.125) -> torch.Tensor:
    """By whole pixels, up to an eighth of each side; what comes in from outside is mirrored."""
    _, _, h, w = images.shape
    dy = ((u[:, 1] * 2 - 1) * (share * h)).round().long()[:, None]  # N 1
    dx = ((u[:, 2] * 2 - 1) * (share * w)).round().long()[:, None]  # N 1
    rows = _mirrored(torch.arange(h, device=images.device)[None] + dy, h)  # N H
    columns = _mirrored(torch.arange(w, device=images.device)[None] + dx, w)  # N W
    moved = images.gather(2, rows[:, None, :, None].expand(images.shape))
    return moved.gather(3, columns[:, None, None, :].expand(images.shape))


def _mirrored(index: torch.Tensor, size: int) -> torch.Tensor:
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= size, 2 * size - 1 - index, index).clamp(0, size - 1)


def _matrix(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.stack([a, b], dim=1), torch.stack([c, d], dim=1)], dim=1)  # N 2 2


def rotation(u: Draw) -> torch.Tensor:
    """By any angle."""
    angle = (u[:, 1] * 2 - 1) * math.pi
    return _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def scaling(u: Draw, octaves: float = 0.4) -> torch.Tensor:
    """Larger or smaller by up to 2^0.4 = 1.32, evenly in the logarithm."""
    factor = torch.exp2((u[:, 1] * 2 - 1) * octaves)
    return _matrix(factor, torch.zeros_like(factor), torch.zeros_like(factor), factor)


def stretching(u: Draw, octaves: float = 0.4) -> torch.Tensor:
    """Wider and lower, or narrower and higher, by up to 2^0.4."""
    factor = torch.exp2((u[:, 1] * 2 - 1) * octaves)
    return _matrix(factor, torch.zeros_like(factor), torch.zeros_like(factor), 1 / factor)


# those that are matrices [N, 2, 2]: where to take a pixel from
MATRICES: dict[str, Callable[[Draw], torch.Tensor]] = {"rotate": rotation, "scale": scaling, "stretch": stretching}


def _warped(name: str) -> Callable[[torch.Tensor, Draw], torch.Tensor]:
    return lambda images, u: warp(images, MATRICES[name](u))


def brightness(images: torch.Tensor, u: Draw) -> torch.Tensor:
    """Adds up to ±0.4 to all channels."""
    return images + (u[:, 1, None, None, None] - 0.5) * 0.8


def contrast(images: torch.Tensor, u: Draw) -> torch.Tensor:
    """Scales the distance from the image's mean by 0.5 to 1.5."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (u[:, 1, None, None, None] + 0.5)


def saturation(images: torch.Tensor, u: Draw) -> torch.Tensor:
    """Scales the distance of each pixel's channels from their mean by 0 to 2; nothing in grey images."""
    if images.shape[1] == 1:
        return images
    mean = images.mean(dim=1, keepdim=True)
    return mean + (images - mean) * (u[:, 1, None, None, None] * 2)


def hue(images: torch.Tensor, u: Draw) -> torch.Tensor:
    """Turns the colours about the grey axis by any angle; nothing in images of fewer than three channels."""
    if images.shape[1] < 3:
        return images
    angle = ((u[:, 1] * 2 - 1) * math.pi)[:, None, None, None]
    rgb = images[:, :3]
    grey = rgb.mean(dim=1, keepdim=True)
    across = (rgb.roll(1, dims=1) - rgb.roll(-1, dims=1)) / math.sqrt(3)  # axis x rgb
    turned = grey + (rgb - grey) * angle.cos() + across * angle.sin()
    return torch.cat([turned, images[:, 3:]], dim=1)


def cutout(images: torch.Tensor, u: Draw, share: float = 0.5) -> torch.Tensor:
    """Blanks (to 0) a rectangle of half of each side, anywhere."""
    _, _, h, w = images.shape
    y = torch.arange(h, device=images.device)[None] + 0.5 - (u[:, 1, None] * h)  # N H, from the centre
    x = torch.arange(w, device=images.device)[None] + 0.5 - (u[:, 2, None] * w)  # N W
    inside = (y.abs() < share * h / 2)[:, :, None] & (x.abs() < share * w / 2)[:, None, :]  # N H W
    return images * (~inside)[:, None]


TRANSFORMATIONS: dict[str, Callable[[torch.Tensor, Draw], torch.Tensor]] = {
    "flip": flip,
    "rotate90": rotate90,
    "translate": translate,
    "scale": _warped("scale"),
    "rotate": _warped("rotate"),
    "stretch": _warped("stretch"),
    "brightness": brightness,
    "contrast": contrast,
    "hue": hue,
    "saturation": saturation,
    "cutout": cutout,
}


def draw_augmentation(policy: Sequence[str], batch: int, seed: int) -> torch.Tensor:
    """Random numbers [N, transformations, 4] for a global batch, on the host."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, len(policy), 4, generator=generator)


def augment(
    images: torch.Tensor,
    policy: Sequence[str],
    draws: torch.Tensor,  # [N, transformations, 4], on the device of the images
    p: torch.Tensor | float,  # probability of each transformation, 0 to 1
) -> torch.Tensor:
    """Applies each transformation of the policy with probability p per sample; [N, C, H, W].

    Turning, scaling and stretching are multiplied and applied at once, where the first of them stands.
    """
    matrices = [i for i, name in enumerate(policy) if name in MATRICES]
    for i, name in enumerate(policy):
        if i in matrices[1:]:
            continue
        u = draws[:, i]  # N 4
        if name in MATRICES:
            # stacked, since a list as an index is a copy from the host, for which a CUDA graph has no place
            together = torch.stack([draws[:, j] for j in matrices], dim=1)  # N names 4
            changed, chosen = _warp_together(images, [policy[j] for j in matrices], together, p)
        else:
            changed, chosen = TRANSFORMATIONS[name](images, u), u[:, 0] < p
        images = torch.where(chosen[:, None, None, None], changed, images)
    return images


def _warp_together(
    images: torch.Tensor, names: Sequence[str], draws: torch.Tensor, p: torch.Tensor | float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(warped images, which of them are meant)."""
    chosen = draws[:, :, 0] < p  # N names
    total = torch.eye(2, device=images.device, dtype=draws.dtype).expand(len(images), 2, 2)
    for j, name in enumerate(names):
        matrix = multiplied(total, MATRICES[name](draws[:, j]))
        total = torch.where(chosen[:, j, None, None], matrix, total)
    return warp(images, total), chosen.any(dim=1)


def adapted(
    p: torch.Tensor,
    sign_real: torch.Tensor,
    target: float,
    images: int,
    full_kimg: float,
) -> torch.Tensor:
    """The next p: up where r_t = mean sign(D(real)) exceeds the target, down otherwise (ADA, section 3.2).

    `images` shown since the last adjustment move p by images / (1000·full_kimg), within [0, 0.8].
    """
    step = images / (1000 * full_kimg)
    return (p + torch.sign(sign_real - target) * step).clamp(0.0, 0.8)
