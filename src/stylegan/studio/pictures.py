"""Drawing for the pages: batches where that is faster, a low-resolution frame first where drawing is slow.

A picture to keep (`exact`) is computed alone, as `stylegan generate` does, and equals its file to the byte.
"""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import features
from torch import nn

from stylegan import images, latents
from stylegan.drawing.render import Look as DrawnLook
from stylegan.drawing.render import exact_float32
from stylegan.networks import Replay
from stylegan.studio.messages import KeptPoint, Noise, PathPoint, Recipe, Render
from stylegan.studio.points import Points, first_point
from stylegan.studio.sketch import Sketch
from stylegan.studio.threads import Threads

if TYPE_CHECKING:
    from stylegan.networks import Generator

SLOW = 0.15  # seconds per image from which a low-resolution frame goes first
LOSSLESS = 256  # sides up to this go out as lossless WebP, larger ones as JPEG (measured in docs/studio.md)
FULL_COLOUR = 512  # sides up to this go out as JPEG of quality 90 with full colour, larger ones of 85 with half of it
BATCH = {"cpu": 4, "cuda": 16, "mps": 4}
BATCH_PIXELS = 4 * 256 * 256  # larger images are drawn in smaller batches
NOISE_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30, "mps": 256 << 20}  # of seeds that are kept; one at 1024² has 11 MB


@dataclass
class Drawn:
    """One picture of a request: its number, uint8 [H, W, C], and how it came to be."""

    index: int
    image: np.ndarray
    preview: bool = False
    seconds: float = 0.0  # of the network


class Painter:
    """Draws from one loaded model, in the rendering thread only."""

    def __init__(self, generator: Generator, points: Points) -> None:
        self.generator, self.points = generator, points
        self.device = generator.w_avg.device
        self.seconds: float | None = None  # of one image, running mean
        self._noises: OrderedDict[int, list[torch.Tensor]] = OrderedDict()
        self._sketch = Sketch(generator)
        self._replay = Replay(generator)
        self._threads = Threads()
        h, w = self.size
        self.batch = max(1, min(BATCH.get(self.device.type, 1), BATCH_PIXELS // (h * w)))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what is drawn."""
        size: tuple[int, int] = self.generator.synthesis.noise_sizes(self.generator.lod)[-1]
        return size

    def steps(self, request: Render, start: int = 0) -> Iterator[list[Drawn]]:
        """The pictures of a request, a few at a time, beginning with number `start` and going round.

        Starting elsewhere than at 0 lets a request go on where the one it replaces was interrupted, so that all
        pictures of a grid keep moving while a slider is dragged.
        """
        look = self.points.look(request.look)
        count = len(request.recipes)
        order = [(start + i) % count for i in range(count)]
        slow = (self.seconds or 0) > SLOW and (count <= 4 or (self.seconds or 0) * count > 1)
        network = self._sketch.network() if request.preview and slow else None
        for first in range(0, count if network is not None else 0, self.batch):
            part = order[first : first + self.batch]
            begin = time.perf_counter()
            drawn = self._draw([request.recipes[i] for i in part], look, request.look.noise, network)
            spent = (time.perf_counter() - begin) / len(part)
            yield [Drawn(i, image, True, spent) for i, image in zip(part, drawn, strict=True)]
        step = 1 if self.seconds is None else self.batch
        first = 0
        while first < count:
            part = order[first : first + step]
            begin = time.perf_counter()
            with self._threads.timed(len(part)):
                drawn = self._draw([request.recipes[i] for i in part], look, request.look.noise)
            spent = (time.perf_counter() - begin) / len(part)
            self.seconds = spent if self.seconds is None else 0.7 * self.seconds + 0.3 * spent
            yield [Drawn(i, image, False, spent) for i, image in zip(part, drawn, strict=True)]
            first += len(part)
            step = self.batch if self.seconds * self.batch < 0.25 else 1

    def exact(self, recipe: Recipe, look: DrawnLook, noise: Noise) -> np.ndarray:
        """One image, computed alone, with all threads: uint8 [H, W, C]."""
        if torch.get_num_threads() != self._threads.most:
            torch.set_num_threads(self._threads.most)
        return self._draw([recipe], look, noise, exact=True)[0]

    def _draw(
        self,
        recipes: Sequence[Recipe],
        look: DrawnLook,
        noise: Noise,
        sketch: nn.Module | None = None,
        exact: bool = False,
    ) -> list[np.ndarray]:
        """The pictures of recipes in one pass, by the whole network or by a sketch of it.

        On a GPU, what goes out as JPEG anyway is drawn with TF32 unless it is to be `exact`.
        """
        lod = self.generator.lod if sketch is None else self._sketch.lod
        precise = exact or max(self.size) <= LOSSLESS
        with torch.inference_mode(), exact_float32(self.device) if precise else quick_float32(self.device):
            ws = torch.cat([self.points.styles(recipe, look) for recipe in recipes]).to(self.device)  # N L D
            inputs = self._noise(recipes, look, noise, lod)
            if sketch is not None:
                drawn = sketch(ws, lod=lod, noise=inputs)
            elif (self.seconds or 0) < SLOW / 2:
                drawn = self._replay.synthesis(ws, lod=lod, noise=inputs)
            else:
                with self._sketch.watching() as seen:
                    drawn = self.generator.synthesis(ws, lod=lod, noise=inputs)
                    seen.append(drawn)
            return [images.to_uint8(shown(image)) for image in drawn]

    def _noise(self, recipes: Sequence[Recipe], look: DrawnLook, noise: Noise, lod: float) -> Any:
        """What the synthesis network takes as noise: each image's own, times the strength of each layer."""
        if look.noise == "none":
            return "none"
        count = len(self.generator.synthesis.noise_sizes(lod))
        own = [self._own_noise(recipe, look, noise) for recipe in recipes]
        if look.noise == "stored" and not any(own) and all(s == 1 for s in noise.strengths):
            return "stored"
        rows = []
        for recipe, found in zip(recipes, own, strict=True):
            if found is None and look.noise == "stored":
                found = [self.generator.synthesis.get_buffer(f"noise{i}") for i in range(count)]
            elif found is None:
                found = self._seeded(self.points.noise_seed(recipe) if noise.seed is None else noise.seed)
            rows.append(found)
        layers = rows[0] if len(rows) == 1 else [torch.cat([row[i] for row in rows]) for i in range(count)]  # N 1 h w
        layers = layers[:count]
        strengths = [*noise.strengths, *[1.0] * count][:count]
        return [layer if s == 1 else layer * s for layer, s in zip(layers, strengths, strict=True)]

    def _own_noise(self, recipe: Recipe, look: DrawnLook, noise: Noise) -> list[torch.Tensor] | None:
        """Noise inputs that belong to an image: found together with a projection, or moving along a walk."""
        if noise.seed is not None and look.noise == "random":
            return None
        if isinstance(recipe.place, PathPoint) and recipe.place.noise != "still":
            moving: list[torch.Tensor] | None = self.points.walk(recipe.place, look).noise_at(recipe.place.frame)
            return moving
        point = first_point(recipe)
        found = self.points.found(point).noise if isinstance(point, KeptPoint) else None
        return None if found is None else [layer.to(self.device) for layer in found]

    def _seeded(self, seed: int) -> list[torch.Tensor]:
        noises = self._noises.get(seed)
        if noises is None:
            sizes = self.generator.synthesis.noise_sizes(self.generator.lod)
            noises = [layer.to(self.device) for layer in latents.noise_from_seeds([seed], sizes)]
            self._noises[seed] = noises
            each = 4 * sum(h * w for h, w in sizes)
            while len(self._noises) > max(4, NOISE_BYTES.get(self.device.type, 0) // each):
                self._noises.popitem(last=False)
        self._noises.move_to_end(seed)
        return noises


@contextmanager
def quick_float32(device: torch.device) -> Iterator[None]:
    """On CUDA: TF32 (10 bits of mantissa in products, sums in float32). The old settings come back."""
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=False, allow_tf32=True):
            yield
    finally:
        matmul.allow_tf32 = tf32


def shown(image: torch.Tensor) -> torch.Tensor:
    """[C, H, W] with the channels that an image file can hold: the first three, or one."""
    channels = image.shape[0]
    return image if channels in images.MODES else image[: 3 if channels > 3 else 1]


def encode(image: np.ndarray, side: int | None = None) -> tuple[bytes, str]:
    """(bytes, kind) for the browser: lossless WebP when small, else JPEG, lighter for the largest."""
    picture = images.to_pil(image)
    if side is not None and max(picture.size) > side:
        factor = side / max(picture.size)
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(size, resample=2, reducing_gap=2.0)  # bilinear
    out = io.BytesIO()
    if (picture.mode == "RGBA" or max(picture.size) <= LOSSLESS) and not features.check("webp"):
        picture.save(out, format="PNG", compress_level=1)
        return out.getvalue(), "png"
    if picture.mode == "RGBA" or max(picture.size) <= LOSSLESS:
        picture.convert("RGBA" if picture.mode == "RGBA" else "RGB").save(
            out, format="WEBP", lossless=True, method=0, quality=0, exact=True
        )
        return out.getvalue(), "webp"
    fine = max(picture.size) <= FULL_COLOUR
    picture.save(out, format="JPEG", quality=90 if fine else 85, subsampling=0 if fine else 2)
    return out.getvalue(), "jpeg"
