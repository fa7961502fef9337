"""The long work pages ask for: projecting an image, finding directions, writing a clip. Built on `stylegan.editing`."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.errors import UserError
from stylegan.studio.core import Studio, pack
from stylegan.studio.jobs import Job
from stylegan.studio.library import make_id
from stylegan.studio.messages import Directions, Export, PathPoint, Project, Recipe, SeedPoint
from stylegan.studio.pictures import Painter, encode
from stylegan.studio.points import Points

Push = Callable[[bytes | dict[str, Any]], None]
Work = Callable[[Job], dict[str, Any]]
MAX_CLIP = 256 << 20  # bytes
PATIENCE = 0.5  # seconds a job waits for drawing before each step


def plan(studio: Studio, request: Directions | Project | Export, push: Push) -> tuple[str, Work]:
    """(kind, what the job's thread runs) for a request."""
    if isinstance(request, Directions):
        return "directions", lambda job: find_directions(studio, request, job)
    if isinstance(request, Project):
        return "project", lambda job: project(studio, request, job, push)
    return "export", lambda job: export(studio, request, job)


def find_directions(studio: Studio, request: Directions, job: Job) -> dict[str, Any]:
    """Directions of a model by one method; found once per state of the model's file."""
    from stylegan import editing
    from stylegan.studio.core import class_names

    opened, painter = studio.painter(request.model)
    G = painter.generator
    acting = len(G.synthesis.noise_sizes(G.lod))
    layers = tuple(range(min(request.first, acting - 1), min(request.last, acting - 1) + 1))
    count = min(request.count, G.config.w_dim)
    key = f"{opened.entry.id} {opened.stamp} {request.method} {count} {layers}"
    id = make_id(key)
    found = studio.directions.get(id)
    if found is None:
        job.progress(0, 1)
        if request.method == "sefa":
            found = editing.sefa(G, count=count, layers=layers)
        elif request.method == "ganspace":
            found = editing.ganspace(G, count=count, layers=layers)
        else:
            found = editing.from_labels(G, class_names(opened), layers=layers)
        studio.directions[id] = found
    items = [
        {"index": i, "name": str(item.name), "scale": float(item.scale), "layers": [int(n) for n in item.layers]}
        for i, item in enumerate(found.items)
    ]
    return {"id": id, "model": request.model, "method": request.method, "items": items}


def project(studio: Studio, request: Project, job: Job, push: Push) -> dict[str, Any]:
    """The w of an uploaded image; the reconstruction is sent as it improves."""
    from stylegan import editing

    data = studio.uploads.get(request.upload)
    _, painter = studio.painter(request.model)
    G = painter.generator
    target = editing.read_target(data, G, request.fit)
    _send_picture(push, job, "project.target", target)
    settings = editing.ProjectionSettings(steps=request.steps, space=request.space, noise=request.noise)
    descent = editing.Projection(G, [target], settings, classes=[request.cls] if G.config.labels else None)
    shown = 0.0
    for state in descent:
        job.progress(
            state.step, state.total, psnr=float(state.psnr[0]), loss=float(state.loss[0]), stage=str(state.stage)
        )
        if time.monotonic() - shown > 0.2:
            _send_picture(push, job, "project.now", descent.images()[0])
            shown = time.monotonic()
        if job.enough:
            break
        studio.scheduler.wait_idle(PATIENCE)
    result = descent.result()[0]
    _send_picture(push, job, "project.now", result.image)
    id = secrets.token_hex(8)
    studio.kept[id] = result.latents
    return {"id": id, "model": request.model, "psnr": float(result.psnr), "cls": result.class_}


def export(studio: Studio, request: Export, job: Job) -> dict[str, Any]:
    """A clip of a walk, kept until it is fetched and for a while after."""
    from stylegan import video

    opened, shared = studio.painter(request.model)
    painter = Painter(shared.generator, Points(shared.generator, studio.kept, studio.directions))
    look = painter.points.look(request.look)
    noise = request.look.noise
    if noise.mode == "random" and noise.seed is None:
        first = request.path.points[0]  # one noise all along, so that details do not flicker
        if isinstance(first, SeedPoint) and request.path.noise == "still":
            noise = noise.model_copy(update={"seed": first.seed})

    path = request.path

    def frames() -> Iterator[np.ndarray]:
        for i in range(path.frames):
            studio.scheduler.wait_idle(PATIENCE)
            yield painter.exact(Recipe(place=PathPoint(kind="path", frame=i, **dict(path))), look, noise)
            job.progress(i + 1, path.frames)

    settings = {"command": "stylegan studio", **request.model_dump(mode="json", exclude={"type", "id", "model"})}
    settings["model"] = {"file": opened.entry.path.name, "sha256": studio.sha256(opened)}
    with tempfile.TemporaryDirectory(prefix="stylegan-studio-") as folder:
        file = Path(folder) / f"walk.{request.format}"
        video.write_video(file, frames(), path.fps, path.loop, settings)
        data = file.read_bytes()
    if len(data) > MAX_CLIP:
        raise UserError(f"the clip has {len(data) >> 20} MB, more than the studio keeps; use `stylegan walk`")
    id = secrets.token_hex(8)
    studio.clips[id] = (data, request.format)
    return {"id": id, "bytes": len(data), "format": request.format}


def _send_picture(push: Push, job: Job, view: str, image: np.ndarray) -> None:
    data, kind = encode(image)
    height, width = image.shape[:2]
    header = {"type": "frame", "view": view, "id": job.request, "index": 0, "kind": kind, "preview": False}
    push(pack({**header, "ms": 0, "width": width, "height": height, "last": True}, data))
