"""`stylegan benchmark` measures what it says, on whatever device there is."""

from __future__ import annotations

import json

import pytest

from stylegan.benchmark import measure, work
from stylegan.config.presets import preset


@pytest.mark.parametrize("what", ["train", "generate", "schedule"])
def test_measures_and_writes_json(stylegan, tmp_path, what):
    file = tmp_path / "speed.json"
    options = ("--preset", "digits", "--resolution", 16, "--batch", 4, "--seconds", 0.05, "--device", "cpu")
    answer = stylegan("benchmark", what, *options, "--json", file)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    assert [row["resolution"] for row in result["rows"]] == (["8x8", "16x16"] if what == "schedule" else ["16x16"])
    for row in result["rows"]:
        assert row["images_per_second"] == pytest.approx(row["batch"] / row["milliseconds"] * 1000)
        assert row["floor_ms"] > 0
    if what == "schedule":
        assert result["hours"] > 0
        assert "whole schedule, 100 kimg" in answer.out.replace("\n", " ")


def test_schedule_of_a_preset(stylegan, tmp_path):
    file = tmp_path / "speed.json"
    options = ("--resolution", 16, "--batch", 4, "--seconds", 0.05, "--device", "cpu", "--json", file)
    answer = stylegan("benchmark", "--schedule", "digits", *options)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    assert result["preset"] == "digits"
    assert [row["resolution"] for row in result["rows"]] == ["8x8", "16x16"]
    assert result["hours"] > 0
    answer = stylegan("benchmark", "ops", "--schedule", "digits")
    assert answer.code == 2
    assert "leave out one of them" in answer.err


def test_levels_are_checked(stylegan):
    answer = stylegan("benchmark", "train", "--preset", "digits", "--resolution", 32, "--levels", "8,12")
    assert answer.code == 2
    assert "power of two from 4 to 32" in answer.err


def test_the_work_of_the_paper_networks():
    """Known for 1024x1024 and every step penalised: 15 forward passes, 7.1 GB in bfloat16 within a tenth."""
    config = preset("ffhq1024")
    done = work.iteration(config, 8, element=2)
    one = work.generation(config, 8, element=2)
    assert done.flops == pytest.approx(15 * one.flops, rel=0.01)
    assert one.flops == pytest.approx(54.9e9, rel=0.01)
    lazy = preset("ffhq1024", changes={"loss": {"penalty_interval": 16}})
    assert work.iteration(lazy, 8, element=2).flops == pytest.approx((12 + 3 / 16) * one.flops, rel=0.01)


def test_prediction_sums_the_phases():
    config = preset("digits", 32)
    hours = measure.predict_hours(config, {1: 1000.0, 2: 500.0, 3: 250.0})
    plan = config.schedule
    first, second = plan.stable_kimg, plan.stable_kimg + plan.fade_kimg
    rest = plan.total_kimg - first - second
    assert hours * 3600 == pytest.approx(first + 2 * second + 4 * rest, rel=1e-3)


def test_data_rates_of_a_prepared_and_of_a_synthetic_set(stylegan, tmp_path):
    from stylegan.benchmark.loading import synthetic

    synthetic(tmp_path / "set", 32, count=12)
    file = tmp_path / "data.json"
    for options in (("--set", tmp_path / "set"), ("--preset", "digits", "--resolution", 32)):
        answer = stylegan("benchmark", "data", *options, "--batch", 4, "--seconds", 0.02, "--json", file)
        assert answer.code == 0, answer.err
        rows = json.loads(file.read_text())["rows"]
        assert [row["resolution"] for row in rows] == ["4x4", "8x8", "16x16", "32x32"]
        for row in rows:
            assert row["images_per_second"] == pytest.approx(row["batch"] / row["milliseconds"] * 1000)
            side = int(row["resolution"].split("x")[0])
            assert row["extra"]["megabytes_per_second"] == pytest.approx(row["images_per_second"] * 3 * side**2 / 1e6)
        assert "MB/s" in answer.out


def test_data_set_that_is_none(stylegan, tmp_path):
    answer = stylegan("benchmark", "data", "--set", tmp_path)
    assert answer.code == 2
    assert "Traceback" not in answer.err
