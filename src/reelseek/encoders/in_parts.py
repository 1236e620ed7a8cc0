"""Many texts through a tower that trains, a part at a time and without gradients.

Shapes: T texts, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from reelseek.encoders.spans import Spans
from reelseek.records import Texts


class _Reader(Protocol):
    """Towers that read texts in steps, as `ClipBackbone` and `SmallBackbone` do."""

    def tokenize(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]: ...

    def kept_tokens(self, captions: Sequence[str], keep: Sequence[Spans], length: int) -> Tensor: ...

    def forward_texts(self, ids_TL: Tensor, mask_TL: Tensor, kept_TL: Tensor | None = None) -> Texts: ...


def encode_in_parts(towers: _Reader, captions: Sequence[str], keep: Sequence[Spans] | None, at_once: int) -> Texts:
    """Sentence vectors [T, D], token vectors [T, L, D] and mask. keep: see `records.Backbone`.

    at_once: texts of a part. Raises as `tokenize` and `kept_tokens`.
    """
    ids_TL, mask_TL = towers.tokenize(captions)
    kept_TL = None if keep is None else towers.kept_tokens(captions, keep, ids_TL.shape[1])
    parts = []
    with torch.inference_mode():
        for start in range(0, len(ids_TL), at_once):
            rows = slice(start, start + at_once)
            parts.append(towers.forward_texts(ids_TL[rows], mask_TL[rows], None if kept_TL is None else kept_TL[rows]))
    # Joined outside inference mode: ordinary tensors, which training may use.
    pooled_TD = torch.cat([part.pooled_TD for part in parts])
    tokens_TLD = torch.cat([part.tokens_TLD for part in parts if part.tokens_TLD is not None])
    mask_TL = torch.cat([part.mask_TL for part in parts if part.mask_TL is not None])
    return Texts(pooled_TD, tokens_TLD, mask_TL)
