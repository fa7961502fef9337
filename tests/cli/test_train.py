"""`stylegan train`: runs, resumes, refuses, and says why."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import stylegan as library


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_trains_on_a_folder_and_says_where_it_stands(stylegan, photos, small, tmp_path):
    run = tmp_path / "run"
    answer = stylegan("train", photos, "--out", run, *small)
    assert answer.code == 0, answer.err
    assert "preset auto" in answer.err  # what was chosen, and why
    assert "relativistic, with R1 and R2" in answer.err  # small data
    assert "training 16x16  " in answer.err
    assert "finished: 0.1 kimg" in answer.err
    for name in ("config.json", "stats.jsonl", "log.txt", "reals.png", "model.safetensors", "timelapse.mp4"):
        assert (run / name).stat().st_size > 0, name
    model = library.load(run / "model.safetensors")
    assert model.generator.lod == 0.0
    assert model.training["kimg"] == 0.064
    assert model.config["schedule"]["batch"] == 4
    again = stylegan("train", photos, "--out", run, *small)
    assert again.code == 0
    assert "finished at 0.1 kimg; nothing left to do" in again.err


def test_a_raw_folder_is_prepared_once_and_what_was_left_out_is_named(stylegan, photos, small, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "broken.png").write_bytes(b"no image")
    answer = stylegan("train", folder, "--out", tmp_path / "run", *small, "--dry-run")
    assert answer.code == 0, answer.err
    assert "images      24, 1 left out" in answer.err
    assert "broken.png: not an image" in answer.err
    assert answer.out.lstrip().startswith("{")  # the configuration alone
    assert "left out" not in stylegan("train", folder, "--out", tmp_path / "run", *small, "--dry-run").err
    (folder / "second.png").write_bytes(b"no image either")
    assert "left out" not in stylegan("train", folder, "--out", tmp_path / "run", *small, "--dry-run", "--quiet").err


@pytest.mark.parametrize("kimg", ["-1", "0", "nan"])
def test_a_length_that_is_none_is_told_in_one_sentence(stylegan, photos, tmp_path, kimg):
    answer = stylegan("train", photos, "--out", tmp_path / "run", "--kimg", kimg)
    assert answer.code == 2
    assert answer.err == f"error: schedule.total_kimg {kimg}: should be greater than 0\n"


def test_labels_come_from_a_prepared_set(stylegan, photos, small, tmp_path):
    data = tmp_path / "data"
    assert stylegan("prepare", photos, data, "--classes").code == 0
    answer = stylegan("train", data, "--out", tmp_path / "run", "--labels", *small)
    assert answer.code == 0, answer.err
    model = library.load(tmp_path / "run" / "model.safetensors")
    assert model.generator.config.labels == 2
    assert model.training["class_names"] == ["cats", "dogs"]


def test_stops_and_goes_on(stylegan, photos, small, tmp_path):
    run = tmp_path / "run"
    answer = stylegan("train", photos, "--out", run, *small, "--stop-kimg", 0.03)
    assert answer.code == 0
    assert "Run the same command again to go on" in answer.err
    answer = stylegan("train", photos, "--out", run, *small)
    assert answer.code == 0
    assert "resumed at 0.0 kimg" in answer.err
    ticks = [json.loads(line)["tick"] for line in (run / "stats.jsonl").read_text().splitlines()]
    assert ticks == sorted(set(ticks))


def test_another_configuration_is_refused_by_field(stylegan, photos, small, tmp_path):
    run = tmp_path / "run"
    assert stylegan("train", photos, "--out", run, *small, "--stop-kimg", 0.01).code == 0
    answer = stylegan("train", photos, "--out", run, *small, "--gamma", 3, "--seed", 4)
    assert answer.code == 2
    assert "loss.r1_gamma was" in answer.err
    assert "training.seed was 0 and is now 4" in answer.err
    longer = [*small, "--kimg", 0.096]
    assert "--extend allows" in stylegan("train", photos, "--out", run, *longer).err
    answer = stylegan("train", photos, "--out", run, *longer, "--extend")
    assert answer.code == 0
    assert "finished: 0.1 kimg" in answer.err


def test_dry_run_prints_the_configuration_and_writes_nothing(stylegan, photos, tmp_path):
    answer = stylegan("train", photos, "--out", tmp_path / "run", "--dry-run", "--loss.r1_gamma", 5)
    assert answer.code == 0
    assert json.loads(answer.out)["loss"]["r1_gamma"] == 5
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "ffhq102"], ["preset 'ffhq102': unknown", "ffhq1024"]),
        (["--loss.r1gamma", "5"], ["--loss.r1gamma: unknown", "--loss.r1_gamma"]),
        (["--r1_gamma", "5"], ["--loss.r1_gamma"]),
        (["--loss.r1_gamma", "much"], ["loss.r1_gamma 'much'", "valid number"]),
        (["--training.precision", "fp8"], ["'fp32', 'tf32' or 'bf16'"]),
        (["--schedule.initial_resolution", "12"], ["12", "power of two"]),
        (["--resolution", "48"], ["--resolution 48", "16x16"]),
        (["--labels"], ["has no classes"]),
        (["--device", "cuda"], ["device 'cuda'", "--device cpu"]),
        (["--device", "tpu"], ["auto, cpu, cuda"]),
        (["--kimg", "0"], ["schedule.total_kimg 0", "greater than 0"]),
        (["--gamma", "1", "--gamma.x"], ["--gamma.x", "unknown"]),
        (["stray"], ["stray"]),
    ],
)
def test_bad_settings_get_one_sentence_and_exit_code_2(stylegan, photos, tmp_path, options, words):
    if options == ["--device", "cuda"] and os.path.exists("/dev/nvidia0"):
        pytest.skip("a GPU is here")
    answer = stylegan("train", photos, "--out", tmp_path / "run", *options)
    assert answer.code == 2
    errors = [line for line in answer.err.splitlines() if line.lower().startswith("error")]
    assert len(errors) == 1, answer.err
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_bad_data(stylegan, tmp_path):
    out = tmp_path / "run"
    assert "no such" in stylegan("train", tmp_path / "nowhere", "--out", out).err
    empty = tmp_path / "empty"
    empty.mkdir()
    answer = stylegan("train", empty, "--out", out)
    assert answer.code == 2
    assert "empty" in answer.err
    Image.new("RGB", (16, 16)).save(empty / "one.png")
    answer = stylegan("train", empty, "--out", out)
    assert answer.code == 2
    assert "only one image" in answer.err


def test_unwritable_output(stylegan, photos, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    answer = stylegan("train", photos, "--out", blocked / "run")
    assert answer.code == 2
    assert "choose another --out" in answer.err


def test_a_folder_of_something_else_is_no_run(stylegan, photos, small, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    for data in (folder, photos):
        before = sorted(folder.rglob("*"))
        answer = stylegan("train", data, "--out", folder, *small)
        assert answer.code == 2
        assert "which is not of a run; choose a new or empty folder" in answer.err
        assert sorted(folder.rglob("*")) == before
        assert not (tmp_path / "cache").exists()  # nothing was prepared
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("what I am trying here")
    assert stylegan("train", photos, "--out", run, *small, "--stop-kimg", 0.004).code == 0


def test_a_preset_that_is_none_is_found_before_anything_is_prepared(stylegan, photos, tmp_path):
    answer = stylegan("train", photos, "--out", tmp_path / "run", "--preset", "tny", "--dry-run")
    assert answer.code == 2
    assert "did you mean tiny" in answer.err
    assert not (tmp_path / "cache").exists()


def test_a_training_that_ends_before_its_full_size_says_so(stylegan, photos, small, tmp_path):
    options = [photos, "--out", tmp_path / "run", "--preset", "tiny", "--kimg", 0.064, "--batch", 4]
    answer = stylegan("train", *options, "--dry-run")
    assert "note: 0.064 kimg end at 8x8: 16x16 is trained from " in answer.err
    answer = stylegan("train", *options)
    assert answer.code == 0, answer.err
    assert "note: 0.064 kimg end at 8x8" in answer.err
    assert "grown to lod 1 of 16x16" in answer.err.replace("\n", " ")
    assert "8x8 of 16x16" in stylegan("runs", tmp_path / "run").out
    assert "note:" not in stylegan("train", photos, "--out", tmp_path / "other", *small, "--dry-run").err


def test_the_help_lists_every_setting(stylegan):
    answer = stylegan("train", "--help")
    assert answer.code == 0
    for name in ("--loss.r1_gamma", "--schedule.total_kimg", "--generator.fmap_max", "--training.precision"):
        assert name in answer.out


def test_presets_are_listed_and_shown(stylegan):
    answer = stylegan("presets")
    assert answer.code == 0
    for name in ("auto", "ffhq1024", "table1-a", "table2-mixing50", "table4-traditional8", "digits"):
        assert name in answer.out
    shown = json.loads(stylegan("presets", "table1-f", "--resolution", 64).out)
    assert shown["generator"]["resolution"] == [64, 64]
    assert stylegan("presets", "table9").code == 2
