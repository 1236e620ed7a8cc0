"""The objective of a run: plain losses added up by their weights, every part kept for the log.

Shapes: T texts, V videos; T = V in a training batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from reelseek.config import LossConfig
from reelseek.config_check import check_section
from reelseek.losses.contrastive import dual_softmax_loss, info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.records import Scores

Objective = Callable[[Scores, Tensor, Tensor | None], Mapping[str, Tensor]]


def objective(config: LossConfig) -> Objective:
    """`(scores, logit_scale, relevance_TV) -> {"total": ..., every part: ...}` as a configuration describes it.

    Known matches off the diagonal (another caption of the same video) are no negatives if `mask_known_positives`.
    Methods with streams have a contrastive loss a stream, "fusion" at weight 1 and the others at `stream_weight`.
    Regularisers join for methods with increments: total = contrastive + weights x (kl, direction, norm), each the mean
    over the streams where every stream has its own increments. All in the scores' own precision: mixed precision, if
    any, ends before. Raises ConfigError for settings that cannot be.
    """
    check_section("loss", config)
    weights = {"kl": config.kl_weight, "direction": config.direction_weight, "norm": config.norm_weight}

    def compute(scores: Scores, logit_scale: Tensor, relevance_TV: Tensor | None = None) -> dict[str, Tensor]:
        device = scores.matrix_TV.device
        # The regularisers are forms of differences: half precision would lose them, and squares overflow in it.
        with torch.autocast(device.type, enabled=False):
            parts = _contrastive(config, scores, logit_scale, relevance_TV)
            total = torch.zeros((), device=device)
            for name, part in parts.items():
                total = total + (config.stream_weight if _is_side_stream(name) else 1.0) * part
            if scores.increments is not None and any(weights.values()):
                regularisers = _regularisers(config, scores)
                for name, part in regularisers.items():
                    total = total + weights[name] * part
                parts |= regularisers
        return {"total": total, **parts}

    return compute


def _contrastive(
    config: LossConfig, scores: Scores, logit_scale: Tensor, relevance_TV: Tensor | None
) -> dict[str, Tensor]:
    matrices = scores.streams or {"": scores.matrix_TV}
    parts = {}
    for stream, matrix_TV in matrices.items():
        if relevance_TV is not None and config.mask_known_positives:
            matrix_TV = without_known_positives(matrix_TV, relevance_TV)
        if config.contrastive == "info_nce":
            loss = info_nce(matrix_TV, logit_scale)
        else:
            loss = dual_softmax_loss(matrix_TV, logit_scale, temperature=config.dual_softmax_temperature)
        parts[f"{config.contrastive}/{stream}" if stream else config.contrastive] = loss
    return parts


def _is_side_stream(part: str) -> bool:
    return "/" in part and not part.endswith("/fusion")


def _regularisers(config: LossConfig, scores: Scores) -> dict[str, Tensor]:
    streams = scores.increments if isinstance(scores.increments, Mapping) else {"": scores.increments}
    found = [
        gare_regularisers(
            increments,
            alpha=config.alpha,
            norm_bound=config.norm_bound,
            kl_reduction=config.kl_reduction,
            prior_sigma=config.prior_sigma,
            direction=config.direction,
        )
        for increments in streams.values()
    ]
    return {name: torch.stack([part[name] for part in found]).mean() for name in found[0]}


def without_known_positives(matrix_TV: Tensor, relevance_TV: Tensor) -> Tensor:
    """The scores with -inf where a pair off the diagonal is a true match: it leaves the sums of both directions."""
    diagonal = torch.eye(len(matrix_TV), dtype=torch.bool, device=matrix_TV.device)
    return matrix_TV.masked_fill(relevance_TV & ~diagonal, float("-inf"))
