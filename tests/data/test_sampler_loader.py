"""The order in which images are shown, and reading ahead of the training loop."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan.data import Dataset, Loader, Request, epoch_indices

SMALL = st.integers(1, 40)


@given(seed=st.integers(0, 2**40), n=SMALL, epoch=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_epoch_is_a_permutation(seed: int, n: int, epoch: int) -> None:
    assert sorted(epoch_indices(seed, epoch * n, n, n)) == list(range(n))


@given(seed=st.integers(0, 9), n=SMALL, position=st.integers(0, 200), parts=st.lists(st.integers(0, 50)))
@settings(max_examples=60, deadline=None)
def test_any_cut_gives_the_same_sequence(seed: int, n: int, position: int, parts: list[int]) -> None:
    whole = epoch_indices(seed, position, sum(parts), n)
    starts = [position + start for start in itertools.accumulate([0, *parts])]
    pieces = [epoch_indices(seed, start, count, n) for start, count in zip(starts, parts, strict=False)]
    assert whole.dtype == np.int64
    assert np.array_equal(whole, np.concatenate(pieces) if pieces else np.empty(0))


def test_epochs_and_seeds_differ_and_values_stay() -> None:
    first, second = epoch_indices(0, 0, 100, 100), epoch_indices(0, 100, 100, 100)
    assert (first != second).any()
    assert (first != epoch_indices(1, 0, 100, 100)).any()
    # A resumed run must meet the order that it began with, on any machine and version of numpy.
    assert epoch_indices(7, 3, 6, 5).tolist() == [2, 1, 1, 3, 2, 4]


@pytest.mark.parametrize("bad", [(-1, 0, 1, 1), (0, -1, 1, 1), (0, 0, -1, 1), (0, 0, 1, 0)])
def test_impossible_positions(bad: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        epoch_indices(*bad)


@pytest.fixture
def dataset() -> Dataset:
    images = np.zeros((50, 1, 16, 16), np.uint8) + np.arange(50, dtype=np.uint8)[:, None, None, None]
    return Dataset.from_arrays(images, np.arange(50) % 3)


def test_order_size_and_labels_follow_the_requests(dataset: Dataset) -> None:
    requests = [Request(np.arange(i, i + 1 + i % 4), (4 << i % 3,) * 2) for i in range(40)]
    with Loader(dataset, iter(requests), depth=3, threads=3) as loader:
        batches = list(loader)
    assert len(batches) == 40
    for request, (images, labels) in zip(requests, batches, strict=True):
        assert images.shape == (len(request.indices), 1, *request.size)
        assert images[:, 0, 0, 0].tolist() == request.indices.tolist()
        assert labels.argmax(axis=1).tolist() == (request.indices % 3).tolist()


def test_reading_ahead_is_bounded(dataset: Dataset) -> None:
    taken = 0

    def endless() -> Iterator[Request]:
        nonlocal taken
        while True:
            taken += 1
            yield Request(np.array([taken % 50]), (8, 8))

    loader = Loader(dataset, endless(), depth=4)
    assert taken == 4
    for _ in range(10):
        next(loader)
    assert taken == 14
    loader.close()
    loader.close()
    with pytest.raises(StopIteration):
        next(loader)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stylegan-loader")]


def test_errors_come_out_in_their_turn(dataset: Dataset) -> None:
    requests = [
        Request(np.array([1]), (8, 8)),
        Request(np.array([99]), (8, 8)),
        Request(np.array([2]), (8, 8)),
    ]
    loader = Loader(dataset, iter(requests))
    next(loader)
    with pytest.raises(IndexError, match=r"99.*50 images"):
        next(loader)
    with pytest.raises(StopIteration):
        next(loader)


def test_an_error_of_the_requests_comes_out(dataset: Dataset) -> None:
    def broken() -> Iterator[Request]:
        yield Request(np.array([1]), (8, 8))
        raise RuntimeError("schedule broke")

    loader = Loader(dataset, broken())
    next(loader)
    with pytest.raises(RuntimeError, match="schedule broke"):
        next(loader)


def test_impossible_depth(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Loader(dataset, iter([]), depth=0)
