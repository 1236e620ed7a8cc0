"""What the HTTP interface takes and answers, as pydantic models: /openapi.json is made from these.

Server and client (`reelseek.client`) share them. Times are seconds of the video. A file is known by an id that only
the running server can make; names and folders are for reading. Not here: the routes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from reelseek.errors import ConfigError
from reelseek.index.explanation import FrameShare, IncrementShare, StreamShare, WordShare

MOST_HITS = 200
MOST_ALIKE = 50
MOST_BROKEN = 200
MOST_FOLDERS = 500
MOST_CHARACTERS = 20_000
"""Of a query; it may be a whole paragraph."""
MOST_WORDS = 1_000
"""Characters of every other text."""
MOST_TEXTS = 8
"""Entries of a list."""
MOST_ASKED = MOST_CHARACTERS + MOST_WORDS * (3 * MOST_TEXTS + 7)
"""Characters of the longest request: a query, three lists, and the seven other texts of `AskedLike`."""

Words = Annotated[str, Field(max_length=MOST_WORDS)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


def span_of(start: float | None, end: float | None) -> tuple[float, float] | None:
    """A span from both its ends; None where neither is given. Raises ConfigError for one alone, and a backward span."""
    if start is None and end is None:
        return None
    if start is None or end is None or end < start:
        raise ConfigError("start and end: give both, the end not before the start, or neither.")
    return start, end


class Asked(BaseModel):
    """What can be asked of a search besides its picture: options of `reelseek search`, by their names."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field("", description=f"what a place shows; at most {MOST_CHARACTERS} characters")
    k: int = Field(24, ge=1, le=MOST_HITS, description="how many hits")
    moments: bool = Field(False, description="several spans of one video may answer")
    best_moment: bool = Field(False, description="one span a video, cut to where it matches")
    but: Words = Field("", description="what is to be different from the picture")
    then: Words = Field("", description="what comes later in the same video")
    without: list[Words] = Field([], max_length=MOST_TEXTS, description="what must not be seen")
    below: list[Words] = Field([], max_length=MOST_TEXTS, description="only files below these folders")
    since: Words = Field("", description="only files changed on this day or later, as 2024-05-31")
    until: Words = Field("", description="only files changed on this day or before")
    longer: Words = Field("", description="only videos of this length or more, as 90 or 1:30")
    shorter: Words = Field("", description="only videos of this length or less")
    where: list[Words] = Field(
        [], max_length=MOST_TEXTS, description="conditions on the server's metadata, as camera=GoPro"
    )
    duplicates: bool = Field(False, description="the same footage twice is two answers")
    variety: float = Field(0.0, ge=0, le=1, description="from 0, the best first, to 1, as different as can be")
    subtitles: bool = Field(False, description="look the text up in subtitles too; scores are ranks then")


class AskedWithPicture(Asked):
    """A search whose picture is the request's body. clip_start, clip_end: the span of a clip that counts."""

    clip_start: Seconds = 0.0
    clip_end: Seconds | None = None


class AskedLike(Asked):
    """A search whose picture is a moment of an indexed video: the stored frame nearest to `t`. Without subtitles."""

    id: Words
    t: Seconds


class Place(BaseModel):
    """A span of a file, and its best frame's time. playable: whether a browser may know the container."""

    id: str
    name: str
    folder: str
    start: float
    end: float
    peak: float
    score: float
    playable: bool


class Part(BaseModel):
    """How strongly a hit shows one part of the query, on the hit's scale."""

    role: Literal["text", "picture", "but", "then", "without"]
    what: str
    score: float


class Span(BaseModel):
    """A span and its best frame's time."""

    start: float
    end: float
    peak: float


class Heard(BaseModel):
    """What is said where a hit was found by its words. start, end: of the line, in seconds."""

    text: str
    start: float
    end: float


class Found(Place):
    """A hit and all that is known of it.

    probability: of a match, where the server was started with --probability and a sentence alone was asked. scale:
    "cosine", or "deviations" from the library's average for a query of several parts, or "ranks" where subtitles were
    searched too. heard: None where it was not found by words. then: the later moment of an
    ordered query. alike: places that show the same footage and were left out for it, the best 50 of `alike_count`.
    duration: of the file. changed: its time of change, ISO 8601 in the server's zone, as `since` and `until` take it.
    metadata: its row of the server's table. What is heard, a part's words and a cell of metadata end after 300
    characters.
    """

    probability: float | None
    scale: Literal["cosine", "deviations", "ranks"]
    heard: Heard | None
    parts: list[Part]
    then: Span | None
    alike: list[Place]
    alike_count: int
    duration: float
    changed: str
    metadata: dict[str, str]


class SearchAnswer(BaseModel):
    """Hits, best first. query: all that was asked, in words. seconds: from the request to its answer.

    nothing_matches: whether every hit's probability is known and low. note: what to mind of the search, such as that
    its query is in a language that the model does not know, or that rows of the metadata name no file; empty for
    nothing.
    """

    query: str
    note: str
    moments: bool
    seconds: float
    nothing_matches: bool
    hits: list[Found]


class CurveAnswer(BaseModel):
    """The cosine of a sentence with every stored frame of a video, in order of time. duration: where it ends."""

    id: str
    query: str
    duration: float
    times: list[float]
    scores: list[float]


class Indexing(BaseModel):
    """An indexing run that writes now. done, total: files; None before they are counted."""

    done: int | None
    total: int | None


class Broken(BaseModel):
    """A file that could not be read, and why."""

    path: str
    reason: str


class Folder(BaseModel):
    """A folder that holds videos itself, and how many."""

    path: str
    videos: int


class StatusAnswer(BaseModel):
    """The index and its model. seconds: of video. columns: of the server's metadata table, for `where`.

    broken: the first 200 of `broken_count`, in order of path. folders: of `folder_count` the 500 that hold the most
    videos, in order of path. probability: whether hits of a sentence carry one. subtitles: how many
    files of them with words to look up the index keeps. indexing: None when nobody writes to the index. against:
    whether the server holds a second index, below `/b`, to compare with.
    """

    model: str
    trained_on: str
    directory: str
    videos: int
    segments: int
    seconds: float
    broken: list[Broken]
    broken_count: int
    folders: list[Folder]
    folder_count: int
    columns: list[str]
    probability: bool
    subtitles: int
    indexing: Indexing | None
    against: bool = False


class Judgement(BaseModel):
    """Whether a hit is what a query meant; good: null takes back what was said before.

    t: the hit's `peak`. start, end: its span; without them the frame alone is meant, and null takes back all on it.
    """

    model_config = ConfigDict(extra="forbid")

    q: str = Field(max_length=MOST_CHARACTERS)
    id: Words
    t: Seconds
    start: Seconds | None = None
    end: Seconds | None = None
    good: bool | None


class Kept(BaseModel):
    """Feedback that is kept. id: None where the index does not hold the file any more. at: ISO 8601 in UTC."""

    q: str
    id: str | None
    name: str
    folder: str
    start: float
    end: float
    peak: float
    good: bool
    at: str


class FeedbackAnswer(BaseModel):
    """What is kept now of the judged hit; None where it was taken back."""

    kept: Kept | None


class FeedbackList(BaseModel):
    """All feedback that is kept, oldest first."""

    kept: list[Kept]


class ExplainAnswer(BaseModel):
    """Why a hit has its score: `reelseek.index.explanation.Explanation` under the file's id."""

    id: str
    seconds: float
    query: str
    start: float
    end: float
    duration: float
    score: float
    exact: bool
    rest: float
    frames: list[FrameShare]
    words: list[WordShare]
    streams: list[StreamShare]
    increment: IncrementShare | None
    curve: list[tuple[float, float]]
    moment: float


class Health(BaseModel):
    """The server answers."""

    ok: bool


class ErrorAnswer(BaseModel):
    """What is wrong, in a sentence that can be shown as it is."""

    error: str
