"""prepare(): from files to a set on the disk, whatever happens on the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylegan.data import prepare as module
from stylegan.data import shards, workers
from stylegan.data.dataset import Dataset
from stylegan.data.prepare import prepare, prepare_arrays
from stylegan.data.pyramid import pyramid
from stylegan.data.report import summary
from stylegan.data.shards import Settings, ShardJob
from stylegan.errors import UserError
from tests.data.pictures import KillerItem, bomb, encoded, fill, noise, png, tree


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of four images."""
    monkeypatch.setattr(shards, "SHARD_LEAST", 4)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("inside", ["", "all/"])
def test_a_notice_beside_the_images_is_the_attribution(tmp_path: Path, zipped: bool, inside: str) -> None:
    src = tmp_path / "src"
    fill(src / inside, 3, 8, 8)
    (src / inside / "NOTICE.txt").write_text(" painted by hand\n", encoding="utf-8")
    if zipped:
        src = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", src))
    info = prepare(src, tmp_path / "out")
    assert Dataset.open(tmp_path / "out").attribution == "painted by hand"
    assert "attribution as in the notice beside the images" in info.notes
    prepare(src, tmp_path / "given", attribution="by me")
    assert Dataset.open(tmp_path / "given").attribution == "by me"


def test_what_is_stored(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 5, 16, 16)
    info = prepare(src, tmp_path / "out", attribution="by me")
    dataset = Dataset.open(tmp_path / "out")
    assert (info.count, info.size, info.channels, len(dataset)) == (5, (16, 16), 3, 5)
    assert dataset.levels == [(4, 4), (8, 8), (16, 16)]
    assert dataset.attribution == "by me"
    assert dataset.meta["filter"] == "lanczos"
    originals = np.stack([noise(16, 16, seed=i).transpose(2, 0, 1) for i in range(5)])
    for size, expected in zip(dataset.levels, pyramid(originals, 3), strict=True):
        assert (dataset.read(range(5), size) == expected).all()
    plain = np.load(tmp_path / "out" / "level-0016x0016" / "00000.npy", mmap_mode="r")
    assert (plain == originals).all()
    assert "5" in summary(info)


def test_same_fingerprint_as_in_memory(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 3)
    prepare(src, tmp_path / "out")
    dataset = Dataset.open(tmp_path / "out")
    assert Dataset.from_arrays(dataset.read(range(3))).fingerprint == dataset.fingerprint


def test_bad_files_are_named_and_left_out(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 3)
    bad = {
        "empty.png": b"",
        "text.jpg": b"hello",
        "cut.png": png(64, 64)[:300],
        "cut.jpg": encoded(Image.fromarray(noise(64, 64)), "JPEG")[:600],
        "bomb.png": bomb(),
        "float.npy": b"\x93NUMPY broken",
    }
    for name, data in bad.items():
        (src / name).write_bytes(data)
    (src / "dir.png").mkdir()
    if hasattr(os, "symlink") and sys.platform != "win32":
        os.symlink(src / "nowhere.png", src / "dangling.png")
        bad["dangling.png"] = b""
    info = prepare(src, tmp_path / "out")
    assert info.count == 3
    assert {name for name, _ in info.skipped} == set(bad)
    assert all(reason for _, reason in info.skipped)
    text = summary(info)
    assert f"{len(bad)} left out" in text
    assert "bomb.png: more than" in text
    stored = json.loads((tmp_path / "out" / "dataset.json").read_text())["skipped"]
    assert {row["name"] for row in stored} == set(bad)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_permission_is_left_out(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 3)
    (src / "001.png").chmod(0)
    info = prepare(src, tmp_path / "out")
    assert info.skipped == [("001.png", "permission denied")]


def test_many_skipped_are_shortened(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 2)
    for i in range(15):
        (src / f"bad{i:02d}.png").write_bytes(b"x")
    text = summary(prepare(src, tmp_path / "out"))
    assert "bad09.png" in text
    assert "bad10.png" not in text
    assert "5 more, all in dataset.json" in text


@pytest.mark.usefixtures("small_shards")
def test_one_and_two_workers_write_the_same_bytes(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 14, 40, 50)
    (src / "005.png").write_bytes(b"bad")
    seen: list[int] = []
    prepare(src, tmp_path / "one", workers=1)
    prepare(src, tmp_path / "two", workers=2, progress=seen.append)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert seen[-1] == 14
    assert len(list((tmp_path / "one" / "shards").iterdir())) == 4


@pytest.mark.usefixtures("small_shards")
def test_an_interrupted_run_continues(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 14)
    prepare(src, tmp_path / "whole")

    def interrupt(done: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(src, out, progress=interrupt, workers=1)
    assert len(list((out / "shards").iterdir())) == 2
    assert not list(out.rglob("*.tmp"))
    with pytest.raises(UserError, match="interrupted"):
        Dataset.open(out)
    with pytest.raises(UserError, match=r"other arguments: fit \(crop there, letterbox now\)"):
        prepare(src, out, fit="letterbox")
    seen: list[int] = []
    info = prepare(src, out, progress=seen.append, workers=1)
    assert seen == list(range(1, 7))
    assert info.new_images == 6
    assert any("8 images of an earlier run" in note for note in info.notes)
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.usefixtures("small_shards")
def test_ctrl_c_with_worker_processes(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 30)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(src, tmp_path / "out", progress=interrupt, workers=2)
    assert not multiprocessing.active_children()
    prepare(src, tmp_path / "out", workers=1)
    prepare(src, tmp_path / "whole", workers=1)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.usefixtures("small_shards")
def test_a_damaged_shard_is_made_again(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 10)
    prepare(src, tmp_path / "out")
    before = tree(tmp_path / "out")
    victim = tmp_path / "out" / "level-0008x0008" / "00001.npy"
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        Dataset.open(tmp_path / "out")
    assert prepare(src, tmp_path / "out").new_images == 4
    assert tree(tmp_path / "out") == before


def test_again_is_recognised_and_overwrite_starts_afresh(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 4)
    out = tmp_path / "out"
    prepare(src, out)
    info = prepare(src, out)
    assert info.new_images == 0
    assert any("already prepared" in note for note in info.notes)
    with pytest.raises(UserError, match=r"filter.*resolution|resolution.*filter"):
        prepare(src, out, resolution=8, filter="box")
    assert prepare(src, out, resolution=8, filter="box", overwrite=True).size == (8, 8)
    assert not (out / "level-0016x0016").exists()
    fill(src, 5)
    with pytest.raises(UserError, match="number of images"):
        prepare(src, out, resolution=8, filter="box")


@pytest.mark.usefixtures("small_shards")
def test_an_image_that_kills_its_worker_is_left_out(tmp_path: Path) -> None:
    settings = Settings(((4, 4), (8, 8)), 3, "crop", "box", (255, 255, 255))
    for folder in ("shards", "level-0004x0004", "level-0008x0008"):
        (tmp_path / folder).mkdir()
    from stylegan.data.sources import ArrayItem

    good = [ArrayItem(f"{i}", noise(8, 8, seed=i)) for i in range(6)]
    jobs = [
        ShardJob(0, [good[0], KillerItem("killer", os.getpid()), good[1]], str(tmp_path), settings),
        ShardJob(1, good[2:], str(tmp_path), settings),
    ]
    seen: list[int] = []
    workers.run_jobs(jobs, 2, seen.append)
    first, second = (shards.read_sidecar(tmp_path, n, settings) for n in (0, 1))
    assert first is not None
    assert second is not None
    assert (first["count"], second["count"], seen[-1]) == (2, 4, 7)
    assert first["skipped"][0]["name"] == "killer"
    assert "crashed" in first["skipped"][0]["reason"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_useless_sources(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", 1)
    with pytest.raises(UserError, match="only one image"):
        prepare(one, tmp_path / "out")
    (one / "bad.png").write_bytes(b"x")
    with pytest.raises(UserError, match="only one image could be used"):
        prepare(one, tmp_path / "out")
    (one / "000.png").write_bytes(b"y")
    with pytest.raises(UserError, match=r"none of the 2 image files.*\n  000.png: not an image"):
        prepare(one, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.json"))
    prepare(fill(tmp_path / "two", 2), tmp_path / "done")
    with pytest.raises(UserError, match="already a prepared data set"):
        prepare(tmp_path / "done", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fit": "squash"}, "fit 'squash'"),
        ({"filter": "sinc"}, "filter 'sinc'"),
        ({"channels": 0}, "channels 0"),
        ({"workers": 0}, "workers 0"),
        ({"resolution": "255"}, "255x255"),
        ({"resolution": "x"}, "resolution 'x'"),
        ({"background": "mud"}, "background 'mud'"),
        ({"channels": 5}, "could be used"),
    ],
)
def test_impossible_options(tmp_path: Path, options: dict, reason: str) -> None:
    src = fill(tmp_path / "src", 2)
    with pytest.raises(UserError, match=reason):
        prepare(src, tmp_path / "out", **options)


def test_outputs_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src = fill(tmp_path / "src", 2)
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    for out, reason in [
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "below", "cannot be written"),
        (tmp_path / "full", "not empty"),
        (src, "folder of the images themselves"),
    ]:
        with pytest.raises(UserError, match=reason):
            prepare(src, out, overwrite=True)
    assert (tmp_path / "full" / "thesis.doc").exists()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match="needs 67 MB, 0 MB are free"):
        prepare(src, tmp_path / "out")


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    from stylegan.data.locking import locked

    src = fill(tmp_path / "src", 2)
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(UserError, match="another process"):
        prepare(src, tmp_path / "out")
    prepare(src, tmp_path / "out")


def test_output_inside_the_source(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 3)
    prepare(src, src / "prepared")
    assert prepare(src, src / "prepared").new_images == 0
    assert prepare(src, src / "other", resolution=8).count == 3


def test_channels_are_chosen_from_the_images(tmp_path: Path) -> None:
    grey = fill(tmp_path / "grey", 3, channels=1)
    assert prepare(grey, tmp_path / "a").channels == 1
    (grey / "c.png").write_bytes(png(16, 16))
    info = prepare(grey, tmp_path / "b")
    assert info.channels == 3
    info = prepare(grey, tmp_path / "c", channels=1)
    assert (info.channels, info.greyed) == (1, 1)
    assert "have colour" in summary(info)
    many = tmp_path / "many"
    many.mkdir()
    for i in range(2):
        np.save(many / f"{i}.npy", np.full((16, 16, 6), i, np.uint8))
    assert prepare(many, tmp_path / "d").channels == 6


def test_rgba_set(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 2, channels=4)
    prepare(src, tmp_path / "out", channels=4)
    found = Dataset.open(tmp_path / "out").read([1])[0]
    assert (found == noise(16, 16, 4, seed=1).transpose(2, 0, 1)).all()


def test_classes_duplicates_and_small_images(tmp_path: Path) -> None:
    fill(tmp_path / "src" / "cat", 2)
    fill(tmp_path / "src" / "dog", 3)
    info = prepare(tmp_path / "src", tmp_path / "out", classes=True, resolution=32)
    assert info.class_counts == {"cat": 2, "dog": 3}
    assert (info.duplicates, info.enlarged) == (2, 5)
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.class_names == ["cat", "dog"]
    assert dataset.classes.tolist() == [0, 0, 1, 1, 1]
    assert dataset.labels([0, 4]).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("fit", ["crop", "letterbox", "native"])
def test_fits(tmp_path: Path, fit: str) -> None:
    src = fill(tmp_path / "src", 3, 32, 24)
    info = prepare(src, tmp_path / "out", fit=fit)
    assert info.size == {"crop": (16, 16), "letterbox": (32, 32), "native": (32, 24)}[fit]
    wide = prepare(src, tmp_path / "wide", fit=fit, resolution="24x16")
    assert wide.size == (16, 24)


def test_arrays(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 1, 32, 32), dtype=np.uint8)
    classes = np.arange(300) % 10
    info = prepare_arrays(images, classes, tmp_path / "out", attribution="digits")
    dataset = Dataset.open(tmp_path / "out")
    assert (dataset.read(range(300)) == images).all()
    assert (dataset.classes == classes).all()
    assert dataset.fingerprint == Dataset.from_arrays(images, classes).fingerprint == info.fingerprint
    assert prepare_arrays(images, classes, tmp_path / "out", attribution="digits").new_images == 0
    with pytest.raises(UserError, match="other arguments"):
        prepare_arrays(images[::-1], classes, tmp_path / "out", attribution="digits")
    with pytest.raises(UserError, match="expected 300 numbers"):
        prepare_arrays(images, classes[:5], tmp_path / "x")
    with pytest.raises(UserError, match="expected uint8"):
        prepare_arrays(images.astype(np.float32), None, tmp_path / "x")
