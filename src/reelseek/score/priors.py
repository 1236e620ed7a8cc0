"""Rescorers by name: a correction, its parameters, and the prior that it reads, which decides how it is labelled.

Priors: "test" (all test queries), "batch" (test queries, so many at a time, in their order) and "bank" (queries that
are not in the test set). The first two read other test queries and are labelled so.
Not here: the corrections themselves (`reelseek.score.rescore`), making a bank (`reelseek.evaluation_bank`).
Shapes: T texts, V videos, N queries of a bank, M items of a gallery bank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from reelseek.records import Rescorer
from reelseek.score.rescore import (
    csls,
    dual_dynamic_inverted_softmax,
    dual_inverted_softmax,
    dual_softmax,
    dynamic_inverted_softmax,
    inverted_softmax,
    nearest_neighbour_normalisation,
    sinkhorn,
    sinkhorn_bias,
)


class Bank(NamedTuple):
    """Scores of queries that are not in the test set with the gallery [N, V], and of other gallery items [M, V]."""

    queries_NV: Tensor
    gallery_MV: Tensor | None = None


class Kind(NamedTuple):
    """A correction: its name for people, its function, its parameters with their usual values on cosines.

    priors: those that it can read. gallery_bank: whether it needs other gallery items beside other queries.
    """

    label: str
    function: Callable[..., Tensor]
    defaults: Mapping[str, float]
    priors: tuple[str, ...] = ("test", "batch", "bank")
    gallery_bank: bool = False


RESCORERS: dict[str, Kind] = {
    "dual_softmax": Kind("dual softmax", dual_softmax, {"scale": 100}),
    "inverted_softmax": Kind("inverted softmax", inverted_softmax, {"scale": 20}),
    "qb_norm": Kind("QB-Norm", dynamic_inverted_softmax, {"scale": 20, "k": 1}),
    "csls": Kind("CSLS", csls, {"k": 10}),
    "dual_is": Kind("DualIS", dual_inverted_softmax, {"scale": 20, "gallery_scale": 3}, ("bank",), True),
    "dual_dis": Kind(
        "DualDIS", dual_dynamic_inverted_softmax, {"scale": 20, "gallery_scale": 3, "k": 1}, ("bank",), True
    ),
    "nnn": Kind("NNN", nearest_neighbour_normalisation, {"alpha": 0.75, "k": 16}),
    "sinkhorn": Kind("Sinkhorn", sinkhorn, {"scale": 100, "iterations": 4}, ("test", "batch")),
    "sinkhorn_bias": Kind("Sinkhorn bias", sinkhorn_bias, {"scale": 100, "iterations": 4}, ("bank",)),
}


def rescorer(
    name: str,
    prior: str,
    *,
    batch: int = 128,
    bank: Bank | None = None,
    parameters: Mapping[str, float] | None = None,
) -> Rescorer:
    """A correction with its prior bound to it.

    batch: queries at a time with the prior "batch", at least 2; the last batch may be smaller, but a query alone in it
    joins the one before. bank: needed for the prior "bank". parameters: those that differ from the correction's usual
    values. Raises ValueError for an unknown name, prior or parameter, and where what the prior needs is not given.
    """
    if name not in RESCORERS:
        raise ValueError(f"there is no rescoring {name!r}; it can be {', '.join(RESCORERS)}.")
    kind = RESCORERS[name]
    unknown = set(parameters or {}) - set(kind.defaults)
    if unknown:
        raise ValueError(f"{kind.label} has no {min(unknown)}; its parameters are {', '.join(kind.defaults)}.")
    if prior not in kind.priors:
        raise ValueError(f"{kind.label} cannot read the prior {prior!r}; it can read {' or '.join(kind.priors)}.")
    values = {**kind.defaults, **(parameters or {})}
    said = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in values.items())
    if prior == "bank":
        if bank is None or (kind.gallery_bank and bank.gallery_MV is None):
            raise ValueError(f"{kind.label} with the prior bank needs a bank{' of both sides' * kind.gallery_bank}.")
        sides = {"bank_NV": bank.queries_NV} | ({"gallery_MV": bank.gallery_MV} if kind.gallery_bank else {})
        named = f"{kind.label} ({said}; bank of {len(bank.queries_NV):,})"
        return Rescorer(named, partial(kind.function, **values, **sides), sees_test_queries=False)
    whole = partial(kind.function, **values)
    if prior == "test":
        return Rescorer(f"{kind.label} ({said}; all test queries)", whole, sees_test_queries=True)
    if batch < 2:
        raise ValueError(f"a batch has at least 2 queries, not {batch}: one alone has no others to be corrected by.")
    named = f"{kind.label} ({said}; batches of {batch} test queries)"
    return Rescorer(named, partial(_in_batches, whole, batch), sees_test_queries=True)


def _in_batches(function: Callable[[Tensor], Tensor], batch: int, matrix_TV: Tensor) -> Tensor:
    out_TV, count = torch.empty_like(matrix_TV), len(matrix_TV)
    for start in range(0, max(1, count - 1), batch):
        # Several corrections take from a query what all of its batch have: one alone would be left with ties.
        some = slice(start, count if count - start == batch + 1 else start + batch)
        out_TV[some] = function(matrix_TV[some])
    return out_TV
