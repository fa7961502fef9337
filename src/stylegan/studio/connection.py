"""One page's WebSocket: requests in, frames and messages out, with bounds on both sides."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from stylegan.studio import work
from stylegan.studio.core import Frame, Studio, reason
from stylegan.studio.jobs import Job
from stylegan.studio.messages import REQUEST, Cancel, Ping, Render, Stop
from stylegan.studio.scheduler import Busy, Task

log = logging.getLogger(__name__)
UNSENT = 24  # messages that may wait for a slow page before drawing for it pauses
MAX_TEXT = 256 << 10  # bytes of one request


class Connection:
    """A page. Everything but `push` runs in the event loop."""

    def __init__(self, studio: Studio, socket: WebSocket) -> None:
        self.studio, self.socket = studio, socket
        self.name = secrets.token_hex(8)
        self._loop = asyncio.get_running_loop()
        self._out: asyncio.Queue[bytes | dict[str, Any]] = asyncio.Queue()
        self._unsent = 0  # counted when handed over, so that the rendering thread sees it at once
        self._counting = threading.Lock()  # three threads count; one lost count would stay for good
        self._drawn: dict[str, tuple[int, int, int]] = {}  # view -> request, number of pictures, next picture
        self._gone = False

    async def run(self) -> None:
        """Serves the page until it goes."""
        both = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._gone = True
            self.studio.scheduler.cancel(self.name)
            self.studio.jobs.stop(self.name)
            for task in both:
                task.cancel()
            for end in await asyncio.gather(*both, return_exceptions=True):
                if isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect):
                    log.error("a page's connection has failed", exc_info=end)

    def push(self, message: bytes | dict[str, Any]) -> None:
        """Sends something, from any thread."""
        self._count(1)
        self._hand_over(message)

    def _count(self, by: int) -> int:
        """Messages that have not been sent, after so many more or fewer."""
        with self._counting:
            self._unsent += by
            return self._unsent

    def _hand_over(self, message: bytes | dict[str, Any]) -> None:
        if self._gone:
            return
        try:
            self._loop.call_soon_threadsafe(self._out.put_nowait, message)
        except RuntimeError:  # the loop has ended
            self._gone = True

    def keeps_up(self) -> bool:
        """Whether the page takes what it is sent."""
        return self._unsent < UNSENT

    async def _send(self) -> None:
        while True:
            message = await self._out.get()
            try:
                if isinstance(message, bytes):
                    await self.socket.send_bytes(message)
                else:
                    await self.socket.send_text(json.dumps(message, ensure_ascii=False))
            except (RuntimeError, OSError, WebSocketDisconnect):
                self._gone = True
                return
            if self._count(-1) == UNSENT - 1:
                self.studio.scheduler.wake()

    async def _receive(self) -> None:
        while True:
            while not self.keeps_up() and not self._gone:  # a page that asks without listening waits
                await asyncio.sleep(0.02)
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect" or self._gone:
                return
            text = message.get("text")
            if text is None:
                self.push(failure("invalid", "messages are JSON texts"))
                continue
            self._answer(text)

    def _answer(self, text: str) -> None:
        """Checks and does what one message asks. Whatever is wrong with it is said in one message."""
        try:
            request = REQUEST.validate_json(text)
        except (ValidationError, RecursionError) as error:
            self.push(failure("invalid", first_problem(error)))
            return
        if isinstance(request, Render):
            self._render(request)
        elif isinstance(request, Cancel):
            self.studio.scheduler.cancel(self.name, request.view)
            self._drawn.pop(request.view, None)
        elif isinstance(request, Stop):
            self.studio.jobs.stop(self.name, request.job, request.keep)
        elif isinstance(request, Ping):
            self.push({"type": "pong", "id": request.id})
        else:
            kind, function = work.plan(self.studio, request, self.push)
            try:
                self.studio.jobs.submit(Job(kind, self.name, request.id, function, self.push))
            except Busy as error:
                self.push(failure("busy", str(error), request=request.id))

    def _render(self, request: Render) -> None:
        view, count = request.view, len(request.recipes)
        _, old_count, start = self._drawn.get(view, (0, 0, 0))
        if len(self._drawn) > 64:
            self._drawn.clear()

        def steps() -> Iterator[list[Frame]]:
            return self.studio.frames(request, start if old_count == count else 0)

        def deliver(frames: list[Frame]) -> None:
            _, _, at = self._drawn.get(view, (0, 0, 0))
            finished = sum(not header["preview"] for header, *_ in frames)
            self._drawn[view] = (request.id, count, (at + finished) % count)
            self._count(len(frames))  # from now on, also while they are being encoded
            self.studio.send(frames, self._hand_over)  # which hands over one message per frame

        def finish(error: BaseException | None) -> None:
            self._drawn.pop(view, None)
            if error is not None:
                code, text = reason(error)
                self.push(failure(code, text, view=view, id=request.id))

        try:
            self.studio.scheduler.submit(self.name, view, Task(steps, deliver, finish), self.keeps_up)
        except Busy as error:
            self.push(failure("busy", str(error), view=view, id=request.id))


def failure(code: str, text: str, **more: Any) -> dict[str, Any]:
    """What the page is told when something did not work."""
    return {"type": "error", "code": code, "text": text[:500], **more}


def first_problem(error: Exception) -> str:
    """The first of pydantic's findings as one line, without echoing what was sent."""
    if not isinstance(error, ValidationError):
        return "nested too deeply"
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in found["loc"])[:120]
    return f"{where}: {found['msg']}" if where else found["msg"]
