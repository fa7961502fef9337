"""What the launch of a kernel promises besides the kernel: signals do not end the programs that Triton starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import torch

from stylegan.ops.fused import launch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal masks")

COMPILER = [sys.executable, "-c", "import os, signal as s; [os.kill(os.getpid(), n) for n in (s.SIGTERM, s.SIGINT)]"]


class Kernel:
    """Compiles at its first launch, as Triton's do, while somebody presses Ctrl-C."""

    def __init__(self, known: list[Any]) -> None:
        self.known = known

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def run(x: torch.Tensor) -> None:
            self.known.append(subprocess.run(COMPILER, check=False, capture_output=True).returncode)
            os.kill(os.getpid(), signal.SIGTERM)
            self.known.append("launched")

        return run


def test_a_signal_neither_ends_a_compiler_nor_gets_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[Any] = []

    def caught(number: int, frame: FrameType | None) -> None:
        happened.append("caught")

    monkeypatch.setitem(sys.modules, "stylegan.ops.pretended", SimpleNamespace(kernel=Kernel(happened)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    previous = signal.signal(signal.SIGTERM, caught)
    try:
        assert subprocess.run(COMPILER, check=False, capture_output=True).returncode == -signal.SIGTERM
        launch("pretended.kernel", (1, 1, 1), torch.zeros(1))
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert happened[0] == 0
    assert sorted(happened[1:]) == ["caught", "launched"]  # another thread of PyTorch's may take the signal at once
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
