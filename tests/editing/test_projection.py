"""Projection: a generator's own images come back, and the descent can be watched, left and repeated."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import editing as ed
from stylegan import images
from stylegan.editing.perceptual import LpipsDistance, Pyramid, check_size
from stylegan.editing.projection import psnr
from stylegan.editing.starting import candidates, w_statistics
from stylegan.editing.whiteness import autocorrelation, renormalise
from stylegan.errors import UserError
from stylegan.metrics.public import LpipsNetwork
from stylegan.metrics.vgg import Lpips

from .conftest import TRADITIONAL, make, sample

QUICK = ed.ProjectionSettings(steps=40, candidates=32, starts=2)


def finish(projection):
    states = list(projection)
    return states, projection.result()


@pytest.fixture(scope="module")
def larger():
    return make(z_dim=32, w_dim=32, mapping_width=32, fmap_base=256, fmap_max=32)


@pytest.fixture(scope="module")
def found(larger):
    """Three of the generator's own images, with noise of their own, projected together."""
    targets = [sample(larger, 4), sample(larger, 5), sample(larger, 6, psi=0.7)]
    before = {name: value.clone() for name, value in larger.state_dict().items()}
    projection = ed.Projection(larger, targets, ed.ProjectionSettings(steps=150, candidates=64))
    states, results = finish(projection)
    assert all(torch.equal(value, before[name]) for name, value in larger.state_dict().items())
    return projection, states, results, targets


def test_own_images_come_back(larger, found):
    _, _, results, targets = found
    for result, target in zip(results, targets, strict=True):
        assert result.psnr > 30
        again = ed.draw(larger, result.latents)
        assert np.array_equal(again, result.image)
        error = np.mean((again.astype(float) - target) ** 2)
        assert result.psnr == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
        assert result.perceptual < 0.01


def test_steps_can_be_counted(found):
    projection, states, _, _ = found
    assert [state.step for state in states] == list(range(1, projection.total + 1))
    stages = list(dict.fromkeys(state.stage for state in states))
    assert stages == ["start", "w", "w+", "noise"]
    assert sum(state.stage != "start" for state in states) == 150
    assert all(len(state.loss) == len(state.psnr) == 3 for state in states)
    assert min(states[-1].psnr) > max(states[0].psnr)


def test_noise_stays_noise(found):
    projection, _, results, _ = found
    for result in results:
        for layer in result.latents.noise:
            assert abs(float(layer.mean())) < 1e-5
            assert float(layer.square().mean()) == pytest.approx(1, abs=1e-4)
        pictures = [layer for layer in result.latents.noise if layer.shape[2] >= 8]
        assert float(autocorrelation(pictures)[0]) < 0.1
    assert projection.settings.noise == "optimise"


def test_a_descent_can_be_left_and_what_is_there_used(plain):
    projection = ed.Projection(plain, [sample(plain, 5)], QUICK)
    for state in projection:
        if state.stage == "w+":
            break
    (left,) = projection.latents()
    assert left.ws.shape == (1, 6, 8)
    assert projection.images()[0].shape == (16, 16, 3)
    assert ed.draw(plain, left).shape == (16, 16, 3)


def test_the_same_projection_gives_the_same_latents(plain):
    runs = [finish(ed.Projection(plain, [sample(plain, 6)], QUICK))[1][0].latents for _ in range(2)]
    assert torch.equal(runs[0].ws, runs[1].ws)
    assert all(torch.equal(a, b) for a, b in zip(runs[0].noise, runs[1].noise, strict=True))


def test_passes_of_any_size_give_the_same(plain):
    """`batch` bounds memory; it changes no more than the last bits of sums."""
    targets = [sample(plain, seed) for seed in (1, 2, 3)]
    short = {"steps": 12, "candidates": 32, "starts": 2}
    ws = []
    for batch in (2, 16):
        projection = ed.Projection(plain, targets, ed.ProjectionSettings(**short, batch=batch))
        ws.append(torch.cat([r.latents.ws for r in finish(projection)[1]]))
    assert torch.allclose(*ws, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "lod"),
    [({"channels": 1}, 0.0), ({"channels": 4}, 0.0), ({"resolution": (48, 80)}, 1.5), ({"noise": False}, 0.0)],
)
def test_other_generators(settings, lod):
    G = make(lod=lod, **settings)
    states, (result,) = finish(ed.Projection(G, [sample(G, 7)], QUICK))
    assert result.psnr > states[0].psnr[0] + 3
    assert (result.latents.noise is None) == (not G.config.noise)
    assert result.image.shape == (*ed.target_size(G), G.config.channels)


@pytest.mark.parametrize(("space", "noise"), [("w", "stored"), ("w", "optimise"), ("w+", "none")])
def test_spaces_and_noise(plain, space, noise):
    settings = ed.ProjectionSettings(steps=20, candidates=16, starts=1, space=space, noise=noise)
    states, (result,) = finish(ed.Projection(plain, [sample(plain, 3)], settings))
    one = result.latents.ws[:, :1].expand_as(result.latents.ws)
    assert torch.equal(one, result.latents.ws) == (space == "w")
    assert (result.latents.noise is None) == (noise == "stored")
    if noise == "none":
        assert all(not layer.any() for layer in result.latents.noise)
    assert sum(state.stage != "start" for state in states) == 20


def test_class_is_given_or_guessed():
    G = make(labels=3)
    with torch.no_grad():
        G.mapping.label_embedding.mul_(6)
    targets = [sample(G, seed, "stored", 1.0, [seed % 3]) for seed in range(6)]
    _, results = finish(ed.Projection(G, targets, ed.ProjectionSettings(steps=3, candidates=96, starts=1)))
    assert sum(result.class_ == seed % 3 for seed, result in enumerate(results)) >= 5
    _, (result,) = finish(ed.Projection(G, targets[:1], QUICK, classes=[2]))
    assert result.class_ == result.latents.about["class"] == 2
    statistics = w_statistics(G, 30)
    tried, classes = candidates(statistics, 12)
    assert len(tried) == 1 + 3 + 12
    assert classes == [None, 0, 1, 2, *[0, 1, 2] * 4]


def test_what_cannot_be_projected(plain):
    with pytest.raises(UserError, match="traditional generator"):
        ed.Projection(make(**TRADITIONAL), [np.zeros((16, 16, 3), np.uint8)])
    with pytest.raises(UserError, match=r"must be uint8 \(16, 16, 3\)"):
        ed.Projection(plain, [np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(UserError, match="give at least one image"):
        ed.Projection(plain, [])
    with pytest.raises(UserError, match="has no classes"):
        ed.Projection(plain, [sample(plain, 0)], classes=[1])
    for wrong in ({"steps": 0}, {"space": "z"}, {"noise": "random"}, {"lr": float("nan")}, {"seed": -1}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            ed.ProjectionSettings(**wrong).check()


# --- the parts ----------------------------------------------------------------------------------------------


def test_autocorrelation():
    flat = torch.ones(2, 1, 16, 16)
    # every neighbour's product is 1, in 2 directions; the coarser scale is twice as large, so 16 there
    assert torch.allclose(autocorrelation([flat]), torch.tensor([2.0 + 2 * 16.0] * 2))
    stripes = torch.ones(1, 1, 8, 8)
    stripes[..., ::2] = -1
    assert float(autocorrelation([stripes])[0]) == pytest.approx(2)  # −1 across and 1 down, squared
    torch.manual_seed(0)
    white = torch.randn(1, 1, 256, 256)
    assert float(autocorrelation([white])[0]) < 0.1
    smooth = torch.nn.functional.avg_pool2d(white, 5, 1, 2)
    renormalise([smooth])
    assert float(autocorrelation([smooth])[0]) > 1
    assert float(smooth.mean()) == pytest.approx(0, abs=1e-5)


def test_statistics_of_w(plain):
    statistics = w_statistics(plain, 2000, seed=3)
    assert torch.allclose(statistics.mean, statistics.samples.mean(0))
    deviation = (statistics.samples - statistics.mean).square().mean().sqrt()
    assert statistics.spread == pytest.approx(float(deviation))
    assert not torch.equal(w_statistics(plain, 10).samples, w_statistics(plain, 10, seed=1).samples)


def test_pyramid_distance():
    a = torch.zeros(2, 3, 32, 32)
    assert torch.equal(Pyramid().distance(a, a), torch.zeros(2))
    assert torch.allclose(Pyramid().distance(a, a + 0.5), torch.tensor([0.25] * 2))  # a shift is one at every scale
    checks = a.clone()
    checks[..., ::2, 1::2] = checks[..., 1::2, ::2] = 1
    checks[..., ::2, ::2] = checks[..., 1::2, 1::2] = -1
    assert torch.allclose(Pyramid().distance(a, checks), torch.tensor([1 / 3] * 2))  # detail is one at the finest only


def test_lpips_where_its_weights_are(plain, monkeypatch, tmp_path):
    monkeypatch.setattr("stylegan.metrics.weights.weights_folder", lambda: tmp_path)
    assert type(ed.open_perceptual("auto")) is Pyramid
    with pytest.raises(UserError, match=r"vgg\.pth"):
        ed.open_perceptual("lpips")
    with pytest.raises(UserError, match="vgg16 and lpips only"):
        ed.open_perceptual("auto", weights={"inception": tmp_path})
    torch.manual_seed(0)
    network = LpipsNetwork(Lpips(), "0" * 64, "cpu")
    learned = LpipsDistance(network)
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    official = network.distance(a * 127.5 + 127.5, b * 127.5 + 127.5).float()
    assert torch.allclose(learned.distance(a, b), official, rtol=1e-4)
    _, (result,) = finish(ed.Projection(plain, [sample(plain, 3)], ed.ProjectionSettings(6, candidates=4), learned))
    assert result.perceptual > 0
    with pytest.raises(UserError, match="needs images of 16 pixels or more"):
        check_size(learned, (8, 8), 3)


def test_psnr():
    a = torch.full((1, 3, 4, 4), -1.0)
    assert psnr(a, a).item() == 100
    assert psnr(a, a + 2 / 255).item() == pytest.approx(20 * np.log10(255), abs=1e-3)  # one level apart


# --- targets ------------------------------------------------------------------------------------------------


def test_a_photo_is_turned_cut_and_reduced(plain, photo, tmp_path):
    target = ed.read_target(photo, plain)
    assert target.shape == (16, 16, 3)
    assert target.dtype == np.uint8
    assert tuple(target[3, 3]) == (250, 120, 30)  # the crop keeps columns 5-35, of which half are bright
    assert tuple(target[3, 12]) == (0, 0, 0)
    whole = ed.read_target(photo.read_bytes(), plain, fit="letterbox")
    assert tuple(whole[0, 0]) == (255, 255, 255)
    turned = Image.open(photo).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(ed.read_target(tmp_path / "turned.png", plain), target)
    assert ed.read_target(photo, make(channels=1)).shape == (16, 16, 1)
    assert (ed.read_target(photo, make(channels=4))[..., 3] == 255).all()


def test_what_is_no_photo(plain, photo, tmp_path):
    with pytest.raises(UserError, match="not an image"):
        ed.read_target(b"GIF89a nothing more", plain)
    with pytest.raises(UserError, match="is a folder"):
        ed.read_target(tmp_path, plain)
    with pytest.raises(UserError, match="cannot be read"):
        ed.read_target(tmp_path / "missing.png", plain)
    with pytest.raises(UserError, match="cannot give 6 channels"):
        ed.read_target(photo, make(channels=6))
    with pytest.raises(UserError, match="must be crop or letterbox"):
        ed.read_target(photo, plain, fit="stretch")
    huge = io.BytesIO()
    Image.new("1", (9000, 9000)).save(huge, "PNG")
    with pytest.raises(UserError, match="81 million pixels, at most 50 million"):
        ed.read_target(huge.getvalue(), plain)
    cut = photo.read_bytes()
    with pytest.raises(UserError, match="the image"):
        ed.read_target(cut[: len(cut) - 30], plain)


# --- pivotal tuning -----------------------------------------------------------------------------------------


def test_tuning_comes_nearer_and_leaves_the_rest(plain):
    target = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)  # nothing it could draw
    _, (start,) = finish(ed.Projection(plain, [target], QUICK))
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    moved = {}
    for locality in (0.0, 1.0):
        settings = ed.TuningSettings(steps=25, lr=0.02, locality=locality)
        tuning = ed.Tuning(plain, [target], [start.latents], settings)
        states = list(tuning)
        (tuned,) = tuning.result()
        assert [state.stage for state in states] == ["tune"] * 25
        assert tuned.psnr > start.psnr + 0.5
        pair = [images.to_float(image)[None] for image in (tuned.image, target)]
        assert tuned.psnr == pytest.approx(psnr(*pair).item())
        assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
        assert ed.fingerprint(tuning.generator) == ed.fingerprint(plain)
        others = [sample(tuning.generator, s, "stored").astype(float) - sample(plain, s, "stored") for s in range(8)]
        moved[locality] = np.mean(np.square(others))
    assert moved[1.0] < 0.8 * moved[0.0]
