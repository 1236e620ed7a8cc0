"""From settings and a bank of training captions to the rescorers of both directions.

Not here: the corrections (`reelseek.score.rescore`), ranking and metrics (`reelseek.evaluation`).
Shapes: T texts, V videos, N queries of a bank, M items of a gallery bank, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reelseek.config import EvaluateConfig
from reelseek.data.pairs import Pairs
from reelseek.embed import EmbeddedPairs
from reelseek.errors import ConfigError, DataError
from reelseek.records import Rescorer, Texts, Videos
from reelseek.score.priors import RESCORERS, Bank, rescorer
from reelseek.score.similarity import masked_mean

NO_RESCORING = Rescorer("none", lambda matrix_TV: matrix_TV, sees_test_queries=False)
Score = Callable[[Texts, Videos], Tensor]
Project = Callable[[Texts, Videos], tuple[Texts, Videos]]
Way = Literal["text_to_video", "video_to_text"]


def needs_bank(config: EvaluateConfig) -> bool:
    """Whether an evaluation by these settings takes a bank of training captions."""
    return config.rescoring != "none" and config.prior == "bank"


def refuse_overlap(bank: Pairs, pairs: Pairs) -> None:
    """Raises DataError if the bank holds videos that are tested: its captions would be other test queries."""
    shared = set(bank.video_ids) & set(pairs.video_ids) if bank.corpus == pairs.corpus else set()
    if shared:
        raise DataError(
            f"{bank.name}: {len(shared):,} of the videos of the bank are tested in {pairs.name} (such as "
            f"{min(shared)!r}), so the bank would not be independent of the test. Test another split, or take another "
            "evaluate.prior."
        )


def drawn(bank: EmbeddedPairs, config: EvaluateConfig) -> EmbeddedPairs:
    """`evaluate.bank_size` captions of an embedded split, drawn by `evaluate.bank_seed`, with their videos."""
    if len(bank.pairs.texts) <= config.bank_size:
        return bank
    pairs = bank.pairs.draw(config.bank_size, config.bank_seed)
    texts = torch.from_numpy(np.flatnonzero(np.isin(bank.pairs.text_ids, pairs.text_ids)))
    videos = torch.from_numpy(np.flatnonzero(np.isin(bank.pairs.video_ids, pairs.video_ids)))
    return EmbeddedPairs(pairs, bank.texts.each(itemgetter(texts)), bank.videos.each(itemgetter(videos)), bank.broken)


def rescorer_of(config: EvaluateConfig, bank: Bank | None = None) -> Rescorer:
    """The correction that a configuration names, with its prior. Raises ConfigError for one that cannot be had."""
    if config.rescoring == "none":
        return NO_RESCORING
    try:
        return rescorer(
            config.rescoring, config.prior, batch=config.prior_batch, bank=bank, parameters=parameters_of(config)
        )
    except ValueError as error:
        raise ConfigError(f"evaluate.rescoring {config.rescoring}, evaluate.prior {config.prior}: {error}") from None


def check_rescoring(config: EvaluateConfig) -> None:
    """Raises ConfigError for settings of rescoring that do not fit together, before anything is computed."""
    given = [f"rescoring_{name}" for name in parameters_of(config)]
    given += ["prior"] if config.prior != EvaluateConfig.prior else []
    if config.rescoring == "none" and given:
        raise ConfigError(
            f"evaluate.{given[0]} is {getattr(config, given[0])}, which nothing reads while evaluate.rescoring is "
            "none: name a correction, or leave it out."
        )
    for name, prior in {"prior_batch": "batch", "bank_size": "bank", "bank_seed": "bank"}.items():
        value = getattr(config, name)
        if value != getattr(EvaluateConfig, name) and (config.rescoring == "none" or config.prior != prior):
            raise ConfigError(
                f"evaluate.{name} is {value}, which only a correction with evaluate.prior {prior} reads: name that, or "
                "leave it out."
            )
    one_11 = torch.zeros(1, 1)
    rescorer_of(config, Bank(one_11, one_11))


def parameters_of(config: EvaluateConfig) -> Mapping[str, float]:
    """The parameters of the correction that were set: those that are not 0."""
    values = {
        "scale": config.rescoring_scale,
        "gallery_scale": config.rescoring_gallery_scale,
        "k": config.rescoring_k,
        "alpha": config.rescoring_alpha,
        "iterations": config.rescoring_iterations,
    }
    return {name: value for name, value in values.items() if value}


def bank_for(
    way: Way,
    test: EmbeddedPairs,
    bank: EmbeddedPairs | None,
    config: EvaluateConfig,
    *,
    score: Score,
    project: Project,
) -> Bank | None:
    """Scores of the bank with the gallery of one direction; None where the settings take no bank.

    Text to video: training captions with test videos. Video to text: training videos with test texts. Scores within
    one side, which DualIS and DualDIS need, are cosines of pooled vectors: no method scores a video with a video.
    Raises ConfigError if a bank is needed and not given.
    """
    if not needs_bank(config):
        return None
    if bank is None:
        raise ConfigError(f"evaluate.rescoring {config.rescoring} with evaluate.prior bank needs a training split.")
    if way == "text_to_video":
        queries_NV = score(bank.texts, test.videos).cpu()
    else:
        queries_NV = score(test.texts, bank.videos).cpu().T
    if not RESCORERS[config.rescoring].gallery_bank:
        return Bank(queries_NV)
    pooled = []
    for split in (bank, test):
        texts, videos = project(split.texts, split.videos)
        pooled_ND = masked_mean(videos.frames_VFD, videos.mask_VF) if way == "text_to_video" else texts.pooled_TD
        pooled.append(torch.nn.functional.normalize(pooled_ND.float(), dim=-1).cpu())
    return Bank(queries_NV, pooled[0] @ pooled[1].T)
