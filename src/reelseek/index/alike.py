"""Places that look alike: the same footage twice, and answers that differ from one another.

Vectors of one model may all lie close together, so every frame is compared after the library's mean frame is taken
away: what is left is how it differs from what this library usually shows.
Not here: what is found in the first place (`reelseek.index.ask`).
Shapes: N frames of the whole index, F and G frames of two places, P places, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reelseek.index.loaded import Loaded
from reelseek.index.places import Place

SAME = 0.9
"""Likeness from which two places are the same footage. 35 real clips encoded again, smaller and coarser, by the offline
model: see docs/searching.md."""

Vectors = Callable[[Place], Tensor]
"""Centred frame vectors [F, D] of length 1 of a place."""


def centred_vectors(loaded: Loaded) -> Vectors:
    """A function from places to their frames' vectors, the library's mean frame taken away."""
    kept: dict[tuple[int, int, int], Tensor] = {}

    def vectors(place: Place) -> Tensor:
        key = (int(place.rows_F[0]), int(place.rows_F[-1]), len(place.rows_F))
        if key not in kept:
            rows_F = torch.from_numpy(place.rows_F)
            unit_FD = loaded.frames_ND[rows_F].float() * loaded.inverse_norms_N[rows_F, None]
            kept[key] = normalize(unit_FD - loaded.mean_D)
        return kept[key]

    return vectors


def likeness(a_FD: Tensor, b_GD: Tensor) -> float:
    """From -1 to 1: how well every frame of each place is met by some frame of the other, on average.

    The cosine of each frame with the most similar one of the other place, averaged; the lower of the two directions.
    """
    cosines_FG = a_FD @ b_GD.T
    return float(torch.minimum(cosines_FG.max(dim=1).values.mean(), cosines_FG.max(dim=0).values.mean()))


def grouped(places: Iterable[Place], vectors: Vectors, k: int) -> list[tuple[Place, list[Place]]]:
    """The first k places that are not the same footage as an earlier one, each with those that are, best first."""
    groups: list[tuple[Place, list[Place]]] = []
    for place in places:
        same = next((g for g in groups if likeness(vectors(g[0]), vectors(place)) >= SAME), None)
        if same is not None:
            same[1].append(place)
        elif len(groups) < k:
            groups.append((place, []))
    return groups


def diverse(places: Sequence[Place], vectors: Vectors, k: int, weight: float) -> list[int]:
    """Numbers of k places by maximal marginal relevance (Carbonell and Goldstein, 1998), in the order of choice.

    Each next place has the highest (1 - weight) * relevance - weight * likeness to the nearest one chosen before.
    Relevance: the score, from 0 for the worst of these places to 1 for the best. Likeness: the cosine of the places'
    mean centred frames, 0 where it is negative. The earlier place wins a tie; weight 0 keeps the order.
    """
    scores_P = np.array([place.score for place in places], np.float64)
    spread = np.ptp(scores_P) if len(scores_P) else 0.0
    relevance_P = (scores_P - scores_P.min()) / spread if spread > 0 else np.zeros(len(scores_P))
    means_PD = [normalize(vectors(place).mean(dim=0), dim=0).numpy() for place in places]
    nearest_P = np.zeros(len(places))
    chosen: list[int] = []
    while len(chosen) < min(k, len(places)):
        gain_P = (1 - weight) * relevance_P - weight * nearest_P
        gain_P[chosen] = -np.inf
        best = int(np.argmax(gain_P))
        chosen.append(best)
        nearest_P = np.maximum(nearest_P, [float(mean_D @ means_PD[best]) for mean_D in means_PD])
    return chosen
