"""A page's connection: it counts what waits rightly, and nothing that goes wrong on the way to a page is silent."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from stylegan.studio import core
from stylegan.studio.connection import Connection
from tests.studio.conftest import Running, frame_of, render, seed


class Leisurely(int):
    """A number whose sum takes a while, so that two threads are sure to meet."""

    def __add__(self, other: int) -> Leisurely:
        value = int(self) + other
        time.sleep(0.0005)
        return Leisurely(value)


class Socket:
    """A socket of which nothing comes, and to which nothing can be sent."""

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    async def send_bytes(self, _: bytes) -> None:
        raise ValueError("no")


def studio() -> Any:
    silent = SimpleNamespace(cancel=lambda *_: None, wake=lambda: None, stop=lambda *_: None)
    return SimpleNamespace(scheduler=silent, jobs=silent)


def test_what_waits_is_counted_by_several_threads() -> None:
    """A lost count would stay, and after 24 of them the page would get nothing more."""

    async def count() -> int:
        page = Connection(studio(), Socket())  # type: ignore[arg-type]
        page._unsent = Leisurely(0)
        by = [threading.Thread(target=lambda n=n: [page._count(n) for _ in range(100)]) for n in (1, -1, 2, -2)]
        for thread in by:
            thread.start()
        for thread in by:
            thread.join()
        return page._unsent

    assert asyncio.run(count()) == 0


def test_a_connection_that_cannot_send_ends(caplog: pytest.LogCaptureFixture) -> None:
    """So that the page opens another, in place of waiting for ever."""

    async def serve() -> None:
        page = Connection(studio(), Socket())  # type: ignore[arg-type]
        page.push(b"frame")
        await asyncio.wait_for(page.run(), 10)

    asyncio.run(serve())
    assert "a page's connection has failed" in caplog.text


def test_a_picture_that_cannot_be_encoded_is_an_error(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    model = running.json("/api/models")[0]["id"]

    def broken(*_: Any) -> Any:
        raise OSError("no")

    with running.connect() as socket:
        with monkeypatch.context() as patch:
            patch.setattr(core, "encode", broken)
            socket.send(render(model, [seed(1)], id=5, view="here"))
            told = json.loads(socket.recv(30))
        assert (told["type"], told["code"], told["view"], told["id"]) == ("error", "internal", "here", 5)
        socket.send(render(model, [seed(1)], id=6, view="here"))
        assert frame_of(socket.recv(30))[0]["id"] == 6
