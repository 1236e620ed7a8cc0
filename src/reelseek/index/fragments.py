"""The vectors in a segments table's data files (Lance's fragments): copied to be mapped, mapped, or read.

Not here: the table itself (`reelseek.index.store`), what a copy is and why (`reelseek.index.frames`).
Shapes: S segments of the table, N frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute
import torch

from reelseek.index.frames import MAPPED_FRAMES, Piece, copy_path, mapped, measured, sweep, write_copy

BLOCK_ROWS = 256
"""Segments read at a time."""


def pieces(tables: Path, dataset: Any, table: Any, keep_S: np.ndarray, width: int) -> list[Piece]:
    """The vectors of the kept segments in the order of the table; neighbours that are not mapped are one piece.

    table: "count" and "_rowaddr" of all segments. keep_S: bool.
    """
    count_S, fragment_S = table["count"].to_numpy(), table["_rowaddr"].to_numpy() >> 32
    edges = [*np.flatnonzero(np.diff(fragment_S, prepend=-1)).tolist(), len(fragment_S)]
    known = {fragment.fragment_id: fragment for fragment in dataset.get_fragments()}
    found: list[Piece] = []
    unread: list[tuple[Any, int, int]] = []
    for low, high in pairwise(edges):
        fragment, count = known[int(fragment_S[low])], int(count_S[low:high].sum())
        path = _copy_of(tables, fragment, count) if keep_S[low:high].all() else None
        piece = None if path is None else mapped(path, count, width)
        if piece is None:
            unread.append((fragment, low, high))
        else:
            found += [*_read(dataset, unread, count_S, keep_S, width), piece]
            unread = []
    return found + _read(dataset, unread, count_S, keep_S, width)


def copy_vectors(tables: Path, dataset: Any) -> None:
    """Bring the copies up to date with the segments table. Where there is no room for one, go without."""
    width = dataset.schema.field("frames").type.value_type.list_size
    wanted: dict[Path, tuple[Any, int]] = {}
    for fragment in dataset.get_fragments():
        count = pyarrow.compute.sum(fragment.to_table(columns=["count"])["count"]).as_py() or 0
        path = _copy_of(tables, fragment, count)
        if path is not None:
            wanted[path] = fragment, count
    sweep(tables, wanted)
    for path, (fragment, count) in wanted.items():
        if not path.exists():
            with suppress(OSError):
                path.parent.mkdir(exist_ok=True)
                blocks = (_vectors(lists, width) for lists in _blocks(dataset, [fragment]))
                write_copy(path, blocks, count, width)


def _read(
    dataset: Any, unread: Sequence[tuple[Any, int, int]], count_S: np.ndarray, keep_S: np.ndarray, width: int
) -> list[Piece]:
    """Neighbouring fragments (each with its first segment and the one after its last) as one piece, or none."""
    if not unread:
        return []
    low, high = unread[0][1], unread[-1][2]
    frames_ND = np.empty((int(count_S[low:high][keep_S[low:high]].sum()), width), np.float16)
    at = 0
    for lists in _blocks(dataset, [fragment for fragment, _, _ in unread]):
        after = low + len(lists)
        part_ND = _vectors(lists, width)
        if not keep_S[low:after].all():
            part_ND = part_ND[np.repeat(keep_S[low:after], count_S[low:after])]
        frames_ND[at : at + len(part_ND)] = part_ND
        low, at = after, at + len(part_ND)
    return [measured(torch.from_numpy(frames_ND))]


def _blocks(dataset: Any, fragments: Sequence[Any]) -> Iterator[Any]:
    for batch in dataset.scanner(columns=["frames"], fragments=list(fragments), batch_size=BLOCK_ROWS).to_batches():
        yield batch["frames"]


def _vectors(lists: Any, width: int) -> np.ndarray:
    vectors_ND: np.ndarray = lists.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return vectors_ND


def _copy_of(tables: Path, fragment: Any, count: int) -> Path | None:
    """Where a fragment's vectors may lie ready to be mapped; None for a small one, or one that has lost rows."""
    files = fragment.data_files()
    if count < MAPPED_FRAMES or fragment.deletion_file() is not None or len(files) != 1:
        return None
    return copy_path(tables, files[0].path)
