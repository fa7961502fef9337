"""`train --from`: what is taken, dropped and fresh, by tensor and in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan import UserError, load, save_snapshot
from stylegan.config.presets import Diff, merge, preset
from stylegan.data.dataset import Dataset
from stylegan.networks import Generator
from stylegan.training import train
from stylegan.training.step import Trainer
from stylegan.training.transfer import check_freezing, lineage, read_source, start_from

NETS: Diff = {
    "generator": {"fmap_max": 8, "z_dim": 8, "w_dim": 8, "mapping_width": 8, "mapping_layers": 2},
    "discriminator": {"fmap_max": 8},
}
SHORT: Diff = {"schedule": {"total_kimg": 0.032, "stable_kimg": 0.008, "fade_kimg": 0.008, "batch": 4,
                            "batch_by_resolution": {}, "tick_kimg": 0.016, "repeats": 1}}  # fmt: skip


def config(side: int, channels: int = 1, labels: int = 0, **changes: dict):
    return preset("tiny", side, channels, labels, merge(merge(NETS, SHORT), changes))


def data(side: int, channels: int = 1, classes: int = 0) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, channels, side, side), dtype=np.uint8)
    return Dataset.from_arrays(images, classes=np.arange(16) % classes if classes else None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "run"
    train(config(16), folder, "cpu", data(16), quiet=True)
    return folder


def state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_to_a_higher_resolution_lower_levels_are_taken_and_the_rest_is_fresh(run):
    source, trainer = read_source(run), Trainer(config(32))
    before = state(trainer.G)
    told = start_from(trainer, source)
    for name, tensor in state(trainer.G).items():
        if name in source.raw:
            assert torch.equal(tensor, source.raw[name]), name
        else:
            assert torch.equal(tensor, before[name]), name
    assert told.dropped == []
    assert {"synthesis 32x32", "to_rgb 32x32", "from_rgb 32x32", "discriminator 32x32"} <= set(told.fresh)
    assert {"synthesis 16x16", "mapping layer 0", "mean of w", "discriminator head"} <= set(told.taken)
    assert torch.equal(trainer.G_ema.w_avg, source.averaged["w_avg"])


def test_to_a_lower_resolution_upper_levels_are_dropped(run):
    trainer = Trainer(config(8))
    told = start_from(trainer, read_source(run))
    assert {"synthesis 16x16", "to_rgb 16x16", "discriminator 16x16"} <= set(told.dropped)
    assert told.fresh == []


def test_other_channels_and_classes_start_fresh_by_name(run):
    told = start_from(Trainer(config(16, channels=3, labels=2)), read_source(run))
    assert "label embedding" in told.fresh
    assert "mapping layer 0 (weight)" in told.fresh  # it has another width with labels
    assert "discriminator output" in told.fresh
    assert {"to_rgb 16x16", "from_rgb 8x8 (weight)"} <= set(told.fresh)
    assert "synthesis 16x16" in told.taken


def test_parts_of_which_only_some_fit_are_told_tensor_by_tensor(run):
    told = start_from(Trainer(config(16, labels=2)), read_source(run))
    assert "mapping layer 0 (bias)" in told.taken
    assert {"mapping layer 0 (weight)", "discriminator output"} <= set(told.dropped)
    assert {"mapping layer 0 (weight)", "discriminator output"} <= set(told.fresh)
    assert not set(told.taken) & set(told.dropped + told.fresh)


def test_blocks_that_cannot_be_frozen(run):
    for source, blocks, says in (
        (None, 1, "needs --from MODEL"),
        (read_source(run / "model.safetensors"), 1, "has no discriminator to keep"),
        (read_source(run), 3, "has 2 blocks"),
    ):
        with pytest.raises(UserError, match=says):
            check_freezing(blocks, source, 2)
    check_freezing(2, read_source(run), 2)
    check_freezing(0, None, 2)


def test_nothing_in_common_is_an_error(run):
    wide = preset("tiny", 16, 1, changes={"generator": {"fmap_max": 9}, "discriminator": {"fmap_max": 9}})
    with pytest.raises(UserError, match="none of its layers fits"):
        start_from(Trainer(wide), read_source(run))


def test_a_plain_model_file_has_no_discriminator(run):
    told = start_from(Trainer(config(16)), read_source(run / "model.safetensors"))
    assert "discriminator head" in told.fresh
    assert "synthesis 16x16" in told.taken


def test_bad_sources(tmp_path):
    with pytest.raises(UserError, match="has no run"):
        read_source(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_source(tmp_path / "model.safetensors")


def test_training_starts_from_it_and_the_model_says_so(run, tmp_path):
    out = tmp_path / "run"
    train(config(32, training={"start_from": str(run)}), out, "cpu", data(32), quiet=True)
    (origin,) = lineage(out)
    assert origin["from"] == str(run)
    assert len(origin["sha256"]) == 64
    facts = load(run / "model.safetensors").training
    assert {key: origin[key] for key in ("kimg", "seconds")} == {key: facts[key] for key in ("kimg", "seconds")}
    assert load(out / "model.safetensors").training["lineage"] == [origin]
    assert read_source(out).lineage == [origin]
    second = tmp_path / "second"
    save = tmp_path / "kept.safetensors"
    save_snapshot(save, Generator(config(16).generator), training={"lineage": [{"from": "elsewhere"}]})
    train(config(16, training={"start_from": str(save)}), second, "cpu", data(16), quiet=True)
    assert [entry["from"] for entry in lineage(second)] == ["elsewhere", str(save)]


def test_frozen_blocks_do_not_move(run, tmp_path):
    source = read_source(run)
    out = tmp_path / "run"
    train(config(16, training={"start_from": str(run), "freeze_d": 1}, schedule={"grow": False}), out, "cpu",
          data(16), quiet=True)  # fmt: skip
    after = read_source(out)
    assert source.d is not None
    assert after.d is not None
    frozen = [name for name in source.d if name.startswith(("from_rgb.", "blocks.1."))]
    assert frozen
    for name in frozen:
        assert torch.equal(source.d[name], after.d[name]), name
    assert not torch.equal(source.d["blocks.0.down.weight"], after.d["blocks.0.down.weight"])


def test_frozen_while_growing_are_the_blocks_that_came_along(run, tmp_path):
    """Fresh blocks above them are trained, also after a stop without the source, which ends bit-equal."""
    source = tmp_path / "source"
    shutil.copytree(run, source)
    asked = config(32, training={"start_from": str(source), "freeze_d": 1}, schedule={"initial_resolution": 16})
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    begun = train(asked, parted, "cpu", data(32), stop_kimg=0.016, quiet=True)
    assert not begun.finished
    train(asked, whole, "cpu", data(32), quiet=True)
    before, first = read_source(source), Trainer(asked).D.state_dict()
    shutil.rmtree(source)
    train(asked, parted, "cpu", data(32), quiet=True)
    a, b = read_source(whole), read_source(parted)
    assert lineage(whole)[0]["frozen"] == ["from_rgb.0", "from_rgb.1", "from_rgb.2", "blocks.1"]
    for name, tensor in a.d.items():
        assert torch.equal(tensor, b.d[name]), name
        if name.startswith(("from_rgb.0", "from_rgb.1", "from_rgb.2", "blocks.1")):
            assert torch.equal(tensor, before.d[name]), name
    for name in ("from_rgb.3.weight", "blocks.2.down.weight"):
        assert not torch.equal(a.d[name], first[name]), name
    assert not torch.equal(a.d["blocks.0.down.weight"], before.d["blocks.0.down.weight"])


def test_the_command_line(run, tmp_path):
    from click.testing import CliRunner

    from stylegan.cli import cli
    from stylegan.data.prepare import prepare_arrays

    rng = np.random.default_rng(1)
    prepare_arrays(rng.integers(0, 256, (16, 1, 32, 32), dtype=np.uint8), None, tmp_path / "data")
    words = ["train", tmp_path / "data", "--out", tmp_path / "run", "--from", run, "--kimg", 0.016, "--batch", 4,
             "--freeze-d", 1]  # fmt: skip
    answer = CliRunner().invoke(cli, [str(word) for word in words])
    assert answer.exit_code == 0, answer.output
    assert "starts fresh: stored noise 32x32, synthesis 32x32" in answer.output
    assert "16x16" in answer.output
    assert ("frozen: from_rgb 4x4, from_rgb 8x8, from_rgb 16x16, discriminator 16x16; blocks that start fresh are "
            "trained") in " ".join(answer.output.split())  # fmt: skip
    words[words.index("--freeze-d") + 1] = 3
    words[3] = tmp_path / "other"
    answer = CliRunner().invoke(cli, [str(word) for word in words])
    assert f"--freeze-d 3: 2 of the discriminator's blocks come from {run}" in str(answer.exception)


def test_a_run_goes_on_without_its_source_and_a_failed_first_command_is_no_run(run, tmp_path):
    from click.testing import CliRunner

    from stylegan.cli import cli
    from stylegan.data.prepare import prepare_arrays

    def train_cli(*more):
        words = ["train", tmp_path / "data", "--out", tmp_path / "run", "--kimg", 0.064, "--batch", 4,
                 "--training.checkpoint_ticks", 1, "--from", *more]  # fmt: skip
        return CliRunner().invoke(cli, [str(word) for word in words])

    rng = np.random.default_rng(1)
    prepare_arrays(rng.integers(0, 256, (16, 1, 16, 16), dtype=np.uint8), None, tmp_path / "data")
    source = tmp_path / "source.safetensors"
    source.write_bytes((run / "model.safetensors").read_bytes())
    failed = train_cli(source, "--generator.fmap_max", 9, "--discriminator.fmap_max", 9)
    assert "none of its layers fits" in str(failed.exception)
    assert train_cli(source, "--stop-kimg", 0.016).exit_code == 0
    source.unlink()
    answer = train_cli(source)
    assert answer.exit_code == 0, answer.output
    assert "finished" in answer.output


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("mapping", ["progan", "style without layers"])
def test_networks_without_a_mapping_network(tmp_path, labels, mapping):
    """Their w is the input, so that its width follows from the new data's classes, in preset auto as well."""
    from click.testing import CliRunner

    from stylegan.cli import cli
    from stylegan.data.prepare import prepare_arrays
    from stylegan.importing import read
    from tests.interop import official_files

    kwargs = {"num_channels": 1, "resolution": 16, "label_size": 3, "fmap_base": 32, "fmap_max": 8, "latent_size": 6}
    kind = "progan"
    if mapping != "progan":
        kind, kwargs = "style", kwargs | {"mapping_layers": 0, "dlatent_size": 12}
    (tmp_path / "a.pkl").write_bytes(official_files.dumps(official_files.small(kind, kwargs)))
    made = read(tmp_path / "a.pkl", training=True)
    model = tmp_path / "a.safetensors"
    save_snapshot(model, made.generator, made.discriminator, made.generator_raw, training=made.training)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (16, 1, 16, 16), dtype=np.uint8)
    prepare_arrays(images, np.arange(16) % 4, tmp_path / "data")
    words = ["train", tmp_path / "data", "--out", tmp_path / "run", "--from", model, "--kimg", 0.016, "--batch", 4]
    answer = CliRunner().invoke(cli, [str(word) for word in words] + ["--labels"] * labels)
    assert answer.exit_code == 0, (answer.output, answer.exception)
    assert load(tmp_path / "run" / "model.safetensors").generator.config.labels == 4 * labels


def test_files_of_other_programs_are_named_as_such(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(UserError, match=r"another program.s is converted first: stylegan convert a\.pkl"):
        read_source(tmp_path / "a.pkl")
