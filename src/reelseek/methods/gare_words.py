"""GARE's scores for increments made of a text's words: exact, differentiable, bounded in memory.

The same factorisation as for frames with the texts as owners of the bases (see `reelseek.methods.gare_bases`). What
does not reduce to a form of one side is the product of the increment, which lives among L words, with the pooled video,
which lives among F frames: from the products of all words with all frames it costs L x F x D multiply-adds a pair, from
the pooled vectors themselves (F + L) x D, so those are made, a tile of pairs at a time. The definition, about
4 D^2 a pair, is `reelseek.methods.gare_plain`. With several heads N grows: with 4 (D 512, 32 words, batch 128) a
training step takes no less time or memory than that one. Above KEPT_ELEMENTS tiles are recomputed instead of kept.

Shapes: T texts, V videos, F frames, L tokens, N = heads x L, K = N + 1 vectors of a text's basis, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reelseek.methods.gare_bases import PADDED, Bases, Chain, Folded, Others, fold, make_bases, make_pairs, others
from reelseek.methods.gare_plain import Psi, Variant, words_of
from reelseek.records import Texts, Videos
from reelseek.score.increments import TextIncrements
from reelseek.score.similarity import check_lengths, over_lengths

# Elements of the pooled vectors (texts x videos x width) of one tile: few enough for the cache.
TILE_ELEMENTS = 1 << 20

# Such elements of a whole step above which training recomputes its tiles in the backward pass instead of keeping them.
KEPT_ELEMENTS = 1 << 24


def word_scores(
    psi: Psi, variant: Variant, texts: Texts, videos: Videos, noise: Sequence[Tensor] | None
) -> tuple[Tensor, TextIncrements]:
    """Similarities [T, V] and increments as coefficients; equal to `plain_scores` with the same dropout factors.

    noise: for every layer dropout factors [T, D], drawn per text and dimension, or None.
    Raises ValueError for texts without tokens, and naming a text or real frame of zero or non-finite length.
    """
    texts_TD, (tokens_TLD, mask_TL) = texts.pooled_TD, words_of(texts)
    frames_VFD = videos.frames_VFD.masked_fill(~videos.mask_VF[:, :, None], 0)
    check_lengths(texts_TD.detach().square().sum(dim=1), "text")
    check_lengths(frames_VFD.detach().square().sum(dim=2).masked_fill(~videos.mask_VF, 1), "video")
    folded = fold(psi, variant.heads)
    own_TD, other_XD = _queries(variant, texts_TD, frames_VFD, videos.mask_VF)
    bases = make_bases(psi, folded, tokens_TLD, mask_TL, own_TD, noise)
    count = len(frames_VFD)
    texts_a_tile, videos_a_tile = _tile(len(texts_TD), count, texts_TD.shape[1])
    recomputed = torch.is_grad_enabled() and len(texts_TD) * count * texts_TD.shape[1] > KEPT_ELEMENTS
    rows, coefficients = [], []
    for first in range(0, len(texts_TD), texts_a_tile):
        own = slice(first, first + texts_a_tile)
        some = _rows(bases, own)
        tiles = []
        for start in range(0, count, videos_a_tile):
            at = slice(start, start + videos_a_tile)
            part = Videos(frames_VFD[at], videos.mask_VF[at])
            other = others(psi, folded, other_XD[at] if variant.query == "gap" else other_XD)
            score = partial(_tile_scores, psi, variant, folded, texts_TD[own], some, part, other)
            if recomputed:
                score = partial(checkpoint, score, use_reentrant=False, preserve_rng_state=False)
            tiles.append(score())
        rows.append(torch.cat([matrix_TV for matrix_TV, _ in tiles], dim=1))
        coefficients.append(torch.cat([part_TKV for _, part_TKV in tiles], dim=2))
    return torch.cat(rows), TextIncrements(torch.cat(coefficients), bases.basis_OKD, folded.offset_D)


def _queries(variant: Variant, texts_TD: Tensor, frames_VFD: Tensor, mask_VF: Tensor) -> tuple[Tensor, Tensor]:
    """The texts' and the videos' part of the query, centred; where no video takes part, one of zero for all."""
    centred_TD = texts_TD - texts_TD.mean(dim=1, keepdim=True)
    if variant.query == "text":
        return centred_TD, torch.zeros_like(texts_TD[:1])
    counted = torch.ones_like(mask_VF) if variant.padding == "counted" else mask_VF
    mean_VD = frames_VFD.sum(dim=1) / counted.sum(dim=1, keepdim=True)
    return -variant.sign * centred_TD, variant.sign * (mean_VD - mean_VD.mean(dim=1, keepdim=True))


def _tile(texts: int, videos: int, width: int) -> tuple[int, int]:
    """Texts and videos of a tile: all texts of as many videos as fit, in equal parts of both where none do."""
    pairs = max(1, TILE_ELEMENTS // width)
    some = min(texts, max(1, int(pairs**0.5)))
    return some, min(videos, max(1, pairs // some))


def _rows(bases: Bases, some: slice) -> Bases:
    """The bases of some of the texts."""
    chains = [Chain._make(part[some] for part in chain) for chain in bases.chains]
    return Bases._make([*(part[some] for part in bases if isinstance(part, Tensor)), chains])


def _tile_scores(
    psi: Psi, variant: Variant, folded: Folded, texts_TD: Tensor, bases: Bases, videos: Videos, other: Others
) -> tuple[Tensor, Tensor]:
    """Similarities [T, V] and coefficients [T, K, V] of one tile; videos' padded frames are zero."""
    logits_VTF = (videos.frames_VFD @ texts_TD.T).mT / variant.temperature
    if variant.padding == "masked":
        logits_VTF = logits_VTF + (~videos.mask_VF * PADDED).to(logits_VTF.dtype)[:, None]
    pooled_TVD = (logits_VTF.softmax(dim=2) @ videos.frames_VFD).transpose(0, 1)

    pairs = make_pairs(psi, variant.heads, bases, other)
    coefficients_TKV = pairs.coefficients().expand(-1, -1, len(videos.frames_VFD))
    basis_TKD, offset_D = bases.basis_OKD, folded.offset_D
    text_pooled_TV = (pooled_TVD @ texts_TD[:, :, None])[:, :, 0]
    increment_pooled_TV = ((basis_TKD @ pooled_TVD.mT) * coefficients_TKV).sum(dim=1) + pooled_TVD @ offset_D
    text_basis_TK1 = basis_TKD @ texts_TD[:, :, None]
    increment_text_TV = (text_basis_TK1 * coefficients_TKV).sum(dim=1) + (texts_TD @ offset_D)[:, None]
    both_TV, third_TV = pairs.both_OX, pairs.third_OX
    start_TV = third_TV * (third_TV * bases.constant_q0_O1 + 2 * both_TV * pairs.steps_start_OX)
    twice_offset_TV = 2 * ((basis_TKD @ offset_D)[:, :, None] * coefficients_TKV).sum(dim=1)
    length_TV = both_TV.square() * pairs.steps_OX + start_TV + twice_offset_TV + offset_D.square().sum()

    text_TV = texts_TD.square().sum(dim=1, keepdim=True)
    pooled_TV = pooled_TVD.square().sum(dim=2)
    if variant.side == "text":
        numerator_TV = text_pooled_TV + increment_pooled_TV
        text_TV = text_TV + 2 * increment_text_TV + length_TV
    else:
        numerator_TV = text_pooled_TV + increment_text_TV
        pooled_TV = pooled_TV + 2 * increment_pooled_TV + length_TV
    return over_lengths(numerator_TV, text_TV, pooled_TV), coefficients_TKV
