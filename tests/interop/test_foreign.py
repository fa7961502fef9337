"""Checkpoints of rosinality's and huangzh13's programs: the converted networks draw and judge as theirs did."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stylegan
from stylegan.errors import UserError
from stylegan.foreign import huangzh13, read_checkpoint, rosinality
from stylegan.importing import read, seed_noise
from stylegan.networks import Discriminator, Generator
from stylegan.ops.switch import using_ops
from tests.interop import foreign_files as files

SETTINGS = ["tiny32", "tiny32_map8_nopsi", "tiny32_noblur", "tiny32_fixed", "tiny32_cond5", "mid256"]
HUANG = re.compile(r"(image|score)_depth(\d)_alpha([\d.]+)(?:_trunc(module|[\d.]+))?(?:_n\d)?")
ROSI = re.compile(r"image_step(\d)_alpha([-\d.]+)(?:_trunc([\d.]+))?")


def near(found: torch.Tensor, wanted: np.ndarray, limit: float) -> None:
    if found.ndim == 4 and found.shape[2] != wanted.shape[2]:
        # recorded every few pixels, or drawn at the lower level that alpha 0 means
        step = found.shape[2] // wanted.shape[2]
        found = found[..., ::step, ::step] if step else torch.nn.functional.interpolate(found, scale_factor=2)
    assert found.shape == wanted.shape
    assert np.abs(found.detach().numpy() - wanted).max() <= limit


def limit(side: int) -> float:
    """Suggested by the cases: float32 against the program's float64."""
    return 5e-5 if side <= 64 else 1e-4 if side <= 128 else 2e-4


def huang_cases(setting: str) -> list[tuple[str, Any]]:
    found = []
    for key in files.recorded("huangzh13"):
        match = HUANG.fullmatch(key.removeprefix(setting + "_"))
        if key.startswith(setting + "_") and match:
            found.append((key, match))
    return found


@pytest.mark.parametrize("ops", ["reference", "fast"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_huangzh13_generator(setting: str, ops: str) -> None:
    with using_ops(ops):
        check_huang_images(setting)


def check_huang_images(setting: str) -> None:
    network = huangzh13.generator(files.state("huangzh13", f"generator {setting}"), setting)
    top, cases = network.config.top, files.recorded("huangzh13")
    labels = torch.tensor([3, 1]) if network.config.labels else None
    z = files.inputs("z", (2, 24), 10)
    near(network.mapping.w(z, labels), cases[f"{setting}_w"], 1e-5)
    drawn = 0
    for key, match in huang_cases(setting):
        if match[1] != "image":
            continue
        depth, alpha = int(match[2]), float(match[3])
        if setting == "tiny32_fixed":  # that structure ignores both
            depth, alpha = top, 1.0
        lod = top - depth + (1 - alpha if depth else 0)
        psi, cutoff = None, None
        if match[4]:
            psi, cutoff = (0.7, 8) if match[4] == "module" else (float(match[4]), network.config.num_layers)
        given = [
            files.inputs(f"noise{i}", (1, 1, *size), 10) for i, size in enumerate(network.synthesis.noise_sizes(lod))
        ]
        images = network(z[:1], None if labels is None else labels[:1], psi, cutoff, given, lod)
        near(images, cases[key], limit(images.shape[2]))
        drawn += 1
    assert drawn


@pytest.mark.parametrize("setting", [name for name in SETTINGS if name not in ("tiny32_map8_nopsi", "tiny32_cond5")])
def test_huangzh13_discriminator(setting: str) -> None:
    network = huangzh13.discriminator(files.state("huangzh13", f"discriminator {setting}"), setting)
    check_huang_scores(network, setting)


def check_huang_scores(network: Discriminator, setting: str) -> None:
    top = network.config.top
    scored = 0
    for key, match in huang_cases(setting):
        if match[1] != "score":
            continue
        wanted = files.recorded("huangzh13")[key]
        depth, alpha = int(match[2]), float(match[3])
        images = files.inputs(f"image{depth}", (len(wanted), 3, 4 << depth, 4 << depth), 20, 0.5)
        if setting == "tiny32_fixed":
            depth, alpha = top, 1.0
        if alpha == 0:
            images = torch.nn.functional.avg_pool2d(images, 2)
        near(network(images, lod=top - depth + (1 - alpha if depth else 0)), wanted, 3e-6)
        scored += 1
    assert scored


def test_huangzh13_conditional_discriminator_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match="learned picture per class"):
        huangzh13.discriminator(files.state("huangzh13", "discriminator tiny32_cond5"), "file")


def test_huangzh13_real_file() -> None:
    """A discriminator that the program itself wrote."""
    path = files.FOLDER / "GAN_DIS_3_2.pth"
    network = huangzh13.discriminator(read_checkpoint(path).states["discriminator"], str(path))
    check_huang_scores(network, "file_dis")
    with pytest.raises(UserError, match="holds only a discriminator"):
        read(path)


def test_huangzh13_files_to_snapshot(tmp_path: Path) -> None:
    """The three files of one moment become one model file to train on; the lod comes from the name."""
    state = files.state("huangzh13", "generator tiny32")
    torch.save(state, tmp_path / "GAN_GEN_2_5.pth")
    averaged = {key: value if "kernel" in key else value * 1.01 for key, value in state.items()}
    torch.save(averaged, tmp_path / "GAN_GEN_SHADOW_2_5.pth")
    with pytest.raises(UserError, match=r"GAN_DIS_2_5\.pth: not found"):
        read(tmp_path / "GAN_GEN_SHADOW_2_5.pth", training=True)
    torch.save(files.state("huangzh13", "discriminator tiny32"), tmp_path / "GAN_DIS_2_5.pth")
    by_raw = read(tmp_path / "GAN_GEN_2_5.pth", training=True)
    assert "taken from GAN_GEN_SHADOW_2_5.pth" in by_raw.notes[0]
    made = read(tmp_path / "GAN_GEN_SHADOW_2_5.pth", training=True)
    assert any("--w-avg recompute" in note for note in made.notes)
    for a, b in ((made.generator, by_raw.generator), (made.generator_raw, by_raw.generator_raw)):
        assert a is not None
        assert b is not None
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert made.generator.lod == 1.0
    assert made.discriminator is not None
    assert made.generator_raw is not None
    file = stylegan.save_snapshot(
        tmp_path / "model.safetensors", made.generator, made.discriminator, made.generator_raw, training=made.training
    )
    loaded = stylegan.load(file)
    z = torch.randn(2, 24)
    assert torch.equal(loaded.generator(z, noise="stored"), made.generator(z, noise="stored"))
    assert loaded.generator.config.norm_eps == 1e-5
    assert loaded.generator(z).shape == (2, 3, 16, 16)
    assert loaded.discriminator is not None
    assert not loaded.discriminator.config.from_rgb_activation
    assert loaded.training["lineage"][0]["format"] == "checkpoint of huangzh13/StyleGAN.pytorch"
    again = read(tmp_path / "GAN_GEN_SHADOW_2_5.pth", w_avg="recompute").generator
    assert not torch.allclose(again.w_avg, made.generator.w_avg, atol=0.1)


@pytest.fixture(scope="module")
def rosi() -> dict[str, torch.Tensor]:
    return files.state("rosinality", "generator")


@pytest.fixture(scope="module")
def rosi_generator(rosi: dict[str, torch.Tensor]) -> Generator:
    return rosinality.generator(rosi, "file")


@torch.no_grad()
@pytest.mark.parametrize("ops", ["reference", "fast"])
def test_rosinality_generator(rosi_generator: Generator, ops: str) -> None:
    with using_ops(ops):
        check_rosinality_images(rosi_generator)


def check_rosinality_images(rosi_generator: Generator) -> None:
    cases, z = files.recorded("rosinality"), files.inputs("z", (2, 512), 10)
    near(rosi_generator.mapping.w(z), cases["w"], 2e-5)
    rosi_generator.w_avg.copy_(torch.from_numpy(cases["mean_style"][0]))
    drawn = 0
    for key, wanted in cases.items():
        match = ROSI.fullmatch(key)
        if not match:
            continue
        step, alpha = int(match[1]), float(match[2])
        fade = 1 - alpha if step and 0 <= alpha < 1 else 0.0
        lod = 8 - step + fade
        sizes = rosi_generator.synthesis.noise_sizes(lod)
        given = [files.inputs(f"noise{i // 2}", (2, 1, *size), 10)[:1] for i, size in enumerate(sizes)]
        images = rosi_generator(z[:1], psi=float(match[3]) if match[3] else None, noise=given, lod=lod)
        near(images, wanted, limit(images.shape[2]))
        drawn += 1
    assert drawn >= 10


@torch.no_grad()
@pytest.mark.parametrize("option", ["train_default", "no_from_rgb_activate", "unfused_from_rgb_activate"])
def test_rosinality_discriminator(option: str) -> None:
    network = rosinality.discriminator(files.state("rosinality", f"discriminator {option}"), option)
    assert network.config.from_rgb_activation == (option != "no_from_rgb_activate")
    for key, wanted in files.recorded("rosinality").items():
        match = re.fullmatch(rf"score_{option}_step(\d)_alpha([-\d.]+)_n\d", key)
        if not match or int(match[1]) > 5 or key.endswith("step5_alpha1_n2"):  # 256 pixels: the same paths, slowly
            continue
        if option != "train_default" and match[1] == "3":  # differs at 128 pixels only, or is drawn there too
            continue
        step, alpha = int(match[1]), float(match[2])
        images = files.inputs(f"image{step}", (len(wanted), 3, 4 << step, 4 << step), 20, 0.5)
        if alpha == 0:
            images = torch.nn.functional.avg_pool2d(images, 2)
        near(network(images, lod=8 - step + (1 - alpha if step and 0 <= alpha < 1 else 0)), wanted, 5e-6)


def test_rosinality_bundle(rosi: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """A training checkpoint: averaged and raw generator, discriminator; the step comes from the name."""
    bundle = {
        "generator": rosi, "discriminator": files.state("rosinality", "discriminator train_default"),
        "g_optimizer": {"state": {}, "param_groups": []}, "d_optimizer": {"state": {}, "param_groups": []},
        "g_running": rosi,
    }  # fmt: skip
    torch.save(bundle, tmp_path / "train_step-5.model")
    made = read(tmp_path / "train_step-5.model", training=True)
    assert made.generator.lod == 4.0
    assert made.discriminator is not None
    assert made.generator_raw is not None
    assert "mean of w over" in made.training["lineage"][0]["w_avg"]
    mean = made.generator.mapping.w(files.inputs("z_mean", (256, 512), 10)).mean(0)
    assert torch.allclose(made.generator.w_avg, mean, atol=0.5)
    assert made.generator.truncatable


def test_resolution_reached(tmp_path: Path) -> None:
    """Where the file's name does not tell, the user can."""
    torch.save(files.state("huangzh13", "generator tiny32"), tmp_path / "averaged.pth")
    assert read(tmp_path / "averaged.pth").generator.lod == 0.0
    assert read(tmp_path / "averaged.pth", resolution=8).generator.lod == 2.0
    with pytest.raises(UserError, match="has 4, 8, 16, 32"):
        read(tmp_path / "averaged.pth", resolution=100)


def test_rosinality_reached_step_is_seen(rosi: dict[str, torch.Tensor]) -> None:
    fresh = re.compile(r"generator\.progression\.[678]\..*(bias|noise\d\.weight_orig)$")
    assert rosinality.reached(rosi) == 8
    assert rosinality.reached({k: torch.zeros_like(v) if fresh.match(k) else v for k, v in rosi.items()}) == 5


def test_both_layers_of_a_level_share_the_noise(rosi_generator: Generator) -> None:
    seed_noise(rosi_generator)
    ws = torch.zeros(1, 18, 512)
    first = rosi_generator.synthesis(ws, 6.0, "stored")
    for i in (1, 3, 5):
        rosi_generator.synthesis.get_buffer(f"noise{i}").zero_()
    assert torch.equal(first, rosi_generator.synthesis(ws, 6.0, "stored"))


def test_strictness(tmp_path: Path) -> None:
    """Nothing missing, left over, misshapen, of another filter, or of another kind passes."""
    state = files.state("huangzh13", "generator tiny32")
    key = "g_synthesis.blocks.1.conv1.weight"
    changes: list[tuple[Any, str]] = [
        ({k: v for k, v in state.items() if k != key}, "1 missing .g_synthesis.blocks.1.conv1.weight"),
        (state | {"extra.weight": torch.zeros(2)}, "1 left over .extra.weight"),
        (state | {key: torch.zeros(8, 8, 5, 5)}, "has shape .8, 8, 5, 5."),
        (state | {key: torch.zeros(8)}, "has shape .8."),
        (
            state | {"g_synthesis.blocks.0.conv0_up.intermediate.kernel": torch.full((1, 1, 3, 3), 1 / 9)},
            "another filter",
        ),
        (state | {"g_synthesis.blocks.0.conv0_up.weight": torch.zeros(7, 16, 3, 3)}, "follow no rule"),
        (state | {key: torch.zeros(1).expand(1 << 40)}, "announce"),
        (state | {"number": 3}, "where a tensor is expected"),
        ({"a": torch.zeros(1)}, "belong to no program"),
        ({"state": {}, "param_groups": []}, "optimizer's state"),
        ([torch.zeros(1)], "where a state dict"),
    ]
    for i, (value, text) in enumerate(changes):
        path = tmp_path / f"{i}.pth"
        torch.save(value, path)
        with pytest.raises(UserError, match=text):
            read(path)


def test_hostile_and_damaged_files(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "pwned",)

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    torch.save({"a": Evil()}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    whole = (files.FOLDER / "GAN_DIS_3_2.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    for name in ("evil", "legacy", "cut"):
        with pytest.raises(UserError, match="nothing in it was run"):
            read(tmp_path / f"{name}.pth")
    assert not (tmp_path / "pwned").exists()


def test_files_of_one_moment_that_are_not_what_their_names_say(tmp_path: Path) -> None:
    torch.save(files.state("huangzh13", "generator tiny32"), tmp_path / "GAN_GEN_2_5.pth")
    for network, says in (("generator tiny32", "holds no discriminator"), ("discriminator mid256", "is 32x32")):
        torch.save(files.state("huangzh13", network), tmp_path / "GAN_DIS_2_5.pth")
        with pytest.raises(UserError, match=says):
            read(tmp_path / "GAN_GEN_2_5.pth", training=True)


@pytest.mark.parametrize("program", ["huangzh13", "rosinality"])
def test_names_as_a_wrapper_for_several_gpus_has_them(program: str, tmp_path: Path) -> None:
    state = files.state(program, "generator tiny32" if program == "huangzh13" else "generator")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth").generator()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    torch.save({f"module.{key}" if i else key: v for i, (key, v) in enumerate(state.items())}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"left over|belong to no program"):
        read(tmp_path / "b.pth")


@pytest.mark.parametrize("change", ["float16", "float64", "strided"])
def test_other_number_formats(change: str, tmp_path: Path) -> None:
    state = files.state("huangzh13", "generator tiny32")
    if change == "strided":
        changed = {key: v.t().contiguous().t() if v.ndim == 2 else v for key, v in state.items()}
    else:
        changed = {key: v.to(getattr(torch, change)) for key, v in state.items()}
    torch.save(changed, tmp_path / "a.pth")
    wanted = huangzh13.generator({key: value.float() for key, value in changed.items()}, "").state_dict()
    found = read(tmp_path / "a.pth").generator.state_dict()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted if not key.startswith("synthesis.noise"))


def test_legacy_torch_format(tmp_path: Path) -> None:
    """Files of PyTorch before 1.6, which is when most of these checkpoints were written."""
    torch.save(files.state("huangzh13", "generator tiny32"), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert read(tmp_path / "a.pth").generator.config.resolution == (32, 32)
