"""Who may talk to the studio: hosts, origins, the token, and what every answer says about itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from stylegan.studio import Studio
from stylegan.studio.guard import Guard, is_loopback
from tests.studio.conftest import EVIL, Running, serving


def test_hosts(running: Running) -> None:
    """Names that a foreign DNS server could point here are refused, on every route."""
    port = running.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "localhost"):
        assert running.ask("/", headers={"Host": host})[0] == 200, host
    bad = (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        f"user@127.0.0.1:{port}",
        "",
        "127.0.0.1:port",
        "[::1",
        "localhost:99999999",
        "192.168.1.4",
    )
    for host in bad:
        for path in ("/", "/api/hello", "/static/style.css", "/nothing"):
            assert running.ask(path, headers={"Host": host})[0] in (400, 421), host


def test_origins(running: Running) -> None:
    """Another origin gets neither data nor a WebSocket nor an action; missing ones may only look."""
    own = {"Origin": running.url}
    assert running.ask("/api/hello", headers=own)[0] == 200
    for origin in (
        "http://evil.example",
        "null",
        "",
        f"https://127.0.0.1:{running.port + 1}",
        running.url + ".evil.example",
        "http://localhost:1",
        "file://",
    ):
        assert running.ask("/api/hello", headers={"Origin": origin})[0] == 403, origin
        assert running.ask("/api/uploads", "POST", b"x", {"Origin": origin})[0] == 403, origin
        with pytest.raises((InvalidHandshake, ConnectionClosed)):
            running.connect(origin=origin).recv(5)
    with pytest.raises((InvalidHandshake, ConnectionClosed)):
        running.connect(origin=None).recv(5)
    body = json.dumps({"model": "x", "recipe": {}})
    connection = __import__("http.client", fromlist=["x"]).HTTPConnection("127.0.0.1", running.port)
    connection.request("POST", "/api/picture", body)  # no Origin: no browser of ours sends that
    assert connection.getresponse().status == 403
    connection.close()
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert running.ask("/api/hello", headers=cross)[0] == 403
    assert running.ask("/", headers=cross)[0] == 403
    assert running.ask("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200
    assert running.ask("/api/hello", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 403


def test_headers(running: Running) -> None:
    for path in ("/", "/static/js/main.js", "/api/hello", "/api/models/nothing", "/nothing"):
        _, headers, _ = running.ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    assert running.ask("/static/js/main.js")[1]["content-type"].startswith("text/javascript")
    tag = running.ask("/static/style.css")[1]["etag"]
    assert running.ask("/static/style.css", headers={"If-None-Match": tag})[0] == 304
    page = running.ask("/")[2].decode()
    assert "<script>" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_no_file_is_named_by_the_client(running: Running, place: Path) -> None:
    """Whatever stands in the address, only listed files and ids are answered."""
    tries = [
        "/static/../routes.py",
        "/static/%2e%2e/routes.py",
        "/static/..%2froutes.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/js/../../core.py",
        "/static/C:%5Cwindows",
        "/etc/passwd",
        "//etc/passwd",
        "/api/models/..%2f..%2fetc",
        f"/api/models/{place}/small.safetensors",
        "/api/models/%2e%2e/details",
        "/api/runs/..",
        "/api/runs/first",
        "/api/runs/x/grids/0",
        "/api/clips/../models",
        "/api/kept/abc?model=../x",
        "/static/js",
        "/static/",
    ]
    run = next(entry["id"] for entry in running.json("/api/runs")["runs"] if entry["name"] == "first")
    tries += [
        f"/api/runs/{run}/grids/{n}" for n in ("-1", "1", "..", "..%2f..%2fconfig.json", "99999999999999999999", "1e3")
    ]
    for path in tries:
        assert running.ask(path)[0] in (404, 405, 307), path
    assert running.ask(f"/api/runs/{run}/grids/1000")[1]["content-type"] == "image/png"


def test_no_local_paths_in_answers(running: Running, place: Path) -> None:
    """Pages learn names, not where things are on this machine."""
    answers = [running.ask("/api/hello")[2], running.ask("/api/runs")[2]]
    answers += [running.ask(f"/api/runs/{run['id']}")[2] for run in running.json("/api/runs")["runs"]]
    for model in running.json("/api/models"):
        answers += [running.ask(f"/api/models/{model['id']}")[2], running.ask(f"/api/models/{model['id']}/details")[2]]
    text = b"\n".join(answers).decode()
    assert str(place) not in text
    assert "/home/somebody" not in text
    assert EVIL in json.loads(answers[-2])["class_names"]  # names come as they are; the page puts them in as text


def test_token(place: Path) -> None:
    """Without the token nothing but the question for it; with it once, a strict cookie."""
    with serving(Studio([str(place / "small.safetensors")]), token="right-token") as served:
        for path in ("/api/hello", "/static/js/main.js", "/api/models", "/nothing"):
            assert served.ask(path)[0] == 401, path
        status, _, body = served.ask("/")
        assert status == 401
        assert b"access token" in body
        assert b"right-token" not in body
        assert served.ask("/static/gate.css")[0] == 200
        for wrong in ("", "wrong", "right-toke", "right-token2", "%ff%fe", "right-token%00", "\u00e9".encode().hex()):
            assert served.ask(f"/?token={wrong}")[0] == 401
        assert served.ask("/api/hello?token=right-token")[0] == 401
        with pytest.raises(InvalidHandshake):
            served.connect()
        status, headers, _ = served.ask("/?token=right-token&x=1")
        assert (status, headers["location"]) == (303, "/?x=1")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        kept = {"Cookie": cookie.split(";")[0]}
        assert served.ask("/", headers=kept)[0] == 200
        assert served.ask("/api/hello", headers=kept)[0] == 200
        assert served.ask("/api/hello", headers={**kept, "Origin": "http://evil.example"})[0] == 403
        assert served.ask("/api/hello", headers={"Cookie": cookie.split(";")[0] + "x"})[0] == 401
        assert served.ask("/api/hello", headers={"Cookie": '=;;;"\\x'})[0] == 401
        with served.connect(additional_headers=kept) as socket:
            socket.send('{"type": "ping", "id": 3}')
            assert json.loads(socket.recv(10)) == {"type": "pong", "id": 3}


def test_other_addresses() -> None:
    """Bound to all addresses, literal addresses are known and foreign names are not."""
    assert [is_loopback(h) for h in ("127.0.0.1", "localhost", "::1", "127.9.9.9")] == [True] * 4
    assert [is_loopback(h) for h in ("0.0.0.0", "192.168.0.4", "::", "example.org", "")] == [False] * 5
    guard = Guard(lambda *_: None, "0.0.0.0", "t", frozenset({"studio.lan"}))  # type: ignore[arg-type, return-value]
    for host in ("192.168.0.4:8765", "[fe80::1]:8765", "studio.lan:8765", "localhost:8765"):
        assert guard.knows_host(host), host
    for host in ("evil.example:8765", "192.168.0.4.evil.example", "1.2.3.4@evil.example", "0x7f.1.evil"):
        assert not guard.knows_host(host), host
