"""Results as files that other tools read: TREC runs and qrels, CSV, JSON. Every file appears whole or not at all.

Identifiers in TREC files may hold no white space, which file names often do: white space, "%", control characters and
bytes of file names that are not UTF-8 are percent-encoded, and `urllib.parse.unquote(..., errors="surrogateescape")`
turns them back. Empty and repeated identifiers are refused. JSON and CSV name such a byte as Python does, "\\udce9",
which readers of JSON take for the same string.
Shapes: T texts, V videos, K results a query.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from reelseek.rank.ranking import as_relevance, top_k
from reelseek.records import Ranking


def write_trec_run(
    path: Path | str,
    scores: Any,
    text_ids: Sequence[str],
    video_ids: Sequence[str],
    *,
    tag: str = "reelseek",
    depth: int = 1000,
) -> None:
    """One line a result: text, Q0, video, rank, score, tag; the first `depth` results of every text.

    scores: a `Ranking`, or a score matrix [T, V]. Scores are written so that reading them back gives the same number.
    TREC's own tools order equal scores by identifier and ignore the rank, so a run with ties may rank otherwise there.
    Raises ValueError when identifiers are empty, repeated or of the wrong count.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, not {depth}")
    ranking = scores if isinstance(scores, Ranking) else top_k(scores, depth)
    texts, videos = _encoded(text_ids, "text"), _encoded(video_ids, "video")
    if len(texts) != len(ranking.items_TK):
        raise ValueError(f"{len(texts)} text ids for {len(ranking.items_TK)} rows")
    if ranking.items_TK.size and ranking.items_TK.max() >= len(videos):
        raise ValueError(f"{len(videos)} video ids, but the ranking holds video number {ranking.items_TK.max()}")
    if not isinstance(scores, Ranking) and np.shape(scores)[1] != len(videos):
        raise ValueError(f"{len(videos)} video ids for {np.shape(scores)[1]} columns")
    name = _encode(tag)
    with _whole_file(path) as file:
        for text, items, values in zip(texts, ranking.items_TK, ranking.scores_TK, strict=True):
            for rank, (item, value) in enumerate(zip(items[:depth], values[:depth], strict=True), start=1):
                file.write(f"{text} Q0 {videos[item]} {rank} {float(value)!r} {name}\n")


def write_qrels(path: Path | str, relevance_TV: Any, text_ids: Sequence[str], video_ids: Sequence[str]) -> None:
    """One line a relevant pair: text, 0, video, 1. relevance_TV None is the diagonal. Refuses ids as the run does."""
    texts, videos = _encoded(text_ids, "text"), _encoded(video_ids, "video")
    relevance = as_relevance(relevance_TV, (len(texts), len(videos)))
    pairs = zip(*np.nonzero(relevance), strict=True) if relevance is not None else ((n, n) for n in range(len(texts)))
    with _whole_file(path) as file:
        for text, video in pairs:
            file.write(f"{texts[text]} 0 {videos[video]} 1\n")


def write_metrics_csv(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row a mapping, a column for every key in the order of first sight; a key that a row lacks stays empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with _whole_file(path) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path | str, value: Any) -> None:
    """Indented JSON of plain values, paths and NumPy numbers and arrays. ValueError for NaN and infinity."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    with _whole_file(path) as file:
        file.write(text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def _encode(identifier: str) -> str:
    return re.sub(r"[\s%\x00-\x1f\x7f\ud800-\udfff]", _percents, identifier)


def _percents(match: re.Match[str]) -> str:
    # Python writes a byte of a file name that is not UTF-8 as one of these; other lone surrogates stand for no byte.
    errors = "surrogateescape" if "\udc80" <= match[0] <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", errors))


def _encoded(identifiers: Sequence[str], kind: str) -> list[str]:
    encoded = [_encode(identifier) for identifier in identifiers]
    if "" in encoded:
        raise ValueError(f"{kind} id number {encoded.index('')} is empty")
    if len(set(encoded)) < len(encoded):
        repeated = next(name for name, count in Counter(encoded).items() if count > 1)
        raise ValueError(f"the {kind} id {repeated!r} stands for more than one {kind}")
    return encoded


@contextmanager
def _whole_file(path: Path | str) -> Iterator[TextIO]:
    """A text file beside `path` that takes its place once it is written and on disk."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(unfinished, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
