"""Held-out images are the same in every run, never trained on, and none unless asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stylegan.config.auto import Facts, choose
from stylegan.data.sampler import split
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.training.batches import Batches
from tests.training.small import go, pictures, small


def test_a_split_is_a_partition_that_only_grows() -> None:
    before: set[int] = set()
    for holdout in (0, 1, 5, 50):
        kept, held = split(100, holdout)
        assert sorted([*kept, *held]) == list(range(100))
        assert list(kept) == sorted(kept)
        assert len(held) == holdout
        assert before <= set(held)
        before = set(held)
    assert np.array_equal(split(100, 0)[0], np.arange(100))  # as before there was a split
    assert split(100, 5)[1].tolist() == [0, 11, 3, 72, 57]  # fixed for ever: numpy promises these draws


def test_too_many() -> None:
    with pytest.raises(UserError, match=r"data.holdout 11: the data set has 20 images; hold out at most half, 10"):
        split(20, 11)


def test_a_run_that_holds_out_too_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hold out at most half"):
        go(small(data={"holdout": 11}), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("holdout", [0, 7])
def test_held_out_images_are_never_read(holdout: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pictures()
    shown: set[int] = set()
    monkeypatch.setattr(data, "read", lambda rows, size: (shown.update(rows), type(data).read(data, rows, size))[1])
    config = small(data={"holdout": holdout}, schedule={"total_kimg": 0.2})
    with Batches(config, data, Processes(), 0, 0) as batches:
        for request in batches._iterations(0):
            shown.update(request.indices.tolist())
    assert shown == set(split(20, holdout)[0].tolist())


@pytest.mark.parametrize(("images", "held"), [(20, 0), (999, 0), (1000, 50), (1797, 89), (17_075, 256), (70_000, 256)])
def test_what_auto_holds_out(images: int, held: int) -> None:
    facts: dict[str, Any] = {"height": 64, "width": 64, "channels": 3, "classes": 0, "device": "cpu"}
    diff, choices = choose(Facts(images=images, **facts))
    assert diff["data"]["holdout"] == held
    (choice,) = [choice for choice in choices if choice.setting == "held out"]
    assert (f"{held} images" if held else "no image") == choice.value
