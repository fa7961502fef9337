"""Where kernels cannot run, one warning says why, and PyTorch's operators give the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from stylegan.ops import switch
from stylegan.ops.style import bias_activate
from stylegan.ops.switch import using_ops


@pytest.fixture(autouse=True)
def tried_afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    tried = switch._kernels_work
    tried.cache_clear()
    yield
    tried.cache_clear()


def broken(name: str) -> SimpleNamespace:
    raise ModuleNotFoundError("No module named 'triton'")


def wrong(name: str) -> SimpleNamespace:
    return SimpleNamespace(bias_activation=lambda x, *rest: x)


@pytest.mark.parametrize(("module", "reason"), [(broken, "No module named 'triton'"), (wrong, r"a kernel gave \[")])
def test_no_kernels_is_said_once_and_works(module, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "importlib", SimpleNamespace(import_module=module))
    x, bias = torch.randn(2, 3, 4, 4), torch.randn(3)
    with using_ops("fast"):
        with pytest.warns(UserWarning, match=reason):
            found = bias_activate(x, bias)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(bias_activate(x, bias), found)
        assert switch.describe(torch.device("cpu")) == "fast"
    assert torch.equal(found, torch.nn.functional.leaky_relu(x + bias[:, None, None], 0.2))


def test_what_no_kernel_is_tried_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(kind: str) -> bool:
        raise AssertionError("tried")

    monkeypatch.setattr(switch, "_kernels_work", never)
    with using_ops("reference"):
        assert not switch.kernels(torch.zeros(1))
        assert switch.describe(torch.device("cpu")) == "reference"
    with using_ops("fast"):
        assert not switch.kernels(torch.zeros(1, dtype=torch.float64))
        assert not switch.kernels(torch.zeros(0))
        monkeypatch.delenv("TRITON_INTERPRET")
        assert not switch.kernels(torch.zeros(1))
