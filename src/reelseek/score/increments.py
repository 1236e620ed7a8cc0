"""Per-pair increments as coefficients over bases that belong to one side, and the statistics that losses need.

The increment of text i and video j is sum_k coefficients[j, k, i] * basis[j, k] + offset where the videos own the
bases, and sum_k coefficients[i, k, j] * basis[i, k] + offset where the texts do (words as context). A dense tensor
[T, V, D] stands for the same thing in the plain path, and every function here takes any form. Not here: how a method
makes its increments (`reelseek.methods`) and the losses made of them (`reelseek.losses.increments`).

Shapes: T texts, V videos, K vectors of a basis, D width, B texts of a block; O owners of bases, X the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Elements of the dense increments of one block of texts: small enough for the cache, and without effect on the result.
BLOCK_ELEMENTS = 1 << 20


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


class TextIncrements(NamedTuple):
    """Increments of all pairs without a vector per pair; the texts own the bases.

    coefficients_TKV: what a pair adds. basis_TKD: what a text owns. offset_D: shared by all pairs.
    """

    coefficients_TKV: Tensor
    basis_TKD: Tensor
    offset_D: Tensor

    def dense(self) -> Tensor:
        """The increments themselves [T, V, D]: for tests and for looking at a few pairs."""
        return self.coefficients_TKV.mT @ self.basis_TKD + self.offset_D


Increments = FactorisedIncrements | TextIncrements | Tensor


def count_pairs(increments: Increments) -> tuple[int, int]:
    """Number of texts and of videos."""
    if isinstance(increments, Tensor):
        return increments.shape[0], increments.shape[1]
    owners, _, others = increments[0].shape
    return (owners, others) if isinstance(increments, TextIncrements) else (others, owners)


def dense_increments(increments: Increments) -> Tensor:
    """The increments themselves [T, V, D] of any form."""
    return increments if isinstance(increments, Tensor) else increments.dense()


def squared_norms(increments: Increments) -> Tensor:
    """Squared length of each increment [T, V], from the Gram matrix of each owner's basis."""
    if isinstance(increments, Tensor):
        return increments.square().sum(dim=-1)
    coefficients_OKX, basis_OKD, offset_D = increments
    gram_OKK = basis_OKD @ basis_OKD.mT
    twice_offset_OK1 = 2 * (basis_OKD @ offset_D)[:, :, None]
    quadratic_OX = ((gram_OKK @ coefficients_OKX + twice_offset_OK1) * coefficients_OKX).sum(dim=1)
    # A sum of squares that rounding can push below zero when the terms cancel.
    lengths_OX = (quadratic_OX + offset_D.square().sum()).clamp_min(0)
    return lengths_OX if isinstance(increments, TextIncrements) else lengths_OX.T


def moments_over_texts(increments: Increments) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance over the texts, per video and dimension: two tensors [V, D].

    Where the videos own the bases: from the mean and covariance of the coefficients, a linear and a quadratic form of
    the basis. Where the texts do: in two passes over blocks of texts, recomputed in the backward pass. Needs two texts.
    """
    if isinstance(increments, Tensor):
        return increments.mean(dim=0), increments.var(dim=0)
    if isinstance(increments, TextIncrements):
        return _text_moments(increments)
    coefficients_VKT, basis_VKD, offset_D = increments
    mean_VK1 = coefficients_VKT.mean(dim=2, keepdim=True)
    centred_VKT = coefficients_VKT - mean_VK1
    covariance_VKK = centred_VKT @ centred_VKT.mT / (coefficients_VKT.shape[2] - 1)
    variance_VD = ((covariance_VKK @ basis_VKD) * basis_VKD).sum(dim=1)
    return (mean_VK1 * basis_VKD).sum(dim=1) + offset_D, variance_VD


def _text_moments(increments: TextIncrements) -> tuple[Tensor, Tensor]:
    texts, _, videos = increments.coefficients_TKV.shape
    flat_VN = increments.coefficients_TKV.permute(2, 0, 1).reshape(videos, -1)
    mean_VD = flat_VN @ increments.basis_TKD.flatten(0, 1) / texts + increments.offset_D

    def squares(dense_BVD: Tensor, mean_VD: Tensor) -> Tensor:
        return (dense_BVD - mean_VD).square().sum(dim=0)

    return mean_VD, torch.stack(list(over_texts(increments, squares, mean_VD))).sum(dim=0) / (texts - 1)


def over_texts(increments: Increments, compute: Callable[..., Tensor], *extra: Tensor) -> Iterator[Tensor]:
    """`compute(dense increments [B, V, D], *extra)` for block after block of texts.

    Only one block's increments are alive at a time, in the backward pass too, where they are made again.
    """
    texts, videos = count_pairs(increments)
    width = increments.shape[2] if isinstance(increments, Tensor) else increments[2].shape[0]
    step = max(1, BLOCK_ELEMENTS // (videos * width))
    for start in range(0, texts, step):
        run = partial(_block, compute, increments, slice(start, start + step))
        recomputed = torch.is_grad_enabled() and not isinstance(increments, Tensor)
        yield checkpoint(run, *extra, use_reentrant=False, preserve_rng_state=False) if recomputed else run(*extra)


def _block(compute: Callable[..., Tensor], increments: Increments, some: slice, *extra: Tensor) -> Tensor:
    if isinstance(increments, FactorisedIncrements):
        part_VKB = increments.coefficients_VKT[:, :, some]
        return compute(increments._replace(coefficients_VKT=part_VKB).dense(), *extra)
    if isinstance(increments, TextIncrements):
        part = TextIncrements(increments.coefficients_TKV[some], increments.basis_TKD[some], increments.offset_D)
        return compute(part.dense(), *extra)
    return compute(increments[some], *extra)
