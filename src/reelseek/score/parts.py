"""A score taken apart: what every frame adds to a pair's cosine, exactly.

The cosine of a text u with the pooled frames q = sum_f a_f x_f + d is linear in the frames once |q| is known:

    u . q / (|u| |q|) = sum_f a_f (u . x_f) / (|u| |q|) + u . d / (|u| |q|)

The terms of the sum are the frames' contributions, the last one is the rest. A frame's weight is a_f |x_f|, scaled to
sum 1: the contributions are weight x cosine(u, x_f), times one factor for the pair that is at least 1 and grows as the
frames differ from each other (sum_f a_f |x_f| / |q|).
Not here: which frames, shares and corrections a method has (its head's `explain`).

Shapes: T texts, V videos, F frames, E experts, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


class IncrementParts(NamedTuple):
    """What GARE's increment is to every pair.

    side: the vector it is added to. length_TV: of the increment. relative_TV: over the length of that vector.
    gap_cosine_TV: of the increment with the gap, the mean frame minus the text. without_TV: the score without it.
    """

    side: Literal["text", "video"]
    length_TV: Tensor
    relative_TV: Tensor
    gap_cosine_TV: Tensor
    without_TV: Tensor


class Parts(NamedTuple):
    """A score matrix taken apart: contributions over frames and rest add up to it.

    weights_TVF: of the frames, of sum 1 a pair. contributions_TVF: what each adds; 0 for padded frames. rest_TV: what
    no single frame adds. increment: GARE's. streams: CAMoE's, each taken apart; counted: those that the score is the
    mean of. experts: for streams with a gate, the share [V] that each expert has in its frames.
    """

    weights_TVF: Tensor
    contributions_TVF: Tensor
    rest_TV: Tensor
    increment: IncrementParts | None = None
    streams: Mapping[str, Parts] | None = None
    counted: tuple[str, ...] = ()
    experts: Mapping[str, Mapping[str, Tensor]] | None = None

    @property
    def matrix_TV(self) -> Tensor:
        """The scores that the parts add up to."""
        return self.contributions_TVF.sum(dim=2) + self.rest_TV


def cosine_parts(texts_TXD: Tensor, shares_TVF: Tensor, frames_VFD: Tensor, added_TVD: Tensor | None = None) -> Parts:
    """The cosine of every text with its pooled frames, taken apart.

    texts_TXD: [T, 1, D], or [T, V, D] where every pair has its own. shares_TVF: of the frames in the pooled vector, 0
    for padded ones, [T or 1, V, F]. added_TVD: what is added to the pooled vector. Memory: T x V x D numbers.
    """
    pooled_TVD = (shares_TVF.transpose(0, 1) @ frames_VFD).transpose(0, 1)
    if added_TVD is not None:
        pooled_TVD = pooled_TVD + added_TVD
    lengths_TV = (texts_TXD.norm(dim=2) * pooled_TVD.norm(dim=2)).clamp_min(1e-30)
    products_TVF = _products(texts_TXD, frames_VFD)
    weights_TVF = shares_TVF * frames_VFD.norm(dim=2)
    rest_TV = torch.zeros_like(lengths_TV)
    if added_TVD is not None:
        rest_TV = (texts_TXD * added_TVD).sum(dim=2) / lengths_TV
    return Parts(
        weights_TVF=(weights_TVF / weights_TVF.sum(dim=2, keepdim=True)).expand_as(products_TVF),
        contributions_TVF=shares_TVF * products_TVF / lengths_TV[:, :, None],
        rest_TV=rest_TV,
    )


def increment_parts(
    side: Literal["text", "video"], texts_TD: Tensor, increments_TVD: Tensor, pooled_TVD: Tensor, mean_VD: Tensor
) -> IncrementParts:
    """Size and direction of dense increments. pooled_TVD: what a text sees of a video. mean_VD: the mean frames."""
    texts_T1D = texts_TD[:, None]
    length_TV = increments_TVD.norm(dim=2)
    corrected_TVD = texts_T1D if side == "text" else pooled_TVD
    return IncrementParts(
        side=side,
        length_TV=length_TV,
        relative_TV=length_TV / corrected_TVD.norm(dim=2).clamp_min(1e-30),
        gap_cosine_TV=cosine_similarity(increments_TVD, mean_VD - texts_T1D, dim=2),
        without_TV=cosine_similarity(texts_T1D, pooled_TVD, dim=2),
    )


def _products(texts_TXD: Tensor, frames_VFD: Tensor) -> Tensor:
    """Products [T, V, F] of a text, or of a pair's own, with the frames."""
    if texts_TXD.shape[1] == 1:
        return (frames_VFD @ texts_TXD[:, 0].T).permute(2, 0, 1)
    return (frames_VFD @ texts_TXD.permute(1, 2, 0)).permute(2, 0, 1)
