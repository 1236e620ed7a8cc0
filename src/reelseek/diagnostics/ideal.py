"""The increment that would lower the loss most: a bound that no method reaches, since it is told the answers.

GARE (arXiv 2505.12499) derives its increment from the first-order expansion of InfoNCE in the increment of each pair,
inside a ball of a given radius. Here that increment is computed rather than learned. Not here: learned increments
(`reelseek.methods`).

Shapes: T texts, V videos, D width. `pooled_TVD` is what a text sees of a video; [1, V, D] where all texts see the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

TEXTS = 32
"""Texts worked on at a time: their pairs' vectors are what takes memory."""


def pair_gradients(anchors_TVD: Tensor, pooled_TVD: Tensor, *, logit_scale: float, target_T: Tensor) -> Tensor:
    """Gradients of InfoNCE from text to video with respect to the vector that each text has for each video [T, V, D].

    logit_scale: the factor on the cosines. target_T: number of each text's own video. A gradient is
    (p_ij - y_ij) x logit_scale x (v^ - cos x^) / |x|, with p the softmax over videos. Their sum over the videos is the
    gradient that a single vector shared by all pairs would get.
    """
    cosines_TV = cosine_similarity(anchors_TVD, pooled_TVD, dim=-1)
    error_TV = (logit_scale * cosines_TV).softmax(dim=1)
    error_TV = error_TV - torch.nn.functional.one_hot(target_T, error_TV.shape[1])
    slopes_TVD = _cosine_slopes(anchors_TVD, pooled_TVD, cosines_TV)
    return logit_scale * error_TV[:, :, None] * slopes_TVD


def ideal_increments(
    texts_TD: Tensor, pooled_TVD: Tensor, *, radius: float, steps: int = 1, target_T: Tensor | None = None
) -> Tensor:
    """Increments of length `radius` that lower InfoNCE from text to video, to first order the most [T, V, D].

    steps 1 is the closed form -radius x g / |g| (Cauchy-Schwarz). More steps follow the gradient as it turns: each goes
    radius / steps against it, and the last goes as far as the ball allows, with <D, u> + sqrt(<D, u>^2 + radius^2 -
    |D|^2) along the unit gradient u. A pair whose vectors are parallel has no gradient and keeps what it has.
    The direction of g is that of the cosine's slope, towards the own video and away from the others, at any
    logit_scale. target_T: number of each text's own video, by default its own number.
    Raises ValueError for a radius that is not positive or fewer than one step.
    """
    if not radius > 0 or steps < 1:
        raise ValueError(f"a positive radius and at least 1 step are needed, not {radius} and {steps}.")
    videos = pooled_TVD.shape[1]
    target_T = _targets(texts_TD, target_T)
    sign_TV1 = 1 - 2 * torch.nn.functional.one_hot(target_T, videos).to(texts_TD.dtype)[:, :, None]
    increments_TVD = texts_TD.new_zeros(len(texts_TD), videos, texts_TD.shape[1])
    for step in range(steps):
        anchors_TVD = texts_TD[:, None] + increments_TVD
        cosines_TV = cosine_similarity(anchors_TVD, pooled_TVD, dim=-1)
        unit_TVD = normalize(sign_TV1 * _cosine_slopes(anchors_TVD, pooled_TVD, cosines_TV), dim=-1)
        along_TV1 = (increments_TVD * unit_TVD).sum(dim=-1, keepdim=True)
        room_TV1 = along_TV1.square() + radius**2 - increments_TVD.square().sum(dim=-1, keepdim=True)
        farthest_TV1 = along_TV1 + room_TV1.clamp_min(0).sqrt()
        length_TV1 = farthest_TV1 if step == steps - 1 else farthest_TV1.clamp_max(radius / steps)
        increments_TVD = increments_TVD - length_TV1 * unit_TVD
    return increments_TVD


def ideal_scores(
    texts_TD: Tensor, pooled_TVD: Tensor, *, radius: float, steps: int = 1, target_T: Tensor | None = None
) -> Tensor:
    """Cosines [T, V] of the texts moved by `ideal_increments` with what they see of the videos.

    A bound from above: the increments are told which video is right. Texts are worked on a few at a time.
    """
    target_T = _targets(texts_TD, target_T)
    rows = []
    for start in range(0, len(texts_TD), TEXTS):
        some = slice(start, start + TEXTS)
        seen = pooled_TVD if len(pooled_TVD) == 1 else pooled_TVD[some]
        moved = ideal_increments(texts_TD[some], seen, radius=radius, steps=steps, target_T=target_T[some])
        rows.append(cosine_similarity(texts_TD[some, None] + moved, seen, dim=-1))
    return torch.cat(rows)


def _targets(texts_TD: Tensor, target_T: Tensor | None) -> Tensor:
    return torch.arange(len(texts_TD), device=texts_TD.device) if target_T is None else target_T


def _cosine_slopes(anchors_TVD: Tensor, pooled_TVD: Tensor, cosines_TV: Tensor) -> Tensor:
    """Gradient of each cosine with respect to its anchor [T, V, D]."""
    lengths_TV1 = torch.linalg.vector_norm(anchors_TVD, dim=-1, keepdim=True).clamp_min(1e-12)
    across_TVD = normalize(pooled_TVD, dim=-1) - cosines_TV[:, :, None] * (anchors_TVD / lengths_TV1)
    slopes_TVD: Tensor = across_TVD / lengths_TV1
    return slopes_TVD
