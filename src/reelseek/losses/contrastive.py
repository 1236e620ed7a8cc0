"""Contrastive losses: plain functions of a square score matrix whose positives lie on the diagonal, or of judged pairs.

Not here: which losses a recipe adds up, and the inference-time rescorer (`reelseek.score.rescore`).
Shapes: T texts, V videos; T = V but for judged pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def info_nce(matrix_TV: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE, a scalar: mean of text-to-video and video-to-text cross-entropy.

    logit_scale: the factor on the cosines (100 for CLIP), not its logarithm. An entry of -inf takes a pair out of the
    negatives. Source: Radford et al. 2021, arXiv 2103.00020, figure 3. Raises ValueError if the matrix is not square.
    """
    left_out_TV = _left_out(matrix_TV)
    logits_TV = logit_scale * matrix_TV.masked_fill(left_out_TV, 0)
    return _both_directions(logits_TV, logits_TV, left_out_TV)


def dual_softmax_loss(matrix_TV: Tensor, logit_scale: Tensor | float, *, temperature: float = 1000.0) -> Tensor:
    """Dual softmax loss, a scalar: InfoNCE on logits that are weighed by the softmax of the other direction.

    With S = logit_scale * matrix and B rows, one direction is the cross-entropy of
    S * softmax(S / temperature, dim 0) * B; the result is the mean over S and its transpose. Source: Cheng et al. 2021,
    arXiv 2109.04290, and the released code, whose temperature of 1000 is nearly plain InfoNCE; lower ones weigh harder.
    An entry of -inf takes a pair out of the negatives. Raises ValueError if the matrix is not square or the temperature
    not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}.")
    left_out_TV = _left_out(matrix_TV)
    logits_TV = logit_scale * matrix_TV.masked_fill(left_out_TV, 0)
    prior_TV = (logits_TV / temperature).masked_fill(left_out_TV, float("-inf"))
    count = len(matrix_TV)
    by_text_TV = logits_TV * prior_TV.softmax(dim=0) * count
    by_video_TV = logits_TV * prior_TV.softmax(dim=1) * count
    return _both_directions(by_text_TV, by_video_TV, left_out_TV)


def judged_info_nce(matrix_TV: Tensor, right_TV: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE, a scalar, where a text may have several right videos or none, and a video several texts.

    right_TV: bool, the pairs known to be right. A right pair competes with the text's (the video's) pairs that are not,
    never with another right one; a text's right pairs together weigh as much as another text's, likewise a video's.
    With one right pair a row and a column it is `info_nce`. Raises ValueError without a right pair.
    """
    if matrix_TV.shape != right_TV.shape or not bool(right_TV.any()):
        raise ValueError(f"right_TV of shape {tuple(right_TV.shape)} marks no pair of {tuple(matrix_TV.shape)}.")
    logits_TV = logit_scale * matrix_TV
    return (_against_the_others(logits_TV, right_TV) + _against_the_others(logits_TV.T, right_TV.T)) / 2


def _against_the_others(logits_TV: Tensor, right_TV: Tensor) -> Tensor:
    """Mean over rows with a right pair of the mean over those pairs of the cross-entropy against the row's others."""
    # Finite, because a row without others would have a NaN for its gradient.
    others_T1 = logits_TV.masked_fill(right_TV, -1e9).logsumexp(dim=1, keepdim=True)
    losses_TV = (torch.logaddexp(logits_TV, others_T1) - logits_TV).masked_fill(~right_TV, 0)
    count_T = right_TV.sum(dim=1)
    return (losses_TV.sum(dim=1) / count_T.clamp_min(1))[count_T > 0].mean()


def _both_directions(by_text_TV: Tensor, by_video_TV: Tensor, left_out_TV: Tensor) -> Tensor:
    """Mean of the cross-entropy over videos of the first matrix and over texts of the second."""
    target_T = torch.arange(len(by_text_TV), device=by_text_TV.device)
    text_to_video = cross_entropy(by_text_TV.masked_fill(left_out_TV, float("-inf")), target_T)
    video_to_text = cross_entropy(by_video_TV.masked_fill(left_out_TV, float("-inf")).T, target_T)
    return (text_to_video + video_to_text) / 2


def _left_out(matrix_TV: Tensor) -> Tensor:
    """Where the matrix says -inf. Those entries must not meet a product: 0 times -inf is NaN, also in a gradient."""
    if matrix_TV.ndim != 2 or matrix_TV.shape[0] != matrix_TV.shape[1] or len(matrix_TV) == 0:
        raise ValueError(f"a contrastive loss needs a square matrix of pairs, not shape {tuple(matrix_TV.shape)}.")
    return matrix_TV.detach() == float("-inf")
