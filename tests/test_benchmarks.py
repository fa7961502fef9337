"""The scripts under benchmarks/ that are not run by tests still say what the command line understands."""

from __future__ import annotations

import importlib.util
import io
import json
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
collecting = script("collect")


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


def archive_of(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def test_archives_of_several_calls_become_one_file_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rates(name: str, **more: float) -> dict[str, Any]:
        return {"name": name, **dict.fromkeys(collecting.KEPT, 1.23456), **more}

    rows = {
        "large": [rates("train 1024"), {"name": "profile 1024 b16", "ms_in_kernels": 69.281, "launches": 1927.99}],
        "small": [rates("generate 256", milliseconds=0.5)],
        "phases": [rates("phase 8"), {"name": "schedule", "hours": 21.47}],
    }
    metric = {"metrics": {"fid10k": {"values": {"fid": 96.184}, "standard_error": {"fid": 1.739}}}}
    first = {f"rates-{k}/results.json": json.dumps({"limits": {"bf16": {}}, "results": v}) for k, v in rows.items()}
    first |= {f"scaling-{name}.json": json.dumps({"device": "GPU"}) for name in ("2", "4", "disk")}
    first |= {"schedule-4.json": json.dumps({"hours": 6.42}), "logs/rates-large.txt": "2.11.0 cuda fast"}
    first |= {f"logs/{name}.txt": "...\n3 passed in 9 s\n" for name in ("kernel-tests", "tests-of-several")}
    second = {f"logs/{precision}-{seed}.json": json.dumps(metric) for precision in ("fp32", "bf16") for seed in (0, 1)}
    archives = [archive_of(tmp_path / "1.tgz", first), archive_of(tmp_path / "2.tgz", second)]
    out = tmp_path / "gpu.json"

    def call(*paths: Path) -> None:
        monkeypatch.setattr(sys, "argv", ["collect.py", *map(str, paths), "--date", "today", "--out", str(out)])
        collecting.main()

    with pytest.raises(SystemExit, match=r"logs/fp32-0\.json.*1\.tgz: name the archives of all calls"):
        call(archives[0])
    assert not out.exists()
    call(*archives)
    found = json.loads(out.read_text())
    assert found["train"][0]["milliseconds"] == 1.2346
    assert found["generate"][0]["milliseconds"] == 0.5
    assert found["launches"] == {"1024 b16": 1928}
    assert found["fid10k_64x64"]["bf16-1"] == [96.18, 1.74]
    assert found["schedule"]["hours"] == 21.47
    assert found["schedule_four"]["hours"] == 6.42
    assert found["tests"]["kernel-tests"] == "3 passed in 9 s"


def test_the_page_on_speed_says_what_was_measured() -> None:
    found = json.loads((BENCHMARKS / "results" / "h100.json").read_text())
    page = (BENCHMARKS.parent / "docs" / "performance.md").read_text(encoding="utf-8")
    readme = (BENCHMARKS.parent / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line.split("|")[2] for line in page.splitlines() if line.startswith("| ")}
    told = 0
    for kind, row in [(what, row) for what in ("train", "generate") for row in found[what]]:
        label = f"{kind} {row['resolution']}, batch {row['batch']}"
        cell = next((cell for name, cell in rows.items() if name.startswith(label)), None)
        if cell is None or row["resolution"] in ("16x16", "8x8"):  # one row for both, rounded to tens
            continue
        if row["batch"] == 1:
            assert f"**{row['milliseconds']:.2f} ms**" in cell
        else:
            assert f"**{row['images_per_second']:,.0f} img/s**" in cell
        told += 1
    assert told == 10
    assert f"| **{found['schedule']['hours']:.1f} h** |" in page
    assert f"| **{found['schedule_four']['hours']:.2f} h** |" in page
    four = found["scaling"]["4"]
    assert f"**{four['times_the_first']:.2f} times** ({four['images_per_second']:.0f} img/s" in page
    assert f"{four['images_per_second']:.0f} images a second" in readme
    assert f"**{100 * found['scaling']['disk']['slower_from_disk']:.1f} %** slower" in page
