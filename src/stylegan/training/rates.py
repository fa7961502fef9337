"""What an image cost on this machine before: kept from trainings and benchmarks, for the first time-left of a run.

One small JSON file in the user's cache, by device and by everything that decides the cost of a step. It is a help
and never a reason to fail: a file that cannot be read or written is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from stylegan.config import Config
from stylegan.distributed import Processes
from stylegan.snapshot import write_atomically
from stylegan.training import memory

KEEP = 200  # kinds of training, the latest


def place() -> Path:
    """The file; the environment variable STYLEGAN_RATES names another."""
    named = os.environ.get("STYLEGAN_RATES")
    return Path(named) if named else Path(platformdirs.user_cache_dir("stylegan-torch")) / "rates.json"


def kind_of(config: Config, processes: Processes) -> str:
    """Device, number of processes, precision, and a hash of the networks, losses, augmentation and batches."""
    cost = {
        "generator": config.generator.model_dump(mode="json"),
        "discriminator": config.discriminator.model_dump(mode="json"),
        "loss": config.loss.model_dump(mode="json"),
        "augment": config.augment.model_dump(mode="json"),
        "batch": [config.schedule.batch, config.schedule.batch_by_resolution],
    }
    digest = hashlib.sha256(json.dumps(cost, sort_keys=True).encode()).hexdigest()[:16]
    return f"{processes.world} x {memory.describe(processes.device)}, {config.training.precision}, {digest}"


def recall(config: Config, processes: Processes) -> dict[int, float]:
    """Seconds per image by level, of an earlier training of this kind on this machine; {} where there was none."""
    found = _read().get(kind_of(config, processes), {})
    try:
        return {int(level): float(value) for level, value in found["seconds"].items() if 0 < float(value) < 1e6}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def remember(config: Config, processes: Processes, seconds: Mapping[int, float]) -> None:
    """Keeps seconds per image by level.

    Levels not measured now keep what was known, as much slower or quicker as those measured now are than before: what
    is kept is one machine in one state, or the ratio of two levels would be that of two loads.
    """
    if not seconds or not processes.first:
        return
    known, kind, before = _read(), kind_of(config, processes), recall(config, processes)
    shared = [seconds[level] / before[level] for level in seconds if level in before]
    slower = statistics.median(shared) if shared else 1.0
    merged = {level: value * slower for level, value in before.items()} | dict(seconds)
    known.pop(kind, None)
    known[kind] = {"seconds": {str(level): value for level, value in merged.items()}, "when": int(time.time())}
    for old in list(known)[:-KEEP]:
        del known[old]
    with contextlib.suppress(OSError):
        place().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place(), json.dumps(known, indent=1).encode())


def _read() -> dict[str, Any]:
    try:
        found = json.loads(place().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
