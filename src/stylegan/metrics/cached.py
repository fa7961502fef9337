"""Statistics of data sets, kept on disk: the same data under the same protocol is measured once.

A file is named by the hash of everything its numbers depend on, holds that description, and is read as data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stylegan.errors import UserError
from stylegan.snapshot import write_atomically

VERSION = 1  # of what the numbers mean


def default_folder() -> Path:
    """Where statistics and classifiers are kept."""
    return Path(platformdirs.user_cache_dir("stylegan-torch")) / "metrics"


def key_text(description: Mapping[str, Any]) -> str:
    """The description as text, the same for the same content."""
    return json.dumps({"version": VERSION, **description}, sort_keys=True)


def key_path(folder: Path, kind: str, description: Mapping[str, Any]) -> Path:
    """The file of a description."""
    digest = hashlib.sha256(key_text(description).encode()).hexdigest()[:24]
    return folder / f"{kind}-{digest}.safetensors"


def load_arrays(path: Path, description: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """What was stored for exactly this description; None where there is nothing, or it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("description") != key_text(description):
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def store_arrays(path: Path, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str | None:
    """Writes atomically; a cache that cannot be written is no error, and the reason is returned."""
    try:
        held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_atomically(path, save(held, metadata={"description": key_text(description)}))
    except UserError as error:
        return str(error)
    return None
