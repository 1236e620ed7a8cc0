"""The coarse scan: cosines of queries with every frame vector, exact, float16 in memory and float32 in the sum.

One pass over memory is what it costs, so one thread may turn and sum as fast as memory gives: the compiled loop
(`reelseek.index.scan_loops`, where llvmlite is installed) never writes the numbers it has turned to float32. Without
it, and for several queries at once, blocks that stay in the processor's cache are turned first, then multiplied. Large
scans are shared by as many threads as torch has, small ones not.
Not here: what is scanned (`reelseek.index.frames`) and what becomes of the scores (`reelseek.index.search`).

Shapes: T queries, N frames of all pieces, D width.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reelseek.threads import one_thread, side_by_side

SCAN_ROWS = 2048
"""Frames turned to float32 at a time: a block that stays in the processor's cache (1024 to 4096 are as fast)."""
SHARE_ROWS = 1 << 15
"""Frames that a thread takes at a time."""
LARGE = 1 << 16
"""Numbers of frames from which threads share a scan, and the compiled loop is worth loading."""

_SCANNING = threading.Lock()


class _Share(NamedTuple):
    """Frames that one thread scans, and the number of the first among all."""

    frames_ND: Tensor
    low: int


def scan(pieces: Sequence[Tensor], inverse_norms_N: Tensor, queries_TD: Tensor) -> np.ndarray:
    """Cosine [T, N] float32 of every query with every frame of the pieces [*, D] float16, one scan at a time."""
    queries_TD = torch.nn.functional.normalize(queries_TD.float().cpu(), dim=-1)
    scores_TN = torch.empty(len(queries_TD), len(inverse_norms_N))
    large = len(inverse_norms_N) >= LARGE
    loops = _loops() if large and len(queries_TD) == 1 else None

    def score(share: _Share) -> None:
        own = slice(share.low, share.low + len(share.frames_ND))
        if loops is None:
            _multiply(share.frames_ND, inverse_norms_N[own], queries_TD, scores_TN[:, own])
        else:
            loops.cosines(share.frames_ND, inverse_norms_N[own], queries_TD[0], scores_TN[0, own])

    shares = list(_shares(pieces))
    with _SCANNING:
        if large:
            side_by_side(score, shares)
        else:
            with one_thread():
                for share in shares:
                    score(share)
    return scores_TN.numpy()


def _shares(pieces: Sequence[Tensor]) -> Iterator[_Share]:
    first = 0
    for piece_ND in pieces:
        for low in range(0, len(piece_ND), SHARE_ROWS):
            yield _Share(piece_ND[low : low + SHARE_ROWS], first + low)
        first += len(piece_ND)


def _multiply(frames_ND: Tensor, inverse_norms_N: Tensor, queries_TD: Tensor, scores_TN: Tensor) -> None:
    queries_DT = queries_TD.T.contiguous()
    block_ND = torch.empty(min(SCAN_ROWS, len(frames_ND)), frames_ND.shape[1])
    for low in range(0, len(frames_ND), SCAN_ROWS):
        half_ND = frames_ND[low : low + SCAN_ROWS]
        products_NT = torch.mm(block_ND[: len(half_ND)].copy_(half_ND), queries_DT)
        own = slice(low, low + len(half_ND))
        scores_TN[:, own] = products_NT.mul_(inverse_norms_N[own, None]).T


@cache
def _loops() -> Any:
    """The compiled loop, or None where llvmlite is not installed or the processor knows no float16."""
    try:
        return importlib.import_module("reelseek.index.scan_loops")
    except (ImportError, RuntimeError):
        return None
