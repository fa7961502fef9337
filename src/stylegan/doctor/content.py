"""What a file's bytes are, whatever its name says: kinds of images, things that are no images, missing ends."""

from __future__ import annotations

import os

from PIL import Image

# what an extension promises -> the formats (as Pillow names them) that keep the promise
EXTENSIONS: dict[str, set[str]] = {
    **{key: {"JPEG", "MPO"} for key in (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")},
    **{key: {"PNG"} for key in (".png", ".apng")},
    **{key: {"TIFF"} for key in (".tif", ".tiff")},
    **{key: {"PPM"} for key in (".ppm", ".pgm", ".pbm", ".pnm")},
    **{key: {"JPEG2000"} for key in (".jp2", ".j2k", ".jpx")},
    ".webp": {"WEBP"},
    ".gif": {"GIF"},
    ".bmp": {"BMP", "DIB"},
    ".tga": {"TGA"},
    ".avif": {"AVIF"},
    ".npy": {"NPY"},
}
# (offset, signature, what it is, remedy): files that are found under the names of images
FOREIGN: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch the images with `git lfs pull`"),
    (0, b"%PDF", "a PDF document", "export its pages as images"),
    (0, b"%!PS", "a PostScript document", "export it as an image"),
    (0, b"PK\x03\x04", "a zip archive", "unpack it"),
    (0, b"Rar!", "a RAR archive", "unpack it"),
    (0, b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
    (0, b"8BPS", "a Photoshop document", "export it as PNG"),
    (0, b"qoif", "a QOI image", "convert it to PNG"),
    (0, b"\xff\x0a", "a JPEG XL image", "convert it to PNG"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image", "convert it to PNG"),
    (0, b"v/1\x01", "an OpenEXR image", "convert it to PNG"),
    (0, b"DDS ", "a DDS texture", "convert it to PNG"),
    (0, b"\0\0\x01\0", "a Windows icon", "convert it to PNG"),
    (0, b"OggS", "an Ogg sound or film", "remove it"),
    (0, b"ID3", "an MP3 sound", "remove it"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM film", "extract frames from it"),
    (8, b"AVI ", "an AVI film", "extract frames from it"),
    (8, b"WAVE", "a WAV sound", "remove it"),
    (0, b"\x7fELF", "a program", "remove it"),
    (0, b"MZ", "a Windows program", "remove it"),
    (0, b"SQLite format 3", "a database", "remove it"),
    (0, b"\x80\x04\x95", "a Python pickle", "remove it"),
)
# brand of an ISO media file -> the same
BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim"), ("a HEIC photo", "convert it to JPEG")),
    **dict.fromkeys((b"isom", b"mp41", b"mp42", b"qt  ", b"M4V ", b"iso5"), ("a film", "extract frames from it")),
}


def foreign(data: bytes) -> str:
    """What a file is that is no image this project reads, and what to do: "a PDF document; ..."; "" = no idea."""
    head = data[:4096]
    for offset, signature, what, remedy in FOREIGN:
        if head[offset:].startswith(signature):
            return f"is {what}, not an image; {remedy}"
    if head[4:8] == b"ftyp" and head[8:12] in BRANDS:
        what, remedy = BRANDS[head[8:12]]
        return f"is {what}; {remedy}"
    if data and not data.strip(b"\0"):
        return "holds only zero bytes (an interrupted copy); copy or download it again"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "is a web page, not an image (a failed download); download it again"
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "is an SVG drawing; export it as PNG"
    if text.startswith(b"<?xml"):
        return "is an XML document, not an image (a failed download); download it again"
    if head and all(byte in b"\t\r\n\f\b\x1b" or byte >= 32 for byte in head) and _is_text(head):
        return "is a text file, not an image (a failed download); download it again"
    return ""


def _is_text(head: bytes) -> bool:
    try:
        head[: len(head) - 4 if len(head) == 4096 else len(head)].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not head.startswith((b"P1", b"P2", b"P3"))  # image formats written as text


def mislabelled(name: str, kind: str) -> str:
    """A sentence where the extension promises another format than the content has; "" otherwise."""
    extension = os.path.splitext(name)[1].lower()
    promised = EXTENSIONS.get(extension)
    if not kind or promised is None or kind in promised:
        return ""
    return f"is {_article(kind)} {kind} file under the name {extension}"


def _article(kind: str) -> str:
    return "an" if kind[0] in "AMN" else "a"


def ends_early(data: bytes) -> bool:
    """Whether an image file's own structure says that its end is missing."""
    if data.startswith(b"\xff\xd8"):  # JPEG: an end mark after the last start of a scan
        return data.rfind(b"\xff\xd9") < max(data.rfind(b"\xff\xda"), 1)
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-(1 << 20) :]
    if data.startswith(b"GIF8"):
        return not data.rstrip(b"\0").endswith(b";")
    if data.startswith(b"RIFF"):
        return len(data) < 12 or int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data.startswith(b"BM"):
        return len(data) < 54 or int.from_bytes(data[2:6], "little") > len(data)
    if data.startswith(b"\xff\x4f\xff\x51"):  # a JPEG 2000 codestream
        return b"\xff\xd9" not in data[-64:]
    if data[4:8] in (b"ftyp", b"jP  "):
        return _boxes_end_early(data)
    return False


def _boxes_end_early(data: bytes) -> bool:
    """ISO media and JPEG 2000 files are a sequence of boxes: length, name, content."""
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        if size == 0:  # up to the end of the file
            return b"\xff\xd9" not in data[-64:] if data[place + 4 : place + 8] == b"jp2c" else False
        if size < 8:
            return False
        place += size
    return place > len(data)


def bits_of(image: Image.Image, data: bytes) -> int:
    """Bits per sample as stored; `image` has its header read only."""
    if image.format == "PNG" and len(data) > 24:
        return data[24]
    if image.format == "TIFF":
        tag = getattr(image, "tag_v2", {}).get(258, 8)
        return int(tag[0] if isinstance(tag, tuple) else tag)
    if image.mode == "1":
        return 1
    if image.mode.startswith("I"):
        return 16 if "16" in image.mode or image.format == "PPM" else 32
    return 32 if image.mode == "F" else 8
