"""Configurations: JSON round trip, unknown and impossible values, presets."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from stylegan.cli.configuring import _facts
from stylegan.config import Config, DiscriminatorConfig, GeneratorConfig, ScheduleConfig
from stylegan.config.auto import Facts, choose
from stylegan.config.overrides import parse_overrides
from stylegan.config.presets import PRESETS, complete, preset
from stylegan.errors import UserError
from tests.training.small import pictures


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    config = preset(name, (384, 512), channels=4, labels=3)
    again = Config.model_validate_json(json.dumps(json.loads(config.model_dump_json())))
    assert again == config
    assert (again.preset, again.generator.resolution, again.generator.labels) == (name, (384, 512), 3)


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().preset = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "data", [{"genrator": {}}, {"generator": {"z_dims": 4}}, {"loss": {"gamma": 1}}, {"training": {"sed": 1}}]
)
def test_unknown_fields_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Config.model_validate(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"generator": {"resolution": 64}, "discriminator": {"resolution": 32}}, "resolution .* differ"),
        ({"generator": {"channels": 1}}, "generator.channels 1 and discriminator.channels 3 differ"),
        (
            {"generator": {"labels": 4}, "discriminator": {"labels": 5}},
            "discriminator.labels 5: must be 0 or .* 4",
        ),
        ({"schedule": {"initial_resolution": 2048}}, "initial_resolution 2048: the networks end at 1024"),
        ({"schedule": {"initial_resolution": 12}}, "initial_resolution 12: must be a power of two"),
        ({"schedule": {"batch_by_resolution": {"8": 0}}}, "batch 0 at 8"),
        ({"schedule": {"total_kimg": "nan"}}, "finite number"),
        ({"loss": {"kind": "relativistic"}, "augment": {"policy": "bgc"}}, "augment.target 0.6: p follows the signs"),
        ({"loss": {"kind": "lsgan"}}, "'logistic', 'wgan-gp', 'hinge' or 'relativistic'"),
        ({"loss": {"mixing": 1.5}}, "less than or equal to 1"),
    ],
)
def test_impossible_values_are_named(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Config.model_validate(data)


@pytest.mark.parametrize(
    ("resolution", "words"), [(100, None), (33, "image size 33x33"), ((64, 31), "31x64")]
)
def test_resolutions(resolution: Any, words: str | None) -> None:
    if words is None:
        assert DiscriminatorConfig(resolution=resolution).base == (25, 25)
        return
    with pytest.raises(ValidationError, match=words):
        DiscriminatorConfig(resolution=resolution)


def test_base_must_fit() -> None:
    assert GeneratorConfig(resolution=64, base=(8, 8)).top == 3
    with pytest.raises(ValidationError, match="64x64 is not base 5x5 times a power of two"):
        GeneratorConfig(resolution=64, base=(5, 5))


def test_without_mapping_layers_w_is_the_input() -> None:
    with pytest.raises(ValidationError, match="w_dim must be 512"):
        GeneratorConfig(mapping_layers=0, w_dim=64)
    assert GeneratorConfig(mapping_layers=0, labels=3, label_input="concat", w_dim=515).mapping_inputs == 515


def test_channels_by_stage() -> None:
    """nf(stage) = min(8192 / 2^stage, 512): 512 up to 32x32, then 256, 128, 64, 32, 16."""
    config = GeneratorConfig()
    assert [config.fmaps(stage) for stage in range(1, 10)] == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert [config.size(level)[0] for level in (0, 3, 8)] == [4, 32, 1024]


def test_defaults_are_the_paper() -> None:
    config, schedule = Config(), ScheduleConfig()
    assert (config.loss.kind, config.loss.r1_gamma, config.loss.mixing) == ("logistic", 10.0, 0.9)
    assert (config.training.adam_betas, config.training.adam_eps) == ((0.0, 0.99), 1e-8)
    assert (schedule.total_kimg, schedule.stable_kimg, schedule.fade_kimg) == (25000, 600, 600)
    assert config.generator.w_avg_beta == 0.995
    assert config.training.ema_kimg == 10.0
    assert not config.data.mirror
    assert preset("ffhq1024").data.mirror


def test_one_gpu_batches() -> None:
    schedule = preset("ffhq1024-1gpu").schedule
    assert [schedule.batch_by_resolution.get(2**r, schedule.batch) for r in range(2, 11)] == [
        128, 128, 128, 64, 32, 16, 8, 4, 4
    ]  # fmt: skip


@pytest.mark.parametrize(("word", "meant"), [("on", "on"), ("off", "off"), ("auto", "auto")])
def test_graphs_on_and_off_as_typed(word: str, meant: str) -> None:
    """The command line reads the words `on` and `off` as true and false."""
    assert preset("tiny", 16, changes=parse_overrides(["--training.graphs", word])).training.graphs == meant


def test_changes_are_merged_field_by_field() -> None:
    config = preset(
        "table1-c", 64, changes={"loss": {"r1_gamma": 3.0}, "schedule": {"batch_by_resolution": {8: 2}}}
    )
    assert (config.loss.r1_gamma, config.loss.mixing) == (3.0, 0.0)
    assert config.schedule.batch_by_resolution == {8: 2}


def test_unknown_presets_name_the_nearest() -> None:
    with pytest.raises(UserError, match=r"preset 'ffhq': unknown; did you mean ffhq1024"):
        preset("ffhq")


SMALL: dict[str, Any] = {"images": 7_440, "height": 128, "width": 128, "channels": 3, "classes": 0, "device": "cuda"}


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_auto_pairs_small_data(device: str) -> None:
    diff, choices = choose(Facts(**{**SMALL, "device": device}))
    assert diff["loss"] == {"kind": "relativistic", "r1_gamma": 1.1, "r2_gamma": 1.1}
    assert complete(diff, "auto", 128, 3, 0).schedule.grow is False
    assert {"loss", "growing"} <= {choice.setting for choice in choices}
    assert choose(Facts(**SMALL), r1_gamma=2.0)[0]["loss"]["r2_gamma"] == 2.0


@pytest.mark.parametrize("fact", [{"images": 50_000}, {"height": 512, "width": 512}, {"unpaired": True}])
def test_auto_is_as_published_for_everything_else(fact: dict[str, Any]) -> None:
    diff, _ = choose(Facts(**{**SMALL, **fact}))
    complete(diff, "auto", fact.get("height", 128), 3, 0)
    assert diff["loss"].keys() == {"r1_gamma"}
    assert "grow" not in diff["schedule"]


@pytest.mark.parametrize(
    ("changes", "unpaired"),
    [
        ({}, False),
        ({"loss": {"kind": "relativistic"}}, False),
        ({"loss": {"kind": "logistic"}}, True),
        ({"augment": {"policy": ("bgc",)}}, True),  # adapts, by the signs of D's scores
        ({"augment": {"policy": ("bgc",), "target": None}}, False),
    ],
)
def test_what_is_set_decides_whether_auto_may_pair(changes: dict[str, Any], unpaired: bool) -> None:
    assert _facts(pictures(), 16, 16, 0, torch.device("cpu"), changes).unpaired is unpaired
