"""Directions are found where they were planted, travel in files, and fit one model."""

import itertools
import json

import numpy as np
import pytest
import torch

from stylegan import editing as ed
from stylegan import images
from stylegan.editing.boundaries import choose_cost, ridge
from stylegan.editing.factorise import style_weights
from stylegan.errors import UserError

from .conftest import TRADITIONAL, linear, make, sample


def angle(a, b):
    """Degrees between two lines."""
    cosine = torch.as_tensor(a).double() @ torch.as_tensor(b).double()
    cosine = cosine / torch.as_tensor(a).double().norm() / torch.as_tensor(b).double().norm()
    return float(torch.rad2deg(torch.arccos(cosine.abs().clamp(max=1))))


def rotation(width, seed=0):
    """Orthonormal columns."""
    torch.manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, width))[0]


# --- SeFa and GANSpace --------------------------------------------------------------------------------------


def test_sefa_finds_what_the_styles_listen_to():
    G, basis = make(), rotation(8)
    gains = torch.tensor([8.0, 5.0, 3.0, 1.0, 0.5, 0.2, 0.1, 0.1])
    with torch.no_grad():
        for layer in G.synthesis.layers:
            rows = layer.affine.weight.shape[0]
            left = torch.linalg.qr(torch.randn(rows, rows))[0][:, :8]
            layer.affine.weight.copy_(left * gains @ basis.T)
    found = ed.sefa(G, 4)
    for i in range(4):
        assert angle(found[i].vector, basis[:, i]) < 0.1
        assert float(found[i].vector.norm()) == pytest.approx(1, abs=1e-5)
    # the gain counts the scale that equalised layers act with, 1/sqrt(8), in all six layers
    assert found["sefa-0"].about["gain"] == pytest.approx(8 * (6 / 8) ** 0.5, rel=1e-4)


def test_sefa_looks_at_the_layers_asked_for():
    G = make()
    with torch.no_grad():
        for i, layer in enumerate(G.synthesis.layers):
            layer.affine.weight.mul_(0.01)[:, 5 if i < 4 else 2] += 3.0
    assert angle(ed.sefa(G, 1, layers=range(4))[0].vector, torch.eye(8)[5]) < 2
    fine = ed.sefa(G, 1, layers=[4, 5])[0]
    assert angle(fine.vector, torch.eye(8)[2]) < 2
    assert fine.layers == (4, 5)
    assert style_weights(G, [4, 5]).shape == (sum(2 * G.synthesis.layers[i].bias.numel() for i in (4, 5)), 8)


def test_ganspace_finds_the_covariance():
    G, layer = linear()
    basis, spreads = rotation(8, 1), torch.tensor([4.0, 2.0, 1.0, 0.5, 0.3, 0.2, 0.1, 0.1])
    with torch.no_grad():
        layer.weight.copy_(basis * spreads @ rotation(8, 2).T / layer.scale)
    found = ed.ganspace(G, 3, samples=4000)
    for i in range(3):
        assert angle(found[i].vector, basis[:, i]) < 5
        assert found[i].scale == pytest.approx(float(spreads[i]), rel=0.1)
    assert found[0].about["variance_share"] == pytest.approx(16 / float(spreads.square().sum()), abs=0.05)


def test_the_same_method_gives_the_same_directions(plain):
    for method in (ed.sefa, ed.ganspace):
        a, b = method(plain, 3), method(plain, 3)
        assert all(torch.equal(x.vector, y.vector) for x, y in zip(a, b, strict=True))
    for direction in ed.sefa(plain, 8):
        assert float(direction.vector[direction.vector.abs().argmax()]) > 0


# --- boundaries ---------------------------------------------------------------------------------------------


def test_labels_lead_from_class_to_class():
    G, layer = linear(labels=3)
    basis = rotation(8, 3)
    with torch.no_grad():
        G.mapping.label_embedding.copy_(torch.eye(8)[:3] * 3)
        layer.weight.zero_()
        layer.weight[:, :8] = 0.3 * torch.eye(8) / layer.scale
        layer.weight[:, 8:11] = basis[:, :3] / layer.scale
    found = ed.from_labels(G, ["a", "b=1: c", "b=1: c"], samples=1500)
    assert [d.name for d in found] == ["a-0", "b-1-c-1", "b-1-c-2"]
    for i in range(3):
        towards = basis[:, i] - (basis[:, :3].sum(1) - basis[:, i]) / 2
        assert angle(found[i].vector, towards) < 8
        assert float(found[i].vector @ towards) > 0  # towards the class, not away
        assert found[i].about["held_out_accuracy"] > 0.98
    with pytest.raises(UserError, match="has no classes"):
        ed.from_labels(make())


@pytest.mark.parametrize("kind", ["number", "yes or no"])
def test_scores_lead_where_they_rise(plain, tmp_path, kind):
    attribute = rotation(8, 4)[:, 0]
    lines = ["seed,score one"]
    for seed in range(300):
        value = float(ed.latents_of_seed(plain, seed).ws[0, 0] @ attribute)
        lines.append(f"{seed},{value if kind == 'number' else int(value > 0)}")
    (tmp_path / "s.csv").write_text("\n".join(lines))
    scores = ed.read_scores(tmp_path / "s.csv", plain)
    found = ed.from_scores(plain, scores)["score-one"]
    w = scores.w - scores.w.mean(0)
    along, wanted = w @ found.vector, w @ attribute
    correlation = torch.corrcoef(torch.stack([along, wanted]))[0, 1]
    assert float(correlation) > (0.999 if kind == "number" else 0.95)
    assert angle(found.vector, attribute) < (1 if kind == "number" else 20)
    quality = found.about["held_out_r2" if kind == "number" else "held_out_accuracy"]
    assert quality > (0.999 if kind == "number" else 0.8)


def test_scores_of_files(plain, tmp_path):
    found = ed.latents_of_seed(plain, 3)
    ed.save_latents(tmp_path / "x.w.safetensors", found, plain)
    generated = {"command": "stylegan generate", "seed": 4}
    images.write_png(tmp_path / "y.png", sample(plain, 4), generated)
    images.write_png(tmp_path / "z.png", sample(plain, 4), {"command": "stylegan project", "seed": 4})
    (tmp_path / "s.csv").write_text("file,score\nx.w.safetensors,1\ny.png,2\n")
    scores = ed.read_scores(tmp_path / "s.csv", plain)
    assert torch.allclose(scores.w[0], found.ws[0, 0])
    assert torch.allclose(scores.w[1], ed.latents_of_seed(plain, 4).ws[0, 0])
    (tmp_path / "s.csv").write_text("file,score\nz.png,2\n")
    with pytest.raises(UserError, match="was not drawn from one seed"):
        ed.read_scores(tmp_path / "s.csv", plain)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed,score\n1,0.5\n2,nan\n", r"line 3, score: 'nan' is no finite number"),
        ("seed,score\n1,0.5\n2,\n", r"line 3, score: '' is no finite number"),
        ("seed,score\n1.5,1\n", "line 2, seed: '1.5' is no whole number"),
        ("seed,score\n1,2,3\n", "more values than the header"),
        ("name,score\na,1\n", "needs a header with a column seed or file"),
        ("seed\n1\n", "one or more columns of scores"),
        ("", "needs a header"),
    ],
)
def test_scores_that_are_wrong(plain, tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        ed.read_scores(tmp_path / "s.csv", plain)


def test_scores_that_say_nothing(plain, tmp_path):
    (tmp_path / "s.csv").write_text("seed,score\n" + "\n".join(f"{i},7" for i in range(20)))
    with pytest.raises(UserError, match="all are 7"):
        ed.from_scores(plain, ed.read_scores(tmp_path / "s.csv", plain))
    (tmp_path / "s.csv").write_text("seed,score\n1,2\n2,3\n")
    with pytest.raises(UserError, match="2 rows; a direction needs 8 or more"):
        ed.from_scores(plain, ed.read_scores(tmp_path / "s.csv", plain))
    (tmp_path / "s.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UserError, match="cannot be read as a CSV"):
        ed.read_scores(tmp_path / "s.csv", plain)


def test_ridge_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 5)), rng.standard_normal(60)
    weights, penalty = ridge(x, y)
    assert np.allclose(weights, linear_model.Ridge(alpha=penalty).fit(x, y).coef_, atol=1e-8)
    assert ridge(x, x @ [1, 2, 3, 4, 5] + 7)[0] == pytest.approx([1, 2, 3, 4, 5], abs=1e-3)


def test_a_boundary_gives_up_little_accuracy_for_movement():
    rng = np.random.default_rng(0)
    yes = np.arange(1000) % 2 == 0
    x = rng.standard_normal((1000, 2)) * [1.0, 0.05]
    x[:, 0] += np.where(yes, 3.0, -3.0)  # both components tell the class, the second with hardly a movement
    x[:, 1] += np.where(yes, 0.2, -0.2)
    cost, accuracy = choose_cost(x, yes, np.arange(1000) % 5 == 4)
    assert cost < 1
    assert accuracy > 0.97


# --- files, edits -------------------------------------------------------------------------------------------


def test_files_of_directions(plain, tmp_path):
    found = ed.sefa(plain, 3, layers=[0, 1])
    ed.save_directions(tmp_path / "d.safetensors", found)
    first = (tmp_path / "d.safetensors").read_bytes()
    again = ed.load_directions(first, plain)
    assert [(d.name, d.layers, d.about) for d in again] == [(d.name, d.layers, d.about) for d in found]
    assert all(torch.equal(a.vector, b.vector) for a, b in zip(again, found, strict=True))
    assert (again.method, again.fingerprint) == ("sefa", ed.fingerprint(plain))
    ed.save_directions(tmp_path / "d.safetensors", again)
    assert (tmp_path / "d.safetensors").read_bytes() == first
    assert len(first) < 3000
    assert again[1] is again["sefa-1"]
    assert again["1"] is again[1]
    with pytest.raises(UserError, match=r"'sefa-9': there is none of this name among .*; the nearest: sefa-"):
        again["sefa-9"]
    twice = ed.Directions([found[0], found[0]], "sefa", "")
    with pytest.raises(UserError, match="names must differ"):
        ed.save_directions(tmp_path / "d.safetensors", twice)


def test_files_fit_one_model(plain, tmp_path):
    path = ed.save_directions(tmp_path / "d.safetensors", ed.sefa(plain, 2))
    w = ed.save_latents(tmp_path / "x.w.safetensors", ed.latents_of_seed(plain, 1), plain)
    other, wide, small = make(seed=1), make(w_dim=12), make(resolution=8)
    with pytest.raises(UserError, match="made for another model"):
        ed.load_directions(path, other)
    with pytest.raises(UserError, match="give --any-model"):
        ed.load_latents(w, other)
    assert len(ed.load_directions(path, other, any_model=True)) == 2
    assert ed.load_latents(w, other, any_model=True).ws.shape == (1, 6, 8)
    for G in (wide, small):
        with pytest.raises(UserError, match="made for another model"):
            ed.load_directions(path, G, any_model=True)
        with pytest.raises(UserError, match="made for another model"):
            ed.load_latents(w, G, any_model=True)
    with pytest.raises(UserError, match="traditional generator"):
        ed.sefa(make(**TRADITIONAL))
    half = make()
    half.load_state_dict({name: value.half().float() for name, value in half.state_dict().items()})
    assert ed.fingerprint(half) == ed.fingerprint(plain) != ed.fingerprint(other)


def test_what_is_no_such_file(plain, tmp_path):
    path = ed.save_directions(tmp_path / "d.safetensors", ed.sefa(plain, 2))
    data = path.read_bytes()
    w = ed.save_latents(tmp_path / "x.w.safetensors", ed.latents_of_seed(plain, 1), plain)
    for junk in (b"", b"junk", data[:-5], data[:40], w.read_bytes(), b"\xff" * 64):
        with pytest.raises(UserError, match="not a file of directions"):
            ed.load_directions(junk, plain)
    with pytest.raises(UserError, match="not a w file"):
        ed.load_latents(data, plain)
    broken = ed.latents_of_seed(plain, 1)
    broken.ws[0, 0, 0] = float("nan")
    ed.save_latents(w, broken, plain)
    with pytest.raises(UserError, match="not finite"):
        ed.load_latents(w, plain)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match=r"cannot be read|not a w file"):
            ed.load_latents(missing, plain)
    # a header that promises what is not there
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for key, value in (("layers", [99]), ("layers", None), ("name", None)):
        own = json.loads(header["__metadata__"]["stylegan-directions"])
        own["directions"][0][key] = value
        if value is None:
            del own["directions"][0][key]
        metadata = {"__metadata__": {"stylegan-directions": json.dumps(own)}}
        text = json.dumps({**header, **metadata}).encode()
        with pytest.raises(UserError, match=r"another model|not a file of directions"):
            ed.load_directions(len(text).to_bytes(8, "little") + text + data[8 + length :], plain)


def test_edits_add_up(plain):
    a, b = ed.sefa(plain, 2)
    ws = torch.cat([ed.latents_of_seed(plain, seed).ws for seed in range(3)])
    edits = [ed.Edit(a, 2.0), ed.Edit(b, -1.0, (4, 5)), ed.Edit(a, 0.5, (0,))]
    moved = ed.apply_edits(ws, edits)
    for order in itertools.permutations(edits):
        assert torch.allclose(ed.apply_edits(ws, order), moved, atol=1e-5)
    back = ed.apply_edits(moved, [ed.Edit(e.direction, -e.strength, e.layers) for e in edits])
    assert torch.allclose(back, ws, atol=1e-5)
    assert torch.equal(ed.apply_edits(ws, [ed.Edit(a, 0.0)]), ws)
    only = ed.apply_edits(ws, [ed.Edit(a, 2.0, (3,))]) - ws
    assert not only[:, [0, 1, 2, 4, 5]].any()
    assert float(only[0, 3].norm()) == pytest.approx(2 * a.scale, rel=1e-4)  # strength in standard deviations
    with pytest.raises(UserError, match="this network has 0-5"):
        ed.apply_edits(ws, [ed.Edit(a, 1.0, (6,))])
    with pytest.raises(UserError, match="is no number"):
        ed.apply_edits(ws, [ed.Edit(a, float("inf"))])


def test_edits_as_written(plain, tmp_path):
    path = ed.save_directions(tmp_path / "d=1:x.safetensors", ed.sefa(plain, 3))
    edit = ed.parse_edit(f"{path}:sefa-1=-2.5@coarse,5", plain)
    assert (edit.direction.name, edit.strength, edit.layers) == ("sefa-1", -2.5, (0, 1, 2, 3, 5))
    assert ed.parse_edit(f"{path}:2=1", plain).direction.name == "sefa-2"
    for wrong, message in (
        (f"{path}:sefa-1", "write FILE:NAME=STRENGTH"),
        (f"{path}:sefa-1=much", "write FILE:NAME=STRENGTH"),
        (f"{path}:sefa-1=nan", "write FILE:NAME=STRENGTH"),
        (f"{path}:sefa-7=1", "there is none of this name"),
        (f"{path}:sefa-1=1@9", "this network has layers 0-5"),
        ("sefa-1=1", "write FILE:NAME"),
        ("none.safetensors:sefa-1=1", "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            ed.parse_edit(wrong, plain)


def test_sheet_shows_every_direction(plain):
    found = ed.sefa(plain, 3)
    start = ed.latents_of_seed(plain, 1)
    page = ed.directions_sheet(plain, found, start, (-2, 0, 2))
    assert page.dtype == np.uint8
    assert page.shape[0] > 3 * 96
    centre = ed.draw(plain, start)
    enlarged = images.enlarge(centre, 6)
    matches = 0  # the middle column is the unedited image, three times
    for y in range(page.shape[0] - 95):
        hits = np.flatnonzero((page[y, :-95] == enlarged[0, 0]).all(-1))
        matches += sum(np.array_equal(page[y : y + 96, x : x + 96], enlarged) for x in hits)
    assert matches == 3
