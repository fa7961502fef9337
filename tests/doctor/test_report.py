"""The report is one well-formed page without scripts or outside resources, whatever the files are called."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from stylegan.doctor import pictures
from stylegan.doctor.diagnosis import diagnose
from stylegan.doctor.page import render
from stylegan.doctor.summary import summary
from tests.data.pictures import fill, png
from tests.doctor import zoo

EVIL = [
    "<script>alert(1)<_script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "&amp;'quote'.png",
    "naïve 图片 \u202e.png",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("zoo")
    fill(folder / "<b>class", 30, 64, 64)
    zoo.build(folder / "class & co", zoo.unusable() | zoo.odd())
    for i, name in enumerate(EVIL):
        (folder / "<b>class" / name).write_bytes(b"bad" if i % 2 else png(7, 7))
    (folder / "<b>class" / "copy.png").write_bytes((folder / "<b>class" / "000.png").read_bytes())
    (folder / "class & co" / "copy.png").write_bytes((folder / "<b>class" / "001.png").read_bytes())
    return render(diagnose(folder, classes=True))


def test_well_formed(page: str) -> None:
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert root.tag == "html"
    titles = [element.text for element in root.iter("h2")]
    assert titles[:3] == ["Recommendation", "Findings", "Duplicates side by side"]
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_self_contained_and_without_scripts(page: str) -> None:
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    tags = {element.tag for element in root.iter()}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on"), (element.tag, name)
            if name in ("src", "href", "srcset", "data", "action"):
                assert re.match(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+$", value), value[:60]
    style = next(root.iter("style")).text or ""
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme:dark" in style
    assert "http" not in re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", page)


def test_names_are_escaped(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page  # would turn the text around
    assert "图片" in page


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 70, 64, 64)
    for i in range(70):
        (tmp_path / f"copy{i:03d}.png").write_bytes((tmp_path / f"{i:03d}.png").read_bytes())
    found = diagnose(tmp_path)
    assert len(found.duplicates) == 70
    full = render(found)
    assert "and 30 more groups in report.json" in full
    monkeypatch.setattr(pictures.Thumbnails.__init__, "__defaults__", (20_000,))
    small = render(found)
    assert len(small) < len(full)
    assert small.count("<img") < 10
    assert "no picture" in small


def test_a_large_number_of_findings_is_folded(tmp_path: Path) -> None:
    fill(tmp_path, 3, 64, 64)
    for i in range(700):
        (tmp_path / f"bad{i}.png").write_bytes(b"<html>")
    found = diagnose(tmp_path, workers=1)
    text = render(found)
    assert "... and 160 more in report.json" in text
    assert len(found.as_json()["findings"][0]["images"]) == 700
    assert "... and 697 more" in summary(found)


def test_nothing_to_complain_about(tmp_path: Path) -> None:
    fill(tmp_path, 4, 64, 64)
    assert "Nothing was found that speaks against training" in render(diagnose(tmp_path))


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    text = render(diagnose(tmp_path))
    assert "None of the 1 image files can be used" in text


@pytest.mark.parametrize("values", [[], [5], [5, 5, 5], [1, 1000], [0, 255]])
@pytest.mark.parametrize("log", [False, True])
def test_histograms_count_everything(values: list[float], log: bool) -> None:
    svg = pictures.histogram(values, "t", log=log, mark=64)
    if not values:
        assert svg == ""
        return
    root = ElementTree.fromstring(svg)
    counts = [int(str(e.text).rsplit(": ", 1)[1].replace(",", "")) for e in root.iter("title")]
    assert sum(counts) == len(values)


LABELS = [
    ('{"labels": null}', "", []),
    ("not json", "dataset.json", ["not valid JSON"]),
    ("[]", "dataset.json", ["expected"]),
    ('{"labels": 3}', "dataset.json", ["expected"]),
    ('{"labels": [["000.png", 0]]}', "dataset.json",
     ["3 images have no label: 001.png", "fewer than 50", "same label"]),
    ('{"labels": [["000.png",0],["001.png",1],["002.png",0],["003.png",1],["x.png",1]]}', "dataset.json",
     ["1 labelled files are not there: x.png", "fewer than 50"]),
    ('{"labels": [["000.png",0],["001.png",2],["002.png",0],["003.png",2]], "classes": ["a", "b", "c"]}',
     "dataset.json",
     ["1 classes have no image: b", "2 classes have fewer than 50 images and will be learned badly: a (2), c (2)"]),
    ('{"labels": [["000.png",0],["000.png",1],["001.png",1],["002.png",0],["003.png","x"]]}', "dataset.json",
     ["1 rows are no [path, class] pair", "1 files have two different labels", "1 images have no label", "50"]),
    ('{"labels": [["000.png",[0,1]],["001.png",[1,0]],["002.png",[1,0,0]],["003.png",[1,0]]]}', "dataset.json",
     ["different lengths [2, 3]", "no image", "fewer than 50"]),
    ('{"labels": [["000.png",0],["001.png",1],["002.png",2],["003.png",3]], "classes": ["a"]}', "dataset.json",
     ["1 class names, but the labels go up to 3", "fewer than 50"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "origin", "problems"), LABELS)
def test_labels(tmp_path: Path, text: str, origin: str, problems: list[str]) -> None:
    fill(tmp_path, 4, 16, 16)
    (tmp_path / "dataset.json").write_text(text)
    labels = diagnose(tmp_path).subject.labels
    assert labels.origin == origin
    assert len(labels.problems) == len(problems), labels.problems
    for words in problems:
        assert any(words in problem for problem in labels.problems), (words, labels.problems)


def test_the_same_image_in_two_classes(tmp_path: Path) -> None:
    fill(tmp_path / "cats", 3, 16, 16)
    fill(tmp_path / "dogs", 1, 16, 16, channels=1)
    (tmp_path / "dogs" / "copy.png").write_bytes((tmp_path / "cats" / "001.png").read_bytes())
    found = diagnose(tmp_path, classes=True)
    conflict = {found.name(i): reason for i, reason in found.findings["conflict"].items()}
    assert conflict == {
        "cats/001.png": "in class cats; equals dogs/copy.png (dogs)",
        "dogs/copy.png": "in class dogs; equals cats/001.png (cats)",
    }
    assert "duplicate" not in found.findings
    unlabelled = diagnose(tmp_path)
    assert "duplicate" in unlabelled.findings
    assert "2 sub-folders; if they are classes, give --classes" in unlabelled.subject.labels.hints[0]
    assert json.dumps(found.as_json())
