"""What processes add up, tensor by tensor, however it lies, and how they part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from stylegan.distributed import Processes


def test_sums_are_written_where_the_tensors_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[torch.Tensor] = []

    def doubled(flat: torch.Tensor) -> None:
        sent.append(flat.clone())
        flat.mul_(2)

    monkeypatch.setattr(dist, "all_reduce", doubled)
    last = torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    given = [last, torch.randn(5), torch.randn(()), torch.randn(6, 4).t(), torch.randn(2, 3, 1, 1), torch.randn(8)[::2]]
    before = [t.clone() for t in given]
    Processes(world=2).sum_(iter(given))
    assert all(torch.equal(t, 2 * b) for t, b in zip(given, before, strict=True))
    assert [t.stride() for t in given] == [(27, 1, 9, 3), (1,), (), (1, 4), (3, 1, 1, 1), (2,)]
    assert len(sent) == 1  # one exchange for all
    assert torch.equal(sent[0][: last.numel()], before[0].permute(0, 2, 3, 1).flatten())  # in the order in memory


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", None)
    x = torch.ones(3)
    Processes().sum_([x])
    assert torch.equal(x, torch.ones(3))


LEAVING = """
import pathlib, torch
from stylegan import distributed

def threads():
    return [t for t in pathlib.Path("/proc/self/task").iterdir() if "gloo" in (t / "comm").read_text()]

processes = distributed.start("cpu")
processes.most(1)
processes.sum_([torch.ones(3)])
assert threads()
processes.close()
assert not threads(), len(threads())
print("left")
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux lists them")
def test_no_thread_of_an_exchange_outlives_it() -> None:
    """One that is left aborts Python at its end, if it happens to let go of a tensor then: seen once in many runs."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = subprocess.run(
        [*command, sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("left") == 2


@pytest.mark.parametrize(("device", "left"), [("cuda", "at once"), ("cpu", "in order")])
def test_who_fails_says_why_and_leaves(device: str, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once where NCCL would wait for the others; what goes wrong in leaving does not hide what went wrong before."""
    ways: list[str] = []

    def leave(way: str) -> None:
        ways.append(way)
        if "wrong" in way:
            raise RuntimeError("nothing to leave")

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: leave("in order"))
    monkeypatch.setattr(dist.distributed_c10d, "_abort_process_group", lambda: leave("at once"))
    with pytest.raises(LookupError, match="why"), Processes(0, 2, torch.device(device)):
        raise LookupError("why")
    with Processes(0, 2, torch.device(device)):
        pass
    assert ways == [left, "in order"]
    monkeypatch.setattr(dist, "destroy_process_group", lambda: leave("wrong"))
    monkeypatch.setattr(dist.distributed_c10d, "_abort_process_group", lambda: leave("wrong"))
    with pytest.raises(LookupError, match="why"), Processes(0, 2, torch.device(device)):
        raise LookupError("why")
