"""Bad and odd image files, made here: name -> (bytes, kinds of findings that it must give, and no others).

They stand among good 64x64 pictures, so the recommended size is 64x64.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from tests.data.pictures import bomb, encoded, noise

Zoo = dict[str, tuple[bytes, set[str]]]
_seed = iter(range(1000, 100_000))


def picture(height: int = 64, width: int = 64, channels: int = 3) -> Image.Image:
    """A picture that looks like no other."""
    return Image.fromarray(noise(height, width, channels, seed=next(_seed)))


def file(kind: str = "PNG", height: int = 64, width: int = 64, channels: int = 3, **options: Any) -> bytes:
    return encoded(picture(height, width, channels), kind, **options)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def without_end(data: bytes) -> bytes:
    """A PNG without its last chunk."""
    return data[: data.rindex(b"IEND") - 4]


def text_bomb() -> bytes:
    """A PNG whose compressed comment swells to 80 MB."""
    data = file()
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 << 20), 9))
    return data[:33] + comment + data[33:]


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("a.txt", "x")
    return buffer.getvalue()


def half_grey() -> bytes:
    """A JPEG whose lower half was lost in an earlier life and saved again."""
    pixels = noise(64, 64, seed=next(_seed))
    pixels[32:] = 128
    return encoded(Image.fromarray(pixels), "JPEG", quality=95)


def flipped(data: bytes, start: int, count: int = 40) -> bytes:
    """Some bytes in the middle inverted."""
    damaged = bytearray(data)
    for i in range(start, start + count):
        damaged[i] ^= 0xFF
    return bytes(damaged)


def heic(brand: bytes = b"heic") -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand + bytes(64)


def unusable() -> Zoo:
    """What cannot be trained on."""
    bad, cut, no, big = {"unreadable"}, {"truncated"}, {"not_image"}, {"bomb"}
    png, jpeg = file(), file("JPEG")
    progressive, webp, gif = file("JPEG", progressive=True), file("WEBP"), file("GIF")
    bmp, tiff, ppm = file("BMP"), file("TIFF"), file("PPM")
    jp2, avif, tga = file("JPEG2000"), file("AVIF"), file("TGA")
    array = npy(noise(64, 64, seed=next(_seed)))
    pickled = io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    floats = encoded(Image.fromarray(np.full((64, 64), np.nan, np.float32)), "TIFF")
    return {
        "empty.jpg": (b"", bad),
        "one-byte.png": (b"\x89", bad),
        "noise.jpg": (np.random.default_rng(5).bytes(5000), bad),
        "noise.tga": (np.random.default_rng(6).bytes(300), bad),
        "zeros.jpg": (bytes(4096), no),
        "magic-only.jpg": (b"\xff\xd8\xff", cut),
        "magic-only.png": (b"\x89PNG\r\n\x1a\n", cut),
        "magic-only.webp": (b"RIFF\x10\x00", cut),
        "head.bmp": (bmp[:30], cut),
        "cut-half.png": (png[: len(png) // 2], cut),
        "cut-90.png": (png[: len(png) * 9 // 10], cut),
        "cut-half.jpg": (jpeg[: len(jpeg) // 2], cut),
        "cut-90.jpg": (jpeg[: len(jpeg) * 9 // 10], cut),
        "cut-header.jpg": (jpeg[:200], cut),
        "cut-progressive.jpg": (progressive[: len(progressive) // 2], cut),
        "cut.webp": (webp[: len(webp) // 2], cut),
        "cut.gif": (gif[: len(gif) // 2], cut),
        "cut.bmp": (bmp[: len(bmp) // 2], cut),
        "cut.tif": (tiff[: len(tiff) // 2], cut),
        "cut.ppm": (ppm[: len(ppm) // 2], cut),
        "cut.jp2": (jp2[: len(jp2) // 2], cut),
        "cut.avif": (avif[: len(avif) // 2], cut),
        "cut.tga": (tga[: len(tga) // 2], cut),
        "cut.npy": (array[: len(array) // 2], cut),
        "cut-head.npy": (array[:40], cut),
        "zero-tail.jpg": (jpeg[: len(jpeg) // 3] + bytes(len(jpeg)), cut),
        "short-zero-tail.png": (png[: len(png) // 3] + bytes(50), cut),
        "bad-checksum.png": (flipped(png, 16, 4), bad),
        "bad-pixels.png": (flipped(png, len(png) // 2), bad),
        "bad-header.gif": (b"GIF89a" + bytes(5) + b";", bad),
        "nan.tif": (floats, bad),
        "negative.tif": (encoded(Image.fromarray(np.full((64, 64), -5, np.int32)), "TIFF"), bad),
        "float.npy": (npy(np.zeros((64, 64, 3), np.float32)), bad),
        "four-dims.npy": (npy(np.zeros((2, 64, 64, 3), np.uint8)), bad),
        "no-pixels.npy": (npy(np.zeros((0, 64, 3), np.uint8)), bad),
        "objects.npy": (pickled.getvalue(), bad),
        "bomb.png": (bomb(), big),
        "bomb-small.png": (bomb(10_000, 10_000), big),
        "text-bomb.png": (text_bomb(), big),
        "page.jpg": (b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>", no),
        "error.png": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', no),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', no),
        "note.jpg": (b"this is not an image\n", no),
        "answer.jpg": (b'{"error": "rate limited"}', no),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", no),
        "document.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(100), no),
        "script.tif": (b"%!PS-Adobe-3.0 EPSF-3.0\n", no),
        "archive.png": (archive(), no),
        "packed.png": (b"\x1f\x8b\x08" + bytes(100), no),
        "layers.jpg": (b"8BPS\x00\x01" + bytes(100), no),
        "phone.jpg": (heic(), no),
        "film.gif": (heic(b"isom"), no),
        "film.webp": (b"RIFF\x00\x00\x00\x00AVI LIST" + bytes(100), no),
        "new.jpg": (b"\xff\x0a" + bytes(100), no),
        "program.bmp": (b"MZ\x90\x00" + bytes(100), no),
        "weights.npy": (b"\x80\x04\x95" + bytes(100), no),
    }


def odd() -> Zoo:
    """What can be trained on, but is worth a word, or is only unusual (no finding at all)."""
    fine: set[str] = set()
    png, jpeg = file(), file("JPEG")
    flat = Image.new("RGB", (64, 64), (250, 250, 249))
    nearly = np.full((64, 64, 3), 120, np.uint8)
    nearly[::2] = 121
    clear = Image.fromarray(np.dstack([noise(64, 64, seed=57), np.zeros((64, 64), np.uint8)]))
    some = Image.fromarray(np.dstack([noise(64, 64, seed=58), noise(64, 64, 1, seed=59)]))
    holed = some.copy()
    holed.putalpha(Image.fromarray(np.tri(64, dtype=np.uint8) * 255))
    turned = Image.Exif()
    turned[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames = [picture() for _ in range(3)]
    deep = noise(64, 64, 1, seed=510).astype(np.uint16) * 257
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", "</title><script>alert(1)</script>")
    line = picture(64, 64, 1).point(lambda v: 255 * (v > 128)).convert("1")
    return {
        "png-as.jpg": (png, {"mislabelled"}),
        "jpeg-as.png": (jpeg, {"mislabelled"}),
        "webp-as.jpg": (file("WEBP"), {"mislabelled"}),
        "gif-as.png": (file("GIF"), {"mislabelled"}),
        "bmp-as.jpg": (file("BMP"), {"mislabelled"}),
        "tiff-as.png": (file("TIFF"), {"mislabelled"}),
        "avif-as.jpg": (file("AVIF"), {"mislabelled"}),
        "cut-png-as.jpg": (file()[:2000], {"mislabelled", "truncated"}),
        "no-end.png": (without_end(file()), {"no_end"}),
        "grey-end.jpg": (half_grey(), {"damaged"}),
        "zero-tail.png": (png[: len(png) // 3] + bytes(len(png)), {"damaged"}),
        "flat.png": (encoded(flat), {"blank"}),
        "black.jpg": (encoded(Image.new("L", (64, 64)), "JPEG"), {"blank"}),
        "nearly-flat.png": (encoded(Image.fromarray(nearly)), {"blank"}),
        "clear.png": (encoded(clear), {"blank"}),
        "one-pixel.png": (file(height=1, width=1), {"blank", "tiny"}),
        "tiny.png": (file(height=7, width=7), {"tiny"}),
        "icon.png": (file(height=16, width=16), {"tiny"}),
        "strip.png": (file(height=16, width=200), {"tiny", "aspect"}),
        "wide.png": (file(height=64, width=300), {"aspect"}),
        "tall.jpg": (file("JPEG", height=300, width=64), {"aspect"}),
        "transparent.png": (encoded(some), fine),
        "grey-alpha.png": (encoded(picture(64, 64, 2)), fine),
        "palette.png": (encoded(picture().convert("P")), fine),
        "palette-clear.gif": (encoded(holed, "GIF"), fine),
        "turned.jpg": (encoded(picture(64, 80), "JPEG", exif=turned), fine),
        "animated.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), fine),
        "animated.png": (encoded(picture(), "PNG", save_all=True, append_images=frames[1:]), fine),
        "animated.webp": (encoded(picture(), "WEBP", save_all=True, append_images=frames[1:]), fine),
        "cmyk.jpg": (encoded(picture().convert("CMYK"), "JPEG"), fine),
        "lab.tif": (encoded(picture().convert("LAB"), "TIFF"), fine),
        "deep.png": (encoded(Image.fromarray(deep)), fine),
        "float.tif": (encoded(Image.fromarray(noise(64, 64, 1, seed=511) / np.float32(255)), "TIFF"), fine),
        "bits.png": (encoded(line), fine),
        "profile.jpg": (file("JPEG", icc_profile=profile), fine),
        "bad-profile.jpg": (file("JPEG", icc_profile=b"nonsense" * 20), fine),
        "comment.png": (file(pnginfo=comment), fine),
        "array.npy": (npy(noise(64, 64, seed=512)), fine),
        "array-grey.npy": (npy(noise(64, 64, 1, seed=513)), fine),
        "array-five.npy": (npy(noise(64, 64, 5, seed=514)), fine),
        "trailing.jpg": (file("JPEG") + b"camera maker's appendix" * 9, fine),
        "trailing.png": (file() + bytes(500), fine),
        "CAPITALS.JPEG": (file("JPEG"), fine),
        "large.jpg": (file("JPEG", height=300, width=320), fine),
    }


def build(folder: Any, zoo: Zoo) -> None:
    for name, (data, _) in zoo.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
