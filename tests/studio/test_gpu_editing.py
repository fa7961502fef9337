"""benchmarks/gpu_editing.py, which is meant for a GPU, measures what it says, here with small networks on the CPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "gpu_editing.py"


@pytest.fixture(scope="module")
def script() -> Any:
    if not PATH.is_file():
        pytest.skip("not in a checkout")
    spec = importlib.util.spec_from_file_location("gpu_editing", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_frames(script: Any) -> None:
    found = script.frames(script.generator(32, "cpu", **script.TINY), "cpu", 6)
    assert found["side"] == [32, 32]
    assert found["frames"] == 6
    one, dragging = found["one"], found["dragging"]
    assert 0 < one["encoding_ms"] < one["ms"]
    assert 0 < one["drawing_ms"] < one["ms"]
    assert dragging["frames_per_second"] > 0
    assert found["bytes_per_frame"] > 500


def test_projection(script: Any) -> None:
    found = script.projection(script.generator(32, "cpu", **script.TINY), 3, 60.0)
    assert found["steps"][0] == found["steps"][1]
    assert len(found["psnr_db"]) == found["images"] == 2
    assert script.projection(script.generator(32, "cpu", **script.TINY), 300, 0.0)["steps"][0] == 1  # no time left
