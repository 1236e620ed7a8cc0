"""How strongly every place shows what a query asks for: each part scored for itself, then brought together.

**One part** keeps its own scale, a cosine: a sentence the method's score, a picture the cosine with its best frame.

**Several parts** first come to a common scale, because a model's cosines between texts and frames lie elsewhere, and
spread otherwise, than those between frames and frames. Each part's scores are standardised over this library: minus
their mean over it, divided by their standard deviation over it. A score of 2 then says "two deviations above what this
library shows on average", of a text as of a picture. It depends on the part and the library alone: not on other
queries, other parts, filters, or how many hits are asked for. Then, for every place:

    text and picture    the mean of the two
    but                 the lower of that and the change: being all but the picture's copy buys no missing change
    without             minus the strongest of them where it is above 0, that is, above the library's average; a place
                        that shows it as much as what was asked for, or more, is left out

The mean and deviation of frames are those of all frames; of segments, those of `REFERENCE_SEGMENTS` segments spread
evenly over the library in order of path (all, in a smaller one), since the method's own score may be costly.
Not here: which places are candidates and what becomes of them (`reelseek.index.ask`).

Shapes: N frames of the whole index, S segments, P picked segments, D width, A parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reelseek.index.loaded import Loaded
from reelseek.index.moments import ALIKE
from reelseek.index.pictures import picture_vector
from reelseek.index.query import Clip, Frame, Part, Query, Role
from reelseek.index.scan import scan
from reelseek.index.search import Searcher
from reelseek.index.seen import stored_vector
from reelseek.records import Texts

REFERENCE_SEGMENTS = 512
"""Segments over which a part's scores are standardised."""
SPREAD_LEAST = 1e-6
"""A standard deviation of cosines below which a part tells nothing apart; then all its places count 0."""

ASKED: tuple[Role, ...] = ("text", "picture")


class AskedPart(NamedTuple):
    """A part of a query, and the cosine [N] of every frame with it. texts: its projected words; None for a picture."""

    part: Part
    texts: Texts | None
    cosines_N: np.ndarray


class Judged(NamedTuple):
    """Scores of picked segments by part [A, P], in deviations where there are several parts, else a cosine."""

    parts_AP: np.ndarray
    score_P: np.ndarray


def asked_parts(searcher: Searcher, loaded: Loaded, query: Query) -> list[AskedPart]:
    """Every part encoded and compared with all frames, in one scan. Raises VideoError for a picture that has none,
    NotInIndex for a moment that the index does not hold.
    """
    parts = query.parts()
    texts: list[Texts | None] = []
    vectors: list[Tensor] = []
    for part in parts:
        if part.role == "picture" and query.picture is not None:
            texts.append(None)
            vectors.append(_vector(searcher, loaded, query.picture))
        else:
            words = searcher.encode([part.what])
            texts.append(words)
            vectors.append(words.pooled_TD)
    queries_AD = torch.cat([vector.float().cpu() for vector in vectors])
    cosines_AN = scan(loaded.frames_ND.pieces, loaded.inverse_norms_N, queries_AD)
    return [AskedPart(*row) for row in zip(parts, texts, cosines_AN, strict=True)]


def _vector(searcher: Searcher, loaded: Loaded, picture: Path | Clip | Frame) -> Tensor:
    if isinstance(picture, Frame):
        return stored_vector(loaded, picture)
    return picture_vector(searcher.method, searcher.index.config, picture)


def standardised(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scores of any shape minus the mean of `reference`, divided by its standard deviation; 0 where that is none."""
    spread = float(reference.std(dtype=np.float64))
    if spread < SPREAD_LEAST:
        return np.zeros(scores.shape)
    return np.asarray((scores - reference.mean(dtype=np.float64)) / spread, np.float64)


def combined(roles: Sequence[Role], parts_AN: np.ndarray, *, strict: bool, later: bool = False) -> np.ndarray:
    """Standardised scores [A, N] of parts brought together [N], as this module says.

    strict: places that show what is unwanted as much as what was asked for are -inf. Where scores are only an estimate
    they are pushed down alone. later: the score of the moment after `then`, else of the one before.
    """

    def rows(*wanted: Role) -> np.ndarray:
        return parts_AN[[number for number, role in enumerate(roles) if role in wanted]]

    asked_N = rows("then").mean(axis=0) if later else rows(*ASKED).mean(axis=0)
    if not later and "but" in roles:
        asked_N = np.minimum(asked_N, rows("but")[0])
    if "without" not in roles:
        return np.asarray(asked_N)
    unwanted_N = np.maximum(rows("without").max(axis=0), 0)
    lowered_N = asked_N - unwanted_N
    return np.where((lowered_N <= 0) & (unwanted_N > 0), -np.inf, lowered_N) if strict else np.asarray(lowered_N)


class Evidence:
    """The scores of one query over one index: frames and segments at once, the method's own score where it is asked."""

    def __init__(self, searcher: Searcher, loaded: Loaded, asked: Sequence[AskedPart]) -> None:
        self.searcher, self.loaded, self.asked = searcher, loaded, asked
        self._own_AS = np.full((len(asked), len(loaded.order_S)), np.nan)
        self.roles: list[Role] = [row.part.role for row in asked]
        self.single = len(asked) == 1
        cosines_AN = np.stack([row.cosines_N for row in asked])
        self.best_AS = np.maximum.reduceat(cosines_AN, loaded.segments.first_S, axis=1)
        if self.single:
            self.frames_AN = cosines_AN
            self._alike_A = [ALIKE]
        else:
            self.frames_AN = np.stack([standardised(row, row) for row in cosines_AN])
            self._alike_A = [ALIKE / max(float(row.std(dtype=np.float64)), SPREAD_LEAST) for row in cosines_AN]

    def frames(self, *, later: bool = False) -> np.ndarray:
        """Scores [N] of frames by their cosines, to cut spans by; nothing is left out."""
        if self.single:
            return np.asarray(self.frames_AN[0])
        return combined(self.roles, self.frames_AN, strict=False, later=later)

    def alike(self, *, later: bool = False) -> float:
        """`reelseek.index.moments.ALIKE` on the scale of `frames`."""
        wanted = ("then",) if later else (*ASKED, "but")
        return float(np.mean([a for a, role in zip(self._alike_A, self.roles, strict=True) if role in wanted]))

    def coarse(self) -> np.ndarray:
        """Estimates [S] of the segments' scores, each part by its best frame; to find candidates by."""
        if self.single:
            return np.asarray(self.best_AS[0])
        parts_AS = np.stack([standardised(best_S, best_S) for best_S in self.best_AS])
        return combined(self.roles, parts_AS, strict=False)

    def judge(self, picks_P: np.ndarray) -> Judged:
        """The scores of picked segments, sentences by the method itself. -inf: left out."""
        if self.single:
            score_P = self._own(0, picks_P)
            return Judged(score_P[None], score_P)
        reference = _reference(self.loaded)
        every = np.union1d(picks_P, reference)
        at_picks, at_reference = np.searchsorted(every, picks_P), np.searchsorted(every, reference)
        rows = []
        for number in range(len(self.asked)):
            own = self._own(number, every)
            rows.append(standardised(own[at_picks], own[at_reference]))
        parts_AP = np.stack(rows)
        return Judged(parts_AP, combined(self.roles, parts_AP, strict=True))

    def _own(self, number: int, picks_P: np.ndarray) -> np.ndarray:
        """Scores [P] of a part on its own scale; each segment is scored once."""
        texts, own_S = self.asked[number].texts, self._own_AS[number]
        missing = picks_P[np.isnan(own_S[picks_P])]
        if len(missing):
            own_S[missing] = (
                self.best_AS[number][missing] if texts is None else self.searcher.score(self.loaded, texts, missing)
            )
        return np.asarray(own_S[picks_P])


def _reference(loaded: Loaded) -> np.ndarray:
    """The segments that stand for the library: evenly spread over it in order of path and time."""
    by_path = np.concatenate(loaded.segments_V)
    return by_path[np.linspace(0, len(by_path) - 1, min(REFERENCE_SEGMENTS, len(by_path))).astype(np.int64)]
