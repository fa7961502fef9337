"""Pickles of many official arguments, converted, against the official networks written down a second time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylegan.errors import UserError
from stylegan.importing import read
from stylegan.official.pickles import parse_pickle
from stylegan.ops.switch import using_ops
from tests.interop import official_files, official_form

STYLE: dict[str, Any] = {
    "num_channels": 3, "resolution": 16, "label_size": 0, "fmap_base": 64, "fmap_max": 12, "latent_size": 24,
    "dlatent_size": 20, "mapping_layers": 3, "mapping_fmaps": 28,
}  # fmt: skip
PROGAN: dict[str, Any] = {"num_channels": 3, "resolution": 16, "label_size": 0, "fmap_base": 64, "fmap_max": 12}

VARIANTS: dict[str, dict[str, Any]] = {
    "labels": {"label_size": 5},
    "traditional": {"use_styles": False, "const_input_layer": False, "use_noise": False, "use_instance_norm": False,
                    "use_pixel_norm": True, "mapping_layers": 0, "latent_size": 20},
    "dense input": {"const_input_layer": False},
    "no noise": {"use_noise": False},
    "no instance norm": {"use_instance_norm": False},
    "both norms": {"use_pixel_norm": True},
    "no blur": {"blur_filter": None},
    "other blur": {"blur_filter": (1, 4, 6, 4, 1)},
    "even blur": {"blur_filter": [1.0, 3.0, 3.0, 1.0]},
    "relu": {"nonlinearity": "relu", "mapping_nonlinearity": "relu"},
    "no wscale": {"use_wscale": False},
    "fused": {"fused_scale": True},
    "unfused at 128": {"resolution": 128, "fused_scale": False, "fmap_base": 256, "fmap_max": 6},
    "auto at 128": {"resolution": 128, "fmap_base": 256, "fmap_max": 6},
    "8x8": {"resolution": 8},
    "latents as they are": {"normalize_latents": False},
    "no mapping": {"mapping_layers": 0, "latent_size": 20},
    "no mapping, labels": {"mapping_layers": 0, "latent_size": 10, "label_size": 3},
    "fast mapping": {"mapping_layers": 1, "mapping_lrmul": 0.1},
    "grey": {"num_channels": 1},
    "six channels": {"num_channels": 6},
    "channel rule": {"fmap_base": 50, "fmap_decay": 0.7, "fmap_max": 17},
    "truncation": {"truncation_psi": 0.5, "truncation_cutoff": 3},
    "no truncation": {"truncation_psi": None},
    "no cutoff": {"truncation_cutoff": None},
    "no stddev": {"mbstd_group_size": 1},
    "stddev": {"mbstd_group_size": 8, "mbstd_num_features": 2, "label_size": 2},
    "numpy numbers": {"num_channels": np.int64(3), "resolution": np.int32(16), "use_noise": np.bool_(False)},
    "how, not what": {"structure": "linear", "dtype": "float32", "randomize_noise": False, "style_mixing_prob": None,
                      "dlatent_avg_beta": None},
}  # fmt: skip
PROGAN_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "labels": {"label_size": 4},
    "latents": {"latent_size": 11, "label_size": 3},
    "latents by default": {"latent_size": None},
    "no pixel norm": {"use_pixelnorm": False},
    "relu": {"use_leakyrelu": False},
    "latents as they are": {"normalize_latents": False},
    "no wscale": {"use_wscale": False},
    "stddev": {"mbstd_group_size": 2},
    "grey": {"num_channels": 1},
    "of other networks": {"blur_filter": [1, 2, 1], "nonlinearity": "relu", "truncation_psi": 0.5, "use_styles": True},
}
Pickled = tuple[official_files.Network, official_files.Network, official_files.Network]


def case(kind: str, kwargs: dict[str, Any], lods: tuple[float, ...]) -> tuple[Pickled, dict[str, Any]]:
    """(G, D, Gs) with what they compute: inputs, and outputs by role and lod."""
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in kwargs.items()}
    rng, classes = np.random.default_rng(9), plain["label_size"]
    z = torch.from_numpy(rng.standard_normal((4, plain.get("latent_size") or official_form.fmaps(plain, 0))))
    y = torch.eye(max(classes, 1), dtype=torch.float64)[torch.arange(8) % max(classes, 1), :classes]
    values = {role: official_form.Variables(seed, plain) for seed, role in enumerate(("G", "D", "Gs"))}
    draw = official_form.g_style if kind == "style" else official_form.g_paper
    found: dict[str, Any] = {"z": z, "y": y}
    for lod in lods:
        side = plain["resolution"] >> int(lod)
        images = torch.from_numpy(rng.standard_normal((8, plain["num_channels"], side, side)))
        found |= {("images", lod): images}
        found |= {(role, lod): draw(values[role], z, y[:4], plain, lod) for role in ("G", "Gs")}
        found["D", lod] = official_form.discriminator(values["D"], images, y, plain, lod, kind == "progan")
    functions = ("G_style", "D_basic") if kind == "style" else ("G_paper", "D_paper")
    networks = tuple(
        official_files.network(role, functions[role == "D"], kwargs, {"lod": np.float32(0)} | values[role])
        for role in ("G", "D", "Gs")
    )
    return networks, found  # type: ignore[return-value]


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "name"), [("style", name) for name in VARIANTS] + [("progan", name) for name in PROGAN_VARIANTS]
)
def test_converted_pickles_compute_the_official_function(kind: str, name: str, tmp_path: Path) -> None:
    kwargs = STYLE | VARIANTS[name] if kind == "style" else PROGAN | PROGAN_VARIANTS[name]
    lods = (0.0, 0.3, 1.0)
    networks, wanted = case(kind, kwargs, lods)
    (tmp_path / "a.pkl").write_bytes(official_files.dumps(networks))
    made = read(tmp_path / "a.pkl", training=True)
    assert made.generator_raw is not None
    assert made.discriminator is not None
    z, labels = wanted["z"].float(), wanted["y"].float() if kwargs["label_size"] else None
    for ops in ("reference", "fast"):
        with using_ops(ops):
            for lod in lods:
                for role, network in (("G", made.generator_raw), ("Gs", made.generator)):
                    images = network(z, None if labels is None else labels[:4], noise="stored", lod=lod)
                    near(images, wanted[role, lod])
                near(made.discriminator(wanted["images", lod].float(), labels, lod=lod), wanted["D", lod])


def near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@torch.no_grad()
def test_progressive_gan_without_fused_scaling(tmp_path: Path) -> None:
    """The generator has other names and the same function; the discriminator's order cannot be represented."""
    networks, wanted = case("progan", PROGAN | {"fused_scale": False}, (0.0,))
    (tmp_path / "a.pkl").write_bytes(official_files.dumps(networks))
    near(read(tmp_path / "a.pkl").generator(wanted["z"].float()), wanted["Gs", 0.0])
    with pytest.raises(UserError, match="activate before they downscale"):
        read(tmp_path / "a.pkl", training=True)


def _tuples(networks: Pickled) -> Any:
    for network in networks:
        network.state["variables"] = tuple(network.state["variables"])
    return networks


def _pairs_as_lists(networks: Pickled) -> Any:
    for network in networks:
        network.state["variables"] = [list(pair) for pair in network.state["variables"]]
    return networks


def _lod_of_one_element(networks: Pickled) -> Any:
    for network in networks:
        network.state["variables"] = [(k, np.asarray([v]) if k == "lod" else v) for k, v in network.state["variables"]]
    return networks


def _no_source(networks: Pickled) -> Any:
    for network in networks:
        network.state["build_module_src"] = None
    return networks


def _array_argument(networks: Pickled) -> Any:
    for network in networks:
        network.state["static_kwargs"]["blur_filter"] = np.array([1, 2, 1])
    return networks


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("change", [list, _tuples, _pairs_as_lists, _lod_of_one_element, _no_source, _array_argument])
def test_other_ways_to_store_the_same(change: Any, protocol: int) -> None:
    plain = official_files.dumps(case("progan", PROGAN, (0.0,))[0])
    data = official_files.dumps(change(case("progan", PROGAN, (0.0,))[0]), protocol)
    found, wanted = (parse_pickle(memoryview(d), "file").generator.build().state_dict() for d in (data, plain))
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
