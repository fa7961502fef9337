"""The recorded networks at every lod: mapping, truncation, synthesis, images, scores."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from stylegan.networks import Discriminator, Generator
from stylegan.official import images_to_uint8
from stylegan.ops.resample import downscale2d, upscale2d
from stylegan.ops.switch import using_ops
from tests.parity import case
from tests.parity.case import NETWORKS, recorded, tensor

LODS = [0.0, 0.3, 1.0, 1.5, 2.0, 2.75, 3.0]

# truncation tag -> (psi, cutoff); the recorded network has 8 layers
TRUNCATIONS: dict[str, tuple[float | None, int | None]] = {
    "psi1": (1.0, 8),
    "psiNone": (None, 8),
    "psi0.7_cut8": (0.7, 8),
    "psi0.7_cut4": (0.7, 4),
    "psi0.5_cutNone": (0.5, None),
    "psi0.5_cutall": (0.5, 8),
}


@pytest.fixture(autouse=True, params=["reference", "fast"])
def _both_forms_of_the_operators(request: pytest.FixtureRequest):
    with torch.no_grad(), using_ops(request.param):
        yield


@cache
def g(name: str) -> Generator:
    return case.generator(name)


@cache
def d(name: str) -> Discriminator:
    return case.discriminator(name)


def inputs(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    io = recorded(f"{name}_io")
    return tensor(io["z"]), tensor(io["labels"])


def full_size(images: torch.Tensor, lod: float) -> torch.Tensor:
    """Officially every image is nearest-upscaled to the full size."""
    return upscale2d(images, 2 ** int(lod))


def reals(name: str, lod: float, n: int = 8) -> torch.Tensor:
    return downscale2d(tensor(recorded(f"{name}_io")["reals"])[:n], 2 ** int(lod))


def test_every_recorded_array_is_used() -> None:
    tags = {f"dlatents_{tag}" for tag in TRUNCATIONS} | {"dlatents_random", "mapping_out"}
    given = {"z", "labels", "reals", "reals_labels"}
    images = {f"img_default_lod{lod}_recursive" for lod in LODS} | {f"synimg_lod{lod}" for lod in LODS}
    special = {
        "img_psi1_lod0",
        "img_psi0.5_cut4_lod0",
        "synimg_fixed_lod0",
        "D_fixed_lod0",
        "img_uint8_default_lod0",
    }
    pickled = {"Gs_pickle_img", "G_pickle_img", "D_pickle_scores"}
    scores = {f"D_lod{lod}_recursive" for lod in LODS} | {f"D_N3_lod{lod}" for lod in LODS}
    singles = {f"D_N1_lod{lod}" for lod in LODS}
    assert set(recorded("style32_io").arrays) == given | tags | images | special | pickled | scores | singles
    progan = {f"img_lod{lod}_recursive" for lod in LODS}
    assert set(recorded("progan32_io").arrays) == given | progan | pickled | scores


def test_mapping() -> None:
    io = recorded("style32_io")
    io.check("mapping_out", g("style32").mapping(inputs("style32")[0]))


@pytest.mark.parametrize("tag", TRUNCATIONS)
def test_truncation(tag: str) -> None:
    io = recorded("style32_io")
    ws = g("style32").mapping(inputs("style32")[0])
    io.check(f"dlatents_{tag}", g("style32").truncate(ws, *TRUNCATIONS[tag]))


@pytest.mark.parametrize("lod", LODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_generator(name: str, lod: float) -> None:
    z, labels = inputs(name)
    key = f"img_default_lod{lod}_recursive" if name == "style32" else f"img_lod{lod}_recursive"
    images = g(name)(z, labels, noise="stored", lod=lod)
    assert images.shape[2:] == (32 >> int(lod), 32 >> int(lod))
    recorded(f"{name}_io").check(key, full_size(images, lod))


@pytest.mark.parametrize("lod", LODS)
def test_synthesis(lod: float) -> None:
    io = recorded("style32_io")
    images = g("style32").synthesis(tensor(io["dlatents_random"]), lod=lod, noise="stored")
    io.check(f"synimg_lod{lod}", full_size(images, lod))


def test_fixed_structure_is_lod_0() -> None:
    """structure='fixed' ignores lod: what this project does at lod 0."""
    io = recorded("style32_io")
    io.check(
        "synimg_fixed_lod0", g("style32").synthesis(tensor(io["dlatents_random"]), lod=0.0, noise="stored")
    )
    io.check("D_fixed_lod0", d("style32")(reals("style32", 0.0)))


def test_images_at_other_truncations() -> None:
    io, (z, _) = recorded("style32_io"), inputs("style32")
    io.check("img_psi1_lod0", g("style32")(z, psi=1.0, noise="stored"))
    io.check("img_psi0.5_cut4_lod0", g("style32")(z, psi=0.5, cutoff=4, noise="stored"))


def test_uint8_images() -> None:
    wanted = recorded("style32_io")["img_uint8_default_lod0"]
    found = images_to_uint8(g("style32")(inputs("style32")[0], noise="stored"), nchw_to_nhwc=True).numpy()
    assert found.shape == wanted.shape
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("lod", LODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_discriminator(name: str, lod: float) -> None:
    """Also with 3 samples and with 1, where the minibatch groups are smaller than four."""
    io = recorded(f"{name}_io")
    io.check(f"D_lod{lod}_recursive", d(name)(reals(name, lod), lod=lod))
    io.check(f"D_N3_lod{lod}", d(name)(reals(name, lod, 3), lod=lod))
    if name == "style32":
        io.check(f"D_N1_lod{lod}", d(name)(reals(name, lod, 1), lod=lod))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_official_pickle(name: str) -> None:
    """Saved in the middle of a fade: the variable `lod` is 0.25, and the networks start from it."""
    io, (z, labels) = recorded(f"{name}_io"), inputs(name)
    for network in ("G", "Gs"):
        net = case.generator(name, network, lod=0.25)
        assert net.lod == 0.25
        io.check(f"{network}_pickle_img", net(z, labels, noise="stored"))
    io.check("D_pickle_scores", case.discriminator(name, lod=0.25)(reals(name, 0.0)))
