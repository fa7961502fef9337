"""Runs are found, and their states told from their files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from stylegan.config.presets import preset
from stylegan.doctor.runs import find_runs, is_held
from stylegan.errors import UserError


def make(
    path: Path,
    words: str = "    1.0 kimg  training 64x64",
    nimg: int = 2000,
    finished: bool = False,
    metrics: list[dict[str, float]] | None = None,
) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(preset("ffhq1024", 64).model_dump_json())
    (path / "log.txt").write_text(f"2026-01-01 00:00:00 training {path}\n2026-01-01 00:10:00 {words}\n")
    entries = [{"kimg": 0.5 * (i + 1), "metrics": m, "time": {"images_per_second": 100 + i}}
               for i, m in enumerate(metrics or [{}, {}])]  # fmt: skip
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (path / "stats.jsonl").write_text(lines + '{"kimg": 77, "half-writ')
    for k in (nimg // 2, nimg):
        folder = path / "checkpoints" / f"{k:011d}"
        folder.mkdir(parents=True)
        state = {"progress": {"nimg": k, "finished": finished and k == nimg}}
        (folder / "state.json").write_text(json.dumps(state))
    (path / "grids").mkdir()
    for name in ("fakes-000000000.png", "fakes-000001000.png"):
        (path / "grids" / name).write_bytes(bytes(1000))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make(tmp_path / "done", "finished: 2.0 kimg in 10 min", finished=True)
    make(tmp_path / "group" / "crashed")
    make(tmp_path / "group" / "stopped", "stopped by SIGTERM at 2.0 kimg; saved. Run the same command again to go on.")
    make(tmp_path / "limit", "stopped as asked at 2.0 kimg; saved.")
    make(tmp_path / "again", "again: already at 2.0 kimg; stopped, as asked")
    make(tmp_path / "running")
    new = make(tmp_path / "new")
    for name in ("log.txt", "stats.jsonl"):
        (new / name).unlink()
    shutil.rmtree(new / "checkpoints")
    shutil.rmtree(make(tmp_path / "emptied", "finished: 2.0 kimg in 10 min", finished=True) / "checkpoints")
    damaged = make(tmp_path / "damaged")
    (damaged / "checkpoints" / "00000002000" / "state.json").write_text("{broken")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"something": "else"}')
    return tmp_path


def test_states(runs: Path) -> None:
    with FileLock(str(runs / "running" / ".lock")):
        found = {Path(run.path).name: run for run in find_runs(runs)}
    assert {name: run.state for name, run in found.items()} == {
        "done": "finished", "crashed": "crashed", "stopped": "stopped", "limit": "stopped", "again": "stopped",
        "running": "running", "new": "new", "damaged": "crashed", "emptied": "finished",
    }  # fmt: skip
    assert found["crashed"].note == "last words:     1.0 kimg  training 64x64"
    done = found["done"]
    assert (done.kimg, done.total_kimg, done.rate, done.resolution) == (2.0, 25000.0, 101.0, "64x64")
    assert done.grid.endswith("grids/fakes-000001000.png")
    assert done.disk_bytes == sum(p.stat().st_size for p in (runs / "done").rglob("*") if p.is_file())
    assert found["damaged"].kimg == 1.0  # of the checkpoint before
    again = {Path(run.path).name: run.state for run in find_runs(runs)}
    assert again["running"] == "crashed"  # its process is gone


def test_looking_does_not_disturb(runs: Path) -> None:
    lock = runs / "done" / ".lock"
    lock.touch()
    assert not is_held(lock)
    with FileLock(str(lock), timeout=0):
        assert is_held(lock)
    assert not is_held(lock)
    assert not is_held(runs / "nowhere")


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ([{"fid2k": 50.0}, {"fid2k": 30.0}, {"fid2k": 40.0}], ("fid2k", 30.0, 1.0)),
        ([{"pr2k_recall": 0.1}, {"pr2k_recall": 0.5}, {"pr2k_recall": 0.3}], ("pr2k_recall", 0.5, 1.0)),
        ([{"fid2k": float("nan")}, {}, {"fid2k": 4.0, "kid2k": 0.1}], ("fid2k", 4.0, 1.5)),
        ([{}, {}], ("", None, 0.0)),
    ],
)
def test_best_metric(tmp_path: Path, metrics: list[dict[str, float]], expected: object) -> None:
    make(tmp_path / "a", metrics=metrics)
    (run,) = find_runs(tmp_path)
    assert (run.metric, run.best, run.best_kimg) == expected


def test_a_run_itself_and_no_runs(runs: Path, tmp_path: Path) -> None:
    assert [run.path for run in find_runs(runs / "done")] == [str(runs / "done")]
    assert find_runs(runs / "other") == []
    with pytest.raises(UserError, match="no such folder"):
        find_runs(tmp_path / "nowhere")


def test_vanishing_files(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running training removes checkpoints while we look."""
    real = os.lstat

    def lstat(path: object, **options: object) -> os.stat_result:
        if str(path).endswith("state.json"):
            raise FileNotFoundError(str(path))
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("stylegan.doctor.runs.os.lstat", lstat)
    assert len(find_runs(runs)) == 9
