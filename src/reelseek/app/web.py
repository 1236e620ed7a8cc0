"""The server of one index: the search page, the HTTP interface, and files of the index, for one person on one machine.

Not here: the routes (`routes_search`, `routes_index`, `media`), what they answer (`schema`), who may ask at all
(`guard`), searching (the service that is passed in), the page itself (static/).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from reelseek import __version__
from reelseek.app.guard import HEADERS, Guard, sentence
from reelseek.app.line import Line
from reelseek.app.loopback import is_loopback
from reelseek.app.media import Files, add_media
from reelseek.app.metrics import Metrics, add_metrics
from reelseek.app.routes_index import add_index
from reelseek.app.routes_search import add_search
from reelseek.app.schema import MOST_ASKED, ErrorAnswer, Health
from reelseek.app.service import SearchService
from reelseek.app.token import check_token
from reelseek.errors import ConfigError, DataError, NotInIndex, ReelseekError, VideoError

STATIC = Path(__file__).parent / "static"
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "What is wrong with the request, or 429: come again later."},
    "5XX": {"model": ErrorAnswer, "description": "What is wrong with the index (503) or the server."},
}


def create_app(
    service: SearchService,
    *,
    thumbnail: Callable[[Path, float], bytes],
    against: SearchService | None = None,
    token: str | None = None,
    waiting: int = 8,
    patience: float = 20.0,
) -> FastAPI:
    """The application: the page at `/`, and the routes that `/openapi.json` describes.

    Args:
        service: the index to search.
        against: the same videos by another model: its routes are the same below `/b`, less those of the server itself
            (`/healthz`, `/metrics`, `/openapi.json`), and `/compare` shows both.
        thumbnail: (file, seconds) -> JPEG bytes; raises VideoError.
        token: asked of every request but `/healthz`, as `Authorization: Bearer` or once as `/?token=`.
        waiting: searches and explanations that may stand in line behind the running one; the next is answered 429.
        patience: seconds after which one that still stands there is answered 429 too.

    Raises:
        ConfigError: the token is empty, or has characters that a header cannot carry.
    """
    if token is not None and not token.strip():
        raise ConfigError("The token is empty: it would let everyone in. Give a longer one, or none.")
    check_token(token or "")
    # the usual pages that show a schema load their scripts from elsewhere
    app = FastAPI(title="reelseek", version=__version__, docs_url=None, redoc_url=None, responses=ERRORS)
    app.state.token = token
    app.add_middleware(Guard, token=token)
    _answer_errors_in_sentences(app)
    services = [service] if against is None else [service, against]
    files = Files(lambda path, content: {stamp for one in services for stamp in one.stamps(path, content)})
    line, quick, pictures = Line(1, waiting, patience), Line(2, 64), Line(2, 64)
    # added last, so that it counts what the guard refuses too
    add_metrics(app, Metrics(service, waiting=lambda: line.inside))
    add_search(app, service, files, line)
    add_index(app, service, files, quick, against=against is not None)
    add_media(app, files, thumbnail, pictures)
    if against is not None:
        other = FastAPI(openapi_url=None)
        _answer_errors_in_sentences(other)
        # ids and the lines are shared: a file has one id on both sides, and the machine is the same
        add_search(other, against, files, line)
        add_index(other, against, files, quick, against=True)
        add_media(other, files, thumbnail, pictures)
        app.mount("/b", other)

    @app.get("/healthz")
    async def healthz() -> Health:
        """Whether the server answers; asks for no token."""
        return Health(ok=True)

    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    for address in ("/", "/compare")[: len(services)]:
        app.add_api_route(address, page, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", _Current(directory=STATIC))
    return app


class _Current(StaticFiles):
    """Files that a browser asks about each time: those of two versions must not run together."""

    def file_response(self, *arguments: Any, **named: Any) -> Response:
        """The file, or that it has not changed."""
        answer = super().file_response(*arguments, **named)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def serve(
    app: FastAPI, host: str = "127.0.0.1", port: int = 8765, *, announce: Callable[[str], None] | None = None
) -> None:
    """Answers until it is interrupted; `announce` is called with the page's address once the port is held.

    Raises:
        ConfigError: another machine could connect and no token is set; or the address cannot be used.
    """
    if app.state.token is None and not is_loopback(host):
        raise ConfigError(
            f"Serving on {host} would let other machines search these videos. Give a token, or serve on 127.0.0.1."
        )
    with _listening(host, port) as listener:
        if announce is not None:
            name = f"[{host}]" if ":" in host else host
            announce(f"http://{name}:{listener.getsockname()[1]}/")
        server = uvicorn.Server(server_config(app))
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        server.run(sockets=[listener])


def _is_news(record: logging.LogRecord) -> bool:
    """Not that requests still ran when the server was stopped, each with a traceback: a paused video is one."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and "timeout graceful shutdown exceeded" not in str(record.msg)


def server_config(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        # in an address a character takes up to twelve bytes
        h11_max_incomplete_event_size=16 * MOST_ASKED,
        server_header=False,
        # uvicorn's own 5 s close a connection as a client on a busy machine sends its next request over it
        timeout_keep_alive=75,
        # a browser that still streams a video would hold the process after Ctrl-C
        timeout_graceful_shutdown=2,
    )


def _listening(host: str, port: int) -> socket.socket:
    """The port, held before uvicorn starts: uvicorn would end the process with a log line instead of an error."""
    # the resolver would take a larger number modulo 65,536
    if not 0 <= port <= 65535:
        raise ConfigError(f"{port} is no port: give a number from 0 (any free one) to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"{host}:{port} is not an address of this machine ({error}). Give another host.") from error
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(f"Port {port} of {host} cannot be used: {error.strerror}. Give another port.") from error
    return listener


def _answer_errors_in_sentences(app: FastAPI) -> None:
    """Every error becomes {"error": sentence}; what nobody foresaw is still logged with its traceback."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        words = "There is nothing at this address." if error.detail == "Not Found" else error.detail
        return sentence(error.status_code, words, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return sentence(400, "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()) + ".")

    @app.exception_handler(ReelseekError)
    async def failed(request: Request, error: ReelseekError) -> JSONResponse:
        asked_wrongly = isinstance(error, ConfigError | DataError | VideoError)
        status = 400 if asked_wrongly else 404 if isinstance(error, NotInIndex) else 503
        return sentence(status, str(error))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return sentence(500, "The server failed at this; its terminal shows why.", HEADERS)
