"""Models that ship with the package: by name in Python and on the command line, and inside the wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import stylegan as package
from stylegan import shipped
from stylegan.errors import UserError
from stylegan.export.card import Place, local_card, without_paths
from stylegan.snapshot import Snapshot
from tests.cli.conftest import photos, small, stylegan  # noqa: F401
from tests.export.conftest import made

ROOT = Path(__file__).parents[1]


@pytest.fixture
def fruit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """A tiny stand-in that ships under the name `fruit`; the working folder is an empty one."""
    folder = tmp_path / "models"
    folder.mkdir()
    made(folder, 16)
    (folder / "model.safetensors").rename(folder / "fruit.safetensors")
    monkeypatch.setattr(shipped, "FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return package.load(folder / "fruit.safetensors")


def test_loaded_by_its_name(fruit: Snapshot) -> None:
    found = package.load("fruit")
    assert found.path == fruit.path
    assert all(
        torch.equal(a, b) for a, b in zip(found.generator.parameters(), fruit.generator.parameters(), strict=True)
    )
    assert package.load(Path("fruit")).path == fruit.path


def test_what_lies_here_is_meant_first(fruit: Snapshot, tmp_path: Path) -> None:
    """A file or a run of that name; not a folder of images."""
    Path("fruit").mkdir()
    assert package.load("fruit").path == fruit.path
    Path("fruit/config.json").write_text("{}")
    with pytest.raises(UserError, match="is a folder, not a model file"):
        package.load("fruit")
    shutil.rmtree("fruit")
    made(tmp_path, 8)
    shutil.copy(tmp_path / "model.safetensors", "fruit")
    assert package.load("fruit").generator.config.resolution == (8, 8)


def test_an_unknown_name_lists_those_there_are(fruit: Snapshot, stylegan: Callable[..., Any]) -> None:  # noqa: F811
    words = r"fruits: no such file, and no model of that name ships with stylegan-torch \(there is: fruit\)"
    with pytest.raises(UserError, match=words):
        package.load("fruits")
    for verb in (("generate", "fruits", "--out", "x"), ("inspect", "fruits"), ("models", "fruits")):
        answer = stylegan(*verb)
        assert answer.code == 2
        assert "there is: fruit" in answer.err
    with pytest.raises(UserError, match="give a model written by `stylegan train`"):
        package.load("runs/fruit.safetensors")


VERBS: list[tuple[str, ...]] = [
    ("generate", "fruit", "--seeds", "0-3", "--out", "drawn"),
    ("mix", "fruit", "--rows", "0-2", "--cols", "3-4", "--out", "mix.png"),
    ("truncation", "fruit", "--seeds", "0-1", "--out", "truncation.png"),
    ("interpolate", "fruit", "--seeds", "0-1", "--frames", "4", "--out", "walk.webp"),
    ("figure", "uncurated", "fruit", "--out", "uncurated.png"),
    ("directions", "fruit", "--method", "sefa", "--out", "d.safetensors"),
    ("edit", "fruit", "--seeds", "0", "--direction", "d.safetensors:sefa-0=1", "--out", "edited"),
    ("export", "fruit", "fruit.pt2"),
    ("walk", "fruit", "--keyframes", "0, 1", "--seconds", "0.2", "--out", "walked.webp"),
    ("project", "fruit", "drawn.png", "--steps", "2", "--out", "projected"),
    ("evaluate", "fruit", "PHOTOS", "--metrics", "nn", "--features", "pixels", "--cache", "none", "--out", "m.json"),
    ("inspect", "fruit"),
    ("models",),
    ("models", "fruit"),
    ("snapshot", "fruit", "again.safetensors", "--half"),
    ("card", "fruit", "--out", "card.md"),
    ("push", "fruit", "me/fruit", "--dry-run", "pushed"),
    ("train", "PHOTOS", "--out", "run", "--from", "fruit", "--preset", "tiny", "--resolution", "16", "SMALL"),
]


@pytest.mark.parametrize("words", VERBS, ids=lambda words: " ".join(words[:2]))
def test_every_verb_that_takes_a_model_takes_a_name(
    words: tuple[str, ...],
    fruit: Snapshot,
    stylegan: Callable[..., Any],  # noqa: F811
    photos: Path,  # noqa: F811
    small: tuple[object, ...],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    if words[0] == "project":
        stylegan("generate", "fruit", "--seeds", "0", "--out", "one")
        shutil.copy("one/seed0000.png", "drawn.png")
    if words[0] == "edit":
        stylegan("directions", "fruit", "--method", "sefa", "--out", "d.safetensors")
    short = [
        word for pair in zip(small[::2], small[1::2], strict=True) if "generator" not in str(pair[0]) for word in pair
    ]
    arguments = [a for word in words for a in (short if word == "SMALL" else [photos if word == "PHOTOS" else word])]
    answer = stylegan(*arguments)
    assert answer.code == 0, answer.err
    if words[0] == "models":
        assert "fruit" in answer.out
    elif words[0] == "card":
        text = Path("card.md").read_text()
        assert text.startswith("# fruit\n\n![Uncurated samples: seeds 0 to 31, psi 0.7](card.png)")
        assert 'stylegan.load("fruit").generator  # comes with the package' in text
        assert "Drawn by nobody" in text
        assert "/home/somebody" not in text


def test_what_ships_is_small_and_says_whom_to_credit() -> None:
    """Each at most 10 MB, in 16 bits, credited, without local paths, with a card, and in NOTICE."""
    from stylegan.inspection import inspect
    from stylegan.snapshot import read_snapshot

    for name in shipped.names():
        report = inspect(shipped.file_of(name))
        assert report.size <= 10_000_000, name
        assert "float32" not in (report.precision or "float32"), name
        assert report.attribution, name
        header, _ = read_snapshot(shipped.file_of(name))
        assert without_paths(header) == header, name
        model, card = package.load(name), shipped.card_of(name)
        assert card is not None, name
        written = local_card(model, name, Place(name, f"{name}.png", True), "seeds 0 to 31, psi 0.7")
        facts = written.split("## The model")[1].split("## ")[0].split("\n")
        assert len(facts) > 10
        assert set(facts) <= set(card.read_text(encoding="utf-8").split("\n")), name  # the card is of this file
        assert name in (ROOT / "NOTICE").read_text(encoding="utf-8"), name
        assert model.generator.config.resolution == tuple(report.resolution or ())


def test_without_any(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stylegan: Callable[..., Any]) -> None:  # noqa: F811
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    assert shipped.names() == []
    assert stylegan("models").out == "no model ships with this version\n"
    with pytest.raises(UserError, match="there is: none so far"):
        package.load("fruit")


def test_git_keeps_them() -> None:
    """What git ignores is left out of the wheel as well."""
    path = shipped.FOLDER.resolve() / "fruit.safetensors"
    ignored = subprocess.run(["git", "-C", str(ROOT), "check-ignore", "-q", str(path)], check=False)
    assert ignored.returncode != 0


def test_a_wheel_has_them(fruit: Snapshot, tmp_path: Path) -> None:
    """Built from a copy of the project with a model dropped in."""
    project = tmp_path / "project"
    (project / "src/stylegan/models").mkdir(parents=True)
    for file in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", ".gitignore", "src/stylegan/__init__.py"):
        shutil.copy(ROOT / file, project / file)
    assert fruit.path is not None
    shutil.copy(fruit.path, project / "src/stylegan/models/fruit.safetensors")
    (project / "src/stylegan/models/fruit.md").write_text("a card")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--quiet",
        "-w",
        str(tmp_path / "wheel"),
        str(project),
    ]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("hatchling, which builds the package, cannot be fetched here")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "stylegan/models/fruit.safetensors" in names
    assert "stylegan/models/fruit.md" in names
    assert any(name.endswith("licenses/NOTICE") for name in names)
