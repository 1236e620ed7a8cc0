"""GARE's scores without a vector per pair, for increments made of frames: exact, differentiable, bounded in memory.

A score needs three matrix products over all frames (one more for every further head) and a few F x F forms per pair;
`reelseek.methods.gare_bases` says why. The definition that this file is held against is `reelseek.methods.gare_plain`.

Shapes: T texts, V videos, F frames, N = heads x F, K = N + 1 vectors of a video's basis, D width; 1 shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reelseek.methods.gare_bases import PADDED, Bases, Folded, Others, fold, make_bases, make_pairs, others, products
from reelseek.methods.gare_plain import Psi, Variant
from reelseek.records import Videos
from reelseek.score.increments import FactorisedIncrements
from reelseek.score.similarity import check_lengths, over_lengths
from reelseek.threads import side_by_side

# Attention weights (videos x frames x texts) of one tile, and its most texts: a tile's temporaries stay in the cache.
TILE_WEIGHTS = 600_000
TILE_TEXTS = 1024

# Pairs above which a training step recomputes its tiles in the backward pass instead of keeping them.
KEPT_PAIRS = 1 << 18


class TextSide(NamedTuple):
    """What a pair needs of its text. Columns of the matrices are texts."""

    plain_DT: Tensor  # the text over the frame temperature: with frames gives the logits of the pooling
    other: Others  # what the attention needs
    product_DT: Tensor  # text + offset (side "text") or text: with the basis gives its product with the increment
    length_T: Tensor  # squared length of that
    offset_T: Tensor  # product of text and offset


class VideoSide(NamedTuple):
    """What a pair needs of its video: vectors for three products with texts, and small matrices between them."""

    frames_VFD: Tensor
    bases: Bases
    padding_VF1: Tensor | None  # PADDED at padded frames, else 0; None where nothing is padded, or padding counts
    pooling_forms_VRF: Tensor  # rows: Gram of frames, Q.frames; then q0.frames, q1.frames
    offset_products_VK1: Tensor  # of the basis with the offset


def text_sides(psi: Psi, folded: Folded, variant: Variant, texts_TD: Tensor) -> list[TextSide]:
    """Fixed linear maps of the texts, in tiles. Raises ValueError naming a text of zero or non-finite length."""
    check_lengths(texts_TD.detach().square().sum(dim=1), "text")
    return [text_side(psi, folded, variant, tile_TD) for tile_TD in torch.split(texts_TD, TILE_TEXTS)]


def text_side(psi: Psi, folded: Folded, variant: Variant, texts_TD: Tensor) -> TextSide:
    """Fixed linear maps of the texts, whose lengths were checked."""
    centred_TD = texts_TD - texts_TD.mean(dim=1, keepdim=True)
    product_TD = texts_TD + folded.offset_D if variant.side == "text" else texts_TD
    return TextSide(
        plain_DT=(texts_TD / variant.temperature).T.contiguous(),
        other=others(psi, folded, centred_TD if variant.query == "text" else -variant.sign * centred_TD),
        product_DT=product_TD.T.contiguous(),
        length_T=product_TD.square().sum(dim=1),
        offset_T=texts_TD @ folded.offset_D,
    )


def video_side(
    psi: Psi, folded: Folded, variant: Variant, videos: Videos, noise: Sequence[Tensor] | None, first: int = 0
) -> VideoSide:
    """Bases and Gram matrices, none of them per pair.

    noise: for every layer dropout factors, drawn per video and dimension, or None. first: number of the first video,
    for messages. Raises ValueError naming a real frame of zero or non-finite length.
    """
    mask_VF, padded_VF = videos.mask_VF, ~videos.mask_VF
    frames_VFD = videos.frames_VFD.masked_fill(padded_VF[:, :, None], 0)
    frame_gram_VFF = frames_VFD @ frames_VFD.mT
    lengths_VF = frame_gram_VFF.detach().diagonal(dim1=1, dim2=2)
    check_lengths(lengths_VF.masked_fill(padded_VF, 1), "video", first)
    if variant.padding == "counted":  # a frame of zeros: it adds nothing to a sum, but has a logit
        mask_VF, padded_VF = torch.ones_like(mask_VF), torch.zeros_like(padded_VF)
    mean_VD = frames_VFD.sum(dim=1) / mask_VF.sum(dim=1, keepdim=True)
    mean_VD = torch.zeros_like(mean_VD) if variant.query == "text" else variant.sign * mean_VD
    centre_VD = mean_VD - mean_VD.mean(dim=1, keepdim=True)
    bases = make_bases(psi, folded, frames_VFD, mask_VF, centre_VD, noise)
    padding_VF1 = (padded_VF * PADDED).to(frames_VFD.dtype)[:, :, None] if bool(padded_VF.any()) else None
    return VideoSide(
        frames_VFD=frames_VFD,
        bases=bases,
        padding_VF1=padding_VF1,
        pooling_forms_VRF=torch.cat(
            [frame_gram_VFF, bases.basis_OKD @ frames_VFD.mT, (frames_VFD @ folded.offset_D)[:, None]], dim=1
        ),
        offset_products_VK1=(bases.basis_OKD @ folded.offset_D)[:, :, None],
    )


def pair_scores(
    psi: Psi, variant: Variant, offset_D: Tensor, text: TextSide, video: VideoSide
) -> tuple[Tensor, Tensor]:
    """Similarities [V, T] and coefficients over the basis [V, K, T] of every pair, all at once."""
    frames = video.frames_VFD.shape[1]
    logits_VFT = products(video.frames_VFD, text.plain_DT)
    if video.padding_VF1 is not None:
        logits_VFT = logits_VFT + video.padding_VF1
    pooling_VFT = (logits_VFT - logits_VFT.detach().amax(dim=1, keepdim=True)).exp_()

    pairs = make_pairs(psi, variant.heads, video.bases, text.other)
    both_VT, third_VT, count = pairs.both_OX, pairs.third_OX, pairs.attention_ONX.shape[1]
    products_VKT = products(video.bases.basis_OKD, text.product_DT)
    steps_text_VT = (products_VKT[:, :count] * pairs.attention_ONX).sum(dim=1)
    pools_VRT = video.pooling_forms_VRF @ pooling_VFT
    pooled_VT = (pools_VRT[:, :frames] * pooling_VFT).sum(dim=1).clamp_min(0)
    steps_pooled_VT = (pools_VRT[:, frames : frames + count] * pairs.attention_ONX).sum(dim=1)
    text_pooled_VT = variant.temperature * (logits_VFT * pooling_VFT).sum(dim=1)
    start_pooled_VT, offset_pooled_VT = pools_VRT[:, frames + count], pools_VRT[:, frames + count + 1]
    increment_pooled_VT = offset_pooled_VT + both_VT * steps_pooled_VT + third_VT * start_pooled_VT

    if variant.side == "text":  # the pooled frames need no division: a cosine does not see their length
        increment_VT = both_VT * (both_VT * pairs.steps_OX + 2 * (steps_text_VT + third_VT * pairs.steps_start_OX))
        start_VT = third_VT * (third_VT * video.bases.constant_q0_O1 + 2 * products_VKT[:, count])
        corrected_VT = text.length_T + increment_VT + start_VT
        matrix_VT = over_lengths(text_pooled_VT + increment_pooled_VT, corrected_VT, pooled_VT)
    else:
        total_VT = pooling_VFT.sum(dim=1)
        steps_offset_VT = (video.offset_products_VK1[:, :count] * pairs.attention_ONX).sum(dim=1)
        inside_VT = pairs.steps_OX * both_VT + 2 * (third_VT * pairs.steps_start_OX + steps_offset_VT)
        start_VT = third_VT * (third_VT * video.bases.constant_q0_O1 + 2 * video.offset_products_VK1[:, count])
        length_VT = both_VT * inside_VT + start_VT + offset_D.square().sum()
        corrected_VT = (pooled_VT / total_VT + 2 * increment_pooled_VT) / total_VT + length_VT
        increment_text_VT = both_VT * steps_text_VT + third_VT * products_VKT[:, count] + text.offset_T
        numerator_VT = text_pooled_VT / total_VT + increment_text_VT
        matrix_VT = over_lengths(numerator_VT, corrected_VT, text.length_T)
    return matrix_VT, pairs.coefficients()


def factorised_scores(
    psi: Psi, variant: Variant, texts_TD: Tensor, videos: Videos, noise: Sequence[Tensor] | None
) -> tuple[Tensor, FactorisedIncrements]:
    """Similarities [T, V] and increments as coefficients; equal to `plain_scores` with the same dropout factors.

    noise: for every layer dropout factors [V, D], or None.
    """
    folded = fold(psi, variant.heads)
    texts = text_sides(psi, folded, variant, texts_TD)
    recomputed = torch.is_grad_enabled() and len(texts_TD) * len(videos.frames_VFD) > KEPT_PAIRS
    matrices, coefficients, bases = [], [], []
    for video in video_tiles(psi, folded, variant, len(texts_TD), videos, noise):
        score = partial(pair_scores, psi, variant, folded.offset_D, video=video)
        if recomputed:
            score = partial(checkpoint, score, use_reentrant=False, preserve_rng_state=False)
        tiles = [score(text) for text in texts]
        matrices.append(_joined([matrix_VT for matrix_VT, _ in tiles]))
        coefficients.append(_joined([part_VKT for _, part_VKT in tiles]))
        bases.append(video.bases.basis_OKD)
    increments = FactorisedIncrements(torch.cat(coefficients), torch.cat(bases), folded.offset_D)
    return torch.cat(matrices).T, increments


def _joined(tiles: list[Tensor]) -> Tensor:
    """Tiles side by side over the texts; one alone is not copied."""
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=-1)


def video_tiles(
    psi: Psi, folded: Folded, variant: Variant, texts: int, videos: Videos, noise: Sequence[Tensor] | None
) -> Iterator[VideoSide]:
    """Prepared videos, as many at a time as make a tile with the given number of texts."""
    for some in _tile_slices(variant, texts, videos):
        noises = None if noise is None else [factors_VD[some] for factors_VD in noise]
        part = Videos(videos.frames_VFD[some], videos.mask_VF[some])
        yield video_side(psi, folded, variant, part, noises, some.start)


def prepared_tiles(psi: Psi, folded: Folded, variant: Variant, texts: int, videos: Videos) -> list[VideoSide]:
    """All of `video_tiles` at once, without dropout, made side by side."""

    def prepare(some: slice) -> VideoSide:
        part = Videos(videos.frames_VFD[some], videos.mask_VF[some])
        return video_side(psi, folded, variant, part, None, some.start)

    return side_by_side(prepare, _tile_slices(variant, texts, videos))


def _tile_slices(variant: Variant, texts: int, videos: Videos) -> list[slice]:
    weights = videos.frames_VFD.shape[1] * variant.heads * min(texts, TILE_TEXTS)
    step = max(1, TILE_WEIGHTS // weights)
    return [slice(first, first + step) for first in range(0, len(videos.frames_VFD), step)]


def baseline_scores(texts_TD: Tensor, frames_VFD: Tensor, mask_VF: Tensor, temperature: float) -> Tensor:
    """Similarities [T, V] of plain texts with the text-conditioned means of the frames, in float32 at least."""
    if texts_TD.dtype != torch.float64:
        texts_TD, frames_VFD = texts_TD.float(), frames_VFD.float()
    squared_T = texts_TD.square().sum(dim=1)
    check_lengths(squared_T.detach(), "text")
    frames_VFD = frames_VFD.masked_fill(~mask_VF[:, :, None], 0)
    gram_VFF = frames_VFD @ frames_VFD.mT
    check_lengths(gram_VFF.detach().diagonal(dim1=1, dim2=2).masked_fill(~mask_VF, 1), "video")
    products_VFT = frames_VFD @ texts_TD.T
    logits_VFT = (products_VFT / temperature).masked_fill(~mask_VF[:, :, None], PADDED)
    weights_VFT = (logits_VFT - logits_VFT.detach().amax(dim=1, keepdim=True)).exp()
    pooled_VT = ((gram_VFF @ weights_VFT) * weights_VFT).sum(dim=1)
    return over_lengths((products_VFT * weights_VFT).sum(dim=1), squared_T, pooled_VT).T
