"""Places that look alike: the same footage twice, and answers that differ from one another.

Vectors of one model may all lie close together, so every frame is compared after the library's mean frame is taken
away: what is left is how it differs from what this library usually shows. A place is the mean of that over its frames.
Not here: what is found in the first place (`reelseek.index.ask`).
Shapes: P places, R frames of all of them, G groups, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch.nn.functional import normalize

from reelseek.index.loaded import Loaded
from reelseek.index.places import Place

SAME = 0.9
"""Likeness from which two places are the same footage. Of 35 real clips, encoded again at usual quality, 16 reached it
with the offline model, 7 at low quality, and none of the 595 pairs of different clips (`benchmarks/alike.py`)."""
BLOCK = 64
"""Places that are looked at together."""
ROWS = 8192
"""Frames that are read together: a moment may be as long as its video."""
FAINT = 1e-3
"""What is left of a unit vector below this length is rounding: such a frame is like nothing."""


def looks(loaded: Loaded, places: Sequence[Place]) -> np.ndarray:
    """What places look like [P, D]: of length 1, or zeros where nothing tells a place from the library's mean."""
    counts_P = torch.tensor([len(place.rows_F) for place in places], dtype=torch.int64)
    owner_R = torch.repeat_interleave(torch.arange(len(places)), counts_P)
    rows_R = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *(place.rows_F for place in places)]))
    sum_PD = torch.zeros(len(places), loaded.frames_ND.shape[1])
    for low in range(0, len(rows_R), ROWS):
        some_R = rows_R[low : low + ROWS]
        away_RD = loaded.frames_ND[some_R].float() * loaded.inverse_norms_N[some_R, None] - loaded.mean_D
        length_R1 = away_RD.norm(dim=1, keepdim=True)
        away_RD *= torch.where(length_R1 > FAINT, 1 / length_R1, 0)
        sum_PD.index_add_(0, owner_R[low : low + ROWS], away_RD)
    looks_PD: np.ndarray = normalize(sum_PD / counts_P[:, None], dim=1).numpy()
    return looks_PD


def grouped(places: Iterable[Place], loaded: Loaded, k: int) -> list[tuple[Place, list[Place]]]:
    """The first k places that are not the same footage as an earlier one, each with those that are, best first.

    Places of one video never are: two rounds of a race look alike, and both are meant. Of places that were found by
    their words, only those are where the other video says the same: a speaker looks alike in every sentence.
    """
    groups: list[tuple[Place, list[Place]]] = []
    looks_GD = np.empty((min(k, BLOCK), loaded.frames_ND.shape[1]), np.float32)
    waiting = iter(places)
    while block := list(islice(waiting, BLOCK)):
        for place, look_D in zip(block, looks(loaded, block), strict=True):
            alike = np.flatnonzero(looks_GD[: len(groups)] @ look_D >= SAME).tolist()
            copied = next((number for number in alike if _may_be_copied(groups[number][0], place)), None)
            if copied is not None:
                groups[copied][1].append(place)
            elif len(groups) < k:
                if len(groups) == len(looks_GD):  # k is what was asked for, and may be far more than there is
                    looks_GD = np.concatenate([looks_GD, np.empty_like(looks_GD)])
                looks_GD[len(groups)] = look_D
                groups.append((place, []))
    return groups


def _may_be_copied(first: Place, second: Place) -> bool:
    if first.video == second.video:
        return False
    return second.heard is None or (first.heard is not None and first.heard.text == second.heard.text)


def diverse(places: Sequence[Place], loaded: Loaded, k: int, weight: float) -> list[int]:
    """Numbers of k places by maximal marginal relevance (Carbonell and Goldstein, 1998), in the order of choice.

    Each next place has the highest (1 - weight) * relevance - weight * likeness to the nearest one chosen before.
    Relevance: the score, from 0 for the worst of these places to 1 for the best. Likeness: the cosine of what two
    places look like, 0 where it is negative. The earlier place wins a tie; weight 0 keeps the order.
    """
    scores_P = np.array([place.score for place in places], np.float64)
    spread = np.ptp(scores_P) if len(scores_P) else 0.0
    relevance_P = (scores_P - scores_P.min()) / spread if spread > 0 else np.zeros(len(scores_P))
    looks_PD = looks(loaded, places)
    nearest_P = np.zeros(len(places))
    chosen: list[int] = []
    while len(chosen) < min(k, len(places)):
        gain_P = (1 - weight) * relevance_P - weight * nearest_P
        gain_P[chosen] = -np.inf
        best = int(np.argmax(gain_P))
        chosen.append(best)
        nearest_P = np.maximum(nearest_P, looks_PD @ looks_PD[best])
    return chosen
