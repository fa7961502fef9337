"""What a person looks at during training: the real images, the fixed-latent grid of every tick, the time-lapse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stylegan import images
from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.errors import UserError
from stylegan.networks import Generator
from stylegan.training.draws import draw_noise, noise_buffer, noise_layers, seed_of
from stylegan.training.run import stored_config
from stylegan.video import write_video


def grid_shape(config: Config) -> tuple[int, int]:
    """(rows, columns) of the preview: as asked, or what fills about 1280x720 pixels, one row per class."""
    rows, columns = config.training.grid
    if rows and columns:
        return rows, columns
    height, width = config.generator.resolution
    columns = min(max(1280 // width, 4), 16)
    rows = min(max(720 // height, 3), 10)
    classes = config.generator.labels
    return (classes, columns) if 1 < classes <= 20 else (rows, columns)


def preview_labels(config: Config, device: torch.device) -> torch.Tensor | None:
    """One class per row, [rows·columns, classes]; None for unconditional networks."""
    classes = config.generator.labels
    if not classes:
        return None
    rows, columns = grid_shape(config)
    numbers = (torch.arange(rows) % classes).repeat_interleave(columns)
    return torch.nn.functional.one_hot(numbers, classes).float().to(device)


class Preview:
    """Draws the same latents at every report."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.rows, self.columns = grid_shape(config)
        generator = torch.Generator().manual_seed(seed_of(config.training.seed, "preview"))
        count = self.rows * self.columns
        self.z = torch.randn(count, config.generator.z_dim, generator=generator).to(device)
        self.labels = preview_labels(config, device)
        self.noise_seed = seed_of(config.training.seed, "preview", "noise")
        self.size = config.generator.resolution

    @torch.inference_mode()
    def draw(self, generator: Generator, lod: float, batch: int = 16) -> np.ndarray:
        """The grid at full size (nearest-enlarged while growing), uint8 [H, W, C]; no truncation.

        Each image has its own noise, the same at every report of a size: with one noise for all, what it decides
        would look as if the images did not vary.
        """
        parts = []
        for i in range(0, len(self.z), batch):
            z, labels = self.z[i : i + batch], None if self.labels is None else self.labels[i : i + batch]
            rows = torch.arange(len(z))
            room = noise_buffer(generator.synthesis, lod, len(z), z.device)
            noise = draw_noise(generator.synthesis, lod, len(z), rows, self.noise_seed + i, room)
            layers = noise_layers(generator.synthesis, lod, noise) or "none"
            parts.append(generator(z, labels, psi=None, noise=layers, lod=lod).cpu())
        tiles = images.to_uint8(torch.cat(parts))  # N h w C
        grid = images.grid(list(visible(tiles)), columns=self.columns)
        return images.enlarge(grid, self.size[0] // tiles.shape[1])


def visible(tiles: np.ndarray) -> np.ndarray:
    """What an image file can show of [N, H, W, C]: all of 1, 3 or 4 channels, otherwise the first 3 or 1."""
    channels = tiles.shape[3]
    return tiles if channels in images.MODES else tiles[..., : 3 if channels > 3 else 1]


def draw_reals(config: Config, dataset: Dataset) -> np.ndarray:
    """As many real images as the preview has tiles, one class per row where there are classes; uint8 [H, W, C]."""
    rows, columns = grid_shape(config)
    rng = np.random.default_rng(config.training.seed)
    if config.generator.labels:
        chosen = []
        for row in range(rows):
            members = np.flatnonzero(dataset.classes == row % config.generator.labels)
            chosen.append(rng.choice(members, columns) if len(members) else rng.integers(len(dataset), size=columns))
        indices = np.concatenate(chosen)
    else:
        indices = rng.choice(len(dataset), rows * columns, replace=len(dataset) < rows * columns)
    height, width = config.generator.resolution
    tiles = dataset.read(indices, size=(height, width)).transpose(0, 2, 3, 1)  # N H W C
    return images.grid(list(visible(tiles)), columns=columns)


def grid_path(run: Path, nimg: int) -> Path:
    """RUN/grids/fakes-001234567.png: named by images shown, so that names sort by time."""
    return run / "grids" / f"fakes-{nimg:09d}.png"


def write_timelapse(
    run: Path,
    out: Path | None = None,  # None: RUN/timelapse.mp4
    seconds: float = 12.0,  # about how long
    tiles: tuple[int, int] | None = None,  # columns and rows of the grid to show, from the top left; None = all
) -> Path | None:
    """A clip from all grids of a run; None where there are fewer than two."""
    paths = sorted((run / "grids").glob("fakes-*.png"))
    config = stored_config(run)
    if len(paths) < 2 or config is None:
        return None
    fps = max(2.0, min(30.0, len(paths) / seconds))
    rows, columns = grid_shape(config)
    shown_columns, shown_rows = tiles or (columns, rows)
    if not (1 <= shown_columns <= columns and 1 <= shown_rows <= rows):
        raise UserError(f"--tiles {shown_columns}x{shown_rows}: the grids of {run} have {columns}x{rows}")

    def frames() -> Iterator[np.ndarray]:
        for path in [*paths, *[paths[-1]] * round(fps)]:  # the last one stays for a second
            with Image.open(path) as image:
                grid = images.from_pil(image)
            height, width = grid.shape[0] // rows, grid.shape[1] // columns
            yield grid[: shown_rows * height, : shown_columns * width]

    out = out or run / "timelapse.mp4"
    write_video(out, frames(), fps=fps)
    return out
