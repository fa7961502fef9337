"""`stylegan studio` as it is typed: help, address, port in use, token, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import stylegan  # noqa: F401


@contextmanager
def started(*arguments: object, folder: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(process, address it says) of a studio of its own."""
    command = [sys.executable, "-m", "stylegan", "studio", "--no-browser", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("studio: "):
                yield process, line.removeprefix("studio: ").strip()
                break
        else:
            raise AssertionError("".join(lines))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_help_is_instant(stylegan: Any) -> None:  # noqa: F811
    done = stylegan("studio", "--help")
    assert done.code == 0
    assert "access token" in done.out


def test_bad_input(stylegan: Any, tmp_path: Path, place: Path) -> None:  # noqa: F811
    done = stylegan("studio", tmp_path / "nothing", "--no-browser")
    assert (done.code, "no such file or folder" in done.err) == (2, True)
    (tmp_path / "official.pkl").write_bytes(b"\x80\x04x.")
    done = stylegan("studio", tmp_path / "official.pkl")
    assert (done.code, "stylegan convert" in done.err) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = stylegan("studio", place / "small.safetensors", "--port", port, "--no-browser")
        assert done.code == 2
        assert f"--port {port}: another program listens there" in done.err
        assert "--port 0" in done.err
    done = stylegan("studio", place / "small.safetensors", "--host", "203.0.113.7", "--no-browser")
    assert (done.code, "cannot be listened on" in done.err) == (2, True)


def test_loopback_and_end(place: Path) -> None:
    """It answers on the loopback alone, and ends well on Ctrl-C, also with a page open."""
    from websockets.sync.client import connect

    with started(place / "small.safetensors") as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.status == 200
        begin = time.monotonic()
        with connect(address.replace("http", "ws") + "ws", origin=address.rstrip("/")):
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        assert time.monotonic() - begin < 10
        assert process.returncode == 0, out
        assert out.strip().endswith("studio ended")
        assert "Traceback" not in out


def test_an_empty_folder_shows_what_comes_with_the_package(place: Path, tmp_path: Path) -> None:
    def shown(folder: Path) -> str:
        with started(folder=folder) as (_, address):
            return str(urllib.request.urlopen(address + "api/models", timeout=20).read())

    assert "pomological128" in shown(tmp_path)
    assert "pomological128" not in shown(place)  # where there are models, only those


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_another_address_needs_the_token(place: Path) -> None:
    with started(place / "small.safetensors", "--host", "0.0.0.0") as (process, address):
        match = re.fullmatch(r"http://[^/]+:(\d+)/\?token=([\w-]{32})", address)
        assert match is not None
        bare = f"http://127.0.0.1:{match[1]}/"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(bare, timeout=20)
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(f"{bare}?token={match[2]}", timeout=20) as answer:
            assert (answer.status, answer.url) == (200, bare)  # the token is gone from the address
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
