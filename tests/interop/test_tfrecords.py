"""Official TFRecords, written by the official exporter and read without TensorFlow."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan.errors import UserError
from stylegan.official.crc32c import crc32c, masked_crc32c
from stylegan.official.tfrecords import is_tfrecord_set, open_tfrecords, parse_example

PARITY = Path(__file__).parents[1] / "parity"
FOLDER = PARITY / "tfrecords_tiny32"


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(PARITY / "tfrecords_tiny32_expected.npz") as file:
        return dict(file)


def test_identical_at_every_level(expected: dict[str, np.ndarray]) -> None:
    found = open_tfrecords(FOLDER)
    assert found.name == "tiny32"
    assert list(found.levels) == [2, 3, 4, 5]
    assert found.classes == 4
    for level, file in found.levels.items():
        assert np.array_equal(np.stack(list(file)), expected[f"tiny32-r{level:02d}.tfrecords"])
    assert np.array_equal(np.stack(list(found.largest)), expected["images"])
    assert found.labels is not None
    assert np.array_equal(found.labels, expected["labels"].argmax(1))
    assert is_tfrecord_set(FOLDER)
    assert not is_tfrecord_set(PARITY)
    assert open_tfrecords(FOLDER / "tiny32-r05.tfrecords").name == "tiny32"


def test_crc_of_the_standard() -> None:
    """RFC 3720, appendix B.4, and the usual check value."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20_000), st.integers(0, 2**32 - 1))
def test_fast_crc_is_the_plain_one(size: int, seed: int) -> None:
    data = np.random.default_rng(seed).bytes(size)
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(FOLDER, tmp_path / "set")
    return tmp_path / "set"


def test_damage_is_named(copy: Path) -> None:
    """A flipped bit anywhere is noticed, and the sentence names file and record."""
    file = copy / "tiny32-r03.tfrecords"
    data = file.read_bytes()
    size = len(data) // 8
    for at in (3 * size + 40, 3 * size + size - 2):  # in the pixels, in the checksum
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(UserError, match=r"tiny32-r03\.tfrecords: record 3: its checksum is wrong"):
            list(open_tfrecords(copy).levels[3])
    for at in (3 * size, 3 * size + 9):  # in the length, in its checksum
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(UserError, match="record 3: the checksum of its length is wrong"):
            open_tfrecords(copy)
    for cut in (5, 100):
        file.write_bytes(data[:-cut])
        with pytest.raises(UserError, match=r"record 7: .*cut short"):
            open_tfrecords(copy)
    file.write_bytes(data[: 6 * size])
    with pytest.raises(UserError, match=r"different numbers of images .*r03: 6"):
        open_tfrecords(copy)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="holds no records"):
        open_tfrecords(copy)


def test_a_frame_that_lies(tmp_path: Path) -> None:
    """A sound checksum on an absurd length: refused before anything is allocated."""
    length = struct.pack("<Q", 1 << 50)
    (tmp_path / "a-r02.tfrecords").write_bytes(length + struct.pack("<I", masked_crc32c(length)) + bytes(100))
    with pytest.raises(UserError, match="announces 1,125,899,906,842,624 bytes"):
        open_tfrecords(tmp_path)


def test_labels_that_do_not_fit(copy: Path) -> None:
    file = copy / "tiny32-rxx.labels"
    for table, says in (
        (np.zeros((8, 4), np.float32), "not one-hot"),
        (np.eye(4, dtype=np.float32), "expected .8, classes."),
        (np.array([None] * 8), "no numpy file of labels"),
    ):
        with file.open("wb") as out:
            np.save(out, table, allow_pickle=True)
        with pytest.raises(UserError, match=says):
            open_tfrecords(copy)
    with file.open("wb") as out:
        np.save(out, np.zeros((8, 0), np.float32))
    assert open_tfrecords(copy).classes == 0


def test_other_folders(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no files named"):
        open_tfrecords(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        open_tfrecords(tmp_path / "nowhere")
    shutil.copy(copy / "tiny32-r02.tfrecords", copy / "other-r02.tfrecords")
    with pytest.raises(UserError, match=r"several data sets .other, tiny32"):
        open_tfrecords(copy)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_an_example(data: bytes) -> None:
    with pytest.raises(UserError, match="record 0"):
        parse_example(memoryview(data), "record 0")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 95), st.integers(0, 255))
def test_any_changed_byte_of_an_example(at: int, value: int) -> None:
    record = (FOLDER / "tiny32-r02.tfrecords").read_bytes()[12:][:82]
    changed = bytearray(record)
    changed[at % len(changed)] = value
    try:
        found = parse_example(memoryview(bytes(changed)), "record 0")
    except UserError:
        return
    assert found.ndim == 3


def test_prepared_levels_are_the_files(expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    """`prepare` keeps the full resolution as it is and makes the lower levels exactly as the exporter did."""
    from stylegan.data import Dataset
    from stylegan.data.prepare import prepare

    prepare(FOLDER, tmp_path / "out", workers=1)
    data = Dataset.open(tmp_path / "out")
    for side in (4, 8, 16, 32):
        images = data.read(np.arange(8), (side, side))
        level = side.bit_length() - 1
        assert np.array_equal(images, expected[f"tiny32-r{level:02d}.tfrecords"])
    assert data.num_classes == 4
    assert np.array_equal(data.classes, expected["labels"].argmax(1))
