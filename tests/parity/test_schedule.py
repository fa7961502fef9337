"""The official training schedule, row by row, and the official loop's bookkeeping."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from stylegan.config import ScheduleConfig
from stylegan.config.presets import preset
from stylegan.training import schedule
from tests.parity.case import CASES

SCHEDULES: dict[str, dict[str, Any]] = json.loads((CASES / "schedules.json").read_text())


def config_and_top(name: str) -> tuple[ScheduleConfig, int]:
    """The preset table's FFHQ schedule, for which the tables were recorded."""
    config = preset("ffhq1024", 2 ** SCHEDULES[name]["resolution_log2"])
    return config.schedule, config.generator.top


@pytest.mark.parametrize("name", SCHEDULES)
def test_table(name: str) -> None:
    config, top = config_and_top(name)
    with (CASES / f"schedule_{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    for row in rows:
        point = schedule.at(config, top, int(row["cur_nimg"]))
        assert point.lod == pytest.approx(float(row["lod"]), abs=1e-9), row
        assert (point.resolution, point.batch) == (int(row["resolution"]), int(row["minibatch"])), row
        assert (point.g_lr, point.d_lr) == (float(row["G_lrate"]), float(row["D_lrate"])), row
        assert point.tick_kimg == float(row["tick_kimg"]), row


@pytest.mark.parametrize("name", SCHEDULES)
def test_loop(name: str) -> None:
    """Where the optimizers are reset, how often the schedule is looked at, and where ticks end."""
    config, top = config_and_top(name)
    wanted = SCHEDULES[name]
    resets, ticks, before, tick_start, nimg = [], [], -1.0, 0, 0
    rounds = 0
    for point in schedule.iterations(config, top, 0):
        rounds += 1
        if schedule.resets_optimizer(before, point.lod):
            resets.append([point.nimg, pytest.approx(point.lod, abs=1e-9)])
        before = point.lod
        nimg = point.nimg + point.batch * config.repeats
        if nimg >= tick_start + point.tick_kimg * 1000 or nimg >= config.total_kimg * 1000:
            ticks.append(nimg)
            tick_start = nimg
    assert wanted["optimizer_resets"] == resets
    assert (nimg, rounds, len(ticks)) == (
        wanted["final_nimg"],
        wanted["outer_iterations"],
        wanted["num_ticks"],
    )
    assert ticks[: len(wanted["first_tick_nimg"])] == wanted["first_tick_nimg"]
