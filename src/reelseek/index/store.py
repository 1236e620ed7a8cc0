"""What an index keeps on disk: two Lance tables, a card, a lock. Every table is read and written here.

    index.json      the card (`reelseek.index.cards`)
    files.lance     one row a path: size, time of change, content hash, whether it could be read
    segments.lance  one row a segment of some content: span, frame times, projected frame vectors in float16
    mapped/         copies of the vectors that can be mapped (`reelseek.index.frames`); may be deleted at any time
    write.lock      held by the one process that writes, which tells in progress.json how far it is
    model-*/        the tables and copies once more, made by another model: the card says which tables count, and which
                    did before, so that one atomic write changes the model (`reelseek.index.switch`)

Beside these lie marks.jsonl (`marks`), subtitles/ (`subtitles`), frames/ (`kept`: pictures for another model), head-*/
(`reelseek.methods.text_head`) and calibration.npz (`calibration`), each read and written by its own file; `cards`
deletes the heads that no card names.

A video's segments are one commit and come before its row in files, so a row never points at vectors that are not there;
vectors without a row are leftovers of a killed run. Paths are kept as the bytes the system gave, any bytes are allowed.
Not here: which files are indexed (`reelseek.index.build`) and what is found (`reelseek.index.search`).

Safe against a process killed at any moment; a power cut is only as safe as the file system's own write order.
Shapes: S segments, N frames of all segments, D width.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path
from typing import Any, NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute

from reelseek.errors import IndexError_
from reelseek.index import fragments
from reelseek.index.cards import IndexCard, is_folder_name, open_index
from reelseek.index.disk import read_again, writes
from reelseek.index.frames import FOLDER, Frames, Piece

FILES, SEGMENTS = "files.lance", "segments.lance"
FRAGMENT_ROWS = 4096
"""Segments a data file holds once compacted: an update rewrites at most about so many."""

MOST_VERSIONS = 64
"""Commits after which small data files are merged in the middle of an update."""

FILES_SCHEMA = pa.schema(
    [
        ("path", pa.binary()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("content_hash", pa.string()),
        ("duration", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("indexed_at", pa.float64()),
    ]
)


class IndexedFile(NamedTuple):
    """A path that the index knows. status: "ok" or "broken" with a `reason`. duration: seconds. indexed_at: Unix time.

    size is -1 where the file must be looked at again at the next update, changed or not.
    """

    path: Path
    size: int
    mtime_ns: int
    content_hash: str
    duration: float
    status: str
    reason: str
    indexed_at: float


class Stored(NamedTuple):
    """A stored video: its file's size in bytes, and where its last segment ends in seconds."""

    size: int
    end: float


class StoredSegments(NamedTuple):
    """All segments of an index, frames end to end: segment s owns rows first_S[s] to first_S[s] + count_S[s]."""

    frames_ND: Frames
    times_N: np.ndarray
    first_S: np.ndarray
    count_S: np.ndarray
    number_S: np.ndarray
    start_S: np.ndarray
    end_S: np.ndarray
    content_S: list[str]


def segments_schema(width: int) -> Any:
    """Arrow schema of the segments table for vectors of one width."""
    return pa.schema(
        [
            ("content_hash", pa.string()),
            ("size", pa.int64()),
            ("segment", pa.int32()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("count", pa.int32()),
            ("times", pa.list_(pa.float64())),
            ("frames", pa.list_(pa.list_(pa.float16(), width))),
        ]
    )


def list_files(directory: Path) -> list[IndexedFile]:
    """Every path that the index knows, broken ones included, sorted by path. Raises NotAnIndex, IndexError_."""
    return read_files(open_index(directory).tables)


def read_files(tables: Path, *, status: str = "") -> list[IndexedFile]:
    """All rows of the files table in a folder of tables, or those of one status, sorted by path.

    None where there is no table yet.
    """
    table = read_again(tables, lambda: _table(tables / FILES))
    return _rows(table.filter(pa.compute.equal(table["status"], status)) if status and table is not None else table)


def named_contents(tables: Path) -> set[str]:
    """The contents of all readable files."""
    table = read_again(tables, lambda: _table(tables / FILES, ["content_hash", "status"]))
    if table is None:
        return set()
    return set(table.filter(pa.compute.equal(table["status"], "ok"))["content_hash"].to_pylist())


def write_files(tables: Path, rows: Iterable[IndexedFile], *, replace: bool = False) -> None:
    """Append rows to the files table, or make them all there is, in one commit."""
    columns: list[Any] = list(zip(*(_cells(row) for row in rows), strict=True)) or [()] * len(FILES_SCHEMA)
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, FILES_SCHEMA, strict=True)], schema=FILES_SCHEMA)
    _write(tables, FILES, table, replace=replace)


def append_segments(tables: Path, videos: Sequence[Any]) -> None:
    """Add whole videos' segments (tables of `segments_schema`) in one commit."""
    _write(tables, SEGMENTS, pa.concat_tables(videos))


def contents(tables: Path) -> dict[str, Stored]:
    """Every stored video by content hash."""

    def read() -> dict[str, Stored]:
        table = _table(tables / SEGMENTS, ["content_hash", "size", "end"])
        if table is None:
            return {}
        last = table.group_by("content_hash").aggregate([("size", "max"), ("end", "max")])
        columns = (last[name].to_pylist() for name in ("content_hash", "size_max", "end_max"))
        return {key: Stored(size, end) for key, size, end in zip(*columns, strict=True)}

    return read_again(tables, read)


def delete_contents(tables: Path, hashes: Collection[str]) -> None:
    """Delete the segments of some contents; `tidy` then takes them off the disk."""
    ordered = sorted(hashes)
    for low in range(0, len(ordered), 500):
        listed = ", ".join(f"'{key}'" for key in ordered[low : low + 500])
        with _commit(tables, SEGMENTS) as path:
            lance.dataset(path).delete(f"content_hash IN ({listed})")


def tidy(tables: Path) -> None:
    """Merge small data files and drop deleted rows, old versions and what killed runs left; copy vectors to be mapped.

    Call it under the lock.
    """
    for name in (FILES, SEGMENTS):
        if _manifests(tables / name):
            _merge(tables, name)
    if _manifests(tables / SEGMENTS):
        read_again(tables, lambda: fragments.copy_vectors(tables, lance.dataset(str(tables / SEGMENTS))))


def repair(tables: Path) -> None:
    """Go back to the last sound version of each table, if a full disk and a kill met. Call it under the lock."""
    for name in (FILES, SEGMENTS):
        while (manifests := _manifests(tables / name)) and not _sound(tables / name):
            if len(manifests) == 1:
                rest = SEGMENTS if name == FILES else FILES
                raise IndexError_(f"{tables / name}: is damaged. Delete it and {rest} beside it, and index again.")
            manifests[0].unlink()


def all_tables(directory: Path) -> list[Path]:
    """Every folder of tables of an index, those of other models included. Call it under the lock."""
    own = [directory] if any((directory / name).exists() for name in (FILES, SEGMENTS, FOLDER)) else []
    return own + sorted(path for path in directory.iterdir() if is_folder_name(path.name))


def drop_tables(directory: Path, *, keep: Path) -> None:
    """Delete all tables but those in `keep`. Call it under the lock."""
    with writes(directory):
        for tables in all_tables(directory):
            if tables != keep:
                for name in (FILES, SEGMENTS):
                    # a table without versions is none: a kill leaves no half of one, and no row without its vectors
                    shutil.rmtree(tables / name / "_versions", ignore_errors=True)
                for name in (FOLDER, SEGMENTS, FILES):
                    shutil.rmtree(tables / name, ignore_errors=True)
                if tables != directory:
                    shutil.rmtree(tables)


def versions(index: IndexCard) -> tuple[str, int, int]:
    """Changes whenever the index does."""

    def read() -> tuple[str, int, int]:
        numbers = [
            lance.dataset(str(index.tables / name)).version if _manifests(index.tables / name) else 0
            for name in (FILES, SEGMENTS)
        ]
        return open_index(index.directory).created, numbers[0], numbers[1]

    return read_again(index.directory, read)


def load(index: IndexCard) -> tuple[list[IndexedFile], StoredSegments]:
    """All rows of files, and all segments that one of them refers to.

    Memory: 2 D bytes a frame that is not mapped.
    """

    def read() -> tuple[list[IndexedFile], StoredSegments]:
        # Files first: whatever a writer adds meanwhile, each row's vectors are already there.
        rows = _rows(_table(index.tables / FILES))
        wanted = {row.content_hash for row in rows if row.status == "ok"}
        return rows, _segments(index, wanted)

    loaded = read_again(index.directory, read)
    # Reading takes twice what is kept of it, and Arrow would hold on to the rest.
    pa.default_memory_pool().release_unused()
    return loaded


def _segments(index: IndexCard, wanted: Collection[str]) -> StoredSegments:
    path = index.tables / SEGMENTS
    small = [name for name in segments_schema(index.width).names if name != "frames"]
    pieces: list[Piece] = []
    if _manifests(path):
        dataset = lance.dataset(str(path))
        table = dataset.scanner(columns=small, with_row_address=True).to_table()
        keep_S = pa.compute.is_in(table["content_hash"], pa.array(list(wanted), pa.string()))
        pieces = fragments.pieces(index.tables, dataset, table, np.asarray(keep_S, bool), index.width)
        table = table.filter(keep_S).combine_chunks()
    else:
        table = segments_schema(index.width).empty_table().select(small)
    count_S = table["count"].to_numpy().astype(np.int64)
    names = table["content_hash"].combine_chunks().dictionary_encode()
    contents = names.dictionary.to_pylist()
    return StoredSegments(
        frames_ND=Frames(pieces, index.width),
        times_N=np.concatenate([np.empty(0), *(chunk.flatten().to_numpy() for chunk in table["times"].chunks)]),
        first_S=np.cumsum(count_S) - count_S,
        count_S=count_S,
        number_S=table["segment"].to_numpy(),
        start_S=table["start"].to_numpy(),
        end_S=table["end"].to_numpy(),
        content_S=[contents[number] for number in names.indices.to_pylist()],
    )


def _manifests(path: Path) -> list[Path]:
    """One file a version, newest first (they are numbered backwards); none in what a killed first write leaves."""
    return sorted((path / "_versions").glob("*.manifest"))


def _sound(path: Path) -> bool:
    """Whether the newest version can be read: a data file cut short has lost the end that every reader needs first."""
    try:
        dataset = lance.dataset(str(path))
        dataset.to_table(columns=dataset.schema.names[:1])
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _commit(tables: Path, name: str) -> Iterator[str]:
    """One change of a table, looked at before it counts: on a full disk Lance may report success for half a file."""
    path = tables / name
    before = set(_manifests(path))
    with writes(tables):
        try:
            yield str(path)
        finally:
            new = set(_manifests(path)) - before
            if new and not _sound(path):
                for manifest in new:
                    manifest.unlink()
                raise OSError(ENOSPC, os.strerror(ENOSPC))


def _table(path: Path, columns: list[str] | None = None) -> Any:
    return lance.dataset(str(path)).to_table(columns=columns) if _manifests(path) else None


def _rows(table: Any) -> list[IndexedFile]:
    if table is None:
        return []
    columns = (column.to_pylist() for column in table.sort_by("path"))
    return [IndexedFile(Path(os.fsdecode(path)), *cells) for path, *cells in zip(*columns, strict=True)]


def _cells(row: IndexedFile) -> tuple[Any, ...]:
    reason = row.reason.encode("utf-8", "backslashreplace").decode()
    return (os.fsencode(row.path), *row._replace(reason=reason)[1:])


def _write(tables: Path, name: str, table: Any, *, replace: bool = False) -> None:
    mode = "create" if not _manifests(tables / name) else "overwrite" if replace else "append"
    with _commit(tables, name) as path:
        lance.write_dataset(table, path, mode=mode, data_storage_version="2.1")
    # Every commit costs as much as there are data files: many small ones would cost their square.
    if len(_manifests(tables / name)) > MOST_VERSIONS:
        _merge(tables, name)


def _merge(tables: Path, name: str) -> None:
    with _commit(tables, name) as path:
        lance.dataset(path).optimize.compact_files(
            target_rows_per_fragment=FRAGMENT_ROWS, materialize_deletions_threshold=0.0
        )
    with writes(tables):
        # Nobody else writes, so files of no version are leftovers; a reader of an old version reads again.
        lance.dataset(path).cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
