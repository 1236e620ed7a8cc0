"""Thumbs up and down on answers, kept with the index: one JSON line a mark, only ever appended.

A mark hangs on the query, the content of the file, the span and its frame, not on the path or the model: it outlives a
moved file, another model, another indexing and `compact`. What is taken back is a line too, and the latest line counts.
A segment, a moment in it and its best frame alone are one answer seen in different ways: of spans with one best frame
the latest counts where one lies within the other. Two lines under one frame are two answers, and so is a whole file.
Not here: what is learnt from marks (`reelseek.adapt`).
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping
from errno import ENOSPC
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from reelseek.errors import IndexError_
from reelseek.index.cards import MARKS, open_index
from reelseek.index.disk import writes

TAKEN_BACK = "taken_back"
"""The key of a line that takes an earlier mark back."""


class Mark(NamedTuple):
    """One answer of a query, judged. path: where the file was then, any bytes (`os.fsdecode`).

    start, end, peak: the span that was judged and its best frame, in seconds; all the same for a moment that was named
    alone, and 0, the length and 0 for the whole file. good: thumbs up. at: Unix time.
    """

    query: str
    path: str
    content_hash: str
    start: float
    end: float
    peak: float
    good: bool
    at: float


def folded(query: str) -> str:
    """What two ways to write one query have in common: case and spaces do not count."""
    return " ".join(query.split()).casefold()


def keep_mark(directory: Path, mark: Mark) -> None:
    """Append a mark; one of the same query, content and frame whose span holds this one, or lies in it, counts no more.

    Times are compared to the millisecond. A span from 0 whose best frame is 0 may be the whole file: only a mark of the
    same span replaces it. Queries are the same where they are `folded` alike. It is on the disk when this returns.
    Raises ValueError for an empty query or a time that is no number; NotAnIndex; IndexError_ where nothing can be
    written.
    """
    if not mark.query.strip() or not all(map(math.isfinite, (mark.start, mark.end, mark.peak, mark.at))):
        raise ValueError(f"a mark needs a query and times in seconds, not {mark}")
    _append(directory, mark._asdict())


def drop_mark(
    directory: Path, query: str, content_hash: str, peak: float, span: tuple[float, float] | None = None
) -> bool:
    """Take back what was marked on a content's frame for a query; False, and nothing is written, if nothing was.

    span: (start, end) in seconds of the mark that is meant, or of one that would replace it; None for all on the frame.
    Raises as `keep_mark` and `read_marks` do.
    """
    start, end = span or (peak, peak)
    meant = Mark(query, "", content_hash, start, end, peak, good=False, at=0.0)
    on_frame = [mark for mark in read_marks(directory) if _frame(mark) == _frame(meant)]
    taken = [mark for mark in on_frame if span is None or _one_answer(mark, meant)]
    for mark in taken:
        _append(directory, {**mark._asdict(), TAKEN_BACK: True})
    return bool(taken)


def read_marks(directory: Path) -> list[Mark]:
    """The marks that count, in the order in which they were made. A line that a kill cut short is none.

    Raises NotAnIndex, and IndexError_ naming the first line that is damaged.
    """
    open_index(directory)
    path = directory / MARKS
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise IndexError_(f"{path}: the marks cannot be read ({error.strerror}).") from error
    counting: dict[tuple[str, str, int], list[tuple[int, Mark]]] = {}
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            mark = _mark(values)
            frame, taken_back = _frame(mark), values.get(TAKEN_BACK, False) is True
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise IndexError_(
                f"{path}: line {number} is not a mark ({error}). Delete that line, or bring the file back from a "
                "backup; the index itself is whole."
            ) from None
        on_frame = counting.setdefault(frame, [])
        on_frame[:] = [(line_of, other) for line_of, other in on_frame if not _one_answer(mark, other)]
        if not taken_back:
            on_frame.append((number, mark))
    return [mark for _, mark in sorted(chain.from_iterable(counting.values()))]


def _mark(values: Mapping[str, Any]) -> Mark:
    words = [values[name] for name in ("query", "path", "content_hash")]
    numbers = [values[name] for name in ("start", "end", "peak", "at")]
    if not all(isinstance(word, str) for word in words) or not isinstance(values["good"], bool):
        raise TypeError("a name or its judgement is of the wrong kind")
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise TypeError("a time is no number")
    (query, path, content), (start, end, peak, at) = words, map(float, numbers)
    return Mark(query, path, content, start, end, peak, values["good"], at)


def _frame(mark: Mark) -> tuple[str, str, int]:
    return folded(mark.query), mark.content_hash, _milliseconds(mark.peak)


def _one_answer(mark: Mark, other: Mark) -> bool:
    """Whether the latest of two marks on one frame counts alone."""
    (low, high), (other_low, other_high) = _span(mark), _span(other)
    if _may_be_whole(mark) or _may_be_whole(other):
        return (low, high) == (other_low, other_high)
    return (low <= other_low and other_high <= high) or (other_low <= low and high <= other_high)


def _may_be_whole(mark: Mark) -> bool:
    return _milliseconds(mark.peak) == _span(mark)[0] == 0


def _span(mark: Mark) -> tuple[int, int]:
    return _milliseconds(mark.start), _milliseconds(mark.end)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _append(directory: Path, values: Mapping[str, Any]) -> None:
    """Write one line, whole or not at all, one process after the other."""
    open_index(directory)
    line = json.dumps(values).encode("ascii") + b"\n"
    with writes(directory):
        handle = os.open(directory / MARKS, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # freed with the handle, however its holder ends
            size = _whole(handle)
            try:
                if os.pwrite(handle, line, size) < len(line):
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
                os.fsync(handle)
            except OSError:
                os.truncate(handle, size)
                raise
        finally:
            os.close(handle)


def _whole(handle: int) -> int:
    """The length of all whole lines; what a kill left behind them is cut off."""
    size = end = os.fstat(handle).st_size
    while size and os.pread(handle, 1, size - 1) != b"\n":
        low = max(0, size - 4096)
        size = low + os.pread(handle, size - low, low).rfind(b"\n") + 1
    if size < end:
        os.truncate(handle, size)
    return size
