"""The schedule against Progressive GAN's description; the official tables are in tests/parity."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from stylegan.config import ScheduleConfig
from stylegan.training import schedule
from stylegan.training.schedule import at, describe, iterations, resets_optimizer


def plan(**changes: Any) -> ScheduleConfig:
    return ScheduleConfig(
        **({"total_kimg": 100, "initial_resolution": 8, "stable_kimg": 10, "fade_kimg": 10} | changes)
    )


def test_stable_then_fade_then_stable() -> None:
    """8x8 for 10 kimg, 16x16 fades in over 10, is trained for 10, and so on until full resolution stays."""
    top = 3  # 32x32
    expected = {
        0: (2.0, 8), 5: (2.0, 8), 10: (2.0, 8), 12.5: (1.75, 16), 15: (1.5, 16), 19.999: (1.0001, 16), 20: (1.0, 16),
        30: (1.0, 16), 35: (0.5, 32), 40: (0.0, 32), 99: (0.0, 32), 5000: (0.0, 32),
    }  # fmt: skip
    for kimg, (lod, side) in expected.items():
        point = at(plan(), top, round(kimg * 1000))
        assert point.lod == pytest.approx(lod, abs=1e-9), kimg
        assert point.resolution == side, kimg
        assert 4 << point.level == side


def test_the_share_faded_in_rises_from_nothing_to_one() -> None:
    fading = [point for n in range(10_000, 20_001, 500) if (point := at(plan(), 3, n)).fading]
    shares = [point.faded_in for point in fading]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.06
    assert 0.95 <= shares[-1] < 1
    assert at(plan(), 3, 20_000).faded_in == 1.0


@pytest.mark.parametrize(("stable", "fade"), [(0, 10), (10, 0)])
def test_phases_of_no_length(stable: float, fade: float) -> None:
    points = [at(plan(stable_kimg=stable, fade_kimg=fade), 3, n) for n in range(0, 60_000, 1000)]
    lods = [point.lod for point in points]
    assert lods == sorted(lods, reverse=True)
    assert lods[-1] == 0.0
    if fade == 0:
        assert all(lod == int(lod) for lod in lods)


def test_without_growing_everything_is_full_resolution() -> None:
    for n in (0, 5000, 15_000, 10**7):
        point = at(plan(grow=False, initial_resolution=4), 5, n)
        assert (point.lod, point.level, point.resolution, point.phase, point.phases) == (0.0, 5, 128, 1, 1)
    assert describe(at(plan(grow=False), 5, 0), 160, 128) == "training 160x128"


def test_tables_by_resolution_with_defaults() -> None:
    config = plan(
        batch=6, batch_by_resolution={8: 64, 32: 16}, lr=0.001, lr_by_resolution={16: 0.002}, d_lr_scale=0.5,
        tick_kimg=7, tick_kimg_by_resolution={8: 3},
    )  # fmt: skip
    eight, sixteen, thirty_two = at(config, 3, 0), at(config, 3, 15_000), at(config, 3, 45_000)
    assert [p.batch for p in (eight, sixteen, thirty_two)] == [64, 6, 16]
    assert [p.g_lr for p in (eight, sixteen, thirty_two)] == [0.001, 0.002, 0.001]
    assert [p.d_lr for p in (eight, sixteen, thirty_two)] == [0.0005, 0.001, 0.0005]
    assert [p.tick_kimg for p in (eight, sixteen, thirty_two)] == [3, 7, 7]


@pytest.mark.parametrize(("stable", "fade"), [(10, 10), (12, 8), (0, 5), (7, 0), (3.3, 4.7)])
def test_where_levels_start(stable: float, fade: float) -> None:
    config = plan(stable_kimg=stable, fade_kimg=fade)
    starts = schedule.level_starts(config, 5)
    assert [level for level, _ in starts] == [1, 2, 3, 4, 5]
    for level, start in starts[1:]:
        assert at(config, 5, math.floor(start) + 1).level == level
        assert at(config, 5, math.ceil(start) - 1).level == level - 1 or start == 0
    assert schedule.level_starts(plan(grow=False), 5) == [(5, 0.0)]


def test_learning_rate_rampup() -> None:
    config = plan(lr_rampup_kimg=4, lr=0.004)
    assert [at(config, 3, n).g_lr for n in (0, 1000, 2000, 4000, 9000)] == [0, 0.001, 0.002, 0.004, 0.004]


def test_phases_are_counted_and_told() -> None:
    said = []
    for n in range(0, 60_000, 2500):
        point = at(plan(), 3, n)
        side = point.resolution
        said.append(describe(point, side, side))
        assert 1 <= point.phase <= point.phases == 5
    assert said[0] == "training 8x8, phase 1 of 5"
    assert "fading in 16x16, 50 %, phase 2 of 5" in said
    assert "training 16x16, phase 3 of 5" in said
    assert "fading in 32x32, 75 %, phase 4 of 5" in said
    assert said[-1] == "training 32x32, phase 5 of 5"


def test_optimizers_start_afresh_with_every_phase() -> None:
    assert resets_optimizer(-1.0, 2.0)
    assert not resets_optimizer(2.0, 2.0)
    assert resets_optimizer(2.0, 1.99)
    assert not resets_optimizer(1.99, 1.01)
    assert resets_optimizer(1.01, 1.0)
    assert resets_optimizer(1.01, 0.99)
    lods = [point.lod for point in iterations(plan(batch=50), 3, 0)]
    changes = [b for a, b in itertools.pairwise([-1.0, *lods]) if resets_optimizer(a, b)]
    assert len(changes) == 5
    assert [math.ceil(lod) for lod in changes] == [2, 2, 1, 1, 0]


def test_iterations_from_any_of_their_points_are_the_same() -> None:
    config = plan(batch=50, batch_by_resolution={8: 100, 16: 75}, repeats=3)
    points = list(iterations(config, 3, 0))
    assert points[0].nimg == 0
    assert all(b.nimg - a.nimg == a.batch * 3 for a, b in itertools.pairwise(points))
    assert points[-1].nimg < 100_000 <= points[-1].nimg + points[-1].batch * 3
    for k in (1, 17, len(points) - 1):
        assert list(iterations(config, 3, points[k].nimg)) == points[k:]
    assert list(schedule.iterations(config, 3, 100_000)) == []
