"""Projections, directions and clips over the WebSocket, without a browser: progress, results, stopping."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image

from stylegan import editing, images
from tests.studio.conftest import Running, frame_of, render, seed


@contextmanager
def page(running: Running) -> Iterator[tuple[Any, str]]:
    model = next(m["id"] for m in running.json("/api/models") if m["name"] == "small.safetensors")
    with running.connect() as socket:
        yield socket, model


def until_end(socket: Any) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """(last message of the job, those before, headers of the frames that came with it)."""
    told, frames = [], []
    while True:
        message = socket.recv(60)
        if isinstance(message, bytes):
            frames.append(frame_of(message)[0])
            continue
        told.append(json.loads(message))
        if told[-1].get("state") in ("done", "failed", "stopped") or told[-1]["type"] == "error":
            return told[-1], told[:-1], frames


def picture(running: Running, model: str, recipe: dict[str, Any], **look: Any) -> bytes:
    status, _, data = running.ask(
        "/api/picture", "POST", json.dumps({"model": model, "recipe": recipe, "look": look}).encode()
    )
    assert status == 200, data
    return data


def upload(running: Running, data: bytes) -> str:
    status, _, answer = running.ask("/api/uploads", "POST", data)
    assert status == 200, answer
    return str(json.loads(answer)["id"])


def test_projection_to_edit(running: Running) -> None:
    """An upload becomes a point that is drawn as it was reconstructed, saved as a w file, and edited."""
    with page(running) as (socket, model):
        target = picture(running, model, seed(7))
        ask = {"type": "project", "id": 1, "model": model, "upload": upload(running, target), "steps": 20}
        socket.send(json.dumps(ask))
        last, before, frames = until_end(socket)
        assert last["state"] == "done", last
        assert [m["state"] for m in before[:2]] == ["queued", "running"]
        assert {f["view"] for f in frames} == {"project.target", "project.now"}
        assert before[-1]["done"] == before[-1]["total"]
        point = {"place": {"kind": "kept", "id": last["result"]["id"]}}
        drawn = np.asarray(Image.open(io.BytesIO(picture(running, model, point))).convert("RGB")).astype(float)
        expected = np.asarray(Image.open(io.BytesIO(target)).convert("RGB")).astype(float)
        psnr = 10 * np.log10(255**2 / np.mean((drawn - expected) ** 2))
        assert abs(psnr - last["result"]["psnr"]) < 0.1  # drawn with the noise that was found with it
        _, _, data = running.ask(f"/api/kept/{last['result']['id']}?model={model}")
        _, painter = running.studio.painter(model)
        assert torch.equal(
            editing.load_latents(data, painter.generator).ws, running.studio.kept[last["result"]["id"]].ws
        )

        socket.send(json.dumps({"type": "directions", "id": 2, "model": model, "method": "sefa", "count": 3}))
        last, _, _ = until_end(socket)
        found = last["result"]
        assert [item["name"] for item in found["items"]] == ["sefa-0", "sefa-1", "sefa-2"]
        step = {"direction": found["id"], "index": 1, "strength": 2.0, "first": 0, "last": 3}
        edited = picture(running, model, {**point, "edits": [step]}, noise={"mode": "none"})
        G, w = painter.generator, running.studio.kept[point["place"]["id"]].ws
        direction = running.studio.directions[found["id"]][1]
        ws = editing.apply_edits(w, [editing.Edit(direction, 2.0, (0, 1, 2, 3))])
        with torch.no_grad():
            own = images.to_uint8(G.synthesis(ws, noise="none")[0])
        assert np.abs(np.asarray(Image.open(io.BytesIO(edited))).astype(int) - own).max() <= 1


def test_walk_and_clip(running: Running) -> None:
    """The frames of the preview are those of `stylegan walk`; a clip has as many as were asked for, in parts too."""
    with page(running) as (socket, model):
        points = [seed(s)["place"] for s in (3, 4, 5)]
        path = {"points": points, "frames": 6, "fps": 10, "easing": "linear"}
        _, painter = running.studio.painter(model)
        G = painter.generator
        timeline = editing.Timeline(
            frames=6, fps=10, easing="linear", noise="none",
            tracks=(editing.Track(keyframes=[editing.Keyframe(source=s, class_=s % 3) for s in (3, 4, 5)]),),
        )  # fmt: skip
        walk = editing.Walk(G, timeline)
        for frame in (0, 1, 4):
            drawn = picture(running, model, {"place": {"kind": "path", **path, "frame": frame}}, noise={"mode": "none"})
            assert np.abs(np.asarray(Image.open(io.BytesIO(drawn))).astype(int) - walk.frame(frame)).max() <= 1
        socket.send(json.dumps({"type": "export", "id": 3, "model": model, "path": path, "format": "webp"}))
        last, before, _ = until_end(socket)
        assert last["state"] == "done", last
        assert before[-1]["total"] == 6
        _, _, clip = running.ask(f"/api/clips/{last['result']['id']}")
        with Image.open(io.BytesIO(clip)) as opened:
            assert (opened.format, opened.n_frames) == ("WEBP", 6)
        assert len(clip) == last["result"]["bytes"]
        part = running.ask(f"/api/clips/{last['result']['id']}", headers={"Range": "bytes=10-19"})
        assert (part[0], part[2], part[1]["content-range"]) == (206, clip[10:20], f"bytes 10-19/{len(clip)}")
        assert running.ask(f"/api/clips/{last['result']['id']}", headers={"Range": f"bytes={len(clip)}-"})[0] == 416


def test_stopping_and_bound(running: Running) -> None:
    """A job is stopped by its own page only, or by leaving; more than a few do not wait; drawing goes on meanwhile."""
    with page(running) as (socket, model), running.connect() as other:
        target = upload(running, picture(running, model, seed(1)))
        long = {"type": "project", "model": model, "upload": target, "steps": 5000}
        socket.send(json.dumps({**long, "id": 1}))
        while True:
            message = socket.recv(60)
            if not isinstance(message, bytes) and json.loads(message)["state"] == "running":
                break
        job = json.loads(message)["job"]
        other.send(json.dumps({"type": "stop", "job": job}))
        other.send(render(model, [seed(9)], id=4))
        assert frame_of(other.recv(30))[0]["id"] == 4
        for id in range(running.studio.jobs.bound + 1):
            other.send(json.dumps({**long, "id": 100 + id}))
        states = [json.loads(other.recv(30)) for _ in range(running.studio.jobs.bound + 1)]
        assert [s.get("state", s.get("code")) for s in states] == ["queued"] * running.studio.jobs.bound + ["busy"]
        other.close()  # its jobs are forgotten
        socket.send(json.dumps({"type": "stop", "job": job, "keep": True}))
        last, _, _ = until_end(socket)
        assert last["state"] == "done"  # enough: what was found so far is kept
        assert last["result"]["id"] in running.studio.kept
        socket.send(json.dumps({**long, "id": 2}))
        while True:
            message = socket.recv(60)
            if not isinstance(message, bytes) and json.loads(message)["state"] == "running":
                break
        socket.send(json.dumps({"type": "stop", "job": json.loads(message)["job"]}))
        assert until_end(socket)[0]["state"] == "stopped"


def test_keep(running: Running) -> None:
    """A kept image is drawn again as it was, noise included."""
    with page(running) as (_, model):
        recipe = {**seed(5), "mix": [{"point": seed(6)["place"], "layers": [4, 5]}]}
        look = {"psi": 0.3}
        body = json.dumps({"model": model, "recipe": recipe, "look": look}).encode()
        status, _, answer = running.ask("/api/kept", "POST", body)
        assert status == 200
        again = picture(running, model, {"place": {"kind": "kept", **json.loads(answer)}})
        first, second = (Image.open(io.BytesIO(data)) for data in (picture(running, model, recipe, **look), again))
        assert np.array_equal(np.asarray(first), np.asarray(second))
        other = next(m["id"] for m in running.json("/api/models") if m["id"] != model)
        assert other  # a run's model of the same shape may use it; what is gone may not be used
        missing = json.dumps({"model": model, "recipe": {"place": {"kind": "kept", "id": "abc"}}}).encode()
        assert running.ask("/api/picture", "POST", missing)[0] == 422
