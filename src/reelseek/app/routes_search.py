"""The routes that search: `/api/search` by words and by a picture, `/api/similar`, `/api/explain`, `/api/curve`.

Not here: what is found (the service), the models that travel (`reelseek.app.schema`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from starlette.exceptions import HTTPException

from reelseek.app.bounds import bounded
from reelseek.app.guard import shown
from reelseek.app.line import Line
from reelseek.app.media import UNPLAYABLE, Files
from reelseek.app.schema import (
    MOST_ALIKE,
    MOST_CHARACTERS,
    Asked,
    AskedLike,
    AskedWithPicture,
    CurveAnswer,
    ExplainAnswer,
    Found,
    SearchAnswer,
    Seconds,
    span_of,
)
from reelseek.app.service import SearchService
from reelseek.app.upload import Uploads
from reelseek.errors import ConfigError, ReelseekError
from reelseek.index.ask import Answer, Moments
from reelseek.index.calibration import nothing_matches
from reelseek.index.filters import Filters, parse_filters
from reelseek.index.query import Clip, Frame
from reelseek.index.query import Query as Sought

Sentence = Annotated[str, Query(description=f"a sentence; at most {MOST_CHARACTERS} characters")]
BODY = {
    "requestBody": {
        "required": True,
        "description": "an image, or a video to search by",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/*", "video/*")},
    }
}


def add_search(app: FastAPI, service: SearchService, files: Files, line: Line) -> None:
    """The routes. line: where all of them wait, since the service answers one at a time."""
    uploads = Uploads()

    def ident(path: str) -> str:
        return files.ident(path, service.content(path))

    async def found(
        request: Request, asked: Asked, query: Sought, find: Callable[..., Sequence[Answer]], **more: Any
    ) -> Any:
        begun = time.perf_counter()
        filters = filters_of(asked, service)
        settings = {
            **more,
            "filters": filters,
            "moments": _moments(asked),
            "collapse": not asked.duplicates,
            "variety": asked.variety,
        }
        try:
            answers = await line.run(request, find, query, asked.k, **settings)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return SearchAnswer(
            query=shown(_in_words(query)),
            note=shown(service.note(query, filters=filters, subtitles=asked.subtitles)),
            moments=asked.moments,
            seconds=round(time.perf_counter() - begun, 4),
            nothing_matches=nothing_matches(answers),
            hits=[_found(answer, ident) for answer in answers],
        )

    @app.get("/api/search")
    async def search(request: Request, response: Response, asked: Annotated[Asked, Query()]) -> SearchAnswer:
        """Places by what they show."""
        response.headers["Cache-Control"] = "no-store"
        if not asked.q.strip():
            raise HTTPException(400, "Say what to look for.")
        sought = _sought(asked)
        answer: SearchAnswer = await found(request, asked, sought, service.ask, subtitles=asked.subtitles)
        return answer

    @app.post("/api/search", openapi_extra=BODY)
    async def search_by_picture(
        request: Request, response: Response, asked: Annotated[AskedWithPicture, Query()]
    ) -> SearchAnswer:
        """Places that look like the image or video in the body, and by everything else that can be asked."""
        response.headers["Cache-Control"] = "no-store"
        filters_of(asked, service)  # what cannot be asked is refused before anything is read
        async with uploads.received(request, asked.clip_start, asked.clip_end) as picture:
            name = "image" if isinstance(picture, Path) else "clip"
            query = _sought(asked, **{name: picture})
            path = picture if isinstance(picture, Path) else picture.path
            try:
                answer: SearchAnswer = await found(request, asked, query, service.ask, subtitles=asked.subtitles)
            except ReelseekError as error:
                raise type(error)(str(error).replace(str(path), f"the {name}")) from error
            return answer

    @app.get("/api/similar")
    async def similar(request: Request, response: Response, asked: Annotated[AskedLike, Query()]) -> SearchAnswer:
        """Places like a moment of an indexed video, which itself is left out; `q` adds words."""
        response.headers["Cache-Control"] = "no-store"
        if asked.subtitles:
            raise HTTPException(
                400, "Moments like one of the library are found by what they show: leave out subtitles."
            )
        path, content = files.named(asked.id)
        sought = _sought(asked, frame=Frame(Path(path), asked.t))
        answer: SearchAnswer = await found(request, asked, sought, service.similar, content=content)
        return answer

    @app.get("/api/explain")
    async def explain(
        request: Request,
        response: Response,
        q: Sentence,
        id: str,
        t: Annotated[Seconds, Query(description="the hit's peak")],
        start: Annotated[Seconds | None, Query(description="where the hit begins")] = None,
        end: Annotated[Seconds | None, Query(description="where the hit ends")] = None,
    ) -> ExplainAnswer:
        """Why a hit of a sentence has its score: frames, words and the method's parts."""
        response.headers["Cache-Control"] = "no-store"
        span, query, (path, content) = span_of(start, end), sentence_of(q), files.named(id)
        begun = time.perf_counter()
        try:
            known = await line.run(request, service.explain, query, path, t, span=span, content=content)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        # a path does not travel: who asks knows the file by its id
        plain = {key: value for key, value in known.to_json().items() if key != "path"}
        return ExplainAnswer(id=id, seconds=round(time.perf_counter() - begun, 4), **plain)

    @app.get("/api/curve")
    async def curve(request: Request, response: Response, q: Sentence, id: str) -> CurveAnswer:
        """The cosine of a sentence with every stored frame of one video."""
        response.headers["Cache-Control"] = "no-store"
        query, (path, content) = sentence_of(q), files.named(id)
        try:
            known = await line.run(request, service.curve, query, path, content=content)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        times, scores = ([round(float(value), 4) for value in row] for row in (known.times_F, known.cosines_F))
        return CurveAnswer(id=id, query=query, duration=round(known.duration, 4), times=times, scores=scores)


def sentence_of(words: str) -> str:
    """A query's words. HTTPException 400, 413: none, too many."""
    query = words.strip()
    if not query:
        raise HTTPException(400, "Say what to look for.")
    if len(query) > MOST_CHARACTERS:
        raise HTTPException(413, f"The query has {len(query):,} characters; at most {MOST_CHARACTERS:,} can be used.")
    return query


def filters_of(asked: Asked, service: SearchService) -> Filters:
    """Which files may answer; a folder may be named as the status shows it.

    Raises ConfigError as the parsers of `reelseek search` do.
    """
    return parse_filters(
        below=[service.named(place) for place in asked.below],
        since=asked.since,
        until=asked.until,
        longer=asked.longer,
        shorter=asked.shorter,
        where=asked.where,
        metadata=service.metadata,
    )


def _sought(asked: Asked, **picture: Any) -> Sought:
    text = sentence_of(asked.q) if asked.q.strip() else ""
    return Sought(text=text, but=asked.but, then=asked.then, without=tuple(asked.without), **picture)


def _moments(asked: Asked) -> Moments:
    if asked.moments and asked.best_moment:
        raise ConfigError("moments and best_moment: give one of them.")
    return "all" if asked.moments else "one" if asked.best_moment else ""


def _in_words(query: Sought) -> str:
    """The query without the places of temporary and indexed files."""
    if isinstance(query.picture, Clip):
        return str(replace(query, clip=replace(query.picture, path=Path("the clip"))))
    if isinstance(query.picture, Frame):
        return str(replace(query, frame=Frame(Path(query.picture.path.name), query.picture.time)))
    return str(query if query.picture is None else replace(query, image=Path("the image")))


def _found(answer: Answer, ident: Callable[[str], str]) -> Found:
    plain = bounded(answer.plain(), MOST_ALIKE)
    for part in plain["parts"]:
        part["what"] = "" if part["role"] == "picture" else shown(part["what"])
    plain["heard"] = plain["heard"] and {**plain["heard"], "text": shown(plain["heard"]["text"])}
    plain["metadata"] = {shown(name): shown(value) for name, value in plain["metadata"].items()}
    plain["alike"] = [_placed(other, ident) for other in plain["alike"]]
    return Found(**_placed(plain, ident))


def _placed(hit: dict[str, Any], ident: Callable[[str], str]) -> dict[str, Any]:
    """A hit whose path has become what may leave the server."""
    path = Path(hit["path"])
    playable = path.suffix.lower() not in UNPLAYABLE
    known = {name: value for name, value in hit.items() if name != "path"}
    return {
        **known,
        "id": ident(hit["path"]),
        "name": shown(path.name),
        "folder": shown(path.parent),
        "playable": playable,
    }
