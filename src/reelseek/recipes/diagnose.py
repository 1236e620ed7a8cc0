"""Diagnostics of a method on a sample of an embedded split: what is measured, on which pairs.

Not here: the measures (`reelseek.diagnostics`).
Shapes: T texts, V videos, D width; in a sample T = V, and text i belongs to video i.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from reelseek.config import RunConfig
from reelseek.diagnostics.ideal import ideal_scores
from reelseek.diagnostics.values import Samples, geometry, length_values, samples, summary
from reelseek.embed import EmbeddedPairs
from reelseek.errors import DataError
from reelseek.methods.method import Method
from reelseek.rank.metrics import retrieval_metrics
from reelseek.records import Scores, Texts, Videos
from reelseek.score.increments import Increments, dense_increments
from reelseek.score.similarity import masked_mean

EPOCH_PAIRS = 64
"""Pairs looked at after every epoch: enough for a curve, a fraction of a second."""

PREFIX = "diagnostics/"
"""Of the keys that `epoch_diagnostics` gives, so that they are no metric of retrieval."""

RADII = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Of the ideal increments, as shares of the texts' mean length."""


class Sample(NamedTuple):
    """Pairs of a split, projected, with what the method makes of them.

    pooled_TVD: what a text sees of a video, in the fusion stream where there are streams; [1, V, D] where a method
    shows all texts the same.
    increments: of the whole, or by stream; None for methods without. side: which vector an increment is added to.
    """

    texts_TD: Tensor
    pooled_TVD: Tensor
    scores: Scores
    increments: Increments | Mapping[str, Increments] | None
    logit_scale: float
    side: Any


@torch.no_grad()
def sample(method: Method, embedded: EmbeddedPairs, *, pairs: int, seed: int = 0) -> Sample:
    """The first text of up to `pairs` videos, drawn by seed and alike for every method, scored in evaluation mode.

    Raises DataError for a split of fewer than two videos.
    """
    _, rows = np.unique(embedded.pairs.video_of_T, return_index=True)
    if len(rows) < 2:
        raise DataError(f"{embedded.pairs.name}: diagnostics need at least 2 videos with a caption, not {len(rows)}.")
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:pairs])
    chosen_T, chosen_V = torch.from_numpy(rows), torch.from_numpy(embedded.pairs.video_of_T[rows])
    was_training = method.training
    method.eval()
    texts, videos = method.project(
        embedded.texts.each(lambda tensor: tensor[chosen_T]), embedded.videos.each(lambda tensor: tensor[chosen_V])
    )
    scores = method.score(texts, videos)
    found = Sample(
        texts.pooled_TD.float(),
        _pooled(method, texts, videos).float(),
        scores,
        scores.increments,
        float(method.logit_scale),
        getattr(getattr(method.head, "variant", None), "side", "text"),
    )
    method.train(was_training)
    return found


def _pooled(method: Method, texts: Texts, videos: Videos) -> Tensor:
    """As the head has it; the mean frame for one that does not say."""
    pooled = getattr(method.head, "pooled", None)
    if pooled is not None:
        return cast(Tensor, pooled(texts, videos))
    return masked_mean(videos.frames_VFD, videos.mask_VF)[None]


def measure(found: Sample) -> tuple[dict[str, float], Samples]:
    """All values of a sample by name, and what they are means of.

    Geometry is that of the texts and of what each sees of its own video, and again with the increments ("corrected_").
    Gradients are taken at the corrected vectors. Methods with increments by stream have the lengths of theirs under
    "STREAM/", and all else without increments.
    """
    texts_TD, count = found.texts_TD, len(found.texts_TD)
    target_T = torch.arange(count, device=texts_TD.device)
    own_TD = found.pooled_TVD.expand(count, -1, -1)[target_T, target_T]
    streams = found.increments if isinstance(found.increments, Mapping) else None
    increments = None if streams is not None else cast("Increments | None", found.increments)
    details = samples(
        texts_TD,
        found.pooled_TVD,
        increments,
        logit_scale=found.logit_scale,
        target_T=target_T,
        side=found.side,
    )
    values = {**geometry(texts_TD, own_TD), **summary(details)}
    if increments is not None:
        added_TD = dense_increments(increments)[target_T, target_T].to(texts_TD.dtype)
        moved = (texts_TD + added_TD, own_TD) if found.side == "text" else (texts_TD, own_TD + added_TD)
        values |= {f"corrected_{name}": value for name, value in geometry(*moved).items()}
    for name, stream in (streams or {}).items():
        lengths_TV = dense_increments(stream).norm(dim=2)
        values |= {f"{name}/{key}": value for key, value in length_values(lengths_TV).items()}
    return values, details


def epoch_diagnostics(method: Method, embedded: EmbeddedPairs, config: RunConfig) -> dict[str, float]:
    """Values for the log of an epoch, under "diagnostics/...": those of `measure` on a small fixed sample.

    embedded: a validation split. The same pairs are looked at in every epoch, drawn by the run's seed.
    """
    values, _ = measure(sample(method, embedded, pairs=EPOCH_PAIRS, seed=config.train.seed))
    return {f"{PREFIX}{name}": value for name, value in values.items()}


def epoch_history(run: Path) -> list[dict[str, float]]:
    """Epoch by epoch what a run's log says of `epoch_diagnostics`, names without their prefix; empty if nothing."""
    path = run / "log.jsonl"
    if not path.is_file():
        return []
    history: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        values = {key.removeprefix(PREFIX): value for key, value in record.items() if key.startswith(PREFIX)}
        if values:
            history[record["epoch"]] = {"epoch": record["epoch"], **values}
    return [history[epoch] for epoch in sorted(history)]


def ideal_bound(found: Sample, *, radii: Sequence[float] = RADII, steps: int = 4) -> list[dict[str, float]]:
    """R@1 of the sample's texts without increments, with the method's own, and with ideal ones of several radii.

    Radii are shares of the texts' mean length. The ideal increments are told which video is right, so their numbers
    are bounds of what increments of that length could do, not results. They correct the text.
    """
    length = float(found.texts_TD.norm(dim=1).mean())
    plain_TV = torch.nn.functional.cosine_similarity(found.texts_TD[:, None], found.pooled_TVD, dim=-1)
    rows = [{"radius": 0.0, "R@1": _recall(plain_TV), "method_R@1": _recall(found.scores.matrix_TV)}]
    for radius in radii:
        matrix_TV = ideal_scores(found.texts_TD, found.pooled_TVD, radius=radius * length, steps=steps)
        rows.append({"radius": radius, "R@1": _recall(matrix_TV)})
    return rows


def _recall(matrix_TV: Tensor) -> float:
    relevance_TV = np.eye(len(matrix_TV), dtype=bool)
    return float(retrieval_metrics(matrix_TV.cpu(), relevance_TV)["R@1"])
