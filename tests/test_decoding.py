"""How many processes decode, and how much may wait in shared memory: from cores, processes and bytes."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from reelseek.recipes import decoding
from reelseek.recipes.decoding import AHEAD, MOST_DECODERS, MOST_FILES, Crew, cores, decoders

TWELVE, SIXTY_FOUR = 12 * 3 * 224**2, 64 * 3 * 224**2
MB = 1 << 20


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Set the cores of this process, the processes of this machine and of all, and the shared memory that is free."""

    def having(*, cores: int, local: int = 1, world: int = 1, free: int = 64 * 1024 * MB) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 4 * cores)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        monkeypatch.setattr(decoding, "SHARED", tmp_path)
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, free))

    return having


@pytest.mark.parametrize(("have", "local", "wanted"), [(1, 1, 0), (2, 1, 1), (6, 1, 5), (64, 1, 8), (16, 4, 3)])
def test_cores_are_shared_by_the_processes_of_one_machine(machine, have: int, local: int, wanted: int) -> None:
    machine(cores=have, local=local, world=local)
    assert decoders(-1, clip_bytes=TWELVE, batch=128).workers == wanted
    machine(cores=have, local=local, world=8 * local)
    assert decoders(-1, clip_bytes=TWELVE, batch=128).workers == wanted


def test_cores_that_this_process_may_not_use_do_not_count(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(cores=3)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == 12


@pytest.mark.parametrize("clip_bytes", [1000, TWELVE, SIXTY_FOUR, 40 * SIXTY_FOUR])
@pytest.mark.parametrize("free", [MB, 64 * MB, 1024 * MB, 64 * 1024 * MB])
@pytest.mark.parametrize("local", [1, 8])
def test_what_waits_is_bounded_in_bytes_and_files(machine, clip_bytes: int, free: int, local: int) -> None:
    machine(cores=64, local=local, world=local, free=free)
    crew = decoders(-1, clip_bytes=clip_bytes, batch=1024)
    waiting = crew.workers * crew.ready
    assert waiting * clip_bytes * local <= min(AHEAD, free // 2)
    assert waiting <= MOST_FILES
    assert crew.workers <= MOST_DECODERS
    if clip_bytes * local * 10 < min(AHEAD, free // 2):
        assert crew.workers == 7 if local == 8 else crew.workers == 8


def test_no_more_than_a_batch_waits(machine) -> None:
    machine(cores=5)
    assert decoders(-1, clip_bytes=TWELVE, batch=128) == Crew(4, 32)
    assert decoders(-1, clip_bytes=TWELVE, batch=3) == Crew(3, 1)


def test_a_container_s_64_mb_still_hold_clips(machine) -> None:
    machine(cores=16, free=64 * MB)
    assert decoders(-1, clip_bytes=TWELVE, batch=128) == Crew(8, 2)
    assert decoders(-1, clip_bytes=SIXTY_FOUR, batch=128) == Crew(3, 1)


def test_without_a_folder_of_shared_memory_the_bound_is_its_own(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(cores=16, free=0)
    assert decoders(-1, clip_bytes=TWELVE, batch=128) == Crew(0, 1)
    monkeypatch.setattr(decoding, "SHARED", Path("/nowhere"))
    assert decoders(-1, clip_bytes=TWELVE, batch=128) == Crew(8, 16)


def test_a_number_that_is_asked_for_is_taken(machine) -> None:
    machine(cores=2)
    assert decoders(0, clip_bytes=TWELVE, batch=128).workers == 0
    assert decoders(12, clip_bytes=TWELVE, batch=128) == Crew(12, 10)
    assert decoders(12, clip_bytes=SIXTY_FOUR, batch=128) == Crew(12, 9)


def test_a_number_that_is_asked_for_keeps_the_bound(machine) -> None:
    machine(cores=16, free=64 * MB)
    assert decoders(12, clip_bytes=SIXTY_FOUR, batch=128) == Crew(3, 1)
    assert decoders(12, clip_bytes=TWELVE, batch=2) == Crew(2, 1)
