"""The style-based generator: mapping, truncation trick, synthesis (StyleGAN, figure 1b and appendix B)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from stylegan.config import Config, GeneratorConfig
from stylegan.networks.mapping import MappingNetwork
from stylegan.networks.synthesis import Noise, SynthesisNetwork
from stylegan.ops.switch import exact

Default = Literal["default"]  # what the network's configuration says


def pulled(w_avg: torch.Tensor, ws: torch.Tensor, psi: float | torch.Tensor) -> torch.Tensor:
    """w_avg + psi·(ws − w_avg), psi a number or a scalar tensor: w_avg [D], ws [N, L, D] -> [N, L, D]."""
    if not exact(ws):
        return torch.lerp(w_avg.to(ws), ws, psi)
    mean = w_avg.double()
    psi = torch.as_tensor(psi, dtype=ws.dtype).double()
    return (mean + psi * (ws.double() - mean)).to(ws.dtype)


class Generator(nn.Module):
    """z [N, Z] -> images [N, C, H, W]. Also Progressive GAN's generator, under configuration A.

    `w_avg` [D] is the running mean of w; `lod` is the level of detail this network has been trained to
    (0.0 once fully grown), used wherever a call does not name one.
    """

    w_avg: torch.Tensor

    def __init__(self, config: GeneratorConfig | Config) -> None:
        super().__init__()
        self.config = config.generator if isinstance(config, Config) else config
        self.mapping = MappingNetwork(self.config)
        self.synthesis = SynthesisNetwork(self.config)
        self.register_buffer("w_avg", torch.zeros(self.config.w_dim))

    @property
    def lod(self) -> float:
        """Level of detail these weights have been trained to; 0.0 once fully grown."""
        return self.synthesis.lod

    @lod.setter
    def lod(self, value: float) -> None:
        self.synthesis.lod = float(value)

    @property
    def truncatable(self) -> bool:
        """Whether truncation acts: not in traditional generators (A, B), where nothing tracks a mean of w."""
        return self.config.styles or self.config.truncation_psi is not None

    def forward(
        self,
        z: torch.Tensor,
        labels: torch.Tensor | None = None,
        psi: float | Default | None = "default",
        cutoff: int | Default | None = "default",
        noise: Noise = "random",
        lod: float | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """z [N, Z], labels [N, classes] or [N] -> images [N, C, h, w] in about [−1, 1].

        psi and cutoff default to the configuration's (0.7 and 8, as officially); lod to the network's own.
        """
        ws = self.truncate(self.mapping(z, labels), psi, cutoff)
        return self.synthesis(ws, lod, noise, generator)

    def truncate(
        self,
        ws: torch.Tensor,
        psi: float | Default | None = "default",
        cutoff: int | Default | None = "default",
    ) -> torch.Tensor:
        """Truncation trick, appendix B: w_avg + psi·(w − w_avg) for the first `cutoff` layers; [N, L, D].

        psi None or 1, or cutoff None: unchanged (cutoff None disables truncation, as officially; pass L to
        truncate every layer). Without effect in traditional generators.
        """
        psi = self.config.truncation_psi if isinstance(psi, str) and psi == "default" else psi
        cutoff = self.config.truncation_cutoff if isinstance(cutoff, str) and cutoff == "default" else cutoff
        if isinstance(psi, str) or isinstance(cutoff, str):
            raise ValueError(f"psi {psi!r}, cutoff {cutoff!r}: must be numbers or None")
        if psi is None or psi == 1 or cutoff is None or not self.truncatable:
            return ws
        truncated = pulled(self.w_avg, ws[:, :cutoff], float(psi))
        return torch.cat([truncated, ws[:, cutoff:]], dim=1)  # N L D

    @torch.no_grad()
    def update_w_avg(self, mean_w: torch.Tensor) -> None:
        """Moves w_avg towards a batch's mean w [D]: w_avg ← lerp(mean, w_avg, beta), beta 0.995."""
        if self.config.w_avg_beta < 1:
            self.w_avg.copy_(torch.lerp(mean_w.to(self.w_avg), self.w_avg, self.config.w_avg_beta))
