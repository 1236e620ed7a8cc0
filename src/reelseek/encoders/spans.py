"""Which tokens of a text lie within given characters: what the text towers share about masked words.

Not here: which characters those are (`reelseek.language`). Shapes: T texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Spans = Sequence[tuple[int, int]]
"""Characters (start, end) of some pieces of one text."""


def kept_tokens(spans_T: Sequence[Spans], keep_T: Sequence[Spans], length: int) -> Tensor:
    """True [T, L] for tokens that share a character with a kept span, and for special tokens and padding.

    spans_T: the tokens of every text; one without characters, (0, 0), is special. keep_T: what is kept of every text.
    length: L, to which rows are filled up with True. Raises ValueError where the two lists differ in length.
    """
    if len(spans_T) != len(keep_T):
        raise ValueError(f"spans to keep are given for {len(keep_T)} captions, not for {len(spans_T)}.")
    kept_TL = torch.ones(len(spans_T), length, dtype=torch.bool)
    for row, (spans, keep) in enumerate(zip(spans_T, keep_T, strict=True)):
        kept_TL[row, : len(spans)] = torch.tensor([start == end or touches((start, end), keep) for start, end in spans])
    return kept_TL


def touches(token: tuple[int, int], spans: Spans) -> bool:
    """Whether a token shares a character with one of the spans."""
    return any(token[0] < end and start < token[1] for start, end in spans)
