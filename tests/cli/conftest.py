"""The command line as a user types it, in this process: fast, with the real exit codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylegan.cli import main


@dataclass
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def stylegan(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """stylegan("train", "photos", ...) -> exit code and output."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 small colour pictures in two sub-folders."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(24):
        kind = folder / ("cats" if i % 2 else "dogs")
        kind.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(kind / f"{i:02d}.png")
    return folder


SMALL = (
    "--generator.fmap_max", 8, "--discriminator.fmap_max", 8, "--generator.z_dim", 8, "--generator.w_dim", 8,
    "--generator.mapping_width", 8, "--generator.mapping_layers", 2, "--kimg", 0.064, "--batch", 4,
    "--schedule.stable_kimg", 0.016, "--schedule.fade_kimg", 0.016, "--schedule.tick_kimg", 0.032,
)  # fmt: skip


@pytest.fixture
def small() -> tuple[object, ...]:
    """Options that make `stylegan train` a matter of a second."""
    return SMALL
