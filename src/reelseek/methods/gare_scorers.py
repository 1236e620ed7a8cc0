"""Scores of videos that are prepared once: in full precision, or with half-precision operands and exact leaders.

The three products with all frames are most of the work, and processors with the instructions do them several times
faster in bfloat16. Their rounding moves a cosine by a few thousandths: enough to exchange neighbours, not to lose one
of the best. So the leaders of every text are scored again, exactly, grouped by video. Not here: what is computed for a
pair (`reelseek.methods.gare_factorised`) and the compiled pass over pairs (`reelseek.methods.gare_fused`).

Shapes: T texts, V videos, D width; R rows of pairs to score again: one video and C of the texts that it leads, the last
row of a video filled up with text 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, unflatten

from reelseek.encoders.processor import computes_bf16
from reelseek.methods.gare_bases import Bases, Folded, Others, fold
from reelseek.methods.gare_factorised import (
    TILE_TEXTS,
    TextSide,
    VideoSide,
    pair_scores,
    prepared_tiles,
    text_side,
)
from reelseek.methods.gare_fused import FusedSide, can_fuse, fused_side, fused_tile, in_operands
from reelseek.methods.gare_plain import Psi, Variant
from reelseek.records import Videos
from reelseek.score.similarity import check_lengths
from reelseek.threads import side_by_side

# Texts in a row: short rows waste little where videos lead few texts, long ones read a video's vectors less often.
ROW_TEXTS = 16


class _Rows(NamedTuple):
    """Pairs of a tile: the video of each row [R], its texts [R, C], and which of those are meant [R, C]."""

    video_R: Tensor
    text_RC: Tensor
    meant_RC: Tensor


def matrix_scorer(
    psi: Psi, variant: Variant, videos: Videos, *, leaders: int = 0, operands: torch.dtype | None = None
) -> Callable[[Tensor], Tensor]:
    """A function from texts [T, D] to similarities [T, V] of videos prepared once: no gradients, no dropout.

    leaders: 0 scores everything in full precision. Above 0 the products take bfloat16 operands, and the `leaders` best
    videos of every text are scored again: those are exact. A processor that does not compute bfloat16 itself is up to
    50 times slower at it: there everything is scored in full precision all the same. Raises ValueError below 0.
    operands: another type for the products than these.
    """
    if leaders < 0:
        raise ValueError(f"leaders must be 0 (all exact) or a number of videos a text, not {leaders}.")
    with torch.no_grad():
        folded = fold(psi, variant.heads)
        sides = prepared_tiles(psi, folded, variant, TILE_TEXTS, videos)

        whole = psi.mean_proj.weight.dtype
        if leaders and operands is None and videos.frames_VFD.device.type == "cpu" and not computes_bf16():
            operands, leaders = whole, 0
        operands = operands or (torch.bfloat16 if leaders else whole)
        halved = [_halved_videos(side, operands) for side in sides]
    fused: list[FusedSide] = []

    @torch.no_grad()
    def score(texts_TD: Tensor) -> Tensor:
        check_lengths(texts_TD.square().sum(dim=1), "text")
        tiles = torch.chunk(texts_TD, max(1, -(-len(texts_TD) // TILE_TEXTS)))
        texts = [text_side(psi, folded, variant, tile_TD) for tile_TD in tiles]
        columns = [in_operands(text, operands) for text in texts]

        def fused_row(side: FusedSide) -> Tensor:
            return _joined([fused_tile(psi, variant, text, side) for text in columns])

        def plain_row(side: VideoSide) -> Tensor:
            return _joined([pair_scores(psi, variant, folded.offset_D, text, side)[0] for text in columns])

        if operands != torch.float16 and can_fuse(psi, variant, len(texts_TD), len(videos.frames_VFD)):
            if not fused:
                fused.extend(fused_side(side, operands) for side in halved)
            matrix_VT = torch.cat(side_by_side(fused_row, fused))
        else:
            matrix_VT = torch.cat(side_by_side(plain_row, halved))
        if leaders:
            column = 0
            for text in texts:
                part_VT = matrix_VT[:, column : column + len(text.length_T)]
                _score_leaders(psi, variant, folded, text, sides, part_VT, leaders)
                column += len(text.length_T)
        return matrix_VT.T

    return score


def _joined(tiles: list[Tensor]) -> Tensor:
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=1)


def _score_leaders(
    psi: Psi,
    variant: Variant,
    folded: Folded,
    text: TextSide,
    sides: Sequence[VideoSide],
    matrix_VT: Tensor,
    leaders: int,
) -> None:
    """Replace the best `leaders` scores of every text by exact ones, in place."""
    best_VT = torch.zeros_like(matrix_VT, dtype=torch.bool)
    best_VT.scatter_(0, matrix_VT.topk(min(leaders, len(matrix_VT)), dim=0, sorted=False).indices, True)
    columns = _Columns.of(text)
    bounds = list(accumulate((len(side.frames_VFD) for side in sides), initial=0))

    def again(number: int) -> None:
        first, last = bounds[number : number + 2]
        rows = _rows_of(best_VT[first:last])
        if len(rows.video_R):
            videos = _videos_of(sides[number], rows)
            exact_RC, _ = pair_scores(psi, variant, folded.offset_D, columns.rows(rows.text_RC), videos)
            video_RC = first + rows.video_R[:, None].expand_as(rows.text_RC)
            matrix_VT[video_RC[rows.meant_RC], rows.text_RC[rows.meant_RC]] = exact_RC[rows.meant_RC]

    side_by_side(again, range(len(sides)))


def _rows_of(best_VT: Tensor) -> _Rows:
    """The pairs that are marked, in rows of one video and at most `ROW_TEXTS` texts."""
    video_P, text_P = best_VT.nonzero(as_tuple=True)
    counts_V = best_VT.sum(dim=1)
    rows_V = (counts_V + ROW_TEXTS - 1) // ROW_TEXTS
    place_P = torch.arange(len(video_P), device=best_VT.device) - (counts_V.cumsum(0) - counts_V)[video_P]
    row_P = (rows_V.cumsum(0) - rows_V)[video_P] + place_P // ROW_TEXTS
    text_RC = torch.zeros(int(rows_V.sum()), ROW_TEXTS, dtype=torch.long, device=best_VT.device)
    meant_RC = torch.zeros_like(text_RC, dtype=torch.bool)
    text_RC[row_P, place_P % ROW_TEXTS] = text_P
    meant_RC[row_P, place_P % ROW_TEXTS] = True
    return _Rows(torch.arange(len(counts_V), device=best_VT.device).repeat_interleave(rows_V), text_RC, meant_RC)


class _Columns(NamedTuple):
    """A text side with its texts in rows, from which single ones are read quickly."""

    plain_TD: Tensor
    query_THD: Tensor
    centred_TD: Tensor
    product_TD: Tensor
    side: TextSide

    @classmethod
    def of(cls, text: TextSide) -> _Columns:
        query_DHT = unflatten(text.other.query_DX, 1, (-1, len(text.length_T)))
        return cls(
            text.plain_DT.T.contiguous(),
            query_DHT.permute(2, 1, 0).contiguous(),
            text.other.centred_DX.T.contiguous(),
            text.product_DT.T.contiguous(),
            text,
        )

    def rows(self, at_RC: Tensor) -> TextSide:
        """The texts of every row, as columns of its own."""
        query_RDX = self.query_THD[at_RC].permute(0, 3, 2, 1).flatten(2)
        return TextSide(
            plain_DT=self.plain_TD[at_RC].mT,
            other=Others(query_RDX, self.centred_TD[at_RC].mT, self.side.other.spread_X[at_RC]),
            product_DT=self.product_TD[at_RC].mT,
            length_T=self.side.length_T[at_RC],
            offset_T=self.side.offset_T[at_RC],
        )


def _videos_of(side: VideoSide, rows: _Rows) -> VideoSide:
    """The video of every row."""
    at_R = rows.video_R
    chains = [type(chain)(*(part[at_R] for part in chain)) for chain in side.bases.chains]
    vectors = {name: getattr(side.bases, name)[at_R] for name in Bases._fields if name != "chains"}
    return VideoSide(
        frames_VFD=side.frames_VFD[at_R],
        bases=Bases(**vectors, chains=chains),
        padding_VF1=None if side.padding_VF1 is None else side.padding_VF1[at_R],
        pooling_forms_VRF=side.pooling_forms_VRF[at_R],
        offset_products_VK1=side.offset_products_VK1[at_R],
    )


def _halved_videos(side: VideoSide, operands: torch.dtype) -> VideoSide:
    context_OCD, basis_OKD = side.bases.context_OCD.to(operands), side.bases.basis_OKD.to(operands)
    return side._replace(
        frames_VFD=side.frames_VFD.to(operands),
        bases=side.bases._replace(context_OCD=context_OCD, basis_OKD=basis_OKD),
    )
