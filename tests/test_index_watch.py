"""A watched folder: what is told of an index's changes, and the index that follows a folder in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import cli_world
from index_fakes import CARD, CONFIG, FakeMethod, clip, everything, update, whole
from reelseek.errors import IndexError_, IndexMismatch
from reelseek.index import plan, store, watch
from reelseek.index.disk import locked
from reelseek.index.store import IndexedFile
from reelseek.index.watch import Change, changes


@contextmanager
def watching_command(*words: object) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """The command with --watch in a process of its own, with what it prints and its errors; ended in any case."""
    command = [sys.executable, "-m", "reelseek", *map(str, words), "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process, process.stdout, process.stderr
        finally:
            process.kill()


def row(path: str, content: str = "", *, status: str = "ok", mtime: int = 0, reason: str = "") -> IndexedFile:
    return IndexedFile(Path(path), 1, mtime, content, 1.0, status, reason, 0.0)


def test_every_kind_of_change_has_its_line() -> None:
    before = [row("/a", "1"), row("/b", "2"), row("/c", "3"), row("/d", "4"), row("/e", status="broken", reason="x"),
              row("/f", status="broken", reason="x"), row("/g", "5")]  # fmt: skip
    after = [row("/a", "1", mtime=7), row("/b", "20"), row("/cc", "3"), row("/e", "6"), row("/e2", "6"),
             row("/f", status="broken", reason="x", mtime=8), row("/g", status="broken", reason="y")]  # fmt: skip
    assert changes(before, after) == [
        Change("changed", Path("/b")),
        Change("moved", Path("/cc"), was=Path("/c")),
        Change("removed", Path("/d")),
        Change("added", Path("/e")),
        Change("added", Path("/e2")),
        Change("set aside", Path("/f"), reason="x"),
        Change("set aside", Path("/g"), reason="y"),
    ]
    assert changes(after, after) == []


def put(path: Path, colours: list[str], seed: int) -> None:
    """A clip that appears whole."""
    path.parent.mkdir(exist_ok=True)
    os.replace(clip(path.parent.parent / "elsewhere" / path.name, colours, seed=seed), path)


class Watching:
    """A watcher in a thread, and what it told."""

    def __init__(self, index: Path, *folders: Path, settled: float = 0.3, method: FakeMethod | None = None) -> None:
        self.told: list[str] = []
        self.said: list[str] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self.index = index

        def run() -> None:
            try:
                watch.watch(
                    index, folders, method or FakeMethod(), model_card=CARD, config=CONFIG, tell=self.tell,
                    say=self.said.append, stop=self.stop, every=0.05, settled=settled,
                )  # fmt: skip
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def tell(self, report: object, changed: list[Change]) -> None:
        self.told += [f"{change.kind} {change.path.name}" for change in changed] or ["nothing"]

    def until(self, happened: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, (self.told, self.said, self.error)
            time.sleep(0.02)

    def end(self) -> None:
        self.stop.set()
        self.thread.join()


@pytest.fixture
def watching() -> Iterator[Callable[..., Watching]]:
    begun: list[Watching] = []

    def start(*args, **kwargs) -> Watching:
        begun.append(Watching(*args, **kwargs))
        return begun[-1]

    yield start
    for one in begun:
        one.end()


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    clip(tmp_path / "videos" / "a.avi", ["red"], seed=1)
    clip(tmp_path / "videos" / "b.avi", ["blue"], seed=2)
    for path in (tmp_path / "videos").iterdir():
        os.utime(path, (1e9, 1e9))
    return tmp_path / "videos"


def test_added_changed_moved_and_removed_files_are_followed(videos: Path, tmp_path: Path, watching) -> None:
    other = clip(tmp_path / "other.avi", ["green"], seed=3)
    watched = watching(tmp_path / "index", videos)
    watched.until(lambda: len(watched.told) == 2)
    os.replace(other, videos / "c.avi")
    watched.until(lambda: "added c.avi" in watched.told)
    (videos / "a.avi").rename(videos / "z.avi")
    watched.until(lambda: "moved z.avi" in watched.told)
    put(videos / "b.avi", ["white"], seed=4)
    watched.until(lambda: "changed b.avi" in watched.told)
    (videos / "c.avi").unlink()
    watched.until(lambda: "removed c.avi" in watched.told)
    (videos / "bad.avi").write_bytes(b"no video")
    watched.until(lambda: "set aside bad.avi" in watched.told)
    (videos / "bad.avi").unlink()
    watched.until(lambda: "removed bad.avi" in watched.told)
    watched.end()
    assert watched.told == [
        "added a.avi", "added b.avi", "added c.avi", "moved z.avi", "changed b.avi", "removed c.avi",
        "set aside bad.avi", "removed bad.avi",
    ]  # fmt: skip
    assert watched.said == []
    whole(tmp_path / "index", videos)


def test_a_file_that_still_grows_waits_and_the_others_do_not(videos: Path, tmp_path: Path, watching) -> None:
    data = clip(tmp_path / "long.avi", ["green", "red", "white"], seed=5).read_bytes()
    watched = watching(tmp_path / "index", videos, settled=1.5)
    watched.until(lambda: len(watched.told) == 2)
    with (videos / "growing.avi").open("wb") as file:
        shutil.copy(tmp_path / "long.avi", videos / "small.avi")

        def grown_until_the_other_is_there() -> bool:
            file.write(data[file.tell() : file.tell() + 8])
            file.flush()
            return "added small.avi" in watched.told

        watched.until(grown_until_the_other_is_there)
        assert "growing.avi" not in str(watched.told)
        assert file.tell() < len(data)
        file.write(data[file.tell() :])
    watched.until(lambda: "added growing.avi" in watched.told)
    assert not any("set aside" in line for line in watched.told)


@pytest.mark.parametrize("left", ["nothing", "empty folder"])
def test_a_folder_that_disappears_is_said_once_and_empties_nothing(videos, tmp_path, watching, left) -> None:
    clip(tmp_path / "more" / "c.avi", ["white"], seed=6)
    watched = watching(tmp_path / "index", videos, tmp_path / "more")
    watched.until(lambda: len(watched.told) == 3)
    videos.rename(tmp_path / "unplugged")
    if left == "empty folder":
        videos.mkdir()
    watched.until(lambda: len(watched.said) == 1)
    put(tmp_path / "more" / "d.avi", ["red"], seed=7)
    watched.until(lambda: "added d.avi" in watched.told)
    assert len(store.list_files(tmp_path / "index")) == 4
    if left == "empty folder":
        videos.rmdir()
    (tmp_path / "unplugged").rename(videos)
    watched.until(lambda: len(watched.said) == 2)
    time.sleep(0.5)
    watched.end()
    assert str(videos) in watched.said[0]
    assert "stays" in watched.said[0]
    assert "there again" in watched.said[1]
    assert watched.told == ["added a.avi", "added b.avi", "added c.avi", "added d.avi"]


def test_the_command_says_once_that_a_folder_is_empty(tmp_path: Path) -> None:
    films, disk = tmp_path / "films", tmp_path / "films" / "disk"
    cli_world.gradient(films / "red.mp4", (210, 30, 30))
    cli_world.gradient(disk / "blue.mp4", (30, 30, 210))
    words = ["index", films, "--index", tmp_path / "i"]
    assert cli_world.run(*words).code == 0
    disk.rename(tmp_path / "unmounted")
    disk.mkdir()
    said = cli_world.run(*words)
    assert (said.code, said.err.count("disk: is empty now. The index keeps the 1 file that it knows there")) == (0, 1)
    assert f"`reelseek index remove {disk}`" in said.err
    assert json.loads(cli_world.run(*words, "--json").out)["emptied"] == [{"folder": str(disk), "files": 1}]
    with watching_command(*words) as (process, said_on, errors):
        assert "0 added" in said_on.readline()
        cli_world.gradient(films / "green.mp4", (30, 210, 30))
        assert "green" in said_on.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert errors.read().count("is empty now") == 1


def test_another_writer_is_waited_for(videos: Path, tmp_path: Path, watching) -> None:
    update(tmp_path / "index", videos)
    with locked(tmp_path / "index"):
        watched = watching(tmp_path / "index", videos)
        watched.until(lambda: len(watched.said) == 1)
        time.sleep(0.3)
        assert watched.told == []
    watched.until(lambda: watched.told == ["nothing"])
    assert len(watched.said) == 1
    assert "is writing to this index" in watched.said[0]


def test_a_failed_update_is_said_once_and_tried_again(videos, tmp_path, watching, monkeypatch) -> None:
    monkeypatch.setattr(watch, "AGAIN", 0.1)
    real, calls = watch.update, []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) < 4:
            raise IndexError_("the disk is full.")
        return real(*args, **kwargs)

    monkeypatch.setattr(watch, "update", full)
    watched = watching(tmp_path / "index", videos)
    watched.until(lambda: len(watched.told) == 2)
    assert watched.said == ["the disk is full. It is tried again."]


def test_another_model_ends_it(videos: Path, tmp_path: Path, watching) -> None:
    update(tmp_path / "index", videos, method=FakeMethod(1))
    watched = watching(tmp_path / "index", videos)
    watched.thread.join(20)
    assert isinstance(watched.error, IndexMismatch)


def test_a_folder_that_never_was_is_refused(tmp_path: Path, watching) -> None:
    watched = watching(tmp_path / "index", tmp_path / "typo")
    watched.thread.join(20)
    assert "typo" in str(watched.error)
    assert not (tmp_path / "index").exists()


def test_a_clock_set_back_and_forth_changes_nothing(videos, tmp_path, watching, monkeypatch) -> None:
    watched = watching(tmp_path / "index", videos)
    watched.until(lambda: len(watched.told) == 2)
    for wrong in (0.0, 4e9):
        monkeypatch.setattr(watch.time, "time", lambda wrong=wrong: wrong)
        put(videos / f"{wrong:.0f}.avi", ["green"], seed=int(wrong) % 97)
        watched.until(lambda wrong=wrong: f"added {wrong:.0f}.avi" in watched.told)
    os.utime(videos / "a.avi", (4e9, 4e9))
    os.utime(videos / "b.avi", (-5.0, -5.0))
    watched.until(lambda: len(watched.told) == 5)
    time.sleep(0.5)
    watched.end()
    assert watched.told[4:] == ["nothing"]
    assert everything(tmp_path / "index")


def test_a_disk_taken_away_while_its_folders_are_walked(videos: Path, tmp_path: Path, monkeypatch) -> None:
    update(tmp_path / "index", videos)
    find = plan.find_videos

    def vanishing(folder: Path) -> list[Path]:
        found = find(folder)
        shutil.move(videos, tmp_path / "unplugged")
        return found[:1]

    with monkeypatch.context() as patch:
        patch.setattr(plan, "find_videos", vanishing)
        with pytest.raises(IndexError_, match="went away"):
            update(tmp_path / "index", videos)
    assert len(store.list_files(tmp_path / "index")) == 2
    shutil.move(tmp_path / "unplugged", videos)
    assert update(tmp_path / "index", videos).unchanged == 2


def test_a_known_file_that_cannot_be_looked_at_stays(videos: Path, tmp_path: Path, monkeypatch) -> None:
    update(tmp_path / "index", videos)
    before = everything(tmp_path / "index")
    look = plan._look
    monkeypatch.setattr(
        plan, "_look", lambda path: look(path) if path.name != "a.avi" else look(path)._replace(size=-1, mtime_ns=-1)
    )
    assert update(tmp_path / "index", videos).broken == []
    assert everything(tmp_path / "index") == before


def test_the_command_in_a_process_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    os.utime(cli_world.gradient(folder / "red.mp4", (210, 30, 30)), (1e9, 1e9))
    with watching_command("index", folder, "--index", tmp_path / "i") as (process, said_on, errors):
        assert "1 added" in said_on.readline()
        cli_world.gradient(folder / "new\nline.mp4", (30, 30, 210))
        lines = iter(said_on.readline, "")
        assert (
            next(line for line in lines if line.startswith("added: ") and "line" in line)
            .rstrip()
            .endswith(r"films/new\nline.mp4")
        )
        (folder / "red.mp4").unlink()
        assert next(line for line in lines if line.startswith("removed: ")).rstrip().endswith("films/red.mp4")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert errors.read().rstrip().endswith("no longer watching; the index is whole.")
    assert [file.path.name for file in store.list_files(tmp_path / "i")] == ["new\nline.mp4"]


def test_watching_takes_no_verb(tmp_path: Path) -> None:
    for option in (["--watch"], ["--keep-frames", "yes"]):
        assert "does not read it" in cli_world.refused(2, "index", "list", "--index", tmp_path, *option)
