"""Classifiers trained on the data's own classes: as feature networks, and for linear separability."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import metrics
from stylegan.data import Dataset
from stylegan.data.sources import open_source
from stylegan.errors import UserError
from stylegan.metrics import Options, evaluate, open_features, parse_metrics
from stylegan.metrics.classifier import Recipe, one_versus_rest, read_attributes, save_classifier, train_classifier
from stylegan.metrics.sampling import Fakes
from tests.metrics.conftest import small_generator, small_pictures


@pytest.fixture(scope="module")
def trained(dataset: Dataset):
    """A classifier of the three classes, trained in a second."""
    targets, names = one_versus_rest(dataset)
    recipe = Recipe(kimg=3, batch=16, lr=0.003, fmap_max=8)
    network, accuracies = train_classifier(dataset, targets, recipe)
    return network, names, accuracies


def test_a_small_feature_network_is_trained_and_used(trained, generator, dataset: Dataset, tmp_path: Path) -> None:
    network, names, accuracies = trained
    assert names == ["dark", "grey", "bright"]
    assert min(accuracies) > 0.8
    path = save_classifier(tmp_path / "c.safetensors", network, names, accuracies)
    options = Options(features=str(path), batch=8)
    found = evaluate(generator, dataset, parse_metrics("fid40,is40,kid40,nn5,ppl6_z_full"), options)
    assert found is not None
    assert found.metrics["is40"]["values"]["mean"] >= 1
    identity = found.metrics["fid40"]["network"]
    assert (identity["name"], identity["input"], len(identity["sha256"])) == ("c.safetensors", "16x16", 64)


def test_separability_of_what_the_latent_tells(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator whose brightness is one coordinate of w is separable in W; its z, mapped by abs, is not."""
    G = small_generator()

    def draw(self: Fakes, ws: torch.Tensor, noise: object) -> torch.Tensor:
        level = torch.where(ws[:, 0, :1] > 0.5, 0.75, -0.75)
        return level[:, :, None, None].expand(-1, 3, 16, 16) + 0.2 * torch.rand(1, 3, 16, 16)

    monkeypatch.setattr(Fakes, "draw", draw)
    monkeypatch.setattr(Fakes, "map", lambda self, z, labels: z.abs()[:, None].expand(-1, 6, -1))
    pictures, classes = small_pictures()
    two = Dataset.from_arrays(pictures[classes != 1], (classes[classes != 1] == 2).astype(int), ["dark", "bright"])
    everything = lambda logits, keep: np.arange(len(logits))  # noqa: E731  the confident half may be all bright
    monkeypatch.setattr("stylegan.metrics.linear_separability.most_confident", everything)
    recipe = Recipe(kimg=1, batch=16, lr=0.003)
    found = evaluate(G, two, parse_metrics("ls600_w,ls600_z"), Options(batch=50, recipe=recipe))
    assert found is not None
    w, z = (found.metrics[name] for name in ("ls600_w", "ls600_z"))
    assert w["values"]["score"] < 1.3
    assert z["values"]["score"] > 1.6
    assert list(w["attributes"]) == ["bright"]
    assert w["attributes"]["bright"]["classifier_accuracy"] > 0.9
    again = evaluate(G, two, parse_metrics("ls600_w"), Options(batch=50, recipe=recipe))
    assert again is not None
    assert "classifier training" not in again.seconds
    assert again.metrics["ls600_w"] == w


def test_attributes_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("image,smiling,young\na.png,1,0\nb.png,-1,\nc.png,true,no\n")
    values, names = read_attributes(path, 3)
    assert names == ["smiling", "young"]
    np.testing.assert_array_equal(values, [[1, 0], [0, np.nan], [1, 0]])
    with pytest.raises(UserError, match="3 rows after the header, but the data has 4"):
        read_attributes(path, 4)
    path.write_text("smiling\n1\nmaybe\n0\n")
    with pytest.raises(UserError, match="row 3 must hold 1 values"):
        read_attributes(path, 3)
    with pytest.raises(UserError, match="needs attributes"):
        one_versus_rest(Dataset.from_arrays(small_pictures()[0]))


BLOOD = Path(__file__).parents[3] / "shared" / "data" / "bloodcells64" / "bloodcells64.zip"


@pytest.mark.slow
@pytest.mark.skipif(not BLOOD.exists(), reason="the shared data set is not here")
def test_bloodcells(tmp_path: Path) -> None:
    """A classifier of the eight cell types gives features in which data without four of them is told from the whole."""
    items = [item for item in open_source(BLOOD).items if item.label is not None][::12]
    pictures, classes = [], []
    with zipfile.ZipFile(BLOOD) as archive:
        for item in items:
            with Image.open(io.BytesIO(archive.read(item.name))) as picture:
                pictures.append(np.asarray(picture.convert("RGB").resize((32, 32))).transpose(2, 0, 1))
                classes.append(item.label)
    data = Dataset.from_arrays(np.stack(pictures), np.array(classes))
    targets, names = one_versus_rest(data)
    network, accuracies = train_classifier(data, targets, Recipe(kimg=6, batch=32, lr=0.003, fmap_max=16))
    assert np.mean(accuracies) > 0.85
    path = save_classifier(tmp_path / "blood.safetensors", network, names, accuracies)
    features = open_features(str(path), (3, 32, 32))

    def of(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return metrics.feature_statistics(features(torch.from_numpy(array))[0].numpy())

    every = np.stack(pictures)
    first, second, half = of(every[::2]), of(every[1::2]), of(every[np.array(classes) < 4])
    assert metrics.frechet_distance(*first, *half) > 5 * metrics.frechet_distance(*first, *second)
