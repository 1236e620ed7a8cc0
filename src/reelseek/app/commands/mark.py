"""`reelseek mark`: thumbs up and down from a terminal, and what was marked so far."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reelseek.app.terminal import clock, parser, printable, short, table
from reelseek.errors import ConfigError, IndexError_
from reelseek.index.encodable import encodable

SHOWN = 0.1
"""Seconds within which a time names a mark: the list shows tenths."""

if TYPE_CHECKING:
    from reelseek.index.marks import Mark
    from reelseek.index.store import IndexedFile


def parse(words: Sequence[str]) -> Namespace:
    """--index DIR QUERY PATH [--at TIME] --good|--bad|--undo, or --index DIR --list; [--json]."""
    options = parser(
        "mark",
        "Say of one answer of a query whether it is right. Marks stay with the index, whatever its model; "
        "`reelseek evaluate DIR` measures by them and `reelseek adapt` learns from them. The latest mark of the same "
        "query, file and moment counts; a mark of a whole file is one of its own.",
    )
    options.usage = "reelseek mark --index DIR (QUERY PATH [--at TIME] (--good|--bad|--undo) | --list) [--json]"
    options.add_argument("words", nargs="*", metavar="QUERY PATH", help="what was looked for, and a file of the index")
    options.add_argument("--index", required=True, metavar="DIR", help="an index made by `reelseek index`")
    options.add_argument(
        "--at", default="", metavar="TIME", help="the moment meant, as 90 or 1:30; else the whole file"
    )
    options.add_argument("--good", action="store_true", help="it is a right answer")
    options.add_argument("--bad", action="store_true", help="it is a wrong answer")
    options.add_argument("--undo", action="store_true", help="take back what was marked of the file, or --at a time")
    options.add_argument("--list", action="store_true", help="show the marks that count")
    options.add_argument("--json", action="store_true", help="a JSON object for each mark kept, taken back or listed")
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Keep or take back one mark, or list them all."""
    from reelseek.index.store import list_files

    if arguments.list + arguments.good + arguments.bad + arguments.undo != 1:
        raise ConfigError("give one of --good, --bad, --undo and --list.")
    directory = Path(arguments.index)
    if arguments.list:
        if arguments.words or arguments.at:
            raise ConfigError("--list shows every mark: it takes no query, file or time.")
        return _list(directory, as_json=arguments.json)
    if len(arguments.words) != 2 or not arguments.words[0].strip():
        raise ConfigError('it takes a query and a file of the index: reelseek mark --index DIR "a red car" car.mp4.')
    query, path = arguments.words[0].strip(), Path(os.path.abspath(arguments.words[1]))
    file = next((row for row in list_files(directory) if row.path == path and row.status == "ok"), None)
    if file is None:
        raise IndexError_(f"{path}: the index holds no such video. `reelseek index list` shows what it holds.")
    return _judge(directory, query, file, arguments)


def _judge(directory: Path, query: str, file: IndexedFile, arguments: Namespace) -> int:
    from reelseek.index.marks import TAKEN_BACK, Mark, drop_mark, folded, keep_mark, read_marks
    from reelseek.index.query import parse_seconds

    start, end = 0.0, file.duration
    if arguments.at:
        start = end = parse_seconds(arguments.at)
        if start > file.duration:
            raise ConfigError(f"--at {arguments.at}: {printable(file.path.name)} lasts {clock(file.duration)}.")
    told = f"{printable(query)!r}, {short(str(file.path))}" + (f" at {clock(start)}" if arguments.at else "")
    if arguments.undo:
        meant = [
            mark
            for mark in read_marks(directory)
            if (folded(mark.query), mark.content_hash) == (folded(query), file.content_hash)
            and (not arguments.at or (abs(mark.peak - start) < SHOWN and not _of_whole_file(mark, file)))
        ]
        if not meant:
            raise IndexError_(f"{told}: there is no such mark. `reelseek mark --list` shows them.")
        for mark in meant:
            drop_mark(directory, mark.query, mark.content_hash, mark.peak, (mark.start, mark.end))
            if arguments.json:
                print(json.dumps(encodable({**mark._asdict(), TAKEN_BACK: True})))
        if not arguments.json:
            print(f"taken back: {told}")
        return 0
    mark = Mark(query, str(file.path), file.content_hash, start, end, start, arguments.good, time.time())
    keep_mark(directory, mark)
    print(json.dumps(encodable(mark._asdict())) if arguments.json else f"{'right' if mark.good else 'wrong'}: {told}")
    return 0


def _of_whole_file(mark: Mark, file: IndexedFile) -> bool:
    return mark.start == mark.peak == 0 < mark.end == file.duration


def _list(directory: Path, *, as_json: bool) -> int:
    from reelseek.index.marks import folded, read_marks
    from reelseek.index.store import list_files

    marks = read_marks(directory)
    here: dict[str, dict[str, IndexedFile]] = {}
    for file in list_files(directory):
        if file.status == "ok":
            here.setdefault(file.content_hash, {})[str(file.path)] = file
    now: list[IndexedFile | None] = []
    for mark in marks:
        found = here.get(mark.content_hash, {})
        now.append(found.get(mark.path) or next(iter(found.values()), None))
    if as_json:
        for mark, held in zip(marks, now, strict=True):
            path = mark.path if held is None else str(held.path)
            print(json.dumps(encodable({**mark._asdict(), "path": path, "in_library": held is not None})))
        return 0
    rows = [
        (
            "right" if mark.good else "wrong",
            printable(mark.query),
            "whole" if held is not None and _of_whole_file(mark, held) else clock(mark.peak),
            f"{short(mark.path)}   (not in the index now)" if held is None else short(str(held.path)),
        )
        for mark, held in zip(marks, now, strict=True)
    ]
    queries = len({folded(mark.query) for mark in marks})
    table(f"{directory}: marks {len(marks)}, queries {queries}", ["", "query", "at", "path"], rows, right=[2])
    return 0
