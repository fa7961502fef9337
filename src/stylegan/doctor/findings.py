"""What can be wrong with an image, in plain words, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of finding. Levels: bad (cannot be used), warn (can be used but harms), note (good to know)."""

    level: str
    title: str
    meaning: str
    remedy: str
    moved: bool = False  # by --quarantine unless other kinds are asked for


KINDS: dict[str, Kind] = {
    "unreadable": Kind(
        "bad", "Unreadable", "The file is damaged, empty or cannot be opened.",
        "Fetch it again, or leave it out; `stylegan prepare` does so by itself.", True,
    ),
    "truncated": Kind(
        "bad", "Truncated", "The end of the file is missing: an interrupted download or copy.",
        "Fetch it again, or leave it out; `stylegan prepare` does so by itself.", True,
    ),
    "not_image": Kind(
        "bad", "Not an image", "The file has an image's name, but something else is in it.",
        "Convert or remove it.", True,
    ),
    "bomb": Kind(
        "bad", "Decompression bomb", "The file would become far larger in memory than any training image needs.",
        "If it is a real picture, make it smaller first; otherwise remove it.", True,
    ),
    "conflict": Kind(
        "warn", "Same image in two classes", "Equal pixels carry different labels; the model learns a contradiction.",
        "Decide on one class for each. They are never moved automatically.",
    ),
    "duplicate": Kind(
        "warn", "Duplicate", "Every pixel equals those of an earlier image; it counts twice in training.",
        "Keep one of each group.", True,
    ),
    "blank": Kind(
        "warn", "Blank", "One colour all over, or wholly transparent.", "Remove it; it teaches nothing.", True,
    ),
    "damaged": Kind(
        "warn", "Probably damaged", "It can be read, but part of the picture seems to be missing.",
        "Look at it, and fetch it again.",
    ),
    "tiny": Kind(
        "warn", "Tiny", "So small that it would be enlarged four times or more, or under 8 pixels.",
        "Remove it, or train at a lower resolution.", True,
    ),
    "aspect": Kind(
        "warn", "Extreme aspect", "Cropping to the recommended shape would lose more than 60 % of the image.",
        "Crop it by hand, prepare with --fit letterbox, or remove it.",
    ),
    "similar": Kind(
        "note", "Near-duplicate", "Looks like another image: a copy re-saved, resized or retouched, or a next frame.",
        "Look at the groups; keep one of each if they are copies.",
    ),
    "mislabelled": Kind(
        "note", "Mislabelled extension", "The content is of another format than the name says. It is read correctly.",
        "Rename it for the sake of other programs.",
    ),
    "no_end": Kind(
        "note", "End mark missing", "All pixels are there, but the file stops short of its formal end.",
        "Nothing; other programs may complain.",
    ),
    "twice": Kind(
        "note", "Name occurs twice", "The zip holds several files under one name; only the last is read.",
        "Make the zip again.",
    ),
}  # fmt: skip
UNUSABLE = frozenset(name for name, kind in KINDS.items() if kind.level == "bad")
MOVED = tuple(name for name, kind in KINDS.items() if kind.moved)
