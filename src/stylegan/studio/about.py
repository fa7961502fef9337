"""What a model is, for the Model page: facts, layers, card. Local folders are left out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stylegan.studio.core import Studio, class_names
from stylegan.studio.training import clean


def listing(studio: Studio) -> list[dict[str, Any]]:
    """Every model, briefly."""
    return [{"id": e.id, "name": e.name, "run": e.run} for e in studio.library.models()]


def essentials(studio: Studio, model: str) -> dict[str, Any]:
    """What the pages need before they can draw: size, classes, layers, truncation. Loads the model."""
    from stylegan.latents import layer_ranges

    opened, painter = studio.painter(model)
    G, config = painter.generator, painter.generator.config
    height, width = painter.size
    sizes = G.synthesis.noise_sizes(G.lod)
    return clean({
        "id": model, "name": opened.entry.name, "width": width, "height": height, "channels": config.channels,
        "full": [config.resolution[1], config.resolution[0]], "lod": G.lod, "classes": config.labels,
        "class_names": class_names(opened), "layers": len(sizes), "sizes": [[w, h] for h, w in sizes],
        "ranges": {name: [v[0], v[-1]] for name, v in layer_ranges(len(sizes)).items()},
        "styles": config.styles, "noise": config.noise, "truncatable": G.truncatable,
        "psi": (1.0 if config.truncation_psi is None else config.truncation_psi) if G.truncatable else 1.0,
        "cutoff": config.truncation_cutoff, "kimg": opened.snapshot.training.get("kimg"),
        "stamp": str(opened.stamp[0]),
    })  # fmt: skip


def details(studio: Studio, model: str) -> dict[str, Any]:
    """What `stylegan inspect` tells of the file, and the card that would be published with it, if one can be made."""
    from stylegan.export.card import _without_paths, card
    from stylegan.inspection import inspect

    opened, _ = studio.painter(model)
    report = asdict(inspect(opened.entry.path))
    report["file"] = opened.entry.path.name
    try:
        text = card(opened.snapshot, f"you/{_slug(opened.entry.path.stem)}", "drawn when the model is published")
    except (AttributeError, KeyError, TypeError, ValueError):  # facts of another version, in another form
        text = ""
    return clean({**_without_paths(report), "id": model, "name": opened.entry.name, "card": text})


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name) or "model"
