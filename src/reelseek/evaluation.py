"""From a method and a split to numbers that carry their protocol: embed, score in blocks, rescore, rank, metrics.

Not here: how any of the stages works (`embed`, `score`, `rank`) and how a method is made or loaded (`methods`).
Shapes: T texts, V videos, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reelseek.config import EvaluateConfig, SampleConfig
from reelseek.data.pairs import Pairs
from reelseek.embed import EmbeddedPairs, Progress, embed_pairs, join_texts
from reelseek.errors import ConfigError
from reelseek.rank.compare import bootstrap_interval
from reelseek.rank.metrics import retrieval_metrics, video_to_text_metrics
from reelseek.rank.ranking import ranks
from reelseek.records import BrokenFile, Method, Rescorer, Texts, Videos
from reelseek.score.blocks import score_in_blocks
from reelseek.score.rescore import dual_softmax_rescorer

NO_RESCORING = Rescorer("none", lambda matrix_TV: matrix_TV, sees_test_queries=False)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Numbers of one method on one split, with everything that they depend on.

    protocol: split, counts found and missing, whether complete, tie rule, rescoring, whether transductive, frames.
    metrics: "text_to_video" and "video_to_text" to R@k (percent), MdR, MnR. intervals: 95 % bootstrap over queries of
    the text-to-video metrics. ranks_T: rank of the best right video of every text (ties "clip4clip", which may count a
    text several times, are "against" here and in the intervals). matrix_TV: the rescored scores.
    """

    method: str
    protocol: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    ranks_T: np.ndarray
    matrix_TV: np.ndarray
    pairs: Pairs
    broken: list[BrokenFile]


def evaluate(
    method: Method,
    pairs: Pairs,
    *,
    config: EvaluateConfig | None = None,
    sample: SampleConfig | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Embed a split with the method's towers (cached) and score it: see `evaluate_embedded`."""
    sample = sample or SampleConfig()
    embedded = embed_pairs(method, pairs, sample, cache=cache, progress=progress)
    return evaluate_embedded(method, embedded, config=config or EvaluateConfig(), frames=sample.frames)


def evaluate_embedded(method: Method, embedded: EmbeddedPairs, *, config: EvaluateConfig, frames: int) -> Evaluation:
    """Score every text with every video of an embedded split, and rank both ways.

    Relevance is strict: only the video that a text was written for is right. `config.bootstrap` 0 leaves intervals out.
    Raises ValueError for scores that are not finite.
    """
    pairs = embedded.pairs
    rescorer = rescorer_of(config)
    raw_TV = score_embedded(method, embedded.texts, embedded.videos, block=config.block).cpu()
    # A rescored matrix is right along one direction only: the prior of video to text is taken over the videos.
    matrix_TV, reverse_TV = rescorer.apply(raw_TV), rescorer.apply(raw_TV.T).T
    relevance_TV = pairs.relevance_TV()
    ranks_T = ranks(matrix_TV, relevance_TV, ties="against" if config.ties == "clip4clip" else config.ties)
    text_to_video = retrieval_metrics(matrix_TV, relevance_TV, ties=config.ties)
    video_to_text = video_to_text_metrics(reverse_TV, relevance_TV, convention=config.video_to_text, ties=config.ties)
    intervals = {}
    if config.bootstrap:
        intervals["text_to_video"] = {
            name: bootstrap_interval(ranks_T, name, samples=config.bootstrap, groups_T=pairs.video_of_T)
            for name in text_to_video
        }
    return Evaluation(
        method=method.name,
        protocol=protocol_of(pairs, config, rescorer, frames),
        metrics={"text_to_video": text_to_video, "video_to_text": video_to_text},
        intervals=intervals,
        ranks_T=ranks_T,
        matrix_TV=matrix_TV.numpy(),
        pairs=pairs,
        broken=embedded.broken,
    )


def score_embedded(method: Method, texts: Texts, videos: Videos, *, block: int) -> torch.Tensor:
    """Cosine scores [T, V], float32, of tower outputs: projected and scored in blocks that bound memory."""
    with torch.inference_mode():
        projected_texts, projected_videos = project_in_blocks(method, texts, videos, block=block)
        return score_in_blocks(method, projected_texts, projected_videos, block=block)


def project_in_blocks(method: Method, texts: Texts, videos: Videos, *, block: int) -> tuple[Texts, Videos]:
    """`method.project` over a whole split, at most `block` texts and videos at a time."""
    one_text, one_video = texts.each(itemgetter(slice(1))), videos.each(itemgetter(slice(1)))
    text_parts = [
        method.project(texts.each(itemgetter(slice(start, start + block))), one_video)[0]
        for start in range(0, len(texts.pooled_TD), block)
    ]
    frames = [
        method.project(one_text, videos.each(itemgetter(slice(start, start + block))))[1]
        for start in range(0, len(videos.frames_VFD), block)
    ]
    return join_texts(text_parts), Videos(
        torch.cat([part.frames_VFD for part in frames]), torch.cat([part.mask_VF for part in frames])
    )


def rescorer_of(config: EvaluateConfig) -> Rescorer:
    """The correction of the score matrix that a configuration names. Raises ConfigError for an unknown name."""
    if config.rescoring == "none":
        return NO_RESCORING
    if config.rescoring == "dual_softmax":
        return dual_softmax_rescorer(config.rescoring_scale)
    raise ConfigError(f"evaluate.rescoring is {config.rescoring!r}; it can be none or dual_softmax.")


def protocol_of(pairs: Pairs, config: EvaluateConfig, rescorer: Rescorer, frames: int) -> dict[str, Any]:
    """What a number depends on besides the method, as plain values for reports."""
    return {
        "split": pairs.name,
        "texts_found": len(pairs.texts),
        "texts_missing": pairs.missing_texts,
        "videos_found": len(pairs.video_ids),
        "videos_missing": len(pairs.missing_videos),
        "complete": pairs.complete,
        "ties": config.ties,
        "rescoring": rescorer.name,
        "transductive": rescorer.sees_test_queries,
        "frames": frames,
        "video_to_text": config.video_to_text,
    }
