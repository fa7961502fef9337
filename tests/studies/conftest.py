"""A small data set, plans on it, and jobs whose commands are short programs instead of trainings."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stylegan.data import Dataset, prepare_arrays
from stylegan.studies import Choices, make_plan
from stylegan.studies.jobs import Job

FAKE = """
import hashlib, json, os, pathlib, signal, sys, time
stage, folder, names, behaviour = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3].split(","), sys.argv[4]
log = folder.parent / "order.txt"
with log.open("a") as file:
    file.write(f"{stage} {folder.name} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\\n")
if behaviour == "crash":
    print("some words")
    print("error: the disk is on fire", file=sys.stderr)
    sys.exit(2)
if behaviour == "slow":
    signal.signal(signal.SIGTERM, lambda *_: ((folder / "saved").touch(), sys.exit(143)))
    (folder / "began").touch()
    time.sleep(60)
if behaviour == "nothing":
    sys.exit(0)
if stage == "training":
    (folder / "model.safetensors").write_text(folder.name)
    line = {"nimg": 2000, "time": {"seconds": 5.0, "images_per_second": 400.0}, "schedule": {"resolution": 16}}
    (folder / "stats.jsonl").write_text(json.dumps(line) + "\\n")
else:
    value = float(len(folder.name)) + float(folder.name.split("seed")[1])
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    entry = {"values": {"fid": value, "kid": value}, "standard_error": {"fid": 0.5}, "samples": 10, "reals": 10,
             "network": {"name": "pixels"}}
    record = {"model": {"sha256": digest}, "metrics": {name: entry for name in names},
              "time": {"seconds": {"total": 7.0}}, "settings": {"device": "cpu"}}
    (folder / "metrics.json").write_text(json.dumps(record))
"""


def fake_start(self: Job, stage: str, words: list[str], slot: object, behaviours: dict[str, str]) -> None:
    """Job._start with the program above; `behaviours` by "stage run" is crash or slow."""
    self.stage = stage
    self.folder.mkdir(parents=True, exist_ok=True)
    self.output = (self.folder / f"{stage}.txt").open("ab")
    behaviour = behaviours.get(f"{stage} {self.run}", "")
    command = [
        sys.executable,
        "-S",
        "-c",
        FAKE,
        stage,
        str(self.folder),
        ",".join(self.plan.metrics(self.run)),
        behaviour,
    ]
    environment = {"PATH": "", **slot.environment}  # type: ignore[attr-defined]
    self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT, env=environment)


@pytest.fixture
def behaviours(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Makes all jobs fake; what is put into it tells some of them to crash, to be slow or to do nothing."""
    found: dict[str, str] = {}
    monkeypatch.setattr(Job, "_start", lambda self, stage, words, slot: fake_start(self, stage, words, slot, found))
    return found


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of 16x16 in two classes."""
    folder = tmp_path_factory.mktemp("data") / "prepared"
    pictures = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), dtype=np.uint8)
    prepare_arrays(pictures, np.arange(40) % 2, folder, class_names=["dark", "bright"])
    return folder


@pytest.fixture
def plan_of(data: Path, tmp_path: Path):
    """make_plan on the data, with short settings."""

    def make(table: str = "table1", kimg: float = 2.0, **settings: object):
        settings = {"metrics": "fid10", "features": "pixels", "seeds": (0,), **settings}
        return make_plan(table, Dataset.open(data), tmp_path / "study", kimg, Choices(**settings))

    return make


def order(plan) -> list[str]:
    """What the fake jobs did, line by line."""
    path = plan.out / "runs" / "order.txt"
    return path.read_text().splitlines() if path.exists() else []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(path: Path) -> dict:
    return json.loads(path.read_text())
