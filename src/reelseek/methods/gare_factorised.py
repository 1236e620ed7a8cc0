"""GARE's scores without a vector per pair: exact, differentiable, bounded in memory.

After the attention over frames, every step of the increment is linear in the frames except three scalars per pair, the
deviations inside the LayerNorms, and each of those is a quadratic form in the attention weights. So an increment is
r3 * (r2 * sum_f a_f Q_f + q0) + q1 with vectors Q, q0 that belong to the video, and a score needs three matrix products
over all frames and a few F x F forms per pair. The definition that this
file is held against is `reelseek.methods.gare_plain`.

Two liberties that change no value: attention weights are kept as exponentials whose sum divides at the end, and the
largest logit that is subtracted from them counts as a constant (its gradient is zero in exact arithmetic).

Shapes: T texts, V videos, F frames, K = F + 1 vectors of a video's basis, D width; 1 where something is shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from reelseek.methods.gare_plain import Psi
from reelseek.score.increments import FactorisedIncrements
from reelseek.score.similarity import check_lengths

# Added to the logits of padded frames. Finite, since such a logit later meets a weight of 0.
PADDED = -1e30


# Attention weights (videos x frames x texts) of one tile, and its most texts: a tile's temporaries stay in the cache.
TILE_WEIGHTS = 600_000
TILE_TEXTS = 1024

# Pairs above which a training step recomputes its tiles in the backward pass instead of keeping them.
KEPT_PAIRS = 1 << 18


class Folded(NamedTuple):
    """Products of the weights that no text and no frame touches."""

    value_DD: Tensor  # values, output projection and centring in one map: D^3 instead of another pass over all frames
    value_D: Tensor
    fixed_D: Tensor  # the query of a gap of zero, moved to the contexts
    fixed_shift: Tensor  # what the key's bias adds: alike for all frames, it moves no weight but stays in the graph
    offset_D: Tensor  # q1


class TextSide(NamedTuple):
    """What a pair needs of its text. Columns of the matrices are texts."""

    plain_DT: Tensor  # the text over the frame temperature: with frames gives the logits of the pooling
    query_DT: Tensor  # minus the gap's text part, moved through both projections: with contexts gives attention logits
    shifted_DT: Tensor  # text + offset: with the basis gives its dot product with the increment
    centred_DT: Tensor  # text minus its mean over the width
    spread_T: Tensor  # squared length of the centred text
    length_T: Tensor  # squared length of the shifted text


class VideoSide(NamedTuple):
    """What a pair needs of its video: vectors for three products with texts, and small matrices between them."""

    frames_VFD: Tensor
    context_VFD: Tensor
    basis_VKD: Tensor  # Q_1..Q_F, q0
    centre_VD: Tensor  # mean frame minus its mean over the width
    spread_V1: Tensor  # squared length of the centre
    centre_logits_VF1: Tensor  # the gap's video part of the attention logits
    fixed_logits_VF1: Tensor  # the part of them that no gap touches
    padding_VF1: Tensor | None  # PADDED at padded frames, else 0; None where nothing is padded
    attention_forms_VRF: Tensor  # rows: Gram of o, of P, of Q; then Q.q0, P.p0
    pooling_forms_VRF: Tensor  # rows: Gram of frames, Q.frames; then q0.frames, q1.frames
    constant_p0_V1: Tensor  # |p0|^2, alike in all rows without dropout
    constant_q0_V1: Tensor  # |q0|^2


def fold(psi: Psi) -> Folded:
    """What needs doing once per call and set of weights."""
    value_DD = psi.out_proj.weight @ psi.v_proj.weight
    value_D = linear(psi.v_proj.bias, psi.out_proj.weight, psi.out_proj.bias)
    query_D = linear(psi.norm1.bias, psi.q_proj.weight, psi.q_proj.bias) / math.sqrt(len(value_D))
    return Folded(
        value_DD=value_DD - value_DD.mean(dim=0),
        value_D=value_D - value_D.mean(),
        fixed_D=query_D @ psi.k_proj.weight,
        fixed_shift=query_D @ psi.k_proj.bias,
        offset_D=linear(psi.norm3.bias, psi.mean_proj.weight, psi.mean_proj.bias),
    )


def text_sides(psi: Psi, folded: Folded, texts_TD: Tensor, temperature: float) -> list[TextSide]:
    """Fixed linear maps of the texts, in tiles. Raises ValueError naming a text of zero or non-finite length."""
    check_lengths(texts_TD.detach().square().sum(dim=1), "text")
    return [_text_side(psi, folded, tile_TD, temperature) for tile_TD in torch.split(texts_TD, TILE_TEXTS)]


def _text_side(psi: Psi, folded: Folded, texts_TD: Tensor, temperature: float) -> TextSide:
    centred_TD = _centred(texts_TD)
    shifted_TD = texts_TD + folded.offset_D
    return TextSide(
        plain_DT=(texts_TD / temperature).T.contiguous(),
        query_DT=-_as_query(psi, centred_TD).T.contiguous(),
        shifted_DT=shifted_TD.T.contiguous(),
        centred_DT=centred_TD.T.contiguous(),
        spread_T=centred_TD.square().sum(dim=1),
        length_T=shifted_TD.square().sum(dim=1),
    )


def video_side(
    psi: Psi, folded: Folded, frames_VFD: Tensor, mask_VF: Tensor, noise_VD: Tensor | None, first: int = 0
) -> VideoSide:
    """Bases and Gram matrices: about 3 D^2 multiply-adds a frame, none of them per pair.

    noise_VD: dropout factors, drawn per video and dimension, or None. first: number of the first video, for messages.
    Raises ValueError naming a real frame of zero or non-finite length.
    """
    padded_VF = ~mask_VF
    frames_VFD = frames_VFD.masked_fill(padded_VF[:, :, None], 0)
    mean_VD = frames_VFD.sum(dim=1) / mask_VF.sum(dim=1, keepdim=True)
    centre_VD = _centred(mean_VD)
    context_VFD: Tensor = psi.norm1(frames_VFD)
    direct_VFD, start_VD, outputs_VFD = _through_linear1(psi, folded, context_VFD, noise_VD)
    basis_VKD = _basis(psi, direct_VFD, start_VD)
    frame_gram_VFF = frames_VFD @ frames_VFD.mT
    basis_gram_VKK = basis_VKD @ basis_VKD.mT
    count = frames_VFD.shape[1]
    lengths_VF = frame_gram_VFF.detach().diagonal(dim1=1, dim2=2)
    check_lengths(lengths_VF.masked_fill(padded_VF, 1), "video", first)
    fixed_VF1 = (context_VFD @ folded.fixed_D + folded.fixed_shift)[:, :, None]
    padding_VF1 = (padded_VF * PADDED).to(frames_VFD.dtype)[:, :, None] if bool(padded_VF.any()) else None
    return VideoSide(
        frames_VFD=frames_VFD,
        context_VFD=context_VFD,
        basis_VKD=basis_VKD,
        centre_VD=centre_VD,
        spread_V1=centre_VD.square().sum(dim=1, keepdim=True),
        centre_logits_VF1=_dot(context_VFD, _as_query(psi, centre_VD))[:, :, None],
        fixed_logits_VF1=fixed_VF1 if padding_VF1 is None else fixed_VF1 + padding_VF1,
        padding_VF1=padding_VF1,
        attention_forms_VRF=torch.cat(
            [
                outputs_VFD @ outputs_VFD.mT,
                direct_VFD @ direct_VFD.mT,
                basis_gram_VKK[:, :, :count],
                _dot(direct_VFD, start_VD)[:, None],
            ],
            dim=1,
        ),
        pooling_forms_VRF=torch.cat(
            [frame_gram_VFF, basis_VKD @ frames_VFD.mT, (frames_VFD @ folded.offset_D)[:, None]], dim=1
        ),
        constant_p0_V1=start_VD.square().sum(dim=1, keepdim=True).expand(len(frames_VFD), 1),
        constant_q0_V1=basis_gram_VKK[:, count, count:],
    )


def _through_linear1(
    psi: Psi, folded: Folded, context_VFD: Tensor, noise_VD: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """P [V, F, D], p0 [V or 1, D] and the centred attention outputs c(o) [V, F, D]."""
    outputs_VFD = linear(context_VFD, folded.value_DD, folded.value_D)
    scaled_VFD = outputs_VFD * psi.norm2.weight
    changed_VFD = linear(scaled_VFD, psi.linear1.weight)
    changed_1D = linear(psi.norm2.bias, psi.linear1.weight, psi.linear1.bias)[None]
    if noise_VD is not None:
        changed_VFD = changed_VFD * noise_VD[:, None]
        changed_1D = changed_1D * noise_VD
    direct_VFD = scaled_VFD + changed_VFD
    start_VD = psi.norm2.bias + changed_1D
    return _centred(direct_VFD), _centred(start_VD), outputs_VFD


def _basis(psi: Psi, direct_VFD: Tensor, start_VD: Tensor) -> Tensor:
    """Q_1..Q_F and q0 of each video [V, K, D]."""
    steps_VFD = linear(direct_VFD * psi.norm3.weight, psi.mean_proj.weight)
    start_VD = linear(start_VD * psi.norm3.weight, psi.mean_proj.weight)
    return torch.cat([steps_VFD, start_VD.expand(len(direct_VFD), -1)[:, None]], dim=1)


def _dot(vectors_VFD: Tensor, one_VD: Tensor) -> Tensor:
    """Dot products of a video's vectors with one of its own [V, F]: quicker than as products of matrices."""
    return (vectors_VFD * one_VD[:, None]).sum(dim=2)


def _centred(vectors: Tensor) -> Tensor:
    return vectors - vectors.mean(dim=-1, keepdim=True)


def _as_query(psi: Psi, centred_ND: Tensor) -> Tensor:
    """W_k^T W_q (g1 * c) / sqrt(D): with a context it gives the attention logit, up to a constant over frames."""
    query_ND = linear(centred_ND * psi.norm1.weight, psi.q_proj.weight)
    return query_ND @ psi.k_proj.weight / math.sqrt(centred_ND.shape[1])


def pair_scores(psi: Psi, text: TextSide, video: VideoSide, temperature: float) -> tuple[Tensor, Tensor]:
    """Similarities [V, T] and coefficients over the basis [V, K, T] of every pair, all at once."""
    videos, frames, width = video.frames_VFD.shape
    texts = text.plain_DT.shape[1]

    logits_VFT = (video.frames_VFD.flatten(0, 1) @ text.plain_DT).view(videos, frames, texts)
    if video.padding_VF1 is not None:
        logits_VFT = logits_VFT + video.padding_VF1
    pooling_VFT = (logits_VFT - logits_VFT.detach().amax(dim=1, keepdim=True)).exp_()

    spread_VT = video.spread_V1 + text.spread_T - 2 * (video.centre_VD @ text.centred_DT)
    # Squared length of the centred gap: rounding can push it below zero when text and mean frame coincide.
    gap_VT = torch.rsqrt(spread_VT.clamp_min(0) / width + psi.norm1.eps)
    moved_VFT = (video.context_VFD.flatten(0, 1) @ text.query_DT).view(videos, frames, texts)
    moved_VFT = torch.addcmul(video.fixed_logits_VF1, moved_VFT + video.centre_logits_VF1, gap_VT[:, None])
    attention_VFT = (moved_VFT - moved_VFT.detach().amax(dim=1, keepdim=True)).exp_()

    forms_VRT = video.attention_forms_VRF @ attention_VFT
    squares_V3T = (forms_VRT[:, : 3 * frames].view(videos, 3, frames, texts) * attention_VFT[:, None]).sum(dim=2)
    # Squared lengths of sums of vectors: not below zero but for rounding.
    outputs_VT, direct_VT, steps_VT = squares_V3T.clamp_min(0).unbind(dim=1)
    steps_start_VT, direct_start_VT = forms_VRT[:, 3 * frames], forms_VRT[:, 3 * frames + 1]
    total_VT = attention_VFT.sum(dim=1)
    # r2 over the sum of the exponentials, then r3: what each LayerNorm divides by.
    second_VT = torch.rsqrt(outputs_VT / width + psi.norm2.eps * total_VT.square())
    variance_VT = second_VT * (second_VT * direct_VT + 2 * direct_start_VT) + video.constant_p0_V1
    third_VT = torch.rsqrt(variance_VT.clamp_min(0) / width + psi.norm3.eps)
    both_VT = second_VT * third_VT

    shifted_VKT = (video.basis_VKD.flatten(0, 1) @ text.shifted_DT).view(videos, frames + 1, texts)
    shifted_steps_VT = (shifted_VKT[:, :frames] * attention_VFT).sum(dim=1)
    increment_VT = both_VT * (both_VT * steps_VT + 2 * (shifted_steps_VT + third_VT * steps_start_VT))
    start_VT = third_VT * (third_VT * video.constant_q0_V1 + 2 * shifted_VKT[:, frames])
    corrected_VT = (text.length_T + increment_VT + start_VT).clamp_min(0)

    pools_VRT = video.pooling_forms_VRF @ pooling_VFT
    pooled_VT = (pools_VRT[:, :frames] * pooling_VFT).sum(dim=1).clamp_min(0)
    steps_pooled_VT = (pools_VRT[:, frames : 2 * frames] * attention_VFT).sum(dim=1)
    numerator_VT = (
        temperature * (logits_VFT * pooling_VFT).sum(dim=1)
        + pools_VRT[:, 2 * frames + 1]
        + both_VT * steps_pooled_VT
        + third_VT * pools_VRT[:, 2 * frames]
    )
    matrix_VT = numerator_VT * torch.rsqrt((corrected_VT * pooled_VT).clamp_min(1e-30))
    return matrix_VT, torch.cat([attention_VFT * both_VT[:, None], third_VT[:, None]], dim=1)


def factorised_scores(
    psi: Psi, texts_TD: Tensor, frames_VFD: Tensor, mask_VF: Tensor, temperature: float, noise_VD: Tensor | None
) -> tuple[Tensor, FactorisedIncrements]:
    """Similarities [T, V] and increments as coefficients; equal to `plain_scores` with the same dropout factors."""
    folded = fold(psi)
    texts = text_sides(psi, folded, texts_TD, temperature)
    recomputed = torch.is_grad_enabled() and len(texts_TD) * len(frames_VFD) > KEPT_PAIRS
    matrices, coefficients, bases = [], [], []
    for video in _video_tiles(psi, folded, len(texts_TD), frames_VFD, mask_VF, noise_VD):
        score = partial(pair_scores, psi, video=video, temperature=temperature)
        if recomputed:
            score = partial(checkpoint, score, use_reentrant=False, preserve_rng_state=False)
        tiles = [score(text) for text in texts]
        matrices.append(_joined([matrix_VT for matrix_VT, _ in tiles]))
        coefficients.append(_joined([part_VKT for _, part_VKT in tiles]))
        bases.append(video.basis_VKD)
    increments = FactorisedIncrements(torch.cat(coefficients), torch.cat(bases), folded.offset_D)
    return torch.cat(matrices).T, increments


def matrix_scorer(psi: Psi, frames_VFD: Tensor, mask_VF: Tensor, temperature: float) -> Callable[[Tensor], Tensor]:
    """A function from texts [T, D] to similarities [T, V] of videos prepared once: no gradients, no dropout."""
    with torch.no_grad():
        folded = fold(psi)
        sides = list(_video_tiles(psi, folded, TILE_TEXTS, frames_VFD, mask_VF, None))

    @torch.no_grad()
    def score(texts_TD: Tensor) -> Tensor:
        texts = text_sides(psi, folded, texts_TD, temperature)
        rows = [_joined([pair_scores(psi, text, side, temperature)[0] for text in texts]) for side in sides]
        return torch.cat(rows).T

    return score


def _joined(tiles: list[Tensor]) -> Tensor:
    """Tiles side by side over the texts; one alone is not copied."""
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=-1)


def _video_tiles(
    psi: Psi, folded: Folded, texts: int, frames_VFD: Tensor, mask_VF: Tensor, noise_VD: Tensor | None
) -> Iterator[VideoSide]:
    """Prepared videos, as many at a time as make a tile with the given number of texts."""
    step = max(1, TILE_WEIGHTS // (frames_VFD.shape[1] * min(texts, TILE_TEXTS)))
    for first in range(0, len(frames_VFD), step):
        some = slice(first, first + step)
        yield video_side(
            psi, folded, frames_VFD[some], mask_VF[some], None if noise_VD is None else noise_VD[some], first
        )


def baseline_scores(texts_TD: Tensor, frames_VFD: Tensor, mask_VF: Tensor, temperature: float) -> Tensor:
    """Similarities [T, V] of plain texts with the text-conditioned means of the frames."""
    squared_T = texts_TD.square().sum(dim=1)
    check_lengths(squared_T.detach(), "text")
    frames_VFD = frames_VFD.masked_fill(~mask_VF[:, :, None], 0)
    gram_VFF = frames_VFD @ frames_VFD.mT
    check_lengths(gram_VFF.detach().diagonal(dim1=1, dim2=2).masked_fill(~mask_VF, 1), "video")
    products_VFT = frames_VFD @ texts_TD.T
    logits_VFT = (products_VFT / temperature).masked_fill(~mask_VF[:, :, None], PADDED)
    weights_VFT = (logits_VFT - logits_VFT.detach().amax(dim=1, keepdim=True)).exp()
    pooled_VT = ((gram_VFF @ weights_VFT) * weights_VFT).sum(dim=1).clamp_min(0)
    matrix_VT = (products_VFT * weights_VFT).sum(dim=1) * torch.rsqrt((squared_T * pooled_VT).clamp_min(1e-30))
    return matrix_VT.T
