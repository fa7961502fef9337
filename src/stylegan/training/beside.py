"""What a half step does beside its main chain of work, in branches of its CUDA graph (`stylegan.ops.branches`)."""

from __future__ import annotations

import torch

from stylegan.ops.branches import Branch
from stylegan.ops.prepared import Ahead


class Beside:
    """The branches of a half step on one device; on a CPU all is done in its turn."""

    def __init__(self, device: torch.device) -> None:
        self.fakes = Branch(device)  # D's half: drawn, and through D, while the reals go through it
        self.noise = Branch(device)
        self.styles = Branch(device)  # of all of G's layers
        self.statistics = Branch(device)  # what is reported of the losses, during the backward pass
        self.ahead = Ahead(device)  # what the main chain takes of weights
        self.fakes_ahead = Ahead(device)  # what the fakes of D's half take of them

    def join(self) -> None:
        """What follows comes after all of it, and after the backward passes in it, for which PyTorch waits as well."""
        for branch in (self.fakes, self.noise, self.styles, self.statistics, self.ahead, self.fakes_ahead):
            branch.join()
