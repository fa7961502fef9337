"""The studio behind the pages: models, the rendering thread, jobs, and what they have found."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from stylegan import __version__, images
from stylegan.drawing.render import Look as DrawnLook
from stylegan.errors import UserError
from stylegan.studio.jobs import Jobs
from stylegan.studio.library import Library, Opened, Unknown
from stylegan.studio.messages import KeptPoint, Look, Recipe, Render, SeedPoint
from stylegan.studio.pictures import Painter, encode
from stylegan.studio.points import Points, class_of_place, first_point
from stylegan.studio.scheduler import Scheduler, Task
from stylegan.studio.uploads import Uploads

log = logging.getLogger(__name__)
Value = TypeVar("Value")
Frame = tuple[dict[str, Any], Any, int | None]  # header, uint8 [H, W, C], largest side
MAX_FOUND = 64  # projections and direction sets kept


class Shelf(OrderedDict[str, Value]):
    """A dictionary that forgets its oldest entries beyond a bound."""

    def __init__(self, bound: int) -> None:
        super().__init__()
        self.bound = bound

    def __setitem__(self, key: str, value: Value) -> None:
        super().__setitem__(key, value)
        while len(self) > self.bound:
            self.popitem(last=False)


class Studio:
    """Everything the routes need. `places`: model files, `hf://` names and folders."""

    def __init__(self, places: list[str], device: str = "cpu", bound: int = 48) -> None:
        self.device = device
        self.library = Library(places, device)
        self.scheduler = Scheduler(bound)
        self.uploads = Uploads()
        self.kept: Shelf[Any] = Shelf(MAX_FOUND)
        self.directions: Shelf[Any] = Shelf(MAX_FOUND)
        self.clips: Shelf[tuple[bytes, str]] = Shelf(3)
        self.jobs = Jobs()
        self._encoder = ThreadPoolExecutor(1, "studio-encode")

    def start(self) -> None:
        """Starts the threads, and loads the first model so that the first page does not wait for it."""
        self.scheduler.start()
        self.jobs.start()
        models = self.library.models()
        if models:
            first = Render(
                type="render", id=0, view="warm", model=models[0].id,
                recipes=[Recipe(place=SeedPoint(kind="seed", seed=0))],
            )  # fmt: skip
            nothing: Callable[[Any], None] = lambda _: None  # noqa: E731
            self.scheduler.submit("", "warm", Task(lambda: self.frames(first), nothing, nothing))

    def close(self) -> None:
        """Ends the threads."""
        self.jobs.close()
        self.scheduler.close()
        self._encoder.shutdown(cancel_futures=True)

    def painter(self, model: str) -> tuple[Opened, Painter]:
        """The opened model and its painter. Unknown, or UserError where the file cannot be read."""
        opened = self.library.open(model)
        painter = opened.cache.get("painter")
        if painter is None:
            G = opened.snapshot.generator
            painter = Painter(G, Points(G, self.kept, self.directions))
            opened.cache["painter"] = painter
        return opened, painter

    def frames(self, request: Render, start: int = 0) -> Iterator[list[Frame]]:
        """The frames of a request, a few at a time, not yet encoded. Runs in the rendering thread."""
        opened, painter = self.painter(request.model)
        count, whole = 0, len(request.recipes)
        for drawn in painter.steps(request, start):
            count += sum(not picture.preview for picture in drawn)
            frames = []
            for picture in drawn:
                height, width = picture.image.shape[:2]
                header = {
                    "type": "frame", "view": request.view, "id": request.id, "index": picture.index,
                    "preview": picture.preview, "ms": round(picture.seconds * 1000, 1),
                    "model": request.model, "stamp": str(opened.stamp[0]), "width": width, "height": height,
                    "last": count == whole and picture is drawn[-1],
                }  # fmt: skip
                frames.append((header, picture.image, request.side))
            yield frames

    def send(self, frames: list[Frame], push: Callable[[bytes | dict[str, Any]], None]) -> None:
        """Encodes frames in a thread of its own, while the next ones are drawn, and pushes them in order.

        One that cannot be encoded is pushed as an error, so that the page knows.
        """

        def work() -> None:
            for header, image, side in frames:
                try:
                    data, kind = encode(image, side)
                    message: bytes | dict[str, Any] = pack({**header, "kind": kind}, data)
                except Exception as error:
                    log.exception("a picture could not be encoded")
                    code, text = reason(error)
                    message = {"type": "error", "code": code, "text": text, "view": header["view"], "id": header["id"]}
                push(message)

        # a thread pool that is being shut down takes no more: then nobody is there to see the frames either
        with suppress(RuntimeError):
            self._encoder.submit(work)

    def png(self, model: str, recipe: Recipe, look: Look) -> tuple[bytes, str]:
        """(PNG with its settings, file name) of one image; a plain seed equals the file of `stylegan generate`.

        Runs in the rendering thread.
        """
        opened, painter = self.painter(model)
        drawn_look = painter.points.look(look)
        image = painter.exact(recipe, drawn_look, look.noise)
        settings = self.settings(opened, painter, recipe, look, drawn_look)
        name = f"seed{recipe.place.seed:04d}.png" if isinstance(recipe.place, SeedPoint) else "studio.png"
        return images_png(image, settings), name

    def keep(self, model: str, recipe: Recipe, look: Look) -> str:
        """Remembers the styles of an image under a new id, so that other pages can start from it."""
        from stylegan.editing import Latents

        _, painter = self.painter(model)
        points = painter.points
        first = first_point(recipe)
        noise = points.found(first).noise if isinstance(first, KeptPoint) else None
        about = {"seed": points.noise_seed(recipe), "recipe": recipe.model_dump(mode="json", exclude_defaults=True)}
        id = secrets.token_hex(8)
        self.kept[id] = Latents(points.styles(recipe, points.look(look)).clone(), noise, about, "studio")
        return id

    def settings(
        self, opened: Opened, painter: Painter, recipe: Recipe, look: Look, drawn_look: DrawnLook
    ) -> dict[str, Any]:
        """What is stored in a downloaded file: as `stylegan generate` writes it, and the recipe where it is more."""
        snapshot, G = opened.snapshot, painter.generator
        config, training, place = G.config, snapshot.training, recipe.place
        plain = isinstance(place, SeedPoint) and not recipe.mix and not recipe.edits
        plain = plain and look.noise.seed is None and all(s == 1 for s in look.noise.strengths)
        found: dict[str, Any] = {
            "command": "stylegan generate" if plain else "stylegan studio",
            "psi": 1.0 if drawn_look.psi is None else drawn_look.psi,
            "cutoff": config.num_layers if drawn_look.cutoff is None else drawn_look.cutoff,
            "towards": "class" if drawn_look.centres is not None else None,
            "noise": drawn_look.noise,
            "lod": drawn_look.lod_of(G),
            "device": painter.device.type,
            "model": {"file": opened.entry.path.name, "sha256": self.sha256(opened), "kimg": training.get("kimg")},
            "attribution": training.get("attribution") or (training.get("data") or {}).get("attribution"),
            "library": f"stylegan-torch {__version__}",
        }
        found = {key: value for key, value in found.items() if value is not None}
        if isinstance(place, SeedPoint):
            found["seed"] = place.seed
            number = class_of_place(place, config.labels)
            if number is not None:
                names = class_names(opened)
                found |= {"class": number} | ({"class_name": names[number]} if number < len(names) else {})
        if not plain:
            found["recipe"] = recipe.model_dump(mode="json", exclude_defaults=True)
            found["noise_inputs"] = look.noise.model_dump(mode="json", exclude_defaults=True)
        return found

    @staticmethod
    def sha256(opened: Opened) -> str:
        """Of the model file; read once per state of the file."""
        if "sha256" not in opened.cache:
            with opened.entry.path.open("rb") as file:
                opened.cache["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        digest: str = opened.cache["sha256"]
        return digest


def class_names(opened: Opened) -> list[str]:
    """The names of a model's classes in order; empty where the data had none."""
    training = opened.snapshot.training
    names = training.get("class_names") or (training.get("data") or {}).get("class_names")
    return [str(name) for name in names or []]


def pack(header: dict[str, Any], data: bytes) -> bytes:
    """A binary message: length of the header (4 bytes, big-endian), header as JSON, image."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack(">I", len(text)) + text + data


def images_png(image: Any, settings: dict[str, Any]) -> bytes:
    """The bytes that `images.write_png` puts into a file."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        images.write_png(path, image, settings)
        return path.read_bytes()


def reason(error: BaseException) -> tuple[str, str]:
    """(code, text) for the page: what a user can act on, and nothing of the machine."""
    if isinstance(error, Unknown):
        return "unknown", "there is no such model, run or upload (any more)"
    if isinstance(error, UserError):
        return "refused", str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory", "not enough memory for this"
    return "internal", f"{type(error).__name__}"
