"""Every kind of bad file is found, named and classified exactly; nothing that is merely unusual is complained about."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from stylegan.data.prepare import prepare
from stylegan.data.sources import FileItem
from stylegan.doctor.diagnosis import Diagnosis, diagnose
from stylegan.doctor.findings import KINDS
from stylegan.errors import UserError
from tests.data.pictures import KillerItem, encoded, fill, noise
from tests.doctor import zoo

GOOD = 60


def kinds_of(diagnosis: Diagnosis) -> dict[str, set[str]]:
    """Name -> kinds of findings."""
    found: dict[str, set[str]] = {diagnosis.name(i): set() for i in range(len(diagnosis.facts))}
    for kind, images in diagnosis.findings.items():
        for index in images:
            found[diagnosis.name(index)].add(kind)
    return found


@pytest.fixture(scope="module")
def animals() -> zoo.Zoo:
    return zoo.unusable() | zoo.odd()


@pytest.fixture(scope="module")
def menagerie(tmp_path_factory: pytest.TempPathFactory, animals: zoo.Zoo) -> Path:
    folder = tmp_path_factory.mktemp("menagerie")
    fill(folder / "good", GOOD, 64, 64)
    zoo.build(folder, animals)
    return folder


@pytest.fixture(scope="module")
def diagnosis(menagerie: Path) -> Diagnosis:
    return diagnose(menagerie, workers=1)


def test_there_are_enough_kinds_of_bad_files(animals: zoo.Zoo) -> None:
    assert sum(bool(kinds) for _, kinds in animals.values()) >= 60
    covered = set().union(*(kinds for _, kinds in animals.values()))
    assert covered == set(KINDS) - {"conflict", "duplicate", "similar", "twice"}  # those need company
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert f"{len(animals)} files: {len(zoo.unusable())} unusable, {len(zoo.odd())} odd" in page


def test_each_file_has_exactly_its_findings(diagnosis: Diagnosis, animals: zoo.Zoo) -> None:
    found = kinds_of(diagnosis)
    wrong = {name: (sorted(found[name]), sorted(kinds)) for name, (_, kinds) in animals.items() if found[name] != kinds}
    assert not wrong, "(found, expected)"
    assert not any(kinds for name, kinds in found.items() if name.startswith("good/"))


def test_counts_are_exact(diagnosis: Diagnosis, animals: zoo.Zoo) -> None:
    assert len(diagnosis.facts) == GOOD + len(animals)
    for kind in KINDS:
        expected = sum(kind in kinds for _, kinds in animals.values())
        assert len(diagnosis.findings.get(kind, {})) == expected, kind
    unusable = sum(any(KINDS[kind].level == "bad" for kind in kinds) for _, kinds in animals.values())
    assert diagnosis.usable == len(diagnosis.facts) - unusable


def test_prepare_agrees_on_what_is_usable(menagerie: Path, diagnosis: Diagnosis, tmp_path: Path) -> None:
    """The doctor calls unusable what `stylegan prepare` leaves out, and nothing else; sizes agree too."""
    info = prepare(menagerie, tmp_path / "out", workers=1)
    left_out = {name for name, _ in info.skipped} - {"array-five.npy"}  # five channels do not fit the other images
    assert left_out == {diagnosis.name(i) for i, f in enumerate(diagnosis.facts) if f.problem}
    assert info.size == diagnosis.recommendation.size == (64, 64)
    assert info.channels == diagnosis.recommendation.channels == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.jpg", "the file is empty"),
        ("page.jpg", "web page"),
        ("error.png", "failed download"),
        ("pointer.jpg", "git lfs pull"),
        ("phone.jpg", "HEIC"),
        ("zeros.jpg", "only zero bytes"),
        ("cut-half.jpg", "its end is missing"),
        ("magic-only.png", "inside its header"),
        ("bomb.png", "million pixels"),
        ("float.npy", "expected uint8"),
        ("nan.tif", "not numbers"),
        ("jpeg-as.png", "JPEG file under the name .png"),
        ("clear.png", "wholly transparent"),
        ("grey-end.jpg", "are plain grey"),
        ("icon.png", "enlarged 4.0 times"),
        ("wide.png", "a crop keeps 21%"),
    ],
)
def test_reasons_are_plain(diagnosis: Diagnosis, name: str, words: str) -> None:
    reasons = [
        text for images in diagnosis.findings.values() for i, text in images.items() if diagnosis.name(i) == name
    ]
    assert any(words in reason for reason in reasons), reasons


@pytest.mark.parametrize(
    ("name", "mode", "bits", "marks"),
    [
        ("transparent.png", "RGBA", 8, ["alpha"]),
        ("grey-alpha.png", "LA", 8, ["alpha"]),
        ("palette-clear.gif", "P", 8, ["alpha"]),
        ("turned.jpg", "RGB", 8, ["rotated"]),
        ("animated.gif", "P", 8, ["animated"]),
        ("animated.png", "RGB", 8, ["animated"]),
        ("animated.webp", "RGB", 8, ["animated"]),
        ("cmyk.jpg", "CMYK", 8, []),
        ("lab.tif", "LAB", 8, ["profile"]),
        ("deep.png", "I;16", 16, []),
        ("float.tif", "F", 32, []),
        ("bits.png", "1", 1, []),
        ("profile.jpg", "RGB", 8, ["profile"]),
        ("array-five.npy", "5 channels", 8, []),
    ],
)
def test_modes_depths_and_marks(diagnosis: Diagnosis, name: str, mode: str, bits: int, marks: list[str]) -> None:
    facts = next(f for i, f in enumerate(diagnosis.facts) if diagnosis.name(i) == name)
    assert (facts.mode, facts.bits, facts.marks) == (mode, bits, marks)
    if name == "turned.jpg":
        assert (facts.width, facts.height) == (64, 80)


def test_the_same_from_a_zip_and_with_several_processes(
    menagerie: Path, diagnosis: Diagnosis, animals: zoo.Zoo, tmp_path: Path
) -> None:
    path = tmp_path / "menagerie.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(menagerie.rglob("*.*")):
            archive.write(file, file.relative_to(menagerie).as_posix())
    from_zip = diagnose(path, workers=2)
    assert from_zip.facts == diagnosis.facts
    assert from_zip.findings == diagnosis.findings
    assert from_zip.subject.kind == "zip"


def test_zips_with_bad_members(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(4):
            archive.writestr(f"{i}.png", zoo.file())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("3.png", zoo.file())
    data = bytearray(path.read_bytes())
    at = data.index(b"2.png") + 200
    data[at : at + 20] = bytes(20)  # fails its CRC
    path.write_bytes(data)
    found = kinds_of(diagnose(path))
    assert found["2.png"] == {"unreadable"}
    assert found["0.png"] == set()
    assert "twice" in found["3.png"]


@pytest.mark.parametrize("change", ["same", "other-format", "upside-down", "other-size"])
def test_duplicates_are_equal_pixels_whatever_the_file(tmp_path: Path, change: str) -> None:
    fill(tmp_path, 5, 64, 64)
    image = Image.open(tmp_path / "002.png").convert("RGB")
    if change == "same":
        (tmp_path / "copy.png").write_bytes((tmp_path / "002.png").read_bytes())
    elif change == "other-format":
        image.save(tmp_path / "copy.bmp")
    elif change == "upside-down":
        exif = Image.Exif()
        exif[0x0112] = 3
        image.rotate(180).save(tmp_path / "copy.png", exif=exif)
    else:
        image.resize((65, 64)).save(tmp_path / "copy.png")
    found = diagnose(tmp_path)
    groups = [[found.name(i) for i in group] for group in found.duplicates]
    near = [[found.name(i) for i in group] for group in found.near]
    copy = "copy.bmp" if change == "other-format" else "copy.png"
    if change == "other-size":
        assert not groups
        assert near == [["002.png", copy]]
        assert kinds_of(found)[copy] == {"similar"}
    else:
        assert groups == [["002.png", copy]]
        assert not near
        assert kinds_of(found)[copy] == {"duplicate"}


def test_grey_is_equal_to_grey_stored_in_colour_but_transparency_counts(tmp_path: Path) -> None:
    grey = Image.fromarray(noise(64, 64, 1, seed=1))
    grey.save(tmp_path / "a.png")
    grey.convert("RGB").save(tmp_path / "b.png")
    clear = grey.convert("RGBA")
    clear.putalpha(Image.fromarray(noise(64, 64, 1, seed=2)))
    clear.save(tmp_path / "c.png")
    found = diagnose(tmp_path)
    assert found.duplicates == [[0, 1]]
    assert found.recommendation.channels == 1 or "alpha" in found.facts[2].marks


@pytest.mark.parametrize("change", ["jpeg", "half", "double", "darker", "contrast", "grain"])
def test_near_duplicates_are_found(tmp_path: Path, change: str) -> None:
    fill(tmp_path, 30, 128, 128)
    image = Image.open(tmp_path / "007.png").convert("RGB")
    changed = {
        "jpeg": lambda: Image.open(io.BytesIO(encoded(image, "JPEG", quality=40))),
        "half": lambda: image.resize((64, 64), Image.Resampling.LANCZOS),
        "double": lambda: image.resize((256, 256), Image.Resampling.BICUBIC),
        "darker": lambda: ImageEnhance.Brightness(image).enhance(0.93),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(0.9),
        "grain": lambda: Image.fromarray(_grainy(np.array(image))),
    }[change]()
    changed.save(tmp_path / "near.png")
    found = diagnose(tmp_path)
    assert [[found.name(i) for i in group] for group in found.near] == [["007.png", "near.png"]]
    assert not found.duplicates


def _grainy(pixels: np.ndarray) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, 6, pixels.shape)
    return (pixels + grain).clip(0, 255).astype(np.uint8)


def test_an_item_that_kills_its_worker_is_a_finding(tmp_path: Path) -> None:
    from stylegan.doctor.scan import scan

    items = [FileItem(f"{i}.png", str(tmp_path / f"{i:03d}.png")) for i in range(1)]
    fill(tmp_path, 1, 16, 16)
    facts, pictures = scan([*items, KillerItem("killer", home=-1)], workers=2)
    assert [bool(f.problem) for f in facts] == [False, True]
    assert "crashed the worker" in facts[1].notes["unreadable"]
    assert len(pictures) == 2


def test_prepared_sets(tmp_path: Path) -> None:
    fill(tmp_path / "raw", 12, 32, 32)
    (tmp_path / "raw" / "bad.png").write_bytes(b"no")
    (tmp_path / "raw" / "copy.png").write_bytes((tmp_path / "raw" / "000.png").read_bytes())
    prepare(tmp_path / "raw", tmp_path / "set", workers=1)
    found = diagnose(tmp_path / "set")
    assert found.subject.kind == "prepared"
    assert found.recommendation.size == (32, 32)
    assert kinds_of(found)["copy.png"] == {"duplicate"}
    assert [name for name, _ in found.subject.skipped] == ["bad.png"]
    shard = next((tmp_path / "set" / "level-0032x0032").glob("*.npy"))
    data = bytearray(shard.read_bytes())
    data[128 + 32 * 32 * 3 * 4 + 100] ^= 1  # one bit of the fifth image
    shard.write_bytes(data)
    from stylegan.doctor import subject

    subject._opened.cache_clear()
    found = diagnose(tmp_path / "set")
    assert {name for name, kinds in kinds_of(found).items() if "unreadable" in kinds} == {"004.png"}
    shard.write_bytes(data[:-5])
    subject._opened.cache_clear()
    with pytest.raises(UserError, match="damaged"):
        diagnose(tmp_path / "set")


@pytest.mark.parametrize(
    ("size", "count", "expected", "fit"),
    [
        ((300, 300), 5, (256, 256), "crop"),
        ((128, 128), 5, (128, 128), "crop"),
        ((100, 130), 5, (64, 64), "crop"),
        ((384, 768), 5, (256, 512), "native"),
        ((640, 360), 5, (640, 320), "native"),
    ],
)
def test_the_recommended_size(tmp_path: Path, size: tuple[int, int], count: int, expected: object, fit: str) -> None:
    fill(tmp_path / "raw", count, *size)
    found = diagnose(tmp_path / "raw").recommendation
    assert found.fit == fit
    info = prepare(tmp_path / "raw", tmp_path / "out", fit=fit, workers=1)
    assert found.size == info.size  # what prepare does with the recommended options
    assert fit == "crop" or "--fit native" in found.command
    if fit == "crop":
        assert found.size == expected


def test_bad_sources_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        diagnose(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no images here"):
        diagnose(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UserError, match="neither a folder nor a zip"):
        diagnose(tmp_path / "a.zip")


def test_nothing_usable_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    found = diagnose(tmp_path)
    assert found.usable == 0
    assert found.recommendation.size is None
    assert json.dumps(found.as_json())


def test_links_and_unreadable_files(tmp_path: Path) -> None:
    fill(tmp_path, 3, 16, 16)
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    fill(tmp_path / "folder.png", 1, 16, 16, channels=1)
    (tmp_path / "pipe.png").unlink(missing_ok=True)
    found = diagnose(tmp_path)
    assert kinds_of(found)["dangling.png"] == {"unreadable"}
    assert "no such file" in found.findings["unreadable"][3]
