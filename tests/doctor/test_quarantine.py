"""Bad files are moved, never deleted or overwritten, and all come back."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from stylegan.doctor import quarantine as module
from stylegan.doctor.quarantine import Outcome, check_place, parse_kinds, quarantine, restore
from stylegan.errors import UserError

FINDINGS = {"blank": {"a.png": "white", "sub/b.png": "black"}, "tiny": {"a.png": "3x3"}, "similar": {"c.png": "like d"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "c.png", "d.png"):
        (folder / name).write_text(name)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_moves_and_restores(root: Path, tmp_path: Path) -> None:
    before, place = content(root), tmp_path / "bad"
    outcome = quarantine(root, place, FINDINGS)
    assert outcome == Outcome(["a.png", "sub/b.png"], [])
    assert content(root).keys() == {"c.png", "d.png"}
    assert (place / "files" / "sub" / "b.png").read_text() == "sub/b.png"
    rows = json.loads((place / "quarantine.json").read_text())["files"]
    assert rows[0] == {"name": "a.png", "stored": "a.png", "kind": "blank", "reason": "white"}
    assert restore(place) == Outcome(["a.png", "sub/b.png"], [])
    assert content(root) == before
    assert not (place / "files").exists()
    assert restore(place) == Outcome([], [])


def test_chosen_kinds_only(root: Path, tmp_path: Path) -> None:
    assert quarantine(root, tmp_path / "bad", FINDINGS, parse_kinds("similar,tiny")).done == ["a.png", "c.png"]
    assert set(parse_kinds("default,aspect")) == {*module.MOVED, "aspect"}
    for text in ("nonsense", "conflict", ""):
        with pytest.raises(UserError, match="expected default or some of unreadable, "):
            parse_kinds(text)


def test_images_in_two_classes_are_left_to_people(root: Path, tmp_path: Path) -> None:
    findings = {"blank": {"a.png": "x", "c.png": "x"}, "conflict": {"c.png": "y"}}
    assert quarantine(root, tmp_path / "bad", findings).done == ["a.png"]


def test_twice_into_one_quarantine_and_nothing_is_overwritten(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "bad"
    quarantine(root, place, {"blank": {"a.png": "first"}})
    (root / "a.png").write_text("another")
    quarantine(root, place, {"blank": {"a.png": "second"}})
    assert content(place / "files") == {"a.png": b"a.png", "a~2.png": b"another"}
    outcome = restore(place)
    assert outcome.done == ["a.png"]
    assert outcome.left == [("a.png", "another file is there now")]
    assert (root / "a.png").read_text() == "a.png"
    assert content(place / "files") == {"a~2.png": b"another"}
    (root / "a.png").rename(root / "elsewhere.png")
    assert restore(place).done == ["a.png"]
    assert (root / "a.png").read_text() == "another"


def test_labels_follow(root: Path, tmp_path: Path) -> None:
    place, table = tmp_path / "bad", root / "dataset.json"
    table.write_text(
        '{"labels": [["a.png", 0], ["sub/b.png", 1],\n ["c.png", 0], ["d.png", 1]], "classes": ["x", "y"]}'
    )
    before = content(root)
    quarantine(root, place, FINDINGS)
    assert json.loads(table.read_text()) == {"labels": [["c.png", 0], ["d.png", 1]], "classes": ["x", "y"]}
    quarantine(root, place, {"blank": {"d.png": "x"}})
    assert json.loads(table.read_text())["labels"] == [["c.png", 0]]
    restore(place)
    assert content(root) == before  # to the byte


def test_labels_changed_in_between_are_kept(root: Path, tmp_path: Path) -> None:
    place, table = tmp_path / "bad", root / "dataset.json"
    table.write_text('{"labels": [["a.png", 0], ["c.png", 0], ["d.png", 1]]}')
    quarantine(root, place, FINDINGS)
    table.write_text('{"labels": [["c.png", 1], ["d.png", 1]]}')  # someone corrects a label
    restore(place)
    assert json.loads(table.read_text())["labels"] == [["c.png", 1], ["d.png", 1], ["a.png", 0]]


def test_another_disk(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(source: str | Path, target: str | Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(module.os, "rename", rename)
    before = content(root)
    assert len(quarantine(root, tmp_path / "bad", FINDINGS).done) == 2
    assert len(restore(tmp_path / "bad").done) == 2
    assert content(root) == before


def test_a_file_that_cannot_be_moved_stays_and_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename(source: str | Path, target: str | Path) -> None:
        if Path(source).name == "a.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, target)

    monkeypatch.setattr(module.os, "rename", rename)
    outcome = quarantine(root, tmp_path / "bad", FINDINGS)
    assert outcome == Outcome(["sub/b.png"], [("a.png", "Permission denied")])
    assert (root / "a.png").exists()
    monkeypatch.undo()
    assert restore(tmp_path / "bad") == Outcome(["sub/b.png"], [])


def test_killed_while_moving(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest is there before the first file moves, so that what was moved comes back."""
    before = content(root)
    real, calls = os.rename, []

    def rename(source: str | Path, target: str | Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(module.os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        quarantine(root, tmp_path / "bad", FINDINGS)
    monkeypatch.undo()
    assert restore(tmp_path / "bad") == Outcome(["a.png"], [])
    assert content(root) == before


def test_links_are_moved_as_links_and_their_targets_left(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.png").write_text("x")
    (root / "link.png").symlink_to(outside / "x.png")
    (root / "linked").symlink_to(outside)
    outcome = quarantine(root, tmp_path / "bad", {"blank": {"link.png": "", "linked/x.png": ""}})
    assert outcome.done == ["link.png"]
    assert outcome.left == [("linked/x.png", "lies outside of the folder, behind a link")]
    assert (outside / "x.png").exists()
    restore(tmp_path / "bad")
    assert (root / "link.png").is_symlink()


def test_places_that_do_not_do(root: Path, tmp_path: Path) -> None:
    for kind, words in (("zip", "cannot be moved; unpack it"), ("prepared", "is a prepared data set")):
        with pytest.raises(UserError, match=words):
            check_place(root, kind, tmp_path / "bad")
    for place, words in (
        (root, "inside the images' folder"),
        (root / "bad", "inside the images' folder"),
        (tmp_path, "or around it"),
        (root.parent / "file", "is a file"),
        (root.parent / "full", "not empty and no quarantine"),
    ):
        (tmp_path / "file").write_text("")
        (tmp_path / "full").mkdir(exist_ok=True)
        (tmp_path / "full" / "x").write_text("")
        with pytest.raises(UserError, match=words):
            check_place(root, "folder", place)
    quarantine(root, tmp_path / "bad", FINDINGS)
    (tmp_path / "others").mkdir()
    with pytest.raises(UserError, match="holds files of"):
        quarantine(tmp_path / "others", tmp_path / "bad", {"blank": {}})
    with pytest.raises(UserError, match="is no quarantine"):
        restore(tmp_path / "others")


@pytest.mark.parametrize("name", ["../escape.png", "/etc/escape.png", "a/../../b.png"])
def test_a_manifest_cannot_point_outside(root: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "bad"
    quarantine(root, place, FINDINGS)
    manifest = json.loads((place / "quarantine.json").read_text())
    manifest["files"][0]["name"] = name
    (place / "quarantine.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="damaged"):
        restore(place)
