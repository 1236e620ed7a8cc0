"""Corrections of a finished similarity matrix that take back what hubs, videos near to every query, gain.

Every function leaves its input as it is and returns a new matrix [T, V] for ranking along its rows: texts are the
queries, videos the gallery. For video to text pass transposed matrices and transpose the result; a corrected matrix is
right along one direction only. `bank_NV` holds scores of other queries, such as training captions, with the same
gallery; None takes the rows of `matrix_TV` themselves: the numbers are then transductive, a query is ranked with the
help of the other test queries. All read the whole gallery, as a search engine may. Sums of exponentials are taken in
logarithms and float64, a block of columns at a time. NaN, scores too large for their sums to
be numbers, shapes that do not fit and parameters that are not positive raise ValueError.

Not here: choosing one by name (`reelseek.score.priors`), the training loss of the same name as `dual_softmax`
(`reelseek.losses.contrastive`). Shapes: T texts, V videos, N queries of a bank, M items of a gallery bank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 2_000_000
"""Scores of a block: bounds the memory beside the matrices themselves."""
LARGEST = 1e30
"""Scores in use are cosines or logits; sums of larger ones than this could overflow."""


def dual_softmax(matrix_TV: Tensor, *, scale: float, bank_NV: Tensor | None = None) -> Tensor:
    """Weigh each similarity by how much its text stands out among all texts for that video [T, V].

    S * softmax(scale * S, over texts): Cheng et al. 2021, arXiv 2109.04290, at inference with temperature 1 on logits
    of factor `scale` (100 for CLIP). With a bank the softmax is over the bank's queries and the one that is ranked, so
    that the weight stays a probability. A negative similarity times a small weight moves up towards 0: the formula is
    kept as published.
    """
    _check(matrix_TV, bank_NV, scale=scale)
    top_V, above_V = _soft_parts(matrix_TV if bank_NV is None else bank_NV, scale)
    count = len(matrix_TV if bank_NV is None else bank_NV)
    # The two parts apart: at large scales their sum would lose the second one.
    out_TV = (matrix_TV - top_V.to(matrix_TV.dtype)).mul_(scale)
    out_TV.sub_((above_V + math.log(count)).to(matrix_TV.dtype))
    return (out_TV.exp_() if bank_NV is None else out_TV.sigmoid_()).mul_(matrix_TV)


def inverted_softmax(matrix_TV: Tensor, *, scale: float, bank_NV: Tensor | None = None) -> Tensor:
    """exp(scale * S_ij) / mean over queries b of exp(scale * S_bj), as its logarithm over `scale` [T, V].

    Smith et al. 2017, arXiv 1702.03859. The logarithm ranks as the quotient does, cannot overflow, and stays on the
    scale of the similarities; the mean instead of the sum shifts all of them alike.
    """
    _check(matrix_TV, bank_NV, scale=scale)
    return matrix_TV - _soft_mean(matrix_TV if bank_NV is None else bank_NV, scale).to(matrix_TV.dtype)


def dynamic_inverted_softmax(matrix_TV: Tensor, *, scale: float, k: int, bank_NV: Tensor | None = None) -> Tensor:
    """QB-Norm: `inverted_softmax` for the texts whose best video is among the best `k` of any query of the bank [T, V].

    Bogolin et al. 2022, arXiv 2112.12777. The rows of all other texts stay as they were, so that rows differ in what
    they hold: rank each for itself, never along a column.
    """
    _check(matrix_TV, bank_NV, scale=scale, k=k)
    queries_NV = matrix_TV if bank_NV is None else bank_NV
    active_T = _retrieved(queries_NV, k)[matrix_TV.argmax(dim=1)]
    bias_V = _soft_mean(queries_NV, scale).to(matrix_TV.dtype)
    return matrix_TV.addr(active_T.to(matrix_TV.dtype), bias_V, alpha=-1)


def dual_inverted_softmax(
    matrix_TV: Tensor, *, scale: float, gallery_scale: float, bank_NV: Tensor, gallery_MV: Tensor
) -> Tensor:
    """Product of an inverted softmax over a query bank and one over a gallery bank, as its logarithm [T, V].

    gallery_MV: similarities of other gallery items, such as training videos, with the gallery. The logarithm is
    divided by scale + gallery_scale, which leaves the result on the scale of the similarities.
    Wang et al. 2023, arXiv 2310.11612 (DBNorm's DualIS).
    """
    _check(matrix_TV, bank_NV, gallery_MV, scale=scale, gallery_scale=gallery_scale)
    bias_V = scale * _soft_mean(bank_NV, scale) + gallery_scale * _soft_mean(gallery_MV, gallery_scale)
    return matrix_TV - (bias_V / (scale + gallery_scale)).to(matrix_TV.dtype)


def dual_dynamic_inverted_softmax(
    matrix_TV: Tensor, *, scale: float, gallery_scale: float, k: int, bank_NV: Tensor, gallery_MV: Tensor
) -> Tensor:
    """As `dual_inverted_softmax`, dividing by a bank only for texts whose best video is among its best `k` [T, V].

    The exponentials of the other rows stay undivided, so rows differ in what they hold: only rows can be ranked. The
    released code takes raw similarities for those, whose product turns the order of negative ones around.
    """
    _check(matrix_TV, bank_NV, gallery_MV, scale=scale, gallery_scale=gallery_scale, k=k)
    best_T, out_TV = matrix_TV.argmax(dim=1), matrix_TV
    for side_NV, factor in ((bank_NV, scale), (gallery_MV, gallery_scale)):
        active_T = _retrieved(side_NV, k)[best_T].to(matrix_TV.dtype)
        bias_V = _soft_mean(side_NV, factor) * (factor / (scale + gallery_scale))
        out_TV = out_TV.addr(active_T, bias_V.to(matrix_TV.dtype), alpha=-1)
    return out_TV


def csls(matrix_TV: Tensor, *, k: int, bank_NV: Tensor | None = None) -> Tensor:
    """2 S_ij - mean of text i's best k videos - mean of the best k queries of video j [T, V].

    Conneau et al. 2018, arXiv 1710.04087. Of fewer than k videos or queries all count.
    """
    _check(matrix_TV, bank_NV, k=k)
    near_V = _top_mean(matrix_TV if bank_NV is None else bank_NV, k)
    near_T = _top_mean(matrix_TV.T, k)
    return matrix_TV.mul(2).sub_(near_V).sub_(near_T[:, None])


def nearest_neighbour_normalisation(
    matrix_TV: Tensor, *, alpha: float, k: int, bank_NV: Tensor | None = None
) -> Tensor:
    """S_ij - alpha * mean of the best k queries of video j [T, V]; of fewer than k queries all count.

    Chowdhury et al. 2024, arXiv 2410.24114. One number a video, which can be computed before any query is known.
    """
    _check(matrix_TV, bank_NV, alpha=alpha, k=k)
    return matrix_TV - alpha * _top_mean(matrix_TV if bank_NV is None else bank_NV, k)


def sinkhorn(matrix_TV: Tensor, *, scale: float, iterations: int) -> Tensor:
    """Scale exp(scale * S) until every video is as likely as every other; the logarithm over `scale` [T, V].

    `iterations` times columns, then rows, each to mean 1 (Sinkhorn and Knopp 1967): balanced as if every video had
    equally many texts. Reads all test queries.
    """
    _check(matrix_TV, scale=scale, iterations=iterations)
    rows_T, columns_V = _balance(matrix_TV, scale, iterations)
    return (matrix_TV + columns_V.to(matrix_TV.dtype)).add_(rows_T.to(matrix_TV.dtype)[:, None])


def sinkhorn_bias(matrix_TV: Tensor, *, scale: float, iterations: int, bank_NV: Tensor) -> Tensor:
    """S_ij plus the logarithm over `scale` of the factor that balancing the bank gives video j [T, V].

    UCoFiA's: Wang et al. 2023, arXiv 2309.10091. With one iteration it is `inverted_softmax`.
    """
    _check(matrix_TV, bank_NV, scale=scale, iterations=iterations)
    return matrix_TV + _balance(bank_NV, scale, iterations)[1].to(matrix_TV.dtype)


def _check(matrix_TV: Tensor, *banks: Tensor | None, **positive: float) -> None:
    for name, value in positive.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive, not {value}.")
    for matrix, what in ((matrix_TV, "score matrix"), *((bank, "bank") for bank in banks if bank is not None)):
        if matrix.ndim != 2 or 0 in matrix.shape or not matrix.is_floating_point():
            raise ValueError(f"the {what} must be floats [queries, gallery], not {tuple(matrix.shape)} {matrix.dtype}.")
        if matrix.shape[1] != matrix_TV.shape[1]:
            raise ValueError(f"the {what} has {matrix.shape[1]} columns, the score matrix {matrix_TV.shape[1]}.")
        # The extremes carry any NaN, and need no second matrix.
        least, most = matrix.aminmax()
        if not (float(least) >= -LARGEST and float(most) <= LARGEST):
            raise ValueError(f"the {what} holds NaN, or values above {LARGEST:g} in size.")


def _balance(matrix_NV: Tensor, scale: float, iterations: int) -> tuple[Tensor, Tensor]:
    """Logarithms over `scale` of the factors of rows [N] and columns [V] that balance exp(scale * matrix)."""
    rows_N = torch.zeros(len(matrix_NV), dtype=torch.float64, device=matrix_NV.device)
    for _ in range(iterations):
        columns_V = -_soft_mean(matrix_NV, scale, rows_N)
        rows_N = -_soft_mean(matrix_NV.T, scale, columns_V)
    return rows_N, columns_V


def _blocks(matrix_NV: Tensor) -> list[slice]:
    width = max(1, BLOCK // len(matrix_NV))
    return [slice(start, start + width) for start in range(0, matrix_NV.shape[1], width)]


def _soft_mean(matrix_NV: Tensor, scale: float, plus_N: Tensor | None = None) -> Tensor:
    """log(mean over N of exp(scale * (matrix + plus))) / scale of every column, float64 [V]."""
    top_V, above_V = _soft_parts(matrix_NV, scale, plus_N)
    return top_V + above_V / scale


def _soft_parts(matrix_NV: Tensor, scale: float, plus_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The largest entry of every column, and log(mean of exp(scale * (entry - largest))), both float64 [V]."""
    tops, logs = [], []
    for columns in _blocks(matrix_NV):
        part_NV = matrix_NV[:, columns].to(torch.float64, copy=True)  # written to below
        if plus_N is not None:
            part_NV += plus_N[:, None]
        tops.append(part_NV.amax(dim=0))
        # expm1 and log1p keep small scales exact: the soft mean then nears the plain one.
        logs.append(part_NV.sub_(tops[-1]).mul_(scale).expm1_().mean(dim=0).log1p_())
    return torch.cat(tops), torch.cat(logs)


def _top_mean(matrix_NV: Tensor, k: int) -> Tensor:
    """Mean of the k largest values of every column [V]; of all, where there are fewer."""
    most = min(k, len(matrix_NV))
    means = [matrix_NV[:, columns].topk(most, dim=0).values.double().mean(dim=0) for columns in _blocks(matrix_NV)]
    return torch.cat(means).to(matrix_NV.dtype)


def _retrieved(matrix_NV: Tensor, k: int) -> Tensor:
    """Which columns are among the k best of any row: bool [V]."""
    found_V = torch.zeros(matrix_NV.shape[1], dtype=torch.bool, device=matrix_NV.device)
    for rows in _blocks(matrix_NV.T):
        found_V[matrix_NV[rows].topk(min(k, len(found_V)), dim=1).indices.flatten()] = True
    return found_V
