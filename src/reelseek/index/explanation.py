"""Why a hit was found, as plain values: what `reelseek search --explain` prints and the page's panel shows.

Not here: how they are computed (`reelseek.index.explain`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

DIGITS = 7
"""Decimals of the numbers in `to_json`: the sum of a segment's frames is off by less than 1e-6."""


@dataclass(frozen=True)
class FrameShare:
    """A frame of the segment that was scored.

    time: seconds. cosine: of the query with the stored frame. weight: of the frame in its segment; they sum to 1.
    contribution: what it adds to the score. Both are None for a method that cannot say. inside: whether it lies in the
    hit's span; a moment may be shorter than its segment.
    """

    time: float
    cosine: float
    weight: float | None
    contribution: float | None
    inside: bool = True


@dataclass(frozen=True)
class WordShare:
    """A word of the query, or some in a row where the query has many, and what becomes of the score without it.

    start, end: characters of the query. drop: the score minus the score of the query without these words. weight: the
    drop minus its mean over segments of the whole index: what the words do for this hit beyond what they do for any
    video. Above 0 they speak for it. Weights do not add up to the score. by_frame: the drop of every frame's
    contribution minus the frame's part, by its weight, of that mean; with the drop of the rest they add up to `weight`.
    Empty for a method that cannot say.
    """

    text: str
    start: int
    end: int
    drop: float
    weight: float
    by_frame: tuple[float, ...]


@dataclass(frozen=True)
class IncrementShare:
    """GARE's increment of a pair (see `reelseek.score.parts.IncrementParts`).

    side: "text" or "video", the vector it is added to. length: of the increment. relative: over that vector's length.
    gap_cosine: with the gap, the mean frame minus the text. without: the score without the increment.
    """

    side: str
    length: float
    relative: float
    gap_cosine: float
    without: float


@dataclass(frozen=True)
class StreamShare:
    """A stream of CAMoE. score: its own. share: of the hit's score, 0 for a stream that does not count at inference.

    words: what its sentence kept of the query; empty for the whole query. experts: the share of each expert in its
    frames, empty without a gate. contributions: of the frames, as the stream sees them, to its own score.
    """

    name: str
    score: float
    share: float
    words: tuple[str, ...]
    experts: dict[str, float]
    contributions: tuple[float, ...]
    increment: IncrementShare | None


@dataclass(frozen=True)
class Explanation:
    """Why a hit has its score. The frames' contributions, the rest and `moment` add up to it.

    path: of the video. start, end: seconds of the segment that was scored; a moment may be shorter, or reach beyond it.
    duration: seconds of the video. exact: whether the method could say what each frame adds; otherwise frames have
    cosines alone. rest: what no single frame adds. moment: what the cosine of the hit's best frame lacks of the best
    one's in the segment, 0 or less: a further moment scores so much less than the segment. Words, streams and increment
    are the segment's. curve: (time in seconds, cosine with the query) of every stored
    frame of the video.
    """

    query: str
    path: str
    start: float
    end: float
    duration: float
    score: float
    exact: bool
    rest: float
    frames: tuple[FrameShare, ...]
    words: tuple[WordShare, ...]
    streams: tuple[StreamShare, ...]
    increment: IncrementShare | None
    curve: tuple[tuple[float, float], ...]
    moment: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers of at most seven decimals."""
        plain: dict[str, Any] = _rounded(asdict(self))
        return plain


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value
