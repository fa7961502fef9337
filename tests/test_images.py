"""Images: conversion, grids, atomic files with settings."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import images
from stylegan.errors import UserError


def picture(height=5, width=7, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_uint8_round_trip_is_exact_for_every_level():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(images.to_uint8(images.to_float(levels)), levels)
    ends = torch.tensor([-1.2, -1.0, 0.0, 1.0, 3.0]).reshape(1, 1, 5)
    assert images.to_uint8(ends).flatten().tolist() == [0, 0, 128, 255, 255]


def test_rounding_goes_to_the_nearest_level():
    x = torch.linspace(-1, 1, 1001).reshape(1, 1, -1)
    expected = np.clip(np.rint(x.numpy() * np.float32(127.5) + np.float32(127.5)), 0, 255).astype(np.uint8)
    assert np.array_equal(images.to_uint8(x)[:, :, 0], expected[0])


def test_diverged_weights_are_named():
    with pytest.raises(UserError, match="diverged"):
        images.to_uint8(torch.full((1, 3, 2, 2), float("nan")))


def test_grid_places_images_in_rows():
    tiles = np.stack([np.full((2, 3, 1), i, dtype=np.uint8) for i in range(5)])
    page = images.grid(tiles, columns=3, gap=1)
    assert page.shape == (5, 11, 1)
    assert page[0, 0, 0] == 0
    assert page[3, 4, 0] == 4
    assert page[3, 8, 0] == 255
    assert images.grid(tiles).shape == (2 * 3, 3 * 2, 1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_carries_pixels_and_settings(tmp_path, channels):
    image, settings = picture(channels=channels), {"seed": 3, "class_name": "größe", "psi": 0.7}
    path = tmp_path / "new" / "a.png"
    images.write_png(path, image, settings)
    with Image.open(path) as opened:
        assert np.array_equal(images.from_pil(opened), image)
    assert images.read_parameters(path) == settings
    before = path.read_bytes()
    images.write_png(path, image, settings)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["a.png"]


def test_other_channel_counts_get_a_remedy(tmp_path):
    with pytest.raises(UserError, match=r"6 channels.*--channels 0,1,2.*--format npy"):
        images.write_png(tmp_path / "a.png", picture(channels=6))
    with pytest.raises(UserError, match=r"2 channels.*--channels 0,"):
        images.to_rgb(picture(channels=2))
    images.write_npy(tmp_path / "a.npy", torch.ones(6, 2, 2))
    assert np.load(tmp_path / "a.npy").shape == (6, 2, 2)


def test_transparency_is_laid_over_white():
    image = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], dtype=np.uint8)
    assert images.to_rgb(image).tolist() == [[[255, 255, 255], [10, 20, 30]]]
    assert images.to_rgb(picture(channels=1)).shape == (5, 7, 3)


def test_failed_writes_leave_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")

    def interrupted():
        with images.atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_unwritable_places_are_user_errors(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        images.write_png(tmp_path / "file" / "a.png", picture())
    with pytest.raises(UserError, match="cannot be written"):
        images.prepare_folder(tmp_path / "file")
    with pytest.raises(UserError, match="is a folder"):
        images.write_png(tmp_path, picture())


def test_files_without_settings(tmp_path):
    images.write_png(tmp_path / "a.png", picture())
    with pytest.raises(UserError, match="no drawing settings"):
        images.read_parameters(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(UserError, match="cannot be read"):
        images.read_parameters(tmp_path / "b.png")


def test_resizing_by_whole_factors():
    image = picture()
    big = images.enlarge(image, 3)
    assert big.shape == (15, 21, 3)
    assert np.array_equal(images.reduce(big, 3), image)
