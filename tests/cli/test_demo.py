"""The demo's first part: drawing from the model that ships. (The whole demo takes minutes: `make demo`.)"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from stylegan import shipped
from stylegan.cli import demo
from tests.export.conftest import made


def test_draws_from_what_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, 16)
    (tmp_path / "model.safetensors").rename(tmp_path / "fruit.safetensors")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    demo.draw_shipped(tmp_path / "demo", "cpu")
    out = capsys.readouterr().out
    folder = tmp_path / "demo" / "fruit"
    for file in ("samples/sheet.png", "mixing.png", "interpolation.mp4"):
        assert (folder / file).stat().st_size > 0
        assert str(folder / file) in out
    width, height = Image.open(folder / "samples" / "sheet.png").size
    assert 1.5 < width / height < 1.7  # 8 columns, 5 rows
    assert "Now a training of your own" in out


def test_without_one_it_begins_with_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    demo.draw_shipped(tmp_path / "demo", "cpu")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "demo").exists()
