"""A watched folder: an index that follows what is added, changed, moved and removed, until it is told to stop.

It looks at names, sizes and times of change every few seconds. The system's own notices would come sooner, but not at
all for what another machine writes to a network drive, and a look costs little: one stat a file. A file counts once it
has looked the same for `SETTLED` seconds, so that nothing is read while it is still being written; a removal too, so
that a move is one. All waiting is by a clock that nobody can set.
Not here: what an update does (`reelseek.index.build`), what is printed (`reelseek.app.commands.index`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reelseek.config import IndexConfig
from reelseek.errors import IndexError_, IndexLocked, IndexMismatch, NotAnIndex
from reelseek.index import cards, store
from reelseek.index.build import IndexReport, update
from reelseek.index.plan import is_below
from reelseek.index.store import IndexedFile
from reelseek.index.subtitles import beside
from reelseek.records import Method
from reelseek.video.files import find_videos

EVERY = 2.0
"""Seconds between two looks, or nine times as long as a look took, whichever is more."""
SETTLED = 5.0
"""Seconds for which a file must have looked the same."""
AGAIN = 30.0
"""Seconds after which an update that failed, for instance on a full disk, is tried again."""

Stamp = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of a file and of the subtitles beside it: what an update goes by."""


class Change(NamedTuple):
    """One path of an index that is not as it was. was: where a moved file was before. reason: of one set aside."""

    kind: Literal["added", "changed", "moved", "removed", "set aside"]
    path: Path
    was: Path | None = None
    reason: str = ""


def watch(
    directory: Path,
    folders: Sequence[Path],
    method: Method,
    *,
    model_card: Mapping[str, Any],
    tell: Callable[[IndexReport, list[Change]], None],
    say: Callable[[str], None],
    config: IndexConfig | None = None,
    keep_frames: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    every: float = EVERY,
    settled: float = SETTLED,
) -> None:
    """Bring an index up to date, and again whenever something has changed, until `stop` is set or Ctrl-C.

    tell: called after every update. say: called with a sentence, once, when a folder disappears or comes back, when
    another process holds the index, and when an update fails; all of these are waited out.
    Raises IndexError_ at the start for a folder that is not there and never was, and at any time IndexMismatch and
    NotAnIndex: the index has got another model, or is gone.
    """
    places = [Path(os.path.abspath(folder)) for folder in folders]
    stop = stop or threading.Event()
    seen = _Seen(settled)
    for place in places:
        if not place.exists() and not knows(place, directory):
            raise IndexError_(f"{place}: is not there. Name a folder that is, or make it first.")
    trouble = ""
    wait = 0.0
    while not stop.wait(wait):
        begun = time.monotonic()
        here = [place for place in places if seen.look(place, directory, say)]
        wait = max(every, 9 * (time.monotonic() - begun))
        files = seen.ready()
        if files is None:
            continue
        before = store.list_files(directory) if cards.is_index(directory) else []
        try:
            report = update(
                directory,
                here,
                method,
                model_card=model_card,
                config=config,
                files=files,
                keep_frames=keep_frames,
                progress=progress,
            )
        except (IndexMismatch, NotAnIndex):
            raise
        except IndexError_ as error:
            if str(error) != trouble:
                say(f"{error} It is tried again.")
            trouble = str(error)
            wait = wait if isinstance(error, IndexLocked) else max(wait, AGAIN)
            continue
        trouble = ""
        seen.taken()
        tell(report, changes(before, store.list_files(directory)))


def changes(before: Sequence[IndexedFile], after: Sequence[IndexedFile]) -> list[Change]:
    """What differs between two lists of an index's files, in order of path; a copy counts as added."""
    old = {row.path: row for row in before}
    new = {row.path: row for row in after}
    left = {row.content_hash: path for path, row in old.items() if path not in new and row.status == "ok"}
    found: list[Change] = []
    for path, row in new.items():
        was = old.get(path)
        if row.status == "broken":
            if was is None or was[1:6] != row[1:6]:
                found.append(Change("set aside", path, reason=row.reason))
        elif was is None and row.content_hash in left:
            found.append(Change("moved", path, was=left.pop(row.content_hash)))
        elif was is None or was.status == "broken":
            found.append(Change("added", path))
        elif was.content_hash != row.content_hash:
            found.append(Change("changed", path))
    moved = {change.was for change in found}
    found += [Change("removed", path) for path in old if path not in new and path not in moved]
    return sorted(found, key=lambda change: os.fsencode(change.path))


class _Seen:
    """What every file looked like and since when, what the last update saw of it, and which places are away."""

    def __init__(self, settled: float) -> None:
        self.settled = settled
        self.files: dict[Path, tuple[Stamp | None, float]] = {}
        self.done: dict[Path, Stamp | None] = {}
        self.offered: dict[Path, Stamp | None] = {}
        self.away: set[Path] = set()
        self.begun = False

    def look(self, place: Path, directory: Path, say: Callable[[str], None]) -> bool:
        """Look at a place's files now; False, and all of them stay as they were, where it is not there."""
        now = time.monotonic()
        found = _stamps(place)
        if not found and (not place.exists() or knows(place, directory)):
            if place not in self.away:
                self.away.add(place)
                what = "holds no video now" if place.exists() else "is not there"
                say(
                    f"{place}: {what}. What the index knows below it stays; it is looked for again. "
                    f"If it was deleted, run `reelseek index remove {place}`."
                )
            return False
        if place in self.away:
            self.away.remove(place)
            say(f"{place}: is there again.")
        for path in found.keys() | {path for path in self.files if is_below(path, [place])}:
            stamp = found.get(path)
            if path not in self.files:
                # Whatever has lain there for a while need not be waited for; a clock set wrongly only makes it wait.
                old = stamp is not None and all(0 <= part[2] / 1e9 <= time.time() - self.settled for part in stamp)
                self.files[path] = stamp, now - self.settled if old else now
            elif self.files[path][0] != stamp:
                self.files[path] = stamp, now
        return True

    def ready(self) -> list[Path] | None:
        """The files that are there and settled; None where none of them, and no removal, is news."""
        now = time.monotonic()
        still = {path: stamp for path, (stamp, since) in self.files.items() if now - since >= self.settled}
        leaving = any(stamp is None and path not in still for path, (stamp, _) in self.files.items())
        news = any(path not in self.done or self.done[path] != stamp for path, stamp in still.items())
        if leaving or not (news or not self.begun):
            return None
        self.offered = still
        return [path for path, stamp in still.items() if stamp is not None]

    def taken(self) -> None:
        """An update has seen what `ready` gave."""
        self.begun = True
        self.done |= self.offered
        for path in [path for path, stamp in self.offered.items() if stamp is None]:
            del self.files[path], self.done[path]


def knows(place: Path, directory: Path) -> bool:
    """Whether there is an index and it holds something below a place."""
    return cards.is_index(directory) and any(is_below(row.path, [place]) for row in store.list_files(directory))


def _stamps(place: Path) -> dict[Path, Stamp]:
    """Every video below a folder, or the file itself; {} where it is not there."""
    if not place.exists():
        return {}
    found: dict[Path, Stamp] = {}
    videos = [place] if place.is_file() else find_videos(place)
    said = beside(videos)
    for path in videos:
        with suppress(OSError):
            files = [(path, path.stat()), *said.get(path, [])]
            found[path] = tuple((file.name, stat.st_size, stat.st_mtime_ns) for file, stat in files)
    return found
