"""Videos to segments: one projected row a segment of the index, and the stand-ins that projecting one side needs.

A method projects texts and videos together, an index one after the other. What it makes of a text never depends on the
videos beside it, nor the other way round (only `score` sees pairs), so any partner will do.

Shapes: S segments of a video, F frames of a segment, N frames of a video, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from reelseek.index.cards import IndexCard
from reelseek.index.store import segments_schema
from reelseek.records import EmbeddedVideo, Method, Texts, Videos
from reelseek.video.shots import segment_starts


def any_text(method: Method) -> Texts:
    """One encoded text [1, text width]: the partner that videos need to be projected."""
    return method.encode_texts(["a video"])


def blank_video(method: Method, frames: int = 1) -> Videos:
    """One encoded grey frame [1, F, frame width], F times: the partner that texts need to be projected."""
    side = method.preprocess.crop
    frames_1D = method.encode_frames(torch.zeros(1, 3, side, side))
    mask_VF = torch.ones(1, frames, dtype=torch.bool, device=frames_1D.device)
    return Videos(frames_VFD=frames_1D.expand(1, frames, -1), mask_VF=mask_VF)


def cut_segments(video: EmbeddedVideo, size: int, method: Method, text: Texts, index: IndexCard) -> Any | None:
    """A video of `size` bytes as rows of the segments table; None if the model gives no usable vector for it.

    A segment holds `segment_frames` frames, or those of a shot, and lasts until the next one begins; the first begins
    at 0, the last ends with the video. float16 keeps 11 bits: on random vectors of width 512 a score moves by less than
    1e-4.
    """
    first_S = _first_frames(video, index)
    frames_SFD, mask_SF = _segments(video.frames_ND, first_S)
    device = text.pooled_TD.device
    _, projected = method.project(text, Videos(frames_SFD.to(device), mask_SF.to(device)))
    half_ND = projected.frames_VFD[projected.mask_VF].half().cpu()
    if not torch.isfinite(half_ND).all() or not half_ND.any(dim=1).all():
        return None
    count_S = mask_SF.sum(dim=1).numpy()
    offsets = pa.array(np.append(0, np.cumsum(count_S)), pa.int32())
    end = max(float(video.duration), float(video.times_N[-1]))
    times_N = _spread(np.asarray(video.times_N, np.float64), end)
    start_S = times_N[first_S]
    start_S[0] = 0.0
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(half_ND.numpy().ravel()), index.width)
    columns = [
        pa.array([video.content_hash] * len(count_S)),
        pa.array(np.full(len(count_S), size)),
        pa.array(np.arange(len(count_S), dtype=np.int32)),
        pa.array(start_S),
        pa.array(np.append(start_S[1:], end)),
        pa.array(count_S, pa.int32()),
        pa.ListArray.from_arrays(offsets, pa.array(times_N)),
        pa.ListArray.from_arrays(offsets, vectors),
    ]
    return pa.table(columns, schema=segments_schema(index.width))


def _spread(times_N: np.ndarray, end: float) -> np.ndarray:
    """Seconds of frames, where those of one picture, a still that was looked at again, share the time it is shown for.

    A frame's own time is when its picture appears: segments inside a still would begin and end at once.
    """
    first_P = np.flatnonzero(np.diff(times_N, prepend=-1.0))
    count_P = np.diff([*first_P, len(times_N)])
    shown_P = np.diff([*times_N[first_P], end])
    place_N = np.arange(len(times_N)) - np.repeat(first_P, count_P)
    return np.asarray(times_N + place_N * np.repeat(shown_P / count_P, count_P), np.float64)


def _first_frames(video: EmbeddedVideo, index: IndexCard) -> list[int]:
    most = index.config.segment_frames
    if index.config.segments == "windows":
        return list(range(0, len(video.frames_ND), most))
    assert video.differences_N is not None
    return segment_starts(video.differences_N, most)


def _segments(frames_ND: Tensor, first_S: list[int]) -> tuple[Tensor, Tensor]:
    count_S = np.diff([*first_S, len(frames_ND)])
    rows = list(torch.split(frames_ND, count_S.tolist()))
    frames_SFD = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return frames_SFD, torch.arange(int(count_S.max())) < torch.from_numpy(count_S)[:, None]
