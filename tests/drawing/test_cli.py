"""The drawing verbs: files, settings in them, and one sentence with exit code 2 for bad input."""

import hashlib

import av
import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import __version__
from stylegan.cli import main
from stylegan.images import read_parameters


def run(*arguments):
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def draw(verb, model, out, *arguments):
    assert run(verb, model, "--device", "cpu", "--out", out, *arguments) == 0


def test_generate_writes_images_sheet_and_settings(models, tmp_path, capsys):
    draw("generate", models["plain"], tmp_path / "d", "--seeds", "0-2,12345", "--psi", "0.5", "--cutoff", "4")
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert names == ["seed0000.png", "seed0001.png", "seed0002.png", "seed12345.png", "sheet.png"]
    with Image.open(tmp_path / "d" / "seed0001.png") as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")
    assert read_parameters(tmp_path / "d" / "seed12345.png") == {
        "command": "stylegan generate",
        "seed": 12345,
        "psi": 0.5,
        "cutoff": 4,
        "noise": "random",
        "lod": 0.0,
        "device": "cpu",
        "model": {
            "file": "plain.safetensors",
            "sha256": hashlib.sha256(models["plain"].read_bytes()).hexdigest(),
            "kimg": 12.0,
        },
        "attribution": "drawn by hand",
        "library": f"stylegan-torch {__version__}",
    }
    assert read_parameters(tmp_path / "d" / "sheet.png")["seeds"] == [0, 1, 2, 12345]
    assert "4 images of 32x32 and sheet.png" in capsys.readouterr().out


def test_files_are_equal_whatever_the_batch(models, tmp_path):
    for batch in (1, 3, 16):
        draw("generate", models["classes"], tmp_path / f"{batch}", "--seeds", "0-4", "--batch", batch)
    draw("generate", models["classes"], tmp_path / "alone", "--seeds", "3")
    for path in (tmp_path / "1").iterdir():
        content = path.read_bytes()
        assert (tmp_path / "3" / path.name).read_bytes() == content
        assert (tmp_path / "16" / path.name).read_bytes() == content
    assert (tmp_path / "alone/seed0003.png").read_bytes() == (tmp_path / "1/seed0003.png").read_bytes()


def test_generate_takes_classes(models, tmp_path):
    draw("generate", models["classes"], tmp_path / "all", "--seeds", "0-3")
    assert read_parameters(tmp_path / "all" / "seed0001.png")["class_name"] == "dog"
    draw("generate", models["classes"], tmp_path / "dog", "--seeds", "0-1", "--class", "dog")
    assert read_parameters(tmp_path / "dog" / "seed0000.png")["class"] == 1
    assert (tmp_path / "dog/seed0001.png").read_bytes() == (tmp_path / "all/seed0001.png").read_bytes()


def test_generate_at_other_shapes(models, tmp_path, capsys):
    draw("generate", models["growing"], tmp_path / "g", "--seeds", "0-4", "--grid", "2x2")
    with Image.open(tmp_path / "g/seed0000.png") as picture:
        assert picture.size == (40, 24)
    captured = capsys.readouterr()
    assert "lod 1.5 of 80x48: drawing 40x24" in captured.err
    assert "its first 4" in captured.out
    draw("generate", models["six"], tmp_path / "n", "--seeds", "0", "--format", "npy", "--noise", "none")
    assert np.load(tmp_path / "n/seed0000.npy").shape == (6, 32, 32)
    assert "first 3 of 6 channels" in capsys.readouterr().out
    draw("generate", models["six"], tmp_path / "n", "--seeds", "0", "--channels", "5,0,1", "--grid", "none")
    draw("generate", models["rgba"], tmp_path / "a", "--seeds", "0")
    with Image.open(tmp_path / "a/sheet.png") as picture:
        assert picture.mode == "RGBA"
    draw("generate", models["traditional"], tmp_path / "t", "--seeds", "0")
    assert read_parameters(tmp_path / "t/seed0000.png")["noise"] == "none"


def test_mix(models, tmp_path):
    draw("mix", models["plain"], tmp_path / "a.png", "--rows", "0-2", "--cols", "5,6")
    found = read_parameters(tmp_path / "a.png")
    assert (found["layers"], found["psi"], found["noise"]) == ("figure 3", 1.0, "stored")
    draw("mix", models["classes"], tmp_path / "b.png", "--rows", "0", "--cols", "5", "--layers", "middle")
    assert read_parameters(tmp_path / "b.png")["layers"] == [4, 5, 6, 7]


def test_truncation(models, tmp_path):
    draw("truncation", models["classes"], tmp_path / "a.png", "--seeds", "0-1", "--psis", "1,0,-1")
    found = read_parameters(tmp_path / "a.png")
    assert (found["psis"], found["cutoff"]) == ([1.0, 0.0, -1.0], 8)
    assert "psi" not in found


def test_interpolate(models, tmp_path, capsys):
    draw("interpolate", models["growing"], tmp_path / "a.mp4", "--seeds", "0-2", "--frames", "9", "--fps", "24")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 9
    assert "9 frames (0.4 s at 24 fps)" in capsys.readouterr().out
    options = ("--frames", "3", "--space", "w", "--no-loop", "--easing", "smooth")
    draw("interpolate", models["plain"], tmp_path / "a.gif", *options, "--frames-dir", tmp_path / "both")
    draw("interpolate", models["plain"], tmp_path / "only", *options)
    names = ["frame00000.png", "frame00001.png", "frame00002.png"]
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == names
    assert (tmp_path / "only" / names[1]).read_bytes() == (tmp_path / "both" / names[1]).read_bytes()
    assert read_parameters(tmp_path / "only" / names[2])["frame"] == 2


BAD = [
    ("generate", "plain", ["--seeds", "x"], "no number or range"),
    ("generate", "plain", ["--grid", "8"], "columns x rows"),
    ("generate", "plain", ["--psi", "nan"], "is not a number"),
    ("generate", "plain", ["--psi", "1,2"], "must be one number"),
    ("generate", "plain", ["--cutoff", "1.5"], "is not a whole number"),
    ("generate", "plain", ["--cutoff", "19"], "this network has 8 layers"),
    ("generate", "plain", ["--class", "1"], "trained without classes"),
    ("generate", "plain", ["--batch", "0"], "--batch 0"),
    ("generate", "plain", ["--channels", "7"], "channels 0-2"),
    ("generate", "plain", ["--noise", "loud"], "--noise"),
    ("generate", "classes", ["--class", "cta"], "named for example cat"),
    ("generate", "six", [], "--format npy"),
    ("generate", "missing", [], "no such file"),
    ("generate", "traditional", ["--psi", "0.5"], "no average w"),
    ("mix", "traditional", [], "no styles to mix"),
    ("mix", "plain", ["--layers", "fine"], "from 64x64 up"),
    ("mix", "six", [], "hold 1, 3 or 4"),
    ("truncation", "traditional", [], "no average w"),
    ("truncation", "plain", ["--psis", "1,a"], "'a' is not a number"),
    ("interpolate", "plain", ["--seeds", "1"], "at least two"),
    ("interpolate", "plain", ["--frames", "0"], "--frames 0"),
    ("interpolate", "plain", ["--fps", "0"], "--fps 0"),
    ("interpolate", "six", [], "hold 1, 3 or 4"),
]


@pytest.mark.parametrize(("verb", "model", "arguments", "message"), BAD)
def test_bad_input_is_one_sentence(models, tmp_path, capsys, verb, model, arguments, message):
    out = {"generate": "d", "interpolate": "a.mp4"}.get(verb, "a.png")
    path = models.get(model, tmp_path / "missing.safetensors")
    assert run(verb, path, "--device", "cpu", "--out", tmp_path / out, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verb", "out", "message"),
    [
        ("generate", "file/d", "cannot be written"),
        ("generate", "file", "cannot be written"),
        ("mix", "file/a.png", "cannot be written"),
        ("mix", "a.jpg", "must end in .png"),
        ("truncation", "folder.png", "is a folder"),
        ("interpolate", "file/a.mp4", "cannot be written"),
        ("interpolate", "a.avi", "clips are written as"),
        ("interpolate", "file", "cannot be written"),
    ],
)
def test_bad_outputs_are_refused_before_drawing(models, tmp_path, capsys, verb, out, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    assert run(verb, models["plain"], "--out", tmp_path / out) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_missing_devices_are_named(models, tmp_path, capsys, device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has an Apple GPU")
    assert run("generate", models["plain"], "--out", tmp_path / "d", "--device", device) == 2
    error = capsys.readouterr().err
    assert f"--device {device}" in error
    assert "use --device cpu" in error


@pytest.mark.parametrize("verb", ["generate", "mix", "interpolate", "truncation"])
def test_help_has_an_example(capsys, verb):
    assert run(verb, "--help") == 0
    assert f"Example: stylegan {verb} model.safetensors" in capsys.readouterr().out
