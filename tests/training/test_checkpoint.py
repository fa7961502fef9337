"""Checkpoints: what is kept, what is noticed when damaged, and what a failing disk does to them."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from stylegan.errors import UserError
from stylegan.training import checkpoint
from stylegan.training.checkpoint import Progress, State
from stylegan.training.step import Trainer
from stylegan.training.writer import Writer
from tests.training.small import assert_same, go, outcome, small
from tests.training.test_resume import uninterrupted


def state(nimg: int = 0, finished: bool = False, size: int = 100) -> State:
    tensors = {"a": torch.full((size,), float(nimg)), "statistics": torch.zeros(8)}
    return State(tensors, {"adam_g": 1}, Progress(nimg=nimg, finished=finished))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_captured_state_does_not_move_with_the_training() -> None:
    trainer = Trainer(small())
    progress = Progress(nimg=5)
    captured = checkpoint.capture(trainer, progress)
    kept = {name: t.clone() for name, t in captured.tensors.items()}
    for p in [*trainer.G.parameters(), *trainer.D.parameters(), *trainer.G_ema.parameters()]:
        p.data.add_(1.0)
    trainer.statistics.add_(1.0)
    progress.nimg = 6
    assert captured.progress.nimg == 5
    assert all(torch.equal(captured.tensors[name], t) for name, t in kept.items())


def test_the_last_n_and_one_in_every_m_kimg_are_kept(tmp_path: Path) -> None:
    for nimg in range(0, 10_001, 300):
        checkpoint.write(tmp_path, state(nimg), keep=2, keep_every_kimg=2.0)
    assert names(tmp_path) == [f"{n:011d}" for n in (2100, 4200, 6000, 8100, 9600, 9900)]
    for nimg in (10_000, 10_100, 10_200):
        checkpoint.write(tmp_path, state(nimg), keep=1)
    assert names(tmp_path) == ["00000010200"]


def test_a_moment_saved_twice_is_never_without_a_complete_checkpoint(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, state(700), keep=1)
    assert checkpoint.write(tmp_path, state(700, finished=True), keep=1).name == "00000000700-01"
    assert names(tmp_path) == ["00000000700-01"]
    loaded, _ = checkpoint.latest(tmp_path)
    assert loaded is not None
    assert loaded.progress.finished


# --- damage -----------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    data = (path / "tensors.safetensors").read_bytes()
    (path / "tensors.safetensors").write_bytes(data[: len(data) // 2])


def flip(name: str, where: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray((path / name).read_bytes())
        data[int(len(data) * where)] ^= 1
        (path / name).write_bytes(bytes(data))

    return damage


def change_a_number(path: Path) -> None:
    """Still valid JSON, and nothing that the tensors' checksum covers."""
    file = path / "state.json"
    body = json.loads(file.read_text())
    body["progress"]["nimg"] += 8
    file.write_text(json.dumps(body))


def delete_all(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def zero(path: Path) -> None:
    file = path / "tensors.safetensors"
    file.write_bytes(bytes(file.stat().st_size))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, "bytes instead of"),
    "bit flipped in the header": (flip("tensors.safetensors", 0.001), "checksum"),
    "bit flipped in the middle": (flip("tensors.safetensors", 0.5), "checksum"),
    "bit flipped in the last byte": (flip("tensors.safetensors", 0.999999), "checksum"),
    "bit flipped in the state": (flip("state.json", 0.5), ""),
    "number changed in the state": (change_a_number, "state.json does not match its checksum"),
    "tensors deleted": (lambda path: (path / "tensors.safetensors").unlink(), "tensors.safetensors"),
    "state deleted": (lambda path: (path / "state.json").unlink(), "state.json"),
    "state empty": (lambda path: (path / "state.json").write_text(""), ""),
    "state not an object": (lambda path: (path / "state.json").write_text("[1, 2]"), ""),
    "everything deleted": (delete_all, "state.json"),
    "tensors of zeros": (zero, "checksum"),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped at 88 images, with checkpoints at 64 and 88."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    go(small(), run, stop_kimg=0.088)
    assert names(run / "checkpoints") == ["00000000064", "00000000088"]
    return run


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(kind: str, stopped: Path, tmp_path: Path) -> None:
    damage, reason = DAMAGES[kind]
    folder = tmp_path / "checkpoints"
    shutil.copytree(stopped / "checkpoints", folder)
    damage(folder / "00000000088")
    loaded, complaints = checkpoint.latest(folder)
    assert loaded is not None
    assert loaded.progress.nimg == 64
    (complaint,) = complaints
    assert complaint.startswith(f"checkpoint {folder / '00000000088'} is damaged (")
    assert reason in complaint
    assert complaint.endswith("using the one before")


def test_a_run_goes_on_exactly_from_before_the_damage(stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    flip("tensors.safetensors", 0.3)(run / "checkpoints" / "00000000088")
    assert go(small(), run).finished
    assert "00000000088 is damaged (tensors.safetensors does not match its checksum)" in (run / "log.txt").read_text()
    shutil.rmtree(run / "checkpoints" / "00000000088", ignore_errors=True)
    assert_same(outcome(run), uninterrupted("labels"))


def test_any_single_bit_is_noticed(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, state(100, size=8), keep=2)
    rng = random.Random(0)
    for name in ("tensors.safetensors", "state.json"):
        data = (path / name).read_bytes()
        whole, _ = checkpoint.latest(tmp_path)
        assert whole is not None
        for _ in range(150):
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            (path / name).write_bytes(bytes(damaged))
            try:
                loaded, _ = checkpoint.latest(tmp_path)
            except UserError:
                continue
            assert loaded is not None  # white space between the JSON's words: the content is the same
            assert name == "state.json"
            assert loaded.progress == whole.progress
            assert loaded.counters == whole.counters
        (path / name).write_bytes(data)


def test_no_sound_checkpoint_is_an_error_not_a_new_beginning(stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    for path in (run / "checkpoints").iterdir():
        truncate(path)
    stats = (run / "stats.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"no checkpoint is sound: 00000000088 is damaged .*; 00000000064 is damaged"):
        go(small(), run)
    assert (run / "stats.jsonl").read_bytes() == stats


def test_leftovers_of_a_killed_writer_are_removed(stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    leftover = run / "checkpoints" / ".00000000096.tmp"
    leftover.mkdir()
    (leftover / "tensors.safetensors").write_bytes(b"half")
    assert go(small(), run).finished
    assert not list((run / "checkpoints").glob(".*"))
    assert_same(outcome(run), uninterrupted("labels"))


# --- the writer -------------------------------------------------------------------------------------------


def test_writing_happens_beside_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`save` returns while the disk is slow; `wait`, and a second `save`, return when it is done."""
    gate = threading.Event()
    original = checkpoint.write

    def slow(*arguments: object) -> Path:
        assert gate.wait(10)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "write", slow)
    trainer, writer = Trainer(small()), Writer(tmp_path, keep=2)
    writer.save(trainer, Progress(nimg=1000))
    assert not (tmp_path / "00000001000").exists()
    gate.set()
    writer.wait()
    assert (tmp_path / "00000001000" / "state.json").exists()
    writer.save(trainer, Progress(nimg=1000))
    writer.wait()
    assert writer.written == 1  # the same moment is not written twice


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, state(100), keep=1)
    bad = state(200)
    bad.tensors["a"][3] = float("nan")
    with pytest.raises(UserError, match=r"not saved, as 1 tensors are not finite at 0.2 kimg \(a\)"):
        checkpoint.write(tmp_path, bad, keep=1)
    assert names(tmp_path) == ["00000000100"]


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, state(100), keep=1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=500_000))
    with pytest.raises(UserError, match=r"0.5 MB free, a checkpoint needs 1\.\d MB; make room and run the same"):
        checkpoint.write(tmp_path, state(200), keep=1)
    assert names(tmp_path) == ["00000000100"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    import subprocess

    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("room", [0, 30_000, 120_000])
def test_a_full_disk_stops_the_run_and_freeing_it_lets_it_go_on(
    room: int, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes left: none; enough for the small files; enough for those and half a checkpoint."""
    monkeypatch.setattr(checkpoint, "RESERVE", 0 if room else 1 << 20)
    run, ballast = small_disk / "run", small_disk / "ballast"
    go(small(), run, stop_kimg=0.056)
    before = {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}
    free = shutil.disk_usage(small_disk).free
    if room:  # past the check before writing, into the wall
        usage = shutil.disk_usage(small_disk)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**12))
    ballast.write_bytes(bytes(max(free - room, 0)))
    with pytest.raises(UserError, match=r"No space left on device|MB free") as caught:
        go(small(), run)
    assert "run the same command again to go on" in str(caught.value)
    assert str(caught.value).count("last") == 1
    for path, data in before.items():
        if path.exists():  # a newer complete one may have replaced the oldest
            assert path.read_bytes() == data
    loaded, complaints = checkpoint.latest(run / "checkpoints")
    assert loaded is not None
    assert loaded.progress.nimg >= 56
    assert not complaints
    ballast.unlink()
    monkeypatch.undo()
    assert go(small(), run).finished
    assert_same(outcome(run), uninterrupted("labels"))
