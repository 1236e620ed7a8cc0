"""Places that look alike: the same footage twice, and answers that differ from one another.

Vectors of one model may all lie close together, so every frame is compared after the library's mean frame is taken
away: what is left is how it differs from what this library usually shows. A place is the mean of that over its frames.
Not here: what is found in the first place (`reelseek.index.ask`).
Shapes: F frames of a place, P places, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.nn.functional import normalize

from reelseek.index.loaded import Loaded
from reelseek.index.places import Place

SAME = 0.9
"""Likeness from which two places are the same footage. Of 35 real clips, encoded again at usual quality, 16 reached it
with the offline model, 7 at low quality, and none of the 595 pairs of different clips (`benchmarks/alike.py`)."""
FAINT = 1e-3
"""What is left of a unit vector below this length is rounding: such a frame is like nothing."""


def looks(loaded: Loaded, place: Place) -> np.ndarray:
    """What a place looks like: a vector [D] of length 1, or zeros where nothing tells it from the library's mean."""
    rows_F = torch.from_numpy(place.rows_F)
    away_FD = loaded.frames_ND[rows_F].float() * loaded.inverse_norms_N[rows_F, None] - loaded.mean_D
    away_FD = away_FD * (away_FD.norm(dim=1, keepdim=True) > FAINT)
    look_D: np.ndarray = normalize(normalize(away_FD, dim=1).mean(dim=0), dim=0).numpy()
    return look_D


def grouped(places: Iterable[Place], loaded: Loaded, k: int) -> list[tuple[Place, list[Place]]]:
    """The first k places that are not the same footage as an earlier one, each with those that are, best first."""
    groups: list[tuple[Place, list[Place]]] = []
    looks_PD = np.empty((k, loaded.frames_ND.shape[1]), np.float32)
    for place in places:
        look_D = looks(loaded, place)
        alike = np.flatnonzero(looks_PD[: len(groups)] @ look_D >= SAME)
        if len(alike):
            groups[alike[0]][1].append(place)
        elif len(groups) < k:
            looks_PD[len(groups)] = look_D
            groups.append((place, []))
    return groups


def diverse(places: Sequence[Place], loaded: Loaded, k: int, weight: float) -> list[int]:
    """Numbers of k places by maximal marginal relevance (Carbonell and Goldstein, 1998), in the order of choice.

    Each next place has the highest (1 - weight) * relevance - weight * likeness to the nearest one chosen before.
    Relevance: the score, from 0 for the worst of these places to 1 for the best. Likeness: the cosine of what two
    places look like, 0 where it is negative. The earlier place wins a tie; weight 0 keeps the order.
    """
    scores_P = np.array([place.score for place in places], np.float64)
    spread = np.ptp(scores_P) if len(scores_P) else 0.0
    relevance_P = (scores_P - scores_P.min()) / spread if spread > 0 else np.zeros(len(scores_P))
    looks_PD = np.array([looks(loaded, place) for place in places])
    nearest_P = np.zeros(len(places))
    chosen: list[int] = []
    while len(chosen) < min(k, len(places)):
        gain_P = (1 - weight) * relevance_P - weight * nearest_P
        gain_P[chosen] = -np.inf
        best = int(np.argmax(gain_P))
        chosen.append(best)
        nearest_P = np.maximum(nearest_P, looks_PD @ looks_PD[best])
    return chosen
