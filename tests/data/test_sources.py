"""Folders, zips and dataset.json: what is found, in which order, with which labels."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from stylegan.data.sources import open_source
from stylegan.errors import UserError
from tests.data.pictures import fill, png


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_folder_is_recursive_sorted_and_clean(tmp_path: Path) -> None:
    fill(tmp_path / "b", 2)
    fill(tmp_path / "a" / "deep", 1)
    fill(tmp_path / ".hidden", 1)
    fill(tmp_path / "__MACOSX", 1)
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / "._000.png").write_text("x")
    (tmp_path / "README").write_text("x")
    (tmp_path / "folder.png").mkdir()
    source = open_source(tmp_path)
    assert [item.name for item in source.items] == ["a/deep/000.png", "b/000.png", "b/001.png"]
    assert source.ignored == {".txt": 1, "(no extension)": 1}
    assert source.items[0].load() == png(16, 16)
    assert source.num_classes == 0


def test_zip_gives_the_same_as_the_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "x", 3)
    files = {f"{p.name}": p.read_bytes() for p in folder.iterdir()}
    path = zipped(tmp_path / "x.zip", {**files, "__MACOSX/000.png": b"", ".DS_Store": b"", "a.pdf": b""})
    source = open_source(path)
    assert [item.name for item in source.items] == ["000.png", "001.png", "002.png"]
    assert [item.load() for item in source.items] == [item.load() for item in open_source(folder).items]
    assert source.ignored == {".pdf": 1}


def test_listing_changes_with_the_files(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    before = open_source(tmp_path).listing
    assert open_source(tmp_path).listing == before
    (tmp_path / "001.png").write_bytes(png(16, 20))
    assert open_source(tmp_path).listing != before


def test_link_loops_end(tmp_path: Path) -> None:
    fill(tmp_path / "a", 1)
    try:
        os.symlink(tmp_path, tmp_path / "a" / "loop", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    assert len(open_source(tmp_path).items) == 1


@pytest.mark.parametrize("wrapper", ["", "wrap/"])
def test_sub_folders_as_classes(tmp_path: Path, wrapper: str) -> None:
    files = {f"{wrapper}{name}/{i}.png": b"" for name in ("dog", "cat") for i in range(2)}
    source = open_source(zipped(tmp_path / "x.zip", files), classes=True)
    assert source.class_names == ["cat", "dog"]
    assert [item.label for item in source.items] == [0, 0, 1, 1]


def test_classes_need_folders(tmp_path: Path) -> None:
    fill(tmp_path / "x", 2)
    with pytest.raises(UserError, match="no two sub-folders"):
        open_source(tmp_path / "x", classes=True)
    fill(tmp_path / "x" / "cat", 1)
    with pytest.raises(UserError, match="2 images lie outside"):
        open_source(tmp_path / "x", classes=True)


NAMES = ["a/0.png", "a/1.png", "b/2.png"]


@pytest.mark.parametrize("wrapper", ["", "wrap/"])
@pytest.mark.parametrize(
    ("labels", "expected", "count"),
    [
        ([2, 0, 1], [2, 0, 1], 3),
        ([1.0, 0.0, 0], [1, 0, 0], 2),
        ([[0, 1, 0, 0], [1, 0, 0, 0], [0.0, 1.0, 0, 0]], [1, 0, 1], 4),
    ],
)
def test_dataset_json(tmp_path: Path, wrapper: str, labels: list, expected: list[int], count: int) -> None:
    table = {"labels": [[n, x] for n, x in zip(NAMES, labels, strict=True)][::-1]}
    files = {f"{wrapper}{name}": b"" for name in NAMES}
    path = zipped(tmp_path / "x.zip", {**files, f"{wrapper}dataset.json": json.dumps(table).encode()})
    for name, data in {**files, "dataset.json": json.dumps(table).encode()}.items():
        target = tmp_path / "folder" / (name if name != "dataset.json" else f"{wrapper}dataset.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    for source in (open_source(path), open_source(tmp_path / "folder")):
        assert [item.label for item in source.items] == expected
        assert source.num_classes == count
        assert source.ignored == {}


def test_dataset_json_names_and_null(tmp_path: Path) -> None:
    files = dict.fromkeys(NAMES, b"")
    rows = [[n, i] for i, n in enumerate(NAMES)]
    named = {"labels": rows, "classes": ["x", "y", "z", "none"]}
    source = open_source(zipped(tmp_path / "a.zip", {**files, "dataset.json": json.dumps(named).encode()}))
    assert (source.num_classes, source.class_names) == (4, ["x", "y", "z", "none"])
    source = open_source(zipped(tmp_path / "b.zip", {**files, "dataset.json": b'{"labels": null}'}))
    assert source.num_classes == 0
    source = open_source(tmp_path / "a.zip", classes=True)
    assert source.class_names == ["a", "b"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected"),
        ("{}", "expected"),
        ('{"labels": []}', "must be a list"),
        ('{"labels": ["a"]}', "pair"),
        ('{"labels": [["a/0.png", 0]]}', "2 images have no label"),
        ('{"labels": [["a/0.png", 0], ["a/1.png", 0], ["b/2.png", 0], ["gone.png", 1]]}', "1 labelled files"),
        ('{"labels": [["a/0.png", 0], ["a/1.png", -1], ["b/2.png", 0]]}', "label -1 of a/1.png"),
        ('{"labels": [["a/0.png", 0], ["a/1.png", "x"], ["b/2.png", 0]]}', "label x of"),
        ('{"labels": [["a/0.png", 0], ["a/1.png", 0.5], ["b/2.png", 0]]}', r"label 0\.5 of"),
        ('{"labels": [["a/0.png", 0], ["a/1.png", NaN], ["b/2.png", 0]]}', "label nan of"),
        ('{"labels": [["a/0.png", 0], ["a/1.png", true], ["b/2.png", 0]]}', "label True of"),
        ('{"labels": [["a/0.png", [1, 1]], ["a/1.png", [1, 0]], ["b/2.png", [1, 0]]]}', "one-hot"),
        ('{"labels": [["a/0.png", [1, 0]], ["a/1.png", [1]], ["b/2.png", [1, 0]]]}', "different lengths"),
        ('{"labels": [["a/0.png", 0], ["a/0.png", 1], ["a/1.png", 0], ["b/2.png", 0]]}', "two labels"),
        ('{"labels": [["a/0.png", 2], ["a/1.png", 0], ["b/2.png", 0]], "classes": ["x"]}', "1 class names"),
    ],
)
def test_bad_dataset_json(tmp_path: Path, table: str, reason: str) -> None:
    path = zipped(tmp_path / "x.zip", {**dict.fromkeys(NAMES, b""), "dataset.json": table.encode()})
    with pytest.raises(UserError, match=reason):
        open_source(path)


def test_useless_sources(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "broken.zip").write_bytes(b"PK\x05\x06" + b"\0" * 3)
    for name, reason in [
        ("nowhere", "no such folder"),
        ("empty", "no images here"),
        ("x.txt", "neither a folder nor a zip"),
        ("broken.zip", "zip"),
    ]:
        with pytest.raises(UserError, match=reason):
            open_source(tmp_path / name)
    (tmp_path / "empty" / "a.heic").write_text("x")
    with pytest.raises(UserError, match=r"found 1 \.heic"):
        open_source(tmp_path / "empty")
