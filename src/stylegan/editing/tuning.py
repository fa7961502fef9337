"""Pivotal tuning (Roich et al., 2106.05744): the generator fine-tuned so that found latents draw their photos exactly.

The latents stay; the weights of the synthesis network move a little. Between the pivots the generator is held to
what it drew before (the paper's locality regularisation), so that edits and other images keep their meaning.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from stylegan import images
from stylegan.drawing.render import check_styles, exact_float32
from stylegan.editing.latent_files import Latents, noise_of
from stylegan.editing.perceptual import Pyramid, open_perceptual
from stylegan.editing.projection import Projected, State, psnr, reconstructions, stack_targets
from stylegan.editing.starting import batches, w_statistics
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.networks import Generator


@dataclass(frozen=True)
class TuningSettings:
    """How far the generator is tuned."""

    steps: int = 200
    lr: float = 1e-3  # of Adam, for weights of an equalised learning rate, about N(0, 1)
    locality: float = 0.1  # weight of staying what it was beside the pivots; 0 = not asked for
    distance: float = 0.3  # how far beside them, as a share of the way to a random w
    batch: int = 16
    seed: int = 0

    def check(self) -> TuningSettings:
        """The settings; UserError names one that cannot be."""
        for name in ("steps", "batch"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise UserError(f"tuning {name} {getattr(self, name)}: must be 1 or more, and at most a million")
        for name in ("lr", "locality", "distance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"tuning {name} {getattr(self, name)}: must be a number, 0 or more")
        return self


class Tuning:
    """Steps of tuning a copy of G, `self.generator`, for targets uint8 [h, w, C] at their latents; iterate.

    All images are tuned for together, in one generator. UserError as in `Projection`.
    """

    def __init__(
        self,
        G: Generator,
        targets: Sequence[np.ndarray],
        latents: Sequence[Latents],
        settings: TuningSettings | None = None,
        perceptual: Pyramid | None = None,
    ) -> None:
        check_styles(G)
        if len(latents) != len(targets):
            raise ValueError(f"{len(latents)} latents for {len(targets)} targets: give one each")
        self.settings = (settings or TuningSettings()).check()
        self.device = G.w_avg.device
        self.before = copy.deepcopy(G).eval().requires_grad_(False)
        self.generator = copy.deepcopy(self.before)
        self.target = stack_targets(G, targets).to(self.device)
        self.perceptual = perceptual or open_perceptual("auto", self.device)
        self.pivots = list(latents)
        self._ws = torch.cat([own.ws for own in latents]).to(self.device)
        rows = [noise_of(G, own) for own in latents] if G.config.noise else []
        self._noise = [torch.cat(layer).to(self.device) for layer in zip(*rows, strict=True)]
        self._images = self.target.clone()
        self.total, self.step = self.settings.steps, 0
        self._steps = self._descend()

    def __iter__(self) -> Iterator[State]:
        return self

    def __next__(self) -> State:
        with exact_float32(self.device):
            return next(self._steps)

    def images(self) -> list[np.ndarray]:
        """The present reconstructions, uint8 [h, w, C] each."""
        return list(images.to_uint8(self._images))

    def result(self) -> list[Projected]:
        """Each target drawn by the tuned generator from its latents."""
        found = [replace(own, about={**own.about, "tuned": self.step}) for own in self.pivots]
        return reconstructions(self.generator, found, self.target, self.perceptual)

    def _descend(self) -> Iterator[State]:
        settings, synthesis = self.settings, self.generator.synthesis
        used = list(synthesis.parameters())
        for parameter in used:
            parameter.requires_grad_(True)
        optimizer = torch.optim.Adam(used, lr=settings.lr, betas=(0.9, 0.999))
        others = w_statistics(self.before, seed=settings.seed).samples
        random = torch.Generator().manual_seed(settings.seed)
        parts = list(batches(len(self._ws), settings.batch))
        objective = [self.perceptual.objective(self.target[part]) for part in parts]
        for step in range(settings.steps):
            optimizer.zero_grad(set_to_none=True)
            losses, drawn = [], []
            for part, loss_of in zip(parts, objective, strict=True):
                image = synthesis(self._ws[part], noise=[layer[part] for layer in self._noise] or "none")
                loss = loss_of(image)
                loss.sum().backward()
                losses.append(loss.detach())
                drawn.append(image.detach())
            if settings.locality:
                self._stay(others, random).backward()
            self._images = torch.cat(drawn)
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
            optimizer.step()
            self.step += 1
            values = torch.cat(losses).tolist()
            yield State(self.step, self.total, "tune", values, psnr(self._images, self.target).tolist())
        for parameter in used:
            parameter.requires_grad_(False)

    def _stay(self, others: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        """How much one image beside a pivot has changed."""
        settings = self.settings
        pivot = int(torch.randint(len(self._ws), (), generator=random))
        other = int(torch.randint(len(others), (), generator=random))
        beside = torch.lerp(self._ws[pivot : pivot + 1], others[other].expand_as(self._ws[:1]), settings.distance)
        noise = [layer[pivot : pivot + 1] for layer in self._noise] or "none"
        with torch.no_grad():
            wanted = self.before.synthesis(beside, noise=noise)
        now = self.generator.synthesis(beside, noise=noise)
        return settings.locality * self.perceptual.objective(wanted)(now).sum()
