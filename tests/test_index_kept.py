"""Frames kept beside an index: whole or not at all, and as good as the videos when the model is changed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cli_world
from index_fakes import CARD, CONFIG, FakeMethod, clip
from reelseek import embed_pipeline
from reelseek.errors import IndexError_, UnreadableVideo
from reelseek.index import build, cards, fragments, frames, kept, store, upkeep
from reelseek.index.search import Searcher
from reelseek.index.switch import roll_back, switch
from reelseek.records import Preprocess
from reelseek.video.decode import decode

NEW = FakeMethod(1)
SHAPE = Preprocess(resize=16, crop=16, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for number, colours in enumerate((["red", "green", "blue"], ["green", "white"], ["blue"])):
        clip(tmp_path / "videos" / f"{colours[0]}.avi", colours, seed=number)
    shutil.copy(tmp_path / "videos" / "blue.avi", tmp_path / "videos" / "copy.avi")
    (tmp_path / "videos" / "broken.avi").write_bytes(b"no video")
    return tmp_path / "videos"


def make(index: Path, *folders: Path, keep: bool | None = True, config=CONFIG, method=None):
    return build.update(
        index, folders, method or FakeMethod(), model_card=CARD, config=config, keep_frames=keep
    )  # fmt: skip


def kept_of(index: Path) -> set[str]:
    folder = index / kept.FOLDER
    return set(os.listdir(folder)) if folder.is_dir() else set()


def contents(index: Path) -> set[str]:
    return {row.content_hash for row in store.list_files(index) if row.status == "ok"}


def vectors(index: Path, path: Path) -> np.ndarray:
    """Frame vectors of a file, at length 1."""
    rows, stored = store.load(cards.open_index(index))
    key = next(row.content_hash for row in rows if row.path == path)
    own = sorted((stored.number_S[s], s) for s in range(len(stored.content_S)) if stored.content_S[s] == key)
    first, count = stored.first_S, stored.count_S
    rows_N = np.concatenate([np.arange(first[s], first[s] + count[s]) for _, s in own])
    found = stored.frames_ND[torch.from_numpy(rows_N)].float().numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def no_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_pipeline, "decode", lambda path, *rest, **named: pytest.fail(f"{path} was decoded"))
    monkeypatch.setattr(embed_pipeline, "content_hash", lambda path: pytest.fail(f"{path} was read"))


def test_kept_frames_and_mapped_vectors_leave_each_other_alone(videos: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fragments, "MAPPED_FRAMES", 1)
    index = tmp_path / "index"
    make(index, videos, keep=None)
    assert list((index / frames.FOLDER).iterdir())
    assert kept_of(index) == set(), "mapped vectors are no wish to keep frames"
    make(index, videos, keep=True)
    clip(videos / "white.avi", ["white"], seed=9)
    make(index, videos, keep=None)
    white = {row.content_hash for row in store.list_files(index) if row.path.name == "white.avi"}
    assert kept_of(index) == {f"{key}-2-2" for key in white}
    make(index, videos, keep=None)
    assert kept_of(index) == {f"{key}-2-2" for key in white}, "an update that copies nothing sweeps nothing"
    assert list((index / frames.FOLDER).iterdir())


def test_frames_are_kept_once_a_content_and_leave_with_it(videos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    make(index, videos)
    assert kept_of(index) == {f"{key}-2-2" for key in contents(index)}
    assert len(kept_of(index)) == 3
    clip(videos / "white.avi", ["white"], seed=9)
    (videos / "green.avi").unlink()
    make(index, videos, keep=None)
    assert kept_of(index) == {f"{key}-2-2" for key in contents(index)}
    upkeep.remove(index, [videos / "red.avi"])
    assert len(kept_of(index)) == 2
    make(index, videos, keep=False)
    assert not (index / kept.FOLDER).exists()
    assert make(index, videos, keep=None).unchanged == 4
    assert not (index / kept.FOLDER).exists()


def test_keeping_frames_changes_no_vector(videos: Path, tmp_path: Path) -> None:
    make(tmp_path / "with", videos)
    make(tmp_path / "without", videos, keep=None)
    for name in ("red.avi", "green.avi"):
        assert np.array_equal(vectors(tmp_path / "with", videos / name), vectors(tmp_path / "without", videos / name))


def test_kept_frames_stand_for_the_video(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_pipeline, "CHUNK", 4)
    make(tmp_path / "index", videos)
    row = next(row for row in store.list_files(tmp_path / "index") if row.path.name == "red.avi")
    place = kept.Keeper(tmp_path / "index", CONFIG).place(row.content_hash)
    assert len(os.listdir(place)) == 3
    for times in (np.arange(9) / 2, np.array([0.0]), np.array([1.5, 4.0]), np.array([4.0, 0.5])):
        there = decode(videos / "red.avi", lambda d, t=times: t, shape=SHAPE)
        read = kept.kept_source().decode(place, lambda d, t=times: t, keyframes=False, shape=SHAPE)
        assert read.times_F == pytest.approx(there.times_F)
        assert read.duration == pytest.approx(there.duration)
        assert read.pixels_FHW3.shape == there.pixels_FHW3.shape
        assert np.abs(read.pixels_FHW3.astype(int) - there.pixels_FHW3).mean() < 6
    with pytest.raises(UnreadableVideo, match=r"no frame at 0\.250"):
        kept.kept_source().decode(place, lambda d: np.array([0.25]), keyframes=False, shape=SHAPE)


@pytest.mark.parametrize("plugged", [True, False])
def test_a_switch_reads_no_video(videos: Path, tmp_path: Path, plugged: bool, no_videos_later) -> None:
    index = tmp_path / "index"
    make(index, videos)
    (videos / "broken.avi").unlink()
    make(index, videos, keep=None)
    if not plugged:
        videos.rename(tmp_path / "unplugged")
    no_videos_later()
    report = switch(index, NEW, model_card=CARD)
    assert report.added == 4
    assert report.broken == []
    assert report.video_seconds == pytest.approx(4.5 + 3.0 + 1.5)
    hits = Searcher(cards.open_index(index), NEW).search("white", 4)
    assert Path(hits[0].path).name == "green.avi"
    files = store.list_files(index)
    assert [file.path.name for file in files] == ["blue.avi", "copy.avi", "green.avi", "red.avi"]
    assert {file.path.name: file.duration for file in files}["red.avi"] == pytest.approx(4.5)
    if not plugged:
        (tmp_path / "unplugged").rename(videos)
    assert make(index, videos, keep=None, method=NEW).unchanged == 4


@pytest.fixture
def no_videos_later(request: pytest.FixtureRequest):
    return lambda: request.getfixturevalue("no_videos")


def test_vectors_are_those_of_the_videos_but_for_jpeg(videos: Path, tmp_path: Path) -> None:
    make(tmp_path / "index", videos)
    switch(tmp_path / "index", NEW, model_card=CARD)
    make(tmp_path / "fresh", videos, keep=None, method=NEW)
    for name in ("red.avi", "green.avi", "blue.avi"):
        one, other = (vectors(tmp_path / index, videos / name) for index in ("index", "fresh"))
        assert (one * other).sum(axis=1).min() > 0.999


def test_what_the_frames_do_not_hold_is_read_from_the_videos(videos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    make(index, videos, keep=None)
    clip(videos / "white.avi", ["white"], seed=7)
    make(index, videos)  # from now on: four files are not kept
    assert len(kept_of(index)) == 1
    clip(videos / "green.avi", ["white", "red"], seed=8)  # changed, and not told to the index
    switch(index, NEW, model_card=CARD, config=replace(CONFIG, segment_frames=2))
    make(tmp_path / "fresh", videos, keep=None, method=NEW, config=replace(CONFIG, segment_frames=2))
    assert contents(index) == contents(tmp_path / "fresh")
    other = replace(CONFIG, fps=4.0)
    switch(index, NEW, model_card=CARD, config=other)
    assert cards.open_index(index).config == other
    assert roll_back(index).config.fps == 2.0


def test_damaged_frames_are_passed_over_or_refused(videos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    make(index, videos)
    for file in (index / kept.FOLDER).glob("*/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    before = store.list_files(index)
    videos.rename(tmp_path / "unplugged")
    with pytest.raises(IndexError_, match="4 of its files are not there"):
        switch(index, NEW, model_card=CARD)
    assert store.list_files(index) == before
    assert cards.open_index(index).model["id"] == FakeMethod().id
    (tmp_path / "unplugged").rename(videos)
    assert switch(index, NEW, model_card=CARD).added == 4


def test_a_picture_that_is_damaged_inside_is_a_sentence(videos: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make(tmp_path / "index", videos)
    for file in (tmp_path / "index" / kept.FOLDER).glob("*/*"):
        tensors = load_file(file)
        save_file({**tensors, "jpegs": torch.zeros_like(tensors["jpegs"])}, file)
    for place in (tmp_path / "index" / kept.FOLDER).iterdir():
        with pytest.raises(UnreadableVideo, match="damaged"):
            kept.kept_source().decode(place, lambda d: np.array([0.0]), keyframes=False, shape=SHAPE)
    assert switch(tmp_path / "index", NEW, model_card=CARD).added == 4


def test_half_a_deleted_folder_does_not_pass_for_a_whole_one(videos: Path, tmp_path: Path, monkeypatch) -> None:
    index = tmp_path / "index"
    make(index, videos)
    red = next(row.content_hash for row in store.list_files(index) if row.path.name == "red.avi")
    whole = sorted(os.listdir(index / kept.FOLDER / f"{red}-2-2"))
    (videos / "red.avi").rename(tmp_path / "red.avi")

    def die(*args, **named) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(kept.shutil, "rmtree", die)
        with pytest.raises(Killed):
            make(index, videos, keep=None)
    assert f"{red}-2-2" not in kept_of(index)
    (index / kept.FOLDER / f"{red}-2-2").mkdir()  # as an older deletion may have left it
    (tmp_path / "red.avi").rename(videos / "red.avi")
    make(index, videos, keep=None)
    assert sorted(os.listdir(index / kept.FOLDER / f"{red}-2-2")) == whole
    assert len(kept_of(index)) == 3


def test_compacting_takes_frames_of_other_samplings(videos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    make(index, videos)
    switch(index, FakeMethod(), model_card=CARD, config=replace(CONFIG, fps=1.0))
    upkeep.compact(index)
    assert kept_of(index) == {name for name in kept_of(index) if not name.endswith("-2-2")}


def test_a_model_that_wants_larger_frames_gets_the_videos(videos: Path, tmp_path: Path) -> None:
    class Large(FakeMethod):
        preprocess = FakeMethod.preprocess._replace(resize=kept.SIDE + 1)

    make(tmp_path / "index", videos)
    card = cards.open_index(tmp_path / "index")
    assert kept.rows_with_frames(card, Large(1), store.list_files(tmp_path / "index")) == []
    assert len(kept.rows_with_frames(card, NEW, store.list_files(tmp_path / "index"))) == 4


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_killed_while_frames_are_kept(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr(embed_pipeline, "CHUNK", 2)
    index, calls, write = tmp_path / "index", iter(range(1, 100)), kept._write

    def die(*args) -> None:
        if next(calls) == stop_at:
            raise Killed
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "_write", die)
        with pytest.raises(Killed):
            make(index, videos)
    assert {name for name in kept_of(index) if not name.startswith(kept.PART)} <= {
        f"{key}-2-2" for key in contents(index) | store.contents(index).keys()
    }
    (index / kept.FOLDER / f"{kept.PART}{stop_at}").mkdir()
    make(index, videos, keep=None)
    assert {f"{key}-2-2" for key in contents(index)} >= kept_of(index)
    make(tmp_path / "fresh", videos, keep=None)
    assert contents(index) == contents(tmp_path / "fresh")
    shutil.rmtree(index)
    make(index, videos)
    assert len(kept_of(index)) == 3


def test_killed_while_a_switch_reads_frames(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "BATCH_VIDEOS", 1)
    index = tmp_path / "index"
    make(index, videos)

    def die(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        switch(index, NEW, model_card=CARD, progress=die)
    assert cards.open_index(index).model["id"] == FakeMethod().id
    assert len(kept_of(index)) == 3
    videos.rename(tmp_path / "unplugged")
    switch(index, NEW, model_card=CARD)
    assert len(store.list_files(index)) == 4
    assert len(contents(index)) == 3


def test_a_full_disk_is_a_sentence(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(kept, "save_file", full)
        with pytest.raises(IndexError_, match=r"cannot be written \(No space left"):
            make(tmp_path / "index", videos)
    assert len(make(tmp_path / "index", videos).broken) == 1
    assert len(kept_of(tmp_path / "index")) == 3


def test_the_command(tmp_path: Path) -> None:
    films, index = cli_world.films(tmp_path / "films"), tmp_path / "i"
    assert cli_world.run("index", films, "--index", index, "--keep-frames", "yes").code == 0
    assert len(kept_of(index)) == 12
    films.rename(tmp_path / "unplugged")
    said = cli_world.run("index", "switch", "--index", index, "--segment_frames", 2)
    assert said.code == 0, said
    assert "12 added" in said.out
    (tmp_path / "unplugged").rename(films)
    assert cli_world.run("index", films, "--index", index, "--keep-frames", "no").code == 0
    assert kept_of(index) == set()
