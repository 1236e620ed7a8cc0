"""Search results as files: the format follows the ending of the name, and a folder takes the clips themselves.

Every file appears whole or not at all, and none is replaced unasked. What a format holds is made by pure functions from
query and hits to bytes (`FORMATS`), which serve without any file as well. Not here: those functions (`export_text`,
`export_edit`, `export_sheet`), cutting (`reelseek.video.cut`).
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from reelseek.errors import ConfigError, ExportError, VideoError
from reelseek.index.export_edit import edit_list, timeline
from reelseek.index.export_sheet import sheet_jpeg, sheet_png
from reelseek.index.export_text import Export, Row, csv_table, json_lines, safe_name, subrip, web_vtt
from reelseek.records import BrokenFile, Hit
from reelseek.video.cut import Cut, cut

TABLES: dict[str, Callable[[str, Sequence[Row]], Export]] = {".jsonl": json_lines, ".csv": csv_table}
"""The formats that hold all that is known of a hit."""
FORMATS: dict[str, Callable[[str, Sequence[Hit]], Export]] = {
    **TABLES,
    ".srt": subrip,
    ".vtt": web_vtt,
    ".edl": edit_list,
    ".otio": timeline,
    ".png": sheet_png,
    ".jpg": sheet_jpeg,
    ".jpeg": sheet_jpeg,
}
"""What is written under which ending."""

# seconds after which an unfinished file is one that a killed run left
_LEFT = 3600


class Written(NamedTuple):
    """A file that is there now. cut: how it was made, for a clip."""

    path: Path
    hit: Hit | None = None
    cut: Cut | None = None


def check_outs(outs: Sequence[str], *, overwrite: bool = False) -> None:
    """Refuse early what `write_results` would refuse after the search.

    Raises ConfigError for an ending that no format has or a name given twice, ExportError for a file in the way.
    """
    places = [os.path.abspath(out) for out in outs]
    for out, place in zip(outs, places, strict=True):
        if places.count(place) > 1:
            raise ConfigError(f"{out}: is named twice; every format needs a name of its own")
        if _ending(out):
            _check_free(Path(out), overwrite=overwrite)
        elif os.path.lexists(out) and not os.path.isdir(out):
            raise ExportError(f"{out}: is a file, and clips need a folder; name another one")


def write_results(
    query: str,
    hits: Sequence[Hit],
    out: str,
    *,
    records: Sequence[Row] | None = None,
    overwrite: bool = False,
    mode: str = "exact",
) -> Iterator[Written | BrokenFile]:
    """Write hits under a name, and yield every file as soon as it is there, and every video that could not be read.

    out: a name whose ending is in `FORMATS`, or a folder for clips: one without an ending, with a "/" at its end, or
    one that exists. Subtitles of several videos, and edit decision lists of several frame rates, put their own part
    before the ending: found.bikes.srt. Missing folders are made. records: what is known of each hit, for the
    formats of `TABLES`; else the hits themselves. mode: of `reelseek.video.cut.cut`.
    Raises ConfigError and ExportError as `check_outs` does (before anything is written), ExportError where not one
    video can be read, OSError where the disk refuses.
    """
    ending = _ending(out)
    if not ending:
        made = _clips(hits, Path(out), mode, overwrite)
    elif records is not None and ending in TABLES:
        made = _documents(TABLES[ending](query, records), out, overwrite)
    else:
        made = _documents(FORMATS[ending](query, hits), out, overwrite)
    written = 0
    for one in made:
        written += isinstance(one, Written)
        yield one
    if hits and not written:
        raise ExportError(f"{out}: nothing is written, for none of the videos can be read; index their folder again")


def clip_names(hits: Sequence[Hit]) -> list[str]:
    """A file name for each hit's clip: rank, name of the video, start; all different, none with a path in it."""
    digits = max(2, len(str(len(hits))))
    return [f"{rank:0{digits}d}-{safe_name(hit.path)}-{_moment(hit.start)}.mp4" for rank, hit in enumerate(hits, 1)]


def _ending(out: str) -> str:
    """The format's ending, "" for a folder of clips."""
    if not out.strip():
        raise ConfigError("the name of the file to write is empty")
    ending = Path(out).suffix.lower()
    if out.endswith(("/", os.sep)) or not ending:
        return ""
    if ending in FORMATS:
        return ending
    if os.path.isdir(out):
        return ""
    raise ConfigError(
        f"{out}: there is no format {ending}; the endings are {', '.join(FORMATS)}, and a name with / at its end is a "
        "folder for clips"
    )


def _documents(made: Export, out: str, overwrite: bool) -> Iterator[Written | BrokenFile]:
    path = Path(out)
    targets = [path.with_name(f"{path.stem}.{doc.part}{path.suffix}") if doc.part else path for doc in made.documents]
    for target in targets:
        _check_free(target, overwrite=overwrite)
    for target, document in zip(targets, made.documents, strict=True):
        with _appearing(target, overwrite=overwrite) as part:
            part.write_bytes(document.content)
        yield Written(target)
    yield from made.broken


def _clips(hits: Sequence[Hit], folder: Path, mode: str, overwrite: bool) -> Iterator[Written | BrokenFile]:
    targets = [folder / name for name in clip_names(hits)]
    sources = {os.path.realpath(hit.path) for hit in hits}
    for target in targets:
        if os.path.realpath(target) in sources:
            raise ExportError(f"{target}: is one of the videos that were found; name another folder")
        _check_free(target, overwrite=overwrite)
    for hit, target in zip(hits, targets, strict=True):
        try:
            with _appearing(target, overwrite=overwrite) as part:
                done = cut(Path(hit.path), hit.start, hit.end, part, mode=mode)
        except VideoError as error:
            yield BrokenFile(Path(hit.path), str(error))
        else:
            yield Written(target, hit, done)


def _check_free(target: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise ExportError(f"{target}: is a folder; name a file")
    if not overwrite and os.path.lexists(target):
        raise _in_the_way(target)


def _in_the_way(target: Path) -> ExportError:
    return ExportError(f"{target}: is there already and is kept; name another file, or replace it with --overwrite")


@contextmanager
def _appearing(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A name beside `target` to write to; the file takes its place once it is whole and on disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    part = target.with_name(f".reelseek-{secrets.token_hex(6)}.part")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        if overwrite:
            os.replace(part, target)
        else:
            _place(part, target)
    finally:
        part.unlink(missing_ok=True)


def _place(part: Path, target: Path) -> None:
    """Give a file its name unless something has it by now."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise _in_the_way(target) from error
    except OSError as error:
        # a file system without links: the look and the move are two steps there
        if os.path.lexists(target):
            raise _in_the_way(target) from error
        os.replace(part, target)


def _sweep(folder: Path) -> None:
    for part in folder.glob(".reelseek-*.part"):
        if time.time() - part.stat().st_mtime > _LEFT:
            part.unlink(missing_ok=True)


def _moment(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 36000}h{tenths // 600 % 60:02d}m{tenths % 600 / 10:04.1f}s"
