"""Vectors that are mapped from copies beside the tables: the same answers, and never a copy that does not fit."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
import torch

from index_fakes import CARD, CONFIG, QUERIES, FakeMethod, change, everything, fill, update, whole
from reelseek.index import build, cards, fragments, frames, store, upkeep
from reelseek.index.frames import Frames, mapped, measured, write_copy
from reelseek.index.search import Searcher
from reelseek.index.switch import roll_back, switch


class Killed(BaseException):
    """Stands for SIGKILL."""


def vectors(count: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return (torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 3).half()


def copy_of(path: Path, frames_ND: torch.Tensor) -> Path:
    write_copy(path, [block.numpy() for block in frames_ND.split(4)], *frames_ND.shape)
    return path


@pytest.fixture
def copies(monkeypatch):
    """Every data file is copied, however small, and holds few segments."""
    monkeypatch.setattr(fragments, "MAPPED_FRAMES", 1)
    monkeypatch.setattr(store, "FRAGMENT_ROWS", 3)
    monkeypatch.setattr(build, "BATCH_VIDEOS", 2)


def copied(index: Path) -> set[str]:
    return {path.name for path in (index / frames.FOLDER).glob("*")}


def data_files(index: Path) -> set[str]:
    return {f"{path.stem}.f16" for path in (index / store.SEGMENTS / "data").iterdir()}


def mapped_share(searcher: Searcher) -> list[bool]:
    """Of each piece, whether it lies in a mapped file."""
    starts = [
        tuple(int(edge, 16) for edge in row.split()[0].split("-"))
        for row in Path("/proc/self/maps").read_text().splitlines()
        if ".f16" in row
    ]
    return [any(low <= piece.data_ptr() < high for low, high in starts) for piece in searcher.loaded.frames_ND.pieces]


def answers(searcher: Searcher) -> list:
    return [searcher.search(query, k=1000, moments=moments) for query in QUERIES for moments in (False, True)]


def test_rows_of_pieces_are_those_of_the_whole():
    whole_ND = vectors(20)
    parts = Frames([measured(part) for part in whole_ND.split([7, 1, 12])], 6)
    assert (len(parts), parts.shape) == (20, (20, 6))
    for rows in (torch.arange(20), torch.tensor([19, 0, 7, 8, 7]), torch.tensor([[6, 7], [8, 19]]), torch.arange(0)):
        found = parts[rows]
        assert found.shape == (*rows.shape, 6)
        for row, vector in zip(rows.reshape(-1).tolist(), found.reshape(-1, 6), strict=True):
            assert torch.equal(vector, whole_ND[row])
    units = [[x / sum(y * y for y in row) ** 0.5 for x in row] for row in whole_ND.double().tolist()]
    assert parts.mean_D.tolist() == pytest.approx([sum(column) / 20 for column in zip(*units, strict=True)], abs=1e-6)
    norms = [sum(x * x for x in row) ** 0.5 for row in whole_ND.double().tolist()]
    assert parts.inverse_norms_N.tolist() == pytest.approx([1 / norm for norm in norms], rel=1e-6)


def test_no_pieces_are_no_rows():
    nothing = Frames([], 6)
    assert (len(nothing), nothing.shape, nothing.mean_D.tolist()) == (0, (0, 6), [0.0] * 6)


def test_a_copy_holds_what_was_written(tmp_path):
    frames_ND = vectors(11)
    expected, piece = measured(frames_ND), mapped(copy_of(tmp_path / "x.f16", frames_ND), 11, 6)
    assert piece is not None
    assert torch.equal(piece.frames_ND, frames_ND)
    assert torch.equal(piece.inverse_norms_N, expected.inverse_norms_N)
    torch.testing.assert_close(piece.total_D, expected.total_D)
    assert {path.name for path in tmp_path.iterdir()} == {"x.f16"}


def test_a_copy_of_another_shape_is_not_taken(tmp_path):
    path = copy_of(tmp_path / "x.f16", vectors(12, 6))
    for count, width in ((11, 6), (12, 5), (6, 12), (24, 3)):
        assert mapped(path, count, width) is None
    assert mapped(tmp_path / "none.f16", 12, 6) is None
    assert mapped(tmp_path, 12, 6) is None


def test_damage_outside_the_vectors_is_seen_wherever_it_is(tmp_path):
    good = copy_of(tmp_path / "good.f16", vectors(5)).read_bytes()
    path = tmp_path / "bad.f16"
    head, tail = range(0, 4096, 97), range(len(good) - 4 * 5 - 4 * 6 - 4, len(good))
    for place in (*range(24), *head, *tail):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x41]) + good[place + 1 :])
        assert mapped(path, 5, 6) is None, place
    for bad in (b"", good[:100], good[:-1], good + b"\0"):
        path.write_bytes(bad)
        assert mapped(path, 5, 6) is None
    first, last = 4096, 4096 + 2 * 6 * 4
    for place in (first, last):
        path.write_bytes(good[:place] + bytes(12) + good[place + 12 :])
        assert mapped(path, 5, 6) is None, "the first or last vector is gone"
    path.write_bytes(good)
    assert mapped(path, 5, 6) is not None


def test_a_header_that_lies_about_its_length_is_not_taken(tmp_path):
    path = copy_of(tmp_path / "x.f16", vectors(5))
    data = bytearray(path.read_bytes())
    data[8:24] = struct.pack("<QQ", 2**63, 2**63)
    path.write_bytes(data)
    assert mapped(path, 5, 6) is None


def test_a_write_without_room_leaves_nothing(tmp_path, monkeypatch):
    def no_room(_):
        raise OSError(ENOSPC, "no room")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="no room"):
        copy_of(tmp_path / "x.f16", vectors(5))
    assert list(tmp_path.iterdir()) == []


def test_mapped_and_read_give_the_same_answers(tmp_path, copies):
    index, folder = tmp_path / "index", fill(tmp_path / "videos", 7)
    update(index, folder)
    assert len(copied(index)) > 1
    assert copied(index) == data_files(index)
    by_map = Searcher(cards.open_index(index), FakeMethod())
    assert all(mapped_share(by_map))
    # Some of them gone, then all.
    some = index / frames.FOLDER / sorted(copied(index))[0]
    some.unlink()
    partly = Searcher(cards.open_index(index), FakeMethod())
    assert sorted(set(mapped_share(partly))) == [False, True]
    shutil.rmtree(index / frames.FOLDER)
    read = Searcher(cards.open_index(index), FakeMethod())
    assert len(read.loaded.frames_ND.pieces) == 1
    for other in (partly, read):
        assert torch.equal(torch.cat(by_map.loaded.frames_ND.pieces), torch.cat(other.loaded.frames_ND.pieces))
        torch.testing.assert_close(by_map.loaded.mean_D, other.loaded.mean_D)
        assert answers(by_map) == answers(other)


def test_small_data_files_are_not_copied(tmp_path):
    index = tmp_path / "index"
    update(index, fill(tmp_path / "videos", 3))
    assert not (index / frames.FOLDER).exists()


def test_copies_follow_the_tables_and_an_open_search_keeps_its_own(tmp_path, copies):
    index, folder = tmp_path / "index", fill(tmp_path / "videos", 6)
    update(index, folder)
    searcher = Searcher(cards.open_index(index), FakeMethod())
    before, files = answers(searcher), copied(index)
    for number in range(2):
        change(folder, number)
        update(index, folder)
        assert copied(index) == data_files(index)
        assert answers(searcher) == before
    upkeep.remove(index, [sorted(folder.glob("*.avi"))[0]])
    upkeep.compact(index)
    assert copied(index) == data_files(index)
    assert files - copied(index), "copies of data files that are gone stay on the disk"
    assert answers(searcher) == before
    assert searcher.reload()
    assert all(mapped_share(searcher))
    everything(index)


def test_an_unchanged_update_copies_nothing_again(tmp_path, copies, monkeypatch):
    index, folder = tmp_path / "index", fill(tmp_path / "videos", 4)
    update(index, folder)
    monkeypatch.setattr(fragments, "write_copy", lambda *args: pytest.fail("copied again"))
    update(index, folder)


def test_contents_that_no_file_has_are_not_searched_though_they_are_mapped(tmp_path, copies):
    index, folder = tmp_path / "index", fill(tmp_path / "videos", 5)
    update(index, folder)
    rows = store.list_files(index)
    expected = [
        [hit for hit in hits if hit.path not in {str(row.path) for row in rows[1:3]}]
        for hits in answers(Searcher(cards.open_index(index), FakeMethod()))
    ]
    store.write_files(index, [rows[0], *rows[3:]], replace=True)
    searcher = Searcher(cards.open_index(index), FakeMethod())
    assert [len(hits) for hits in answers(searcher)] == [len(hits) for hits in expected]
    assert answers(searcher) == expected
    counts = searcher.loaded.segments.count_S
    assert len(searcher.loaded.frames_ND) == counts.sum() == len(searcher.loaded.segments.times_N)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_dying_while_copies_are_made_loses_nothing(tmp_path, copies, before):
    folder, original = fill(tmp_path / "videos", 5), tmp_path / "original"
    update(original, folder)
    change(folder, 0)
    for stop_at in range(1, 20):
        index = tmp_path / f"index {stop_at}"
        shutil.copytree(original, index)
        steps: list[str] = []

        def dies(name, function, steps=steps, stop_at=stop_at):
            def step(*args):
                steps.append(name)
                if before and len(steps) == stop_at:
                    raise Killed
                function(*args)
                if len(steps) == stop_at:
                    raise Killed

            return step

        died = False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fragments, "sweep", dies("sweep", fragments.sweep))
            patch.setattr(fragments, "write_copy", dies("write_copy", fragments.write_copy))
            try:
                update(index, folder)
            except Killed:
                died = True
        seen = everything(index)
        update(index, folder)
        assert everything(index) == seen
        assert copied(index) == data_files(index)
        if not died:
            break
    assert {"sweep", "write_copy"} == set(steps)


def test_an_update_goes_without_copies_where_there_is_no_room(tmp_path, copies, monkeypatch):
    def no_room(*_):
        raise OSError(ENOSPC, "no room")

    index, folder = tmp_path / "index", fill(tmp_path / "videos", 4)
    monkeypatch.setattr(fragments, "write_copy", no_room)
    assert update(index, folder).added == 4
    assert copied(index) == set()
    assert len(everything(index)["files"]) == 4


def test_switching_and_going_back_keep_each_models_copies_until_compacted(tmp_path, copies):
    index, folder = tmp_path / "index", fill(tmp_path / "videos", 4)
    update(index, folder)
    first = answers(Searcher(cards.open_index(index), FakeMethod()))
    switch(index, FakeMethod(seed=1), model_card=CARD)
    tables = cards.open_index(index).tables
    assert copied(tables) == data_files(tables) != copied(index) == data_files(index)
    searcher = Searcher(cards.open_index(index), FakeMethod(seed=1))
    assert all(mapped_share(searcher))
    roll_back(index)
    assert answers(Searcher(cards.open_index(index), FakeMethod())) == first
    roll_back(index)
    upkeep.compact(index)
    assert copied(index) == set()
    assert not (index / frames.FOLDER).exists()
    assert copied(tables) == data_files(tables)


def test_many_commits_are_merged_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BATCH_VIDEOS", 1)
    monkeypatch.setattr(store, "MOST_VERSIONS", 3)
    index, folder = tmp_path / "index", fill(tmp_path / "videos", 9)
    most = []
    merge = store._merge

    def counted(tables, name):
        most.append(len(list((tables / name / "data").iterdir())))
        merge(tables, name)

    monkeypatch.setattr(store, "_merge", counted)
    update(index, folder)
    assert max(most) == 4
    assert len(most) > 4
    monkeypatch.undo()
    whole(index, folder)


def test_processes_share_what_they_map(tmp_path, copies):
    """The pages of a mapped index belong to the file: no process that reads them takes memory of its own."""
    index, folder = tmp_path / "index", fill(tmp_path / "videos", 3)
    update(index, folder)
    program = """
import sys
from pathlib import Path
import torch
from index_fakes import FakeMethod
from reelseek.index import cards, fragments
from reelseek.index.search import Searcher
searcher = Searcher(cards.open_index(Path(sys.argv[1])), FakeMethod())
total = sum(float(piece.float().sum()) for piece in searcher.loaded.frames_ND.pieces)
own = 0
mine = False
for row in Path("/proc/self/smaps").read_text().splitlines():
    if "-" in row.split()[0] and ":" not in row.split()[0]:
        mine = row.endswith(".f16")
    elif mine and row.startswith(("Private_Dirty", "Anonymous")):
        own += int(row.split()[1])
print(total, own)
"""
    program = program.replace("searcher =", "fragments.MAPPED_FRAMES = 1\nsearcher =", 1)
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", program, str(index)], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    total, own = done.stdout.split()
    assert np.isfinite(float(total))
    assert own == "0"


def test_the_settings_of_these_tests_make_several_segments():
    assert CONFIG.segment_frames == 3
