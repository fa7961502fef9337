"""What a pair of steps reports: sums that stay on the device until a tick ends."""

from __future__ import annotations

import torch

# summed over the steps of a tick; penalty steps are counted apart
STATISTICS = (
    "steps", "loss_d", "loss_g", "score_real", "score_fake", "sign_real", "penalty", "penalty_steps",
    "sign_fake", "grad_g", "grad_d",
)  # fmt: skip
HEALTH = STATISTICS[-3:]  # those that are reported with the measures of `stylegan.training.health`


def means(batch: int, **values: torch.Tensor | None) -> torch.Tensor:
    """A row of STATISTICS from per-sample values, as their share of the global batch's mean."""
    for kind in ("real", "fake"):
        scores = values.get(f"score_{kind}")
        values[f"sign_{kind}"] = None if scores is None else scores.sign()
    device = next(value.device for value in values.values() if value is not None)
    zero = torch.zeros((), device=device)
    sums = [zero if (value := values.get(name)) is None else value.detach().float().sum() for name in STATISTICS]
    return torch.stack(sums) / batch


def gradient_norm(network: torch.nn.Module) -> torch.Tensor:
    """Norm of all gradients of the global batch together; stays on the device."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
