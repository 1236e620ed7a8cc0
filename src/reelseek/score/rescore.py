"""Corrections of a finished similarity matrix. Each says whether it reads other test queries.

A rescorer never writes into its input. Not here: the training loss of the same name (`reelseek.losses.contrastive`).
Shapes: T texts, V videos.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from reelseek.records import Rescorer


def dual_softmax(matrix_TV: Tensor, *, scale: float) -> Tensor:
    """Weigh each similarity by how much its text stands out among all texts for that video [T, V].

    S * softmax(scale * S, over texts): Cheng et al. 2021, arXiv 2109.04290, at inference with temperature 1 on logits
    of factor `scale` (100 for CLIP). For video-to-text ranking pass the transposed matrix and transpose the result.
    Reads all test queries at once, so its numbers are transductive. A negative similarity times a small weight moves
    up towards 0: the formula is kept as published. Raises ValueError if the matrix holds NaN or `scale` is not
    positive.
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}.")
    if bool(matrix_TV.isnan().any()):
        raise ValueError("the score matrix holds NaN.")
    return matrix_TV * (scale * matrix_TV).softmax(dim=0)


def dual_softmax_rescorer(scale: float = 100.0) -> Rescorer:
    """`dual_softmax` as a value to pass to an evaluation; it is flagged as reading the other test queries."""
    return Rescorer(f"dual softmax (scale {scale:g})", partial(dual_softmax, scale=scale), sees_test_queries=True)
