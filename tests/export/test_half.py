"""Model files in 16 bits: the nearer type, everything else kept, images compared."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import stylegan as package
from stylegan.export.half import agreement, halved
from stylegan.inspection import inspect
from stylegan.snapshot import Snapshot, in_16_bits, load, read_snapshot, save_snapshot
from tests.cli.conftest import photos  # noqa: F401
from tests.cli.conftest import small as short  # noqa: F401


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0, 0.1, -3.3], torch.float16),
        ([0.0, 0.0], torch.float16),
        ([7e4, 1.0], torch.bfloat16),  # infinite in float16
        ([1e-9, 3e-9], torch.bfloat16),  # zero in float16
        ([], torch.float16),
    ],
)
def test_the_type_with_the_smaller_largest_error(values: list[float], kind: torch.dtype) -> None:
    assert in_16_bits(torch.tensor(values)).dtype == kind


def test_halved_tells_the_largest_error() -> None:
    small, told = halved({"a": torch.tensor([1.0, 0.0001]), "b": torch.tensor([1e5, 1.001])})
    assert {name: tensor.dtype for name, tensor in small.items()} == {"a": torch.float16, "b": torch.bfloat16}
    assert told.startswith("1 tensors as float16, 1 tensors as bfloat16; largest error ")
    assert told.endswith("(b)")


def test_saved_in_the_nearer_type(small: Snapshot, tmp_path: Path) -> None:
    path = save_snapshot(tmp_path / "half.safetensors", small.generator, dtype="half")
    with safe_open(path, "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
    loaded = load(path).generator.state_dict()
    for name, tensor in small.generator.state_dict().items():
        assert loaded[name].dtype == torch.float32
        torch.testing.assert_close(loaded[name], tensor, rtol=2**-11, atol=2**-24)


def test_agreement(small: Snapshot) -> None:
    same = agreement(small.generator, small.generator, 3)
    assert math.isinf(same.psnr)
    assert str(same) == "3 images, all the same"
    other = load(small.path or "")
    with torch.no_grad():
        other.generator.synthesis.to_rgb[-1].bias += 0.02  # the range is 2 wide: 40 dB where nothing is clipped
    found = agreement(small.generator, other.generator, 3)
    assert 39.9 < found.psnr < 44
    assert found.worst <= found.psnr
    assert 2.5 < found.largest < 2.6


def test_a_file_anew(small: Snapshot, tmp_path: Path, stylegan: Callable[..., Any]) -> None:
    """Half the size, the same facts but for local paths, and the verb says how near the images are."""
    assert small.path is not None
    out = tmp_path / "half.safetensors"
    answer = stylegan("snapshot", small.path, out, "--half")
    assert answer.code == 0, answer.err
    assert "before and after: PSNR " in answer.out
    assert "stored noise 0.00 MB" in answer.out
    before, after = read_snapshot(small.path)[0], read_snapshot(out)[0]
    assert after["training"] == before["training"] | {
        "data": before["training"]["data"] | {"path": "pictures"},
        "lineage": [before["training"]["lineage"][0] | {"file": "net.pkl"}],
    }
    assert after["config"]["loss"] == before["config"]["loss"]
    assert after["stored"]["psnr_db"] > 40
    assert out.stat().st_size < 0.6 * small.path.stat().st_size
    loaded = package.load(out)
    assert loaded.generator.config == small.generator.config
    report = inspect(out)
    assert report.precision == "float16"
    assert report.notes == [
        f"made of a file in 32 bits, whose images it gives to {after['stored']['psnr_db']} dB (PSNR)"
    ]
    assert inspect(small.path).precision == "float32"
    assert "stored as" in stylegan("inspect", out).out
    again = tmp_path / "again.safetensors"
    stylegan("snapshot", small.path, again, "--half")
    assert again.read_bytes() == out.read_bytes()


def test_refusals(small: Snapshot, tmp_path: Path, stylegan: Callable[..., Any]) -> None:
    for arguments, words in [
        ((small.path, tmp_path / "a.safetensors", "--most", "0.001"), "more than --most 0.001: weights"),
        ((small.path, tmp_path / "a.bin"), "must be named .safetensors"),
        ((small.path, small.path), "is the file to read"),
        ((small.path, tmp_path / "a.safetensors", "--training"), "has no discriminator"),
        ((tmp_path, tmp_path / "a.safetensors"), "is a folder"),
    ]:
        answer = stylegan("snapshot", *arguments)
        assert answer.code == 2
        assert words in answer.err
    assert not (tmp_path / "a.safetensors").exists()


def test_a_run_to_go_on_from_elsewhere(
    tmp_path: Path,
    stylegan: Callable[..., Any],
    photos: Path,  # noqa: F811
    short: tuple[object, ...],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All three networks in 16 bits; `train --from` starts from them."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    run, out = tmp_path / "run", tmp_path / "all.safetensors"
    settings = ("--preset", "tiny", "--resolution", "16", *short)
    assert stylegan("train", photos, "--out", run, *settings).code == 0
    answer = stylegan("snapshot", run, out, "--half", "--training")
    assert answer.code == 0, answer.err
    assert "generator, discriminator, generator raw" in answer.out
    header, _ = read_snapshot(out)
    assert header["training"]["kimg"] == pytest.approx(0.064)
    assert (
        header["config"]["data"]["path"] == json.loads((run / "config.json").read_text())["data"]["path"].split("/")[-1]
    )
    found = load(out)
    assert found.discriminator is not None
    assert found.generator_raw is not None
    answer = stylegan("train", photos, "--out", tmp_path / "next", "--from", out, *settings)
    assert answer.code == 0, answer.err
    log = (tmp_path / "next" / "log.txt").read_text()
    assert "discriminator 16x16" in log.split("taken:")[1].splitlines()[0]
    assert "starts fresh: nothing" in log
    plain = stylegan("snapshot", run, tmp_path / "plain.safetensors")
    assert "plain.safetensors: generator; " in plain.out


def test_a_run_begun_from_another_is_told(small: Snapshot, tmp_path: Path, stylegan: Callable[..., Any]) -> None:
    """As `train --from` notes it; no other file's terms apply."""
    first = {"kimg": 782.592, "seconds": 494.9, "taken": ["everything"]}
    lineage = [{"from": "/home/somebody/runs/first", "sha256": "ab12", "lod": 0.0} | first]
    path = save_snapshot(tmp_path / "second.safetensors", small.generator, training={"lineage": lineage})
    told = " ".join(stylegan("inspect", path).out.split())
    assert "trained on from /home/somebody/runs/first (lod 0.0), after its 782.6 kimg sha256" in told
    assert stylegan("card", path, "--license", "CC0-1.0").code == 0
    text = (tmp_path / "second.md").read_text()
    assert "| started from | first after 782.6 thousand images and 8.2 minutes, sha256 ab12 |" in text
    assert "The weights: CC0-1.0. The program" in text
    assert (tmp_path / "second.png").stat().st_size > 0
