"""What the studio draws: the same as the library, in batches, with a low-resolution frame where that is needed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan import UserError, drawing, images, latents
from stylegan.drawing.render import exact_float32
from stylegan.snapshot import load
from stylegan.studio import pictures, threads
from stylegan.studio.messages import Look, Recipe, Render
from stylegan.studio.pictures import Painter, encode
from stylegan.studio.points import Points
from stylegan.studio.sketch import Sketch
from tests.cli.conftest import stylegan  # noqa: F401
from tests.export.conftest import made
from tests.studio.conftest import Running, frame_of, render, seed


@pytest.fixture(scope="module")
def painter(place: Path) -> Painter:
    G = load(place / "small.safetensors").generator
    return Painter(G, Points(G))


def drawn(painter: Painter, recipe: dict[str, Any], **look: Any) -> np.ndarray:
    settings = Look.model_validate(look)
    return painter.exact(Recipe.model_validate(recipe), painter.points.look(settings), settings.noise)


def corners(*seeds: int) -> list[dict[str, Any]]:
    return [seed(s)["place"] for s in seeds]


def test_seeds_are_those_of_the_library(painter: Painter) -> None:
    G = painter.generator
    for number in (0, 7, 2**32 - 1):
        expected = images.to_uint8(next(drawing.draw_seeds(G, [number], drawing.default_look(G))))
        assert np.array_equal(drawn(painter, seed(number)), expected)
    expected = images.to_uint8(next(drawing.draw_seeds(G, [3], drawing.default_look(G, psi=0.4, cutoff=2), [1])))
    assert np.array_equal(drawn(painter, seed(3, cls=1), psi=0.4, cutoff=2), expected)


def test_plane(painter: Painter) -> None:
    """Its corners are its seeds; between them w is linear."""

    def at(x: float, y: float) -> dict[str, Any]:
        return {"place": {"kind": "plane", "corners": corners(3, 4, 5), "x": x, "y": y}}

    still = {"noise": {"mode": "none"}}
    for (x, y), number in {(0, 0): 3, (1, 0): 4, (0, 1): 5}.items():
        apart = np.abs(drawn(painter, at(x, y), **still).astype(int) - drawn(painter, seed(number), **still))
        assert apart.max() <= 1
    points, look = painter.points, painter.points.look(Look())
    a, b, c = (points.styles(Recipe.model_validate(seed(n)), look) for n in (3, 4, 5))
    middle = points.styles(Recipe.model_validate(at(0.25, -0.5)), look)
    assert torch.allclose(middle, a + 0.25 * (b - a) - 0.5 * (c - a), atol=1e-6)


def test_mix_and_noise(painter: Painter) -> None:
    points, look = painter.points, painter.points.look(Look())
    a, b = (points.styles(Recipe.model_validate(seed(n)), look) for n in (3, 4))
    recipe = {**seed(3), "mix": [{"point": seed(4)["place"], "layers": [0, 1, 5, 39]}]}
    found = points.styles(Recipe.model_validate(recipe), look)
    assert torch.equal(found, latents.style_mix(a, b, [0, 1, 5]))
    off = drawn(painter, seed(3), noise={"mode": "random", "strengths": [0.0] * 6})
    assert np.array_equal(off, drawn(painter, seed(3), noise={"mode": "none"}))
    own = drawn(painter, seed(3), noise={"mode": "random", "seed": 3})
    assert np.array_equal(own, drawn(painter, seed(3)))
    assert not np.array_equal(own, drawn(painter, seed(3), noise={"mode": "random", "seed": 4}))
    part = drawn(painter, seed(3), noise={"mode": "stored", "strengths": [1, 1, 1, 1, 1, 0.5]})
    assert not np.array_equal(part, drawn(painter, seed(3), noise={"mode": "stored"}))


def test_towards_the_class(painter: Painter) -> None:
    """psi 0 in all layers is the mean of a class, in seeds and in walks; a model without classes takes it for all."""
    G = painter.generator
    look = painter.points.look(Look.model_validate({"psi": 0.0, "cutoff": -1, "towards": "class"}))
    centres = drawing.class_centres(G)
    for number in (2, 0):
        ws = painter.points.styles(Recipe.model_validate(seed(5, cls=number)), look)
        assert torch.equal(ws[0], centres[number].expand_as(ws[0]))
    path = {"kind": "path", "points": [seed(5, cls=1)["place"], seed(6, cls=0)["place"]], "frames": 8, "frame": 0}
    ws = painter.points.styles(Recipe.model_validate({"place": path}), look)
    assert torch.allclose(ws[0], centres[1].expand_as(ws[0]), atol=1e-6)
    assert not torch.allclose(centres[1], G.w_avg, atol=1e-3)
    plain = painter.points.look(Look(psi=0.0, cutoff=-1))
    other = painter.points.styles(Recipe.model_validate({"place": path}), plain)
    assert torch.allclose(other[0], G.w_avg.expand_as(ws[0]), atol=1e-6)


def test_what_the_model_lacks(painter: Painter) -> None:
    with pytest.raises(UserError, match="class 7: this model has classes 0 to 2"):
        drawn(painter, seed(0, cls=7))
    with pytest.raises(UserError, match="directions are gone"):
        drawn(painter, {**seed(0), "edits": [{"direction": "abc", "index": 0, "strength": 1.0}]})
    with pytest.raises(UserError, match="this image is gone"):
        drawn(painter, {"place": {"kind": "kept", "id": "abc"}})


def request(count: int, **more: Any) -> Render:
    recipes = [seed(i) for i in range(count)]
    return Render.model_validate({"type": "render", "id": 1, "view": "v", "model": "m", "recipes": recipes, **more})


def test_batches(painter: Painter) -> None:
    """Every picture comes once, going on from where a request was interrupted; batches differ by at most a level."""
    for start in (0, 3, 9):
        steps = list(painter.steps(request(10), start))
        found = {picture.index: picture.image for part in steps for picture in part}
        assert [picture.index for part in steps for picture in part] == [(start + i) % 10 for i in range(10)]
        for i in (0, 5, 9):
            assert np.abs(found[i].astype(int) - drawn(painter, seed(i))).max() <= 1
    assert any(len(part) > 1 for part in steps)


def test_low_resolution_first(tmp_path: Path) -> None:
    """Where drawing is slow, a frame of a quarter of the side goes first, once that has been learned from others."""
    G = made(tmp_path, 128).generator
    painter = Painter(G, Points(G))
    assert [[p.preview for p in part] for part in painter.steps(request(1))] == [[False]]
    painter.seconds = 100.0
    for part in painter.steps(request(12)):
        assert not part[0].preview  # nothing to show yet
    assert painter._sketch.learned == 12
    painter.seconds = 100.0
    (small,), (full,) = painter.steps(request(1))
    assert (small.preview, full.preview) == (True, False)
    assert (small.image.shape, full.image.shape) == ((32, 32, 3), (128, 128, 3))
    painter.seconds = 100.0
    order = [(p.preview, p.index) for part in painter.steps(request(6), 2) for p in part]
    assert order == [(preview, (2 + i) % 6) for preview in (True, False) for i in range(6)]
    assert [part[0].preview for part in painter.steps(request(1, preview=False))] == [False]
    assert not Sketch(made(tmp_path, 64).generator).possible  # a quarter would be under 32 pixels


def test_the_readout_of_the_low_resolution(tmp_path: Path) -> None:
    """Where the picture is a linear function of the features, it is found, whatever the network's own readout is."""
    G = made(tmp_path, 128).generator
    sketch = Sketch(G)
    width = G.config.fmaps(sketch.level + 1)
    weight, bias = (
        torch.randn(3, width, generator=torch.Generator().manual_seed(0)) * 0.1,
        torch.tensor([0.1, -0.2, 0.3]),
    )
    ws = G.mapping(latents.z_from_seeds(range(8), 16)).detach()
    seen: list[torch.Tensor] = []
    G.synthesis.layers[2 * sketch.level + 1].register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
    with torch.inference_mode():
        for i in range(7):
            with sketch.watching() as drawn:
                G.synthesis(ws[i : i + 1], noise="none")
                picture = torch.einsum("cf,nfhw->nchw", weight, seen[-1]) + bias[:, None, None]
                drawn.append(picture.repeat_interleave(4, 2).repeat_interleave(4, 3))
        network = sketch.network()
        assert network is not None
        found = network(ws[7:], lod=sketch.lod, noise="none")
    expected = torch.einsum("cf,nfhw->nchw", weight, seen[-1]) + bias[:, None, None]
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The faster of one thread and all is kept; the other is tried again after a while, when the machine is free."""
    monkeypatch.setattr(threads, "overloaded", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    choice, clock = threads.Threads(), {"now": 0.0}
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock["now"])

    def draw(times: dict[int, float]) -> int:
        used.clear()
        with choice.timed(2):
            count = used[-1] if used else 8
            clock["now"] += 2 * times[count]
        return count

    assert [draw({8: 1.0, 1: 0.1}) for _ in range(3)] == [8, 8, 8]
    choice._tried -= threads.LOOK_AGAIN
    assert [draw({8: 1.0, 1: 0.1}) for _ in range(3)] == [1, 1, 1]  # tried once, and better
    choice._tried -= threads.LOOK_AGAIN
    assert [draw({8: 0.05, 1: 0.1}) for _ in range(2)] == [8, 8]  # the machine is free again
    choice.count = 1
    monkeypatch.setattr(threads, "overloaded", lambda: True)
    choice.seconds = {1: 0.1, 8: 1.0}
    choice._tried -= threads.LOOK_AGAIN
    assert draw({1: 0.1, 8: 9.0}) == 1  # not tried where that would take long


def test_precision(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32 is for what goes out as JPEG; small pictures and downloads are exact. Settings come back."""
    used: list[str] = []
    for name in ("exact_float32", "quick_float32"):
        whole = getattr(pictures, name)
        monkeypatch.setattr(pictures, name, lambda device, own=whole, n=name: (used.append(n), own(device))[1])
    request = Render.model_validate(json.loads(render("m", [seed(1)])))
    list(painter.steps(request))
    monkeypatch.setattr(pictures, "LOSSLESS", 8)
    list(painter.steps(request))
    drawn(painter, seed(1))
    assert used == ["exact_float32", "quick_float32", "exact_float32"]
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with pictures.quick_float32(torch.device("cuda")):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
        with exact_float32(torch.device("cuda")):
            assert not torch.backends.cudnn.allow_tf32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_encoding() -> None:
    """Small pictures are lossless; large ones are JPEG; transparency is kept; `side` reduces."""
    random = np.random.default_rng(0)
    for channels in (1, 3, 4):
        small = random.integers(0, 256, (64, 48, channels), dtype=np.uint8)
        data, kind = encode(small)
        assert kind == "webp"
        back = np.asarray(Image.open(io.BytesIO(data)))
        assert np.array_equal(back, small.repeat(3, axis=2) if channels == 1 else small)
    large = np.kron(random.integers(0, 256, (10, 8, 3)), np.ones((60, 60, 1))).astype(np.uint8)
    data, kind = encode(large)
    assert kind == "jpeg"
    assert np.abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - large).mean() < 4
    assert Image.open(io.BytesIO(encode(large, 128)[0])).size == (102, 128)
    coloured = {side: len(encode(large, side)[0]) / side**2 for side in (512, 600)}
    assert coloured[600] < 0.8 * coloured[512]  # the largest with half the colour, for 60 of them a second


def test_over_the_websocket(running: Running) -> None:
    """Frames come for each picture, with their ids; the last says so; errors name the request."""
    model = running.json("/api/hello")["models"][0]["id"]
    with running.connect() as socket:
        socket.send(render(model, [seed(i) for i in range(6)], id=5))
        seen = [frame_of(socket.recv(30))[0] for _ in range(6)]
        assert [h["index"] for h in seen] == list(range(6))
        assert [h["last"] for h in seen] == [False] * 5 + [True]
        assert {(h["view"], h["id"], h["width"], h["height"]) for h in seen} == {("test", 5, 16, 16)}
        socket.send(render("0" * 12, [seed(0)], id=6))
        assert json.loads(socket.recv(30)) == {
            "type": "error",
            "code": "unknown",
            "text": "there is no such model, run or upload (any more)",
            "view": "test",
            "id": 6,
        }
        socket.send(render(model, [seed(0, cls=9)], id=7))
        assert json.loads(socket.recv(30))["code"] == "refused"
        for id in range(100, 160):  # a drag: many requests, of which the newest counts
            socket.send(render(model, [seed(id)], id=id))
        ids = []
        while not ids or ids[-1] != 159:
            ids.append(frame_of(socket.recv(30))[0]["id"])
        assert ids == sorted(ids)


def test_busy(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a request is answered "busy", over both ways; afterwards all is well."""
    model = running.json("/api/hello")["models"][0]["id"]
    monkeypatch.setattr(running.studio.scheduler, "bound", 0)
    with running.connect() as socket:
        socket.send(render(model, [seed(0)], id=8))
        assert json.loads(socket.recv(30))["code"] == "busy"
        body = json.dumps({"model": model, "recipe": seed(0)}).encode()
        status, headers, answer = running.ask("/api/picture", "POST", body)
        assert (status, headers["retry-after"], json.loads(answer)["code"]) == (503, "1", "busy")
        monkeypatch.undo()
        socket.send(render(model, [seed(0)], id=9))
        assert frame_of(socket.recv(30))[0]["id"] == 9


def test_downloads_equal_generate(running: Running, place: Path, tmp_path: Path, stylegan: Any) -> None:  # noqa: F811
    """A downloaded picture is the file of `stylegan generate`, to the byte, settings included."""
    model = next(m["id"] for m in running.json("/api/models") if m["name"] == "small.safetensors")
    cases = [
        ([], {}, {}),
        (["--psi", "0.5", "--cutoff", "3"], {"psi": 0.5, "cutoff": 3}, {}),
        (["--class", "2", "--noise", "stored"], {"noise": {"mode": "stored"}}, {"cls": 2}),
        (["--towards", "class", "--psi", "0.3", "--cutoff", "4"], {"towards": "class", "psi": 0.3, "cutoff": 4}, {}),
    ]
    for i, (options, look, point) in enumerate(cases):
        out = tmp_path / str(i)
        done = stylegan(
            "generate",
            place / "small.safetensors",
            "--seeds",
            "41",
            "--grid",
            "none",
            "--device",
            "cpu",
            "--out",
            out,
            *options,
        )
        assert done.code == 0, done.err
        body = {"model": model, "recipe": {"place": {**seed(41)["place"], **point}}, "look": look}
        status, headers, data = running.ask("/api/picture", "POST", json.dumps(body).encode())
        assert status == 200, data
        assert headers["content-disposition"] == 'attachment; filename="seed0041.png"'
        assert data == (out / "seed0041.png").read_bytes()
    body["recipe"]["mix"] = [{"point": seed(1)["place"], "layers": [4, 5]}]  # type: ignore[index]
    _, _, data = running.ask("/api/picture", "POST", json.dumps(body).encode())
    (tmp_path / "mixed.png").write_bytes(data)
    told = images.read_parameters(tmp_path / "mixed.png")
    assert told["command"] == "stylegan studio"
    assert told["recipe"]["mix"][0]["layers"] == [4, 5]
