"""The application: which path gives what."""

import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from ser.server.answers import ServedModel
from ser.server.guard import Guard
from ser.server.limits import Limits, RequestError
from ser.server.openapi import describe_api
from ser.server.sockets import StreamSocket
from ser.server.uploads import drop_upload, read_upload
from ser.server.work import Work

_UNREAD = (400, 408, 413, 429)
"""Statuses of requests whose body may not be read to its end."""
_STATIC = Path(__file__).with_name("static")


def make_app(model: ServedModel, limits: Limits, names: Collection[str] = ()) -> Starlette:
    """Build the application of one model.

    Args:
        model: What answers.
        limits: Limits of requests and streams.
        names: Further host names of this machine.
    """
    work = Work(limits)

    @contextlib.asynccontextmanager
    async def run(_: Starlette) -> AsyncIterator[None]:
        yield
        work.close()

    async def predict(request: Request) -> Response:
        try:
            detail = _read_detail(request)
            end = work.begin_request()
        except RequestError:
            await drop_upload(request, limits)
            raise
        try:
            name, content = await read_upload(request, limits)
        except BaseException:
            end()
            raise
        answer = await work.compute(
            lambda check_time: model.answer(content, name, detail=detail, check_time=check_time), end
        )
        return JSONResponse(answer)

    async def stream(socket: WebSocket) -> None:
        await StreamSocket(socket, model, work).serve()

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "requests": work.requests, "streams": work.streams})

    async def describe(_: Request) -> Response:
        return JSONResponse(model.describe())

    async def openapi(_: Request) -> Response:
        return JSONResponse(describe_api(model, limits))

    routes = [
        Route("/", _page("index.html")),
        Route("/docs", _page("docs.html")),
        Route("/predict", predict, methods=["POST"]),
        Route("/model", describe),
        Route("/health", health),
        Route("/openapi.json", openapi),
        WebSocketRoute("/stream", stream),
        Route("/stream", _refuse_stream),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    handlers: dict[Any, Any] = {
        RequestError: _answer_refusal,
        HTTPException: _answer_http_error,
        ClientDisconnect: lambda *_: Response(status_code=400),
    }
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, names=names)],
        exception_handlers=handlers,
        lifespan=run,
    )
    app.state.work = work
    return app


def _read_detail(request: Request) -> bool:
    """Return whether the answer shall have details.

    Raises:
        RequestError: It says something else.
    """
    given = request.query_params.get("detail", "false")
    if given not in ("true", "false"):
        raise RequestError(400, f"detail is {given[:40]!r}, expected true or false. Correct the address.")
    return given == "true"


async def _refuse_stream(request: Request) -> Response:
    address = f"ws://{request.url.netloc}/stream"
    message = f"a stream is a WebSocket. Open {address} with a client of WebSockets, or POST a recording to /predict."
    return JSONResponse({"error": message}, 426, headers={"Upgrade": "websocket"})


def _page(name: str) -> Any:
    async def page(_: Request) -> Response:
        return FileResponse(_STATIC / name)

    return page


async def _answer_refusal(_: Request, error: RequestError) -> Response:
    headers = {"Retry-After": "1"} if error.status in (429, 503) else {}
    if error.status in _UNREAD:
        headers["Connection"] = "close"  # else the server would go on reading what it refuses
    return JSONResponse({"error": str(error)}, error.status, headers=headers)


async def _answer_http_error(request: Request, error: HTTPException) -> Response:
    message = {
        404: f"there is no {request.url.path} here. /docs lists what there is.",
        405: f"{request.url.path} does not take {request.method}. /docs lists what it takes.",
    }.get(error.status_code, error.detail)
    return JSONResponse({"error": message}, error.status_code, headers=error.headers)
