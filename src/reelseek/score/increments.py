"""Per-pair increments as coefficients over bases that belong to the videos, and the statistics that losses need.

The increment of text i and video j is sum_k coefficients[j, k, i] * basis[j, k] + offset. A dense tensor [T, V, D]
stands for the same thing in the plain path, and every function here takes either form. Not here: how a method makes its
increments (`reelseek.methods`) and the losses made of them (`reelseek.losses.increments`).

Shapes: T texts, V videos, K vectors of a video's basis, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class FactorisedIncrements(NamedTuple):
    """Increments of all pairs without a vector per pair; the videos own the bases.

    coefficients_VKT: what a pair adds. basis_VKD: what a video owns. offset_D: shared by all pairs.
    """

    coefficients_VKT: Tensor
    basis_VKD: Tensor
    offset_D: Tensor

    def dense(self) -> Tensor:
        """The increments themselves [T, V, D]: for tests and for looking at a few pairs."""
        return torch.einsum("vkt,vkd->tvd", self.coefficients_VKT, self.basis_VKD) + self.offset_D


Increments = FactorisedIncrements | Tensor


def count_pairs(increments: Increments) -> tuple[int, int]:
    """Number of texts and of videos."""
    if isinstance(increments, Tensor):
        return increments.shape[0], increments.shape[1]
    return increments.coefficients_VKT.shape[2], increments.coefficients_VKT.shape[0]


def squared_norms(increments: Increments) -> Tensor:
    """Squared length of each increment [T, V], from the Gram matrix of each video's basis."""
    if isinstance(increments, Tensor):
        return increments.square().sum(dim=-1)
    coefficients_VKT, basis_VKD, offset_D = increments
    gram_VKK = basis_VKD @ basis_VKD.mT
    twice_offset_VK1 = 2 * (basis_VKD @ offset_D)[:, :, None]
    quadratic_VT = ((gram_VKK @ coefficients_VKT + twice_offset_VK1) * coefficients_VKT).sum(dim=1)
    # A sum of squares that rounding can push below zero when the terms cancel.
    return (quadratic_VT + offset_D.square().sum()).clamp_min(0).T


def moments_over_texts(increments: Increments) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance over the texts, per video and dimension: two tensors [V, D].

    From the mean and covariance of the coefficients: a linear and a quadratic form of the basis. Needs two texts.
    """
    if isinstance(increments, Tensor):
        return increments.mean(dim=0), increments.var(dim=0)
    coefficients_VKT, basis_VKD, offset_D = increments
    mean_VK1 = coefficients_VKT.mean(dim=2, keepdim=True)
    centred_VKT = coefficients_VKT - mean_VK1
    covariance_VKK = centred_VKT @ centred_VKT.mT / (coefficients_VKT.shape[2] - 1)
    variance_VD = ((covariance_VKK @ basis_VKD) * basis_VKD).sum(dim=1)
    return (mean_VK1 * basis_VKD).sum(dim=1) + offset_D, variance_VD
