"""A picture that a request brings along: its body, kept in a temporary file while the search runs.

Few at a time, of bounded size, and quick: what comes too slowly is sent away. Not here: reading it as an image or clip
(`reelseek.index.pictures`).
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from reelseek.app.line import CLIENT_LEFT
from reelseek.app.pictures import MOST_BYTES
from reelseek.index.query import Clip

PATIENCE = 60.0
"""Seconds in which the whole body must have come."""


class Uploads:
    """Takes in at most `most` pictures at a time, searches that they wait for included."""

    def __init__(self, most: int = 4) -> None:
        self._room = most

    @asynccontextmanager
    async def received(self, request: Request, start: float, end: float | None) -> AsyncIterator[Path | Clip]:
        """The body as an image or, from `start` to `end` seconds, a clip; deleted when the block is left.

        Raises HTTPException 415 for another content type, 413 for more than `MOST_BYTES`, 408 for a slow sender, 429,
        and ConfigError for an empty span.
        """
        kind = request.headers.get("content-type", "").split("/")[0].strip().lower()
        if kind not in MOST_BYTES:
            raise HTTPException(
                415, "The body must be an image or a video, with a Content-Type of image/... or video/..."
            )
        span = Clip(Path("sent"), start, math.inf if end is None else end)
        if not self._room:
            raise HTTPException(429, "Too many pictures come at once. Try again in a second.", {"Retry-After": "1"})
        self._room -= 1
        try:
            with tempfile.TemporaryDirectory(prefix="reelseek-") as folder:
                path = Path(folder, kind)
                try:
                    async with asyncio.timeout(PATIENCE):
                        await _write(request, path, MOST_BYTES[kind], kind)
                except TimeoutError:
                    raise HTTPException(408, f"The {kind} did not come within {PATIENCE:g} s.") from None
                except ClientDisconnect:
                    raise HTTPException(CLIENT_LEFT, "The client went away.") from None
                yield path if kind == "image" else replace(span, path=path)
        finally:
            self._room += 1


async def _write(request: Request, path: Path, most: int, kind: str) -> None:
    size = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise HTTPException(413, f"The {kind} has more than {most >> 20} MB. Send a smaller one.")
            file.write(chunk)
