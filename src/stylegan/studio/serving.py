"""Binding, announcing and ending the studio's web server."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

import uvicorn

from stylegan.errors import UserError
from stylegan.studio.connection import MAX_TEXT
from stylegan.studio.core import Studio
from stylegan.studio.guard import is_loopback, new_token
from stylegan.studio.routes import make_app

CONSOLE_BROWSERS = ("lynx", "links", "elinks", "w3m", "www-browser")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. UserError, with the remedy, where the address or port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there the option would let two programs share the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host.strip("[]"), port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        code = getattr(error, "errno", None)
        if code == errno.EADDRINUSE:
            raise UserError(
                f"--port {port}: another program listens there, perhaps another studio; choose another, "
                f"such as --port {port + 1 if port < 65535 else 8000}, or --port 0 for any that is free"
            ) from None
        if code == errno.EACCES:
            raise UserError(f"--port {port}: this system keeps it for the administrator; use 1024 or above") from None
        raise UserError(f"--host {host} --port {port}: cannot be listened on ({error})") from None
    return made


def settings() -> dict[str, Any]:
    """How uvicorn serves the studio: bounded messages, no compression of pictures, a quick end."""
    return {
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "ws": "websockets-sansio",
        "ws_max_size": MAX_TEXT,
        "ws_max_queue": 16,
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": 3,
        "timeout_keep_alive": 30,
        "h11_max_incomplete_event_size": 64 << 10,
    }


def serve(
    studio: Studio,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: bool = False,
    names: tuple[str, ...] = (),
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serves until Ctrl-C. Another address than the loopback always needs a token, which is part of the address said.

    names: further host names under which the studio may be reached. UserError where the port cannot be had.
    """
    listening = bind(host, port)
    port = listening.getsockname()[1]
    secret = new_token() if token or not is_loopback(host) else None
    app = make_app(studio, host, secret, frozenset(names))
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + (f"?token={secret}" if secret else "")
    config = uvicorn.Config(app, **settings())

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                say(f"studio: {address}")
                say("Ctrl-C ends it")
                if browser:
                    threading.Thread(target=open_browser, args=(address,), daemon=True).start()

    server = Announcing(config)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listening]))
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
        studio.close()
    say("studio ended")


def open_browser(address: str) -> bool:
    """Opens the user's graphical browser, where there is one."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        found = webbrowser.get()
        if any(name in str(getattr(found, "name", "")) for name in CONSOLE_BROWSERS):
            return False
        return found.open(address)
    except (webbrowser.Error, OSError):
        return False
