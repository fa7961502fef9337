"""`stylegan figure` as typed: files with captions and commands, every kind of model, refusals."""

import numpy as np
import pytest
from PIL import Image

from stylegan.cli import main
from stylegan.images import read_parameters

NAMES = [
    "class-means",
    "interpolation",
    "mixing",
    "noise-detail",
    "noise-layers",
    "swap-atlas",
    "truncation",
    "uncurated",
]


def run(*arguments):
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_help_lists_the_figures(capsys):
    assert run("figure", "--help") == 0
    text = capsys.readouterr().out
    assert all(name in text for name in [*NAMES, "all"])


def test_the_file_carries_the_command_the_caption_and_the_settings(models, tmp_path):
    out = tmp_path / "n.png"
    assert run("figure", "noise-layers", models["plain"], "--seeds", "3,1", "--psi", "0.5", "--out", out) == 0
    stored = read_parameters(out)
    assert stored["command"] == f"stylegan figure noise-layers {models['plain']} --seeds 3,1 --out {out} --psi 0.5"
    assert stored["seeds"] == [3, 1]
    assert stored["psi"] == 0.5
    assert stored["fine"] == [4, 5, 6, 7]
    assert stored["model"]["kimg"] == 12.0
    assert "noise in all layers, in none" in stored["caption"]
    again = tmp_path / "again.png"
    assert run(*stored["command"].replace(str(out), str(again)).split()[1:]) == 0
    with Image.open(out) as first, Image.open(again) as second:
        assert np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("classes", []),
        ("growing", ["class-means"]),
        ("rgba", ["class-means"]),
        ("tiny", ["class-means"]),
        ("traditional", ["class-means", "mixing", "noise-detail", "noise-layers", "swap-atlas", "truncation"]),
    ],
)
def test_all_writes_what_applies_and_says_what_does_not(models, tmp_path, capsys, kind, missing):
    assert run("figure", "all", models[kind], "--out", tmp_path, "--realisations", "3", "--device", "cpu") == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(set(NAMES) - set(missing))
    told = capsys.readouterr().out
    assert all(f"{name}: left out: " in told for name in missing)
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert picture.mode == ("L" if kind == "classes" else "RGB")
            assert picture.width >= 480
        stored = read_parameters(path)
        assert stored["command"].startswith(f"stylegan figure {path.stem} ")


def test_six_channels_are_drawn_in_part(models, tmp_path, capsys):
    assert run("figure", "mixing", models["six"], "--out", tmp_path / "m.png") == 2
    assert "--channels 0,1,2" in capsys.readouterr().err
    assert run("figure", "mixing", models["six"], "--channels", "0,1,2", "--out", tmp_path / "m.png") == 0
    assert run("figure", "all", models["six"], "--out", tmp_path / "none") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["noise-detail", "--realisations", "1"], "needs at least 2"),
        (["noise-detail", "--zoom", "33"], "--zoom 33"),
        (["noise-detail", "--white", "0"], "--white 0"),
        (["interpolation", "--seeds", "0-2"], "even number"),
        (["interpolation", "--corners", "--space", "z"], "leave out --space z"),
        (["interpolation", "--steps", "1"], "--steps 1"),
        (["swap-atlas", "--a", "0-2", "--b", "1"], "give as many of both"),
        (["uncurated", "--layout", "sizes", "--seeds", "0-3"], "--seeds 0-26"),
        (["class-means"], "train one with `stylegan train --labels`"),
        (["mixing", "--class", "1"], "trained without classes"),
    ],
)
def test_bad_input_is_one_sentence(models, tmp_path, capsys, arguments, message):
    assert run("figure", arguments[0], models["plain"], *arguments[1:], "--out", tmp_path / "x.png") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "x.png").exists()
