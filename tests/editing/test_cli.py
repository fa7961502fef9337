"""project, directions, edit and walk as typed: files, what is in them, and one sentence for what cannot be."""

import json
import signal
import subprocess
import sys
import time
import wave
from functools import partial

import av
import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import editing as ed
from stylegan.cli import main
from stylegan.images import read_parameters
from stylegan.snapshot import load

from .conftest import make, sample

QUICK = ("--steps", 12, "--starts", 1, "--device", "cpu")


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def projected(models, photo, tmp_path_factory):
    """One photo, projected and tuned for; the same again elsewhere."""
    folders = [tmp_path_factory.mktemp("projected") for _ in range(2)]
    for folder in folders:
        assert run("project", models["plain"], photo, photo, "--out", folder, *QUICK, "--tune", "--tune-steps", 3) == 0
    return folders


def test_project_writes_everything(projected, models):
    folder = projected[0]
    each = ["descent.mp4", "json", "reconstruction.png", "side-by-side.png", "tuned.png", "w.safetensors"]
    assert sorted(contents(folder)) == sorted(
        ["tuned.safetensors", *(f"{name}.{kind}" for name in ("photo", "photo-2") for kind in each)]
    )
    G = load(models["plain"]).generator
    found = ed.load_latents(folder / "photo.w.safetensors", G)
    with Image.open(folder / "photo.reconstruction.png") as picture:
        assert np.array_equal(np.asarray(picture), ed.draw(G, found))
    with Image.open(folder / "photo.side-by-side.png") as picture:
        assert picture.size == (48, 16)
    summary = json.loads((folder / "photo.json").read_text())
    assert summary["settings"]["noise"] == "optimise"
    assert summary["perceptual"]["measure"] == "pyramid"
    assert 0 < summary["psnr"] < summary["tuned"]["psnr"]
    assert found.about["projection"]["steps"] == 12
    with av.open(str(folder / "photo.descent.mp4")) as clip:
        assert sum(1 for _ in clip.decode(video=0)) > 30


def test_the_tuned_model_says_where_it_comes_from(projected, models):
    tuned = load(projected[0] / "tuned.safetensors")
    (entry,) = tuned.training["lineage"]
    assert entry["kind"] == "pivotal tuning"
    assert entry["images"] == ["photo.png", "photo.png"]
    assert entry["from"]["file"] == "plain.safetensors"
    assert tuned.training["kimg"] == 2.0
    found = ed.load_latents(projected[0] / "photo.w.safetensors", tuned.generator)
    with Image.open(projected[0] / "photo.tuned.png") as picture:
        assert np.array_equal(np.asarray(picture), ed.draw(tuned.generator, found))


def test_the_same_command_gives_the_same_bytes(projected):
    a, b = (contents(folder) for folder in projected)
    assert a.keys() == b.keys()
    tuned = [load(folder / "tuned.safetensors").generator.state_dict() for folder in projected]
    assert all(torch.equal(value, tuned[1][name]) for name, value in tuned[0].items())
    # safetensors stores the two entries of a model file's header in any order
    assert [name for name in a if a[name] != b[name] and name != "tuned.safetensors"] == []


def test_project_takes_classes_and_grown_models(models, photo, tmp_path, capsys):
    few = ("--clip", "none", "--noise", "stored", "--space", "w")
    assert run("project", models["classes"], photo, "--out", tmp_path / "c", *QUICK, *few, "--class", "sea: dog") == 0
    assert ", class sea: dog" in capsys.readouterr().out
    assert sorted(contents(tmp_path / "c")) == [
        "photo.json", "photo.reconstruction.png", "photo.side-by-side.png", "photo.w.safetensors",
    ]  # fmt: skip
    assert run("project", models["growing"], photo, "--out", tmp_path / "g", *QUICK, *few) == 0
    with Image.open(tmp_path / "g" / "photo.reconstruction.png") as picture:
        assert picture.size == (40, 24)


def test_project_refuses(models, photo, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no image")
    for arguments, message in (
        ((models["traditional"], photo), "traditional generator"),
        ((models["plain"], tmp_path / "text.png"), "text.png: not an image"),
        ((models["plain"], photo, tmp_path / "none.png"), "none.png: cannot be read"),
        ((models["plain"], photo, "--steps", "0"), "steps 0: must be 1 or more"),
        ((models["plain"], photo, "--class", "3"), "trained without classes"),
        ((models["classes"], photo, "--class", "0,1"), "name one class"),
        ((models["plain"], photo, "--batch", "0"), "--batch 0"),
        ((models["plain"], photo, "--weights", "lpips"), "write KEY=FILE"),
        ((tmp_path / "text.png", photo), "not a readable model file"),
    ):
        assert run("project", *arguments, "--out", tmp_path / "out", "--device", "cpu") == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_interrupted_projecting_leaves_nothing_half_done(models, photo, tmp_path):
    command = [sys.executable, "-m", "stylegan", "project", str(models["plain"]), str(photo), "--out"]
    command += [str(tmp_path / "o"), "--steps", "100000", "--device", "cpu", "--preview-every", "0.05"]
    # started in the background of a shell, tests ignore SIGINT, and so would the command
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=hearing)
    preview, end = tmp_path / "o" / "preview.png", time.monotonic() + 120
    while not preview.exists() and time.monotonic() < end:
        time.sleep(0.05)
    with Image.open(preview) as picture:
        assert picture.size == (16, 32)  # the target above what there is of it
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert list((tmp_path / "o").iterdir()) == []


def test_directions_of_every_method(models, tmp_path, capsys):
    for i, options in enumerate((
        ("--count", 2, "--layers", "coarse", "--layers", "4-5"),
        ("--method", "ganspace", "--count", 2, "--samples", 500),
        ("--method", "labels", "--samples", 300),
    )):  # fmt: skip
        out = tmp_path / f"{i}.safetensors"
        model = models["classes"]
        assert run("directions", model, *options, "--out", out, "--device", "cpu", "--strengths=-1,1") == 0
        found = ed.load_directions(out, load(model).generator)
        names = [d.name for d in found]
        assert (
            names
            == [
                ["sefa-coarse-0", "sefa-coarse-1", "sefa-4-5-0", "sefa-4-5-1"],
                ["pca-0", "pca-1"],
                ["cat", "sea-dog", "owl"],
            ][i]
        )
        assert read_parameters(tmp_path / f"{i}.png")["strengths"] == [-1, 1]
        first = out.read_bytes()
        assert run("directions", model, *options, "--out", out, "--device", "cpu", "--no-sheet") == 0
        assert out.read_bytes() == first
    assert "3 directions in" in capsys.readouterr().out
    rows = "\n".join(f"{seed},{seed % 5}" for seed in range(40))
    (tmp_path / "s.csv").write_text("seed,size\n" + rows)
    out = tmp_path / "s.safetensors"
    assert run("directions", models["plain"], "--scores", tmp_path / "s.csv", "--out", out, "--no-sheet") == 0
    assert "size: layers 0-5, fit ridge regression" in capsys.readouterr().out


def test_directions_refuses(models, tmp_path, capsys):
    (tmp_path / "s.csv").write_text("seed,score\n1,nan\n")
    for arguments, message in (
        ((models["plain"], "--method", "labels"), "this model has no classes; give --scores"),
        ((models["plain"], "--scores", tmp_path / "s.csv"), "line 2, score: 'nan' is no finite number"),
        ((models["plain"], "--scores", tmp_path / "s.csv", "--method", "sefa"), "goes with --method labels"),
        ((models["plain"], "--count", "99"), "--count 99: must be 1 to 8"),
        ((models["plain"], "--layers", "fine"), "layers 0-5"),
        ((models["traditional"],), "traditional generator"),
    ):
        assert run("directions", *arguments, "--out", tmp_path / "d.safetensors", "--device", "cpu") == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "d.safetensors").exists()


@pytest.fixture(scope="module")
def directions(models, tmp_path_factory):
    out = tmp_path_factory.mktemp("directions") / "d.safetensors"
    assert run("directions", models["plain"], "--count", 2, "--out", out, "--no-sheet", "--device", "cpu") == 0
    return out


def test_edit(models, projected, directions, tmp_path):
    model, w = models["plain"], projected[0] / "photo.w.safetensors"
    zero = ("--direction", f"{directions}:sefa-0=0")
    assert run("edit", model, "--seeds", "3", "--w", w, *zero, "--out", tmp_path / "0", "--device", "cpu") == 0
    assert sorted(contents(tmp_path / "0")) == ["photo.png", "seed0003.png", "sheet.png"]
    with Image.open(tmp_path / "0" / "photo.png") as a, Image.open(projected[0] / "photo.reconstruction.png") as b:
        assert np.array_equal(np.asarray(a), np.asarray(b))
    with Image.open(tmp_path / "0" / "seed0003.png") as picture:
        assert np.array_equal(np.asarray(picture), sample(make(), 3, "random", 0.7))
    two = ("--direction", f"{directions}:sefa-0=2@coarse", "--direction", f"{directions}:1=-1")
    for name in ("a", "b"):
        out = tmp_path / name
        assert run("edit", model, "--w", w, *two, "--out", out, "--save-w", "--no-sheet", "--device", "cpu") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    G = load(model).generator
    moved = ed.load_latents(tmp_path / "a" / "photo.w.safetensors", G)
    edits = [ed.parse_edit(text, G) for text in two[1::2]]
    assert torch.allclose(moved.ws, ed.apply_edits(ed.load_latents(w, G).ws, edits), atol=1e-6)
    assert read_parameters(tmp_path / "a" / "photo.png")["directions"] == [
        "d.safetensors:sefa-0=2@coarse", "d.safetensors:1=-1",
    ]  # fmt: skip


def test_seeds_are_truncated_as_generate_does(models, tmp_path):
    model, out = models["classes"], tmp_path / "d.safetensors"
    assert run("directions", model, "--count", 1, "--out", out, "--no-sheet", "--device", "cpu") == 0
    same = ("--seeds", "4", "--towards", "class", "--device", "cpu", "--out")
    assert run("edit", model, "--direction", f"{out}:0=0", "--no-sheet", *same, tmp_path / "e") == 0
    assert run("generate", model, *same, tmp_path / "g") == 0
    with Image.open(tmp_path / "e" / "seed0004.png") as a, Image.open(tmp_path / "g" / "seed0004.png") as b:
        assert np.array_equal(np.asarray(a), np.asarray(b))


def test_edit_refuses(models, directions, photo, tmp_path, capsys):
    one = ("--direction", f"{directions}:sefa-0=1")
    for arguments, message in (
        ((models["plain"], *one), "nothing to edit"),
        ((models["other"], "--seeds", "1", *one), "made for another model"),
        ((models["wide"], "--seeds", "1", *one, "--any-model"), "made for another model"),
        ((models["plain"], "--w", photo, *one), "photo.png: not a w file"),
        ((models["plain"], "--seeds", "1", "--direction", f"{photo}:x=1"), "not a file of directions"),
        ((models["plain"], "--seeds", "1", "--direction", f"{directions}:sefa-0=nan"), "write FILE:NAME=STRENGTH"),
    ):
        assert run("edit", *arguments, "--out", tmp_path / "e", "--device", "cpu") == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "e").exists()
    half = ("--seeds", "1", *one, "--out", tmp_path / "h", "--device", "cpu", "--no-sheet")
    assert run("edit", models["half"], *half) == 0  # a half-precision copy is the same model


@pytest.fixture(scope="module")
def tone(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    t = np.arange(44_100) / 44_100
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes((np.sin(2 * np.pi * 300 * t) * t * 32767).astype("<i2").tobytes())
    return path


def test_walk_formats(models, projected, directions, tone, tmp_path):
    keys = ("--keyframes", f"0, 5, {projected[0] / 'photo.w.safetensors'}", "--frames", 6, "--fps", 12)
    rest = ("--interpolation", "spline", "--noise", "keyframes", "--track", "middle: 7", "--device", "cpu")
    sound = ("--audio", tone, "--drive", f"{directions}:0=2@coarse", "--drive", "psi=0.3", "--band", "100-500")
    for name in ("a.mp4", "a.webm", "a.webp", "a.gif"):
        files = [tmp_path / str(i) / name for i in range(2)]
        for file in files:
            assert run("walk", models["plain"], *keys, *rest, *sound, "--out", file) == 0
        assert files[0].read_bytes() == files[1].read_bytes()
        if name.endswith(("mp4", "webm")):
            with av.open(str(files[0])) as clip:
                assert sum(1 for _ in clip.decode(video=0)) == 6
                assert [s.type for s in clip.streams] == ["video", "audio"]
        else:
            with Image.open(files[0]) as clip:
                assert clip.n_frames == 6
    assert run("walk", models["plain"], *keys, *rest, "--out", tmp_path / "frames") == 0
    frames = sorted((tmp_path / "frames").iterdir())
    assert [frame.name for frame in frames] == [f"frame{i:05d}.png" for i in range(6)]
    settings = read_parameters(frames[3])
    assert settings["timeline"]["tracks"][0]["keyframes"][2]["source"] == "photo.w.safetensors"
    assert settings["frame"] == 3


def test_walk_of_a_timeline(models, tmp_path):
    (tmp_path / "t.toml").write_text("frames = 8\n[[tracks]]\nkeyframes = [{source = 1, class = 2}, {source = 2}]\n")
    out = tmp_path / "frames"
    assert run("walk", models["classes"], "--timeline", tmp_path / "t.toml", "--seconds", 0.1, "--out", out) == 0
    assert len(list(out.iterdir())) == 3
    G = load(models["classes"]).generator
    first = ed.latents_of_seed(G, 1, 0.7, 6, 2)
    with Image.open(out / "frame00000.png") as picture:
        assert np.array_equal(np.asarray(picture)[:, :, None], ed.draw(G, first))


def test_a_walk_truncates_towards_classes_as_generate_does(models, tmp_path):
    model, same = models["classes"], ("--towards", "class", "--class", "1", "--psi", "0.3", "--device", "cpu", "--out")
    walked, drawn = tmp_path / "w", tmp_path / "g"
    assert run("walk", model, "--keyframes", "4, 6", "--frames", 4, *same, walked) == 0
    assert run("generate", model, "--seeds", "4,6", "--noise", "stored", *same, drawn) == 0
    for frame, seed in ((0, 4), (2, 6)):
        with Image.open(walked / f"frame{frame:05d}.png") as a, Image.open(drawn / f"seed{seed:04d}.png") as b:
            assert np.abs(np.asarray(a).astype(int) - np.asarray(b)).max() <= 1
    assert read_parameters(walked / "frame00000.png")["timeline"]["towards"] == "class"
    (tmp_path / "t.toml").write_text('towards = "class"\n[[tracks]]\nkeyframes = [{source = 4, class = 1}]\n')
    file = ("--timeline", tmp_path / "t.toml", "--psi", "0.3", "--frames", 1, "--device", "cpu")
    assert run("walk", model, *file, "--out", tmp_path / "f") == 0
    with Image.open(walked / "frame00000.png") as a, Image.open(tmp_path / "f" / "frame00000.png") as b:
        assert np.array_equal(np.asarray(a), np.asarray(b))
    assert run("walk", model, *file, "--towards", "all", "--out", tmp_path / "all") == 0
    with Image.open(walked / "frame00000.png") as a, Image.open(tmp_path / "all" / "frame00000.png") as b:
        assert not np.array_equal(np.asarray(a), np.asarray(b))


def test_walk_refuses(models, photo, tone, tmp_path, capsys):
    (tmp_path / "t.json").write_text('{"tracks": [{"keyframes": [{"source": 1}]}], "fps": 0}')
    keys = ("--keyframes", "0,1")
    for arguments, message in (
        ((), "nothing to walk through"),
        (("--keyframes", "0,photo.png"), "'photo.png' is neither a seed nor a w file"),
        (("--keyframes", "0,none.w.safetensors"), "cannot be read"),
        ((*keys, "--frames", 0), "frames"),
        ((*keys, "--frames", 3, "--seconds", 3), "give one of them"),
        ((*keys, "--drive", "psi=1"), "needs --audio"),
        ((*keys, "--audio", tone), "name what it moves"),
        ((*keys, "--audio", photo, "--drive", "psi=1"), "no sound in it"),
        ((*keys, "--audio", tone, "--drive", "psi=nan"), "is not a number"),
        ((*keys, "--audio", tone, "--drive", "psi=1", "--band", "7"), "write LOW-HIGH"),
        (("--timeline", tmp_path / "t.json"), "t.json: fps"),
        (("--timeline", tmp_path / "t.json", *keys), "beside --timeline"),
        ((*keys, "--track", "9: 1"), "this network has layers 0-5"),
        ((*keys, "--towards", "class"), "leave --towards class out"),
    ):
        assert run("walk", models["plain"], *arguments, "--out", tmp_path / "w.mp4", "--device", "cpu") == 2
        assert message in capsys.readouterr().err
    assert run("walk", models["plain"], *keys, "--out", tmp_path / "w.avi") == 2
    assert not list(tmp_path.glob("*w.*"))


@pytest.mark.parametrize("verb", ["project", "directions", "edit", "walk"])
def test_help_does_without_pytorch(verb, capsys):
    code = f"import sys; from stylegan.cli import cli; cli.get_command(None, {verb!r}); exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert run(verb, "--help") == 0
    assert "Example: stylegan " + verb in capsys.readouterr().out
