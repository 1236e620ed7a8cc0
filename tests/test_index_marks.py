"""Marks: the latest line counts, a kill costs at most the line being written, nothing that happens to an index does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from index_fakes import CARD, FakeMethod, clip, update
from reelseek.errors import IndexError_, NotAnIndex
from reelseek.index import upkeep
from reelseek.index.cards import MARKS
from reelseek.index.judged import judged
from reelseek.index.marks import Mark, drop_mark, keep_mark, read_marks
from reelseek.index.switch import roll_back, switch

RED = Mark("something red", "/films/red.mp4", "aa" * 16, 0.0, 2.0, 0.5, True, 1_700_000_000.25)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marks")
    clip(folder / "videos" / "red.avi", ["red"])
    clip(folder / "videos" / "blue.avi", ["blue"], seed=1)
    update(folder / "index", folder / "videos")
    return folder


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "index", tmp_path / "index"))


def test_marks_come_back_in_order_and_the_latest_counts(index: Path) -> None:
    assert read_marks(index) == []
    blue = RED._replace(path="/films/blue.mp4", content_hash="bb" * 16, good=False)
    later = RED._replace(peak=1.5)
    for mark in (RED, blue, later):
        keep_mark(index, mark)
    assert read_marks(index) == [RED, blue, later]
    changed = RED._replace(good=False, path="/moved/red.mp4", peak=0.5001)  # the same frame, its time rounded
    keep_mark(index, changed)
    assert read_marks(index) == [blue, later, changed]
    keep_mark(index, RED._replace(query="another query"))
    assert len(read_marks(index)) == 4
    assert len((index / MARKS).read_text().splitlines()) == 5


@pytest.mark.parametrize("at", [0.5, 0.4999])
def test_a_mark_can_be_taken_back_and_given_again(index: Path, at: float) -> None:
    other = RED._replace(query="red")
    keep_mark(index, RED)
    keep_mark(index, other)
    assert not drop_mark(index, RED.query, "bb" * 16, at)
    assert not drop_mark(index, RED.query, RED.content_hash, at + 1)
    assert read_marks(index) == [RED, other]
    assert drop_mark(index, RED.query, RED.content_hash, at)
    assert read_marks(index) == [other]
    assert not drop_mark(index, RED.query, RED.content_hash, at)
    keep_mark(index, RED)
    assert read_marks(index) == [other, RED]


def test_a_whole_file_and_its_first_moment_are_two_marks(index: Path) -> None:
    whole, first = RED._replace(peak=0.0), RED._replace(end=0.0, peak=0.0, good=False)
    for one, other in ((whole, first), (first, whole)):
        keep_mark(index, one)
        keep_mark(index, other)
        assert read_marks(index) == [one, other]
        assert drop_mark(index, one.query, one.content_hash, one.peak, (one.start, one.end))
        assert not drop_mark(index, one.query, one.content_hash, one.peak, (one.start, one.end))
        assert read_marks(index) == [other]
        assert drop_mark(index, other.query, other.content_hash, other.peak)
    keep_mark(index, whole)
    keep_mark(index, first)
    assert drop_mark(index, RED.query, RED.content_hash, 0.0)
    assert read_marks(index) == []


def test_spans_with_one_best_frame_are_marks_of_their_own(index: Path) -> None:
    early, late = RED._replace(start=0.25, end=0.5), RED._replace(start=0.5, end=1.0, good=False)
    for mark in (early, late):
        keep_mark(index, mark)
    assert read_marks(index) == [early, late]
    changed = late._replace(start=0.5002, end=0.9998, good=True)
    keep_mark(index, changed)
    assert read_marks(index) == [early, changed]


SEGMENT = RED._replace(start=0.0, end=12.0, peak=9.0)
MOMENT = SEGMENT._replace(start=8.0, end=10.0, good=False)
FRAME = SEGMENT._replace(start=9.0, end=9.0)


@pytest.mark.parametrize("order", list(permutations([SEGMENT, MOMENT, FRAME])))
def test_a_segment_a_moment_in_it_and_its_best_frame_are_one_answer(index: Path, order: tuple[Mark, ...]) -> None:
    elsewhere = [MOMENT._replace(peak=8.5), MOMENT._replace(query="another"), MOMENT._replace(content_hash="bb" * 16)]
    for mark in elsewhere:
        keep_mark(index, mark)
    for mark in order:
        keep_mark(index, mark)
        assert read_marks(index) == [*elsewhere, mark]
    for mark in order:  # whichever of them the answer is seen as now
        keep_mark(index, order[0])
        assert drop_mark(index, mark.query, mark.content_hash, mark.peak, (mark.start, mark.end))
        assert not drop_mark(index, mark.query, mark.content_hash, mark.peak, (mark.start, mark.end))
        assert read_marks(index) == elsewhere


@pytest.mark.parametrize("edge", [{"start": 0.0}, {"end": 12.0}])
def test_a_moment_that_reaches_to_the_segment_s_edge_is_the_same_answer(index: Path, edge: dict[str, float]) -> None:
    moment = MOMENT._replace(**edge)
    for mark in (SEGMENT, moment, SEGMENT):
        keep_mark(index, mark)
        assert read_marks(index) == [mark]


def test_frames_two_milliseconds_apart_are_two_answers(index: Path) -> None:
    marks = [FRAME, FRAME._replace(start=9.002, end=9.002, peak=9.002)]
    for mark in marks:
        keep_mark(index, mark)
    assert read_marks(index) == marks


def test_a_thumb_on_a_moment_replaces_what_was_written_when_marks_held_the_segment(index: Path) -> None:
    old = [SEGMENT, SEGMENT._replace(peak=3.0), SEGMENT._replace(peak=5.0)]
    lines = [mark._asdict() for mark in old] + [{**old[2]._asdict(), "taken_back": True}]
    (index / MARKS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert read_marks(index) == old[:2]
    keep_mark(index, MOMENT)
    assert read_marks(index) == [old[1], MOMENT]
    (query,) = judged([old[1]._replace(query="other"), *read_marks(index)[1:]], [RED.content_hash]).queries
    assert query.text == "other"  # nothing is right any more for the query of the moment
    assert drop_mark(index, RED.query, RED.content_hash, 9.0, (8.0, 10.0))
    assert read_marks(index) == [old[1]]


@pytest.mark.parametrize("order", [1, -1])
def test_lines_under_one_frame_stay_apart_and_the_segment_around_replaces_both(index: Path, order: int) -> None:
    lines = [MOMENT._replace(start=7.0, end=9.0), MOMENT._replace(start=9.0, end=9.5, good=True)][::order]
    for mark in lines:
        keep_mark(index, mark)
    overlapping = MOMENT._replace(start=8.0, end=9.25)
    keep_mark(index, overlapping)
    assert read_marks(index) == [*lines, overlapping]
    keep_mark(index, SEGMENT)
    assert read_marks(index) == [SEGMENT]


def test_a_segment_that_may_be_the_whole_file_is_replaced_by_the_same_span_alone(index: Path) -> None:
    spans = [RED._replace(end=end, peak=0.0) for end in (100.0, 12.0, 2.0, 0.0)]
    for mark in spans:
        keep_mark(index, mark)
    assert read_marks(index) == spans
    changed = spans[1]._replace(good=False)
    keep_mark(index, changed)
    assert read_marks(index) == [spans[0], *spans[2:], changed]


def test_what_is_taken_back_of_a_file_says_nothing_of_what_lay_there_before(index: Path) -> None:
    before, now = RED._replace(peak=0.0), RED._replace(peak=0.0, content_hash="bb" * 16, good=False)
    keep_mark(index, before)
    keep_mark(index, now)  # the first file was renamed, and another has its path
    assert drop_mark(index, now.query, now.content_hash, now.peak)
    assert read_marks(index) == [before]


def test_case_and_spaces_make_no_other_query(index: Path) -> None:
    keep_mark(index, RED._replace(query="A dog", good=True))
    latest = RED._replace(query="a  DOG", good=False)
    keep_mark(index, latest)
    assert read_marks(index) == [latest]
    (query,) = judged([latest, RED._replace(query="a dog", content_hash="bb" * 16)], ["aa" * 16, "bb" * 16]).queries
    assert (query.wrong, set(query.right)) == ({"aa" * 16}, {"bb" * 16})
    assert drop_mark(index, "a dog", RED.content_hash, RED.peak)
    assert read_marks(index) == []
    keep_mark(index, RED._replace(query="STRASSE"))
    keep_mark(index, RED._replace(query="Straße"))
    assert [mark.query for mark in read_marks(index)] == ["Straße"]


def test_names_and_queries_of_any_letters(index: Path) -> None:
    odd = RED._replace(path=os.fsdecode(b"/films/\xff\n\xc3\xa9.mp4"), query='\U0001f3ac "quoted"\n\u2028 line')
    keep_mark(index, odd)
    assert read_marks(index) == [odd]
    assert (index / MARKS).read_bytes().isascii()
    assert drop_mark(index, odd.query, odd.content_hash, odd.peak)


@pytest.mark.parametrize("torn", [b'{"query": "red', b"\xff" * 9000, json.dumps(RED._asdict()).encode()])
def test_a_torn_last_line_is_none_and_leaves_with_the_next_mark(index: Path, torn: bytes) -> None:
    first = RED._replace(query="q" * 10_000)
    for kept in ([], [first], [first, RED._replace(query="a"), RED._replace(query="b")]):
        for mark in kept:
            keep_mark(index, mark)
        whole = (index / MARKS).read_bytes() if kept else b""
        (index / MARKS).write_bytes(whole + torn)
        assert read_marks(index) == kept
        keep_mark(index, RED._replace(at=1.0))
        assert read_marks(index) == [*kept, RED._replace(at=1.0)]
        assert (index / MARKS).read_bytes().endswith(b"}\n")
        (index / MARKS).unlink()


def test_a_mark_is_on_the_disk_when_it_is_kept(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append((index / MARKS).read_bytes()))
    keep_mark(index, RED)
    assert synced == [(index / MARKS).read_bytes()]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        "\xff",
        '{"query": "a"}',
        "[" * 100_000,
        json.dumps(RED._asdict() | {"good": 1}),
        json.dumps(RED._asdict() | {"peak": "1"}),
        json.dumps(RED._asdict() | {"peak": float("nan")}),
        json.dumps(RED._asdict() | {"query": 3}),
        json.dumps(RED._asdict() | {"peak": 10**400}),
        json.dumps(RED._asdict() | {"peak": 1e307}),
    ],
)
def test_a_damaged_line_is_named(index: Path, line: str) -> None:
    keep_mark(index, RED)
    with (index / MARKS).open("a", encoding="latin-1") as file:
        file.write(f"{line}\n")
    with pytest.raises(IndexError_, match=r"marks\.jsonl: line 2 is not a mark .*Delete that line"):
        read_marks(index)


def test_marks_that_cannot_be_read_are_a_sentence(index: Path) -> None:
    (index / MARKS).mkdir()
    with pytest.raises(IndexError_, match=r"the marks cannot be read \(Is a directory\)"):
        read_marks(index)


TIMES = ("start", "end", "peak", "at")


def test_what_is_no_mark_and_no_index_is_refused(index: Path, tmp_path: Path) -> None:
    no_times = [
        RED._replace(**{name: float(no)}) for name, no in zip(TIMES, ("nan", "inf", "nan", "-inf"), strict=True)
    ]
    for wrong in (RED._replace(query=" \n"), *no_times):
        with pytest.raises(ValueError, match="needs a query and times"):
            keep_mark(index, wrong)
    for act in (lambda: keep_mark(tmp_path, RED), lambda: read_marks(tmp_path)):
        with pytest.raises(NotAnIndex):
            act()
    assert not (tmp_path / MARKS).exists()


MANY = """
import resource, sys
from pathlib import Path
from reelseek.errors import IndexError_
from reelseek.index.marks import Mark, keep_mark
name, most = sys.argv[2], int(sys.argv[3])
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
print("begun", flush=True)
try:
    for number in range(50):
        keep_mark(Path(sys.argv[1]), Mark(name * 1000, "red.mp4", "aa", 0.0, 2.0, float(number), True, 1.0))
        print(number, flush=True)
except IndexError_ as error:
    print(error)
"""


def marking(index: Path, name: str, most: int = 0) -> subprocess.Popen[str]:
    """A process that makes 50 marks. most: bytes that a file may hold, as on a full disk."""
    words = [sys.executable, "-c", MANY, str(index), name, str(most)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_processes_that_mark_at_once_lose_nothing(index: Path) -> None:
    workers = [marking(index, name) for name in "abcd"]
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    found = read_marks(index)
    assert {(mark.query[0], mark.peak) for mark in found} == {(n, float(p)) for n in "abcd" for p in range(50)}
    assert len(found) == 200


def test_a_killed_process_leaves_what_it_said_it_had_kept(index: Path) -> None:
    worker = marking(index, "a")
    said = [worker.stdout.readline() for _ in range(10)] if worker.stdout else []
    worker.kill()
    said += worker.communicate()[0].splitlines(keepends=True)
    kept = sum(line.endswith("\n") for line in said[1:])
    assert kept >= 9
    assert kept <= len(read_marks(index)) <= kept + 1
    keep_mark(index, RED)
    assert read_marks(index)[-1] == RED


def test_a_full_disk_leaves_whole_lines(index: Path) -> None:
    said = marking(index, "a", 5000).communicate()[0].splitlines()
    assert "the index cannot be written" in said[-1]
    assert len(read_marks(index)) == len(said) - 2 > 0
    assert (index / MARKS).read_bytes().endswith(b"}\n")


def test_marks_outlive_what_happens_to_an_index(made: Path, index: Path, tmp_path: Path) -> None:
    videos = Path(shutil.copytree(made / "videos", tmp_path / "videos"))
    update(index, videos, made / "videos")
    keep_mark(index, RED)
    (videos / "red.avi").rename(videos / "moved.avi")
    update(index, videos)
    switch(index, FakeMethod(1), model_card=CARD)
    roll_back(index)
    upkeep.remove(index, [videos])
    upkeep.compact(index)
    assert read_marks(index) == [RED]
    for path in index.iterdir():  # what the advice for a damaged index comes to
        if path.name != MARKS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    update(index, videos)
    assert read_marks(index) == [RED]
