"""Models that ship with the package, by name: `stylegan.load("NAME")` opens stylegan/models/NAME.safetensors.

A model is a file dropped into that folder, with its card NAME.md beside it. Nothing here needs PyTorch.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files("stylegan").joinpath("models")))


def names() -> list[str]:
    """The names of all models that ship with this package, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def file_of(name: str) -> Path:
    """The file of a shipped model."""
    return FOLDER / f"{name}.safetensors"


def card_of(name: str) -> Path | None:
    """The card of a shipped model, None where it has none."""
    path = FOLDER / f"{name}.md"
    return path if path.is_file() else None


def resolve(path: str | Path) -> Path:
    """What a MODEL argument means: the file of the shipped model of that name, or the path as it is.

    A file, or the folder of a run, that lies here under such a name is meant before the shipped model; another
    folder (of images, say) is not.
    """
    path = Path(path)
    if path.as_posix() not in names() or path.is_file() or (path / "config.json").is_file():
        return path
    return file_of(path.as_posix())


def missing(path: Path) -> str:
    """The end of a sentence about a model that is not there: which names there are."""
    if len(path.parts) != 1 or path.suffix:
        return "no such file; give a model written by `stylegan train` (model.safetensors)"
    known = ", ".join(names()) or "none so far"
    return f"no such file, and no model of that name ships with stylegan-torch (there is: {known})"
