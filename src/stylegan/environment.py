"""What environment variables say of the operators (`stylegan.ops`): for measuring, and for tests.

STYLEGAN_OPS        auto, reference or fast: which form of each operator runs
STYLEGAN_LAYOUT     auto, channels_last or contiguous: how tensors of images lie
STYLEGAN_PACK_FROM  the smallest side whose levels are packed; 0 none, -1 as the device asks
"""

from __future__ import annotations

import os

from stylegan.errors import UserError

MODES = ("auto", "reference", "fast")
LAYOUTS = ("auto", "channels_last", "contiguous")


def operators() -> str:
    """STYLEGAN_OPS. UserError for what it cannot be; so do the others."""
    return _one_of("STYLEGAN_OPS", MODES)


def layout() -> str:
    """STYLEGAN_LAYOUT."""
    return _one_of("STYLEGAN_LAYOUT", LAYOUTS)


def pack_from() -> int:
    """STYLEGAN_PACK_FROM."""
    text = os.environ.get("STYLEGAN_PACK_FROM") or "-1"
    try:
        side = int(text)
    except ValueError:
        side = -2
    if side < -1 or (side > 0 and side & (side - 1)):
        raise UserError(
            f"STYLEGAN_PACK_FROM={text}: must be a power of two, 0 for none or -1 for the default; or unset it"
        )
    return side


def check() -> None:
    """UserError for the first of them that is wrong, before anything is done."""
    operators()
    layout()
    pack_from()


def _one_of(name: str, allowed: tuple[str, ...]) -> str:
    value = os.environ.get(name) or allowed[0]
    if value not in allowed:
        raise UserError(f"{name}={value}: must be {', '.join(allowed[:-1])} or {allowed[-1]}; or unset it")
    return value
