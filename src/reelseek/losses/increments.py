"""GARE's three regularisers of the increments and the alternative of its ablation, for every form of increments.

Xiao et al. 2025, arXiv 2505.12499: relaxed variational bottleneck (KL), directional diversity, norm variance (trust
region). Not here: their weights in a total loss (`reelseek.recipes`).
Shapes: T texts, V videos, K vectors of a video's basis, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reelseek.score.increments import (
    FactorisedIncrements,
    Increments,
    count_pairs,
    moments_over_texts,
    over_texts,
    squared_norms,
)

# Elements of a tensor that the direction term works on: small enough for the cache, and without effect on the result.
BLOCK_ELEMENTS = 1 << 18

# Texts whose increments are formed together: with one, the products with a video's basis are too thin to be fast.
LEAST_TEXTS = 4


def gare_regularisers(
    increments: Increments,
    *,
    alpha: float = 2.0,
    norm_bound: float = 0.5,
    kl_reduction: Literal["sum", "mean"] = "sum",
    prior_sigma: float = 1.0,
    direction: Literal["diversity", "orthogonality"] = "diversity",
) -> Mapping[str, Tensor]:
    """Scalars "kl", "direction" and "norm", unweighted, to be minimised; see the functions of this file.

    direction: which of `direction_diversity` (alpha is its own) and `orthogonality` goes by that name.
    Raises ValueError for fewer than two texts or two videos: a deviation over one is undefined. Drop such a last batch.
    """
    if direction not in ("diversity", "orthogonality"):
        raise ValueError(f'the direction term must be "diversity" or "orthogonality", not {direction!r}.')
    texts, videos = count_pairs(increments)
    if texts < 2 or videos < 2:
        raise ValueError(
            f"the regularisers need at least 2 texts and 2 videos, not {texts} and {videos}: "
            "a deviation over one item is undefined. Drop the last, incomplete batch."
        )
    diverse = direction == "diversity"
    return {
        "kl": bottleneck(increments, reduction=kl_reduction, prior_sigma=prior_sigma),
        "direction": direction_diversity(increments, alpha=alpha) if diverse else orthogonality(increments),
        "norm": norm_variance(increments, bound=norm_bound),
    }


def bottleneck(increments: Increments, *, reduction: Literal["sum", "mean"], prior_sigma: float) -> Tensor:
    """KL from the Gaussian that a video's increments form over the texts to N(0, prior_sigma^2), a scalar.

    Per video and dimension, with the deviation unbiased and 1e-6 added to it; summed ("sum", the released code) or
    averaged ("mean", the paper) over the dimensions; averaged over the videos. A weight of the sum is D
    times that weight of the mean: the released 1e-4 is 0.0512 at D = 512, the paper's 0.07 on the mean is 1.37e-4.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f'the KL reduction must be "sum" or "mean", not {reduction!r}.')
    if not prior_sigma > 0:
        raise ValueError(f"prior_sigma must be positive, not {prior_sigma}.")
    mean_VD, variance_VD = moments_over_texts(increments)
    # Texts that agree have variance 0 (or a rounding below it), where the root has no gradient.
    deviation_VD = variance_VD.clamp_min(1e-20).sqrt() + 1e-6
    squares_VD = (mean_VD.square() + deviation_VD.square()) / (2 * prior_sigma**2)
    divergence_VD = squares_VD - 0.5 - (deviation_VD.log() - math.log(prior_sigma))
    return divergence_VD.sum(dim=1).mean() if reduction == "sum" else divergence_VD.mean()


def norm_variance(increments: Increments, *, bound: float) -> Tensor:
    """Minus the variance of the increments' lengths over the videos (unbiased), averaged over texts, at least -bound.

    A tensor also when the bound is reached: then its gradient is zero.
    """
    lengths_TV = squared_norms(increments).clamp_min(1e-20).sqrt()
    return -lengths_TV.var(dim=1).mean().clamp_max(bound)


def direction_diversity(increments: Increments, *, alpha: float) -> Tensor:
    """How alike a text's increments point, a scalar.

    Mean over texts of log(mean over videos j, k of exp(-alpha (1 - cos_jk)) + 1e-8), with j = k among the pairs: 0 when
    all directions coincide, about -alpha when they are orthogonal. The texts are worked off in blocks, and the gradient
    is made along with the value, so no tensor of all pairs and dimensions is alive.
    """
    if isinstance(increments, FactorisedIncrements):
        total: Tensor = _FactorisedDirection.apply(*increments, alpha)  # type: ignore[no-untyped-call]
        return total
    blocks = over_texts(increments, lambda dense_BVD: _direction_of_each(dense_BVD, alpha))
    return torch.cat(list(blocks)).mean()


def _direction_of_each(increments_TVD: Tensor, alpha: float) -> Tensor:
    unit_TVD = normalize(increments_TVD, dim=-1)
    likeness_TVV = torch.exp(alpha * (unit_TVD @ unit_TVD.mT - 1))
    return (likeness_TVV.mean(dim=(1, 2)) + 1e-8).log()


def orthogonality(increments: Increments) -> Tensor:
    """Mean over texts of the mean squared cosine between a text's increments to different videos, a scalar.

    0 when they are orthogonal, 1 when all lie on one line. The paper's ablation names an orthogonality penalty in the
    place of the direction term without a formula; this one is a reconstruction. Worked off in blocks of texts.
    """
    return torch.cat(list(over_texts(increments, _squared_cosines))).mean()


def _squared_cosines(increments_TVD: Tensor) -> Tensor:
    unit_TVD = normalize(increments_TVD, dim=-1)
    videos = unit_TVD.shape[1]
    squared_TVV = (unit_TVD @ unit_TVD.mT).square()
    itself_T = squared_TVV.diagonal(dim1=1, dim2=2).sum(dim=1)
    return (squared_TVV.sum(dim=(1, 2)) - itself_T) / (videos * (videos - 1))


class _FactorisedDirection(torch.autograd.Function):
    """The direction term in blocks of texts. Gradients are computed with the value, while a block is at hand."""

    @staticmethod
    def forward(ctx: Any, coefficients_VKT: Tensor, basis_VKD: Tensor, offset_D: Tensor, alpha: float) -> Tensor:
        videos, width, texts = basis_VKD.shape[0], basis_VKD.shape[2], coefficients_VKT.shape[2]
        wanted = any(ctx.needs_input_grad[:3])
        gradients = [torch.zeros_like(part) for part in (coefficients_VKT, basis_VKD, offset_D)] if wanted else []
        total = coefficients_VKT.new_zeros(())
        few = max(1, BLOCK_ELEMENTS // (videos * max(videos, width)))
        block = max(few, LEAST_TEXTS)
        for start in range(0, texts, block):
            chosen_VKB = coefficients_VKT[:, :, start : start + block]
            unit_VBD = chosen_VKB.mT @ basis_VKD + offset_D
            length_VB1 = torch.linalg.vector_norm(unit_VBD, dim=2, keepdim=True).clamp_min(1e-12)
            unit_BVD = unit_VBD.div_(length_VB1).transpose(0, 1).contiguous()
            pull_BVD = torch.empty_like(unit_BVD)
            for low in range(0, len(unit_BVD), few):
                part_BVD = unit_BVD[low : low + few]
                likeness_BVV = torch.bmm(part_BVD, part_BVD.mT).sub_(1).mul_(alpha).exp_()
                mean_B11 = likeness_BVV.mean(dim=(1, 2), keepdim=True).add_(1e-8)
                total += mean_B11.log().sum()
                if wanted:
                    # d loss / d cos, twice since cos_jk and cos_kj are one number.
                    slope_BVV = likeness_BVV.mul_(mean_B11.reciprocal_().mul_(2 * alpha / (texts * videos * videos)))
                    torch.bmm(slope_BVV, part_BVD, out=pull_BVD[low : low + few])
            if wanted:
                pull_VBD, unit_VBD = pull_BVD.transpose(0, 1), unit_BVD.transpose(0, 1)
                along_VB1 = (pull_VBD * unit_VBD).sum(dim=2, keepdim=True)
                pull_VBD.addcmul_(along_VB1, unit_VBD, value=-1).div_(length_VB1)
                gradients[0][:, :, start : start + block] = basis_VKD @ pull_VBD.mT
                gradients[1].baddbmm_(chosen_VKB, pull_VBD)
                gradients[2].add_(pull_VBD.sum(dim=(0, 1)))
        ctx.save_for_backward(*gradients)
        return total / texts

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        coefficients_VKT, basis_VKD, offset_D = ctx.saved_tensors
        return slope * coefficients_VKT, slope * basis_VKD, slope * offset_D, None
