"""VGG-16 (Simonyan and Zisserman, 1409.1556), and LPIPS on top of it (Zhang et al., 1801.03924).

Names are those of the public weight files. VGG's second dense layer gives the features of improved precision and
recall; LPIPS is the perceptual distance of PPL.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

PLAN = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0 = 2x2 maximum
TAPS = (3, 8, 15, 22, 29)  # ReLUs whose output LPIPS compares: the last of each resolution
TAP_CHANNELS = (64, 128, 256, 512, 512)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for images in [0, 1]


def convolutions() -> nn.Sequential:
    """The 13 convolutions with ReLUs and poolings between them."""
    layers: list[nn.Module] = []
    channels = 3
    for outputs in PLAN:
        if outputs:
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=False)]
            channels = outputs
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


@lru_cache(maxsize=16)
def per_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """[1, C, 1, 1] on the device, where it stays."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).reshape(1, -1, 1, 1)


def standardise(x: torch.Tensor) -> torch.Tensor:
    """[N, 3, H, W] in [0, 255] -> mean 0 and spread 1 over ImageNet."""
    return (x / 255.0 - per_channel(MEAN, x.dtype, x.device)) / per_channel(STD, x.dtype, x.device)


class Vgg16(nn.Module):
    """[N, 3, 224, 224] in [0, 255] -> the 4096 activations of the second dense layer, after ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.features = convolutions()
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.features(standardise(x)).flatten(1)  # N 25088
        features = self.classifier[:5](x)
        return features, self.classifier[6](features)


class Lpips(nn.Module):
    """Learned perceptual distance, version 0.1 with VGG-16: images [N, 3, H, W] in [0, 255], twice -> [N].

    Activations of five layers are scaled to unit length at each pixel, their squared differences weighted by
    channel, averaged over pixels and summed over layers (equation 1 there).
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*list(convolutions())[: TAPS[-1] + 1])
        self.weights = nn.ParameterList(nn.Parameter(torch.ones(1, c, 1, 1)) for c in TAP_CHANNELS)

    def activations(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Of the five layers, at unit length along channels."""
        # the shift and scale of its training, for images in [-1, 1]; those of ImageNet, rounded
        shift = per_channel((-0.030, -0.088, -0.188), x.dtype, x.device)
        scale = per_channel((0.458, 0.448, 0.450), x.dtype, x.device)
        x = (x / 127.5 - 1.0 - shift) / scale
        taken = []
        for i in range(len(self.features)):
            x = self.features[i](x)
            if i in TAPS:
                taken.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return taken

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(a), device=a.device)
        for weight, fa, fb in zip(self.weights, self.activations(a), self.activations(b), strict=True):
            total = total + F.conv2d((fa - fb).square(), weight).mean(dim=(1, 2, 3))
        return total


def lpips_tensors(vgg: dict[str, torch.Tensor], linear: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The two public files (`features.N.weight`, `linK.model.1.weight`) -> names of `Lpips`."""
    last = TAPS[-1]
    own = {k: v for k, v in vgg.items() if k.startswith("features.") and int(k.split(".")[1]) < last}
    return own | {f"weights.{k.split('.')[0].removeprefix('lin')}": v for k, v in linear.items()}
