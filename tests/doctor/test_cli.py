"""`stylegan doctor` and `stylegan runs` as a user types them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from stylegan.cli import main
from stylegan.data.prepare import prepare
from stylegan.doctor import environment
from tests.data.pictures import fill
from tests.doctor.test_runs import make


class Answer:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def stylegan(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Answer(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = fill(tmp_path / "photos", 6, 64, 64)
    (folder / "bad.png").write_bytes(b"bad")
    (folder / "copy.png").write_bytes((folder / "000.png").read_bytes())
    Image.new("RGB", (64, 64), "white").save(folder / "white.png")
    return folder


def test_report_and_exit_codes(stylegan, photos, tmp_path):
    answer = stylegan("doctor", photos)
    assert answer.code == 0, answer.err
    assert "8 of 9 images can be used; 2 findings deserve a look." in answer.out
    assert "bad.png: is a text file" in answer.out
    assert "recommended  64x64, RGB, --fit crop" in answer.out
    assert f"stylegan prepare {photos} OUT" in answer.out
    folder = tmp_path / "doctor-photos"
    assert "<html" in (folder / "report.html").read_text()
    assert json.loads((folder / "report.json").read_text())["problems"] == 3
    assert stylegan("doctor", photos, "--strict").code == 1
    good = fill(tmp_path / "good", 4, 64, 64)
    assert stylegan("doctor", good, "--strict").code == 0


def test_the_report_does_not_go_among_the_images(stylegan, photos: Path) -> None:
    answer = stylegan("doctor", photos, "--out", photos)
    assert answer.code == 2
    assert "is the folder of the images themselves" in answer.err


def test_json_to_a_file_and_to_the_terminal(stylegan, photos, tmp_path):
    answer = stylegan("doctor", photos, "--json")
    assert json.loads(answer.out)["usable"] == 8
    assert "8 of 9" in answer.err
    assert stylegan("doctor", photos, "--json", "x/found.json", "--out", "y").code == 0
    assert json.loads((tmp_path / "x" / "found.json").read_text()) | {
        "seconds": 0,
        "images_per_second": 0,
    } == json.loads((tmp_path / "y" / "report.json").read_text()) | {"seconds": 0, "images_per_second": 0}


def test_out_inside_the_data_is_not_looked_at(stylegan, photos):
    for _ in range(2):
        assert "of 9 images" in stylegan("doctor", photos, "--out", photos / "report").out
        Image.new("RGB", (64, 64)).save(photos / "report" / "picture.png")


def test_quarantine_and_back(stylegan, photos, tmp_path):
    before = sorted(p.name for p in photos.iterdir())
    answer = stylegan("doctor", photos, "--quarantine", "away")
    assert answer.code == 0, answer.err
    assert "3 files moved to away" in answer.out
    assert {p.name for p in (tmp_path / "away" / "files").iterdir()} == {"bad.png", "copy.png", "white.png"}
    assert "All 6 images can be used" in stylegan("doctor", photos, "--strict").out
    assert "3 files put back" in stylegan("doctor", "--restore", "away").out
    assert sorted(p.name for p in photos.iterdir()) == before
    assert "1 files moved" in stylegan("doctor", photos, "--quarantine", "away", "--kinds", "not_image").out


def test_quarantine_is_refused_for_zips_and_prepared_sets(stylegan, photos, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in photos.iterdir():
            archive.write(file, file.name)
    answer = stylegan("doctor", "a.zip", "--quarantine", "away")
    assert answer.code == 2
    assert "files inside a zip cannot be moved" in answer.err
    prepare(photos, tmp_path / "set", workers=1)
    assert "is a prepared data set" in stylegan("doctor", "set", "--quarantine", "away").err
    assert not (tmp_path / "away").exists()
    assert "prepared size" in (stylegan("doctor", "set").out and (tmp_path / "doctor-set" / "report.html").read_text())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no such folder or zip"),
        (["photos", "--workers", "0"], "workers 0: must be at least 1"),
        (["photos", "--kinds", "all", "--quarantine", "q"], "--kinds 'all'"),
        (["photos", "--classes", "--out", "photos/000.png"], "cannot be written"),
        (["--quarantine", "x"], "no DATA"),
        (["photos", "--restore", "x"], "goes alone"),
        (["--restore", "photos"], "is no quarantine"),
        (["photos", "--json", "photos"], "is a folder"),
    ],
)
def test_bad_input_gets_one_sentence(stylegan, photos, arguments, words):
    answer = stylegan("doctor", *arguments)
    assert answer.code == 2
    assert words in answer.err
    assert "Traceback" not in answer.err


def test_environment(stylegan, tmp_path):
    answer = stylegan("doctor")
    assert answer.code == 0
    for words in ("Python", "PyTorch", "operators", "cache", "GB free", "memory"):
        assert words in answer.out
    found = json.loads(stylegan("doctor", "--json").out)
    assert found["packages"]["numpy"]
    assert found["kernels"]["drawing"] in ("reference", "fast")
    assert found["disk"]["here"]["free_bytes"] > 0


def test_environment_survives_a_broken_torch(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    found = environment.environment()
    assert "error" in found["torch"]
    assert any("cannot be imported" in line for line in found["advice"])


def test_runs(stylegan, tmp_path):
    assert "no runs in or below" in stylegan("runs", tmp_path).out
    make(tmp_path / "runs" / "[a]", metrics=[{"fid2k": 12.5}])
    answer = stylegan("runs", tmp_path / "runs")
    assert answer.code == 0
    for words in ("[a]", "crashed", "2.0 / 25,000", "64x64", "fid2k 12.5", "fakes-000001000.png"):
        assert words in answer.out, answer.out
    (run,) = json.loads(stylegan("runs", tmp_path / "runs", "--json").out)
    assert run["state"] == "crashed"
    assert "no such folder" in stylegan("runs", tmp_path / "nowhere").err


def test_states_of_a_real_training(stylegan, photos, tmp_path, monkeypatch):
    """The files that `stylegan train` writes mean what `stylegan runs` takes them for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = [f"--{net}.fmap_max=4" for net in ("generator", "discriminator")] + [
        "--generator.z_dim=4", "--generator.w_dim=4", "--generator.mapping_width=4", "--generator.mapping_layers=1",
        "--schedule.stable_kimg=0.004", "--schedule.fade_kimg=0.004", "--schedule.tick_kimg=0.008", "--batch=4",
        "--schedule.initial_resolution=8", "--kimg=0.032", "--quiet",
    ]  # fmt: skip
    for options, state in ((["--stop-kimg=0.012"], "stopped"), ([], "finished")):
        assert stylegan("train", photos, "--out", "runs/a", *small, *options).code == 0
        (run,) = json.loads(stylegan("runs", "runs", "--json").out)
        assert run["state"] == state
    assert run["kimg"] == run["total_kimg"] == 0.032
    assert run["rate"] > 0
    assert run["grid"].endswith("fakes-000000032.png")


def test_environment_with_a_gpu(monkeypatch):
    import torch

    class Properties:
        name, major, minor = "NVIDIA Test", 9, 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (70_000_000_000, 80_000_000_000))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    found = environment.environment()
    assert found["gpus"][0]["name"] == "NVIDIA Test"
    assert found["kernels"]["drawing"] == "fast"
    from stylegan.cli.doctor import _rows

    assert ("GPU", "NVIDIA Test, 80 GB (70 GB free), capability 9.0, driver ?") in _rows(found)
