"""The scripts under benchmarks/ that are not run by tests still say what the command line understands."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
import tarfile
import tomllib
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
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


comparison = script("comparison")
fleet = script("fleet")


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


def jobs_of(path: Path) -> list[Any]:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return [job for name, table in tables.items() for job in fleet.jobs_of(name, table)]


def test_a_fleet_runs_what_fits_and_stops_the_rest_in_time(tmp_path: Path) -> None:
    table = tmp_path / "jobs.toml"
    table.write_text(
        """
        [makes]
        run = "echo made > $W/a.txt"
        seconds = 1
        keep = ["a.txt"]
        [takes]
        run = "cat $W/a.txt; echo on $CUDA_VISIBLE_DEVICES of $GPUS"
        needs = ["a.txt"]
        seconds = 1
        gpus = 2
        [stops]
        run = "trap 'echo saved > $W/b.txt; exit 3' TERM; sleep 60 & wait"
        needs = ["ended/takes"]
        keep = ["b.txt"]
        seconds = 1
        [never]
        run = "true"
        needs = ["nothing"]
        """
    )
    jobs = jobs_of(table)
    work, out = tmp_path / "work", tmp_path / "out"
    assert fleet.Fleet(jobs, ["0", "1"], work, out, fleet.SAVING + 4).run() == 2  # one stopped, one not begun
    assert (work / "logs" / "takes.txt").read_text().split("\n")[0] == "made"
    assert "of 2" in (work / "logs" / "takes.txt").read_text()
    assert sorted(p.name for p in (work / "ended").iterdir()) == ["makes", "takes"]
    with tarfile.open(out / "results.tgz") as archive:
        assert {"a.txt", "b.txt", "logs/stops.txt"} <= set(archive.getnames())


def test_the_jobs_for_four_gpus_are_commands_that_exist() -> None:
    jobs = jobs_of(BENCHMARKS / "four_gpus.toml")
    assert len(jobs) >= 8
    written = "\n".join(job.run.replace("$name", job.words[0] if job.words else "") for job in jobs)
    for name in {name for job in jobs for name in job.needs}:
        assert f"$W/{name.removesuffix('/model.safetensors')}" in written, name
    for job in jobs:
        for line in re.findall(r"-m stylegan ((?:[^\n&>]|\\\n)+)", job.run):
            line = line.replace("\\\n", " ").replace("$W", "w").replace("$OUT", "o")
            line = line.replace('"$@"', shlex.join(job.words[1:]))
            verb, *arguments = shlex.split(line)
            command = cli.get_command(click.Context(cli), verb)
            assert command is not None, line
            command.make_context(verb, arguments)
