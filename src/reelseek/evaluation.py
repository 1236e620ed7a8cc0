"""From a method and a split to numbers that carry their protocol: embed, score in blocks, rescore, rank, metrics.

Not here: how any of the stages works (`embed`, `score`, `rank`) and how a method is made or loaded (`methods`).
Shapes: T texts, V videos, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reelseek.config import EvaluateConfig, SampleConfig, Ties
from reelseek.data.pairs import Pairs
from reelseek.embed import EmbeddedPairs, Progress, embed_pairs, join_texts
from reelseek.errors import ConfigError
from reelseek.evaluation_bank import Way, bank_for, check_rescoring, drawn, needs_bank, refuse_overlap, rescorer_of
from reelseek.rank.compare import bootstrap_interval
from reelseek.rank.metrics import retrieval_metrics, video_to_text_metrics
from reelseek.rank.ranking import ranks
from reelseek.records import BrokenFile, Method, Rescorer, Texts, Videos
from reelseek.score.blocks import score_in_blocks

WAYS = ("text_to_video", "video_to_text", "text_to_video_corrected", "video_to_text_corrected")
MARGIN = 1e-5
"""Lead that a right video needs in a contrast; less may be rounding, and counts as a failure."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Numbers of one method on one split, with everything that they depend on.

    protocol: split, counts found and missing, whether complete, tie rule, rescoring with its prior and bank, whether
    transductive, relevance, counts of contrasts, frames; from files also how they were sampled.
    metrics: "text_to_video" and "video_to_text" to R@k (percent), MdR, MnR; where the split knows further true matches
    also "text_to_video_corrected" and "video_to_text_corrected". intervals: 95 % bootstrap over queries of the
    text-to-video metrics. ranks_T: rank of the best right video of every text (ties "clip4clip", which may count a text
    several times, are "against" here and in the intervals). matrix_TV: the rescored scores of text to video.
    contrasts: by name, percent of contrasts whose right video scores higher before rescoring, by more than `MARGIN`.
    """

    method: str
    protocol: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    ranks_T: np.ndarray
    matrix_TV: np.ndarray
    pairs: Pairs
    broken: list[BrokenFile]
    contrasts: Mapping[str, float] = field(default_factory=dict)


def evaluate(
    method: Method,
    pairs: Pairs,
    *,
    config: EvaluateConfig | None = None,
    sample: SampleConfig | None = None,
    cache: Path | str | None = None,
    progress: Progress | None = None,
    bank: Pairs | None = None,
) -> Evaluation:
    """Embed a split with the method's towers (cached) and score it: see `evaluate_embedded`.

    bank: the training split, of which a part is drawn and embedded if the settings ask for the prior "bank".
    """
    sample, config = sample or SampleConfig(), config or EvaluateConfig()
    cache = Path(cache) if cache else None
    check_rescoring(config)
    _refuse_ties(pairs, config)
    embedded_bank = None
    if needs_bank(config):
        if bank is None:
            raise ConfigError("evaluate.prior is bank, but no split was given to draw one from.")
        part = bank.draw(config.bank_size, config.bank_seed)
        refuse_overlap(part, pairs)
        embedded_bank = embed_pairs(method, part, sample, cache=cache, progress=progress)
    embedded = embed_pairs(method, pairs, sample, cache=cache, progress=progress)
    evaluation = evaluate_embedded(method, embedded, config=config, frames=sample.frames, bank=embedded_bank)
    return replace(evaluation, protocol={**evaluation.protocol, "sampling": _sampling_in_words(sample)})


def _sampling_in_words(sample: SampleConfig) -> str:
    policy = f"at most, {sample.fps:g} a second" if sample.policy == "fps" else sample.policy
    return f"{policy}, nearest key frames" if sample.keyframes else policy


def evaluate_embedded(
    method: Method, embedded: EmbeddedPairs, *, config: EvaluateConfig, frames: int, bank: EmbeddedPairs | None = None
) -> Evaluation:
    """Score every text with every video of an embedded split, and rank both ways.

    Relevance is strict: only the video that a text was written for is right; a split with further true matches is
    ranked by those too, beside it. bank: needed for the prior "bank", cut down to `config.bank_size` captions.
    `config.bootstrap` 0 leaves intervals out. Raises ValueError for scores that are not finite, ConfigError for
    settings of rescoring that do not fit together, DataError for a bank that holds tested videos.
    """
    pairs = embedded.pairs
    _refuse_ties(pairs, config)
    if needs_bank(config) and bank is not None:
        refuse_overlap(bank.pairs, pairs)
        bank = drawn(bank, config)
    raw_TV = score_embedded(method, embedded.texts, embedded.videos, block=config.block).cpu()
    contrasts = {name: contrast_percent(raw_TV.numpy(), rows) for name, rows in pairs.contrasts.items() if rows}
    rescore = partial(_rescored, raw_TV, method=method, embedded=embedded, bank=bank, config=config)
    judged = _judged(pairs, config)
    metrics = {}
    # One direction after the other: a rescored matrix is right along one only, and two at a time bound memory.
    reverse_TV, _ = rescore("video_to_text")
    for suffix, (relevance_TV, ties) in judged.items():
        metrics[f"video_to_text{suffix}"] = video_to_text_metrics(
            reverse_TV, relevance_TV, config.video_to_text, ties, owner_T=pairs.video_of_T
        )
    del reverse_TV
    matrix_TV, rescorer = rescore("text_to_video")
    del rescore, raw_TV
    for suffix, (relevance_TV, ties) in judged.items():
        metrics[f"text_to_video{suffix}"] = retrieval_metrics(matrix_TV, relevance_TV, ties)
    ranks_T = ranks(matrix_TV, judged[""][0], ties=_one_rank_a_text(config.ties))
    intervals = {}
    if config.bootstrap:
        intervals["text_to_video"] = {
            name: bootstrap_interval(ranks_T, name, samples=config.bootstrap, groups_T=pairs.video_of_T)
            for name in metrics["text_to_video"]
        }
    return Evaluation(
        method=method.name,
        protocol=protocol_of(pairs, config, rescorer, frames, bank=bank.pairs if bank else None),
        metrics={way: metrics[way] for way in WAYS if way in metrics},
        intervals=intervals,
        ranks_T=ranks_T,
        matrix_TV=matrix_TV.numpy(),
        pairs=pairs,
        broken=embedded.broken,
        contrasts=contrasts,
    )


def _rescored(
    raw_TV: Tensor,
    way: Way,
    *,
    method: Method,
    embedded: EmbeddedPairs,
    bank: EmbeddedPairs | None,
    config: EvaluateConfig,
) -> tuple[Tensor, Rescorer]:
    """The scores corrected for ranking one way [T, V], and what corrected them."""
    score = partial(score_embedded, method, block=config.block)
    project = partial(project_in_blocks, method, block=config.block)
    with torch.inference_mode():
        rescorer = rescorer_of(config, bank_for(way, embedded, bank, config, score=score, project=project))
        return (rescorer.apply(raw_TV) if way == "text_to_video" else rescorer.apply(raw_TV.T).T), rescorer


def _judged(pairs: Pairs, config: EvaluateConfig) -> dict[str, tuple[np.ndarray, Ties]]:
    """Relevance and tie rule by the ending of a direction's name: strict, and corrected where the split has it."""
    judged = {"": (pairs.relevance_TV(), config.ties)}
    if pairs.extra_relevance:
        judged["_corrected"] = (pairs.relevance_TV(corrected=True), _one_rank_a_text(config.ties))
    return judged


def _refuse_ties(pairs: Pairs, config: EvaluateConfig) -> None:
    several = len(pairs.texts) > len(np.unique(pairs.video_of_T))
    if several and config.ties == "clip4clip" and config.video_to_text == "any_caption":
        raise ConfigError(
            f"{pairs.name} has several texts a video, for which CLIP4Clip knows only evaluate.video_to_text "
            "best_caption: take it, or another evaluate.ties."
        )


def _one_rank_a_text(ties: Ties) -> Ties:
    """CLIP4Clip's rule counts some texts several times, and knows one right video a text alone."""
    return "against" if ties == "clip4clip" else ties


def contrast_percent(matrix_TV: np.ndarray, rows: Sequence[tuple[int, int, int]], margin: float = MARGIN) -> float:
    """Percent of (text, right video, wrong video) whose right video scores higher by more than `margin`.

    Raises ValueError without any, and for scores that are NaN.
    """
    if not rows:
        raise ValueError("no contrasts were given: nothing can be told apart")
    text_N, right_N, wrong_N = np.array(rows).T
    lead_N = matrix_TV[text_N, right_N] - matrix_TV[text_N, wrong_N]
    if np.isnan(lead_N).any():
        raise ValueError("a score of a contrast is NaN")
    return float(100 * np.mean(lead_N > margin))


def score_embedded(method: Method, texts: Texts, videos: Videos, *, block: int) -> Tensor:
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


def protocol_of(
    pairs: Pairs, config: EvaluateConfig, rescorer: Rescorer, frames: int, bank: Pairs | None = None
) -> dict[str, Any]:
    """What a number depends on besides the method, as plain values for reports."""
    prior = {"test": "all test queries", "batch": f"batches of {config.prior_batch} test queries", "bank": "bank"}
    return {
        "split": pairs.name,
        "texts_found": len(pairs.texts),
        "texts_missing": pairs.missing_texts,
        "videos_found": len(pairs.video_ids),
        "videos_missing": len(pairs.missing_videos),
        "dropped": pairs.dropped,
        "complete": pairs.complete,
        "standard": pairs.standard.name if pairs.standard else "",
        "ties": config.ties,
        "rescoring": rescorer.name,
        "prior": "none" if config.rescoring == "none" else prior[config.prior],
        "bank_texts": len(bank.texts) if bank and needs_bank(config) else 0,
        "bank_videos": len(bank.video_ids) if bank and needs_bank(config) else 0,
        "transductive": rescorer.sees_test_queries,
        "relevance": relevance_in_words(len(pairs.extra_relevance), config.ties),
        "contrasts": {name: len(rows) for name, rows in pairs.contrasts.items() if rows},
        "frames": frames,
        "video_to_text": config.video_to_text,
    }


def relevance_in_words(further: int, ties: Ties) -> str:
    """What counts as right, in a split with so many further true matches."""
    if not further:
        return "strict"
    against = " (ties against)" if ties == "clip4clip" else ""
    return f"strict, and corrected by {further:,} further true matches{against}"
