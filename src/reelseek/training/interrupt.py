"""Ctrl-C that waits for the end of a training step, so that what is saved afterwards is a whole number of steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Hold SIGINT back inside the block and let it come at its end; a second one is not held.

    What it then does is left as it was: a KeyboardInterrupt as a rule, nothing in a process that was started to ignore
    it, as a shell script's background jobs are. Outside the main thread, where Python delivers no signals, and under a
    handler that is not Python's it does nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    came = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)
