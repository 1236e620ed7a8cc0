"""What leaves an index: files taken out of it, vectors that nothing refers to, an earlier model. All under the lock.

Not here: what comes into it (`reelseek.index.build`), the tables themselves (`reelseek.index.store`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reelseek.errors import IndexError_
from reelseek.index import cards, kept, store, subtitles
from reelseek.index.cards import IndexCard
from reelseek.index.disk import locked
from reelseek.index.plan import below, with_folders
from reelseek.index.store import IndexedFile


def remove(directory: Path, paths: Sequence[Path]) -> int:
    """Take files, or all files below folders, out of the index, and their vectors off the disk; returns how many.

    They come back at the next update if they still lie below its folders.
    Raises IndexError_, and removes nothing, if the index knows nothing by one of the names; NotAnIndex; IndexLocked.
    """
    cards.open_index(directory)
    with locked(directory):
        index = cards.open_index(directory)
        store.repair(index.tables)
        rows = store.read_files(index.tables)
        places = [Path(os.path.abspath(path)) for path in paths]
        held = with_folders(row.path for row in rows)
        for place in places:
            if str(place) not in held:
                raise IndexError_(f"{place}: the index holds no such file. `reelseek index list` shows what it holds.")
        inside = below(places)
        left = [row for row in rows if not inside(row.path)]
        forget_elsewhere(index, rows, left)
        store.write_files(index.tables, left, replace=True)
        drop_leftovers(index.tables)
        subtitles.follow(directory, left, [])
        drop_frames(index)
    return len(rows) - len(left)


def compact(directory: Path) -> None:
    """Take what no file refers to off the disk, and merge small data files. Raises NotAnIndex, IndexLocked.

    The tables of an earlier model, heads that are not used and frames kept for another sampling leave too: a switch
    cannot be taken back any more.
    """
    cards.open_index(directory)
    with locked(directory):
        index = cards.open_index(directory)
        store.repair(index.tables)
        drop_leftovers(index.tables)
        if index.previous is not None:
            index = replace(index, previous=None)
            cards.create(index)
        store.drop_tables(directory, keep=index.tables)
        cards.drop_heads(index)
        drop_frames(index)


def forget_elsewhere(index: IndexCard, before: Sequence[IndexedFile], now: Sequence[IndexedFile]) -> None:
    """What left an index must not stay on the disk in the tables of an earlier or a coming model.

    before, now: its files then and now. What only the other tables hold stays there: after a switch was taken back,
    that is what was indexed since.
    """
    # by content first: a file that moved is known to the other model under its old path, and not embedded again
    contents, paths = _named(now), {row.path for row in now}
    gone_contents, gone_paths = _named(before) - contents, {row.path for row in before} - paths
    if not gone_contents and not gone_paths:
        return
    for tables in [tables for tables in store.all_tables(index.directory) if tables != index.tables]:
        rows = store.read_files(tables)
        left = [
            row
            for row in rows
            if row.content_hash not in gone_contents and (row.path not in gone_paths or row.content_hash in contents)
        ]
        if len(left) < len(rows):
            store.write_files(tables, left, replace=True)
            drop_leftovers(tables)


def follow_moves(tables: Path, rows: Sequence[IndexedFile]) -> None:
    """Hold what a model's tables know under the paths that it has by now; nothing is embedded.

    rows: the index's files by the model that answers now. What only these tables know stays as it is.
    """
    known, stored = store.read_files(tables), store.contents(tables)
    moved = [row for row in rows if row.status == "ok" and row.content_hash in stored]
    paths, contents = {row.path for row in moved}, {row.content_hash for row in moved}
    wanted = moved + [row for row in known if row.path not in paths and row.content_hash not in contents]
    if {(row.path, row.content_hash) for row in wanted} != {(row.path, row.content_hash) for row in known}:
        store.write_files(tables, wanted, replace=True)


def drop_frames(index: IndexCard) -> None:
    """Delete the frames kept of contents that no model's tables name."""
    named_by_any = {content for tables in store.all_tables(index.directory) for content in store.named_contents(tables)}
    kept.Keeper(index.directory, index.config).tidy(named_by_any)


def _named(rows: Sequence[IndexedFile]) -> set[str]:
    """The contents that files have which were read, and known to have."""
    return {row.content_hash for row in rows if row.status == "ok" and row.content_hash}


def drop_leftovers(tables: Path) -> None:
    """Delete the vectors of contents that no file has, and tidy both tables up."""
    store.delete_contents(tables, store.contents(tables).keys() - store.named_contents(tables))
    store.tidy(tables)
