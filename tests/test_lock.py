"""One holder of a lock at a time, for as long as it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reelseek.lock import held

HOLDER = """
import os, sys, time
from pathlib import Path
from reelseek.lock import held
with held(Path(sys.argv[1])) as holder:
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


def test_the_second_is_told_of_the_first_and_leaves_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with held(file) as first:
        assert first == ""
        for _ in range(2):
            with held(file) as second:
                assert second.startswith(f"process {os.getpid()} on ")
    with held(file) as third:
        assert third == ""


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), held(tmp_path / "lock"):
        raise KeyError
    with held(tmp_path / "lock") as holder:
        assert holder == ""


def test_a_killed_holder_lets_go_though_its_fork_lives(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            with held(tmp_path / "lock") as holder:
                assert holder.startswith(f"process {process.pid} on ")
            process.kill()
            process.wait()
            os.kill(child, 0)
            with held(tmp_path / "lock") as holder:
                assert holder == ""
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")
def test_a_fork_that_ends_leaves_the_lock_to_its_holder(tmp_path: Path) -> None:
    with held(tmp_path / "lock"):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with held(tmp_path / "lock") as holder:
            assert holder.startswith(f"process {os.getpid()} on ")
