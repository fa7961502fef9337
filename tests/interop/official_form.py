"""The official networks once more, as plain functions in float64 that share nothing with the project's own.

Written from the recorded behaviour (names, shapes, order of operations; tests/parity), for every argument that says
what is computed. Variables are made when a function first asks for them, so that their names and shapes come from
here too. Layouts are the official ones: convolutions [k, k, in, out], dense layers [in, out]; C, H, W.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

SQRT2 = math.sqrt(2.0)
Kwargs = dict[str, Any]
Tensor = torch.Tensor
ACT: dict[str, Callable[[Tensor], Tensor]] = {"lrelu": lambda x: F.leaky_relu(x, 0.2), "relu": F.relu}


class Variables(dict[str, np.ndarray]):
    """Names to float32 values, drawn from a seed when first asked for."""

    def __init__(self, seed: int, kwargs: Kwargs) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.wscale = kwargs.get("use_wscale", True)

    def take(self, name: str, shape: tuple[int, ...], spread: float = 1.0) -> Tensor:
        if name not in self:
            self[name] = (self.rng.standard_normal(shape) * spread).astype(np.float32)
        assert self[name].shape == shape, name
        return torch.from_numpy(self[name].astype(np.float64))

    def weight(self, name: str, shape: tuple[int, ...], gain: float = SQRT2, lrmul: float = 1.0) -> Tensor:
        he = gain / math.sqrt(math.prod(shape[:-1]))
        if self.wscale:
            return self.take(f"{name}/weight", shape, 1 / lrmul) * he * lrmul
        return self.take(f"{name}/weight", shape, he / lrmul) * lrmul

    def bias(self, name: str, x: Tensor, lrmul: float = 1.0) -> Tensor:
        b = self.take(f"{name}/bias", (x.shape[1],), 0.3 / lrmul) * lrmul
        return x + b.reshape(1, -1, *[1] * (x.ndim - 2))

    def dense(self, name: str, x: Tensor, outputs: int, gain: float = SQRT2, lrmul: float = 1.0) -> Tensor:
        x = x.flatten(1)
        return x @ self.weight(name, (x.shape[1], outputs), gain, lrmul)

    def conv(self, name: str, x: Tensor, outputs: int, k: int = 3, gain: float = SQRT2, turned: bool = False) -> Tensor:
        w = self.weight(name, (k, k, x.shape[1], outputs), gain)
        return F.conv2d(x, (w.flip(0, 1) if turned else w).permute(3, 2, 0, 1), padding=k // 2)


def up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def pixel_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def instance_norm(x: Tensor) -> Tensor:
    x = x - x.mean((2, 3), keepdim=True)
    return x * torch.rsqrt(x.square().mean((2, 3), keepdim=True) + 1e-8)


def blur(x: Tensor, taps: Any) -> Tensor:
    if not taps:
        return x
    f = torch.tensor(taps, dtype=torch.float64)
    k = (f[:, None] * f) / f.sum() ** 2
    before, after = (len(taps) - 1) // 2, len(taps) // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), k.expand(x.shape[1], 1, *k.shape), groups=x.shape[1])


def fmaps(kwargs: Kwargs, stage: int) -> int:
    rule = kwargs.get("fmap_base", 8192) / 2.0 ** (stage * kwargs.get("fmap_decay", 1.0))
    return min(int(rule), kwargs.get("fmap_max", 512))


def top_of(kwargs: Kwargs) -> int:
    return int(math.log2(kwargs["resolution"])) - 2


def blended(images: list[Tensor], lod: float) -> Tensor:
    """The image of a lod at that lod's own size, out of those of all levels."""
    level, fade = len(images) - 1 - math.floor(lod), lod % 1
    return torch.lerp(images[level], up(images[level - 1]), fade) if fade else images[level]


def g_style(v: Variables, z: Tensor, y: Tensor, kwargs: Kwargs, lod: float) -> Tensor:
    """The whole generator with its default truncation and stored noise."""
    layers = 2 * top_of(kwargs) + 2
    w = _mapping(v, z, y, kwargs)[:, None].expand(-1, layers, -1)
    average = v.take("dlatent_avg", (w.shape[-1],), 0.2)
    psi, cutoff = kwargs.get("truncation_psi", 0.7), kwargs.get("truncation_cutoff", 8)
    if psi is not None and cutoff is not None:
        w = average + (w - average) * torch.where(torch.arange(layers)[:, None] < cutoff, psi, 1.0)
    return _synthesis(v, w, kwargs, lod)


def _mapping(v: Variables, z: Tensor, y: Tensor, kwargs: Kwargs) -> Tensor:
    x, count, lrmul = z, kwargs.get("mapping_layers", 8), kwargs.get("mapping_lrmul", 0.01)
    if y.shape[1]:
        x = torch.cat([x, y @ v.take("G_mapping/LabelConcat/weight", (y.shape[1], z.shape[1]))], 1)
    if kwargs.get("normalize_latents", True):
        x = pixel_norm(x)
    for i in range(count):
        name, width = f"G_mapping/Dense{i}", kwargs["dlatent_size" if i == count - 1 else "mapping_fmaps"]
        x = v.bias(name, v.dense(name, x, width, SQRT2, lrmul), lrmul)
        x = ACT[kwargs.get("mapping_nonlinearity", "lrelu")](x)
    return x


def _synthesis(v: Variables, w: Tensor, kwargs: Kwargs, lod: float) -> Tensor:
    root, top = "G_synthesis/", top_of(kwargs)
    fused, taps = kwargs.get("fused_scale", "auto"), kwargs.get("blur_filter", [1, 2, 1])

    def epilogue(x: Tensor, i: int, name: str) -> Tensor:
        name = root + name
        if kwargs.get("use_noise", True):
            noise = v.take(f"{root}noise{i}", (1, 1, *x.shape[2:]))
            x = x + noise * v.take(f"{name}/Noise/weight", (x.shape[1],), 0.3).reshape(-1, 1, 1)
        x = ACT[kwargs.get("nonlinearity", "lrelu")](v.bias(name, x))
        x = pixel_norm(x) if kwargs.get("use_pixel_norm", False) else x
        x = instance_norm(x) if kwargs.get("use_instance_norm", True) else x
        if kwargs.get("use_styles", True):
            style = f"{name}/StyleMod"
            s = v.bias(style, v.dense(style, w[:, i], 2 * x.shape[1], gain=1)).reshape(-1, 2, x.shape[1], 1, 1)
            x = x * (s[:, 0] + 1) + s[:, 1]
        return x

    def image(x: Tensor, level: int) -> Tensor:
        name = f"{root}ToRGB_lod{top - level}"
        return v.bias(name, v.conv(name, x, kwargs["num_channels"], 1, 1.0))

    c = fmaps(kwargs, 1)
    if kwargs.get("const_input_layer", True):
        x = v.take(f"{root}4x4/Const/const", (1, c, 4, 4)).expand(len(w), -1, -1, -1)
        x = epilogue(x, 0, "4x4/Const")
    else:
        x = v.dense(f"{root}4x4/Dense", w[:, 0], c * 16, SQRT2 / 4).reshape(-1, c, 4, 4)
        x = epilogue(x, 0, "4x4/Dense")
    x = epilogue(v.conv(f"{root}4x4/Conv", x, c), 1, "4x4/Conv")
    images = [image(x, 0)]
    for level in range(1, top + 1):
        side, c = 4 << level, fmaps(kwargs, level + 1)
        turned = side >= 128 if fused == "auto" else fused
        name = f"{side}x{side}/Conv0_up"
        x = epilogue(blur(v.conv(root + name, up(x), c, turned=turned), taps), 2 * level, name)
        name = f"{side}x{side}/Conv1"
        x = epilogue(v.conv(root + name, x, c), 2 * level + 1, name)
        images.append(image(x, level))
    return blended(images, lod)


def g_paper(v: Variables, z: Tensor, y: Tensor, kwargs: Kwargs, lod: float) -> Tensor:
    """Progressive GAN's generator; labels follow the latents as they are."""
    fused = bool(kwargs.get("fused_scale", True))

    def layer(x: Tensor, name: str) -> Tensor:
        x = ACT["lrelu" if kwargs.get("use_leakyrelu", True) else "relu"](v.bias(name, x))
        return pixel_norm(x) if kwargs.get("use_pixelnorm", True) else x

    def image(x: Tensor, level: int) -> Tensor:
        name = f"ToRGB_lod{top_of(kwargs) - level}"
        return v.bias(name, v.conv(name, x, kwargs["num_channels"], 1, 1.0))

    x, c = torch.cat([z, y], 1), fmaps(kwargs, 1)
    x = pixel_norm(x) if kwargs.get("normalize_latents", True) else x
    x = layer(v.dense("4x4/Dense", x, c * 16, SQRT2 / 4).reshape(-1, c, 4, 4), "4x4/Dense")
    x = layer(v.conv("4x4/Conv", x, c), "4x4/Conv")
    images = [image(x, 0)]
    for level in range(1, top_of(kwargs) + 1):
        side, c = 4 << level, fmaps(kwargs, level + 1)
        name = f"{side}x{side}/Conv0_up" if fused else f"{side}x{side}/Conv0"
        x = layer(v.conv(name, up(x), c, turned=fused), name)
        x = layer(v.conv(f"{side}x{side}/Conv1", x, c), f"{side}x{side}/Conv1")
        images.append(image(x, level))
    return blended(images, lod)


def discriminator(v: Variables, images: Tensor, y: Tensor, kwargs: Kwargs, lod: float, progan: bool = False) -> Tensor:
    """D_basic, or D_paper, which has no blur, no choice of activation, and takes no notice of labels."""
    top, group = top_of(kwargs), kwargs.get("mbstd_group_size", 4)
    act = ACT["lrelu" if progan else kwargs.get("nonlinearity", "lrelu")]
    taps = None if progan else kwargs.get("blur_filter", [1, 2, 1])
    features = 0 if group < 2 else 1 if progan else kwargs.get("mbstd_num_features", 1)

    def from_rgb(x: Tensor, level: int) -> Tensor:
        name = f"FromRGB_lod{top - level}"
        return act(v.bias(name, v.conv(name, x, fmaps(kwargs, level + 1), 1)))

    def block(x: Tensor, level: int) -> Tensor:
        name, c = f"{4 << level}x{4 << level}", fmaps(kwargs, level + 1)
        if level:
            x = act(v.bias(f"{name}/Conv0", v.conv(f"{name}/Conv0", x, c)))
            x = F.avg_pool2d(v.conv(f"{name}/Conv1_down", blur(x, taps), fmaps(kwargs, level)), 2)
            return act(v.bias(f"{name}/Conv1_down", x))
        x = _stddev(x, group, features) if features else x
        x = act(v.bias("4x4/Conv", v.conv("4x4/Conv", x, c)))
        x = act(v.bias("4x4/Dense0", v.dense("4x4/Dense0", x, fmaps(kwargs, 0))))
        outputs = 1 if progan else max(y.shape[1], 1)
        return v.bias("4x4/Dense1", v.dense("4x4/Dense1", x, outputs, 1.0))

    start, fade = top - math.floor(lod), lod % 1
    for level in range(top, start, -1):  # variables that this lod does not use
        block(from_rgb(images.new_zeros(1, images.shape[1], 4, 4), level), level)
    for level in range(start):
        from_rgb(images, level)
    x = from_rgb(images, start)
    for level in range(start, -1, -1):
        x = block(x, level)
        if level == start and fade:
            x = torch.lerp(x, from_rgb(F.avg_pool2d(images, 2), start - 1), fade)
    return x if progan or not y.shape[1] else (x * y).sum(1, keepdim=True)


def _stddev(x: Tensor, group: int, features: int) -> Tensor:
    group = min(group, len(x))
    y = x.reshape(group, -1, features, x.shape[1] // features, *x.shape[2:])
    y = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((2, 3, 4), keepdim=True).mean(2)
    return torch.cat([x, y.repeat(group, 1, *x.shape[2:])], 1)
