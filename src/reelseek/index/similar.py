"""Moments like one of the index. Not here: its vector (`reelseek.index.seen`), the search (`reelseek.index.ask`).

Shapes: F frames of a video.
"""

from __future__ import annotations

import numpy as np

from reelseek.index.ask import Answer, Moments, ask
from reelseek.index.filters import Filters
from reelseek.index.loaded import rows_of, video_of
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.records import Hit


def similar(
    searcher: Searcher,
    query: Query,
    k: int = 10,
    *,
    filters: Filters | None = None,
    moments: Moments = "",
    collapse: bool = True,
    variety: float = 0.0,
) -> list[Answer]:
    """The `k` best places for a query with a `frame`, without the place that the frame itself lies in.

    Copies of that place leave with it where the same footage is one answer (`collapse`).
    Raises ValueError for a query without a frame, NotInIndex, and as `reelseek.index.ask.ask`.
    """
    frame = query.frame
    if frame is None:
        raise ValueError("similar: the query has no frame")
    answers = ask(searcher, query, k + 1, filters=filters, moments=moments, collapse=collapse, variety=variety)
    loaded = searcher.loaded
    files = loaded.files
    times_F = loaded.segments.times_N[rows_of(loaded, video_of(loaded, str(frame.path)))]
    time = float(times_F[np.abs(times_F - frame.time).argmin()])

    def itself(place: Answer | Hit) -> bool:
        same = files[place.path].content_hash == files[str(frame.path)].content_hash
        # where one place ends the next one begins; nothing begins at the end of a video
        return same and (place.start <= time < place.end or time == place.end >= files[place.path].duration)

    # a copy may be more like the moment than its own place is, which then stands below the copy
    return [answer for answer in answers if not (itself(answer) or any(map(itself, answer.alike)))][:k]
