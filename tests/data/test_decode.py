"""Every kind of image file becomes the pixels a person would see, or a clear error."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from stylegan.data.decode import DecodeError, decode, is_grey, probe
from tests.data.pictures import bomb, encoded, noise, png

RGB = noise(12, 10)  # H W 3
GREY = noise(12, 10, 1)  # H W


def test_rgb_is_untouched() -> None:
    assert (decode(encoded(Image.fromarray(RGB)), 3) == RGB.transpose(2, 0, 1)).all()


def test_grey_in_every_channel_count() -> None:
    data = encoded(Image.fromarray(GREY))
    assert (decode(data, 1)[0] == GREY).all()
    assert (decode(data, 3) == GREY).all()
    assert (decode(data, 4)[:3] == GREY).all()
    assert (decode(data, 4)[3] == 255).all()


def test_rgb_to_grey_is_luma() -> None:
    expected = np.asarray(Image.fromarray(RGB).convert("L"))
    assert (decode(encoded(Image.fromarray(RGB)), 1)[0] == expected).all()


def test_alpha_is_composited_or_kept() -> None:
    pixels = np.dstack([RGB, np.full((12, 10), 255, np.uint8)])
    pixels[:6, :, 3] = 0
    data = encoded(Image.fromarray(pixels))
    assert (decode(data, 3)[:, :6] == 255).all()
    assert (decode(data, 3)[:, 6:] == RGB.transpose(2, 0, 1)[:, 6:]).all()
    assert (decode(data, 3, (10, 20, 30))[:, 0, 0] == (10, 20, 30)).all()
    assert (decode(data, 4) == pixels.transpose(2, 0, 1)).all()


def test_grey_with_alpha() -> None:
    pixels = np.dstack([GREY, np.zeros_like(GREY)])
    data = encoded(Image.fromarray(pixels))
    assert (decode(data, 1) == 255).all()
    assert (decode(data, 1, (0, 0, 0)) == 0).all()


def test_palette_with_transparency() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255] + [0] * 762)
    data = encoded(image, transparency=1)
    assert (decode(data, 3)[:, 0, 0] == (255, 0, 0)).all()
    assert (decode(data, 3)[:, 0, 1] == (255, 255, 255)).all()


def test_rgb_with_transparent_colour() -> None:
    pixels = np.array([[[9, 9, 9], [50, 60, 70]]], np.uint8)
    data = encoded(Image.fromarray(pixels), transparency=(9, 9, 9))
    assert decode(data, 3)[:, 0].T.tolist() == [[255, 255, 255], [50, 60, 70]]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    """Pillow writes CMYK JPEG the Adobe way, inverted; both files show the same colours."""
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    image = Image.fromarray(flat).convert("CMYK")
    options = {"quality": 100} if kind == "JPEG" else {}
    found = decode(encoded(image, kind, **options), 3)
    assert np.abs(found.astype(int) - np.array([200, 40, 90])[:, None, None]).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 257, 257 * 128, 65535]], np.uint16)
    data = encoded(Image.fromarray(values), kind)
    assert decode(data, 1)[0].tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize(("top", "limit"), [(1.0, 1.0), (255.0, 255.0), (60000.0, 65535.0)])
def test_float_tiff(top: float, limit: float) -> None:
    values = np.array([[0.0, top / 2, top]], np.float32)
    data = encoded(Image.fromarray(values), "TIFF")
    assert (decode(data, 1)[0] == np.rint(values * 255 / limit)).all()


@pytest.mark.parametrize("value", [np.nan, -1.0, 1e9])
def test_float_out_of_range_is_an_error(value: float) -> None:
    data = encoded(Image.fromarray(np.array([[0.5, value]], np.float32)), "TIFF")
    with pytest.raises(DecodeError, match="values"):
        decode(data, 1)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    first = Image.new("RGB", (8, 8), (255, 0, 0))
    others = [Image.new("RGB", (8, 8), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(first, kind, save_all=True, append_images=others, **options)
    assert (decode(data, 3)[:, 0, 0] == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :16] = 255  # top left is bright
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation in inverse:
        stored = stored.transpose(inverse[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", exif=exif, quality=95)
    assert np.abs(decode(data, 1)[0].astype(int) - upright).max() < 40
    assert probe(data) == (16, 32, 1)


def test_colour_profile_leads_to_srgb() -> None:
    """A profile made of sRGB's, with the primaries red and blue exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    profile = swapped.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    pixels = np.dstack([np.full((4, 4, 3), (255, 0, 0), np.uint8), np.full((4, 4), 255, np.uint8)])
    for image in (Image.fromarray(pixels[:, :, :3]), Image.fromarray(pixels)):
        found = decode(encoded(image, icc_profile=profile), 3)
        assert np.abs(found[:, 0, 0].astype(int) - (0, 0, 255)).max() <= 2
    grey = decode(encoded(Image.fromarray(GREY), icc_profile=profile), 1)
    assert np.abs(grey[0].astype(int) - GREY).max() <= 1


def test_srgb_profile_changes_nothing_and_a_broken_one_is_left_out() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"garbage"):
        data = encoded(Image.fromarray(RGB), icc_profile=profile)
        assert (decode(data, 3) == RGB.transpose(2, 0, 1)).all()


def test_npy_with_many_channels() -> None:
    array = np.arange(4 * 5 * 7, dtype=np.uint8).reshape(4, 5, 7)
    buffer = io.BytesIO()
    np.save(buffer, array)
    assert (decode(buffer.getvalue(), 7) == array.transpose(2, 0, 1)).all()
    assert probe(buffer.getvalue()) == (4, 5, 7)
    with pytest.raises(DecodeError, match="7 channels where the data set has 3"):
        decode(buffer.getvalue(), 3)


def test_npy_of_the_wrong_kind() -> None:
    for array in (np.zeros((4, 4), np.float32), np.zeros(4, np.uint8), np.array([{}])):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=True)
        with pytest.raises(DecodeError, match=r"expected uint8|not a usable"):
            decode(buffer.getvalue(), 1)


def test_probe_tells_grey_stored_as_colour() -> None:
    data = encoded(Image.fromarray(GREY).convert("RGB"), "JPEG")
    assert probe(data) == (12, 10, 1)
    assert probe(png(20, 30)) == (20, 30, 3)
    assert is_grey(decode(data, 3))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is a text", "not an image"),
        (png(64, 64)[:200], "truncated|broken|incomplete"),
        (encoded(Image.fromarray(noise(64, 64)), "JPEG")[:600], "(?i)truncated"),
        (encoded(Image.fromarray(noise(64, 64)), "WEBP")[:300], "."),
        (bomb(), "million pixels"),
        (bomb(12_000, 12_000), "million pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_bad_files_are_errors(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(data, 3)
