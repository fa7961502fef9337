"""Measuring on a CUDA GPU: the numbers of the CPU, and a host that does not wait for each batch. `pytest -m gpu`."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stylegan.data import Dataset
from stylegan.metrics import Options, evaluate, parse_metrics
from stylegan.metrics.classifier import save_classifier
from stylegan.metrics.recognising import ClassRecipe, train_on_classes
from tests.metrics.conftest import small_generator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
PIXELS = Options(features="pixels", batch=8)
NAMES = "fid60,kid60,pr0.06k3,dc0.06k5,ppl24_w_full,ppl24_z_end,nn12"


def test_numbers_are_those_of_the_cpu(dataset: Dataset) -> None:
    """Without noise inputs, which a GPU draws differently."""
    G = small_generator(labels=3, noise=False)
    host = evaluate(G, dataset, parse_metrics(NAMES), PIXELS)
    device = evaluate(G.cuda(), dataset, parse_metrics(NAMES), replace(PIXELS, cache=None))
    assert host is not None
    assert device is not None
    for name, entry in host.metrics.items():
        for value, number in entry["values"].items():
            wide = 0.2 if name.startswith("ppl") else 0.02  # uint8 levels on the edge; steps of 1e-4
            assert device.metrics[name]["values"][value] == pytest.approx(number, rel=wide, abs=0.02), (name, value)


def test_the_host_waits_for_no_batch(dataset: Dataset) -> None:
    G = small_generator(labels=3).cuda()

    def waits(names: str) -> Counter[str]:
        evaluate(G, dataset, parse_metrics(names), replace(PIXELS, cache=None))  # compiles, fills caches
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                evaluate(G, dataset, parse_metrics(names), replace(PIXELS, cache=None))
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return Counter(f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message))

    few, many = waits("fid160,ppl16_w_full"), waits("fid640,ppl160_w_full")  # enough for all halves in both
    more = {place: (few[place], count) for place, count in many.items() if count > few[place] + 2}
    assert not more, "places that wait once per batch: (for few, for many)"


def test_a_classifier_is_trained_there(dataset: Dataset, tmp_path: Path) -> None:
    found = train_on_classes(dataset, ClassRecipe(kimg=6, batch=32, lr=0.004, width=16, dropout=0.0), "cuda")
    assert found.accuracy > 0.9
    path = save_classifier(tmp_path / "c.safetensors", found.network, found.names, found.recalls)
    names = parse_metrics("fid40,is40,recognition30")
    result = evaluate(small_generator(labels=3).cuda(), dataset, names, Options(features=str(path), batch=8))
    assert result is not None
    assert result.seconds["generator"] > 0
