"""A studio with a small conditional model and a run folder, served on the loopback for the whole session."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stylegan import images
from stylegan.config.presets import preset
from tests.export.conftest import TRAINING, made
from tests.studio.pages import browser, visit  # noqa: F401

if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "websockets")):
    collect_ignore_glob = ["test_*.py"]  # extra `studio` is not installed

EVIL = "<img src=x onerror=\"document.title='broken'\">"  # as a name of classes, files, runs


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a 16x16 model of three classes, another one, and two runs."""
    folder = tmp_path_factory.mktemp("studio")
    names = TRAINING["class_names"]
    TRAINING["class_names"] = ["cats", EVIL, "owls"]
    try:
        made(folder, 16, labels=3)
    finally:
        TRAINING["class_names"] = names
    (folder / "model.safetensors").rename(folder / "small.safetensors")
    make_run(folder / "runs" / "first", folder / "small.safetensors")
    make_run(folder / "runs" / "<b>second", None, ticks=3)
    return folder


def make_run(run: Path, model: Path | None, ticks: int = 12) -> None:
    """A run folder as training leaves it, with some lines that are damaged."""
    (run / "grids").mkdir(parents=True)
    config = json.loads(preset("digits", 16).model_dump_json())
    config["schedule"]["total_kimg"] = 24
    (run / "config.json").write_text(json.dumps(config))
    lines = []
    for tick in range(ticks):
        entry: dict[str, Any] = {
            "tick": tick,
            "nimg": tick * 1000,
            "kimg": float(tick),
            "loss": {
                "loss_d": 1.4 - tick / 20,
                "loss_g": 0.7 + tick / 30,
                "score_real": 0.1 * tick,
                "score_fake": float("nan"),
            },
            "schedule": {"lod": 0.0, "resolution": 16},
            "time": {"images_per_second": 40.0, "seconds_left": 1234.5},
        }
        if tick == ticks - 1:
            findings = [{"code": "collapse", "since": 9.0, "diversity": 0.2, "twins": 0.5}, {"code": EVIL}, 3, {}]
            entry["health"] = {"diversity": 0.2, "distance": 0.4, "findings": findings}
        lines.append(json.dumps(entry))
        picture = np.full((32, 64, 3), 20 * tick, dtype=np.uint8)
        images.write_png(run / "grids" / f"fakes-{tick * 1000:09d}.png", picture)
    lines.insert(2, '{"kimg": 1.5, "loss": {"loss_d"')
    lines.insert(3, "[1, 2]")
    (run / "stats.jsonl").write_text("\n".join(lines) + '\n{"half')
    (run / "log.txt").write_text("2026-01-01 00:00:00 stopped on request at /home/somebody/runs/first\n")
    if model is not None:
        shutil.copy(model, run / "model.safetensors")


@dataclass
class Running:
    """A served studio."""

    studio: Any
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one request, with exactly the headers given beside Host and Content-Length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            own = {} if method == "GET" else {"Origin": self.url}
            connection.request(method, path, body, {**own, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The answer to a GET, which must be well."""
        status, _, body = self.ask(path)
        assert status == 200, (status, body[:300])
        return json.loads(body)

    def connect(self, **options: Any) -> Any:
        """A WebSocket as the page opens it."""
        from websockets.sync.client import connect

        settings: dict[str, Any] = {"origin": self.url, "max_size": None, "open_timeout": 20, **options}
        return connect(f"ws://127.0.0.1:{self.port}/ws", **settings)


@pytest.fixture(scope="session")
def running(place: Path) -> Iterator[Running]:
    """The studio of `place`, without a token."""
    from stylegan.studio import Studio

    with serving(Studio([str(place), str(place / "runs")], bound=16)) as served:
        yield served


class serving:
    """Serves a studio in a thread while the block runs."""

    def __init__(self, studio: Any, host: str = "127.0.0.1", **options: Any) -> None:
        import uvicorn

        from stylegan.studio import make_app
        from stylegan.studio.serving import bind, settings

        self.socket: socket.socket = bind("127.0.0.1", 0)
        self.running = Running(studio, self.socket.getsockname()[1])
        self.server = uvicorn.Server(uvicorn.Config(make_app(studio, host, **options), **settings()))
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.socket]))

    def __enter__(self) -> Running:
        self.thread.start()
        for _ in range(600):
            if self.server.started:
                return self.running
            self.thread.join(0.05)
        raise AssertionError("the server has not started")

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.socket.close()


def frame_of(message: bytes) -> tuple[dict[str, Any], bytes]:
    """(header, image) of a binary message."""
    length = int.from_bytes(message[:4], "big")
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def render(model: str, recipes: list[dict[str, Any]], id: int = 1, view: str = "test", **more: Any) -> str:
    """A request to draw, as text."""
    return json.dumps({"type": "render", "id": id, "view": view, "model": model, "recipes": recipes, **more})


def seed(number: int, cls: int | None = None) -> dict[str, Any]:
    """The recipe of a seed."""
    return {"place": {"kind": "seed", "seed": number, "cls": cls}}
