"""Level-of-detail arithmetic."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylegan import lod as lods


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1024, 1024, (4, 4, 8)),
        (32, 32, (4, 4, 3)),
        (768, 1280, (3, 5, 8)),
        (384, 512, (3, 4, 7)),
        (8, 8, (4, 4, 1)),
        (4, 4, (2, 2, 1)),
        (24, 24, (3, 3, 3)),
        (512, 256, (4, 2, 7)),
    ],
)
def test_base_nearest_to_4x4(height: int, width: int, expected: tuple[int, int, int]) -> None:
    h0, w0, k = lods.split_size(height, width)
    assert (h0 << k, w0 << k) == (height, width)
    if expected != (4, 2, 7):  # two bases are equally near
        assert (h0, w0, k) == expected


@given(h0=st.integers(1, 7), w0=st.integers(1, 7), k=st.integers(1, 8))
def test_split_gives_the_size_back(h0: int, w0: int, k: int) -> None:
    a, b, levels = lods.split_size(h0 << k, w0 << k)
    assert (a << levels, b << levels) == (h0 << k, w0 << k)
    assert levels >= 1


@pytest.mark.parametrize("size", [(33, 32), (32, 31), (1, 1), (1080, 1919)])
def test_sizes_that_cannot_be_halved(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"image size {size[1]}x{size[0]}: .*power of two.*crop or resize"):
        lods.split_size(*size)


@given(lod=st.floats(0, 8))
def test_level_and_fade_name_the_lod(lod: float) -> None:
    level, fade = lods.level_of(lod, 8), lods.fade_of(lod)
    assert 0 <= fade < 1
    assert (8 - level) + fade == pytest.approx(lod)
    assert lods.active_layers(18, lod) == 2 * (level + 1)
    assert lods.nominal(level) == 1024 >> math.floor(lod)


@pytest.mark.parametrize("lod", [-1e-9, 8.01, math.nan, math.inf])
def test_lods_outside(lod: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0"):
        lods.check_lod(lod, 8)
