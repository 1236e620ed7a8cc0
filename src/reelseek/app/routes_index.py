"""The routes about the index itself: `/api/status`, and what a user says of hits at `/api/feedback`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI, Request, Response

from reelseek.app.guard import shown
from reelseek.app.line import Line
from reelseek.app.media import Files
from reelseek.app.routes_search import sentence_of
from reelseek.app.schema import (
    Broken,
    FeedbackAnswer,
    FeedbackList,
    Folder,
    Indexing,
    Judgement,
    Kept,
    StatusAnswer,
    span_of,
)
from reelseek.app.service import Judged, SearchService


def add_index(app: FastAPI, service: SearchService, files: Files, line: Line, *, against: bool = False) -> None:
    """The routes. line: where status and feedback wait, not behind searches. against: see `StatusAnswer`."""

    @app.get("/api/status")
    async def status(request: Request, response: Response) -> StatusAnswer:
        """The index and its model, files that could not be read, and how far a running `reelseek index` is."""
        response.headers["Cache-Control"] = "no-store"
        known = await line.run(request, service.status)
        return StatusAnswer(
            model=shown(known["model"]),
            trained_on=shown(known["trained_on"]),
            directory=shown(known["directory"]),
            videos=known["videos"],
            segments=known["segments"],
            seconds=known["seconds"],
            broken=[Broken(path=shown(file["path"]), reason=shown(file["reason"])) for file in known["broken"]],
            broken_count=known["broken_count"],
            folders=[Folder(path=shown(path), videos=count) for path, count in known["folders"]],
            folder_count=known["folder_count"],
            columns=[] if service.metadata is None else [shown(column) for column in service.metadata.columns],
            probability=known["probability"],
            subtitles=known["subtitles"],
            indexing=None if known["indexing"] is None else Indexing(**known["indexing"]._asdict()),
            against=against,
        )

    @app.post("/api/feedback")
    async def judge(request: Request, judgement: Judgement) -> FeedbackAnswer:
        """Keep with the index whether a hit is what was meant, or take that back."""
        query, (path, content) = sentence_of(judgement.q), files.named(judgement.id)
        span = span_of(judgement.start, judgement.end)
        kept = await line.run(
            request, service.judge, query, path, judgement.t, judgement.good, span=span, content=content
        )
        return FeedbackAnswer(kept=None if kept is None else _kept(kept, files))

    @app.get("/api/feedback")
    async def feedback(request: Request, response: Response) -> FeedbackList:
        """All that was said of hits and not taken back, oldest first."""
        response.headers["Cache-Control"] = "no-store"
        return FeedbackList(kept=[_kept(row, files) for row in await line.run(request, service.judged)])


def _kept(row: Judged, files: Files) -> Kept:
    mark, path = row.mark, Path(row.path or row.mark.path)
    return Kept(
        q=shown(mark.query),
        id=None if row.path is None else files.ident(row.path, mark.content_hash),
        name=shown(path.name),
        folder=shown(path.parent),
        start=mark.start,
        end=mark.end,
        peak=mark.peak,
        good=mark.good,
        at=datetime.fromtimestamp(mark.at, UTC).isoformat(timespec="seconds"),
    )
