"""Which files an index holds, with their links resolved: what may be served.

Not here: ids and routes (`reelseek.app.media`), searches (`reelseek.app.service`).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from stat import S_ISREG

from reelseek.errors import NotInIndex
from reelseek.index.cards import open_index
from reelseek.index.store import IndexedFile, read_files, versions

LOOK_EVERY = 2.0
"""Seconds after which a question looks whether the index has changed."""

Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds."""


class Held:
    """The readable files of an index as it is now, or was at most `LOOK_EVERY` seconds ago. May be shared by threads.

    A link is resolved once for each row of the index: a file that is swapped for a link afterwards leads nowhere.
    Before that only its stamp tells (see `unchanged`), since an index does not keep where its links led.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._real: dict[tuple[str, str, Stamp], str] = {}
        self._stamps: dict[tuple[str, str], set[Stamp]] = {}
        self._version: tuple[str, int, int] | None = None
        self._looked = -math.inf

    def look(self) -> list[IndexedFile]:
        """Look at the index now; every file it knows, broken ones included. Raises as `open_index`."""
        with self._lock:
            return self._look()

    def stamps(self, path: str, content: str) -> Collection[Stamp]:
        """Of a path with every link resolved: the stamps with which it was indexed with this content hash, or none."""
        with self._lock:
            if time.monotonic() - self._looked > LOOK_EVERY:
                if versions(open_index(self._directory)) != self._version:
                    self._look()
                self._looked = time.monotonic()
            return self._stamps.get((path, content), ())

    def _look(self) -> list[IndexedFile]:
        index = open_index(self._directory)
        # what is written meanwhile counts as a change
        self._version = versions(index)
        files = read_files(index.tables)
        good = [file for file in files if file.status == "ok"]
        rows = [(str(file.path), file.content_hash, (file.size, file.mtime_ns)) for file in good]
        self._real = {row: self._real.get(row) or os.path.realpath(row[0]) for row in rows}
        stamps = defaultdict(set)
        for (_, content, stamp), real in self._real.items():
            stamps[real, content].add(stamp)
        self._stamps = dict(stamps)
        self._looked = time.monotonic()
        return files


def unchanged(path: str, content: str, stamps: Callable[[str, str], Collection[Stamp]]) -> tuple[Path, os.stat_result]:
    """A file of the index, with every link resolved, and what the system says of it. stamps: see `Held.stamps`.

    Raises NotInIndex: it is gone, not of the index (any more), or not as it was indexed.
    """
    try:
        real = Path(path).resolve(strict=True)
        facts = real.stat()
    except (OSError, RuntimeError, ValueError) as error:
        raise NotInIndex("The file is gone or cannot be reached. Index its folder again.") from error
    known = stamps(str(real), content)
    if not known or not S_ISREG(facts.st_mode):
        raise NotInIndex("The index does not hold this video here any more. Search again.")
    if (facts.st_size, facts.st_mtime_ns) not in known:
        raise NotInIndex("The file has changed since it was indexed. Update the index, and search again.")
    return real, facts
