"""How a space of texts and videos looks: its gap, its spread, the pull on its texts, and its increments.

Plain functions of tensors. Not here: where the tensors come from (`reelseek.recipes.diagnose`) and pictures
(`reelseek.diagnostics.plots`).
Shapes: T texts, V videos, D width, N any count, B texts of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reelseek.diagnostics.ideal import pair_gradients
from reelseek.score.increments import Increments, over_texts, squared_norms
from reelseek.score.similarity import unit


class Samples(NamedTuple):
    """Values text by text and pair by pair, on the processor. The last two are None without increments.

    conflict_T, gradient_cosine_T: see `gradient_conflict` and `mean_pairwise_cosine` of the pairs' gradients.
    direction_cosine_T: `mean_pairwise_cosine` of a text's increments. lengths_TV: lengths of the increments.
    """

    conflict_T: Tensor
    gradient_cosine_T: Tensor
    direction_cosine_T: Tensor | None = None
    lengths_TV: Tensor | None = None


def modality_gap(texts_ND: Tensor, videos_ND: Tensor) -> float:
    """Distance between the centroids of the unit vectors of two sides: 0 to 2.

    Source: Liang et al. 2022, arXiv 2203.02053.
    """
    return float((unit(texts_ND, "text").mean(dim=0) - unit(videos_ND, "video").mean(dim=0)).norm())


def alignment(texts_ND: Tensor, videos_ND: Tensor) -> float:
    """Mean squared distance between the unit vectors of true pairs (row by row): 0 at best, 2 for orthogonal ones.

    Source: Wang & Isola 2020, arXiv 2005.10242, with their exponent 2.
    """
    return float((unit(texts_ND, "text") - unit(videos_ND, "video")).square().sum(dim=1).mean())


def uniformity(vectors_ND: Tensor) -> float:
    """log of the mean of exp(-2 d^2) over all pairs of different rows, d their distance as unit vectors.

    0 when all coincide, lower the more evenly they are spread. Source: Wang & Isola 2020, arXiv 2005.10242, t = 2.
    Raises ValueError for fewer than two rows.
    """
    if len(vectors_ND) < 2:
        raise ValueError("uniformity is over pairs of vectors: at least 2 are needed.")
    return float(torch.pdist(unit(vectors_ND)).square().mul(-2).exp().mean().log())


def gradient_conflict(gradients_TVD: Tensor) -> Tensor:
    """1 - |sum_j g_ij| / sum_j |g_ij| for every text [T]: 0 when its pairs pull one way, 1 when they cancel.

    A text without any gradient has 0.
    """
    scaled_TVD = _scaled(gradients_TVD, (1, 2))
    total_T = scaled_TVD.norm(dim=2).sum(dim=1)
    left_T = scaled_TVD.sum(dim=1).norm(dim=1)
    return torch.where(total_T > 0, 1 - left_T / total_T.clamp_min(1e-30), torch.zeros_like(total_T))


def mean_pairwise_cosine(vectors_TVD: Tensor) -> Tensor:
    """Mean cosine between different vectors of each text [T]. Vectors of length 0 have no direction and are left out;
    a text with fewer than two others has 0.
    """
    scaled_TVD = _scaled(vectors_TVD, (2,))
    unit_TVD = normalize(scaled_TVD, dim=2)
    count_T = scaled_TVD.any(dim=2).sum(dim=1)
    pairs_T = count_T * (count_T - 1)
    total_T = unit_TVD.sum(dim=1).square().sum(dim=1) - count_T
    return torch.where(pairs_T > 0, total_T / pairs_T.clamp_min(1), torch.zeros_like(total_T))


def _scaled(vectors_TVD: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Divided by their largest entry, where there is one: the squares of a saturated softmax's gradients underflow."""
    largest = vectors_TVD.abs().amax(dim=dims, keepdim=True)
    return vectors_TVD / torch.where(largest > 0, largest, torch.ones_like(largest))


@torch.no_grad()
def samples(
    texts_TD: Tensor,
    pooled_TVD: Tensor,
    increments: Increments | None,
    *,
    logit_scale: float,
    target_T: Tensor,
    side: Literal["text", "video"] = "text",
) -> Samples:
    """Gradients and increments, measured where the method scores: at the corrected vectors, if it corrects any.

    pooled_TVD: what a text sees of a video, [1, V, D] where all see the same. side: which vector an increment is added
    to. target_T: number of each text's own video. In blocks of texts, so that memory stays bounded.
    """
    conflict, cosines, directions = [], [], []
    start = 0
    for dense_BVD in _blocks(texts_TD, pooled_TVD, increments):
        some = slice(start, start + len(dense_BVD))
        start = some.stop
        seen_BVD = pooled_TVD if len(pooled_TVD) == 1 else pooled_TVD[some]
        anchors_BVD = texts_TD[some, None].expand_as(dense_BVD)
        if side == "text":
            anchors_BVD = anchors_BVD + dense_BVD
        else:
            seen_BVD = seen_BVD + dense_BVD
        gradients_BVD = pair_gradients(anchors_BVD, seen_BVD, logit_scale=logit_scale, target_T=target_T[some])
        conflict.append(gradient_conflict(gradients_BVD))
        cosines.append(mean_pairwise_cosine(gradients_BVD))
        if increments is not None:
            directions.append(mean_pairwise_cosine(dense_BVD))
    found = Samples(torch.cat(conflict).cpu(), torch.cat(cosines).cpu())
    if increments is None:
        return found
    return found._replace(
        direction_cosine_T=torch.cat(directions).cpu(), lengths_TV=squared_norms(increments).sqrt().cpu()
    )


def _blocks(texts_TD: Tensor, pooled_TVD: Tensor, increments: Increments | None) -> Iterator[Tensor]:
    """Dense increments of block after block of texts; zeros where there are none."""
    if increments is not None:
        yield from over_texts(increments, lambda dense_BVD: dense_BVD)
        return
    for part_BD in torch.split(texts_TD, 32):
        yield part_BD.new_zeros(len(part_BD), pooled_TVD.shape[1], texts_TD.shape[1])


def summary(found: Samples) -> dict[str, float]:
    """Means over the texts, and mean, deviation and quantiles of the lengths."""
    values = {
        "conflict": float(found.conflict_T.mean()),
        "gradient_cosine": float(found.gradient_cosine_T.mean()),
    }
    if found.direction_cosine_T is not None and found.lengths_TV is not None:
        values["direction_cosine"] = float(found.direction_cosine_T.mean())
        values |= length_values(found.lengths_TV)
    return values


def length_values(lengths_TV: Tensor) -> dict[str, float]:
    """Mean, deviation (unbiased) and 5 %, 50 % and 95 % quantiles of the increments' lengths."""
    flat = lengths_TV.flatten()
    low, middle, high = torch.quantile(flat[:: max(1, len(flat) // 1_000_000)], flat.new_tensor([0.05, 0.5, 0.95]))
    return {
        "length_mean": float(flat.mean()),
        "length_std": float(flat.std()) if len(flat) > 1 else 0.0,
        "length_05": float(low),
        "length_50": float(middle),
        "length_95": float(high),
    }


@torch.no_grad()
def geometry(texts_ND: Tensor, videos_ND: Tensor) -> dict[str, float]:
    """Gap, alignment and uniformity of true pairs, row by row."""
    return {
        "modality_gap": modality_gap(texts_ND, videos_ND),
        "alignment": alignment(texts_ND, videos_ND),
        "uniformity_text": uniformity(texts_ND),
        "uniformity_video": uniformity(videos_ND),
    }
