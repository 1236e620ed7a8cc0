"""Ids of files, and the routes that serve them: `/thumb/{id}` and `/video/{id}`.

No path travels in an address: a file is known by an id that only this process can make, and is served only while the
index holds that content there and the file is as it was indexed. Not here: decoding (the `thumbnail` function that is
passed in), which files those are (`reelseek.app.held`).
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import secrets
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from reelseek.app.held import Stamp, unchanged
from reelseek.app.line import Line
from reelseek.errors import VideoError

# containers that no browser plays; others are tried, and the page falls back when the codec is unknown
UNPLAYABLE = frozenset(
    [".avi", ".wmv", ".asf", ".flv", ".gif", ".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".mxf", ".rm"]
)


def answers(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """For the schema: a route that answers bytes of these content types when it does not answer an error."""
    return {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}}}


class Files:
    """Ids of the files that answers have named, and the way back from an id to a file that may be served.

    stamps: of a path with every link resolved and a content hash, see `reelseek.app.held.Held.stamps`.
    """

    def __init__(self, stamps: Callable[[str, str], Collection[Stamp]]) -> None:
        self._stamps = stamps
        self._key = secrets.token_bytes(32)
        self._named: dict[str, tuple[str, str]] = {}

    def ident(self, path: str, content: str) -> str:
        """The id of a content under a path of the index, the same as long as the server runs."""
        ident = hashlib.blake2b(os.fsencode(f"{path}\0{content}"), key=self._key, digest_size=12).hexdigest()
        self._named[ident] = path, content
        return ident

    def named(self, ident: str) -> tuple[str, str]:
        """The path as the search gave it, and the content it had then. HTTPException 404: an unknown id."""
        named = self._named.get(ident)
        if named is None:
            raise HTTPException(404, "This result is from an earlier start of the server. Search again.")
        return named

    def find(self, ident: str) -> tuple[Path, os.stat_result]:
        """The file with its links resolved. HTTPException 404: an unknown id; NotInIndex as `unchanged`."""
        return unchanged(*self.named(ident), self._stamps)


def add_media(app: FastAPI, files: Files, thumbnail: Callable[[Path, float], bytes], line: Line) -> None:
    """The routes. thumbnail: (file, seconds) -> JPEG bytes; raises VideoError."""

    # the time of change is part of the key, so that a replaced file gets a new picture
    @lru_cache(maxsize=512)
    def picture(path: Path, changed: int, seconds: float) -> bytes:
        return thumbnail(path, seconds)

    def current(ident: str, seconds: float) -> bytes:
        path, facts = files.find(ident)
        return picture(path, facts.st_mtime_ns, seconds)

    @app.get("/thumb/{ident}", response_class=Response, responses=answers("image/jpeg"))
    async def thumb(
        request: Request, ident: str, t: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0
    ) -> Response:
        """A small JPEG of the frame on screen at `t` seconds."""
        try:
            jpeg = await line.run(request, current, ident, round(t, 3))
        except VideoError as error:
            raise HTTPException(404, f"There is no picture of this moment. {error}") from error
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @app.head("/video/{ident}", include_in_schema=False)
    @app.get("/video/{ident}", response_class=Response, responses=answers("video/*", "application/octet-stream"))
    def video(request: Request, ident: str) -> FileResponse:
        """The file itself, whole or in ranges."""
        if not _is_range(request.headers.get("range", "")):
            # `FileResponse` would refuse what RFC 9110 says to ignore
            request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
        path, facts = files.find(ident)
        kind = mimetypes.guess_type(path.name)[0] or ""
        # anything that is not plainly a video is a download, whatever it holds
        kind = kind if kind.startswith("video/") else "application/octet-stream"
        return FileResponse(path, media_type=kind, stat_result=facts, headers={"Cache-Control": "private, no-cache"})


def _is_range(header: str) -> bool:
    """Whether a Range header names bytes by the grammar of RFC 9110, in positions that a file can have."""
    unit, _, listed = header.partition("=")
    spans = [span.strip() for span in listed.split(",") if span.strip()]
    return unit.strip().lower() == "bytes" and len(spans) > 0 and all(map(_is_span, spans))


def _is_span(text: str) -> bool:
    found = re.fullmatch(r"([0-9]{0,18})-([0-9]{0,18})", text)
    if found is None or text == "-":
        return False
    first, last = found.groups()
    return not (first and last) or int(first) <= int(last)
