"""Which kind of model file something is, told by its first bytes. Needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stylegan.errors import UserError

Format = Literal["snapshot", "pickle", "pytorch"]
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before version 1.6


def sniff(path: Path) -> Format:
    """What kind of model file this is, by its first bytes. UserError for anything else, saying what it looks like."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give a model file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27:
        return "snapshot"
    if head[:4] == b"PK\x03\x04" or head.startswith(_TORCH_LEGACY):
        return "pytorch"
    if head[:1] in (b"\x80", b"(", b"c") or not head:
        return "pickle"
    looks = "a web page" if b"<html" in head.lower() or b"<!doctype" in head.lower() else ""
    looks = looks or ("text" if all(byte in b"\t\r\n" or byte >= 32 for byte in head[:64]) else "another format")
    raise UserError(
        f"{path}: no model file: it begins like {looks} ({head[:16]!r}); expected an official .pkl, a PyTorch "
        f"checkpoint, or a .safetensors of this project. Was the download complete?"
    )
