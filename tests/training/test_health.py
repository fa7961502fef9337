"""What goes wrong in a training is recognised, said once in plain words, and healthy runs stay silent.

Real trainings of tiny networks on scikit-learn's digits at 8x8 (a few hundred steps each).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from stylegan.config import Config
from stylegan.config.presets import Diff, merge, preset
from stylegan.data.dataset import Dataset
from stylegan.training import checkpoint, train
from stylegan.training.health.judgement import judge
from stylegan.training.health.words import began
from stylegan.training.step import STATISTICS, Trainer
from tests.training.small import go, pictures, read_stats, small

BASE: Diff = {
    "generator": {"fmap_base": 128, "fmap_max": 16, "z_dim": 16, "w_dim": 16, "mapping_width": 16, "mapping_layers": 2},
    "discriminator": {"fmap_base": 128, "fmap_max": 16},
    "data": {"holdout": 90},
    "schedule": {
        "total_kimg": 4.0, "grow": False, "tick_kimg": 0.4, "batch": 16, "batch_by_resolution": {}, "lr": 0.003,
        "repeats": 1,
    },
    "loss": {"r1_gamma": 1.0},
    "training": {"ema_kimg": 0.25, "checkpoint_ticks": 1000, "snapshot_ticks": 1000, "grid": [2, 2]},
}  # fmt: skip


@cache
def digits(count: int = 1797, classes: bool = False) -> Dataset:
    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)[:count, None]  # n 1 8 8
    return Dataset.from_arrays(images, found.target[:count] if classes else None)


def config(dataset: Dataset, **changes: Any) -> Config:
    diff = BASE
    for section, values in changes.items():
        diff = merge(diff, {section: values})
    return preset("tiny", 8, 1, dataset.num_classes, diff)


def codes(entry: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in entry["health"]["findings"]}


def found(run: Path) -> set[str]:
    """All codes of a run; each was said when it began, and only then."""
    entries, log = read_stats(run), (run / "log.txt").read_text()
    seen: set[str] = set()
    before: set[str] = set()
    begun = {code: 0 for entry in entries for code in codes(entry)}
    for entry in entries:
        for code in codes(entry) - before:
            begun[code] += 1
        seen, before = seen | codes(entry), codes(entry)
    for code, times in begun.items():
        assert log.count(f"health: {code}: ") == times
        assert f"docs/is-it-working.md#{code})" in log
    return seen


def ail(run: Path, dataset: Dataset, **changes: Any) -> set[str]:
    assert train(config(dataset, **changes), run, "cpu", dataset, quiet=True).finished
    return found(run)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [False, True])
def test_a_healthy_run_is_silent(classes: bool, tmp_path: Path) -> None:
    assert ail(tmp_path, digits(classes=classes)) == set()
    assert "health:" not in (tmp_path / "log.txt").read_text()
    first, last = read_stats(tmp_path)[0]["health"], read_stats(tmp_path)[-1]["health"]
    assert last["distance"] < 0.5 * first["distance"]
    assert 0.5 < last["diversity"] < 1.6
    assert abs(last["overfit"]) < 0.3
    assert ("diversity_within" in last) == classes


def test_learning_rate_times_100_diverges(tmp_path: Path) -> None:
    assert "divergence" in ail(tmp_path, digits(), schedule={"lr": 0.3, "total_kimg": 0.8})
    assert "the updates are too large" in (tmp_path / "log.txt").read_text()


def test_no_penalty_moves_away_from_the_data(tmp_path: Path) -> None:
    assert "divergence" in ail(tmp_path, digits(), loss={"r1_gamma": 0.0}, schedule={"lr": 0.01})
    assert "move away from the data" in (tmp_path / "log.txt").read_text()


@pytest.mark.slow
def test_a_frozen_generator_makes_no_progress(tmp_path: Path) -> None:
    """G's learning rate is 0 but for rounding, D's is as usual."""
    schedule = {"lr": 1e-9, "d_lr_scale": 3e6, "batch": 4, "total_kimg": 1.75, "tick_kimg": 0.15}
    assert ail(tmp_path, digits(), schedule=schedule) == {"no-progress"}
    assert "do not come nearer. Look whether the previews change" in (tmp_path / "log.txt").read_text()


def test_too_strong_a_penalty_silences_d(tmp_path: Path) -> None:
    assert "vanishing" in ail(tmp_path, digits(), loss={"r1_gamma": 1000.0}, schedule={"total_kimg": 4.8})


def test_two_images_again_and_again_are_a_collapse(tmp_path: Path) -> None:
    """A normalised z of one number is 1 or -1."""
    networks = {"generator": {"z_dim": 1, "noise": False}, "discriminator": {"mbstd_group": 0}}
    assert "collapse" in ail(tmp_path, digits(), schedule={"total_kimg": 3.2}, **networks)


@pytest.mark.slow
def test_twenty_images_are_learned_by_heart(tmp_path: Path) -> None:
    """Twenty others are held out."""
    changes: Diff = {"discriminator": {"fmap_base": 512, "fmap_max": 64}, "loss": {"r1_gamma": 0.05}}
    schedule = {"d_lr_scale": 2.0, "total_kimg": 4.8}
    assert "overfitting" in ail(tmp_path, digits(40), data={"holdout": 20}, schedule=schedule, **changes)
    assert "held-out images" in (tmp_path / "log.txt").read_text()


# --- the judgement alone ----------------------------------------------------------------------------------

WELL = {"distance": 0.05, "diversity": 0.9, "twins": 0.0, "gap": 1.5, "grad_g": 3.0, "overfit": 0.05,
        "overfit_error": 0.05, "sign_real": 0.6, "sign_fake": -0.6, "passes": 50.0}  # fmt: skip


def told(*measures: dict[str, float], holdout: int = 0, **loss: float) -> list[set[str]]:
    """The codes at each of a series of reports, of 100 steps each; what is not named is well."""
    history: list[dict[str, Any]] = []
    told = []
    for i, some in enumerate(measures):
        schedule = {"batch": 10, "resolution": some.get("resolution", 32), "lod": some.get("lod", 0.0)}
        health = {**WELL, **some, "findings": []}
        entry = {"nimg": 1000 * (i + 1), "schedule": schedule, "loss": {"loss_d": 1.0, **loss}, "health": health}
        history.append(entry)
        findings = judge(history, small(data={"holdout": holdout}))
        entry["health"]["findings"] = [finding.as_json() for finding in findings]
        assert all(began(finding).startswith(f"health: {finding.code}: ") for finding in findings)
        told.append({finding.code for finding in findings})
    return told


def test_three_reports_after_the_first_hundred_steps_begin_a_finding_and_a_better_one_ends_it() -> None:
    series = [0.1, 0.1, 0.1, 0.1, 0.5, 0.5, 0.6, 0.1, 0.1, 0.9, 0.1]
    found = told(*({"diversity": value} for value in series))
    assert [bool(codes) for codes in found] == [False] * 3 + [True] * 3 + [False] * 5
    assert found[3] == {"collapse"}


def test_classes_that_collapse_one_by_one() -> None:
    assert told(*[{"diversity_within": 0.1}] * 4)[-1] == {"collapse"}


def test_overfitting_without_held_out_images_needs_certainty_and_many_passes() -> None:
    certain = {"sign_real": 0.99, "sign_fake": -0.99}
    assert told(*[certain] * 4)[-1] == {"overfitting"}
    assert told(*[certain | {"passes": 5.0}] * 4)[-1] == set()
    assert told(*[{"sign_real": 0.99}] * 4)[-1] == set()
    assert told(*[certain] * 4, holdout=8)[-1] == set()  # measured there


def test_overfitting_must_exceed_its_error() -> None:
    assert told(*[{"overfit": 0.5, "overfit_error": 0.1}] * 4, holdout=8)[-1] == {"overfitting"}
    assert told(*[{"overfit": 0.5, "overfit_error": 0.2}] * 4, holdout=8)[-1] == set()


def test_alike_scores_of_images_like_the_data_are_success() -> None:
    assert told(*[{"gap": 0.05}] * 4)[-1] == set()
    assert told(*[{"gap": 0.05, "distance": 0.2}] * 4)[-1] == {"vanishing"}


def test_a_distance_that_falls_is_progress() -> None:
    assert told(*[{"distance": 0.9}] * 7)[-1] == {"no-progress"}
    assert told(*({"distance": 2.0 * 0.9**i} for i in range(7)))[-1] == set()


def test_a_level_that_has_just_begun_may_be_worse() -> None:
    low = [{"distance": 0.05, "resolution": 16}] * 4
    assert told(*low, *({"distance": 1.5 * 0.7**i} for i in range(8)))[4:] == [set()] * 8
    fading = [(0.92, 0.22), (0.41, 1.61), (0.0, 1.48), (0.0, 0.56), (0.0, 0.42)]  # measured: blood cells at 32x32
    assert told(*low, *({"lod": lod, "distance": distance} for lod, distance in fading))[4:] == [set()] * 5
    assert told(*low, *[{"distance": 0.4, "resolution": 16}] * 3)[-1] == {"divergence"}


def test_a_good_run_that_turns_is_told_before_it_is_back_at_the_start() -> None:
    """Measured: blood cells at 64x64 with too small a gamma, and fruit at 128x128, which went well."""
    turned = [0.147, 0.105, 0.135, 0.097, 0.058, 0.041, 0.037, 0.046, 0.133, 0.189, 0.242, 0.212, 0.195, 0.25]
    found = told(*({"distance": value} for value in turned))
    assert found == [set()] * 10 + [{"divergence"}] * 4
    well = [0.109, 0.0162, 0.0173, 0.0191, 0.0162, 0.0112, 0.0071, 0.0076, 0.0092, 0.0048, 0.0081, 0.0062]
    assert told(*({"distance": value} for value in well))[-1] == set()
    assert told(*({"distance": value} for value in [*turned[:12], 0.07, 0.06]))[-2:] == [set()] * 2


def test_missing_measures_and_reports_of_older_versions_say_nothing() -> None:
    """A report without measures (memory ran out, or an older version wrote it) does not count."""
    assert told(*[{"diversity": 0.1}] * 2, {"diversity": 0.1, "twins": float("nan")})[-1] == set()
    old = {"nimg": 1000, "schedule": {"batch": 10, "resolution": 32}, "loss": {"loss_d": 1.0}}
    assert judge([old] * 9, small()) == []
    assert judge([], small()) == []


# --- exactness, where it acts, where it is kept -----------------------------------------------------------


def without_time(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def test_a_stop_changes_neither_measures_nor_findings(tmp_path: Path) -> None:
    """The finding begins before the stop: afterwards it is neither lost nor said again."""
    data = digits()
    ill = config(data, schedule={"lr": 0.3, "total_kimg": 0.8, "tick_kimg": 0.2})
    assert train(ill, tmp_path / "whole", "cpu", data, quiet=True).finished
    train(ill, tmp_path / "stopped", "cpu", data, stop_kimg=0.496, quiet=True)  # inside a report's span
    assert train(ill, tmp_path / "stopped", "cpu", data, quiet=True).finished
    whole, stopped = read_stats(tmp_path / "whole"), read_stats(tmp_path / "stopped")
    assert without_time(whole) == without_time(stopped)
    assert [codes(entry) for entry in stopped] == [{"divergence"}] * 4
    assert whole[-1]["health"]["findings"][0]["since"] == whole[0]["kimg"]
    assert (tmp_path / "stopped" / "log.txt").read_text().count("health: divergence: ") == 1
    assert "health/text_summary" in board(tmp_path / "whole")


def test_looking_does_not_change_the_training(tmp_path: Path) -> None:
    """Bit-equal weights with and without, through growing and fades, with labels; off and on in one run."""
    assert go(small(), tmp_path / "on").finished
    off = small(training={"health": False})
    go(off, tmp_path / "off", stop_kimg=0.056)
    assert all("health" not in entry for entry in read_stats(tmp_path / "off"))
    assert go(small(), tmp_path / "off").finished
    a, b = (checkpoint.latest(tmp_path / name / "checkpoints")[0] for name in ("on", "off"))
    assert a is not None
    assert b is not None
    assert all(tensor.equal(b.tensors[name]) for name, tensor in a.tensors.items())
    on, mixed = read_stats(tmp_path / "on"), read_stats(tmp_path / "off")
    assert [entry["loss"] for entry in on] == [entry["loss"] for entry in mixed]
    assert "health" in mixed[-1]
    assert "health:" not in (tmp_path / "on" / "log.txt").read_text()  # a run of 30 steps says nothing


VARIANTS: list[dict[str, Any]] = [
    {"labels": 0},
    {"loss": {"kind": "wgan-gp", "r1_gamma": 0.0}},
    {"loss": {"kind": "relativistic"}, "training": {"precision": "bf16"}},
    {"augment": {"policy": ["flip", "cutout"], "p": 0.5}, "data": {"holdout": 8}},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_measures_of_every_kind_of_training(changes: dict[str, Any], tmp_path: Path) -> None:
    assert go(small(**changes), tmp_path).finished
    entries = read_stats(tmp_path)
    expected = {"sign_real", "sign_fake", "gap", "score_train", "score_fake", "diversity", "distance", "twins",
                "same_pixels", "grad_g", "grad_d", "weight_g", "weight_d", "w_avg", "r1", "passes"}  # fmt: skip
    for entry in entries:
        assert expected <= entry["health"].keys()
        assert entry["health"]["findings"] == []
        assert ("sign_heldout" in entry["health"]) == ("data" in changes)
        assert entry["time"]["health_seconds"] > 0
    tags = board(tmp_path)
    assert {"health/diversity", "health/grad_g", "loss/loss_d"} <= tags
    assert "sign_fake" not in entries[-1]["loss"]


def board(run: Path) -> set[str]:
    """The names of what TensorBoard was told."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    found: dict[str, Any] = events.Tags()
    return {*found["scalars"], *found["tensors"]}


def test_checkpoints_of_before_there_were_gradient_norms() -> None:
    trainer = Trainer(small())
    trainer.statistics += 1
    state = checkpoint.capture(trainer, checkpoint.Progress())
    state.tensors["statistics"] = state.tensors["statistics"][:8]
    trainer.statistics.zero_()
    checkpoint.restore(trainer, state)
    assert trainer.statistics.tolist() == [1.0] * 8 + [0.0] * (len(STATISTICS) - 8)


def test_one_image_per_class_and_a_single_image(tmp_path: Path) -> None:
    """Nothing to compare is no error."""
    for name, count in (("few", 3), ("one", 1)):
        data = pictures(classes=3 if count > 1 else 0, count=count)
        config = small(labels=data.num_classes, schedule={"total_kimg": 0.032})
        assert go(config, tmp_path / name, dataset=data).finished
        assert read_stats(tmp_path / name)[-1]["health"]["findings"] == []
