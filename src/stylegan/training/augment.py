"""Discriminator augmentation for small data sets: reals and fakes are changed alike before D sees them.

Sources: ADA (Karras et al. 2020, 2006.06676): every transformation is applied with probability p, which keeps
G from learning the changes ("leaking") as long as p is well below 1, and p follows the overfitting measure
r_t = mean sign(D(real)); DiffAugment (Zhao et al. 2020, 2006.10738): colour, translation and cutout, all
differentiable. Every transformation here is linear in the pixels (plus a constant), so gradients of gradients
pass through it, and R1 is taken with respect to the image before it.

Shapes: images [N, C, H, W] in about [-1, 1]; random numbers are drawn for the whole batch on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

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
    n, _, h, w = images.shape
    dy = ((u[:, 1] * 2 - 1) * (share * h)).round().long()[:, None]  # N 1
    dx = ((u[:, 2] * 2 - 1) * (share * w)).round().long()[:, None]  # N 1
    rows = _mirrored(torch.arange(h, device=images.device)[None] + dy, h)  # N H
    columns = _mirrored(torch.arange(w, device=images.device)[None] + dx, w)  # N W
    sample = torch.arange(n, device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]  # N H W C
    return moved.permute(0, 3, 1, 2)


def _mirrored(index: torch.Tensor, size: int) -> torch.Tensor:
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= size, 2 * size - 1 - index, index).clamp(0, size - 1)


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
    "brightness": brightness,
    "contrast": contrast,
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
    """Applies each transformation of the policy with probability p per sample; [N, C, H, W]."""
    for i, name in enumerate(policy):
        u = draws[:, i]  # N 4
        chosen = (u[:, 0] < p)[:, None, None, None]
        images = torch.where(chosen, TRANSFORMATIONS[name](images, u), images)
    return images


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
