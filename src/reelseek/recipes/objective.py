"""The objective of a run: plain losses added up by their weights, every part kept for the log.

Shapes: T texts, V videos; T = V in a training batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from reelseek.config import LossConfig
from reelseek.losses.contrastive import dual_softmax_loss, info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.records import Scores

Objective = Callable[[Scores, Tensor, Tensor | None], Mapping[str, Tensor]]


def objective(config: LossConfig) -> Objective:
    """`(scores, logit_scale, relevance_TV) -> {"total": ..., every part: ...}` as a configuration describes it.

    Known matches off the diagonal (another caption of the same video) are no negatives if `mask_known_positives`.
    Regularisers join for methods with increments: total = contrastive + weights x (kl, direction, norm).
    """
    weights = {"kl": config.kl_weight, "direction": config.direction_weight, "norm": config.norm_weight}

    def compute(scores: Scores, logit_scale: Tensor, relevance_TV: Tensor | None = None) -> dict[str, Tensor]:
        matrix_TV = scores.matrix_TV
        if relevance_TV is not None and config.mask_known_positives:
            matrix_TV = without_known_positives(matrix_TV, relevance_TV)
        if config.contrastive == "info_nce":
            contrastive = info_nce(matrix_TV, logit_scale)
        else:
            contrastive = dual_softmax_loss(matrix_TV, logit_scale, temperature=config.dual_softmax_temperature)
        parts: dict[str, Tensor] = {config.contrastive: contrastive}
        if scores.increments is not None and any(weights.values()):
            parts |= dict(
                gare_regularisers(
                    scores.increments,
                    alpha=config.alpha,
                    norm_bound=config.norm_bound,
                    kl_reduction=config.kl_reduction,
                    prior_sigma=config.prior_sigma,
                )
            )
        total = contrastive + sum(weights[name] * parts[name] for name in weights if name in parts)
        return {"total": total, **parts}

    return compute


def without_known_positives(matrix_TV: Tensor, relevance_TV: Tensor) -> Tensor:
    """The scores with -inf where a pair off the diagonal is a true match: it leaves the sums of both directions."""
    diagonal = torch.eye(len(matrix_TV), dtype=torch.bool, device=matrix_TV.device)
    return matrix_TV.masked_fill(relevance_TV & ~diagonal, float("-inf"))
