"""Model files: what is written is what is read, and anything else is refused with its reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import stylegan
from stylegan.config import Config, DiscriminatorConfig, GeneratorConfig
from stylegan.errors import UserError
from stylegan.networks import Discriminator, Generator
from stylegan.snapshot import FORMAT, save_snapshot

SMALL: dict[str, Any] = {"resolution": 16, "fmap_base": 32, "fmap_max": 4}


@pytest.fixture
def g() -> Generator:
    network = Generator(GeneratorConfig(**SMALL, z_dim=4, w_dim=4, mapping_width=4, mapping_layers=2))
    network.w_avg.normal_()
    network.lod = 0.5
    return network


@pytest.fixture
def path(tmp_path: Path, g: Generator) -> Path:
    return save_snapshot(tmp_path / "model.safetensors", g)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["stylegan"])
    return found


def rewrite(
    path: Path, header: Any = None, drop: str = "", add: dict[str, torch.Tensor] | None = None
) -> None:
    """The same file with another header or other tensors."""
    tensors = {key: t for key, t in load_file(path).items() if key != drop} | (add or {})
    text = (
        header if isinstance(header, str) else json.dumps(header if header is not None else header_of(path))
    )
    save_file(tensors, path, metadata={"stylegan": text})


def test_round_trip(tmp_path: Path, g: Generator) -> None:
    d, raw = Discriminator(DiscriminatorConfig(**SMALL)), Generator(g.config)
    training = {"kimg": 12.5, "data": {"fingerprint": "abc", "attribution": "Müller, CC BY 4.0"}}
    config = Config().model_dump(mode="json")
    saved = save_snapshot(tmp_path / "deep" / "er" / "m.safetensors", g, d, raw, config, training)
    found = stylegan.load(saved)
    assert same(found.generator, g)
    assert found.discriminator is not None
    assert same(found.discriminator, d)
    assert found.generator_raw is not None
    assert same(found.generator_raw, raw)
    assert found.generator.config == g.config
    assert (found.generator.lod, found.path) == (0.5, saved)
    assert not found.generator.training
    assert found.training == training
    assert Config.model_validate(found.config) == Config()
    z = torch.randn(2, 4)
    assert torch.equal(found.generator(z, noise="stored"), g(z, noise="stored"))


def test_a_file_to_draw_from_holds_only_the_generator(path: Path) -> None:
    found = stylegan.load(path)
    assert (found.discriminator, found.generator_raw, found.config, found.training) == (None, None, {}, {})
    assert all(key.startswith("generator.") for key in load_file(path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_size(tmp_path: Path, g: Generator, path: Path, dtype: torch.dtype) -> None:
    small = save_snapshot(tmp_path / "half.safetensors", g, dtype=dtype)
    assert small.stat().st_size < 0.75 * path.stat().st_size
    found = stylegan.load(small).generator
    for key, value in found.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, g.state_dict()[key], rtol=1e-2, atol=1e-3)


def test_header_is_json_and_says_what_it_is(path: Path, g: Generator) -> None:
    header = header_of(path)
    assert header["format"] == FORMAT
    assert header["library"]["stylegan-torch"] == stylegan.__version__
    assert GeneratorConfig.model_validate(header["generator"]) == g.config
    assert b"\x80\x04" not in path.read_bytes()[:2]  # no pickle


def test_writing_replaces_whole_files_and_leaves_nothing_behind(path: Path, g: Generator) -> None:
    g.w_avg.fill_(3.0)
    save_snapshot(path, g)
    assert bool((stylegan.load(path).generator.w_avg == 3.0).all())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


class TestRefused:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"none.safetensors: no such file; give a model"):
            stylegan.load(tmp_path / "none.safetensors")

    def test_folder(self, path: Path) -> None:
        with pytest.raises(UserError, match=r"is a folder.*did you mean .*model.safetensors"):
            stylegan.load(path.parent)

    @pytest.mark.parametrize("keep", [0, 4, 100, -1, -1000])
    def test_cut_short(self, path: Path, keep: int) -> None:
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(UserError, match=r"not a readable model file.*cut short"):
            stylegan.load(path)

    @pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80\x04N.", b"\xff" * 64, b"\x00" * 64])
    def test_another_kind_of_file(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a readable model file"):
            stylegan.load(path)

    def test_foreign_safetensors(self, path: Path) -> None:
        save_file({"a": torch.zeros(1)}, path)
        with pytest.raises(UserError, match="not one of this project's"):
            stylegan.load(path)

    def test_header_that_is_not_json(self, path: Path) -> None:
        rewrite(path, header="{oops")
        with pytest.raises(UserError, match="not a readable model file"):
            stylegan.load(path)

    @pytest.mark.parametrize(("header", "found"), [({"format": 99}, "99"), ([], "None"), ({}, "None")])
    def test_other_versions(self, path: Path, header: Any, found: str) -> None:
        rewrite(path, header=header)
        with pytest.raises(UserError, match=f"model format {found}, this version .* reads {FORMAT}; update"):
            stylegan.load(path)

    def test_configuration_of_the_future(self, path: Path) -> None:
        header = header_of(path)
        header["generator"]["attention"] = True
        rewrite(path, header=header)
        with pytest.raises(UserError, match=r"(?s)configuration is not understood .*attention"):
            stylegan.load(path)

    def test_missing_and_extra_weights(self, path: Path) -> None:
        rewrite(path, drop="generator.w_avg", add={"generator.more": torch.zeros(1)})
        with pytest.raises(UserError, match=r"1 missing \['w_avg'\], 1 left over \['more'\]"):
            stylegan.load(path)

    def test_wrong_shapes(self, path: Path) -> None:
        rewrite(path, add={"generator.w_avg": torch.zeros(5)})
        with pytest.raises(UserError, match=r"wrong shapes \['w_avg \[5\] instead of \[4\]'\]"):
            stylegan.load(path)

    def test_place_that_cannot_be_written(self, tmp_path: Path, g: Generator) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"cannot be written .*choose another place"):
            save_snapshot(tmp_path / "file" / "m.safetensors", g)

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_folder(self, tmp_path: Path, g: Generator) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match="cannot be written"):
            save_snapshot(tmp_path / "m.safetensors", g)


def test_the_same_model_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from stylegan import Generator, GeneratorConfig, save_snapshot; torch.manual_seed(0);"
        "G = Generator(GeneratorConfig(resolution=8, fmap_max=4, z_dim=4, w_dim=4, mapping_width=4));"
        "save_snapshot(sys.argv[1], G, training={'attribution': 'Zoë'})"
    )
    files = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for file in files:
        subprocess.run([sys.executable, "-c", code, file], check=True)
    assert len({file.read_bytes() for file in files}) == 1
    with safe_open(files[0], "pt") as opened:
        assert opened.metadata()["format"] == "pt"
    assert stylegan.load(files[0]).training["attribution"] == "Zoë"
