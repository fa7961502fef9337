"""Measuring models end to end, offline: protocols, sampling, cache, halves, processes, the command."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import metrics
from stylegan.cli import main
from stylegan.data import Dataset
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.metrics import Options, evaluate, parse_metric, parse_metrics
from stylegan.metrics.classifier import Recipe, save_classifier
from stylegan.metrics.exchange import Stopwatch
from stylegan.metrics.features import FeatureNetwork, Identity
from stylegan.metrics.passes import Measured, alone
from stylegan.metrics.protocols import usual_names
from stylegan.metrics.recognising import ClassRecipe, train_on_classes
from stylegan.metrics.results import spread
from stylegan.metrics.sampling import Fakes, Reals, chunks
from stylegan.metrics.sampling import to_uint8 as levels_of
from tests.metrics.conftest import small_generator, small_pictures

EVERY = "fid60,fid40,kid60,pr0.06k3,dc0.06k5,ppl24_w_full,ppl24_z_end,nn12"
PIXELS = Options(features="pixels", batch=8)


# --- names ---------------------------------------------------------------------------------------------------


def test_usual_names() -> None:
    for name in usual_names():
        assert parse_metric(name).name == name
    assert parse_metric("fid50k").samples == 50_000
    assert parse_metric("fid50k").reals == 50_000
    assert parse_metric("fid50k_full").reals is None
    assert parse_metric("ppl_w_full").samples == 100_000
    assert parse_metric("ppl_wend").sampling == "end"
    assert parse_metric("ls_z").samples == 200_000
    found = parse_metric("PR1.5k7")
    assert (found.kind, found.samples, found.k) == ("pr", 1500, 7)
    assert [p.name for p in parse_metrics("fid2k, nn fid2k")] == ["fid2k", "nn"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("fidd50k", "did you mean fid50k"), ("pr50k", "pr50k3"), ("fid1", "at least 2"), ("ppl_v_full", "ppl_w_full"),
     ("is5", "at least 10"), ("", "name at least one"), ("pr10k0", "at least 1 neighbour")],
)  # fmt: skip
def test_unknown_names(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_metrics(name)


# --- samples -------------------------------------------------------------------------------------------------


def test_samples_are_functions_of_seed_and_index(generator) -> None:
    fakes = Fakes(generator, seed=3, classes=np.array([0, 0, 0, 2]))
    z, noise = fakes.latents([0, 5, 9]), fakes.noise([0, 5, 9])
    assert torch.equal(fakes.latents([5])[0], z[1])
    assert torch.equal(fakes.latents([9], "z2")[0], fakes.latents([1, 9], "z2")[1])
    assert not torch.equal(fakes.latents([9], "z2")[0], z[2])
    for layer, own in zip(noise, fakes.noise([5]), strict=True):
        assert torch.equal(layer[1:2], own)
    assert not torch.equal(noise[0][0], noise[0][1])
    assert not torch.equal(Fakes(generator, seed=4).latents([5]), fakes.latents([5]))
    labels = fakes.labels(range(400)).mean(0)
    assert labels[1] == 0
    assert 0.15 < labels[2] < 0.35
    picture = fakes.draw(fakes.map(z, fakes.labels([0, 5, 9])), noise)
    single = fakes.draw(fakes.map(z[1:2], fakes.labels([5])), fakes.noise([5]))
    torch.testing.assert_close(picture[1:2], single, atol=1e-4, rtol=1e-4)


def test_images_are_rounded_like_drawn_ones(generator) -> None:
    from stylegan import images

    x = torch.linspace(-1.3, 1.3, 3 * 64).reshape(1, 3, 8, 8)
    np.testing.assert_array_equal(levels_of(x).numpy().transpose(0, 2, 3, 1), images.to_uint8(x))


def test_chunks_are_dealt_out() -> None:
    parts = [list(chunks(37, 5, rank, 3)) for rank in range(3)]
    assert sorted(i for part in parts for chunk in part for i in chunk) == list(range(37))
    assert parts[1] == [range(5, 10), range(20, 25), range(35, 37)]


def test_images_of_a_growing_model_are_enlarged(generator) -> None:
    fakes = Fakes(generator, lod=1.0)
    drawn = fakes.draw(fakes.map(fakes.latents([0]), fakes.labels([0])), fakes.noise([0]))
    assert drawn.shape == (1, 3, 16, 16)
    assert torch.equal(drawn[:, :, ::2, ::2], drawn[:, :, 1::2, 1::2])


def test_reals(dataset: Dataset) -> None:
    some = Reals(dataset, (16, 16), 30)
    assert len(some.indices) == 30
    assert list(some.indices) == sorted(set(some.indices.tolist()))
    np.testing.assert_array_equal(some.indices, Reals(dataset, (16, 16), 30).indices)
    assert len(Reals(dataset, (16, 16), 10**6).indices) == len(dataset)
    plain, flipped = Reals(dataset, (16, 16), None), Reals(dataset, (16, 16), None, mirror=True)
    a, b = plain.read(plain.indices), flipped.read(plain.indices)
    turned = (a != b).any(axis=(1, 2, 3))
    assert 0.3 < turned.mean() < 0.7
    np.testing.assert_array_equal(a[turned], b[turned][..., ::-1])


# --- the numbers ---------------------------------------------------------------------------------------------


def test_every_metric_is_its_formula(generator, dataset: Dataset) -> None:
    """The whole way, against the formulas on features computed here."""
    found = evaluate(generator, dataset, parse_metrics(EVERY), PIXELS)
    assert found is not None
    values = {name: list(entry["values"].values()) for name, entry in found.metrics.items()}
    fakes = Fakes(generator, 0, classes=dataset.classes)
    index = range(60)
    drawn = fakes.draw(fakes.map(fakes.latents(index), fakes.labels(index)), fakes.noise(index))
    fake = levels_of(drawn).flatten(1).numpy() / 255.0
    real = dataset.read(np.arange(len(dataset))).reshape(len(dataset), -1) / 255.0

    def fid(x: np.ndarray) -> float:
        return metrics.frechet_distance(*metrics.feature_statistics(real), *metrics.feature_statistics(x))

    assert values["fid60"][0] == pytest.approx(fid(fake), rel=1e-3)
    assert values["fid40"][0] == pytest.approx(fid(fake[:40]), rel=1e-3)
    assert values["kid60"][0] == pytest.approx(metrics.kid(real, fake), rel=1e-3)
    np.testing.assert_allclose(values["pr0.06k3"], metrics.precision_recall(real, fake), atol=0.03)
    np.testing.assert_allclose(values["dc0.06k5"], metrics.density_coverage(real, fake), atol=0.03)
    assert found.metrics["fid60"]["samples"] == 60
    assert found.metrics["fid60"]["reals"] == 120
    assert len(found.metrics["fid60"]["halves"]) == 6
    assert found.metrics["fid60"]["standard_error"]["fid"] > 0
    assert found.neighbours is not None
    expected = metrics.nearest_neighbours(fake[:12], real)[1][:, 0]
    np.testing.assert_array_equal(found.neighbours[2], expected)
    again = evaluate(generator, dataset, parse_metrics(EVERY), PIXELS)
    assert again is not None
    assert again.metrics == found.metrics
    other = evaluate(generator, dataset, parse_metrics("fid60"), replace(PIXELS, seed=1))
    assert other is not None
    assert other.metrics["fid60"]["values"] != found.metrics["fid60"]["values"]


def test_the_global_random_state_is_left_alone(generator, dataset: Dataset) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    options = replace(PIXELS, recipe=Recipe(kimg=0.016))
    evaluate(generator, dataset, parse_metrics("fid20,ppl4_w_end,ls20_w"), options)
    assert torch.equal(torch.rand(3), expected)


class Linear(FeatureNetwork):
    """Pixels again, by another name, counting its calls."""

    rgb = False
    dim = 3 * 16 * 16

    def __init__(self, name: str = "linear") -> None:
        self.identity = Identity(name, "", None, "none")
        self.seen = 0

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.seen += len(x)
        return x.flatten(1), None


def test_ppl_of_a_generator_that_is_linear_in_w(generator, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """With images A·w and squared distances, PPL is the filtered mean of |A(w1 − w0)|²/pixels."""
    from stylegan.metrics import latent_space

    matrix = torch.randn(6, 3 * 16 * 16, generator=torch.Generator().manual_seed(0)) * 0.01
    monkeypatch.setattr(Fakes, "draw", lambda self, ws, noise: (ws[:, 0] @ matrix).reshape(-1, 3, 16, 16))
    fakes = Fakes(generator, classes=dataset.classes)
    how = Measured(Processes(), 8, Stopwatch(torch.device("cpu")))
    protocol = parse_metric("ppl200_w_full")
    distances = latent_space.path_distances(protocol, fakes, Linear(), how)
    index = range(200)
    labels = fakes.labels(index)
    w0, w1 = (fakes.map(fakes.latents(index, which), labels)[:, 0] for which in ("z", "z2"))
    steps = ((w1 - w0).double() @ matrix.double() * 127.5).square().mean(1).numpy()
    assert distances is not None
    assert metrics.ppl(distances) == pytest.approx(metrics.percentile_filter(steps).mean(), rel=1e-2)
    end = latent_space.path_distances(parse_metric("ppl200_w_end"), fakes, Linear(), how)
    np.testing.assert_allclose(end / distances, 1, rtol=0.2)


def test_face_crop() -> None:
    from stylegan.metrics.latent_space import crop_face

    x = torch.arange(16.0).reshape(1, 1, 1, 16).expand(1, 1, 16, 16)
    assert crop_face(x).shape == (1, 1, 8, 8)
    assert crop_face(x)[0, 0, 0, 0] == 4
    assert crop_face(x.transpose(2, 3))[0, 0, 0, 0] == 6


def test_spread_of_halves() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        x = rng.standard_normal(400)
        halves = [((x[i::2].mean(),), (x[1 - i :: 2].mean(),)) for i in (0, 1)]
        errors.append(spread(halves)[0])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(1 / 20, rel=0.1)  # standard error of the mean
    assert spread([]) is None


def test_diverged_weights_are_said(dataset: Dataset) -> None:
    broken = small_generator(labels=3)
    with torch.no_grad():
        for parameter in broken.synthesis.to_rgb.parameters():
            parameter.fill_(float("nan"))
    for name in ("fid20", "ppl4_w_end"):
        with pytest.raises(UserError, match="diverged"):
            evaluate(broken, dataset, parse_metrics(name), PIXELS)


def test_what_does_not_fit(generator, dataset: Dataset) -> None:
    with pytest.raises(UserError, match="draws 16x16, the data set has 4x4, 8x8; prepare"):
        evaluate(generator, Dataset.from_arrays(small_pictures()[0][:, :, :8, :8]), parse_metrics("fid20"), PIXELS)
    with pytest.raises(UserError, match="draws 3 channels, the data set has 1"):
        evaluate(generator, Dataset.from_arrays(small_pictures()[0][:, :1]), parse_metrics("fid20"), PIXELS)
    with pytest.raises(UserError, match="needs class probabilities"):
        evaluate(generator, dataset, parse_metrics("is20"), PIXELS)
    with pytest.raises(UserError, match="--batch 0"):
        evaluate(generator, dataset, parse_metrics("fid20"), replace(PIXELS, batch=0))
    with pytest.raises(UserError, match="--resize lanczos"):
        evaluate(generator, dataset, parse_metrics("fid20"), Options(features="inception", resize="lanczos"))


# --- the cache -----------------------------------------------------------------------------------------------


def test_data_statistics_are_cached_by_what_they_depend_on(
    generator, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Linear()
    monkeypatch.setattr("stylegan.metrics.evaluation.open_features", lambda *_: network)
    options = Options(features="linear", batch=8, cache=tmp_path / "kept")

    def fakes_and_reals(name: str, data: Dataset = dataset, settings: Options = options) -> int:
        network.seen = 0
        evaluate(generator, data, parse_metrics(name), settings)
        return network.seen

    assert fakes_and_reals("fid20") == 20 + 120
    assert fakes_and_reals("fid20") == 20
    assert fakes_and_reals("fid30", settings=replace(options, seed=9)) == 30  # seed and count are the fakes' affair
    assert fakes_and_reals("kid20") == 20 + 120  # needs the features themselves
    assert fakes_and_reals("kid20,pr0.02k3") == 20
    assert fakes_and_reals("fid20", settings=replace(options, mirror=True)) == 20 + 120
    changed = small_pictures()[0]
    changed[7, 0, 3, 3] ^= 1
    assert fakes_and_reals("fid20", Dataset.from_arrays(changed, dataset.classes)) == 20 + 120
    network.identity = Identity("linear", "other weights", None, "none")
    assert fakes_and_reals("fid20") == 20 + 120
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert fakes_and_reals("fid20") == 20 + 120  # damaged: measured again
    assert fakes_and_reals("fid20") == 20
    assert fakes_and_reals("fid20", settings=replace(options, cache=None)) == 20 + 120


def test_a_cache_that_cannot_be_written_is_no_error(generator, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    found = evaluate(generator, dataset, parse_metrics("fid20"), replace(PIXELS, cache=tmp_path / "file" / "kept"))
    assert found is not None


def test_the_data_set_is_measured_by_one_program_at_a_time(tmp_path: Path) -> None:
    """The second waits for the first, and finds its result."""
    steps: list[str] = []

    def second() -> None:
        with alone(tmp_path / "kept" / "moments.safetensors"):
            steps.append("second")

    with alone(tmp_path / "kept" / "moments.safetensors"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        steps.append("first")
    thread.join(10)
    assert steps == ["first", "second"]


# --- during training --------------------------------------------------------------------------------------------


def test_during_training(generator, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = metrics.TrainingMetrics(generator, "fid20,pr0.02k3", PIXELS)
    moving = copy.deepcopy(generator)
    first = taken.measure(moving, dataset)
    assert sorted(first) == ["fid20", "pr0.02k3_precision", "pr0.02k3_recall"]
    assert first == metrics.evaluate_during_training(generator, dataset, "fid20,pr0.02k3", PIXELS)
    with torch.no_grad():
        for parameter in moving.synthesis.to_rgb.parameters():
            parameter.mul_(0.1)
    assert taken.measure(moving, dataset)["fid20"] != first["fid20"]
    assert taken.measure(moving, dataset, lod=1.0)["fid20"] != first["fid20"]
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(UserError, match=r"vgg16-397923af.pth"):
        metrics.TrainingMetrics(generator, "pr2k3")


def no_network(*_: object, **__: object) -> None:
    raise OSError("no network in tests")


# --- the command -----------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_command(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.json"
    model, data = files / "model.safetensors", files / "data"
    code, text, err = run(capsys, model, data, "--metrics", "fid40,nn12", "--features", "pixels", "--out", out)
    assert code == 0, err
    assert "fid40" in text
    assert "no truncation, seed 0, 120 images of data" in text
    assert "outside of the networks" in text
    written = json.loads(out.read_text())
    assert written["metrics"]["fid40"]["network"]["resize"] == "box"
    assert written["settings"]["psi"] is None
    assert written["model"]["kimg"] == 7
    assert len(written["model"]["sha256"]) == 64
    assert len(written["data"]["fingerprint"]) >= 16
    assert 0 <= written["time"]["share_outside_networks"] <= 1
    assert len(written["neighbours"]["nearest"]) == 12
    with Image.open(tmp_path / "m-nearest.png") as sheet:
        assert sheet.size[0] > 8 * 96
        assert "stylegan evaluate" in sheet.info["parameters"]
    code, text, _ = run(capsys, model, data, "--metrics", "fid40", "--features", "pixels", "--psi", 0.5)
    assert "psi 0.5" in text
    assert "not comparable with published numbers" in text


def test_command_halves_the_batch_where_memory_does_not_suffice(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And measures the same; where even one image is too much, it says so."""
    measure, fits = metrics.evaluate, 5

    def cramped(generator: Any, data: Any, protocols: Any, options: Options, *rest: Any) -> Any:
        if (options.batch or 32) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 256.00 MiB.")
        return measure(generator, data, protocols, options, *rest)

    monkeypatch.setattr(metrics, "evaluate", cramped)
    arguments = [files / "model.safetensors", files / "data", "--metrics", "fid40", "--features", "pixels"]
    code, _, err = run(capsys, *arguments, "--out", tmp_path / "halved.json")
    assert code == 0, err
    assert [line for line in err.splitlines() if "out of memory" in line] == [
        f"out of memory: begins again with --batch {batch}" for batch in (16, 8, 4)
    ]
    fits = 32
    assert run(capsys, *arguments, "--out", tmp_path / "whole.json")[0] == 0
    halved, whole = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("halved", "whole"))
    found, wanted = (one["metrics"]["fid40"]["values"]["fid"] for one in (halved, whole))
    assert found == pytest.approx(wanted, rel=1e-5)
    assert halved["settings"]["batch"] == 4
    fits = 0
    code, _, err = run(capsys, *arguments)
    assert code != 0
    assert "--batch 1: out of memory" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metrics", "fid50"], ["pt_inception-2015-12-05-6726825d.pth", "--weights inception=FILE", "pixels"]),
        (["--metrics", "ppl50_w_end"], ["vgg.pth"]),
        (["--metrics", "fdd50"], ["dinov2_vitl14_pretrain.pth"]),
        (["--metrics", "fld50"], ["did you mean"]),
        (["--features", "x.onnx", "--metrics", "fid50"], ["no such file"]),
        (["--features", "pixels", "--metrics", "fid50", "--psi", "much"], ["--psi much"]),
        (["--features", "pixels", "--metrics", "fid50", "--out", "here.txt"], [".json"]),
        (["--metrics", "fid50", "--weights", "inception"], ["NAME=FILE"]),
        (["--metrics", "ls50_w", "--attributes", "missing.csv"], ["missing.csv", "cannot be read"]),
    ],
)
def test_command_refuses(
    arguments: list[str], words: list[str], files: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    code, _, err = run(capsys, files / "model.safetensors", files / "data", *arguments)
    assert code == 2
    for word in words:
        assert word in err
    assert len(err.strip().splitlines()) == 1


def test_missing_data(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, files / "model.safetensors", tmp_path / "nothing", "--features", "pixels")
    assert code == 2
    assert "no such data" in err


def test_two_processes_find_the_same(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = f"{EVERY},ls40_w,recognition30"
    trained = train_on_classes(Dataset.open(files / "data"), ClassRecipe(kimg=1, batch=32, width=8))
    judge = save_classifier(tmp_path / "judge.safetensors", trained.network, trained.names, trained.recalls)
    data = [files / "model.safetensors", files / "data"]
    given = ["--metrics", names, "--features", "pixels", "--device", "cpu", "--classifier-kimg", "0.064", "--batch", 7]
    given += ["--classifier", judge]
    code, _, err = run(capsys, *data, *given, "--cache", tmp_path / "cache1", "--out", tmp_path / "1.json")
    assert code == 0, err
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "stylegan", "evaluate", *data, *given, "--cache", tmp_path / "cache2"]
    processes = [
        subprocess.Popen(
            [str(part) for part in [*command, "--out", tmp_path / "2.json"]],
            env={**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    single, together = (json.loads((tmp_path / f"{n}.json").read_text())["metrics"] for n in (1, 2))
    for name in parse_metrics(names):
        for value, number in single[name.name]["values"].items():
            assert together[name.name]["values"][value] == pytest.approx(number, rel=1e-6), name
        np.testing.assert_allclose(
            [list(h.values()) for h in together[name.name]["halves"]],
            [list(h.values()) for h in single[name.name]["halves"]],
            rtol=1e-6,
        )
