"""What an index holds after its folders changed in every way that folders change."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch

from index_fakes import CARD, CONFIG, FakeMethod, clip, everything, update
from reelseek import embed_pipeline
from reelseek.errors import ConfigError, IndexError_, IndexLocked, IndexMismatch, NotAnIndex
from reelseek.index import build, cards, plan, store, subtitles, upkeep
from reelseek.index.disk import locked
from reelseek.index.search import Searcher


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clip(folder / "a.avi", ["red", "green", "blue"], seed=1)
    clip(folder / "b.avi", ["blue"], seed=2)
    clip(folder / "deep" / "c.avi", ["green", "white"], seed=3)
    return folder


@pytest.fixture
def videos(clips, tmp_path):
    return Path(shutil.copytree(clips, tmp_path / "videos"))


@pytest.fixture
def index(videos, tmp_path):
    update(tmp_path / "index", videos)
    return tmp_path / "index"


@pytest.fixture
def decoded(monkeypatch):
    """The paths that were given to the decoder."""
    seen = []

    def embed_files(method, paths, *args, **kwargs):
        seen.extend(paths)
        return original(method, paths, *args, **kwargs)

    original = build.embed_files
    monkeypatch.setattr(build, "embed_files", embed_files)
    return seen


def found(index, query="green", method=None):
    return Searcher(cards.open_index(index), method or FakeMethod()).search(query)


def names(hits):
    return [Path(hit.path).name for hit in hits]


def on_disk(index: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in index.rglob("*") if path.is_file())


def test_first_update_counts_and_lists_everything(videos, tmp_path):
    (videos / "bad.mp4").write_text("this is no video")
    steps = []
    report = build.update(
        tmp_path / "new" / "index",
        [videos],
        FakeMethod(),
        model_card=CARD,
        config=CONFIG,
        progress=lambda *n: steps.append(n),
    )
    assert (report.added, report.unchanged, report.moved, report.removed) == (3, 0, 0, 0)
    assert report.video_seconds == pytest.approx(4.5 + 1.5 + 3.0)
    assert report.decode_seconds > 0
    assert report.encode_seconds > 0
    assert report.seconds > 0
    assert [broken.path for broken in report.broken] == [videos / "bad.mp4"]
    assert "bad.mp4" in report.broken[0].reason
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    files = store.list_files(tmp_path / "new" / "index")
    assert [file.path.name for file in files] == ["a.avi", "b.avi", "bad.mp4", "c.avi"]
    assert [file.status for file in files] == ["ok", "ok", "broken", "ok"]
    assert files[0].size == (videos / "a.avi").stat().st_size
    assert files[0].duration == pytest.approx(4.5)
    card = cards.open_index(tmp_path / "new" / "index")
    assert card.model == {"name": "fake", "id": "fake-0", "backbone": "fake-towers", **CARD}
    assert (card.config, card.width) == (CONFIG, 16)


def test_segments_tile_each_video(index):
    _, stored = store.load(cards.open_index(index))
    key = store.list_files(index)[0].content_hash
    own = [s for s in range(len(stored.content_S)) if stored.content_S[s] == key]
    assert stored.number_S[own].tolist() == [0, 1, 2]
    assert stored.start_S[own].tolist() == [0.0, 1.5, 3.0]
    assert stored.end_S[own].tolist() == [1.5, 3.0, 4.5]
    assert stored.count_S[own].tolist() == [3, 3, 3]
    first = stored.first_S[own[0]]
    assert stored.times_N[first : first + 9].tolist() == pytest.approx([0.5 * n for n in range(9)])
    assert stored.frames_ND.shape == (stored.count_S.sum(), 16)


def test_unchanged_files_are_not_opened(index, videos, decoded, monkeypatch):
    monkeypatch.setattr(plan, "content_hash", lambda path: pytest.fail(f"{path} was read"))
    before = store.versions(cards.open_index(index))
    report = update(index, videos)
    assert (report.added, report.unchanged, report.moved, report.removed) == (0, 3, 0, 0)
    assert decoded == []
    assert store.versions(cards.open_index(index)) == before


def test_touched_file_is_not_decoded(index, videos, decoded):
    os.utime(videos / "a.avi", (1, 1))
    report = update(index, videos)
    assert (report.added, report.unchanged, report.moved) == (0, 3, 0)
    assert decoded == []
    assert update(index, videos).unchanged == 3


def test_moved_file_is_found_at_its_new_path_without_decoding(index, videos, decoded):
    (videos / "a.avi").rename(videos / "z.avi")
    report = update(index, videos)
    assert (report.added, report.unchanged, report.moved, report.removed) == (0, 2, 1, 0)
    assert decoded == []
    assert names(found(index, "red")) == ["z.avi", "c.avi", "b.avi"]
    assert [file.duration for file in store.list_files(index) if file.path.name == "z.avi"] == pytest.approx([4.5])


def test_copy_is_stored_once_listed_twice_and_one_hit_under_its_first_path(index, videos, decoded):
    shutil.copy(videos / "b.avi", videos / "a copy of b.avi")
    before = len(store.contents(index))
    report = update(index, videos)
    assert (report.added, report.moved, decoded) == (0, 1, [])
    assert len(store.contents(index)) == before
    files = {file.path.name: file.content_hash for file in store.list_files(index)}
    assert files["a copy of b.avi"] == files["b.avi"]
    assert sorted(names(found(index, "blue"))) == ["a copy of b.avi", "a.avi", "c.avi"]
    (videos / "a copy of b.avi").unlink()
    assert update(index, videos).removed == 0
    assert sorted(names(found(index, "blue"))) == ["a.avi", "b.avi", "c.avi"]


def test_two_new_paths_of_one_content_are_decoded_once(videos, tmp_path, decoded):
    shutil.copy(videos / "a.avi", videos / "same.avi")
    report = update(tmp_path / "index", videos)
    assert report.added == 4
    assert len(decoded) == 3
    assert len(store.contents(tmp_path / "index")) == 3


def test_replaced_file_loses_its_old_vectors(index, videos):
    old = store.list_files(index)[1].content_hash
    assert on_disk(index, old)
    clip(videos / "b.avi", ["red", "white"], seed=9)
    report = update(index, videos)
    assert (report.added, report.unchanged, report.removed) == (1, 2, 0)
    assert not on_disk(index, old)
    assert len(store.contents(index)) == 3
    hit = next(hit for hit in found(index, "white") if hit.path.endswith("b.avi"))
    assert hit.score > 0.99
    assert hit.start == pytest.approx(1.5)


def test_deleted_file_leaves_the_disk(index, videos):
    old = store.list_files(index)[0].content_hash
    (videos / "a.avi").unlink()
    report = update(index, videos)
    assert (report.unchanged, report.removed) == (2, 1)
    assert not on_disk(index, old)
    assert not on_disk(index, "a.avi")
    assert names(found(index)) == ["c.avi", "b.avi"]


def test_other_folders_stay(index, videos, tmp_path):
    clip(tmp_path / "more" / "d.avi", ["white"], seed=4)
    assert update(index, tmp_path / "more").added == 1
    assert len(found(index)) == 4
    (videos / "b.avi").unlink()
    assert update(index, tmp_path / "more").removed == 0
    assert update(index, tmp_path / "more", videos).removed == 1


def test_folders_that_overlap_and_single_files_count_once(videos, tmp_path):
    report = update(tmp_path / "index", videos, videos / "deep", videos / "a.avi")
    assert report.added == 3


@pytest.mark.parametrize("empty", ["gone", "empty"])
def test_unplugged_folder_empties_nothing(index, videos, empty):
    shutil.rmtree(videos)
    if empty == "empty":
        videos.mkdir()
    with pytest.raises(IndexError_, match="reelseek index remove"):
        update(index, videos)
    assert len(found(index)) == 3


@pytest.mark.parametrize("folder", ["disk", "disk/films/new"])
def test_a_disk_that_is_not_mounted_below_the_folder_empties_nothing(index, videos, tmp_path, folder):
    """What is left of it is an empty folder."""
    mount = videos / "disk"
    clip(videos / folder / "d.avi", ["white"], seed=7)
    (videos / folder / "d.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    update(index, videos)
    before, said = everything(index), subtitles.load(index)
    mount.rename(tmp_path / "unmounted")
    mount.mkdir()
    for _ in range(2):
        report = update(index, videos)
        assert (report.unchanged, report.removed, list(report.emptied)) == (3, 0, [(mount, 1)])
        assert everything(index) == before
        assert subtitles.load(index) == said != []
    mount.rmdir()
    (tmp_path / "unmounted").rename(mount)
    report = update(index, videos)
    assert (report.unchanged, list(report.emptied)) == (4, [])
    shutil.rmtree(mount)
    mount.mkdir()
    assert update(index, videos).removed == 0
    assert upkeep.remove(index, [mount]) == 1
    assert list(update(index, videos).emptied) == []


def test_what_left_a_folder_by_hand_leaves_the_index(index, videos):
    clip(videos / "out" / "d.avi", ["white"], seed=7)
    clip(videos / "out" / "bad.avi", ["white"], seed=8).write_bytes(b"nothing")
    update(index, videos)
    (videos / "out" / "d.avi").rename(videos / "d.avi")
    (videos / "out" / "bad.avi").unlink()
    report = update(index, videos)
    assert (report.moved, report.removed, list(report.emptied)) == (1, 1, [])
    (videos / "deep" / "notes.txt").write_text("a folder in use")
    (videos / "deep" / "c.avi").unlink()
    shutil.rmtree(videos / "out")
    report = update(index, videos)
    assert (report.removed, list(report.emptied)) == (1, [])
    assert names(found(index, "white"))[0] == "d.avi"
    assert [file.path.name for file in store.list_files(index)] == ["a.avi", "b.avi", "d.avi"]


def test_file_below_a_folder_that_may_not_be_read_is_kept(index, videos, monkeypatch):
    find_videos = plan.find_videos
    monkeypatch.setattr(plan, "find_videos", lambda folder: [p for p in find_videos(folder) if p.name != "c.avi"])
    assert update(index, videos).removed == 0
    assert "c.avi" in names(found(index))


def test_broken_file_is_tried_again_only_when_it_changes(index, videos, decoded):
    bad = videos / "bad.avi"
    bad.write_bytes(b"nothing")
    assert len(update(index, videos).broken) == 1
    assert decoded == [bad]
    report = update(index, videos)
    assert decoded == [bad]
    assert (report.unchanged, len(report.broken)) == (3, 1)
    clip(bad, ["white"], seed=5)
    report = update(index, videos)
    assert (report.added, report.broken) == (1, [])
    bad.write_bytes(b"")
    key = next(file.content_hash for file in store.list_files(index) if file.path == bad)
    assert len(update(index, videos).broken) == 1
    assert not on_disk(index, key)
    bad.unlink()
    report = update(index, videos)
    assert (report.removed, report.broken) == (1, [])


def test_every_broken_file_that_leaves_counts(index, videos):
    names = ["a copy.avi", "bad.avi", "copied.avi", "worse.avi"]
    for name, raw in zip(names, (b"no video", b"nothing", b"no video", b"nothing at all"), strict=True):
        (videos / name).write_bytes(raw)
    assert len(update(index, videos).broken) == 4
    removed = []
    for left, name in zip((3, 2, 1, 0), names, strict=True):
        (videos / name).unlink()
        report = update(index, videos)
        assert (report.unchanged, len(report.broken)) == (3, left)
        removed.append(report.removed)
    assert removed == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("open", PermissionError(errno.EACCES, "Permission denied"), r"cannot be read \(Permission denied\)"),
        ("open", OSError(errno.EIO, "Input/output error"), r"cannot be read \(Input/output error\)"),
        ("is_dir", OSError(errno.ESTALE, "Stale file handle"), "cannot be opened .*Stale file handle"),
        (
            "av",
            av.error.OSError(errno.EIO, "Input/output error"),
            r"cannot be read \(Input/output error\); if it stays so",
        ),
        ("memory", MemoryError(), "do not fit into memory"),
    ],
)
def test_a_file_that_could_not_be_read_is_tried_again(index, videos, decoded, monkeypatch, place, error, words):
    new = clip(videos / "new.avi", ["white"], seed=5)
    owner, name = {
        "open": (Path, "open"), "is_dir": (Path, "is_dir"), "av": (av, "open"),
        "memory": (embed_pipeline, "preprocess"),
    }[place]  # fmt: skip
    original = getattr(owner, name)

    def failing(first, *args, **kwargs):
        if place == "memory" or str(first) == str(new):
            raise error
        return original(first, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        for _ in range(2):
            report = update(index, videos)
            assert (report.added, [broken.path for broken in report.broken]) == (0, [new])
            assert re.search(words, report.broken[0].reason)
    assert decoded == [new] * 2
    report = update(index, videos)
    assert (report.added, report.broken) == (1, [])


@pytest.mark.parametrize("value", [float("nan"), 1e6, 0.0, 1e-9])
def test_vectors_that_cannot_be_stored_make_a_broken_file(videos, tmp_path, value):
    class BadMethod(FakeMethod):
        def encode_frames(self, pixels_N3HW):
            return torch.full((len(pixels_N3HW), 12), value)

    report = update(tmp_path / "index", videos, method=BadMethod())
    assert (report.added, len(report.broken)) == (0, 3)
    assert "no usable vector" in report.broken[0].reason
    assert found(tmp_path / "index") == []


@pytest.mark.parametrize(
    "name", [b"two  words.avi", "🎬 日本.avi".encode(), b"new\nline.avi", b"\xff\xfe latin \xe9.avi"]
)
def test_names_of_any_bytes(videos, tmp_path, name):
    path = os.fsencode(tmp_path) + b"/odd/" + name
    os.mkdir(tmp_path / "odd")
    shutil.copy(videos / "b.avi", path)
    report = update(tmp_path / "index", tmp_path / "odd")
    assert (report.added, report.broken) == (1, [])
    (hit,) = found(tmp_path / "index", "blue")
    assert os.fsencode(hit.path) == path
    assert os.path.exists(hit.path)
    assert update(tmp_path / "index", tmp_path / "odd").unchanged == 1
    Path(os.fsdecode(path)).write_bytes(b"broken")
    report = update(tmp_path / "index", tmp_path / "odd")
    assert [os.fsencode(broken.path) for broken in report.broken] == [path]
    assert upkeep.remove(tmp_path / "index", [Path(os.fsdecode(path))]) == 1
    assert store.list_files(tmp_path / "index") == []


def test_remove_takes_files_and_folders_off_the_disk(index, videos):
    files = store.list_files(index)
    assert upkeep.remove(index, [videos / "deep", videos / "a.avi"]) == 2
    assert names(found(index)) == ["b.avi"]
    assert not on_disk(index, files[0].content_hash)
    assert on_disk(index, files[1].content_hash)
    with pytest.raises(IndexError_, match=r"a\.avi"):
        upkeep.remove(index, [videos / "b.avi", videos / "a.avi"])
    assert names(found(index)) == ["b.avi"]
    with pytest.raises(IndexError_, match="no such file"):
        upkeep.remove(index, [videos / "b"])
    assert update(index, videos).added == 2


def test_many_commits_end_as_one_version(index, videos, monkeypatch):
    monkeypatch.setattr(build, "BATCH_VIDEOS", 1)
    for number in range(6):
        clip(videos / f"more {number}.avi", ["white", "red"], seed=10 + number)
    assert update(index, videos).added == 6
    for table in (store.FILES, store.SEGMENTS):
        assert len(list((index / table / "_versions").glob("*.manifest"))) == 1
        assert len(list((index / table / "data").glob("*.lance"))) == 1
    upkeep.compact(index)
    assert len(found(index)) == 9


def test_another_directory_is_never_written_into(videos, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "mine", tmp_path / "file", videos):
        with pytest.raises(NotAnIndex, match=place.name):
            update(place, videos)
    for action in (cards.open_index, store.list_files, upkeep.compact, lambda place: upkeep.remove(place, [videos])):
        for place in (tmp_path / "mine", tmp_path / "missing", tmp_path / "file"):
            with pytest.raises(NotAnIndex, match=place.name):
                action(place)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"format": 1}', '{"format": 1, "model": {}, "config": {"x": 1}, "width": 2}']
)
def test_damaged_card_is_no_index(index, videos, text):
    (index / cards.CARD).write_text(text)
    with pytest.raises(NotAnIndex, match="card"):
        update(index, videos)


def test_index_of_a_newer_format_is_refused(index):
    card = (index / cards.CARD).read_text()
    (index / cards.CARD).write_text(card.replace('"format": 1', '"format": 3'))
    with pytest.raises(IndexError_, match="newer"):
        cards.open_index(index)


def test_another_model_or_other_settings_are_refused(index, videos):
    with pytest.raises(IndexMismatch, match=r"fake-0, trained on colours\), not by fake \(fake-1\)"):
        update(index, videos, method=FakeMethod(seed=1))
    with pytest.raises(IndexMismatch, match="fake-0"):
        Searcher(cards.open_index(index), FakeMethod(seed=1))
    with pytest.raises(
        IndexMismatch, match=r"made with --fps 2, not with --fps 5\. .*`reelseek index switch --fps 5 --index"
    ):
        update(index, videos, config=replace(CONFIG, fps=5.0))
    assert update(index, videos, config=None).unchanged == 3


def test_second_writer_is_refused_at_once_and_told_who_writes(index, videos):
    with locked(index):
        for action in (
            lambda: update(index, videos),
            lambda: upkeep.compact(index),
            lambda: upkeep.remove(index, [videos]),
        ):
            with pytest.raises(IndexLocked, match=f"process {os.getpid()} on .* .since "):
                action()
        assert len(found(index)) == 3, "readers need no lock"
    assert update(index, videos).unchanged == 3


def test_place_that_cannot_be_written_is_a_sentence(videos, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(IndexError_, match="cannot be written"):
        update(tmp_path / "file" / "index", videos)
    (tmp_path / "index" / "write.lock").mkdir(parents=True)
    with pytest.raises(IndexError_, match=r"cannot be written.*directory"):
        update(tmp_path / "index", videos)


def test_lost_segments_are_made_again(index, videos):
    shutil.rmtree(index / store.SEGMENTS)
    assert found(index) == []
    assert update(index, videos).added == 3
    assert len(found(index)) == 3


def test_segments_longer_than_the_model_takes_are_refused_before_anything_is_written(videos, tmp_path):
    class Short(FakeMethod):
        def project(self, texts, videos):
            if videos.frames_VFD.shape[1] > 2:
                raise ConfigError("up to 2 frames")
            return super().project(texts, videos)

    with pytest.raises(ConfigError, match="up to 2"):
        update(tmp_path / "index", videos, method=Short(), config=CONFIG)
    assert not (tmp_path / "index" / "index.json").exists()
