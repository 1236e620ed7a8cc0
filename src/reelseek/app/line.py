"""The line in front of what takes a processor: so many calls at a time in threads, so many behind them, then 429.

Who waits too long is sent away without running, and who goes away while waiting leaves the line. What runs already is
finished: a thread cannot be stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from starlette.exceptions import HTTPException

Result = TypeVar("Result")
CLIENT_LEFT = 499
"""The status of a request whose client went away; nobody reads it but the metrics."""


class Line:
    """Runs `working` calls at a time, lets `waiting` more stand in line for at most `patience` seconds each."""

    def __init__(self, working: int, waiting: int, patience: float = 20.0) -> None:
        self._turns = asyncio.Semaphore(working)
        # threads of its own: others' work in the shared pool must not hold up whose turn it is
        self._threads = CapacityLimiter(working)
        self._room = working + waiting
        self._patience = patience
        self.inside = 0

    async def run(self, request: Request, work: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """The result of `work` in a thread.

        Raises HTTPException 429 where the line is full or the wait too long, 499 where the client left while it waited.
        """
        if self.inside >= self._room:
            raise _busy("Too many requests are waiting.")
        self.inside += 1
        try:
            await self._turn(request)
            try:
                return await to_thread.run_sync(partial(work, *arguments, **named), limiter=self._threads)
            finally:
                self._turns.release()
        finally:
            self.inside -= 1

    async def _turn(self, request: Request) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        turn, gone = asyncio.ensure_future(self._turns.acquire()), asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({turn, gone}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            left = gone.done()
        except asyncio.CancelledError:
            left = True
            raise
        finally:
            gone.cancel()
            if not turn.done():
                turn.cancel()
            with suppress(asyncio.CancelledError):
                await turn
            if not turn.cancelled() and left:
                self._turns.release()
        if left:
            raise HTTPException(CLIENT_LEFT, "The client went away.")
        if turn.cancelled():
            raise _busy(f"This has waited for {self._patience:g} s without its turn.")


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _busy(why: str) -> HTTPException:
    return HTTPException(429, f"{why} Try again in a second.", {"Retry-After": "1"})
