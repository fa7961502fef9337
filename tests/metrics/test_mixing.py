"""Style mixing at test time (Table 2): metrics of images that are mixed from several latents."""

import numpy as np
import pytest
import torch

from stylegan.errors import UserError
from stylegan.metrics import Options, evaluate, parse_metric, parse_metrics
from stylegan.metrics.sampling import Fakes
from tests.drawing.conftest import TRADITIONAL
from tests.metrics.conftest import small_generator

LAYERS = 6  # of a 16x16 network


def test_names_carry_the_number_of_latents():
    assert parse_metric("fid50k").mixing == 1
    found = parse_metric("fid10k_full_mix3")
    assert (found.mixing, found.samples, found.reals, found.kind) == (3, 10_000, None, "fid")
    assert parse_metric("pr5k3_mix2").k == 3
    for wrong in ("nn1k_mix2", "ppl_w_full_mix2", "fid2k_mix0", "ls_w_mix2"):
        with pytest.raises(UserError, match="no such metric"):
            parse_metric(wrong)


@pytest.mark.parametrize("mixing", [2, 4, 6])
def test_every_layer_takes_one_of_the_latents_in_turn(generator, mixing):
    """All latents are used, in order, from the first layer to the last; z of the first is that without mixing."""
    fakes = Fakes(generator, seed=3, mixing=mixing)
    mixed = fakes.mixed(range(50))
    assert mixed.owner.shape == (50, LAYERS)
    steps = mixed.owner.diff(dim=1)
    assert mixed.owner[:, 0].eq(0).all()
    assert mixed.owner[:, -1].eq(mixing - 1).all()
    assert set(steps.flatten().tolist()) <= {0, 1}
    z, labels = fakes.latents(range(50)), fakes.labels(range(50))
    assert torch.equal(z, Fakes(generator, seed=3).latents(range(50)))
    ws = fakes.map(z, labels, mixed)
    with torch.no_grad():  # as samples are drawn: with gradients, float32 is rounded elsewhere (ops.switch.exact)
        each = torch.stack([generator.mapping(x, labels) for x in (z, *mixed.others)])
    for i in range(50):
        for layer in range(LAYERS):
            assert torch.equal(ws[i, layer], each[mixed.owner[i, layer], i, layer])


def test_crossover_points_are_uniform_and_of_the_sample_alone(generator):
    fakes = Fakes(generator, seed=0, mixing=2)
    cuts = fakes.mixed(range(1000)).owner.eq(0).sum(1).numpy()
    assert np.array_equal(np.unique(cuts), np.arange(1, LAYERS))
    assert np.bincount(cuts)[1:].min() > 150
    alone = fakes.mixed([41])
    assert torch.equal(alone.owner[0], fakes.mixed(range(40, 50)).owner[1])
    assert torch.equal(alone.others[0][0], fakes.mixed(range(40, 50)).others[0][1])


def test_a_growing_network_is_cut_among_its_acting_layers():
    G = small_generator()
    G.lod = 1.0
    owner = Fakes(G, mixing=4).mixed(range(20)).owner
    assert owner[:, 3].eq(3).all(), "four layers act, so every one has a latent of its own"
    with pytest.raises(UserError, match="has 4 layers"):
        Fakes(G, mixing=5).check_mixing()


def test_mixed_and_plain_are_measured_in_one_go(generator, dataset):
    options = Options(features="pixels", batch=8, cache=None)
    names = "fid60,fid60_mix2,kid60_mix2,fid60_mix4"
    found = evaluate(generator, dataset, parse_metrics(names), options).metrics
    assert list(found) == names.split(",")
    assert found["fid60_mix4"]["latents"] == 4
    assert "latents" not in found["fid60"]
    for name in names.split(","):
        alone = evaluate(generator, dataset, [parse_metric(name)], options).metrics[name]
        assert alone["values"] == found[name]["values"]
    values = [found[name]["values"]["fid"] for name in names.split(",") if name.startswith("fid")]
    assert len(set(values)) == 3


def test_traditional_generators_have_no_styles_to_mix(dataset):
    with pytest.raises(UserError, match="no styles to mix"):
        evaluate(small_generator(**TRADITIONAL), dataset, [parse_metric("fid60_mix2")], Options(features="pixels"))
