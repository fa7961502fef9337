"""Gradients summed while the backward pass goes on: the same sums, begun early, in one order."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from stylegan.distributed import Processes
from stylegan.training import exchange as exchange_module
from stylegan.training.exchange import Exchange, finishing_order
from tests.training.small import TWO_GPUS


class Doubling(Processes):
    """Two processes that always have the same values: a sum is twice each, and there once it is waited for."""

    def __init__(self) -> None:
        super().__init__(world=2)
        self.__dict__["log"] = []

    def begin_sum(self, values: torch.Tensor) -> Begun:
        self.log.append((values.data_ptr(), values.clone()))
        return Begun(values)

    @property
    def log(self) -> list[tuple[int, torch.Tensor]]:
        found: list[tuple[int, torch.Tensor]] = self.__dict__["log"]
        return found


class Begun:
    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def wait(self) -> None:
        self.values.mul_(2)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()) for _ in range(4)))
    net[1][0].weight.data = net[1][0].weight.data.contiguous(memory_format=torch.channels_last)
    net.append(nn.Linear(6, 3))  # takes no part
    return net


def run_pass(net: nn.Sequential, double: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """With a gradient of a gradient, as R1 has, and every weight used twice."""
    x = torch.linspace(-1, 1, 2 * 4 * 5 * 5).view(2, 4, 5, 5).requires_grad_(True)
    y = net[:4](x)
    loss = y.square().sum() + net[:4](y).sum()
    if double:
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        loss = loss + slope.square().sum()
    loss.backward()
    return loss.detach().reshape(1), torch.arange(3.0)


@pytest.mark.parametrize("bucket", [1, 300, 10**9])
def test_sums_are_those_of_the_plain_pass(bucket: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "BUCKET", bucket)
    net = network()
    run_pass(net)
    wanted = [p.grad for p in net.parameters()]
    net.zero_grad(set_to_none=True)
    parameters = list(net.parameters())
    order = finishing_order(parameters, lambda: run_pass(net))
    assert sorted(order) == list(range(8))
    net.zero_grad(set_to_none=True)
    processes = Doubling()
    exchange = Exchange(processes, [parameters[i] for i in order], (torch.empty(1), torch.empty(3)))
    assert len(exchange.buckets) == {1: 9, 300: 5, 10**9: 1}[bucket]
    for _ in range(2):
        processes.log.clear()
        answer = exchange.through(lambda: run_pass(net))
        for p, gradient in zip(parameters, wanted, strict=True):
            assert (p.grad is None) == (gradient is None)
            if p.grad is not None and gradient is not None:
                torch.testing.assert_close(p.grad, 2 * gradient, rtol=0, atol=0)
                assert p.grad.stride() == p.stride()
                assert (p.grad.data_ptr() - exchange.buffer.data_ptr()) % 256 == 0
        assert float(answer[0]) == pytest.approx(2 * float(run_pass(network())[0]))
        assert answer[1].tolist() == [0.0, 2.0, 4.0]
        assert [place for place, _ in processes.log] == [b.values.data_ptr() for b in exchange.buckets]


def test_sums_begin_while_gradients_are_made_and_each_with_all_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "BUCKET", 300)
    net, events = network(), []
    parameters = list(net.parameters())
    order = finishing_order(parameters, lambda: run_pass(net))
    net.zero_grad(set_to_none=True)
    processes = Doubling()
    exchange = Exchange(processes, [parameters[i] for i in order], (torch.empty(1), torch.empty(3)))
    for place, p in enumerate(parameters[:8]):
        p.register_post_accumulate_grad_hook(lambda _, place=place: events.append((place, len(processes.log))))
    exchange.through(lambda: run_pass(net))
    assert [place for place, _ in events] == order
    assert [begun for _, begun in events] == sorted(begun for _, begun in events)
    assert events[-1][1] >= 2  # before the last gradient was made
    final = dict(processes.log)
    for bucket in exchange.buckets:  # what was sent is what the whole pass made of it
        torch.testing.assert_close(2 * final[bucket.values.data_ptr()], bucket.values, rtol=0, atol=0)


def test_a_gradient_that_never_comes_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "BUCKET", 1)
    net = network()
    exchange = Exchange(Doubling(), list(net.parameters()), (torch.empty(1), torch.empty(3)))
    with pytest.raises(AssertionError, match="never or twice"):
        exchange.through(lambda: run_pass(net))


def test_connections_are_made_by_sums_of_every_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "BUCKET", 300)
    net, processes = network(), Doubling()
    exchange = Exchange(processes, list(net.parameters()), (torch.empty(1),))
    exchange.connect()
    assert [len(values) for _, values in processes.log] == [len(b.values) for b in exchange.buckets]


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=pytest.mark.slow),
        pytest.param("cuda", marks=[pytest.mark.gpu, TWO_GPUS]),
    ],
)
def test_processes_get_the_gradients_that_sums_after_the_pass_give(device: str) -> None:
    count = min(torch.cuda.device_count(), 4) if device == "cuda" else 2
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    done = subprocess.run(
        [*command, "-m", "tests.training.sums", device], capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("gradients, off by at most") == count
