"""What is written about an evaluation: a JSON record, and the sheet of nearest training images."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylegan import __version__, images
from stylegan.data import Dataset
from stylegan.drawing import Sheet
from stylegan.metrics.evaluation import Evaluation, Options
from stylegan.metrics.sampling import Fakes
from stylegan.metrics.sampling import to_uint8 as levels_of
from stylegan.networks import Generator

PAIRS = 32  # pairs on the sheet: the closest ones


def record(
    evaluation: Evaluation,
    generator: Generator,
    dataset: Dataset,
    options: Options,
    model: Mapping[str, Any],  # file, sha256, kimg, as far as known
    processes: int = 1,
) -> dict[str, Any]:
    """Everything that is needed to trust and to repeat the numbers, as plain JSON values."""
    config, seconds = generator.config, evaluation.seconds
    lod = generator.lod if options.lod is None else options.lod
    height, width = config.resolution
    device = generator.w_avg.device
    return {
        "format": "stylegan-metrics",
        "version": 1,
        "metrics": _finite(evaluation.metrics),
        "model": {**model, "resolution": f"{width}x{height}", "lod": lod},
        "data": {
            "path": None if dataset.path is None else str(dataset.path),
            "fingerprint": dataset.fingerprint,
            "images": len(dataset),
            "mirror": options.mirror,
            "attribution": dataset.attribution or None,
        },
        "settings": {
            "seed": options.seed,
            "psi": options.psi,
            "noise": "random" if config.noise else "none",
            "batch": evaluation.batch,
            "face_crop": options.face_crop,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "processes": processes,
            "images": "uint8, rounded; ppl: float, not rounded",
        },
        "time": {
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "split": {name.replace(" ", "_"): round(value, 3) for name, value in evaluation.split.items()},
            "share_outside_networks": round(evaluation.share_outside_networks, 4),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        "notes": evaluation.notes,
        "library": {"stylegan-torch": __version__, "torch": torch.__version__},
    }


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def neighbour_sheet(
    evaluation: Evaluation, generator: Generator, dataset: Dataset, options: Options
) -> np.ndarray | None:
    """The generated images closest to training images, each left of its nearest one: uint8 [H, W, C].

    Closest first, four pairs to a row. None where nn was not measured or no image file holds the channels.
    """
    if evaluation.neighbours is None or generator.config.channels not in images.MODES:
        return None
    _, distances, indices = evaluation.neighbours
    order = np.argsort(distances, kind="stable")[:PAIRS]
    classes = dataset.classes if dataset.num_classes and generator.config.labels else None
    fakes = Fakes(generator, options.seed, options.psi, options.lod, classes)
    columns = min(4, len(order))
    rows = -(-len(order) // columns)
    height, width = generator.config.resolution
    sheet = Sheet(
        rows,
        2 * columns,
        (height, width, generator.config.channels),
        column_labels=["generated", "nearest"] * columns,
    )
    for place, i in enumerate(order):
        part = [int(i)]
        drawn = fakes.draw(fakes.map(fakes.latents(part), fakes.labels(part)), fakes.noise(part))
        fake = levels_of(drawn)[0].movedim(0, -1).cpu().numpy()  # H W C
        real = dataset.read(indices[i : i + 1], (height, width))[0].transpose(1, 2, 0)  # H W C
        sheet.place(place // columns, place % columns * 2, fake)
        sheet.place(place // columns, place % columns * 2 + 1, np.ascontiguousarray(real))
    return sheet.image()


def sheet_path(out: Path) -> Path:
    """Where the sheet goes: beside the JSON."""
    return out.with_name(out.stem + "-nearest.png")
