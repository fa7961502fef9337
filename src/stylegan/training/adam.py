"""Adam as the official program has it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch


class Adam(torch.optim.Adam):
    """PyTorch's Adam with epsilon outside the bias correction, as in Kingma and Ba's efficient form.

    The update is lr·sqrt(1−b2^t)/(1−b1^t) · m / (sqrt(v) + eps). PyTorch divides sqrt(v) by sqrt(1−b2^t) before
    adding eps, which makes eps ten times weaker at the first step (b2 = 0.99) and moves parameters with tiny
    gradients differently. Scaling eps by the same factor before each step gives the official form.

    `step` is `advance`, which counts on the host, and `update`, which works on the device. On a GPU the update is
    PyTorch's fused kernel (seven passes over the parameters) and reads everything that changes from step to step from
    the device, so that it can be replayed as a CUDA graph: it is told that infinitely many steps were made, where bias
    corrections are 1, and the correction is part of the rate. Elsewhere it is PyTorch's foreach form.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.0, 0.99),
        eps: float = 1e-8,
        fused: bool | None = None,  # None = where all parameters lie on a GPU
    ) -> None:
        params = list(params)
        super().__init__(params, lr=lr, betas=betas, eps=eps, foreach=True)
        self.fused = all(p.is_cuda for p in params) if fused is None else fused
        self.official_eps = eps
        self.steps = 0  # since the last reset
        device = params[0].device
        self._rate = torch.zeros((), device=device)
        self._endless = torch.full((), 1e30, device=device)
        self._count = torch.zeros(())  # `steps` as checkpoints keep it, one for all parameters

    def step(self, closure: Any = None) -> Any:
        """One update with the gradients as they are; parameters without a gradient stay."""
        self.advance()
        self.update()

    def advance(self) -> None:
        """Counts a step and sets what follows from the count."""
        self.steps += 1
        (group,) = self.param_groups
        b1, b2 = group["betas"]
        correction = math.sqrt(1.0 - b2**self.steps)
        group["eps"] = self.official_eps / correction
        if self.fused:
            self._rate.fill_(group["lr"] * correction / (1.0 - b1**self.steps))
            self._count.fill_(self.steps)

    def update(self) -> None:
        """Moves the parameters; on a GPU without looking at anything on the host but addresses."""
        if not self.fused:
            super().step()
            return
        (group,) = self.param_groups
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        for p in params:
            if p not in self.state:
                self.restore(p, {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)})
        torch._fused_adam_(
            params,
            [p.grad for p in params],
            [self.state[p]["exp_avg"] for p in params],
            [self.state[p]["exp_avg_sq"] for p in params],
            [],
            [self._endless] * len(params),
            lr=self._rate,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=self.official_eps,
            amsgrad=False,
            maximize=False,
        )

    def restore(self, parameter: torch.nn.Parameter, values: Mapping[str, torch.Tensor]) -> None:
        """Puts one parameter's moments back ("exp_avg", "exp_avg_sq", and "step" on the host), laid out as it is."""
        state = self.state[parameter]
        for key, value in values.items():
            if key != "step":
                state[key] = torch.empty_like(parameter, requires_grad=False).copy_(value)
        state["step"] = self._count if self.fused else values["step"]

    def reset(self) -> None:
        """Forgets both moments and the step count, as officially at each new lod."""
        self.state.clear()
        self.steps = 0

    def set_lr(self, lr: float) -> None:
        """Learning rate of the steps that follow."""
        for group in self.param_groups:
            group["lr"] = lr
