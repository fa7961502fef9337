"""`stylegan train` as a process: signals, exit codes, and the checkpoint that is complete before it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from stylegan.data.dataset import Dataset
from stylegan.data.prepare import prepare_arrays
from stylegan.training import checkpoint
from stylegan.training.run import stored_config
from tests.training.small import assert_same, go, outcome, pictures

SETTINGS = """
--preset tiny --labels --mirror --device cpu --kimg 0.4 --batch 4 --seed 5 --training.grid 2,2
--generator.fmap_base 64 --generator.fmap_max 8 --discriminator.fmap_base 64 --discriminator.fmap_max 8
--generator.z_dim 8 --generator.w_dim 8 --generator.mapping_width 8
--schedule.stable_kimg 0.08 --schedule.fade_kimg 0.08 --schedule.tick_kimg 0.04 --schedule.repeats 2
"""
ARGUMENTS = SETTINGS.split()  # as the small runs, but 100 steps long


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "pictures"
    dataset = pictures()
    prepare_arrays(dataset.read(range(len(dataset))), dataset.classes, out)
    return out


def start(data: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stylegan", "train", str(data), "--out", str(run), *ARGUMENTS, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(run: Path, ticks: int, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Until the run has written so many reports."""
    end = time.monotonic() + seconds
    log = run / "stats.jsonl"
    while not log.exists() or log.read_text().count("\n") < ticks:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stopped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int, str]]:
    """Two runs, one stopped by each signal: run folder, exit code, output."""
    folder = tmp_path_factory.mktemp("signals")
    processes = {s: start(data, folder / s.name) for s in (signal.SIGTERM, signal.SIGINT)}
    for number, process in processes.items():
        wait_for(folder / number.name, 1, process)
        process.send_signal(number)
        process.send_signal(number)  # echoes, as terminals and torchrun make them
    result = {}
    for number, process in processes.items():
        output = process.communicate(timeout=60)[0]
        result[number.name] = (folder / number.name, process.returncode, output)
    return result


def finish(run: Path, data: Path) -> None:
    config = stored_config(run)
    assert config is not None
    assert go(config, run, dataset=Dataset.open(data)).finished


@pytest.mark.slow
def test_signals_save_and_the_run_goes_on_exactly(data: Path, stopped: dict[str, tuple[Path, int, str]]) -> None:
    for name, code in (("SIGTERM", 143), ("SIGINT", 130)):
        run, returned, output = stopped[name]
        assert returned == code, output
        assert f"stopped by {name} at " in output
        assert "saved. Run the same command again to go on." in output
        loaded, complaints = checkpoint.latest(run / "checkpoints")
        assert loaded is not None
        assert not complaints
        assert 0 < loaded.progress.nimg < 400
        assert f"stopped by {name} at {loaded.progress.nimg / 1000:.1f} kimg" in output
        assert not list((run / "checkpoints").glob(".*"))  # complete before the process ended
        finish(run, data)
    assert_same(outcome(stopped["SIGINT"][0]), outcome(stopped["SIGTERM"][0]))


@pytest.mark.slow
def test_again_locked_and_with_other_settings(data: Path, stopped: dict[str, tuple[Path, int, str]]) -> None:
    """0 for a finished run; 2 while another process trains there, and for other settings."""
    finished, locked = stopped["SIGINT"][0], stopped["SIGTERM"][0]
    finish(finished, data)
    other = start(data, finished, "--loss.r1_gamma", "3", "--extend")
    with FileLock(str(locked / ".lock")):
        second = start(data, locked)
        output = second.communicate(timeout=60)[0]
    assert second.returncode == 2, output
    assert f"error: {locked}: another process is training in this folder" in output
    output = other.communicate(timeout=60)[0]
    assert other.returncode == 2, output
    assert "loss.r1_gamma was 10.0 and is now 3.0" in output
    assert "Traceback" not in output
    again = start(data, finished)  # only now: two processes in one folder refuse each other
    output = again.communicate(timeout=60)[0]
    assert again.returncode == 0, output
    assert "finished at 0.4 kimg; nothing left to do" in output


@pytest.mark.slow
def test_two_processes_from_the_command_line(data: Path, tmp_path: Path) -> None:
    """torchrun with a batch that cannot be divided: one sentence before anything is written, exit code 2."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "stylegan",
        "train", str(data), "--out", str(tmp_path / "run"), *ARGUMENTS, "--schedule.batch_by_resolution", '{"16": 5}',
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode != 0
    sentence = "error: a batch of 5 (at 16x16) cannot be divided among 2 processes; set schedule.batch"
    assert sentence in done.stderr + done.stdout
    assert "exitcode  : 2" in done.stderr
    assert not (tmp_path / "run").exists()
