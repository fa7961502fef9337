"""What a page may ask of the server: every message, checked by pydantic before anything is done with it.

Unknown fields, non-finite numbers and values out of range are refused. Nothing here is a path: models, runs,
uploads and projections are named by ids that the server made.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from stylegan.latents import MAX_SEED

MAX_TILES = 100  # images of one request
MAX_LAYERS = 40

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Id = Annotated[str, Field(pattern=r"^[a-z0-9]{1,32}$")]
Layer = Annotated[int, Field(ge=0, lt=MAX_LAYERS)]
Coordinate = Annotated[float, Field(ge=-8, le=8)]


class Message(BaseModel):
    """A frozen message; unknown names, NaN and infinity are an error, and a text is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class SeedPoint(Message):
    """The w of a seed, under a class (None: the seed's own class, the classes in turn)."""

    kind: Literal["seed"]
    seed: Seed
    cls: Annotated[int, Field(ge=0, lt=100_000)] | None = None


class KeptPoint(Message):
    """The styles of a projected image, or of one that was kept."""

    kind: Literal["kept"]
    id: Id


Point = Annotated[SeedPoint | KeptPoint, Field(discriminator="kind")]
Points = Annotated[list[Point], Field(min_length=2, max_length=32)]


class PlanePoint(Message):
    """a + x·(b − a) + y·(c − a): the plane of w through three points, with the noise of the first."""

    kind: Literal["plane"]
    corners: Annotated[list[Point], Field(min_length=3, max_length=3)]
    x: Coordinate
    y: Coordinate


class Path(Message):
    """A walk through points, as `stylegan walk` makes it."""

    points: Points
    frames: Annotated[int, Field(ge=2, le=3600)] = 240
    fps: Annotated[int, Field(ge=1, le=60)] = 30
    loop: bool = True
    easing: Literal["linear", "smooth"] = "smooth"
    interpolation: Literal["linear", "spline"] = "linear"
    noise: Literal["still", "animated", "keyframes"] = "still"


class PathPoint(Path):
    """One frame of a walk."""

    kind: Literal["path"]
    frame: Annotated[int, Field(ge=0, lt=3600)]


Place = Annotated[SeedPoint | KeptPoint | PlanePoint | PathPoint, Field(discriminator="kind")]


class Mix(Message):
    """The styles of some layers come from another point."""

    point: Point
    layers: Annotated[list[Layer], Field(max_length=MAX_LAYERS)]


class Edit(Message):
    """A step along a direction, in the layers first to last."""

    direction: Id
    index: Annotated[int, Field(ge=0, lt=4096)]
    strength: Annotated[float, Field(ge=-50, le=50)]
    first: Layer = 0
    last: Layer = MAX_LAYERS - 1


class Recipe(Message):
    """How one image is made: a place in w, then mixed styles, then edits."""

    place: Place
    mix: Annotated[list[Mix], Field(max_length=4)] = []
    edits: Annotated[list[Edit], Field(max_length=32)] = []


class Noise(Message):
    """Noise inputs: from a seed (None: the image's own), stored, or none; a strength per layer, 1 = as trained."""

    mode: Literal["random", "stored", "none"] = "random"
    seed: Seed | None = None
    strengths: Annotated[list[Annotated[float, Field(ge=0, le=5)]], Field(max_length=MAX_LAYERS)] = []


class Look(Message):
    """How to draw; None = the model's own truncation. cutoff -1 = every layer."""

    psi: Annotated[float, Field(ge=-4, le=4)] | None = None
    cutoff: Annotated[int, Field(ge=-1, le=MAX_LAYERS)] | None = None
    towards: Literal["all", "class"] = "all"  # truncate towards the mean w of all, or of the image's own class
    noise: Noise = Noise()


class Render(Message):
    """Draw these; a newer request of the same view takes the place of an older one."""

    type: Literal["render"]
    id: Annotated[int, Field(ge=0, le=2**53)]
    view: Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,40}$")]
    model: Id
    recipes: Annotated[list[Recipe], Field(min_length=1, max_length=MAX_TILES)]
    look: Look = Look()
    side: Annotated[int, Field(ge=16, le=4096)] | None = None  # at most this large; None = full size
    preview: bool = True  # a low-resolution frame first where drawing is slow


class Cancel(Message):
    """Nobody looks at this view any more."""

    type: Literal["cancel"]
    view: Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,40}$")]


class Directions(Message):
    """Find directions of a model."""

    type: Literal["directions"]
    id: Annotated[int, Field(ge=0, le=2**53)]
    model: Id
    method: Literal["sefa", "ganspace", "labels"]
    count: Annotated[int, Field(ge=1, le=64)] = 12
    first: Layer = 0
    last: Layer = MAX_LAYERS - 1


class Project(Message):
    """Find the w of an uploaded image."""

    type: Literal["project"]
    id: Annotated[int, Field(ge=0, le=2**53)]
    model: Id
    upload: Id
    steps: Annotated[int, Field(ge=1, le=5000)] = 200
    space: Literal["w", "w+"] = "w+"
    noise: Literal["optimise", "stored"] = "optimise"
    fit: Literal["crop", "letterbox"] = "crop"
    cls: Annotated[int, Field(ge=0, lt=100_000)] | None = None


class Export(Message):
    """Write a clip of a walk."""

    type: Literal["export"]
    id: Annotated[int, Field(ge=0, le=2**53)]
    model: Id
    path: Path
    look: Look = Look()
    format: Literal["mp4", "webm", "webp", "gif"] = "mp4"


class Stop(Message):
    """Stop a job of this page; `keep` ends a projection early with what it has found."""

    type: Literal["stop"]
    job: Id
    keep: bool = False


class Ping(Message):
    """Is anybody there?"""

    type: Literal["ping"]
    id: Annotated[int, Field(ge=0, le=2**53)] = 0


Request = Annotated[
    Render | Cancel | Directions | Project | Export | Stop | Ping,
    Field(discriminator="type"),
]
REQUEST: TypeAdapter[Any] = TypeAdapter(Request)


class Picture(Message):
    """A single image to download, lossless and with its settings."""

    model: Id
    recipe: Recipe
    look: Look = Look()

    @model_validator(mode="before")
    @classmethod
    def _is_object(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError("must be a JSON object")
        return data
