"""`stylegan.official.build`: every official variable is used exactly once, or the error says which is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stylegan.errors import UserError
from stylegan.networks import Discriminator, Generator
from stylegan.official import build
from tests.parity import case
from tests.parity.case import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["G", "D"])
def test_every_element_arrives_exactly_once(name: str, kind: str) -> None:
    """A network out of numbered elements holds each number once, in parameters and buffers together."""
    start, numbered, expected = 0, {}, []
    for variable, shape in case.meta(name)[f"{kind}_vars"]:
        size = int(np.prod(shape))
        numbered[variable] = np.arange(start, start + size, dtype=np.float32).reshape(shape)
        if variable.split("/")[-1] != "lod":
            expected.append(numbered[variable].reshape(-1))
        start += size
    network = build(
        case.FUNCTIONS[name]["GD".index(kind)], case.meta(name)[f"{kind}_static_kwargs"], numbered
    )
    state = {key: t for key, t in network.state_dict().items() if name == "style32" or key != "w_avg"}
    found = torch.cat([t.reshape(-1) for t in state.values()]).sort().values.numpy()
    np.testing.assert_array_equal(found, np.concatenate(expected))
    trainable = sum(p.numel() for p in network.parameters())
    assert trainable == sum(
        np.prod(dict(case.meta(name)[f"{kind}_vars"])[v]) for v in case.meta(name)[f"{kind}_trainables"]
    )


@pytest.mark.parametrize(
    "spelling", ["networks_stylegan.G_style", "some.where.networks_stylegan.G_style", "G_style"]
)
def test_function_names(spelling: str) -> None:
    network = build(spelling, case.meta("style32")["G_static_kwargs"], case.variables("style32", "G"))
    assert isinstance(network, Generator)
    assert not network.training


def test_arguments_that_only_say_how_to_compute_are_ignored() -> None:
    extra = {"structure": "linear", "dtype": "float16", "randomize_noise": False, "style_mixing_prob": 0.9}
    kwargs = case.meta("style32")["G_static_kwargs"] | extra
    assert isinstance(build(case.FUNCTIONS["style32"][0], kwargs, case.variables("style32", "G")), Generator)


def test_lod_of_the_top_network_wins() -> None:
    variables = case.variables("style32", "G") | {"lod": np.float32(1.25), "G_synthesis/lod": np.float32(3)}
    network = build(case.FUNCTIONS["style32"][0], case.meta("style32")["G_static_kwargs"], variables)
    assert network.lod == 1.25
    z = torch.zeros(1, 64)
    assert network(z).shape == (1, 3, 16, 16)


def attempt(change: dict[str, Any], kwargs: dict[str, Any] | None = None, function: str = "") -> None:
    """Builds the style32 discriminator with changed variables (None = removed) and arguments."""
    variables = {key: v for key, v in (case.variables("style32", "D") | change).items() if v is not None}
    build(
        function or case.FUNCTIONS["style32"][1],
        case.meta("style32")["D_static_kwargs"] | (kwargs or {}),
        variables,
    )


def test_unchanged_attempt_works() -> None:
    attempt({})


@pytest.mark.parametrize(
    ("change", "kwargs", "function", "words"),
    [
        ({"4x4/Conv/bias": None}, {}, "", r"missing 4x4/Conv/bias; left over none"),
        ({"4x4/Extra/bias": np.zeros(3)}, {}, "", r"missing none; left over 4x4/Extra/bias"),
        ({"4x4/Conv/bias": np.zeros(65)}, {}, "", r"4x4/Conv/bias: shape \[65\].*the network has \[64\]"),
        ({"4x4/Conv/weight": np.zeros((3, 3, 64, 65))}, {}, "", r"4x4/Conv/weight: shape \[3, 3, 64, 65\]"),
        ({}, {"resolution": 64}, "", r"missing .*64x64/Conv0/bias"),
        (
            {},
            {"resolution": 16},
            "",
            r"left over .*32x32/Conv0/bias.* and \d+ more|left over .*32x32/Conv0/bias",
        ),
        ({}, {"label_size": 5}, "", r"4x4/Dense1/bias: shape \[1\].*\[5\]|4x4/Dense1/weight"),
        ({}, {"resolution": 48}, "", r"resolution 48: must be a power of two"),
        ({}, {"fmap_mux": 5}, "", r"arguments fmap_mux: not known"),
        ({}, {}, "training.networks_stylegan2.G_main", r"'training.networks_stylegan2.G_main': known are"),
        ({}, {}, "os.system", r"'os.system': known are .*G_style"),
    ],
)
def test_errors_name_the_cause(
    change: dict[str, Any], kwargs: dict[str, Any], function: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        attempt(change, kwargs, function)


def test_labelled_networks() -> None:
    """Names and shapes with labels; the recorded public cases have none."""
    rng = np.random.default_rng(0)
    names = [(n, s) for n, s in case.meta("style32")["G_vars"] if n != "G_mapping/Dense0/weight"]
    variables = {n: rng.standard_normal(s).astype(np.float32) for n, s in names}
    variables["G_mapping/LabelConcat/weight"] = rng.standard_normal((5, 64)).astype(np.float32)
    variables["G_mapping/Dense0/weight"] = rng.standard_normal((128, 64)).astype(np.float32)
    variables["lod"] = variables["G_synthesis/lod"] = np.float32(0)
    g = build(
        case.FUNCTIONS["style32"][0], case.meta("style32")["G_static_kwargs"] | {"label_size": 5}, variables
    )
    d_names = [(n, s) for n, s in case.meta("style32")["D_vars"] if not n.startswith("4x4/Dense1")]
    variables = {n: rng.standard_normal(s).astype(np.float32) for n, s in d_names}
    variables |= {"lod": np.float32(0), "4x4/Dense1/weight": np.ones((64, 5)), "4x4/Dense1/bias": np.zeros(5)}
    d = build(
        case.FUNCTIONS["style32"][1], case.meta("style32")["D_static_kwargs"] | {"label_size": 5}, variables
    )
    assert isinstance(d, Discriminator)
    labels = torch.tensor([0, 4])
    assert d(g(torch.randn(2, 64), labels), labels).shape == (2, 1)


def test_progan_discriminator_takes_and_ignores_labels() -> None:
    """As officially: it accepts them and has one output whatever their number."""
    kwargs = case.meta("progan32")["D_static_kwargs"] | {"label_size": 4}
    d = build(case.FUNCTIONS["progan32"][1], kwargs, case.variables("progan32", "D"))
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(d(images), d(images, torch.eye(4)))
