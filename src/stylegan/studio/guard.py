"""Who may talk to the studio: checks before any route, and the headers on every answer.

- `Host` must be an address or name this studio answers to, so that a foreign name pointed at 127.0.0.1 (DNS
  rebinding) gets nothing.
- `Origin` must be this studio's own on WebSockets and on everything that is not a plain GET; a browser's
  `Sec-Fetch-Site: cross-site` is refused too, but for opening the page itself from a link.
- With a token: it is asked for once in the address, compared in constant time, and kept in a cookie that
  browsers send to this studio only (HttpOnly, SameSite=Strict).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
ASK = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>StyleGAN studio</title><link rel="stylesheet" href="/static/gate.css">
<main><h1>StyleGAN studio</h1><p>This studio asks for its access token. It stands in the terminal where the studio was
started, in the address after <code>token=</code>.</p>
<form method="get" action="/"><label>Access token <input name="token" type="password" autocomplete="off"
required></label>
<button>Open</button></form></main></html>"""


def new_token() -> str:
    """192 random bits, in letters that go into an address."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware around the whole studio. token None: none is asked for (loopback only)."""

    def __init__(self, app: ASGIApp, host: str, token: str | None = None, extra_hosts: frozenset[str] = frozenset()):
        self.app, self.token = app, token
        self.names = set(LOOPBACK_NAMES) | {host.lower()} | {name.lower() for name in extra_hosts}
        self.any_address = not is_loopback(host)
        if self.any_address:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
            else:
                await refusal(scope, receive, with_headers(send))
            return
        await self.app(scope, receive, with_headers(send) if scope["type"] == "http" else send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer for whoever may not come in; None: welcome."""
        host = headers.getlist("host")
        if len(host) != 1 or not self.knows_host(host[0]):
            return PlainTextResponse("This studio does not answer to that host name.", 421)
        if not self._same_origin(scope, headers, host[0]):
            return PlainTextResponse("Requests from other origins are refused.", 403)
        if self.token is None or scope.get("path") == "/static/gate.css":
            return None
        return self._without_token(scope, headers, host[0])

    def knows_host(self, text: str) -> bool:
        """Whether a `Host` header names this studio: a known name, or any literal address where it is bound to one.

        Literal addresses cannot be pointed elsewhere, so they are safe from rebinding.
        """
        try:
            parts = urlsplit(f"//{text}")
            name, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if parts.netloc != text or "@" in text or not name:
            return False
        if name in self.names or f"[{name}]" in self.names:
            return True
        if not self.any_address:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _same_origin(self, scope: Scope, headers: Headers, host: str) -> bool:
        origins = headers.getlist("origin")
        if origins:
            return len(origins) == 1 and origins[0] in (f"http://{host}", f"https://{host}")
        if scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD"):
            return False
        if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
            return True
        return scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"

    def _without_token(self, scope: Scope, headers: Headers, host: str) -> Response | None:
        assert self.token is not None
        port = urlsplit(f"//{host}").port or 80
        cookie = f"stylegan_studio_{port}"
        if self._matches(_cookie(headers, cookie)):
            return None
        pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in pairs if name == "token"]
        if scope["type"] == "http" and scope["path"] == "/" and given and self._matches(given[0]):
            rest = urlencode([(name, value) for name, value in pairs if name != "token"])
            answer = RedirectResponse("/" + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(cookie, self.token, path="/", httponly=True, samesite="strict")
            answer.headers["cache-control"] = "no-store"
            return answer
        if scope["type"] == "http" and scope["path"] == "/":
            return Response(ASK, 401, media_type="text/html")
        return PlainTextResponse("The access token is missing or wrong.", 401)

    def _matches(self, given: str) -> bool:
        """Constant-time comparison, whatever is given."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), (self.token or "").encode())


def _cookie(headers: Headers, name: str) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[name].value if name in jar else ""


def with_headers(send: Send) -> Send:
    """Adds the security headers to an answer."""
    extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sending
