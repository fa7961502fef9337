"""Reading a prepared set: any image, any level, any thread; damage is noticed."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stylegan.data import Dataset, open_or_prepare, shards
from stylegan.data import dataset as module
from stylegan.data.cache import cached_path
from stylegan.data.prepare import prepare, prepare_arrays
from stylegan.errors import UserError
from tests.data.pictures import fill

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 48), dtype=np.uint8)
CLASSES = np.arange(20) % 4


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shards, "SHARD_LEAST", 3)
    prepare_arrays(IMAGES, CLASSES, tmp_path / "set", class_names=["a", "b", "c", "d"])
    return tmp_path / "set"


@pytest.mark.parametrize(("kept", "maps"), [(0, 3), (0, 8), (5000, 3), (1 << 20, 128), (0, 128)])
def test_disk_and_memory_read_the_same(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: int,
    maps: int,
) -> None:
    """Kept in memory, mapped (and dropped again), or read image by image: the pixels are the same."""
    monkeypatch.setattr(module, "OPEN_MAPS", maps)
    monkeypatch.setattr(module, "KEPT_BYTES", kept)
    disk = Dataset.open(path)
    memory = Dataset.from_arrays(IMAGES, CLASSES, ["a", "b", "c", "d"])
    order = [19, 0, 7, 7, 3, 19, 12]
    assert disk.levels == memory.levels == [(4, 6), (8, 12), (16, 24), (32, 48)]
    for size in disk.levels:
        assert (disk.read(order, size) == memory.read(order, size)).all()
    assert (disk.read(order) == IMAGES[order]).all()
    assert (disk.labels(order) == memory.labels(order)).all()
    assert disk.labels(order).dtype == np.float32
    assert disk.fingerprint == memory.fingerprint
    assert (disk.class_names, disk.num_classes, len(disk)) == (memory.class_names, 4, 20)
    assert disk.read([]).shape == (0, 3, 32, 48)
    assert len(disk._maps) <= maps
    disk.verify()
    memory.verify()


def test_many_threads(path: Path) -> None:
    dataset = Dataset.open(path)

    def check(seed: int) -> bool:
        indices = np.random.default_rng(seed).integers(0, 20, 9)
        return bool((dataset.read(indices) == IMAGES[indices]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, range(100)))


def test_what_is_read_may_be_changed(path: Path) -> None:
    for dataset in (Dataset.open(path), Dataset.from_arrays(IMAGES)):
        batch = dataset.read([0])
        batch[:] = 0
        assert (dataset.read([0]) == IMAGES[:1]).all()


def test_pickle(path: Path) -> None:
    for dataset in (Dataset.open(path), Dataset.from_arrays(IMAGES, CLASSES)):
        again = pickle.loads(pickle.dumps(dataset))
        assert (again.read([5]) == dataset.read([5])).all()
        assert again.fingerprint == dataset.fingerprint


def test_bad_requests(path: Path) -> None:
    dataset = Dataset.open(path)
    with pytest.raises(ValueError, match="the data set has"):
        dataset.read([0], (5, 5))
    for index in (-1, 20):
        with pytest.raises(IndexError, match="20 images"):
            dataset.read([index])


def test_without_labels() -> None:
    dataset = Dataset.from_arrays(IMAGES)
    assert dataset.labels([1, 2]).shape == (2, 0)
    assert dataset.num_classes == 0
    assert set(dataset.classes) == {-1}


def test_fingerprint_follows_the_content() -> None:
    changed = IMAGES.copy()
    changed[3, 0, 0, 0] ^= 1
    prints = {
        Dataset.from_arrays(IMAGES).fingerprint,
        Dataset.from_arrays(changed).fingerprint,
        Dataset.from_arrays(IMAGES, CLASSES).fingerprint,
        Dataset.from_arrays(IMAGES[::-1]).fingerprint,
    }
    assert len(prints) == 4


def test_not_a_prepared_set(tmp_path: Path, path: Path) -> None:
    for name, content in [("a", None), ("b", "{"), ("c", '{"labels": null}'), ("d", "[]")]:
        (tmp_path / name).mkdir()
        if content:
            (tmp_path / name / "dataset.json").write_text(content)
        with pytest.raises(UserError, match="stylegan prepare"):
            Dataset.open(tmp_path / name)
    meta = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps({**meta, "version": 99}))
    with pytest.raises(UserError, match="version 99"):
        Dataset.open(path)


def test_damage_is_noticed(path: Path) -> None:
    victim = path / "level-0008x0012" / "00002.npy"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    dataset = Dataset.open(path)
    with pytest.raises(UserError, match=r"00002\.npy: its content has changed"):
        dataset.verify()
    content[20] ^= 1
    victim.write_bytes(content)
    with pytest.raises(UserError, match="as recorded"):
        Dataset.open(path).read(range(20), (8, 12))
    victim.unlink()
    with pytest.raises(UserError, match="0 bytes instead of"):
        Dataset.open(path)


def test_a_raw_folder_is_prepared_into_the_cache_once(tmp_path: Path) -> None:
    src = fill(tmp_path / "my pictures", 4)
    cache = tmp_path / "cache"
    dataset = open_or_prepare(src, cache, resolution=8)
    assert dataset.size == (8, 8)
    assert dataset.path == cached_path(src, cache, resolution="8")
    times = [p.stat().st_mtime_ns for p in dataset.path.rglob("*")]
    again = open_or_prepare(src, cache, resolution=8, workers=1)
    assert [p.stat().st_mtime_ns for p in dataset.path.rglob("*")] == times
    assert again.fingerprint == dataset.fingerprint
    fill(src, 5)
    assert len(open_or_prepare(src, cache, resolution=8)) == 5


def test_a_prepared_set_is_opened_as_it_is(tmp_path: Path) -> None:
    prepare(fill(tmp_path / "src", 3), tmp_path / "out")
    assert len(open_or_prepare(tmp_path / "out", resolution=16, channels=3)) == 3
    for options, reason in [
        ({"resolution": 8}, "prepared at 16x16, not at 8"),
        ({"channels": 1}, "has 3 channels"),
        ({"classes": True}, "without classes"),
    ]:
        with pytest.raises(UserError, match=reason):
            open_or_prepare(tmp_path / "out", **options)
