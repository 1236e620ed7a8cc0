"""What an update has to do: which files are new, changed, moved or gone, read from sizes, times and content hashes.

Reads the folders and, only where a length matches, files' bytes; writes nothing.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reelseek.embed_pipeline import content_hash
from reelseek.errors import IndexError_, VideoError
from reelseek.index.store import IndexedFile, Stored
from reelseek.video.files import find_videos


class Emptied(NamedTuple):
    """A folder that is empty now, and how many files the index keeps below it: its disk may not be mounted."""

    folder: Path
    files: int


class Plan(NamedTuple):
    """The rows before anything is embedded (kept and ready), and groups of rows of equal content to embed.

    content_hash is "" where it was not taken. unchanged, moved, adopted, removed: numbers of paths.
    """

    kept: list[IndexedFile]
    ready: list[IndexedFile]
    groups: list[list[IndexedFile]]
    unchanged: int
    moved: int
    adopted: int
    removed: int
    emptied: Sequence[Emptied] = ()


def find(places: Sequence[Path], known: Sequence[IndexedFile]) -> list[Path]:
    """All videos below folders (or files named themselves), each once.

    Raises IndexError_ for a place without any video although `known` files lie below it.
    """
    found: dict[Path, None] = {}
    for place in places:
        videos = [place] if place.is_file() else find_videos(place)
        lost = [] if videos else [row for row in known if is_below(row.path, [place])]
        if lost:
            raise IndexError_(
                f"{place}: holds no video now, but the index knows {len(lost)} below it. Is a disk not mounted? "
                f"If they were deleted, run `reelseek index remove {place}`."
            )
        found |= dict.fromkeys(videos)
    return list(found)


def make_plan(
    known: Sequence[IndexedFile], found: Sequence[Path], stored: Mapping[str, Stored], places: Sequence[Path]
) -> Plan:
    """Compare the files found with those known and with the contents stored.

    Only a known file below `places` can be gone, and only if the system says that it does not exist; one that was found
    and cannot be looked at stays as it is. So do files of a folder that is empty now, unless their content lies
    elsewhere: a disk that is not mounted leaves such a folder. Raises IndexError_ where all that was found has gone
    meanwhile.
    """
    rows = {row.path: row for row in known}
    named = {row.content_hash for row in known if row.status == "ok"}
    looked = [_look(path) for path in found]
    hidden = [row.path for row in looked if row.size < 0 and row.path in rows]
    looked = [row for row in looked if row.size >= 0 or row.path not in rows]
    fresh = [row for row in looked if not _same(rows.get(row.path), row, stored)]
    still = {row.path for row in looked} - {row.path for row in fresh}
    present = {row.path for row in looked} | set(hidden)
    inside = below(places)
    gone = {row.path for row in known if row.path not in present and inside(row.path) and _is_gone(row.path)}
    for place in places:
        _check_still_there(place, gone, found)
    leaving = gone | {row.path for row in fresh}
    # Only a file as long as another can have its content; the others are read once, by whoever embeds them.
    sizes = Counter([*(row.size for row in fresh), *(entry.size for entry in stored.values())])
    ready: list[IndexedFile] = []
    groups: dict[str, list[IndexedFile]] = {}
    for row in fresh:
        key = _hash(row.path) if sizes[row.size] > 1 else ""
        if key in stored:
            ready.append(row._replace(content_hash=key, duration=stored[key].end, indexed_at=time.time()))
        else:
            groups.setdefault(key or str(row.path), []).append(row._replace(content_hash=key))
    named_now = {row.content_hash for row in known if row.path not in leaving} | {row.content_hash for row in ready}
    lost = [rows[path] for path in gone if rows[path].status == "ok" and rows[path].content_hash not in named_now]
    looked_into: dict[Path, Path | None] = {}
    emptied = {row.path: folder for row in lost if (folder := _emptied(row.path.parent, looked_into)) is not None}
    leaving -= emptied.keys()
    kept = [row for row in known if row.path not in leaving]
    touched = sum(row.path in rows and rows[row.path].content_hash == row.content_hash for row in ready)
    adopted = sum(row.content_hash not in named for row in ready)
    # of broken files whose hash was not taken none says where another one is
    here = {row.content_hash for row in kept + ready} - {""}
    return Plan(
        kept=kept,
        ready=ready,
        groups=list(groups.values()),
        unchanged=sum(rows[path].status == "ok" for path in still) + touched,
        moved=len(ready) - touched - adopted,
        adopted=adopted,
        removed=sum(rows[path].content_hash not in here for path in gone),
        emptied=[Emptied(*entry) for entry in sorted(Counter(emptied.values()).items())],
    )


def _check_still_there(place: Path, gone: Collection[Path], found: Sequence[Path]) -> None:
    """A disk may be taken away while its folders are walked; then all that was found on it is not there any more."""
    if not any(is_below(path, [place]) for path in gone):
        return
    there = [path for path in found if is_below(path, [place])]
    if there and all(map(_is_gone, there)):
        raise IndexError_(
            f"{place}: went away while it was read. The index stays as it is; run the same command when it is there "
            "again."
        )


def _look(path: Path) -> IndexedFile:
    try:
        stat = path.stat()
        size, mtime_ns = stat.st_size, stat.st_mtime_ns
    except OSError:
        size = mtime_ns = -1
    return IndexedFile(path, size, mtime_ns, "", 0.0, "ok", "", 0.0)


def _same(old: IndexedFile | None, new: IndexedFile, stored: Mapping[str, Stored]) -> bool:
    if old is None or new.size < 0 or (old.size, old.mtime_ns) != (new.size, new.mtime_ns):
        return False
    return old.status == "broken" or old.content_hash in stored


def _hash(path: Path) -> str:
    try:
        return content_hash(path)
    except VideoError:
        return ""


def _is_gone(path: Path) -> bool:
    # A folder that may not be read hides its files; only a clear "no such file" removes one.
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _emptied(folder: Path, looked_into: dict[Path, Path | None]) -> Path | None:
    """The nearest folder, this one or one above, that is there, if it is empty."""
    if folder not in looked_into:
        try:
            with os.scandir(folder) as entries:
                looked_into[folder] = None if any(entries) else folder
        except (FileNotFoundError, NotADirectoryError):
            looked_into[folder] = _emptied(folder.parent, looked_into)
        except OSError:
            looked_into[folder] = None
    return looked_into[folder]


def as_planned(row: IndexedFile) -> bool:
    """Whether a file still has the size and time of change that it had when the plan was made."""
    now = _look(row.path)
    return (now.size, now.mtime_ns) == (row.size, row.mtime_ns)


def below(places: Iterable[Path]) -> Callable[[Path], bool]:
    """Whether a path is one of `places` or lies below one, as a function of the path; quick for thousands of places."""
    prefixes = tuple(str(place).rstrip("/") + "/" for place in places)
    return lambda path: f"{path}/".startswith(prefixes)


def with_folders(paths: Iterable[Path]) -> set[str]:
    """Paths and all folders above them: every place that one of them `is_below`."""
    places: set[str] = set()
    for path in paths:
        place = str(path)
        while place not in places:
            places.add(place)
            place = os.path.dirname(place)
    return places


def is_below(path: Path, places: Iterable[Path]) -> bool:
    """Whether a path is one of `places` or lies below one."""
    return below(places)(path)
