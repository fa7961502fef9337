"""Thousands of malformed messages and requests: each is answered, nothing ends, nothing grows."""

from __future__ import annotations

import json
import random
import resource
import socket as sockets
import string
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from stylegan.studio import uploads
from stylegan.studio.connection import MAX_TEXT
from tests.studio.conftest import Running, frame_of, render, seed

STRANGE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**53 + 1,
    2**64,
    -(2**70),
    1e308,
    -0.0,
    0.5,
    "",
    "x",
    "../../etc/passwd",
    "\u0000",
    "\ud7ff",
    "<script>",
    "%00",
    "a" * 5000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"kind": "seed"},
    "NaN",
    [0] * 200,
    {"__proto__": 1},
    "abc123",
]
RAW = [
    "",
    " ",
    "null",
    "[]",
    "{}",
    "0",
    '"x"',
    "{",
    '{"type":',
    "NaN",
    '{"type":"render","id":NaN}',
    "[" * 100_000,
    '{"a":' * 5000,
    '{"type":"render","type":"ping"}',
    "\x00",
    "\ufeff{}",
    '{"type":"ping","id":1e400}',
    "9" * 10_000,
    '"\\ud800"',
    "true" * 9,
]


def templates(model: str) -> list[dict[str, Any]]:
    point, look = (
        {"kind": "seed", "seed": 1, "cls": 0},
        {"psi": 0.5, "cutoff": 3, "noise": {"mode": "random", "seed": 1, "strengths": [1.0]}},
    )
    path = {
        "points": [point, point],
        "frames": 4,
        "fps": 5,
        "loop": True,
        "easing": "smooth",
        "interpolation": "linear",
        "noise": "still",
    }
    edit = {"direction": "abc", "index": 0, "strength": 1.0, "first": 0, "last": 3}
    recipes = [
        {"place": point, "mix": [{"point": point, "layers": [1, 2]}], "edits": [edit]},
        {"place": {"kind": "plane", "corners": [point, point, {"kind": "kept", "id": "abc"}], "x": 0.5, "y": 0.25}},
        {"place": {"kind": "path", **path, "frame": 1}},
    ]
    return [
        {
            "type": "render",
            "id": 1,
            "view": "v",
            "model": model,
            "recipes": recipes,
            "look": look,
            "side": 64,
            "preview": True,
        },
        {"type": "cancel", "view": "v"},
        {"type": "ping", "id": 3},
        {"type": "stop", "job": "abc", "keep": False},
        {"type": "directions", "id": 4, "model": "f" * 12, "method": "sefa", "count": 2, "first": 0, "last": 3},
        {
            "type": "project",
            "id": 5,
            "model": "f" * 12,
            "upload": "abc",
            "steps": 2,
            "space": "w",
            "noise": "stored",
            "fit": "crop",
            "cls": 0,
        },
        {"type": "export", "id": 6, "model": "f" * 12, "path": path, "look": look, "format": "gif"},
    ]


def mutated(value: Any, random: random.Random) -> Any:
    """The message with something in it replaced, left out, added, or doubled."""
    if random.random() < 0.12 or not isinstance(value, dict | list):
        return random.choice(STRANGE)
    if isinstance(value, list):
        return [mutated(item, random) if random.random() < 0.5 else item for item in value] * random.choice(
            [1, 1, 1, 0, 2, 60]
        )
    found = dict(value)
    key = random.choice([*found, "extra"])
    if random.random() < 0.2:
        found.pop(key, None)
    else:
        found[key] = mutated(found.get(key), random)
    return found


def memory() -> int:
    """Bytes that this process holds at present."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_websocket(running: Running) -> None:
    """3000 mutated messages and raw rubbish on one connection; then it draws as before, and memory has not grown."""
    choice = random.Random(0)
    model = running.json("/api/hello")["models"][0]["id"]
    kinds = templates(model)
    with running.connect() as socket:
        answers = dict.fromkeys(("invalid", "busy", "refused", "unknown", "frame", "job", "pong"), 0)

        def take(message: Any) -> int:
            if isinstance(message, bytes):
                answers["frame"] += 1
                return -1
            told = json.loads(message)
            assert len(message) < 2000
            key = told["code"] if told["type"] == "error" else told["type"]
            assert key in answers, told
            answers[key] += 1
            return int(told["id"]) if key == "pong" else -1

        start = 0
        for i in range(1, 31):
            for _ in range(100):
                if choice.random() < 0.1:
                    socket.send(choice.choice(RAW))
                elif choice.random() < 0.03:
                    socket.send(choice.randbytes(choice.randrange(200)))
                else:
                    plain = choice.random() < 0.05  # a page that is well, in between
                    text = render(model, [seed(i)]) if plain else json.dumps(mutated(choice.choice(kinds), choice))
                    if not plain and choice.random() < 0.1:
                        at = choice.randrange(len(text))
                        text = text[:at] + choice.choice(string.printable) + text[at + 1 :]
                    if len(text) < MAX_TEXT // 2:  # what is larger ends the connection: the next test
                        socket.send(text)
            socket.send(json.dumps({"type": "ping", "id": i}))
            while take(socket.recv(60)) != i:
                pass
            if i == 10:
                start = memory()
        assert answers["invalid"] > 1500
        assert min(answers["frame"], answers["unknown"] + answers["job"]) > 0
        assert memory() - start < 64 << 20
        socket.send(render(model, [seed(0)], id=2**40, view="after"))
        while True:
            message = socket.recv(60)
            if isinstance(message, bytes) and frame_of(message)[0]["view"] == "after":
                break
    assert running.studio.scheduler._thread.is_alive()
    assert running.studio.jobs._thread.is_alive()


def test_messages_that_are_too_large(running: Running) -> None:
    """A text beyond the bound ends its own connection and nothing else."""
    with running.connect() as socket:
        socket.send("x" * (1 << 20))
        with pytest.raises(ConnectionClosed):
            list(socket)
    assert running.ask("/api/hello")[0] == 200


def test_a_page_that_does_not_listen(running: Running) -> None:
    """Frames for it are not drawn ahead without end; another page is served meanwhile."""
    model = running.json("/api/hello")["models"][0]["id"]
    with running.connect(max_queue=1) as deaf, running.connect() as other:
        for id in range(300):
            deaf.send(render(model, [seed(i) for i in range(100)], id=id, view=f"v{id % 4}", look={"psi": id / 300}))
        other.send(render(model, [seed(0)], id=1))
        assert frame_of(other.recv(30))[0]["id"] == 1
        deaf.socket.close()  # without a word
    assert running.ask("/api/hello")[0] == 200


def test_too_many_pages(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from stylegan.studio import routes

    monkeypatch.setattr(routes, "MAX_PAGES", 0)
    with running.connect() as socket, pytest.raises(ConnectionClosed, match="too many pages"):
        socket.recv(10)


def test_http(running: Running) -> None:
    """Rubbish in paths, methods, headers and bodies."""
    choice = random.Random(1)
    model = running.json("/api/hello")["models"][0]["id"]
    good = {"model": model, "recipe": seed(1), "look": {}}
    names = [
        "",
        "api",
        "models",
        "runs",
        "static",
        "kept",
        "clips",
        "picture",
        "uploads",
        "..",
        "%2e%2e",
        "\u00e9".encode().hex(),
        "a" * 300,
        "ws",
        model,
        "grids",
        "0",
        "-1",
        "%00",
        "%ff",
        "*",
        "'",
        "details",
    ]
    for _ in range(400):
        path = "/" + "/".join(choice.choice(names) for _ in range(choice.randrange(5)))
        method = choice.choice(["GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
        body = None if method in ("GET", "HEAD") else choice.randbytes(choice.randrange(500))
        status, headers, answer = running.ask(path, method, body)
        assert status < 500, (method, path, status)
        assert "content-security-policy" in headers
        assert b"Traceback" not in answer
    for _ in range(300):
        status, _, answer = running.ask("/api/picture", "POST", json.dumps(mutated(good, choice)).encode())
        assert status in (200, 404, 422), answer
        if status != 200:
            assert set(json.loads(answer)) == {"code", "text"}
    for body in [text.encode("utf-8", "surrogatepass") for text in RAW]:
        assert running.ask("/api/picture", "POST", body)[0] == 422
    for raw in (
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /api/picture HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"A" * 100_000,
    ):
        with sockets.create_connection(("127.0.0.1", running.port), 10) as plain:
            try:
                plain.sendall(raw)
                plain.shutdown(sockets.SHUT_WR)
                assert b" 200 " not in plain.recv(100)
            except OSError:
                pass  # closed at once
    status, _, answer = running.ask("/api/picture", "POST", json.dumps(good).encode())
    assert (status, answer[:4]) == (200, b"\x89PNG")


def test_uploads(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded in bytes whatever the header says, in pixels, and in number; what is no image is refused."""
    import io

    from PIL import Image

    def encoded(size: tuple[int, int], kind: str = "PNG") -> bytes:
        out = io.BytesIO()
        Image.new("RGB", size).save(out, kind)
        return out.getvalue()

    for data, words in (
        (b"", "empty"),
        (b"\x93NUMPY" + b"x" * 50, "not an image"),
        (b"<svg onload=alert(1)>", "not an image"),
        (b"%!PS-Adobe", "not an image"),
        (b"\x80\x04cos\nsystem\n", "not an image"),
        (encoded((9000, 9000)), "81"),
        (encoded((30, 30))[:40], ""),
    ):
        status, _, answer = running.ask("/api/uploads", "POST", data)
        assert status == 422, answer
        assert words in json.loads(answer)["text"] or words == "81"
    status, _, answer = running.ask("/api/uploads", "POST", b"x", {"Content-Length": str(uploads.MAX_BYTES + 1)})
    assert (status, json.loads(answer)["code"]) == (422, "refused")

    def endless() -> Any:  # chunked: no length is declared
        for _ in range(uploads.MAX_BYTES // (1 << 20) + 8):
            yield b"x" * (1 << 20)

    try:
        status, _, _ = running.ask("/api/uploads", "POST", endless())  # type: ignore[arg-type]
        assert status == 422
    except OSError:
        pass  # refused while it was still sending
    ids = []
    for side in range(8, 8 + uploads.KEPT + 4):
        status, _, answer = running.ask("/api/uploads", "POST", encoded((side, 10)))
        assert status == 200
        found = json.loads(answer)
        assert (found["width"], found["height"]) == (side, 10)
        ids.append(found["id"])
    assert len(running.studio.uploads._kept) == uploads.KEPT
    assert len(set(ids)) == len(ids)
