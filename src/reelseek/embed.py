"""Files and captions through a method's frozen towers, once: the one loop that training, evaluation and indexing share.

With a cache folder, tower outputs are kept under the content hash of the
file, the towers' identity, the preprocessing and the sampling; an interrupted run goes on where it stopped and an
unchanged file is never decoded again. Not here: the threads that decode and encode (`reelseek.embed_pipeline`), the
cache's files (`reelseek.embed_cache`), projection and scores (`reelseek.methods`).

Shapes: T texts, V videos, F frames of a video, N frames of one file, L tokens of a text, D width of a
tower's output.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from itertools import islice, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from reelseek import embed_cache
from reelseek.config import SampleConfig
from reelseek.data.pairs import Pairs
from reelseek.embed_pipeline import Source, running
from reelseek.errors import DataError
from reelseek.records import BrokenFile, EmbeddedVideo, Method, Texts, Videos
from reelseek.video.sample import sample_times

_AHEAD = 8

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class EmbeddedPairs(NamedTuple):
    """Tower outputs of a split. `pairs` holds only the videos that could be read; `broken` names the others."""

    pairs: Pairs
    texts: Texts
    videos: Videos
    broken: list[BrokenFile]


def embed_files(
    method: Method,
    paths: Iterable[Path],
    choose: Callable[[float], np.ndarray],
    *,
    sampling_key: str,
    spans: Iterable[tuple[float, float] | None] | None = None,
    keyframes: bool = False,
    cache: Path | None = None,
    workers: int | None = None,
    differences: bool = False,
    repeatable: bool = False,
    source: Source | None = None,
) -> Iterator[EmbeddedVideo | BrokenFile]:
    """Tower outputs of every file, in input order; a file that cannot be read yields a BrokenFile and the rest go on.

    choose: from a duration in seconds to the times [N] of the frames wanted. sampling_key: names `choose` in the cache.
    spans: for each file the (start, end) in seconds that stands for it, or None for the whole file.
    cache: folder, or None to keep nothing. workers: threads, see `embed_pipeline.running`, as for
    differences (which the sampling key must name), repeatable and source.
    """
    folder = None if cache is None else cache / embed_cache.key(method, sampling_key, keyframes, repeatable=repeatable)
    files = len(paths) if isinstance(paths, Sized) else None
    waiting = zip(paths, repeat(None) if spans is None else spans, strict=False)
    under_way: deque[tuple[Path, Any]] = deque()
    with running(
        method,
        keyframes=keyframes,
        folder=folder,
        workers=workers,
        differences=differences,
        repeatable=repeatable,
        source=source,
    ) as pipeline:
        spare = max(1, pipeline.workers // files) if files else 1
        while True:
            for path, span in islice(waiting, _AHEAD + pipeline.workers - len(under_way)):
                under_way.append((Path(path), pipeline.start(Path(path), span, choose, spare=spare)))
            if not under_way:
                return
            path, started = under_way.popleft()
            result, cache_name = pipeline.finish(path, started)
            if folder is not None and cache_name and isinstance(result, EmbeddedVideo):
                embed_cache.write_video(folder, cache_name, result)
            yield result


def embed_texts(
    method: Method,
    captions: Sequence[str],
    *,
    cache: Path | None = None,
    chunk: int = 1024,
    progress: Progress | None = None,
) -> Texts:
    """What the method makes of captions, float32, on the CPU; equal ones are encoded once, finished chunks are cached.

    Token vectors, where the method wants them, are padded to the longest text of all: 4 L D bytes a caption.
    """
    unique = list(dict.fromkeys(captions))
    parts: list[Texts] = []
    for start in range(0, len(unique), chunk):
        part = unique[start : start + chunk]
        parts.append(_texts_part(method, part, cache))
        if progress is not None:
            progress(min(start + chunk, len(unique)), len(unique))
    texts = join_texts(parts)
    if len(unique) == len(captions):
        return texts
    row = {caption: number for number, caption in enumerate(unique)}
    return texts.each(itemgetter(torch.tensor([row[caption] for caption in captions])))


def join_texts(parts: Sequence[Texts]) -> Texts:
    """Texts of one kind as one batch, token rows padded to the longest; raises ValueError for an empty list."""
    if not parts:
        raise ValueError("no text to join")
    streams = parts[0].streams or {}
    return Texts(
        torch.cat([part.pooled_TD for part in parts]),
        _padded([part.tokens_TLD for part in parts if part.tokens_TLD is not None]),
        _padded([part.mask_TL for part in parts if part.mask_TL is not None]),
        {name: join_texts([part.streams[name] for part in parts if part.streams]) for name in streams} or None,
    )


def _padded(rows: Sequence[Tensor]) -> Tensor | None:
    """Tensors [T, L, ...] of different L below one another, filled up with zeros (False); None for none."""
    longest = max((part.shape[1] for part in rows), default=0)
    filled = [pad(part, (0, 0) * (part.ndim - 2) + (0, longest - part.shape[1])) for part in rows]
    return torch.cat(filled) if filled else None


def embed_pairs(
    method: Method,
    pairs: Pairs,
    sample: SampleConfig,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> EmbeddedPairs:
    """Tower outputs of all captions and videos of a split, padded to the longest video, with mask.

    Videos that cannot be read are left out together with their captions, and counted as missing. Raises DataError if
    none can be read.
    """
    texts = embed_texts(method, pairs.texts, cache=cache)
    good: list[int] = []
    broken: list[BrokenFile] = []
    rows: list[Tensor] = []
    found = embed_files(
        method,
        pairs.paths,
        lambda duration: sample_times(duration, sample),
        sampling_key=f"{sample.policy}-{sample.frames}-{sample.fps}",
        spans=pairs.spans,
        keyframes=sample.keyframes,
        cache=cache,
        repeatable=True,  # training makes points of R@1 out of the last bits of its features
    )
    for number, result in enumerate(found):
        if isinstance(result, BrokenFile):
            broken.append(result)
        else:
            good.append(number)
            rows.append(result.frames_ND)
        if progress is not None:
            progress(number + 1, len(pairs.paths))
    if not good:
        raise DataError(f"{pairs.name}: no video of {len(pairs.paths):,} could be read. The first: {broken[0].reason}")
    if broken:
        kept_T = np.isin(pairs.video_of_T, good)
        texts = texts.each(itemgetter(torch.from_numpy(kept_T)))
        pairs = with_missing(pairs, good)
    return EmbeddedPairs(pairs, texts, pad_videos(rows), broken)


def with_missing(pairs: Pairs, good: Sequence[int]) -> Pairs:
    """A split with the videos of these numbers; the others, and their captions, count as missing."""
    kept = pairs.subset([pairs.video_ids[number] for number in good])
    left = set(kept.video_ids)
    lost = tuple(video for video in pairs.video_ids if video not in left)
    return replace(
        kept,
        missing_videos=pairs.missing_videos + lost,
        missing_texts=pairs.missing_texts + len(pairs.texts) - len(kept.texts),
    )


def pad_videos(rows: Sequence[Tensor]) -> Videos:
    """Videos of different lengths [N, D] as one batch [V, F, D] with mask; raises ValueError for an empty list."""
    if not rows:
        raise ValueError("no video could be embedded")
    frames_VFD = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths_V = torch.tensor([len(row) for row in rows])
    return Videos(frames_VFD=frames_VFD, mask_VF=torch.arange(frames_VFD.shape[1]) < lengths_V[:, None])


def _texts_part(method: Method, captions: list[str], cache: Path | None) -> Texts:
    # A method that makes no sentences of its own need not name its texts: they are the towers'.
    text_id = getattr(method, "text_id", method.backbone_id)
    kept = None if cache is None else embed_cache.read_texts(cache, text_id, captions)
    if kept is not None:
        return kept
    if cache is not None and hasattr(method, "read_ahead"):
        method.read_ahead(captions, cache)
    texts = method.encode_texts(captions).each(_plain)
    if cache is not None:
        embed_cache.write_texts(cache, text_id, captions, texts)
    return texts


def _plain(tensor: Tensor) -> Tensor:
    return (tensor if tensor.dtype == torch.bool else tensor.float()).cpu()
