"""The scripts under benchmarks/ that are not run by tests still say what the command line understands."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from stylegan.cli import cli
from stylegan.config.overrides import parse_overrides
from stylegan.config.presets import preset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


comparison = script("comparison")


@pytest.mark.parametrize("variant", comparison.VARIANTS)
def test_variants_of_the_comparison_are_configurations(variant: str) -> None:
    filled = [word.format(phase=16.0, gamma=1.0, lr=0.002, batch=32) for word in comparison.VARIANTS[variant][1]]
    config = preset("table1-f", 64, changes=parse_overrides(filled))
    assert config.schedule.grow == (variant in ("published", "growing"))
    assert config.loss.r1_gamma == (10 if variant == "published" else 1)
    assert bool(config.augment.policy) == (variant in ("ada", "diffaugment"))


def test_its_table_has_mean_and_spread() -> None:
    rows: list[dict[str, Any]] = [
        {"variant": "fixed", "seed": seed, "kimg": 10.0, "lod": 0.0, "networks": ["pixels"], "fid5k": value}
        for seed, value in enumerate((20.0, 22.0))
    ]
    assert comparison.table(rows).splitlines()[-1].endswith("| 2 | 10.0 ± 0.0 | 21.000 ± 1.414 |")


def test_commands_of_the_gallery_exist() -> None:
    text = (BENCHMARKS / "gallery.sh").read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^(?:sg|#   stylegan) (.*)$", text)
    assert len(lines) >= 7
    for line in lines:
        verb, *arguments = shlex.split(line.replace("$model", "m").replace("$work", "w"))
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        command.make_context(verb, arguments)
