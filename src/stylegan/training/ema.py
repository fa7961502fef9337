"""The averaged generator, G_ema (officially Gs; Progressive GAN, section 4.1 and appendix A)."""

from __future__ import annotations

import torch
from torch import nn


def ema_beta(batch: int, half_life_kimg: float) -> float:
    """0.5^(batch / half-life in images): the same half-life in images whatever the batch; 0 = plain copy."""
    return 0.5 ** (batch / (half_life_kimg * 1000)) if half_life_kimg > 0 else 0.0


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, beta: float) -> None:
    """average ← beta·average + (1 − beta)·network for parameters; buffers (w_avg, noise) are copied."""
    ours: list[torch.Tensor] = list(average.parameters())
    theirs: list[torch.Tensor] = list(network.parameters())
    if beta == 0.0:
        torch._foreach_copy_(ours, theirs)
    else:
        torch._foreach_lerp_(ours, theirs, 1.0 - beta)
    torch._foreach_copy_(list(average.buffers()), list(network.buffers()))
