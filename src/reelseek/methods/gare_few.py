"""GARE's scores of a few texts with many videos, as a search asks for them: projections on the side that has less.

The definition projects every frame to a key and a value, the factorised path every frame to its basis: D^2 for each.
Between one text and a video the query may as well be moved through the key's projection, and the weighted mean of the
frames, of which there is one, through the value's. What is left is 6 D^2 multiply-adds a pair, head and layer aside,
whatever the number of frames.
Not here: the rest of the definition (`reelseek.methods.gare_plain`), which this shares.

Shapes: T texts, V videos, D width; O owners, X others, H heads, d = D / H, N vectors of an owner's context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, unflatten

from reelseek.methods.gare_plain import Layer, Psi, Variant, by_videos, plain_scores
from reelseek.records import Texts, Videos
from reelseek.score.similarity import masked_softmax

TILE_ELEMENTS = 1 << 20
"""Of the frames that are looked at together: their temporaries stay in the cache."""


def is_few(texts: int, frames: int) -> bool:
    """Whether so many texts are faster scored here than by the factorised path, which costs more for every frame."""
    return 4 * texts <= frames


def few_scores(
    psi: Psi, variant: Variant, texts: Texts, videos: Videos, noise: Sequence[Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Similarities [T, V] and dense increments [T, V, D], equal to `plain_scores`.

    noise: for every layer dropout factors [V, 1, D], or None.
    """
    _, frames, width = videos.frames_VFD.shape

    def score(part: Videos, noises: Sequence[Tensor] | None) -> tuple[Tensor, Tensor]:
        return plain_scores(psi, variant, texts, part, noises, attend=attend_moved)

    return by_videos(score, videos, noise, max(1, TILE_ELEMENTS // (frames * width)), dim=0)


def attend_moved(
    layer: Layer, heads: int, queries_OXD: Tensor, context_OND: Tensor, mask_ON: Tensor, noise: Tensor | None
) -> Tensor:
    """One attention layer [O, X, D], equal to `gare_plain.attend`.

    The key's bias is left out: it adds the same to all logits of a query.
    """
    context_O1ND = layer.norm1(context_OND)[:, None]
    queries_OXHd = unflatten(layer.q_proj(layer.norm1(queries_OXD)), 2, (heads, -1))
    keys_HdD, values_HdD = (unflatten(part.weight, 0, (heads, -1)) for part in (layer.k_proj, layer.v_proj))
    moved_OXHD = torch.einsum("oxhd,hde->oxhe", queries_OXHd, keys_HdD) / math.sqrt(queries_OXHd.shape[3])
    attention_OXHN = masked_softmax(moved_OXHD @ context_O1ND.mT, mask_ON[:, None, None])
    mixed_OXHD = attention_OXHN @ context_O1ND
    mixed_OXD = torch.einsum("oxhe,hde->oxhd", mixed_OXHD, values_HdD).flatten(2) + layer.v_proj.bias
    return layer.after_attention(mixed_OXD, noise)
