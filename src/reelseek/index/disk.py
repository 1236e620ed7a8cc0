"""The two ways in which an index directory is touched: under the one write lock, and read beside a writer.

Turns what the system or Lance says into sentences. Knows no table.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from reelseek.errors import IndexError_, IndexLocked
from reelseek.lock import held

LOCK = "write.lock"
PROGRESS = "progress.json"
R = TypeVar("R")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the one process that writes to `directory`, which is made if missing.

    The operating system frees the lock when its holder ends, however it ends. Raises IndexLocked almost at once, naming
    the holder; IndexError_ where nothing can be written.
    """
    try:
        str(directory.absolute()).encode()
    except UnicodeEncodeError:
        raise IndexError_(f"{directory}: its name is no UTF-8 text, which an index needs. Name another one.") from None
    with ExitStack() as stack:
        with writes(directory):
            directory.mkdir(parents=True, exist_ok=True)
            holder = stack.enter_context(held(directory / LOCK))
            if not holder:
                (directory / PROGRESS).unlink(missing_ok=True)
        if holder:
            raise IndexLocked(f"{directory}: {holder} is writing to this index. Try again when it is done.")
        try:
            yield
        finally:
            with suppress(OSError):
                (directory / PROGRESS).unlink(missing_ok=True)


def is_written(directory: Path) -> bool:
    """Whether some process holds the lock of `directory` now."""
    try:
        handle = os.open(directory / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def read_again(directory: Path, read: Callable[[], R]) -> R:
    """Read again while a writer clears old versions away under the reader; a lasting error is damage."""
    for _ in range(4):
        try:
            return read()
        except (OSError, ValueError) as error:
            last = error
            time.sleep(0.05)
    raise IndexError_(
        f"{directory}: the index cannot be read ({_first_line(last)}). If it is damaged, delete it and index again."
    ) from last


@contextmanager
def writes(directory: Path) -> Iterator[None]:
    """Turn what the system or Lance says about a failed write into a sentence; the index keeps its last commit."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        said = re.search(r"os error (\d+)", str(error))
        number = getattr(error, "errno", None) or (int(said[1]) if said else 0)
        reason = os.strerror(number) if number else _first_line(error)
        advice = (
            "Name a directory that you may write to."
            if number in (EACCES, EPERM, EROFS)
            else ("Free some space there or name a directory on another disk.")
        )
        raise IndexError_(
            f"{directory}: the index cannot be written ({reason}). {advice} "
            "What was indexed before is kept, and the same command goes on from there."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0].split(", /")[0][:300]
