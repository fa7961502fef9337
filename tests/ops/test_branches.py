"""Work beside other work: in order where it must be, offered only to the thread and block that asked."""

from __future__ import annotations

import threading

import pytest
import torch

from stylegan.ops.branches import Branch, offer

DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu])]


@pytest.mark.parametrize("device", DEVICES)
def test_work_beside_comes_after_what_was_begun_and_before_what_follows_its_end(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    branch, n = Branch(torch.device(device)), 512 if device == "cuda" else 8
    for wanted in (True, False):
        x = torch.eye(n, device=device)
        for _ in range(20):
            x = x @ torch.eye(n, device=device) + 1e-3
        with branch.beside(wanted):
            first = x + 1
            mark = branch.mark()
            second = first + 1
        branch.reach(mark)
        y = first * 2
        branch.join()
        assert torch.equal(second, x + 2)
        assert torch.equal(y, (x + 1) * 2)


def test_a_branch_is_offered_inside_its_block_and_thread_only() -> None:
    outer, inner, seen = Branch(torch.device("cpu")), Branch(torch.device("cpu")), []
    assert offer() is None
    with outer.offered():
        with inner.offered():
            assert offer() is inner
        assert offer() is outer
        other = threading.Thread(target=lambda: seen.append(offer()))
        other.start()
        other.join()
    assert offer() is None
    assert seen == [None]


def test_a_generator_draws_the_same_with_a_branch() -> None:
    from stylegan.networks import Generator
    from tests.training.small import small

    torch.manual_seed(0)
    g = Generator(small().generator)
    ws, branch = torch.randn(2, g.config.num_layers, g.config.w_dim), Branch(torch.device("cpu"))
    with torch.no_grad():
        for lod, noise in ((0.0, "stored"), (0.4, "none"), (1.0, "stored")):
            expected = g.synthesis(ws, lod, noise)
            with branch.offered():
                assert torch.equal(g.synthesis(ws, lod, noise), expected)
