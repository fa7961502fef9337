"""Losses as pure functions of scores and images; every one returns a value per sample, [N, 1] or [N].

Sources: non-saturating logistic: Goodfellow et al. (1406.2661); R1, R2: Mescheder et al. (1801.04406);
WGAN-GP: Gulrajani et al. (1704.00028) with Progressive GAN's drift term (appendix A.1); hinge: Lim and Ye
(1705.02894); relativistic pairing: Jolicoeur-Martineau (1807.00734), Huang et al. (R3GAN, 2501.05441).

Gradient penalties are measured as the official program measures them: per sample, in units of the full-size
image. At a lod that program feeds images enlarged by f = 2^floor(lod) whose pixels share the gradient, so the
squared norm there is 1/f² of the squared norm over the lod's own pixels. `lod` below accounts for that.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from stylegan.ops.conv import without_weight_gradients
from stylegan.ops.images import squared_norm


def g_nonsaturating(fake: torch.Tensor) -> torch.Tensor:
    """−log(sigmoid(D(G(z)))), the generator's loss for FFHQ."""
    return F.softplus(-fake)


def g_saturating(fake: torch.Tensor) -> torch.Tensor:
    """log(1 − sigmoid(D(G(z)))), the original minimax loss."""
    return -F.softplus(fake)


def g_wgan(fake: torch.Tensor) -> torch.Tensor:
    """−D(G(z)), for WGAN and hinge discriminators."""
    return -fake


def g_relativistic(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """softplus(D(x) − D(G(z))): each fake against the real it is paired with."""
    return F.softplus(real - fake)


def d_logistic(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """−log(1 − sigmoid(D(G(z)))) − log(sigmoid(D(x)))."""
    return F.softplus(fake) + F.softplus(-real)


def d_wgan(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """D(G(z)) − D(x)."""
    return fake - real


def d_hinge(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """max(0, 1 + D(G(z))) + max(0, 1 − D(x))."""
    return F.relu(1 + fake) + F.relu(1 - real)


def d_relativistic(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """softplus(D(G(z)) − D(x)): each real against the fake it is paired with."""
    return F.softplus(fake - real)


def squared_gradient(scores: torch.Tensor, images: torch.Tensor, lod: float = 0.0) -> torch.Tensor:
    """Squared norm of d score / d image per sample [N], in units of the full-size image.

    scores [N, 1] must have been computed from images [N, C, h, w], which must require grad.
    """
    with without_weight_gradients():
        (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return squared_norm(gradient) * 0.25 ** math.floor(lod)


def r1_penalty(scores: torch.Tensor, images: torch.Tensor, gamma: float, lod: float = 0.0) -> torch.Tensor:
    """gamma/2 · |d score / d image|², per sample [N] (Mescheder, section 4.1). On fakes it is R2."""
    return squared_gradient(scores, images, lod) * (gamma * 0.5)


def interpolate(real: torch.Tensor, fake: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """real + (fake − real)·t with t [N, 1, 1, 1] uniform in [0, 1): where WGAN-GP measures its gradient."""
    return torch.lerp(real, fake, t.to(real.dtype))


def wgan_penalty(
    scores: torch.Tensor,
    images: torch.Tensor,
    weight: float = 10.0,
    target: float = 1.0,
    lod: float = 0.0,
) -> torch.Tensor:
    """weight·(|d score / d image| − target)² / target², per sample [N]; scores of interpolated images."""
    norm = squared_gradient(scores, images, lod).sqrt()
    return (norm - target).square() * (weight / target**2)


def drift_penalty(real: torch.Tensor, weight: float = 0.001) -> torch.Tensor:
    """weight·D(x)², keeps WGAN scores from drifting (Progressive GAN, appendix A.1)."""
    return real.square() * weight
