"""The studio: a web application that draws, mixes, edits, projects and watches training, on this machine.

`stylegan studio` starts it; `make_app` is the ASGI application for those who serve it themselves.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylegan.studio.core import Studio
    from stylegan.studio.routes import make_app
    from stylegan.studio.serving import serve

__all__ = ["Studio", "make_app", "serve"]
_HOMES = {"Studio": "core", "make_app": "routes", "serve": "serving"}


def __getattr__(name: str) -> Any:
    """Imported when first used: drawing needs none of the web server's packages."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
