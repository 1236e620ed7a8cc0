"""Cosine similarity and pooling over frames with masks: the arithmetic that every method shares.

Not here: corrections of a finished matrix (`reelseek.score.rescore`) and big matrices (`reelseek.score.blocks`).
Shapes: T texts, V videos, F frames, D width, N any count.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_SQUARE = 1e-30
"""Squared lengths of corrected vectors count as at least so much: they may cancel to nothing."""


def check_lengths(squared: Tensor, what: str, first: int = 0) -> None:
    """Refuse vectors without a direction.

    squared: squared lengths of the vectors, [N] or [V, F]. what: the word for a row in the message ("text").
    first: number of the first row, for messages. Raises ValueError naming a row whose length is zero, infinite or not a
    number.
    """
    bad = ~((squared > 0) & torch.isfinite(squared))
    if bool(bad.any()):
        row, *frame = (int(index) for index in bad.nonzero()[0])
        name = f"{what} {first + row}" + (f", frame {frame[0]}," if frame else "")
        raise ValueError(
            f"{name} has an embedding of squared length {float(squared[bad][0]):g}, so it has no direction. "
            "Remove the item or embed it again."
        )


def check_precision(weight: Tensor) -> None:
    """Raise ValueError for weights in half precision: a score by them would be off by more than neighbours differ."""
    if weight.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"the weights are {weight.dtype}, and scores need them in float32 or float64: call float() on the method. "
            "Its towers may be in half precision, and torch.autocast goes with it."
        )


def check_mask(mask_VF: Tensor, frames_VFD: Tensor) -> None:
    """Raise ValueError unless the mask is bool, fits the frames, and leaves every video at least one frame."""
    if mask_VF.dtype != torch.bool:
        raise ValueError(f"mask_VF must be bool (True = real frame), not {mask_VF.dtype}.")
    if mask_VF.shape != frames_VFD.shape[:2]:
        raise ValueError(f"mask_VF has shape {tuple(mask_VF.shape)}, frames_VFD has {tuple(frames_VFD.shape)}.")
    empty_V = ~mask_VF.any(dim=1)
    if bool(empty_V.any()):
        raise ValueError(f"video {int(empty_V.nonzero()[0, 0])} has no real frame: its row of mask_VF is all False.")


def unit(vectors_ND: Tensor, what: str = "vector") -> Tensor:
    """Rows scaled to length 1 [N, D]. Raises ValueError naming a row of zero or non-finite length."""
    lengths_N1 = torch.linalg.vector_norm(vectors_ND, dim=-1, keepdim=True)
    check_lengths(lengths_N1.detach().flatten().square(), what)
    scaled_ND: Tensor = vectors_ND / lengths_N1
    return scaled_ND


def cosine(texts_TD: Tensor, videos_VD: Tensor) -> Tensor:
    """Cosine similarity of every pair [T, V]. Raises ValueError naming a row of zero or non-finite length."""
    return unit(texts_TD, "text") @ unit(videos_VD, "video").T


def over_lengths(products: Tensor, squared_a: Tensor, squared_b: Tensor) -> Tensor:
    """Products of vectors over their lengths, from the squared lengths, each of at least `LEAST_SQUARE`.

    The two roots apart: a product of squared lengths leaves float32 where neither of them does.
    """
    roots_a, roots_b = (squared.clamp_min(LEAST_SQUARE).rsqrt() for squared in (squared_a, squared_b))
    return products * roots_a * roots_b


def masked_mean(frames_VFD: Tensor, mask_VF: Tensor) -> Tensor:
    """Mean of the real frames [V, D]; padded ones may hold anything. Raises ValueError for an all-False mask row."""
    check_mask(mask_VF, frames_VFD)
    real_VFD = frames_VFD.masked_fill(~mask_VF[:, :, None], 0)
    return real_VFD.sum(dim=1) / mask_VF.sum(dim=1, keepdim=True)


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension in which masked entries weigh exactly 0 and the others sum to 1.

    mask: bool, broadcastable to `logits`, True = takes part. Raises ValueError where no entry takes part.
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"the mask must be bool (True = takes part), not {mask.dtype}.")
    if not bool(mask.any(dim=-1).all()):
        raise ValueError("a row of the mask is all False: a softmax over nothing is undefined.")
    return logits.masked_fill(~mask, float("-inf")).softmax(dim=-1)
