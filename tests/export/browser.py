"""A headless Chromium driven through chromedriver's own protocol, and a web server on the loopback."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


class Browser:
    """One session of chromedriver."""

    def __init__(self, port: int, profile: Path) -> None:
        self.base = f"http://127.0.0.1:{port}/session"
        arguments = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=700,1000",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={profile}",
        ]  # fmt: skip
        options = {"binary": CHROMIUM, "args": arguments}
        answer = self._call("POST", "", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        self.base += f"/{answer['sessionId']}"
        self._call("POST", "/timeouts", {"script": 60_000, "pageLoad": 60_000})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:2000]) from None

    def open(self, url: str) -> None:
        """Loads a page."""
        self._call("POST", "/url", {"url": url})

    def script(self, text: str, *arguments: Any) -> Any:
        """Runs the body of an async function with `args` and returns what it returns."""
        wrapped = (
            "const args = [...arguments], done = args.pop();"
            f"(async () => {{ {text} }})().then(done, (error) => done({{thrown: String(error)}}));"
        )
        found = self._call("POST", "/execute/async", {"script": wrapped, "args": list(arguments)})
        assert not (isinstance(found, dict) and "thrown" in found), found
        return found

    def screenshot(self, path: Path) -> None:
        """PNG of what is seen."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def close(self) -> None:
        """Ends the session."""
        self._call("DELETE", "")


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """Starts chromedriver and Chromium, and ends both."""
    assert DRIVER is not None
    process = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        pattern = re.compile(r"started successfully on port (\d+)")
        port = next(int(match[1]) for line in process.stdout if (match := pattern.search(line)))
        threading.Thread(target=process.stdout.read, daemon=True).start()
        browser = Browser(port, profile)
        try:
            yield browser
        finally:
            browser.close()
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(20)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, format: str, *args: Any) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(address, paths asked for) of a web server for a folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
