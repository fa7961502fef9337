"""Images that a page has sent, bounded in bytes, pixels and number, and checked before they are kept."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from stylegan.data.decode import DecodeError, opened
from stylegan.errors import UserError
from stylegan.studio.library import Unknown

MAX_BYTES = 24 << 20
MAX_PIXELS = 50_000_000
KEPT = 8


class Uploads:
    """The newest uploads by id, as the bytes that came, which are an image by their header."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, data: bytes) -> tuple[str, int, int]:
        """(id, width, height). UserError: no image, or too large. Only the header is read here."""
        if len(data) > MAX_BYTES:
            raise UserError(f"the image has more than {MAX_BYTES >> 20} MB; make it smaller first")
        try:
            width, height = opened(data).size
        except DecodeError as error:
            raise UserError(f"this is no usable image: {error}") from None
        if width * height > MAX_PIXELS:
            most = MAX_PIXELS // 10**6
            raise UserError(f"the image has {width}x{height} pixels, more than {most} million; make it smaller first")
        id = secrets.token_hex(8)
        with self._lock:
            self._kept[id] = data
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return id, width, height

    def get(self, id: str) -> bytes:
        """The bytes of an upload; Unknown where there is none (any more)."""
        try:
            return self._kept[id]
        except KeyError:
            raise Unknown(id) from None
