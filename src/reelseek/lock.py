"""One process at a time: a file whose lock the operating system frees when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HANDLES: set[int] = set()


@contextmanager
def held(file: Path) -> Iterator[str]:
    """Hold `file`, made if missing, and yield ""; or yield, almost at once, who holds it. OSError passes."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    _HANDLES.add(handle)
    try:
        if not _taken(handle):
            yield os.read(handle, 1000).decode(errors="replace").strip() or "another process"
            return
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()} (since {since})".encode(), 0)
        try:
            yield ""
        finally:
            if handle in _HANDLES:
                os.truncate(handle, 0)
    finally:
        if handle in _HANDLES:  # not so in a fork of the holder
            _HANDLES.remove(handle)
            os.close(handle)


def _taken(handle: int) -> bool:
    # Whoever asks whether the lock is held takes a part of it for some microseconds: that is no holder.
    for wait in (0.01, 0.05, 0.1, 0.0):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(wait)
        else:
            return True
    return False


def _let_go() -> None:
    for handle in _HANDLES:
        os.close(handle)
    _HANDLES.clear()


# A fork shares the lock, and processes that decode outlive a killed holder by some seconds.
os.register_at_fork(after_in_child=_let_go)
