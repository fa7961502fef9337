"""Fitting to size, the choice of size, and the official exporter's pyramid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stylegan.data.dataset import Dataset
from stylegan.data.pyramid import (
    choose_size,
    fit_image,
    levels_of,
    parse_colour,
    parse_resolution,
    pyramid,
)
from stylegan.errors import UserError
from tests.data.pictures import noise

EXPECTED = Path(__file__).parents[1] / "parity" / "tfrecords_tiny32_expected.npz"


def test_levels_equal_the_official_exporters() -> None:
    expected = np.load(EXPECTED)
    levels = pyramid(expected["images"], 4)
    for log2, level in zip((2, 3, 4, 5), levels, strict=True):
        assert (level == expected[f"tiny32-r0{log2}.tfrecords"]).all()
    dataset = Dataset.from_arrays(expected["images"], expected["labels"].argmax(axis=1))
    assert (dataset.read(range(8), (4, 4)) == expected["tiny32-r02.tfrecords"]).all()


def test_one_image_and_a_batch_give_the_same() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 48), dtype=np.uint8)
    for i in range(3):
        for one, many in zip(pyramid(images[i], 4), pyramid(images, 4), strict=True):
            assert (one == many[i]).all()


@pytest.mark.parametrize(
    ("text", "value"),
    [("256", 256), ("384x512", (512, 384)), (" 64 X 32 ", (32, 64)), (128, 128), ((512, 384), (512, 384))],
)
def test_parse_resolution(text: object, value: object) -> None:
    assert parse_resolution(text) == value  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "large", "256x", "-4", "0", "1x2x3", "1e3"])
def test_bad_resolution(text: str) -> None:
    with pytest.raises(UserError, match="resolution"):
        parse_resolution(text)


def test_levels_of() -> None:
    assert levels_of((32, 32)) == [(4, 4), (8, 8), (16, 16), (32, 32)]
    assert levels_of((512, 384))[0] == (4, 3)
    with pytest.raises(UserError, match="same power"):
        levels_of((255, 255))


@pytest.mark.parametrize(
    ("fit", "size", "expected"),
    [
        ("crop", (300, 500), (256, 256)),
        ("crop", (255, 900), (128, 128)),
        ("crop", (3000, 4000), (1024, 1024)),
        ("crop", (3, 5), (8, 8)),
        ("letterbox", (300, 600), (512, 512)),
        ("native", (3000, 4000), (768, 1024)),
        ("native", (512, 384), (512, 384)),
        ("native", (256, 256), (256, 256)),
        ("native", (218, 178), (192, 160)),
    ],
)
def test_chosen_size(fit: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    found, sentence = choose_size(None, fit, [size] * 5)
    assert found == expected
    assert f"{expected[1]}x{expected[0]}" in sentence
    levels_of(found)


@pytest.mark.parametrize("aspect", [0.3, 0.5, 0.5625, 0.66, 0.75, 1, 1.25, 1.5, 1.78, 2.4, 3])
def test_native_size_keeps_nearly_all(aspect: float) -> None:
    (h, w), _ = choose_size(512, "native", [(1000, round(1000 * aspect))])
    assert max(h, w) <= 512
    assert min(w / h / aspect, aspect * h / w) > 0.87
    levels_of((h, w))


def test_asked_size() -> None:
    assert choose_size(64, "crop", [(10, 10)])[0] == (64, 64)
    assert choose_size((64, 32), "native", [(10, 10)])[0] == (64, 32)
    with pytest.raises(UserError, match="250x255"):
        choose_size((255, 250), "crop", [(10, 10)])


def test_crop_takes_the_centre() -> None:
    pixels = np.zeros((3, 8, 16), np.uint8)
    pixels[:, :, 4:12] = 200
    fitted, enlarged = fit_image(pixels, (8, 8))
    assert (fitted == 200).all()
    assert not enlarged
    tall, _ = fit_image(pixels.transpose(0, 2, 1), (8, 8))
    assert (tall == 200).all()


def test_crop_to_an_aspect() -> None:
    pixels = noise(100, 100).transpose(2, 0, 1)
    fitted, _ = fit_image(pixels, (96, 48), filter="box")
    assert fitted.shape == (3, 96, 48)
    same, _ = fit_image(pixels[:, :, 25:75], (96, 48), filter="box")
    assert (fitted == same).all()


def test_letterbox_pads_with_the_colour() -> None:
    pixels = np.full((3, 8, 16), 7, np.uint8)
    fitted, enlarged = fit_image(pixels, (16, 16), "letterbox", background=(1, 2, 3))
    assert (fitted[:, 4:12] == 7).all()
    assert (fitted[:, 0, 0] == (1, 2, 3)).all()
    assert (fitted[:, -1, -1] == (1, 2, 3)).all()
    assert not enlarged
    alpha, _ = fit_image(np.full((4, 8, 16), 9, np.uint8), (16, 16), "letterbox")
    assert alpha[:, 0, 0].tolist() == [255, 255, 255, 0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_any_channel_count_is_resized(channels: int) -> None:
    pixels = np.full((channels, 20, 20), 255, np.uint8)
    fitted, enlarged = fit_image(pixels, (8, 8))
    assert fitted.shape == (channels, 8, 8)
    assert (fitted == 255).all()
    assert not enlarged
    assert fit_image(pixels, (32, 32))[1]


def test_transparent_colours_do_not_bleed() -> None:
    pixels = np.zeros((4, 16, 16), np.uint8)
    pixels[0], pixels[1, :, 8:], pixels[3, :, :8] = 255, 255, 255  # red seen, yellow hidden by alpha 0
    fitted, _ = fit_image(pixels, (8, 8))
    assert (fitted[1][fitted[3] > 64] <= 2).all()


def test_colours() -> None:
    assert parse_colour("black") == (0, 0, 0)
    assert parse_colour("#102030") == (16, 32, 48)
    with pytest.raises(UserError, match="nocolour"):
        parse_colour("nocolour")
