"""An index stays whole whatever stops its writer: a kill at any moment, a full disk; and whoever reads meanwhile."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import index_fakes
from index_fakes import FakeMethod, change, everything, fill, update, whole
from reelseek.errors import IndexError_
from reelseek.index import build, cards, store, upkeep
from reelseek.index.search import Searcher


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def commits(monkeypatch, stop_at: int, before: bool) -> list[str]:
    """Count every step that changes the disk; the one numbered `stop_at` and all later ones die."""
    steps: list[str] = []

    def dies(name, function):
        def step(*args, **kwargs):
            steps.append(name)
            if len(steps) > stop_at or (before and len(steps) == stop_at):
                raise Killed
            result = function(*args, **kwargs)
            if len(steps) == stop_at:
                raise Killed
            return result

        return step

    for module, name in [
        (store.lance, "write_dataset"),
        (cards, "create"),
        (store, "delete_contents"),
        (store, "tidy"),
        (store.lance.LanceDataset, "cleanup_old_versions"),
    ]:
        monkeypatch.setattr(module, name, dies(name, getattr(module, name)))
    return steps


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_dying_at_every_commit_loses_and_doubles_nothing(tmp_path, before):
    pristine = fill(tmp_path / "pristine", 4)
    original = tmp_path / "original"
    folder = tmp_path / "videos"
    shutil.copytree(pristine, folder)
    update(original, folder)
    change(folder, 0)
    for stop_at in range(1, 100):
        index = tmp_path / f"index {stop_at}"
        shutil.copytree(original, index)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "BATCH_VIDEOS", 1)
            steps = commits(patch, stop_at, before)
            try:
                update(index, folder)
            except Killed:
                died = True
            else:
                died = False
        everything(index)
        whole(index, folder)
        if not died:
            break
    assert len(steps) == stop_at - 1 >= 8
    assert {"write_dataset", "delete_contents", "tidy", "cleanup_old_versions"} == set(steps)


def test_dying_while_an_index_is_made_leaves_a_place_to_make_it(tmp_path):
    folder = fill(tmp_path / "videos", 2)
    for stop_at in (1, 2, 3, 4):
        with pytest.MonkeyPatch.context() as patch:
            commits(patch, stop_at, before=True)
            with pytest.raises(Killed):
                update(tmp_path / f"index {stop_at}", folder)
        whole(tmp_path / f"index {stop_at}", folder)


def test_adopted_content_is_not_decoded_again(tmp_path, monkeypatch):
    folder = fill(tmp_path / "videos", 3)
    with pytest.MonkeyPatch.context() as patch:
        commits(patch, 3, before=True)
        with pytest.raises(Killed):
            update(tmp_path / "index", folder)
    assert len(store.contents(tmp_path / "index")) == 3
    assert store.list_files(tmp_path / "index") == []
    monkeypatch.setattr(build, "cut_segments", lambda *args: pytest.fail("decoded again"))
    report = update(tmp_path / "index", folder)
    assert (report.added, report.moved) == (3, 0)
    assert [file.duration for file in store.list_files(tmp_path / "index")] == pytest.approx([3.0, 3.0, 3.0])


def run_worker(index: Path, folder: Path, action: str) -> subprocess.Popen[str]:
    command = [sys.executable, index_fakes.__file__, action, str(index), str(folder)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "begun\n"
    return worker


def kill_again_and_again(tmp_path: Path, kills: int, clips: int, changes: int, longest: float) -> None:
    chance = random.Random(0)
    folder = fill(tmp_path / "videos", clips)
    index = tmp_path / "index"
    unfinished = 0
    for number in range(kills):
        worker = run_worker(index, folder, "slow")
        time.sleep(chance.uniform(0, longest))
        worker.send_signal(signal.SIGKILL)
        output, _ = worker.communicate()
        unfinished += "done" not in output
        if (index / cards.CARD).exists():
            everything(index)
        for step in range(changes):
            change(folder, changes * number + step)
    assert unfinished > kills / 4, f"only {unfinished} of {kills} kills came in time to mean anything"
    whole(index, folder)


def test_killed_three_times(tmp_path):
    kill_again_and_again(tmp_path, kills=3, clips=16, changes=1, longest=0.5)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_killed_forty_times(tmp_path):
    kill_again_and_again(tmp_path, kills=40, clips=40, changes=8, longest=0.5)


def test_disk_that_fills_up_at_any_byte_is_a_sentence_and_the_index_stays(tmp_path):
    folder = fill(tmp_path / "videos", 5)
    update(tmp_path / "index", folder)
    change(folder, 0)
    worker = run_worker(tmp_path / "index", folder, "full")
    output, _ = worker.communicate()
    assert "IndexError_: the index cannot be written (File too large). Free some space" in output
    assert "(No space left on device)" in output, "no half file that was reported as whole"
    assert output.splitlines()[-1] == "done", output
    assert worker.returncode == 0
    whole(tmp_path / "index", folder)


def test_version_cut_short_by_a_full_disk_and_a_kill_is_gone_back_from(tmp_path):
    folder = fill(tmp_path / "videos", 2)
    index = tmp_path / "index"
    update(index, folder)
    store.write_files(index, store.list_files(index)[:1], replace=True)
    newest = min((index / store.FILES / "_versions").glob("*.manifest"))
    newest.write_bytes(newest.read_bytes()[:50])
    with pytest.raises(IndexError_, match="cannot be read"):
        store.list_files(index)
    assert update(index, folder).unchanged == 2
    whole(index, folder)


def test_damage_that_no_version_survives_is_a_sentence(tmp_path):
    folder = fill(tmp_path / "videos", 2)
    update(tmp_path / "index", folder)
    for path in (tmp_path / "index" / store.SEGMENTS / "data").iterdir():
        os.truncate(path, 100)
    for action in (lambda: update(tmp_path / "index", folder), lambda: upkeep.compact(tmp_path / "index")):
        with pytest.raises(IndexError_, match=r"damaged\. Delete .* and index again"):
            action()


def test_reading_while_another_thread_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BATCH_VIDEOS", 1)
    folder = fill(tmp_path / "videos", 4)
    index = tmp_path / "index"
    update(index, folder)
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(6):
                change(folder, number)
                update(index, folder)
        except BaseException as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    searcher = Searcher(cards.open_index(index), FakeMethod())
    writer.start()
    reloads = 0
    while writer.is_alive():
        reloads += searcher.reload()
        for hit in searcher.search("red", k=100, moments=True):
            assert 0 <= hit.start <= hit.peak <= hit.end <= 3.0
    writer.join()
    assert errors == []
    searcher.reload()
    assert reloads > 1
    assert not searcher.reload()
    assert {hit.path for hit in searcher.search("red", k=100)} <= {str(path) for path in folder.iterdir()}
    whole(index, folder)
