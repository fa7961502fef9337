"""`stylegan study` as typed: a real, very short study with a failure in it, its continuation, and refusals."""

import pytest
from PIL import Image

from stylegan.cli import main
from stylegan.images import read_parameters
from tests.studies.conftest import record

SHORT = ["--kimg", "0.05", "--width", "4", "--schedule.batch", "8", "--schedule.batch_by_resolution", "{}",
         "--seeds", "0", "--metrics", "fid16", "--features", "pixels", "--gpus", "0"]  # fmt: skip


def run(*arguments):
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_a_study_from_end_to_end(data, tmp_path, capsys):
    out = tmp_path / "study"
    broken = out / "runs" / "90-seed0"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{")
    study = ["study", "table2", data, "--out", out, "--jobs", "2", *SHORT]
    assert run(*study, "--configs", "0,90") == 1
    told = capsys.readouterr().err
    assert "1 of 2 failed; run the same command again" in told
    assert "not a configuration of this version" in told
    found = record(out / "table.json")
    assert [row["row"] for row in found["rows"]] == ["0", "90"]
    ours, failed = (row["cells"] for row in found["rows"])
    assert set(ours) == {"fid16", "fid16_mix2", "fid16_mix3", "fid16_mix4"}
    assert all(cell["mean"] > 0 for cell in ours.values())
    assert all(cell["mean"] is None for cell in failed.values())
    assert ours["fid16_mix3"]["paper"] == {"FFHQ": 12.88}
    text = (out / "table.md").read_text()
    assert "1 of 2 trainings measured; failed: 90 seed 0." in text
    assert "![samples, training seed 0](samples-seed0.png)" in text
    with Image.open(out / "samples-seed0.png") as sheet:
        assert sheet.width > 8 * 96
    assert read_parameters(out / "samples-seed0.png")["command"].startswith("stylegan study table2 ")
    assert run(*study, "--configs", "0") == 0, "what is done stays done, and takes a moment"
    assert record(out / "table.json")["rows"][0]["cells"] == ours


def test_dry_run_shows_commands_and_trains_nothing(data, tmp_path, capsys):
    assert run("study", "table1", data, "--out", tmp_path / "s", "--dry-run", *SHORT) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("stylegan train ") for line in lines) == 6
    assert sum(line.startswith("stylegan evaluate ") for line in lines) == 6
    assert "--preset table1-a" in lines[0]
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loss.mixing", "1"], "is what table2 compares"),
        (["--configs", "F"], "table2 has the configurations 0, 50, 90, 100"),
        (["--resolution", "64"], "--resolution 64x64: the data set has"),
        (["--gpus", "99"], "--gpus 99"),
        (["--features", "missing.onnx"], "missing.onnx"),
        (["--nonsense", "1"], "unknown"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(data, tmp_path, capsys, arguments, message):
    given = [*SHORT, *arguments]
    for option in arguments[::2]:
        while given.count(option) > 1:
            i = given.index(option)
            del given[i : i + 2]
    assert run("study", "table2", data, "--out", tmp_path / "s", *given) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (tmp_path / "s" / "runs").exists()


def test_missing_weights_are_said_before_training(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("stylegan.metrics.weights.download", lambda *_, **__: 1 / 0, raising=False)
    short = [word for word in SHORT if word not in ("--features", "pixels")]
    assert run("study", "table1", data, "--out", tmp_path / "s", *short, "--weights", "inception=none.pth") == 2
    assert "none.pth" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
