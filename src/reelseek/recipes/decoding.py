"""How many processes decode beside a training process, and how far they run ahead of it.

They hand over clips one by one, through shared memory: what waits there is bounded in bytes, whatever a batch holds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torch.utils.data import DataLoader

from reelseek.data.clips import Clip, ClipDataset
from reelseek.records import BrokenFile

AHEAD = 1 << 30
"""Bytes of decoded clips that may wait on a machine, for all its training processes together."""
SHARED = Path("/dev/shm")
"""Where they wait on Linux. Containers often have 64 MB of it, and a process that writes beyond that dies."""
MOST_FILES = 256
"""Clips that may wait for one process: each is an open file, of which a process has 1,024 as a rule."""
MOST_DECODERS = 8


class Crew(NamedTuple):
    """Processes that decode for one training process, and how many clips each may have ready. Without any, the training
    process decodes by itself.
    """

    workers: int
    ready: int


def decoders(asked: int, *, clip_bytes: int, batch: int) -> Crew:
    """The crew of this process, one of $LOCAL_WORLD_SIZE on its machine.

    asked: `train.workers`; at -1 a share of the cores that this process may use, less one, at most `MOST_DECODERS`. In
    either case no more than shared memory holds clips for. batch: clips of a step, beyond which none runs ahead.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    room = min(AHEAD, shutil.disk_usage(SHARED).free // 2) if SHARED.is_dir() else AHEAD
    waiting = min(room // (local * clip_bytes), batch, MOST_FILES)
    workers = min(asked if asked >= 0 else min(MOST_DECODERS, max(0, cores() // local - 1)), waiting)
    return Crew(workers, max(1, waiting // max(1, workers)))


def cores() -> int:
    """Processors that this process may run on, which in a container or a job are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_ahead(dataset: ClipDataset, texts: Sequence[int], crew: Crew) -> Iterator[Clip | BrokenFile]:
    """The clips of these texts in their order, decoded ahead by the crew."""
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=texts,
        num_workers=crew.workers,
        prefetch_factor=crew.ready if crew.workers else None,
    )
    for clip in loader:
        # A copy gives back the shared memory and its open file, however long a batch is being gathered.
        yield clip._replace(pixels_F3SS=clip.pixels_F3SS.clone()) if crew.workers and isinstance(clip, Clip) else clip
