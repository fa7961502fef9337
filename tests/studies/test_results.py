"""The table: mean and spread, the paper's numbers beside, Markdown, CSV, JSON, plots without matplotlib."""

import csv
import io
import json
import math
import sys

import pytest
from PIL import Image

from stylegan.errors import UserError
from stylegan.studies.pictures import NO_PLOTS, write_plots
from stylegan.studies.results import Cell, Results, number, write_tables
from stylegan.studies.runner import run_study
from tests.studies.test_running import CPU


@pytest.fixture
def measured(plan_of, behaviours):
    """Table 1 of fake numbers: FID of a run = length of its folder's name + its seed; C crashed."""
    plan = plan_of(seeds=(0, 2))
    behaviours["training C"] = "crash"
    return Results(plan, run_study(plan, CPU, lambda _: None).jobs)


def test_spread_is_the_sample_standard_deviation():
    cell = Cell({0: 1.0, 1: 2.0, 5: 6.0})
    assert cell.mean == 3
    assert cell.spread == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert Cell({0: 1.0}).spread is None
    assert Cell({}).text() == "-"
    assert cell.text(3) == "3.00 ± 2.65"
    assert Cell({0: 1.0}).text(3) == "1.00 (1 of 3)"
    assert number(0.00123) == "0.00123"
    assert number(12345.0) == "12,345"


def test_markdown_has_ours_beside_the_papers(measured):
    text = measured.as_markdown([("plots", "plots.png")])
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    cells = [cell.strip() for cell in lines["F + mixing regularisation"].split("|")[2:-1]]
    assert cells == ["8.00 ± 1.41", "5.17", "4.4"]
    assert [cell.strip() for cell in lines["C + mapping and styles"].split("|")[2:-1]] == ["-", "5.34", "4.85"]
    assert "| paper, CelebA-HQ: FID | paper, FFHQ: FID |" in text
    assert "10 of 12 trainings measured; failed: C seed 0, C seed 2" in text
    assert "the disk is on fire" in text
    assert "a toy study" in text
    assert "![plots](plots.png)" in text


def test_csv_and_json_hold_every_number(measured, tmp_path):
    write_tables(measured, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert len(rows) == 10
    assert {(r["row"], r["seed"]): float(r["measured"]) for r in rows}[("B", "2")] == 9.0
    found = json.loads((tmp_path / "table.json").read_text())
    cell = found["rows"][0]["cells"]["fid10"]
    assert cell["by_seed"] == {"0": 7.0, "2": 9.0}
    assert cell["standard_error_within"] == 0.5
    assert cell["paper"] == {"CelebA-HQ": 7.79, "FFHQ": 8.04}
    assert found["rows"][2]["cells"]["fid10"]["mean"] is None
    assert {run["stage"] for run in found["runs"]} == {"done", "failed"}


def test_plots_are_optional(measured, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError) as error:
        write_plots(measured)
    assert str(error.value) == NO_PLOTS
    assert "pip install 'stylegan-torch[plots]'" in NO_PLOTS


@pytest.mark.parametrize("table", ["table1", "table2", "table4"])
def test_plots(plan_of, behaviours, table):
    pytest.importorskip("matplotlib")
    plan = plan_of(table)
    results = Results(plan, run_study(plan, CPU, lambda _: None).jobs)
    assert write_plots(results) == [("plots", "plots.png")]
    with Image.open(plan.out / "plots.png") as picture:
        assert picture.width > 600
        assert len(set(picture.convert("L").resize((40, 20)).tobytes())) > 20
