"""Search results as text: JSON lines, CSV, and subtitles with a cue for every hit (SubRip, WebVTT).

File names and queries come from strangers. Bytes that are no text are backslash escapes; a path that has some stands
beside it percent-encoded (`path_encoded`). CSV has an apostrophe before a cell that a spreadsheet would take for a
formula. Subtitles hold no markup that did not come from here. All text is UTF-8. Not here: edit lists (`export_edit`),
pictures (`export_sheet`), writing files (`export`).
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reelseek.index.encodable import encodable
from reelseek.records import BrokenFile, Hit

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a cell starts with that a spreadsheet takes for a formula."""
LONGEST_NAME = 60

Row = Hit | Mapping[str, Any]
"""A hit, or all that is known of one as values of JSON, as `reelseek.index.ask.Answer.plain` gives it."""


class Document(NamedTuple):
    """A file to be written. part: what stands before the ending of the name asked for, "" for a single file."""

    part: str
    content: bytes


class Export(NamedTuple):
    """What became of the results: the files, and the videos that could not be read and have no part in them."""

    documents: list[Document]
    broken: list[BrokenFile]


def json_lines(query: str, rows: Sequence[Row]) -> Export:
    """One JSON object a line: query, rank (from 1), and all of a row, of a hit at least its fields."""
    records = [encodable({"query": query, "rank": rank, **_record(row)}) for rank, row in enumerate(rows, 1)]
    return _single("".join(json.dumps(record) + "\n" for record in records))


def csv_table(query: str, rows: Sequence[Row]) -> Export:
    """A header and one line a row, with what `json_lines` holds.

    A value of an object has a column of its own, `then.start`; a list is one cell of JSON; what is None is empty.
    """
    records = [_flat(encodable({"query": query, "rank": rank, **_record(row)})) for rank, row in enumerate(rows, 1)]
    columns = list(dict.fromkeys(["query", "rank", *Hit._fields, *(name for record in records for name in record)]))
    # an object that some rows have and others have not leaves an empty column of its own name
    objects = {column.rpartition(".")[0] for column in columns}
    used = {name for record in records for name, value in record.items() if value is not None}
    columns = [column for column in columns if column not in objects or column in used]
    file = io.StringIO(newline="")
    # by the standard, and so that a return in a name is put in quotes
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(record.get(column)) for column in columns] for record in records)
    return _single(file.getvalue())


def subrip(query: str, hits: Sequence[Hit]) -> Export:
    """SubRip, a file a video; cues in order of time. The angle and curly brackets of markup become ‹ › and ( )."""
    words = shown(query).translate(str.maketrans("<>{}", "‹›()"))
    return _subtitles("", ",", words, hits)


def web_vtt(query: str, hits: Sequence[Hit]) -> Export:
    """WebVTT, a file a video; cues in order of time."""
    return _subtitles("WEBVTT\n\n", ".", html.escape(shown(query), quote=False), hits)


def by_video(hits: Sequence[Hit]) -> dict[str, list[Hit]]:
    """The hits of every path, paths in the order of their best hit."""
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(hit.path, []).append(hit)
    return groups


def parts(names: Sequence[str]) -> list[str]:
    """Parts of file names for `Document`, all different even where letter case is ignored; [""] for a single name."""
    if len(names) == 1:
        return [""]
    taken: set[str] = set()
    made = []
    for name in names:
        part, number = name, 1
        while part.casefold() in taken:
            number += 1
            part = f"{name}-{number}"
        taken.add(part.casefold())
        made.append(part)
    return made


def safe_name(path: str) -> str:
    """The name of a video without its ending, fit to be a part of a new file's name on any system.

    Letters and digits of any script, "-" and "_" stay, the rest becomes "_"; at most 60 characters and 120 bytes, never
    empty.
    """
    name = re.sub(r"[^\w-]+", "_", Path(path).stem.encode("utf-8", "replace").decode()).strip("_")[:LONGEST_NAME]
    return name.encode()[:120].decode(errors="ignore") or "video"


def shown(text: str) -> str:
    """Text on one line that is safe to show: white space is one space, what has no shape or is no text is escaped."""
    return "".join(ch if ch.isprintable() else ascii(ch)[1:-1] for ch in " ".join(text.split()))


def _single(text: str) -> Export:
    return Export([Document("", text.encode())], [])


def _record(row: Row) -> dict[str, Any]:
    known = row._asdict() if isinstance(row, Hit) else row
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in known.items()}


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{before}{key}."))
        else:
            flat[before + key] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat


def _cell(value: str | float | None) -> str | float | None:
    # spaces before the sign do not stop a spreadsheet
    formula = isinstance(value, str) and value[:1] and (value[0] in FORMULA or value.lstrip(" ").startswith(FORMULA))
    return f"'{value}" if formula else value


def _subtitles(head: str, point: str, words: str, hits: Sequence[Hit]) -> Export:
    groups = by_video(hits)
    documents = []
    for part, own in zip(parts([safe_name(path) for path in groups]), groups.values(), strict=True):
        cues = []
        for number, hit in enumerate(sorted(own, key=lambda hit: (hit.start, hit.end)), 1):
            start = round(hit.start * 1000)
            end = max(start + 1, round(hit.end * 1000))
            cues.append(f"{number}\n{_time(start, point)} --> {_time(end, point)}\n{words} ({hit.score:.3f})\n")
        documents.append(Document(part, (head + "\n".join(cues)).encode()))
    return Export(documents, [])


def _time(milliseconds: int, point: str) -> str:
    seconds, part = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{part:03d}"
