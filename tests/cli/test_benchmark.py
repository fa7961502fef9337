"""`stylegan benchmark` measures what it says, on whatever device there is."""

from __future__ import annotations

import json

import pytest
import torch

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
    assert {"device", "bytes_per_second", "flops", "precision"} <= result["limits"].keys()
    for row in result["rows"]:
        assert row["images_per_second"] == pytest.approx(row["batch"] / row["milliseconds"] * 1000)
        assert row["floor_ms"] > 0
        assert row["reached"] == pytest.approx(row["floor_ms"] / row["milliseconds"])
        assert row["memory_gb"] >= 0
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("train", "--preset", "digits", "--resolution", 32, "--levels", "8,12"), "power of two from 4 to 32"),
        (("train", "--batch", 0), "--batch 0: must be at least 1"),
        (("data", "--batch", -3), "--batch -3: must be at least 1"),
        (("data", "--threads", 0), "--threads 0: must be at least 1"),
        (("train", "--seconds", 0), "--seconds 0: must be a number of seconds above 0"),
        (("train", "--seconds", "nan"), "--seconds nan: must be"),
        (("train", "--json", "/proc/nowhere/speed.json"), "/proc/nowhere"),
        (("train", "--json", "speed.txt"), "must end in .json"),
        (("train", "--preset", "auto"), "name it with --set DATA"),
        (("train", "--preset", "ffqh"), "ffqh"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(stylegan, monkeypatch, options, said):
    monkeypatch.setattr("stylegan.benchmark.clock.seconds", lambda *a, **k: pytest.fail("measured"))
    answer = stylegan("benchmark", *options)
    assert answer.code == 2
    assert said in answer.err.replace("\n", " ")


def test_the_operators_of_the_paper_networks_with_their_floors(stylegan, tmp_path):
    file = tmp_path / "ops.json"
    answer = stylegan("benchmark", "ops", "--seconds", 0.001, "--device", "cpu", "--json", file)
    assert answer.code == 0, answer.err
    rows = {row["what"]: row for row in json.loads(file.read_text())["rows"]}
    assert len(rows) == measure.OPERATORS == measure.operator_count(torch.device("cpu"))
    assert all(row["floor_ms"] > 0 and row["reached"] > 0 and row["extra"]["ratio"] > 0 for row in rows.values())
    limits = json.loads(file.read_text())["limits"]
    tensor = 16 * 64 * 32 * 32 * 4  # bytes of an activation: read, written, its gradient read, the input's written
    assert rows["blur"]["floor_ms"] == pytest.approx(1e3 * 4 * tensor / limits["bytes_per_second"])
    multiplied = 3 * 2 * 16 * 32 * 32 * 64 * 64 * 9  # forward and both gradients
    assert rows["conv 3x3"]["floor_ms"] > 1e3 * multiplied / limits["flops"]


def test_a_training_of_a_set_is_measured_as_it_would_be_and_tells_its_time(stylegan, tmp_path, monkeypatch):
    """`stylegan train` without a preset takes what it knows of the same training from the benchmark."""
    from stylegan.benchmark.loading import synthetic

    monkeypatch.setenv("STYLEGAN_RATES", str(tmp_path / "rates.json"))
    synthetic(tmp_path / "set", 16, count=24)
    options = ("--set", tmp_path / "set", "--preset", "auto", "--seconds", 0.01, "--device", "cpu")
    answer = stylegan("benchmark", "schedule", *options)
    assert answer.code == 0, answer.err
    assert "16x16" in answer.out
    answer = stylegan("train", tmp_path / "set", "--out", tmp_path / "run", "--device", "cpu", "--stop-kimg", 0.001)
    assert "as such trainings went here before" in (tmp_path / "run" / "log.txt").read_text(), answer.err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("STYLEGAN_OPS", "quick", "STYLEGAN_OPS=quick: must be auto, reference or fast"),
        ("STYLEGAN_LAYOUT", "rows", "STYLEGAN_LAYOUT=rows: must be auto, channels_last or contiguous"),
        ("STYLEGAN_PACK_FROM", "abc", "STYLEGAN_PACK_FROM=abc: must be a power of two"),
        ("STYLEGAN_PACK_FROM", "100", "STYLEGAN_PACK_FROM=100: must be a power of two"),
    ],
)
def test_settings_of_the_environment_are_checked_by_every_verb(stylegan, monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    for verb in (("presets",), ("benchmark", "ops")):
        answer = stylegan(*verb)
        assert answer.code == 2
        assert said in answer.err


def test_a_level_named_twice_is_measured_once(stylegan, tmp_path):
    options = ("--preset", "digits", "--resolution", 16, "--levels", "8,8", "--seconds", 0.01, "--device", "cpu")
    answer = stylegan("benchmark", "generate", *options, "--json", tmp_path / "speed.json")
    assert answer.code == 0, answer.err
    assert len(json.loads((tmp_path / "speed.json").read_text())["rows"]) == 1


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
