"""`stylegan inspect`: every kind of file, as a table and as JSON, without weights being read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import stylegan
from stylegan.cli import cli
from stylegan.config.presets import preset
from stylegan.errors import UserError
from stylegan.importing import read
from stylegan.inspection import configuration, describe_network, inspect
from stylegan.networks import Discriminator, Generator
from tests.interop import foreign_files, official_files

PARITY = Path(__file__).parents[1] / "parity"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["inspect", *arguments], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return result.output


def test_paper_sized_networks() -> None:
    """Parameter counts of the paper's networks (appendix A says 26.2M and 23.1M)."""
    with torch.device("meta"):
        generator, discriminator = Generator(preset("ffhq1024")), Discriminator(preset("ffhq1024"))
    found = describe_network("G", generator)
    assert found.parameters == 26_219_627
    assert len(found.layers) == 8 + 1 + 18 + 9
    assert [layer.shape for layer in found.layers if layer.name == "synthesis.layers.17"] == [[16, 1024, 1024]]
    found = describe_network("D", discriminator)
    assert found.parameters == 23_087_249
    assert found.layers[-1].shape == [1]


@pytest.mark.parametrize("letter", "ABCDEF")
def test_letters_of_table_1(letter: str) -> None:
    config = preset(f"table1-{letter.lower()}", 64)
    assert configuration(config.generator, config.loss.mixing) == letter


def test_letter_with_differences() -> None:
    config = preset("table1-f", 64).generator
    assert configuration(config).startswith("F (or E")
    changed = config.model_copy(update={"mapping_layers": 2, "norm_eps": 1e-5})
    assert configuration(changed, 0.9) == "F, but norm_eps=1e-05, mapping_layers=2"


def test_official_pickle() -> None:
    text = run(str(PARITY / "style16l_tiny.pkl"))
    for part in ("official pickle", "F, but mapping_layers=3", "16x16", "3 classes", "G_style", "Gs: as G", "13,025"):
        assert part in text, part
    report = json.loads(run(str(PARITY / "style16l_tiny.pkl"), "--json"))
    assert report["lod"] == 0
    assert report["networks"][0]["layers"][0]["name"] == "mapping.label_embedding"
    text = run(str(PARITY / "hostile" / "g_ok_version2_no_components.pkl"))
    assert "Gs cannot be converted" in text


def test_converted_snapshot_tells_its_origin(tmp_path: Path) -> None:
    made = read(PARITY / "style16l_tiny.pkl", training=True)
    path = stylegan.save_snapshot(
        tmp_path / "m.safetensors",
        made.generator,
        made.discriminator,
        made.generator_raw,
        training=made.training | {"attribution": "photographs by A. Person [CC BY]", "class_names": ["a", "b", "c"]},
    )
    text = run(str(path))
    for part in ("converted from official pickle", "photographs by A. Person [CC BY]", "3 classes: a, b, c", "F, but"):
        assert part in text, part
    report = inspect(path)
    assert [network.role for network in report.networks] == ["generator", "generator_raw", "discriminator"]
    assert report.lineage[0]["sha256"] == inspect(PARITY / "style16l_tiny.pkl").sha256


def test_foreign_files(tmp_path: Path) -> None:
    torch.save(foreign_files.state("huangzh13", "generator tiny32"), tmp_path / "GAN_GEN_2_1.pth")
    text = run(str(tmp_path / "GAN_GEN_2_1.pth"))
    assert "huangzh13/StyleGAN.pytorch" in text
    assert "norm_eps=1e-05" in text
    assert "lod 1 is told by" in text
    assert "head.dense1" in run(str(PARITY / "foreign" / "GAN_DIS_3_2.pth"))
    torch.save(foreign_files.state("huangzh13", "discriminator tiny32_cond5"), tmp_path / "d.pth")
    assert "learned picture per class" in run(str(tmp_path / "d.pth"))


def test_a_pickle_without_source_text(tmp_path: Path) -> None:
    networks = official_files.small("progan", {"num_channels": 3, "resolution": 8, "label_size": 0, "fmap_max": 4})
    networks[0].state["build_module_src"] = None
    (tmp_path / "a.pkl").write_bytes(official_files.dumps(networks))
    text = run(str(tmp_path / "a.pkl"))
    assert "G: G_paper, source not in the file" in text
    assert "Gs: G_paper, source sha256" in text


def test_run_folder_and_checkpoint(tmp_path: Path) -> None:
    """Headers and JSON only; a small run is imitated here."""
    from safetensors.torch import save_file

    config = preset("tiny", 8)
    stylegan.save_snapshot(
        tmp_path / "model.safetensors", Generator(config), config=config.model_dump(mode="json"), training={"kimg": 1.5}
    )
    (tmp_path / "config.json").write_text(config.model_dump_json())
    folder = tmp_path / "checkpoints" / "00000001500"
    folder.mkdir(parents=True)
    progress = {"nimg": 1500, "lod": 0.5, "finished": True}
    (folder / "state.json").write_text(json.dumps({"progress": progress}))
    networks = {"G": Generator(config), "G_ema": Generator(config), "D": Discriminator(config)}
    tensors = {f"{role}.{key}": t.clone() for role, made in networks.items() for key, t in made.state_dict().items()}
    tensors["adam_g.a.exp_avg"] = torch.zeros(3)
    save_file(tensors, folder / "tensors.safetensors")
    text = run(str(tmp_path))
    assert "checkpoint 00000001500: 1.5 kimg, lod 0.5, finished" in text
    assert "8x8" in text
    text = run(str(folder))
    assert "adam_g: 3 numbers" in text
    assert "8x8" in text
    assert text == run(str(folder / "tensors.safetensors"))
    report = inspect(folder)
    assert (report.kimg, report.lod) == (1.5, 0.5)
    assert [network.role for network in report.networks] == ["G_ema", "G", "D"]
    tensors["G.w_avg"] = torch.zeros(3)
    save_file(tensors, folder / "tensors.safetensors")
    with pytest.raises(UserError, match=r"do not fit the G .*w_avg"):
        inspect(folder)
    with pytest.raises(UserError, match="neither a run folder"):
        inspect(tmp_path / "checkpoints")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 99}, "not a model of this project"),
        ({"generator": {"wrong": 1}}, "not understood"),
        ({"fmap_max": 7}, "do not fit"),
        ({"mapping_layers": 10**9}, "do not agree"),
    ],
)
def test_damaged_snapshots(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    from safetensors.torch import save_file

    generator = Generator(preset("tiny", 8))
    header: dict[str, Any] = {"format": 1, "generator": generator.config.model_dump(mode="json"), "lod": 0.0}
    fields = {key: value for key, value in change.items() if key in ("fmap_max", "mapping_layers")}
    header["generator"] |= fields
    header |= {} if fields else change
    tensors = {f"generator.{name}": tensor for name, tensor in generator.state_dict().items()}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"stylegan": json.dumps(header)})
    with pytest.raises(UserError, match=says):
        inspect(tmp_path / "m.safetensors")
    save_file(tensors, tmp_path / "n.safetensors")
    with pytest.raises(UserError, match="not a model of this project"):
        inspect(tmp_path / "n.safetensors")
