"""From a trained run to numbers a query: galleries of the test split, scored in one way.

Not here: training (`reelseek.study.run`), and what the numbers mean (`reelseek.study.measures`).
Shapes: T texts, V videos, N any count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from reelseek.data.pairs import Pairs
from reelseek.embed import EmbeddedPairs
from reelseek.evaluation import MARGIN, Evaluation, evaluate_embedded, relevance_in_words
from reelseek.methods.method import Method
from reelseek.rank.ranking import ranks
from reelseek.study.measures import BY_LOT, CORRECTED, STRICT
from reelseek.study.plan import Mode, mode_config


class Splits(NamedTuple):
    """Tower outputs that runs share: galleries of the test split, and the training split where captions of it serve."""

    galleries: list[EmbeddedPairs]
    bank: EmbeddedPairs | None


def score(method: Method, splits: Splits, mode: Mode, *, frames: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Numbers a query in one way of scoring, over all galleries, and the protocol.

    Tables: "strict" and "corrected" ranks with their "ids" and "videos" (text ids and video ids) [T]; without rescoring
    also "by lot" (see `reelseek.study.measures`), where scores nearer than `MARGIN` are tied, and every contrast of the
    data by name, 1 where the right video leads by more than `MARGIN` [N], with "<name> ids" and "<name> videos".
    """
    config = mode_config(mode)
    parts: dict[str, list[np.ndarray]] = {}
    contrasts: Counter[str] = Counter()
    further = 0
    for gallery in splits.galleries:
        cut = first_captions(gallery, mode.captions) if mode.captions else gallery
        evaluation = evaluate_embedded(method, cut, config=config, frames=frames, bank=splits.bank)
        contrasts.update(evaluation.protocol["contrasts"])
        further += len(cut.pairs.extra_relevance)
        for table, values in tables_of(evaluation).items():
            parts.setdefault(table, []).append(values)
    sizes = [len(gallery.pairs.video_ids) for gallery in splits.galleries]
    protocol = {
        **evaluation.protocol,
        "texts_found": sum(map(len, parts["ids"])),
        "videos_found": sum(sizes),
        "relevance": relevance_in_words(further, config.ties),
        "contrasts": dict(contrasts),
        "galleries": len(sizes),
        "gallery_videos": max(sizes),
        "captions": mode.captions or "all",
    }
    return {table: np.concatenate(values) for table, values in parts.items()}, protocol


def tables_of(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The numbers of one gallery: see `score`."""
    pairs, matrix_TV = evaluation.pairs, evaluation.matrix_TV
    ids_T, videos_V = np.array(pairs.text_ids), np.array(pairs.video_ids)
    tables = {
        "ids": ids_T,
        "videos": videos_V[pairs.video_of_T],
        STRICT: evaluation.ranks_T,
        CORRECTED: ranks(matrix_TV, pairs.relevance_TV(corrected=True)),
    }
    if evaluation.protocol["rescoring"] != "none":  # whose scores have another scale than the margin
        return tables
    tables[BY_LOT] = first_by_lot(matrix_TV, pairs.video_of_T)
    for name, rows in pairs.contrasts.items():
        text_N, right_N, wrong_N = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        tables[name] = (matrix_TV[text_N, right_N] - matrix_TV[text_N, wrong_N] > MARGIN).astype(np.float64)
        tables[f"{name} ids"], tables[f"{name} videos"] = ids_T[text_N], videos_V[right_N]
    return tables


def first_by_lot(matrix_TV: np.ndarray, video_of_T: np.ndarray) -> np.ndarray:
    """The chance [T] that each text's own video comes first if scores nearer than `MARGIN` are put in order by lot."""
    leads_TV = matrix_TV - matrix_TV[np.arange(len(video_of_T)), video_of_T][:, None]
    tied_T = (np.abs(leads_TV) <= MARGIN).sum(axis=1)
    return np.where((leads_TV > MARGIN).any(axis=1), 0.0, 1.0 / tied_T)


def first_captions(embedded: EmbeddedPairs, count: int) -> EmbeddedPairs:
    """The same split with the first `count` captions of every video alone."""
    seen: dict[int, int] = {}
    keep = []
    for text, video in enumerate(embedded.pairs.video_of_T.tolist()):
        seen[video] = seen.get(video, 0) + 1
        if seen[video] <= count:
            keep.append(text)
    rows = torch.tensor(keep)
    return embedded._replace(pairs=_with_texts(embedded.pairs, keep), texts=embedded.texts.each(lambda x: x[rows]))


def gallery_of(embedded: EmbeddedPairs, videos: tuple[str, ...]) -> EmbeddedPairs:
    """The part of an embedded split that holds some videos, and their captions."""
    position = {video: at for at, video in enumerate(embedded.pairs.video_ids)}
    videos = tuple(video for video in videos if video in position)
    chosen = [position[video] for video in videos]
    texts = torch.from_numpy(np.flatnonzero(np.isin(embedded.pairs.video_of_T, chosen)))
    rows = torch.tensor(chosen)
    return EmbeddedPairs(
        embedded.pairs.subset(videos),
        embedded.texts.each(lambda x: x[texts]),
        embedded.videos.each(lambda x: x[rows]),
        embedded.broken,
    )


def _with_texts(pairs: Pairs, keep: Sequence[int]) -> Pairs:
    """The split with some of its texts and all of its videos."""
    new = {old: at for at, old in enumerate(keep)}
    contrasts: Mapping[str, tuple[tuple[int, int, int], ...]] = {
        name: tuple((new[text], right, wrong) for text, right, wrong in rows if text in new)
        for name, rows in pairs.contrasts.items()
    }
    return replace(
        pairs,
        texts=tuple(pairs.texts[text] for text in keep),
        text_ids=tuple(pairs.text_ids[text] for text in keep),
        video_of_T=pairs.video_of_T[list(keep)],
        extra_relevance=tuple((new[text], video) for text, video in pairs.extra_relevance if text in new),
        contrasts=contrasts,
    )
