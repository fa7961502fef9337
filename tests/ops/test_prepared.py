"""What is made of weights is kept only where that was asked for, and made anew when they have changed."""

from __future__ import annotations

import threading

import pytest
import torch

from stylegan.networks import Generator
from stylegan.ops import packed, paired
from stylegan.ops.prepared import Ahead, Prepared, keeps
from stylegan.ops.switch import using_ops
from tests.training.small import small

made: list[int] = []


@keeps
def doubled(w: torch.Tensor, plus: int = 0) -> torch.Tensor:
    made.append(plus)
    return 2 * w + plus


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    made.clear()


def test_each_result_is_made_once() -> None:
    w, kept = torch.ones(3), Prepared()
    with torch.no_grad(), kept.used():
        first = doubled(w, 1)
        assert doubled(w, 1) is first
        assert torch.equal(doubled(w, 2), torch.full((3,), 4.0))
        assert doubled(torch.ones(3), 1) is not first
        assert doubled(doubled(w, 1), 1) is doubled(first, 1)
    assert made == [1, 2, 1, 1]
    assert len(kept) == 4
    doubled(w, 1)
    assert len(made) == 5  # outside, nothing is kept


def test_results_stay_where_they_are_when_weights_change() -> None:
    w, kept = torch.ones(3), Prepared()
    with torch.inference_mode(), kept.used():
        second = doubled(doubled(w, 1), 1)
    w.add_(1)
    kept.refresh()
    assert torch.equal(second, torch.full((3,), 11.0))
    with torch.no_grad(), kept.used():
        assert doubled(doubled(w, 1), 1) is second


def test_nothing_is_kept_where_gradients_are_wanted_or_in_other_threads() -> None:
    w, kept, found = torch.ones(3, requires_grad=True), Prepared(), []
    with kept.used():
        assert doubled(w, 1).requires_grad
        other = threading.Thread(target=lambda: found.append(doubled(w.detach(), 1)))
        other.start()
        other.join()
    assert len(found) == 1
    assert len(kept) == 0


@pytest.mark.parametrize("mode", ["reference", "fast", "fast, in pairs"])
def test_networks_draw_the_same_from_what_is_kept(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mode == "fast, in pairs":
        monkeypatch.setattr(paired, "_readable", lambda x: x.stride(1) == 1)
        monkeypatch.setattr(paired, "LEAST_WIDTH", 2)
        monkeypatch.setenv("STYLEGAN_LAYOUT", "channels_last")
    torch.manual_seed(0)
    g = Generator(small().generator)
    z, kept = torch.randn(2, g.config.z_dim), Prepared()
    before = packed.pack_from(16)
    try:
        with torch.no_grad(), using_ops(mode.split(",")[0]):
            for change in (0.0, 0.5):
                for p in g.parameters():
                    p.add_(change * torch.randn_like(p))
                kept.refresh()
                expected = g(z, torch.tensor([0, 1]), noise="stored")
                with kept.used():
                    assert torch.equal(g(z, torch.tensor([0, 1]), noise="stored"), expected)
                    count = len(kept)
                    g(z, torch.tensor([0, 1]), noise="stored")
                assert len(kept) == count > 10
    finally:
        packed.pack_from(before)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu])])
def test_what_is_made_ahead_and_its_gradients_are_the_same(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    w, ahead = torch.nn.Parameter(torch.full((64, 64), 0.5, device=device)), Ahead(torch.device(device))
    x = torch.eye(64, device=device)
    for _ in range(3):
        with ahead.used():
            y = x @ doubled(doubled(w, 1)) + doubled(x * w)  # the last: not of a weight
        doubled(w)  # after the block, in its turn
        y.sum().backward()
        ahead.join()
    assert torch.equal(y, torch.full_like(y, 4.0) + torch.eye(64, device=device))
    assert torch.equal(w.grad, 3 * (torch.full_like(y, 4.0) + 2 * torch.eye(64, device=device)))


def test_nothing_is_made_ahead_where_that_is_not_wanted() -> None:
    ahead = Ahead(torch.device("cpu"))
    with ahead.used(False):
        assert doubled(torch.ones(3), 1)[0] == 3
    with ahead.used():
        assert doubled(torch.ones(3), 1)[0] == 3
    ahead.join()
