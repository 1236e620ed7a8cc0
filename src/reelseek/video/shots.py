"""Where one shot ends and the next begins, from frames that are sampled anyway.

Two neighbouring frames differ by the geometric mean of two distances, both from 0 to 1: of their colours (half the sum
of absolute differences of colour histograms, four levels a channel, in each quarter of the picture), and of what is
where (one minus the correlation of the two pictures at 32 x 32 pixels). A pan changes what is where and keeps the
colours; a fade, or a light that goes on, changes the colours and keeps what is where; only a cut changes both. How
many cuts it finds: `benchmarks/shots.py`.
Shapes: F frames of a piece, N frames of one file.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from reelseek.records import Preprocess
from reelseek.video.transform import resize

SIDE, LEVELS = 32, 4
CUT = 0.55
"""A difference above it is a cut."""
LEAST = 2
"""A shot of fewer sampled frames is joined to its neighbour."""

_SMALL = Preprocess(SIDE, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), interpolation="bilinear", squash=True)


def small(pixels_FHW3: np.ndarray) -> np.ndarray:
    """Frames as uint8 [F, 32, 32, 3], whatever their shape was: all that `differences` needs."""
    return resize(pixels_FHW3, _SMALL)


def differences(small_FSS3: np.ndarray) -> np.ndarray:
    """The difference [F] of every frame of `small` from the one before it, 0 for the first; float32, from 0 to 1."""
    if len(small_FSS3) < 2:
        return np.zeros(len(small_FSS3), np.float32)
    colours_FC = _colours(small_FSS3)
    apart = np.abs(np.diff(colours_FC, axis=0)).sum(axis=1) / 2
    flat_FP = small_FSS3.reshape(len(small_FSS3), -1).astype(np.float32)
    flat_FP -= flat_FP.mean(axis=1, keepdims=True)
    flat_FP /= np.linalg.norm(flat_FP, axis=1, keepdims=True) + 1e-6
    moved = np.clip(1 - (flat_FP[1:] * flat_FP[:-1]).sum(axis=1), 0, 1)
    return np.concatenate([[0.0], np.sqrt(apart * moved)]).astype(np.float32)


def segment_starts(differences_N: np.ndarray, most: int) -> list[int]:
    """The first frames of segments, from 0: at every cut, and inside shots longer than `most`, cut into equal parts."""
    count = len(differences_N)
    cuts = [n for n in range(1, count) if differences_N[n] > CUT]
    shots = [0]
    for start, end in pairwise([*cuts, count]):
        if end - start >= LEAST and start - shots[-1] >= LEAST:
            shots.append(start)
    starts: list[int] = []
    for start, end in pairwise([*shots, count]):
        parts = -(-(end - start) // most)
        starts += [start + (end - start) * part // parts for part in range(parts)]
    return starts


def _colours(small_FSS3: np.ndarray) -> np.ndarray:
    """Shares [F, 4 x 64] of colours in the quarters of every frame; a frame's sum to 1."""
    levels = small_FSS3 // (256 // LEVELS)
    colour_FSS = (levels[..., 0].astype(np.int64) * LEVELS + levels[..., 1]) * LEVELS + levels[..., 2]
    half = np.arange(SIDE) * 2 // SIDE
    bin_FSS = (half[:, None] * 2 + half) * LEVELS**3 + colour_FSS
    bins = 4 * LEVELS**3
    offsets_F11 = np.arange(len(small_FSS3))[:, None, None] * bins
    counts = np.bincount((bin_FSS + offsets_F11).ravel(), minlength=bins * len(small_FSS3))
    return np.asarray(counts.reshape(-1, bins) / SIDE**2)
