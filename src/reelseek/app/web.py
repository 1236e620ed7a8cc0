"""The search page's server: JSON answers, thumbnails and videos of one index, for one person on one machine.

Not here: searching (the service that is passed in), decoding (the `thumbnail` function that is passed in), the page
itself (static/). No path travels in an address: a file is known by an id that only this process can make, and is served
only while the index holds it. Who may ask at all is decided in `reelseek.app.guard`.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import uvicorn
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from reelseek.app.guard import HEADERS, Guard, is_loopback, sentence, shown
from reelseek.errors import ConfigError, ReelseekError, VideoError
from reelseek.records import Hit

STATIC = Path(__file__).parent / "static"
MOST_CHARACTERS = 20_000
MOST_HITS = 200
# containers that no browser plays; others are tried, and the page falls back when the codec is unknown
UNPLAYABLE = frozenset(
    [".avi", ".wmv", ".asf", ".flv", ".gif", ".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".mxf", ".rm"]
)

Result = TypeVar("Result")


class SearchService(Protocol):
    """What the page needs of an index. `search` and `explain` are called from one thread at a time."""

    def search(self, query: str, k: int, moments: bool) -> Sequence[Hit]:
        """The best `k` videos, or with `moments` the best `k` spans. ValueError: a query that cannot be used."""
        ...

    def explain(self, query: str, path: str, peak: float) -> Mapping[str, Any]:
        """Why the hit of `search(query)` with this path and peak has its score, as plain values.

        Keys: those of `reelseek.index.explanation.Explanation`. ValueError: a query that cannot be used.
        """
        ...

    def status(self) -> Mapping[str, Any]:
        """The index and its model.

        Keys: model, trained_on, directory (str); videos, segments (int); seconds (float, of video);
        broken (list of {path, reason}).
        """
        ...

    def allowed(self, path: str) -> bool:
        """Whether `path`, a path with every link resolved, is a file of the index.

        Links of indexed files must be resolved when the index is opened, not here: a file that is swapped for a link
        afterwards then leads to a path that is not allowed.
        """
        ...


def create_app(
    service: SearchService, *, thumbnail: Callable[[Path, float], bytes], token: str | None = None, waiting: int = 8
) -> FastAPI:
    """The application: `/`, `/api/search`, `/api/explain`, `/api/status`, `/thumb/{id}`, `/video/{id}`, `/healthz`.

    Args:
        service: the index to search.
        thumbnail: (file, seconds) -> JPEG bytes; raises VideoError.
        token: asked of every request but `/healthz`, as `Authorization: Bearer` or once as `/?token=`.
        waiting: searches and explanations that may stand in line behind the running one; the next is answered 429.

    Raises:
        ConfigError: the token is empty.
    """
    if token is not None and not token.strip():
        raise ConfigError("The token is empty: it would let everyone in. Give a longer one, or none.")
    app = FastAPI(title="reelseek", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.token = token
    app.add_middleware(Guard, token=token)
    _answer_errors_in_sentences(app)
    _add_search(app, service, files := _Files(service), _Line(1, waiting))
    _add_media(app, files, thumbnail, _Line(2, 64))

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @app.api_route("/", methods=["GET", "HEAD"])
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def _add_search(app: FastAPI, service: SearchService, files: _Files, line: _Line) -> None:
    @app.get("/api/search")
    async def search(
        q: str = "", k: Annotated[int, Query(ge=1, le=MOST_HITS)] = 24, moments: bool = False
    ) -> JSONResponse:
        query = _query(q)
        begun = time.perf_counter()
        try:
            hits = await line.run(service.search, query, k, moments)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        seconds = round(time.perf_counter() - begun, 4)
        answer = {"query": query, "moments": moments, "seconds": seconds, "hits": [_hit(hit, files) for hit in hits]}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    @app.get("/api/explain")
    async def explain(q: str, id: str, t: Annotated[float, Query(ge=0, allow_inf_nan=False)]) -> JSONResponse:
        query, path = _query(q), files.path(id)
        begun = time.perf_counter()
        try:
            known = await line.run(service.explain, query, path, t)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        # a path does not travel: the page knows the file by its id
        answer = {key: value for key, value in known.items() if key != "path"}
        seconds = round(time.perf_counter() - begun, 4)
        return JSONResponse({"id": id, "seconds": seconds, **answer}, headers={"Cache-Control": "no-store"})

    @app.get("/api/status")
    def status() -> JSONResponse:
        known = service.status()
        answer = {
            **{key: shown(known[key]) for key in ("model", "trained_on", "directory")},
            **{key: known[key] for key in ("videos", "segments", "seconds")},
            "broken": [{"path": shown(file["path"]), "reason": shown(file["reason"])} for file in known["broken"]],
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _query(words: str) -> str:
    query = words.strip()
    if not query:
        raise HTTPException(400, "Say what to look for.")
    if len(query) > MOST_CHARACTERS:
        raise HTTPException(413, f"The query has {len(query):,} characters; at most {MOST_CHARACTERS:,} can be used.")
    return query


def _add_media(app: FastAPI, files: _Files, thumbnail: Callable[[Path, float], bytes], line: _Line) -> None:
    # the time of change is part of the key, so that a replaced file gets a new picture
    @lru_cache(maxsize=512)
    def picture(path: Path, changed: int, seconds: float) -> bytes:
        return thumbnail(path, seconds)

    def current(ident: str, seconds: float) -> bytes:
        path, facts = files.find(ident)
        return picture(path, facts.st_mtime_ns, seconds)

    @app.get("/thumb/{ident}")
    async def thumb(ident: str, t: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0) -> Response:
        try:
            jpeg = await line.run(current, ident, round(t, 3))
        except VideoError as error:
            raise HTTPException(404, f"There is no picture of this moment. {error}") from error
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @app.api_route("/video/{ident}", methods=["GET", "HEAD"])
    def video(ident: str) -> FileResponse:
        path, facts = files.find(ident)
        kind = mimetypes.guess_type(path.name)[0] or ""
        # anything that is not plainly a video is a download, whatever it holds
        kind = kind if kind.startswith("video/") else "application/octet-stream"
        return FileResponse(path, media_type=kind, stat_result=facts, headers={"Cache-Control": "private, no-cache"})


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
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            # a query of MOST_CHARACTERS takes up to twelve bytes a character in an address
            h11_max_incomplete_event_size=16 * MOST_CHARACTERS,
            server_header=False,
            # a browser that still streams a video would hold the process after Ctrl-C
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(config).run(sockets=[listener])


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


def _hit(hit: Hit, files: _Files) -> dict[str, Any]:
    path = Path(hit.path)
    return {
        "id": files.ident(hit.path),
        "name": shown(path.name),
        "folder": shown(path.parent),
        "start": hit.start,
        "end": hit.end,
        "peak": hit.peak,
        "score": hit.score,
        "playable": path.suffix.lower() not in UNPLAYABLE,
    }


class _Files:
    """Ids of the files that searches have shown, and the way back from an id to a file that may be served."""

    def __init__(self, service: SearchService) -> None:
        self._service = service
        self._key = secrets.token_bytes(32)
        self._paths: dict[str, str] = {}

    def ident(self, path: str) -> str:
        ident = hashlib.blake2b(os.fsencode(path), key=self._key, digest_size=12).hexdigest()
        self._paths[ident] = path
        return ident

    def path(self, ident: str) -> str:
        """The path as the search gave it. HTTPException 404: an unknown id."""
        path = self._paths.get(ident)
        if path is None:
            raise HTTPException(404, "This result is from an earlier start of the server. Search again.")
        return path

    def find(self, ident: str) -> tuple[Path, os.stat_result]:
        """The file with its links resolved. HTTPException 404: unknown id, gone, or not of the index (any more)."""
        path = self.path(ident)
        try:
            real = Path(path).resolve(strict=True)
            facts = real.stat()
        except (OSError, RuntimeError, ValueError) as error:
            raise HTTPException(404, "The file is gone or cannot be reached. Index its folder again.") from error
        if not real.is_file() or not self._service.allowed(str(real)):
            raise HTTPException(404, "The file is not in the index.")
        return real, facts


class _Line:
    """Runs `working` calls at a time in threads, lets `waiting` more stand in line, and refuses the next with 429."""

    def __init__(self, working: int, waiting: int) -> None:
        self._limiter = CapacityLimiter(working)
        self._room = working + waiting
        self._inside = 0

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        if self._inside >= self._room:
            raise HTTPException(429, "Too many requests are waiting. Try again in a second.", {"Retry-After": "1"})
        self._inside += 1
        try:
            return await to_thread.run_sync(partial(work, *arguments), limiter=self._limiter)
        finally:
            self._inside -= 1


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
        return sentence(503, str(error))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return sentence(500, "The server failed at this; its terminal shows why.", HEADERS)
