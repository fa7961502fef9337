"""`stylegan train` as a process: signals, exit codes, and the checkpoint that is complete before it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stylegan.data.dataset import Dataset
from stylegan.data.prepare import prepare_arrays
from stylegan.training import checkpoint
from stylegan.training.run import stored_config
from tests.training.small import assert_same, go, outcome, pictures

ARGUMENTS = [
    "--preset", "tiny", "--labels", "--mirror", "--device", "cpu", "--kimg", "2", "--batch", "4", "--seed", "5",
    *"--generator.fmap_base 64 --generator.fmap_max 8 --discriminator.fmap_base 64 --discriminator.fmap_max 8".split(),
    *"--generator.z_dim 8 --generator.w_dim 8 --generator.mapping_width 8 --training.grid 2,2".split(),
    *"--schedule.stable_kimg 0.3 --schedule.fade_kimg 0.3 --schedule.tick_kimg 0.2 --schedule.repeats 2".split(),
]  # fmt: skip


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


@pytest.mark.slow
def test_signals_save_and_the_run_goes_on_exactly(data: Path, tmp_path: Path) -> None:
    """SIGTERM to one run and SIGINT to another, then both are finished and equal."""
    codes = {signal.SIGTERM: 143, signal.SIGINT: 130}
    processes = {number: start(data, tmp_path / number.name) for number in codes}
    for number, process in processes.items():
        wait_for(tmp_path / number.name, 1, process)
        process.send_signal(number)
        process.send_signal(number)  # echoes, as terminals and torchrun make them
    for number, process in processes.items():
        output = process.communicate(timeout=60)[0]
        assert process.returncode == codes[number], output
        assert f"stopped by {number.name} at " in output
        assert "saved. Run the same command again to go on." in output
        run = tmp_path / number.name
        loaded, complaints = checkpoint.latest(run / "checkpoints")
        assert loaded is not None
        assert not complaints
        assert 0 < loaded.progress.nimg < 2000
        assert not list((run / "checkpoints").glob(".*"))
        config = stored_config(run)
        assert config is not None
        assert go(config, run, dataset=Dataset.open(data)).finished
    assert_same(outcome(tmp_path / "SIGINT"), outcome(tmp_path / "SIGTERM"))


@pytest.mark.slow
def test_again_locked_and_other_settings(data: Path, tmp_path: Path) -> None:
    """Exit codes: 2 while another process trains there, 2 for other settings, 0 for a finished run."""
    run = tmp_path / "run"
    first = start(data, run)
    wait_for(run, 1, first)
    second = start(data, run)
    output = second.communicate(timeout=60)[0]
    assert second.returncode == 2, output
    assert f"error: {run}: another process is training in this folder" in output
    first.terminate()
    assert first.wait(timeout=60) == 143
    others = start(data, run, "--loss.r1_gamma", "3", "--training.adam_eps", "0.1")
    again = start(data, run, "--extend", "--loss.r1_gamma", "3")
    for process in (others, again):
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 2
        assert "loss.r1_gamma was 10.0 and is now 3.0" in output
        assert "Traceback" not in output
    config = stored_config(run)
    assert config is not None
    assert go(config, run, dataset=Dataset.open(data)).finished
    finished = start(data, run)
    output = finished.communicate(timeout=60)[0]
    assert finished.returncode == 0, output
    assert "finished at 2.0 kimg; nothing left to do" in output


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
