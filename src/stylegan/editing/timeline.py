"""The timeline of a walk as data: tracks of keyframes, noise, and what drives directions; JSON or TOML."""

from __future__ import annotations

import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from stylegan.config.schema import Section
from stylegan.errors import UserError

MAX_FRAMES = 1_000_000
Easing = Literal["linear", "smooth", "hold"]


class Keyframe(Section):
    """A station of a track: a seed, or the name of a w file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    source: int | str = Field(description="seed, or a w file relative to the timeline")
    at: float | None = Field(None, ge=0, description="seconds; none given in a track: evenly spaced")
    psi: float | None = Field(None, description="truncation here; null = the timeline's (1 for w files)")
    class_: int | None = Field(None, alias="class", ge=0, description="class of a seed; null = the seed's turn")
    easing: Easing | None = Field(None, description="of the way to the next keyframe; null = the timeline's")

    @field_validator("source", mode="before")
    @classmethod
    def _numbers_are_seeds(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


class Track(Section):
    """Keyframes for some layers; a later track takes its layers from the ones before."""

    layers: str = Field("all", description="all, coarse, middle, fine, or numbers such as 4-7,9")
    keyframes: tuple[Keyframe, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _timed_or_not(self) -> Track:
        times = [key.at for key in self.keyframes]
        given = [t for t in times if t is not None]
        if given and len(given) < len(times):
            raise ValueError("give every keyframe of a track a time (at), or none")
        if given and (given[0] != 0 or any(b <= a for a, b in pairwise(given))):
            raise ValueError(f"keyframes at {given}: the first must be at 0, and times must increase")
        return self


class Drive(Section):
    """What an envelope in [0, 1] moves: `target` "psi", or a direction FILE:NAME."""

    target: str = Field(description="psi, or FILE:NAME of a direction")
    strength: float = Field(description="at full volume: added to psi, or in standard deviations of w")
    layers: str | None = Field(None, description="layers of the direction; null = its own")
    audio: str | None = Field(None, description="sound file; null = the timeline's")
    low: float | None = Field(None, ge=0, description="lower end of the band in Hz")
    high: float | None = Field(None, gt=0, description="upper end of the band in Hz")
    smooth: float = Field(0.1, ge=0, description="seconds over which the envelope is smoothed")


class Timeline(Section):
    """A walk, complete."""

    frames: int = Field(240, ge=1, le=MAX_FRAMES, description="length of the clip")
    fps: float = Field(30.0, gt=0, le=240, description="frames per second")
    loop: bool = Field(True, description="the end leads back to the beginning")
    interpolation: Literal["linear", "spline"] = Field("linear", description="between keyframes, in w")
    easing: Easing = Field("linear", description="of the way between keyframes")
    psi: float | None = Field(None, description="truncation of seeds; null = the model's")
    cutoff: int | None = Field(None, ge=0, description="layers truncated; null = the model's")
    towards: Literal["all", "class"] = Field(
        "all", description="seeds are truncated towards the mean w of all (as officially), or of their own class"
    )
    noise: Literal["stored", "none", "random", "animated", "keyframes"] = Field(
        "stored", description="standing still (stored, random), none, flowing (animated), or blended by keyframe"
    )
    noise_seed: int = Field(0, ge=0, le=2**31, description="of random and animated noise")
    noise_seconds: float = Field(1.0, gt=0, description="in which animated noise becomes another")
    audio: str | None = Field(None, description="sound file of the drives, relative to the timeline")
    tracks: tuple[Track, ...] = Field(min_length=1)
    edits: tuple[str, ...] = Field((), description="FILE:NAME=STRENGTH[@LAYERS], all along")
    drives: tuple[Drive, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.frames / self.fps


def track_of(text: str) -> Track:
    """ "0, 5, photo.w.safetensors" -> a track of all layers; "coarse: 0, 5" -> one of some. UserError otherwise."""
    layers, colon, stations = text.partition(":")
    if not colon or not all(part.strip().replace("-", "").isalnum() for part in layers.split(",")) or "." in layers:
        layers, stations = "all", text
    sources = [part.strip() for part in stations.split(",")]
    if not all(sources):
        raise UserError(f"keyframes {text!r}: write seeds and w files, such as 0, 5, photo.w.safetensors")
    wrong = [source for source in sources if not source.isdecimal() and not source.endswith(".safetensors")]
    if wrong:
        raise UserError(f"keyframes {text!r}: {wrong[0]!r} is neither a seed nor a w file (NAME.w.safetensors)")
    return Track(layers=layers.strip(), keyframes=tuple(Keyframe(source=source) for source in sources))


def read_timeline(path: str | Path) -> Timeline:
    """A timeline from a .json or .toml file. UserError: missing, not of that format, or a field that is wrong."""
    path = Path(path)
    if path.suffix.lower() not in (".json", ".toml"):
        raise UserError(f"{path}: a timeline is a .json or .toml file")
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as {path.suffix[1:].upper()} ({error})") from None
    try:
        return Timeline.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        text = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where or 'timeline'}: {text}{more}") from None
