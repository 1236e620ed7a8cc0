"""Independent pieces of work side by side, one core each.

Small tensor operations gain little from many threads and wait for each other after every one (on a busy machine a scan
of an index took 17 ms with one thread and 150 ms with two); whole tiles do not. Not here: what a tile is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[None]:
    """One processor thread for many small steps, which would wait for each other, or for others that are at work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`work` of every item, in their order: as many at a time as torch has threads, each with one thread of its own.

    On the calling thread alone where torch has a single one. Raises what the first failing item raises.
    """
    threads, everything = torch.get_num_threads(), list(items)
    if threads == 1 or len(everything) == 1:
        return [work(item) for item in everything]
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def alone(item: Item) -> Result:
        # Both are settings of a thread, and a new one does not inherit them.
        with torch.inference_mode(inference), torch.set_grad_enabled(grad and not inference):
            return work(item)

    results = list(_pool(threads).map(alone, everything))
    if torch.get_num_threads() != threads:  # a build of torch where the setting is shared
        torch.set_num_threads(threads)
    return results


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: new ones for every call took 100 MB more, since each kept what another had given back."""
    return ThreadPoolExecutor(threads, initializer=_take_one)


def _take_one() -> None:
    # Asked first: a thread that torch does not know yet takes over what another thread set last.
    torch.get_num_threads()
    torch.set_num_threads(1)


# A forked process has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
