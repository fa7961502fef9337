"""Curves of runs as a picture, and what was found in the list of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stylegan.cli import cli
from stylegan.doctor.curves import plot_runs, read_entries, value_at
from stylegan.errors import UserError
from tests.doctor.test_runs import make


def report(kimg: float, codes: list[str], **health: float) -> dict[str, Any]:
    return {
        "kimg": kimg, "nimg": int(kimg * 1000), "loss": {"loss_d": 1.2, "loss_g": 0.9, "sign_real": 0.5},
        "schedule": {"lod": 0.5 if kimg < 3 else 0.0, "resolution": 64}, "time": {"images_per_second": 100},
        "health": {**health, "findings": [{"code": code, "since": kimg} for code in codes]},
    }  # fmt: skip


@pytest.fixture
def ill(tmp_path: Path) -> Path:
    run = make(tmp_path / "runs" / "ill")
    entries = [report(float(i), ["collapse"] if i > 4 else [], diversity=1 / (i + 1)) for i in range(8)]
    (run / "stats.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"half')
    return run


def test_the_list_says_what_is_wrong_now(ill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(ill.parent / "older")  # a run without measures
    cli.main(["runs", str(ill.parent)], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert "health" in lines[0]
    assert "collapse" in next(line for line in lines if line.startswith("ill"))
    assert "collapse" not in next(line for line in lines if line.startswith("older"))
    cli.main(["runs", str(ill.parent), "--json"], standalone_mode=False)
    assert [run["health"] for run in json.loads(capsys.readouterr().out)] == [["collapse"], []]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_of_all_runs(ill: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    make(ill.parent / "older")
    out = ill.parent / "plots" / f"curves.{suffix}"
    cli.main(["runs", str(ill.parent), "--plot", str(out)], standalone_mode=False)
    assert capsys.readouterr().out.strip() == str(out)
    if suffix == "png":
        with Image.open(out) as image:
            red = image.convert("RGB").getcolors(1 << 20)
        assert any(r > 180 and g < 120 and b < 120 and n > 200 for n, (r, g, b) in red or [])  # the bar of the finding
    else:
        assert "<svg" in out.read_text()
    assert list(out.parent.iterdir()) == [out]


def test_every_curve_is_named_in_some_legend_and_keeps_its_colour(ill: Path) -> None:
    """Also one that the first run does not have."""
    pytest.importorskip("matplotlib")
    second = make(ill.parent / "jll")
    entries = [report(float(i), [], diversity_within=0.5, distance=0.1) for i in range(8)]
    (second / "stats.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    text = plot_runs([ill, second], ill.parent / "curves.svg").read_text()
    for label in ("diversity", "diversity within classes", "distance"):
        assert f"<!-- {label} -->" in text
    assert text.count("<!-- D -->") == 1
    assert "stroke: #2ca02c" in text  # the third colour: the distance, though the first curve is not there


def test_what_cannot_be_plotted(ill: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end it with \.png, \.svg or \.pdf"):
        plot_runs([ill], tmp_path / "curves.txt")
    pytest.importorskip("matplotlib")
    with pytest.raises(UserError, match="none of these runs has reported anything yet"):
        plot_runs([tmp_path / "nothing"], tmp_path / "curves.png")


def test_values_of_entries() -> None:
    entry = report(1.0, [], sign_heldout=0.1, sign_train=0.3, gap=float("nan"))
    assert value_at(entry, "held_out.sign") == pytest.approx(0.5 + 0.1 - 0.3)
    assert value_at(entry, "held_out.score") is None
    assert value_at(entry, "health.gap") is None
    assert value_at({}, "loss.loss_d") is None
    assert read_entries(Path("nowhere")) == []
