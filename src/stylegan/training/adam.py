"""Adam as the official program has it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch


class Adam(torch.optim.Adam):
    """PyTorch's Adam with epsilon outside the bias correction, as in Kingma and Ba's efficient form.

    The update is lr·sqrt(1−b2^t)/(1−b1^t) · m / (sqrt(v) + eps). PyTorch divides sqrt(v) by sqrt(1−b2^t) before
    adding eps, which makes eps ten times weaker at the first step (b2 = 0.99) and moves parameters with tiny
    gradients differently. Scaling eps by the same factor before each step gives the official form.

    On a GPU all of it is PyTorch's fused kernel (seven passes over the parameters), elsewhere its foreach form.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.0, 0.99),
        eps: float = 1e-8,
    ) -> None:
        params = list(params)
        fused = all(p.is_cuda for p in params)
        super().__init__(params, lr=lr, betas=betas, eps=eps, **({"fused": True} if fused else {"foreach": True}))
        self.fused = fused
        self.official_eps = eps
        self.steps = 0  # since the last reset

    def step(self, closure: Any = None) -> Any:
        """One update with the gradients as they are; parameters without a gradient stay."""
        self.steps += 1
        for group in self.param_groups:
            group["eps"] = self.official_eps / math.sqrt(1.0 - group["betas"][1] ** self.steps)
        if self.fused:  # which keeps its step counts on the device; a checkpoint's are on the host
            for parameter, state in self.state.items():
                state["step"] = state["step"].to(parameter.device)
        return super().step(closure)

    def reset(self) -> None:
        """Forgets both moments and the step count, as officially at each new lod."""
        self.state.clear()
        self.steps = 0

    def set_lr(self, lr: float) -> None:
        """Learning rate of the steps that follow."""
        for group in self.param_groups:
            group["lr"] = lr
