"""A run folder: what it holds, when it is refused, and what the log says."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock
from PIL import Image

import stylegan
from stylegan.cli import cli
from stylegan.data.dataset import Dataset
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.training import rates
from stylegan.training.eta import Eta, human_time
from stylegan.training.report import Report, averages
from stylegan.training.run import RunFolder, stored_config
from stylegan.training.step import STATISTICS
from stylegan.video import write_video
from tests.training.small import go, pictures, read_stats, small


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with classes and a snapshot every second report."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert go(small(training={"snapshot_ticks": 2}), run).finished
    return run


# --- contents ---------------------------------------------------------------------------------------------


def test_files(finished: Path) -> None:
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    fixed = {name for name in names if not name.startswith("tensorboard/")} - {".lock"}
    assert fixed == {
        "config.json", "log.txt", "stats.jsonl", "model.safetensors", "reals.png", "timelapse.mp4",
        "checkpoints/00000000096/state.json", "checkpoints/00000000096/tensors.safetensors",
        "checkpoints/00000000120/state.json", "checkpoints/00000000120/tensors.safetensors",
        "snapshots/network-000000kimg.safetensors",
        *(f"grids/fakes-{n:09d}.png" for n in (0, 32, 64, 96, 120)),
    }  # fmt: skip
    assert not list(finished.rglob("*.tmp"))


def test_grids_have_the_full_size_from_the_start(finished: Path) -> None:
    small_side = None
    for path in [*sorted((finished / "grids").iterdir()), finished / "reals.png"]:
        with Image.open(path) as image:
            small_side = small_side or image.size
            assert image.size == small_side == (32, 32)
            assert image.mode == "L"


def test_stats(finished: Path) -> None:
    entries = read_stats(finished)
    assert [entry["tick"] for entry in entries] == [1, 2, 3, 4]
    assert [entry["nimg"] for entry in entries] == [32, 64, 96, 120]
    assert [entry["schedule"]["resolution"] for entry in entries] == [4, 8, 16, 16]
    for entry in entries:
        assert set(entry) >= {"tick", "nimg", "kimg", "loss", "schedule", "time"}
        assert set(entry["loss"]) >= {"loss_d", "loss_g", "score_real", "score_fake", "sign_real", "penalty"}
        assert all(np.isfinite(value) for value in entry["loss"].values())
        assert -1 <= entry["loss"]["sign_real"] <= 1
        assert entry["time"]["images_per_second"] > 0
    seconds = [entry["time"]["seconds"] for entry in entries]
    assert seconds == sorted(seconds)
    assert entries[-1]["time"]["seconds_left"] == 0


def test_tensorboard(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    entries = read_stats(finished)
    for name in ("loss_d", "loss_g", "penalty", "sign_real"):
        scalars = events.Scalars(f"loss/{name}")
        assert [scalar.step for scalar in scalars] == [entry["nimg"] for entry in entries]
        np.testing.assert_allclose([s.value for s in scalars], [e["loss"][name] for e in entries], rtol=1e-5)
    assert [scalar.value for scalar in events.Scalars("schedule/resolution")] == [4, 8, 16, 16]
    assert [image.step for image in events.Images("fakes")] == [32, 64, 96, 120]
    assert len(events.Images("reals")) == 1


def test_tensorboard_of_a_resumed_run_has_no_step_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small(training={"checkpoint_ticks": 3})
    original = Report.tick

    def crash(self: Report, entry: dict[str, Any], grid: Any) -> None:
        original(self, entry, grid)
        if entry["tick"] == 2:
            self.close()
            raise RuntimeError("crash")

    monkeypatch.setattr(Report, "tick", crash)
    with pytest.raises(RuntimeError, match="crash"):
        go(config, tmp_path)
    monkeypatch.undo()
    time.sleep(1.1)  # event files are read in the order of the second in their names
    assert go(config, tmp_path).finished
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [scalar.step for scalar in events.Scalars("loss/loss_g")] == [32, 64, 96, 120]


def test_models_and_snapshots_open(finished: Path) -> None:
    for path in (finished / "model.safetensors", *(finished / "snapshots").iterdir()):
        snapshot = stylegan.load(path)
        images = snapshot.generator(torch.randn(2, 8), torch.eye(3)[:2])
        assert images.shape[:2] == (2, 1)
    assert stylegan.load(finished / "model.safetensors").training["kimg"] == 0.12


def test_timelapse_has_every_grid(finished: Path) -> None:
    import av

    with av.open(str(finished / "timelapse.mp4")) as film:
        frames = sum(1 for _ in film.decode(video=0))
    assert frames >= 5


def test_timelapse_of_some_tiles(finished: Path, tmp_path: Path) -> None:
    """As `stylegan runs RUN --timelapse FILE --tiles 1x2` makes it."""
    runner = CliRunner()
    out = tmp_path / "grown.webp"
    result = runner.invoke(cli, ["runs", str(finished), "--timelapse", str(out), "--tiles", "1x2", "--seconds", "1"])
    assert result.exit_code == 0, result.output
    with Image.open(out) as clip, Image.open(next((finished / "grids").glob("*.png"))) as grid:
        assert clip.width / clip.height == grid.width / 2 / grid.height
        assert clip.n_frames > 1
    for tiles, words in (("9x1", "have 2x2"), ("x", "write columns x rows")):
        result = runner.invoke(cli, ["runs", str(finished), "--timelapse", str(out), "--tiles", tiles])
        assert words in str(result.exception)
    result = runner.invoke(cli, ["runs", str(tmp_path), "--timelapse", str(out)])
    assert "no run with at least two previews" in str(result.exception)


def test_timelapse_of_a_killed_writer_is_no_half_film(tmp_path: Path) -> None:
    def frames() -> Any:
        yield np.zeros((32, 32, 3), np.uint8)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_video(tmp_path / "timelapse.mp4", frames(), fps=2)
    assert not (tmp_path / "timelapse.mp4").exists()


def test_the_log_reads_like_a_story(finished: Path) -> None:
    log = (finished / "log.txt").read_text()
    assert "16x16, 20 images, 3 classes, 0.12 kimg, fp32 on 1 x cpu, operators: fast" in log
    assert re.search(r"0\.1 kimg  training 8x8, phase 3 of 5  \d+ img/s  [\d.]+ s/kimg", log)
    assert "training 16x16, phase 5 of 5" in log
    assert "finished: 0.1 kimg in" in log


# --- again ------------------------------------------------------------------------------------------------


def test_a_finished_run_says_so_and_is_left_alone(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "log.txt"}
    result = go(small(training={"snapshot_ticks": 2}), finished, quiet=False)
    assert (result.finished, result.kimg, result.stopped) == (True, 0.12, "")
    assert "finished at 0.1 kimg; nothing left to do" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"loss": {"r1_gamma": 3.0}}, ["loss.r1_gamma was 10.0 and is now 3.0"]),
        (
            {"training": {"seed": 6}, "schedule": {"lr": 0.5}},
            ["schedule.lr was 0.002 and is now 0.5", "training.seed was 5 and is now 6"],
        ),
        ({"schedule": {"batch_by_resolution": {8: 8}}}, ["schedule.batch_by_resolution was {} and is now {'8': 8}"]),
        ({"generator": {"fmap_max": 6}}, ["generator.fmap_max was 8 and is now 6"]),
        ({"labels": 0}, ["discriminator.labels was 3 and is now 0", "generator.labels was 3 and is now 0"]),
        ({"schedule": {"total_kimg": 0.2}}, ["schedule.total_kimg was 0.12", "--extend allows a longer total_kimg"]),
    ],
)
def test_another_configuration_is_refused(changes: dict[str, Any], fields: list[str], finished: Path) -> None:
    with pytest.raises(UserError, match="holds a run with another configuration") as caught:
        go(small(**changes), finished)
    for text in fields:
        assert text in str(caught.value)
    assert stored_config(finished) is not None


def test_other_images_are_refused(finished: Path) -> None:
    rng = np.random.default_rng(9)
    others = Dataset.from_arrays(rng.integers(0, 255, (20, 1, 16, 16), dtype=np.uint8), np.arange(20) % 3)
    with pytest.raises(UserError, match=r"data\.fingerprint was '\w+.*' and is now '\w+"):
        go(small(), finished, dataset=others)


def test_extending_does_not_shorten(finished: Path) -> None:
    with pytest.raises(UserError, match=r"schedule\.total_kimg was 0\.12 and is now 0\.05"):
        go(small(schedule={"total_kimg": 0.05}), finished, extend=True)


def test_housekeeping_may_change(tmp_path: Path) -> None:
    go(small(), tmp_path, stop_kimg=0.016)
    kept = {"keep_checkpoints": 5, "keep_every_kimg": 0.05, "checkpoint_ticks": 1, "snapshot_ticks": 3}
    assert go(small(training=kept), tmp_path).finished
    stored = stored_config(tmp_path)
    assert stored is not None
    assert stored.training.keep_checkpoints == 5


@pytest.mark.parametrize(
    ("changes", "data", "message"),
    [
        ({"labels": 5}, None, r"generator\.labels 5: the data set has 3 classes"),
        ({"channels": 3}, pictures(1), r"generator\.channels 3: the data set has 1 channels"),
        ({"generator": {"resolution": 32}, "discriminator": {"resolution": 32}}, None, "data set has the sizes"),
    ],
)
def test_networks_that_do_not_fit_the_data(changes: Any, data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        go(small(**changes), tmp_path / "run", dataset=data or pictures())
    assert not (tmp_path / "run").exists()


def test_a_schedule_that_never_grows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would never grow; set schedule\.grow false"):
        go(small(schedule={"stable_kimg": 0, "fade_kimg": 0}), tmp_path)


# --- lock -------------------------------------------------------------------------------------------------


def test_a_run_in_use_is_refused(finished: Path) -> None:
    lock = FileLock(str(finished / ".lock"))
    with lock, pytest.raises(UserError, match="another process is training in this folder; wait for it, stop it"):
        go(small(training={"snapshot_ticks": 2}), finished)
    assert go(small(training={"snapshot_ticks": 2}), finished).finished


def test_the_lock_goes_with_its_process_however_it_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom stylegan.training.run import RunFolder\n"
        f"folder = RunFolder({str(tmp_path)!r})\nprint('held', flush=True)\nsys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another process is training"):
        RunFolder(tmp_path)
    holder.kill()
    holder.wait()
    RunFolder(tmp_path).release()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        go(small(), tmp_path / "file" / "run")


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"preset": ')
    with pytest.raises(UserError, match=r"config\.json: not a configuration of this version"):
        go(small(), tmp_path)


# --- numbers ----------------------------------------------------------------------------------------------


def test_averages() -> None:
    row = dict.fromkeys(STATISTICS, 0.0) | {"steps": 4, "loss_d": 8.0, "penalty": 6.0, "penalty_steps": 2}
    means = averages(torch.tensor([row[name] for name in STATISTICS]))
    assert (means["loss_d"], means["penalty"]) == (2.0, 3.0)
    assert averages(torch.zeros(len(STATISTICS)))["penalty"] == 0.0


def test_a_log_cut_short_by_a_power_failure_gets_no_zeros(tmp_path: Path) -> None:
    (tmp_path / "stats.jsonl").write_text(json.dumps({"tick": 1}) + "\n")
    Report(tmp_path, True, 100, 5000, 0, True).close()
    assert read_stats(tmp_path) == [{"tick": 1}]


def test_the_first_steps_of_a_size_count_until_there_are_others() -> None:
    """Kernels are compiled and graphs recorded in them: a hundred times the usual time says nothing of what is left."""
    eta = Eta(small())
    eta.record(0, 1.0, starting=True)
    assert eta.measured[0] == 1.0
    assert eta.typical == {}
    eta.record(0, 0.01)
    assert eta.measured[0] == eta.typical[0] == 0.01
    eta.record(0, 1.0, starting=True)  # recorded anew in a fade
    assert eta.measured[0] == 0.01
    eta.record(0, 0.03)
    assert eta.measured[0] == pytest.approx(0.02)


def test_remaining_time_knows_that_later_phases_are_slower() -> None:
    config = small(schedule={"total_kimg": 100, "stable_kimg": 10, "fade_kimg": 10})
    eta = Eta(config)
    assert eta.remaining(0) is None
    eta.record(0, 0.001)  # 4x4 for 10 kimg, 8x8 to 30, 16x16 to 100
    before = eta.remaining(0)
    assert before is not None
    assert before > 0.001 * 100_000
    eta.record(1, 0.002)
    eta.record(2, 0.004)
    assert eta.remaining(0) == pytest.approx(10 + 40 + 280, rel=1e-3)
    assert eta.remaining(50_000) == pytest.approx(200, rel=1e-3)
    assert eta.remaining(100_000) == 0
    left = [eta.remaining(n) or 0.0 for n in range(0, 100_001, 500)]
    assert all(a > b for a, b in itertools.pairwise(left))


def test_remaining_time_from_earlier_trainings() -> None:
    config = small(schedule={"total_kimg": 100, "stable_kimg": 10, "fade_kimg": 10})
    eta = Eta(config, {0: 0.001, 1: 0.002, 2: 0.004})
    assert eta.remaining(0) == pytest.approx(10 + 40 + 280, rel=1e-3)
    eta.record(0, 0.003)  # the machine is three times slower today
    assert eta.remaining(0) == pytest.approx(3 * (10 + 40 + 280), rel=1e-3)
    eta.record(1, 0.002)  # a measured level counts as measured; the others by the median
    assert eta.remaining(0) == pytest.approx(30 + 40 + 2 * 280, rel=1e-3)


def test_rates_are_kept_for_trainings_of_the_same_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cache" / "rates.json"
    monkeypatch.setenv("STYLEGAN_RATES", str(file))
    config, one = small(), Processes()
    assert rates.recall(config, one) == {}
    rates.remember(config, one, {0: 0.5, 1: 1.0})
    rates.remember(config, one, {1: 2.0})
    assert rates.recall(config, one) == {0: 1.0, 1: 2.0}, "a machine with twice the load now is so at every level"
    longer = small(schedule={"total_kimg": 1000.0})
    assert rates.recall(longer, one) == {0: 1.0, 1: 2.0}, "the length changes no rate"
    for other in ({"generator": {"fmap_max": 3}}, {"training": {"precision": "bf16"}}, {"loss": {"kind": "hinge"}}):
        assert rates.recall(small(**other), one) == {}
    for i in range(rates.KEEP + 5):
        rates.remember(small(generator={"fmap_base": 100 + i}), one, {0: 1.0})
    assert len(json.loads(file.read_text())) == rates.KEEP
    for broken in ("", "[]", "{", json.dumps({rates.kind_of(config, one): {"seconds": {"0": "x"}}})):
        file.write_text(broken)
        assert rates.recall(config, one) == {}
    monkeypatch.setenv("STYLEGAN_RATES", "/proc/none/rates.json")
    rates.remember(config, one, {0: 1.0})  # no place to write to is no reason to fail


def test_remaining_time_of_a_real_run_ends_at_nothing(tmp_path: Path) -> None:
    go(small(schedule={"grow": False}, training={"seed": 5}), tmp_path)
    left = [entry["time"]["seconds_left"] for entry in read_stats(tmp_path)]
    assert len(left) > 2
    assert all(0 < seconds < 60 for seconds in left[:-1])  # how it falls depends on what else the machine does
    assert left[-1] == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (41.2, "41 s"), (720, "12 min"), (11_100, "3 h 05 min"), (187_300, "2 d 4 h"), (99.9, "100 s")],
)
def test_human_time(seconds: float | None, text: str) -> None:
    assert human_time(seconds) == text


def test_a_finished_run_does_without_its_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Where clips cannot be encoded, the training has ended well all the same, and says what is missing."""
    from stylegan.training import preview

    def broken(*arguments: Any, **options: Any) -> None:
        raise UserError("mp4 needs the package av")

    monkeypatch.setattr(preview, "write_video", broken)
    assert go(small(), tmp_path / "run", quiet=False).finished
    told = capsys.readouterr()
    assert "No time-lapse: mp4 needs the package av" in " ".join((told.out + told.err).split())
    assert go(small(), tmp_path / "run").finished
