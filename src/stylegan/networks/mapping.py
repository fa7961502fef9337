"""Mapping network f: Z -> W (StyleGAN, section 2 and figure 1b)."""

from __future__ import annotations

import torch
from torch import nn

from stylegan.config import GeneratorConfig
from stylegan.networks.labels import as_one_hot
from stylegan.networks.layers import EqualizedLinear
from stylegan.ops.style import activate, at_least_float32, pixel_norm


class MappingNetwork(nn.Module):
    """z [N, Z] and labels [N, classes] -> ws [N, L, D]: pixel norm, then dense layers at lrmul 0.01.

    A label is embedded by a matrix and concatenated after z. Progressive GAN concatenates it as it is and has
    no layers here, so that w is the normalised input itself.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        embeds = config.labels and config.label_input == "embed"
        self.label_embedding = nn.Parameter(torch.randn(config.labels, config.z_dim)) if embeds else None
        layers = []
        width = config.mapping_inputs
        for i in range(config.mapping_layers):
            last = i == config.mapping_layers - 1
            out = config.w_dim if last else config.mapping_width
            layers.append(
                EqualizedLinear(width, out, lrmul=config.mapping_lrmul, equalized=config.equalized, float64=True)
            )
            width = out
        self.layers = nn.ModuleList(layers)

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """z [N, Z], labels [N, classes] or [N] or None -> ws [N, L, D], the same w for every layer."""
        w = self.w(z, labels)  # N D
        return w[:, None].expand(-1, self.config.num_layers, -1)

    def w(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """z [N, Z], labels as above -> w [N, D]. ValueError for z of the wrong size."""
        if z.ndim != 2 or z.shape[1] != self.config.z_dim:
            raise ValueError(f"z {list(z.shape)}: this network takes [N, {self.config.z_dim}]")
        x = at_least_float32(z)
        one_hot = as_one_hot(labels, self.config.labels, z.shape[0], like=z)
        if one_hot is not None:
            y = one_hot if self.label_embedding is None else one_hot @ self.label_embedding
            x = torch.cat([x, y], dim=1)  # N Z+Y
        if self.config.normalize_z:
            x = pixel_norm(x)
        for layer in self.layers:
            x = activate(layer(x), self.config.mapping_nonlinearity)
        return x  # N D
