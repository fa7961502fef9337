"""HTTP and WebSocket routes of the studio. No route takes a path: ids and numbers are looked up, never opened."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from stylegan import __version__
from stylegan.errors import UserError
from stylegan.studio import about, training
from stylegan.studio.connection import Connection, first_problem
from stylegan.studio.core import Studio, reason
from stylegan.studio.guard import Guard
from stylegan.studio.library import Unknown
from stylegan.studio.messages import Picture
from stylegan.studio.scheduler import Busy, Task
from stylegan.studio.uploads import MAX_BYTES

STATIC = Path(__file__).parent / "static"
MAX_PAGES = 24  # WebSockets at the same time
MAX_BODY = 256 << 10
PATIENCE = 120  # seconds in which a body has to come
STATUS = {"unknown": 404, "refused": 422, "memory": 507, "internal": 500}
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(
    studio: Studio,
    host: str = "127.0.0.1",
    token: str | None = None,
    extra_hosts: frozenset[str] = frozenset(),
) -> Guard:
    """The whole application: routes behind the guard. It starts and ends the studio's threads."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        studio.start()
        try:
            yield
        finally:
            await to_thread.run_sync(studio.close)

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", page),
            Route("/static/{name:path}", static),
            Route("/api/hello", answering(hello)),
            Route("/api/models", answering(models)),
            Route("/api/models/{id}", answering(model)),
            Route("/api/models/{id}/details", answering(model_details)),
            Route("/api/runs", answering(runs)),
            Route("/api/runs/{id}", answering(run)),
            Route("/api/runs/{id}/grids/{number:int}", answering(grid)),
            Route("/api/runs/{id}/reals", answering(reals)),
            Route("/api/picture", answering(picture), methods=["POST"]),
            Route("/api/uploads", answering(upload), methods=["POST"]),
            Route("/api/clips/{id}", answering(clip)),
            Route("/api/kept", answering(keep), methods=["POST"]),
            Route("/api/kept/{id}", answering(kept)),
            WebSocketRoute("/ws", websocket),
        ],
    )
    app.state.studio = studio
    app.state.pages = 0
    app.state.slow = CapacityLimiter(4)  # threads for what reads files
    app.state.uploading = asyncio.Semaphore(2)
    return Guard(app, host, token, extra_hosts)


def answering(endpoint: Callable[[Request, Studio], Awaitable[Response]]) -> Endpoint:
    """An endpoint whose errors become JSON with a code and a text, and whose answers are not cached."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            found = await endpoint(request, request.app.state.studio)
        except Busy as error:
            found = problem("busy", str(error), 503)
            found.headers["retry-after"] = "1"
        except (Unknown, UserError) as error:
            code, text = reason(error)
            found = problem(code, text, STATUS[code])
        found.headers.setdefault("cache-control", "no-store")
        return found

    return answer


def problem(code: str, text: str, status: int) -> JSONResponse:
    """An error as the page reads it."""
    return JSONResponse({"code": code, "text": text}, status)


async def in_thread(request: Request, function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a slow function, from one of a few threads."""
    return await to_thread.run_sync(function, *arguments, limiter=request.app.state.slow)


@cache
def static_files() -> dict[str, tuple[bytes, str, str]]:
    """Name -> (bytes, type, ETag) of every file of the front-end. What is not in here is not served."""
    found = {}
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            data = path.read_bytes()
            found[path.relative_to(STATIC).as_posix()] = (data, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"')
    return found


def _file(request: Request, name: str) -> Response:
    if name not in static_files():
        raise HTTPException(404)
    data, kind, tag = static_files()[name]
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)


async def page(request: Request) -> Response:
    """The one page; what it shows follows from the part of the address after #."""
    return _file(request, "index.html")


async def static(request: Request) -> Response:
    """A file of the front-end."""
    return _file(request, request.path_params["name"])


async def hello(request: Request, studio: Studio) -> Response:
    """What this studio has: version, models, whether there are runs."""

    def gather() -> dict[str, Any]:
        import torch

        models, first = about.listing(studio), None
        if models:  # what the first page needs next
            with suppress(UserError, Unknown):
                first = about.essentials(studio, models[0]["id"])
        return {
            "version": __version__,
            "device": studio.device,
            "threads": torch.get_num_threads(),
            "models": models,
            "first": first,
            "runs": bool(studio.library.runs()),
            "folders": bool(studio.library.folders),
            "max_upload": MAX_BYTES,
        }

    return JSONResponse(await in_thread(request, gather))


async def models(request: Request, studio: Studio) -> Response:
    """Every model, briefly."""
    return JSONResponse(await in_thread(request, about.listing, studio))


async def model(request: Request, studio: Studio) -> Response:
    """What the pages need of a model."""
    return JSONResponse(await in_thread(request, about.essentials, studio, request.path_params["id"]))


async def model_details(request: Request, studio: Studio) -> Response:
    """Everything about a model."""
    return JSONResponse(await in_thread(request, about.details, studio, request.path_params["id"]))


async def runs(request: Request, studio: Studio) -> Response:
    """All runs, briefly."""
    return JSONResponse(await in_thread(request, training.overview, studio.library))


async def run(request: Request, studio: Studio) -> Response:
    """One run with its curves."""
    return JSONResponse(await in_thread(request, training.details, studio.library.run(request.path_params["id"])))


async def grid(request: Request, studio: Studio) -> Response:
    """A preview of a run."""
    entry = studio.library.run(request.path_params["id"])
    return await in_thread(request, _png, training.grid_file(entry, request.path_params["number"]))


async def reals(request: Request, studio: Studio) -> Response:
    """The reals of a run, as training laid them out."""
    return await in_thread(request, _png, studio.library.run(request.path_params["id"]).path / "reals.png")


def _png(path: Path) -> Response:
    try:
        return Response(path.read_bytes(), media_type="image/png", headers={"cache-control": "private, max-age=60"})
    except OSError:
        raise Unknown(path.name) from None


async def body(request: Request, limit: int) -> bytes:
    """The request's body; UserError as soon as it is larger than the limit, whatever its header says."""
    too_large = UserError(f"more than {limit >> 10:,} kB were sent; send less")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit:
        raise too_large
    data = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                data += part
                if len(data) > limit:
                    raise too_large
    except TimeoutError:
        raise UserError(f"not all of it has come within {PATIENCE} seconds; send it again") from None
    except ClientDisconnect:
        raise UserError("the sender has gone") from None
    return bytes(data)


async def drawn(studio: Studio, function: Callable[[], Any]) -> Any:
    """The result of a function that runs in the rendering thread, in its turn. Busy: too many wait."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def resolve(result: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(result)

    def steps() -> Iterator[Any]:
        yield function()

    def deliver(result: Any) -> None:
        loop.call_soon_threadsafe(resolve, result, None)

    def finish(error: BaseException | None) -> None:
        if error is not None:
            loop.call_soon_threadsafe(resolve, None, error)

    client = f"http-{id(done)}"
    studio.scheduler.submit(client, "", Task(steps, deliver, finish))
    try:
        return await asyncio.wait_for(done, 300)
    finally:
        studio.scheduler.cancel(client)


async def keep(request: Request, studio: Studio) -> Response:
    """Keeps the styles of an image; says their id."""
    try:
        wanted = Picture.model_validate_json(await body(request, MAX_BODY))
    except (ValidationError, RecursionError) as error:
        return problem("invalid", first_problem(error), 422)
    return JSONResponse({"id": await drawn(studio, lambda: studio.keep(wanted.model, wanted.recipe, wanted.look))})


async def picture(request: Request, studio: Studio) -> Response:
    """One image as PNG with its settings."""
    try:
        wanted = Picture.model_validate_json(await body(request, MAX_BODY))
    except (ValidationError, RecursionError) as error:
        return problem("invalid", first_problem(error), 422)
    data, name = await drawn(studio, lambda: studio.png(wanted.model, wanted.recipe, wanted.look))
    return Response(data, media_type="image/png", headers={"content-disposition": f'attachment; filename="{name}"'})


async def upload(request: Request, studio: Studio) -> Response:
    """Takes an image in; says its id and size."""
    if request.app.state.uploading.locked():
        raise Busy("other images are being sent")
    async with request.app.state.uploading:
        data = await body(request, MAX_BYTES)
        made, width, height = await in_thread(request, studio.uploads.add, data)
    return JSONResponse({"id": made, "width": width, "height": height})


async def clip(request: Request, studio: Studio) -> Response:
    """A finished clip, or the part of it that a player asks for."""
    try:
        data, kind = studio.clips[request.path_params["id"]]
    except KeyError:
        raise Unknown(request.path_params["id"]) from None
    types = {"mp4": "video/mp4", "webm": "video/webm", "webp": "image/webp", "gif": "image/gif"}
    headers = {"content-disposition": f'attachment; filename="walk.{kind}"', "accept-ranges": "bytes"}
    part = re.fullmatch(r"bytes=(\d{1,12})-(\d{0,12})", request.headers.get("range", ""))
    if part is None:
        return Response(data, media_type=types[kind], headers=headers)
    first, last = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
    if first > last:
        return Response(status_code=416, headers={"content-range": f"bytes */{len(data)}"})
    headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, media_type=types[kind], headers=headers)


async def kept(request: Request, studio: Studio) -> Response:
    """The styles of a kept image as a file that `stylegan edit` and `stylegan walk` take."""

    def write() -> bytes:
        from stylegan import editing

        found = studio.kept.get(request.path_params["id"])
        _, painter = studio.painter(request.query_params.get("model", ""))
        if found is None:
            raise Unknown("kept")
        with tempfile.TemporaryDirectory() as folder:
            return editing.save_latents(Path(folder) / "studio.w.safetensors", found, painter.generator).read_bytes()

    headers = {"content-disposition": 'attachment; filename="studio.w.safetensors"'}
    return Response(await in_thread(request, write), media_type="application/octet-stream", headers=headers)


async def websocket(socket: WebSocket) -> None:
    """A page's connection; refused past the bound."""
    state = socket.app.state
    if state.pages >= MAX_PAGES:
        await socket.accept()
        await socket.close(1013, "too many pages are open")
        return
    state.pages += 1
    try:
        await socket.accept()
        await Connection(state.studio, socket).run()
    finally:
        state.pages -= 1
