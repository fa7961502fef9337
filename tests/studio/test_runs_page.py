"""What the Training page is told about run folders, whole or damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from string import Formatter

from stylegan.studio import training
from stylegan.studio.library import Library, RunEntry
from tests.studio.conftest import EVIL, Running


def entry(place: Path, name: str) -> RunEntry:
    return next(run for run in Library([str(place / "runs")]).runs() if run.name == name)


def test_overview(running: Running) -> None:
    found = running.json("/api/runs")
    first = next(run for run in found["runs"] if run["name"] == "first")
    assert {run["name"] for run in found["runs"]} == {"first", "<b>second"}
    assert (first["kimg"], first["total_kimg"], first["state"], first["grid"]) == (11.0, 24.0, "stopped", 11000)
    assert first["disk_bytes"] > 1000
    assert found["free_bytes"] > 0
    assert "somebody" not in first["note"]
    assert first["health"][0]["code"] == "collapse"


def test_details(running: Running, place: Path) -> None:
    run = entry(place, "first")
    found = running.json(f"/api/runs/{run.id}")
    assert found["grids"] == [1000 * i for i in range(12)]
    curves = found["curves"]
    assert curves["kimg"] == [float(i) for i in range(12)]  # the damaged lines are left out
    assert math.isclose(curves["loss.loss_d"][3], 1.25)
    assert curves["loss.score_fake"] == [None] * 12  # NaN is not JSON
    assert "twins" not in json.dumps(curves)
    collapse = next(item for item in found["messages"] if item["code"] == "collapse")
    assert collapse["text"].startswith("The fakes differ 0.20 times as much as the data's images, and 50% have")
    assert "loss.r1_gamma" in collapse["remedy"]
    assert (collapse["since"], collapse["until"]) == (9.0, None)
    assert any(item["code"] == EVIL for item in found["messages"])


def test_long_logs_are_thinned_out(tmp_path: Path) -> None:
    lines = [{"kimg": i, "loss": {"loss_d": i}} for i in range(10_001)]
    found = training.curves(lines)
    assert len(found["kimg"]) <= training.MAX_POINTS + 1
    assert (found["kimg"][0], found["kimg"][-1]) == (0.0, 10_000.0)
    assert training.curves([]) == {"kimg": []}


def test_strange_logs() -> None:
    for value in ([], 3, "x", {"findings": 3}, {"findings": [[]]}, {"findings": [{"code": 3}]}, None):
        assert training.health({"health": value}) == []
    assert training.health({"health": {"findings": [{"code": "collapse"}]}})[0]["text"] == "Collapse"
    assert training.curves([{"kimg": 10**400, "loss": {"loss_d": True, "x": "y"}}]) == {"kimg": [None]}


def test_a_model_that_training_replaces(place: Path, tmp_path: Path) -> None:
    """The newest weights are drawn without a restart; a file that is gone says so."""
    import os
    import shutil

    import pytest

    from stylegan import UserError
    from stylegan.studio import library as module

    path = tmp_path / "model.safetensors"
    shutil.copy(place / "small.safetensors", path)
    library = Library([str(path)])
    (model,) = library.models()
    first = library.open(model.id)
    assert library.open(model.id) is first
    os.utime(path, ns=(1, 1))
    first.checked = -module.LOOK_AGAIN
    assert library.open(model.id) is not first
    path.unlink()
    library.open(model.id).checked = -module.LOOK_AGAIN
    with pytest.raises(UserError, match="the file is gone"):
        library.open(model.id)


def test_health_messages_in_every_language() -> None:
    """Each kind of message has a sentence and a remedy in both tables, with the numbers of the English one."""
    from stylegan.training.health.words import REMEDIES, SEEN

    folder = Path(training.__file__).parent / "static" / "strings"
    korean = json.loads((folder / "ko.json").read_text(encoding="utf-8"))
    english = json.loads((folder / "en.json").read_text(encoding="utf-8"))
    for key, text in SEEN.items():
        numbers = {name: 1.0 for _, name, _, _ in Formatter().parse(text) if name}
        code = key.split(",")[0]
        (message,) = training.health({"health": {"findings": [{"code": code, "since": 1.0, **numbers}]}})
        assert english[f"health.{message['kind']}.seen"] == english[f"health.{code}.try"] == "{text}"
        assert korean[f"health.{message['kind']}.seen"].format(**message["values"]) != message["text"]
        assert set(message["values"]) == set(numbers)
        translated = Formatter().parse(korean[f"health.{message['kind']}.seen"])
        assert {name for _, name, _, _ in translated if name} == set(numbers)
        assert korean[f"health.{code}.try"]
    assert set(REMEDIES) == {key.split(",")[0] for key in SEEN}
