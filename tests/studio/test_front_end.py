"""The files of the front-end: texts in both languages, nothing that could run a name, vendored files as pinned."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stylegan.studio import vendor
from stylegan.studio.routes import STATIC, static_files

OWN = sorted(path for path in (STATIC / "js").rglob("*.js"))
STRINGS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (STATIC / "strings").glob("*.json")}
# names and units that are the same in both languages
NAMES = {
    "StyleGAN",
    "kimg",
    "B →",
    "A ↓",
    "x",
    "y",
    "SHA-256",
    "PSNR",
    "dB",
    "s",
    "MP4 (H.264)",
    "WebM",
    "WebP",
    "GIF",
    "README.md",
}


def test_languages_have_the_same_keys() -> None:
    assert set(STRINGS) == {"en", "ko"}
    assert STRINGS["en"].keys() == STRINGS["ko"].keys()
    for key, text in STRINGS["en"].items():
        other = STRINGS["ko"][key]
        assert text.strip()
        assert other.strip()
        places = set(re.findall(r"\{(\w+)\}", text))
        assert text == "{text}" or places == set(re.findall(r"\{(\w+)\}", other)), key  # {text}: the server's English
    same = [key for key, text in STRINGS["en"].items() if text == STRINGS["ko"][key] and re.search("[a-z]{4}", text)]
    assert set(same) <= {"help.key.space.key", "training.kimg", "edit.method.sefa"}, same
    assert all(
        re.search("[가-힣]", text)
        for key, text in STRINGS["ko"].items()
        if re.search(r"\s[a-z]{3,} ", STRINGS["en"][key])
    )


def test_every_text_is_there_and_used() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in OWN)
    plain = set(re.findall(r"\bt\(\"([^\"]+)\"", source)) | set(re.findall(r"\bt\([^()]*\? \"([^\"]+)\" : \"", source))
    plain |= set(re.findall(r"\bt\([^()]*: \"([^\"]+)\"", source)) | set(re.findall(r"fact\(\"([^\"]+)\"", source))
    plain = {key for key in plain if "." in key}
    begun = {re.escape(part).replace(r"\$", "$") for part in re.findall(r"\bt\(`([^`]+)`", source)}
    patterns = [re.compile(re.sub(r"\$\\\{.*?\\\}$|\$\\\{.*?\\\}(?=\\\.)", ".+", part) + "$") for part in begun]
    known = set(STRINGS["en"])
    assert plain - known == set()
    for pattern in patterns:
        assert any(pattern.match(key) for key in known), pattern.pattern
    unused = [key for key in known - plain if not any(pattern.match(key) for pattern in patterns)]
    assert unused == []


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_text_outside_the_tables(path: Path) -> None:
    """Between the tags of a template and in the attributes people read or hear, there are only calls of t()."""
    source = path.read_text(encoding="utf-8")
    blank = re.sub(r"\$\{[^{}`]*(?:\{[^{}`]*\}[^{}`]*)*\}", "", re.sub(r"//[^\n]*", "", source))
    between = re.findall(r"(?<!=)>([^<>{}$`=;()]*[A-Za-z]{2}[^<>{}$`=;()]*)</", blank)
    read = re.findall(r"\b(?:aria-label|title|label|alt|placeholder)=\"([^\"$]*[A-Za-z][^\"$]*)\"", blank)
    texts = [part.strip() for part in between + read if part.strip()]
    assert [text for text in texts if text not in NAMES and not text.startswith("stylegan ")] == []


def test_nothing_runs_a_text() -> None:
    for path in OWN:
        source = path.read_text(encoding="utf-8")
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "dangerouslySetInnerHTML",
            'setTimeout("',
            "javascript:",
            "http://",
            "https://",
            "srcdoc",
        ):
            assert word not in source.replace('"https:" ?', ""), (path.name, word)
        assert len(source.splitlines()) <= 400
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=", page)


def test_vendored_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are the pinned ones, with their licences, and a change would be noticed."""
    assert vendor.differences() == []
    names = {name for files in vendor.PINNED.values() for _, name, _ in files}
    assert {"htm.LICENSE.txt", "preact.LICENSE.txt", "uplot.LICENSE.txt"} <= names
    for name in names:
        (tmp_path / name).write_bytes((vendor.FOLDER / name).read_bytes())
    monkeypatch.setattr(vendor, "FOLDER", tmp_path)
    (tmp_path / "uplot.js").write_text("other")
    (tmp_path / "more.js").write_text("")
    (tmp_path / "uplot.css").unlink()
    assert sorted(vendor.differences()) == [
        "more.js is not listed",
        "uplot.css of uplot@1.6.32 is missing",
        "uplot.js is not the one of uplot@1.6.32",
    ]


def test_every_file_is_served() -> None:
    files = static_files()
    page = (STATIC / "index.html").read_text()
    for name in re.findall(r"\"/static/([^\"]+)\"", page):
        assert name in files
    preloaded = set(re.findall(r"modulepreload\" href=\"/static/([^\"]+)", page))
    assert {path.relative_to(STATIC).as_posix() for path in OWN} - preloaded == {"js/main.js"}
    for path in OWN:
        for name in re.findall(r"from \"(\.[^\"]+)\"", path.read_text()):
            assert (path.parent / name).resolve().is_file(), (path.name, name)
