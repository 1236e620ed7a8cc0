"""Which files an index holds, with their links resolved: what may be served.

Not here: ids and routes (`reelseek.app.media`), searches (`reelseek.app.service`).
"""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path

from reelseek.index.cards import open_index
from reelseek.index.store import IndexedFile, read_files, versions

LOOK_EVERY = 2.0
"""Seconds after which a question looks whether the index has changed."""


class Held:
    """The readable files of an index as it is now, or was at most `LOOK_EVERY` seconds ago. May be shared by threads.

    A link is resolved once for each row of the index: a file that is swapped for a link afterwards leads nowhere.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._real: dict[tuple[str, str, int], str] = {}
        self._pairs: set[tuple[str, str]] = set()
        self._version: tuple[str, int, int] | None = None
        self._looked = -math.inf

    def look(self) -> list[IndexedFile]:
        """Look at the index now; every file it knows, broken ones included. Raises as `open_index`."""
        with self._lock:
            return self._look()

    def holds(self, path: str, content: str) -> bool:
        """Whether a path with every link resolved is a file of the index with this content hash."""
        with self._lock:
            if time.monotonic() - self._looked > LOOK_EVERY:
                if versions(open_index(self._directory)) != self._version:
                    self._look()
                self._looked = time.monotonic()
            return (path, content) in self._pairs

    def _look(self) -> list[IndexedFile]:
        index = open_index(self._directory)
        # what is written meanwhile counts as a change
        self._version = versions(index)
        files = read_files(index.tables)
        rows = [(str(file.path), file.content_hash, file.mtime_ns) for file in files if file.status == "ok"]
        self._real = {row: self._real.get(row) or os.path.realpath(row[0]) for row in rows}
        self._pairs = {(real, content) for (_, content, _), real in self._real.items()}
        self._looked = time.monotonic()
        return files
