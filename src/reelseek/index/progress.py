"""How far the process is that writes to an index now: a small file beside the lock, for others to read.

The file is replaced as a whole and counts only while the lock is held; whoever takes the lock deletes what a killed
writer left. Not here: the lock (`reelseek.index.disk`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reelseek.index.disk import PROGRESS, is_written

EVERY_SECONDS = 0.5


class Indexing(NamedTuple):
    """A run that writes now. done, total: files; None before they are counted, or where it counts none."""

    done: int | None
    total: int | None


def indexing_now(directory: Path) -> Indexing | None:
    """What the process that writes to an index has told of itself; None where none writes."""
    if not is_written(directory):
        return None
    try:
        known = json.loads((directory / PROGRESS).read_text(encoding="utf-8"))
        return Indexing(int(known["done"]), int(known["total"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Indexing(None, None)


def telling(directory: Path, progress: Callable[[int, int], None] | None) -> Callable[[int, int], None]:
    """A `progress` that also keeps (done, total) in the file, at most twice a second. Call it under the lock.

    What cannot be written is left out.
    """
    told = float("-inf")

    def tell(done: int, total: int) -> None:
        nonlocal told
        if progress is not None:
            progress(done, total)
        now = time.monotonic()
        if now - told >= EVERY_SECONDS or done == total:
            told = now
            part = directory / f"{PROGRESS}.part"
            # an index is worth more than what is told of its making
            with suppress(OSError):
                part.write_text(json.dumps({"done": done, "total": total}), encoding="utf-8")
                part.replace(directory / PROGRESS)

    return tell
