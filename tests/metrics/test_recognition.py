"""Networks that tell a data set's classes apart, and how well a conditional model's classes are recognised."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan import metrics
from stylegan.cli import main
from stylegan.data import Dataset
from stylegan.errors import UserError
from stylegan.metrics import Options, evaluate, open_features, parse_metric, parse_metrics
from stylegan.metrics.classifier import save_classifier
from stylegan.metrics.recognising import ClassRecipe, confusion_table, moved, recalls_of, train_on_classes
from stylegan.metrics.sampling import Fakes
from tests.metrics.conftest import small_generator, small_pictures

QUICK = ClassRecipe(kimg=4, batch=32, lr=0.004, width=16, dropout=0.0)


@pytest.fixture(scope="module")
def trained(dataset: Dataset):
    return train_on_classes(dataset, QUICK)


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "c.safetensors"
    facts = {"accuracy": trained.accuracy}
    return save_classifier(path, trained.network, trained.names, trained.recalls, facts)


def test_classes_are_learned_and_judged_on_images_held_out(trained, dataset: Dataset) -> None:
    assert trained.accuracy > 0.9
    assert trained.confusion.sum() == 12  # a tenth of 120
    assert trained.facts["data"] == {"fingerprint": dataset.fingerprint, "images": 120, "held_out": 12}
    torch.manual_seed(4)
    before = torch.rand(2)
    torch.manual_seed(4)
    short = replace(QUICK, kimg=0.2)
    a, b = train_on_classes(dataset, short), train_on_classes(dataset, short)
    assert torch.equal(torch.rand(2), before), "global random state"
    for one, other in zip(a.network.parameters(), b.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_rare_classes_are_not_taken_for_frequent_ones() -> None:
    """Of two classes that cannot be told apart, 9 to 1, a balanced network is undecided and the other is not."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (600, 3, 8, 8)).astype(np.uint8)
    data = Dataset.from_arrays(pictures, (np.arange(600) % 10 == 0).astype(int), ["often", "rarely"])
    recipe = replace(QUICK, kimg=2, lr=0.001)

    def gap(balanced: bool) -> float:
        network = train_on_classes(data, replace(recipe, balanced=balanced)).network
        logits = network(torch.from_numpy(pictures).float() / 127.5 - 1)[1]
        return float((logits[:, 0] - logits[:, 1]).mean())

    assert abs(gap(True)) < 0.8
    assert gap(False) > 1.4  # log 9 = 2.2


def test_a_held_out_image_is_never_trained_on(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Dataset.read

    def noted(self: Dataset, rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        seen.update(rows.tolist())
        return plain(self, rows, size)

    def judged(network: object, data: Dataset, rows: np.ndarray, *_: object) -> np.ndarray:
        held.update(rows.tolist())
        return rows * 0

    seen: set[int] = set()
    held: set[int] = set()
    monkeypatch.setattr(Dataset, "read", noted)
    monkeypatch.setattr("stylegan.metrics.recognising.recognised", judged)
    train_on_classes(dataset, replace(QUICK, kimg=1))
    assert len(held) == 12
    assert len(seen) == 108, "and every other image is"
    assert not held & seen


def test_images_are_moved_by_whole_pixels() -> None:
    source = torch.Generator().manual_seed(0)
    images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(40, 1, 8, 8)
    still = ClassRecipe(shift=0.0)
    assert torch.equal(moved(images, still, source), images)
    flipped = moved(images, replace(still, mirror=True), source)
    turned = (flipped != images).flatten(1).any(1)
    assert 8 < int(turned.sum()) < 32
    assert torch.equal(flipped[turned], images[turned].flip(3))
    upside = moved(images, replace(still, flip=True), source)
    assert any(torch.equal(one, image.flip(1)) for one, image in zip(upside, images, strict=True))
    shifted = moved(images, ClassRecipe(shift=0.25), source)
    rows, columns = shifted[:, 0, :, 0] // 8, shifted[:, 0, 0, :] % 8
    assert {tuple(row.tolist()) for row in rows} == {
        (2, 1, 0, 1, 2, 3, 4, 5), (1, 0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6, 7),
        (1, 2, 3, 4, 5, 6, 7, 6), (2, 3, 4, 5, 6, 7, 6, 5),
    }  # fmt: skip
    assert columns.shape == (40, 8)


def test_tables_by_hand() -> None:
    table = confusion_table(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), 3)
    np.testing.assert_array_equal(table, [[1, 1, 0], [1, 2, 0], [0, 0, 0]])
    assert recalls_of(table)[:2] == [0.5, pytest.approx(2 / 3)]
    assert np.isnan(recalls_of(table)[2])
    assert metrics.recognition(table) == pytest.approx(7 / 12), "classes count equally, empty ones not"
    with pytest.raises(ValueError, match="2 classes and 1 answers"):
        confusion_table(np.array([0, 1]), np.array([0]), 2)
    with pytest.raises(ValueError, match="must be 0 to 1"):
        confusion_table(np.array([0, 2]), np.array([0, 0]), 2)
    with pytest.raises(ValueError, match="no images"):
        metrics.recognition(np.zeros((2, 2)))


def test_recognition_of_a_model_that_draws_what_is_asked(
    file: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dark and bright are drawn as asked for; grey comes out bright."""
    G = small_generator(labels=3)

    def draw(self: Fakes, ws: torch.Tensor, noise: object) -> torch.Tensor:
        levels = torch.tensor([30.0, 210.0, 210.0])[asked[-1].argmax(1).cpu()] / 127.5 - 1
        return levels[:, None, None, None] + 0.2 * torch.rand(len(levels), 3, 16, 16)

    asked: list[torch.Tensor] = []
    plain = Fakes.labels
    monkeypatch.setattr(Fakes, "labels", lambda self, part: (asked.append(plain(self, part)), asked[-1])[1])
    monkeypatch.setattr(Fakes, "draw", draw)
    found = evaluate(G, dataset, parse_metrics("recognition62"), Options(features=str(file), batch=8))
    assert found is not None
    entry = found.metrics["recognition62"]
    assert entry["classes"] == {"dark": 1.0, "grey": 0.0, "bright": 1.0}
    assert entry["values"]["mean"] == pytest.approx(2 / 3)
    assert entry["confusion"] == [[21, 0, 0], [0, 0, 21], [0, 0, 20]], "classes take turns"
    assert entry["network"]["held_out_accuracy"] > 0.9
    assert len(entry["halves"]) == 6


def test_recognition_beside_other_metrics(file: Path, generator, dataset: Dataset) -> None:
    """Its images have classes of their own; those of the others stay the same."""
    options = Options(features="pixels", classifier=file, batch=8)
    both = evaluate(generator, dataset, parse_metrics("fid40,recognition30"), options)
    alone = evaluate(generator, dataset, parse_metrics("fid40"), options)
    assert both is not None
    assert alone is not None
    assert both.metrics["fid40"] == alone.metrics["fid40"]
    assert both.metrics["recognition30"]["network"]["name"] == "c.safetensors"
    assert parse_metric("recognition").samples == 5000
    during = metrics.TrainingMetrics(generator, "recognition30", Options(features=str(file), batch=8))
    values = during.measure(generator, dataset)
    assert values["recognition30"] == both.metrics["recognition30"]["values"]["mean"]


def test_what_cannot_be_recognised(file: Path, generator, dataset: Dataset) -> None:
    with pytest.raises(UserError, match="stylegan classifier DATA --out FILE"):
        evaluate(generator, dataset, parse_metrics("recognition30"), Options())
    with pytest.raises(UserError, match="needs class probabilities"):
        evaluate(generator, dataset, parse_metrics("recognition30"), Options(features="pixels"))
    with pytest.raises(UserError, match="the model has no classes"):
        evaluate(small_generator(), dataset, parse_metrics("recognition30"), Options(features=str(file)))
    pictures, classes = small_pictures()
    other = Dataset.from_arrays(pictures, classes, ["a", "b", "c"])
    with pytest.raises(UserError, match=r"does not answer with the data's 3 classes \(a, b, c\)"):
        evaluate(generator, other, parse_metrics("recognition30"), Options(features=str(file)))
    with pytest.raises(UserError, match="at least two classes"):
        train_on_classes(Dataset.from_arrays(pictures), QUICK)
    with pytest.raises(UserError, match="kimg 0"):
        train_on_classes(dataset, ClassRecipe(kimg=0))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments)])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_commands(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, out = tmp_path / "net.safetensors", tmp_path / "m.json"
    how = ["--kimg", 1, "--batch", 32, "--width", 8, "--device", "cpu"]
    code, text, err = run(capsys, "classifier", files / "data", "--out", network, *how, "--mirror")
    assert code == 0, err
    assert "held-out accuracy" in text
    digest = text.split("sha256 ")[1].strip(" )\n")
    names = ["--metrics", "fid40,is40,recognition30", "--features", network, "--batch", 8, "--device", "cpu"]
    code, text, err = run(capsys, "evaluate", files / "model.safetensors", files / "data", *names, "--out", out)
    assert code == 0, err
    assert "recognition30 by class: dark 0." in text
    assert "% outside of the networks" in text
    written = json.loads(out.read_text())
    assert written["metrics"]["fid40"]["network"]["sha256"] == digest
    assert 0 <= written["metrics"]["recognition30"]["network"]["held_out_accuracy"] <= 1
    split = written["time"]["split"]
    assert list(split) == ["generator", "feature_network", "elsewhere"]
    assert sum(split.values()) == pytest.approx(written["time"]["seconds"]["total"], abs=0.01)
    assert open_features(str(network), (3, 16, 16)).dim == 8
    code, _, err = run(capsys, "classifier", files / "data", "--out", tmp_path / "c.pt")
    assert (code, "ends in .safetensors" in err) == (2, True)
    code, _, err = run(capsys, "classifier", tmp_path / "none", "--out", network)
    assert (code, "no such data" in err) == (2, True)
