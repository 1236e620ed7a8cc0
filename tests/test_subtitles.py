"""Subtitles beside videos: reading any file, following changes without decoding, searching what is said."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cli_world
from index_fakes import FakeMethod, clip, update
from reelseek import Index, embed_pipeline
from reelseek.errors import ConfigError, IndexError_, ReelseekError
from reelseek.index import cards, subtitles, upkeep
from reelseek.index.ask import Answer, ask
from reelseek.index.filters import Filters
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.index.spoken import Documents, Spoken, fused, words_of
from reelseek.index.subtitles import Cue, Sidecar, beside, load, parse, read
from reelseek.index.switch import switch
from test_search import index_of

SRT = """1
00:00:00,500 --> 00:00:01,000
<i>Hello</i> there,
general.

2
00:00:01,200 --> 00:00:02,000
{\\an8}Tom &amp; Jerry
3
00:00:02,000 --> 00:00:02,500
<font color="red">no line between</font>
"""
VTT = """WEBVTT - some title

STYLE
::cue { color: red }

NOTE nothing to see

intro
00:00.500 --> 00:01.000 align:start position:0%
<v Roger>Hello <00:00.700><c.loud>there</c>

1:00:02.000 --> 1:00:03.000
2 < 3, and <this
"""


def test_srt_and_vtt_are_read() -> None:
    assert parse(SRT) == (
        [Cue(0.5, 1.0, "Hello there, general."), Cue(1.2, 2.0, "Tom & Jerry"), Cue(2.0, 2.5, "no line between")],
        0,
    )
    assert parse(VTT) == ([Cue(0.5, 1.0, "Hello there"), Cue(3602.0, 3603.0, "2 < 3, and <this")], 0)


def test_damaged_cues_are_counted_and_the_others_stay() -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:00,000\nbackwards\n\n2\n00:00:xx,000 --> 00:00:02,000\nno time\n\n"
        "3\n00:00:05,0 --> 00:00:06,0\n<b></b>\n\n4\n00:00:01,000 --> 00:00:02,000\n<script>alert(1)</script> ok\n"
    )
    assert parse(text) == ([Cue(1.0, 2.0, "alert(1) ok")], 3)
    assert parse("") == ([], 0)
    assert parse("no subtitles at all") == ([], 0)


@given(st.text())
def test_any_text_is_parsed_into_clean_cues(text: str) -> None:
    for found in (parse(text), parse(f"1\n00:00:01,000 --> 00:00:02,000\n{text}")):
        for cue in found[0]:
            assert 0 <= cue.start <= cue.end
            assert cue.text.isprintable()
            assert cue.text.strip() == cue.text != ""
            assert len(cue.text) <= subtitles.LONGEST


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtitles, "MOST_CUES", 2)
    monkeypatch.setattr(subtitles, "LONGEST", 5)
    assert parse(SRT) == ([Cue(0.5, 1.0, "Hello"), Cue(1.2, 2.0, "Tom &")], 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.srt").write_bytes("1\r\n00:00:01,000 --> 00:00:02,000\r\nÄrger über ß\r\n".encode(encoding))
    assert read(tmp_path / "a.srt") == ([Cue(1.0, 2.0, "Ärger über ß")], 0)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_windows_subtitles_keep_every_word(tmp_path: Path, end: str) -> None:
    words = "It’s late …\n…\nthe butler did it – “€5”, he said"
    text = f"1\n00:00:01,000 --> 00:00:02,000\n{words}\n\n2\n00:00:03,000 --> 00:00:04,000\nnext\n"
    (tmp_path / "a.srt").write_bytes(text.replace("\n", end).encode("cp1252"))
    assert read(tmp_path / "a.srt") == ([Cue(1.0, 2.0, words.replace("\n", " ")), Cue(3.0, 4.0, "next")], 0)


def test_bytes_without_a_meaning_in_windows_1252_end_no_line(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\none \x81\x8d\x8f\x90\x9d\nt\xe9 two\n")
    assert read(tmp_path / "a.srt") == ([Cue(1.0, 2.0, "one té two")], 0)


@pytest.mark.parametrize("letter", ["\x85", "\x0b", "\x0c", "\x1c", "\u2028", "\u2029"])
def test_only_line_feeds_and_returns_end_a_line(letter: str) -> None:
    assert parse(f"00:01.000 --> 00:02.000\none{letter}{letter}two") == ([Cue(1.0, 2.0, "one two")], 0)


def test_files_that_are_no_subtitles_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.srt").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(ReelseekError, match="no cue"):
        read(tmp_path / "a.srt")
    (tmp_path / "b.srt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReelseekError, match="no cue"):
        read(tmp_path / "b.srt")
    monkeypatch.setattr(subtitles, "MOST_BYTES", 100)
    with pytest.raises(ReelseekError, match="too large"):
        read(tmp_path / "a.srt")


def test_which_files_belong_to_which_video(tmp_path: Path) -> None:
    names = ["a.mp4", "a.b.mp4", "a.srt", "a.en.srt", "a.en.forced.vtt", "a.mp4.SRT", "a.b.srt", "a.b.de.vtt", "ab.srt",
             "a.en.sdh.forced.srt", "a.txt", "c.mp4", ".srt"]  # fmt: skip
    for name in names:
        (tmp_path / name).write_text("x")
    found = beside([tmp_path / "a.mp4", tmp_path / "a.b.mp4", tmp_path / "c.mp4", tmp_path / "gone" / "d.mp4"])
    assert {video.name: [file.name for file, _ in files] for video, files in found.items()} == {
        "a.mp4": ["a.en.forced.vtt", "a.en.srt", "a.mp4.SRT", "a.srt"],
        "a.b.mp4": ["a.b.de.vtt", "a.b.srt"],
        "c.mp4": [],
    }


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    clip(folder / "a.avi", ["red", "green", "blue"], seed=1)
    clip(folder / "b.avi", ["blue"], seed=2)
    clip(folder / "c.avi", ["white"], seed=3)
    (folder / "a.srt").write_text(SRT)
    (folder / "b.en.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nthe general sleeps\n")
    return folder


def held(index: Path) -> dict[str, list[str]]:
    return {sidecar.file.name: [cue.text for cue in sidecar.cues] for sidecar in load(index)}


def test_a_file_that_cannot_be_read_now_is_tried_again(videos, tmp_path, monkeypatch) -> None:
    def fail(path: Path) -> object:
        raise OSError(5, "Input/output error")

    index = tmp_path / "index"
    with monkeypatch.context() as patch:
        patch.setattr(subtitles, "read", fail)
        report = update(index, videos)
        assert sorted(broken.reason for broken in report.subtitles_broken) == [
            f"{videos / name}: the subtitles cannot be read (Input/output error)." for name in ("a.srt", "b.en.vtt")
        ]
    assert held(index) == {}
    report = update(index, videos)
    assert (report.subtitles_read, list(report.subtitles_broken)) == (2, [])
    assert held(index).keys() == {"a.srt", "b.en.vtt"}
    known = held(index)
    (videos / "a.srt").write_text(SRT.replace("general", "admiral"))
    with monkeypatch.context() as patch:
        patch.setattr(subtitles, "read", fail)
        assert len(update(index, videos).subtitles_broken) == 1
    assert held(index) == known
    assert update(index, videos).subtitles_read == 1
    assert "admiral" in held(index)["a.srt"][0]


def test_an_update_follows_subtitles_without_decoding(videos, tmp_path, monkeypatch) -> None:
    index = tmp_path / "index"
    report = update(index, videos)
    assert (report.subtitles, report.subtitles_read, report.cues_damaged) == (2, 2, 0)
    assert held(index).keys() == {"a.srt", "b.en.vtt"}
    monkeypatch.setattr(embed_pipeline, "decode", lambda path, *rest, **named: pytest.fail(f"{path} was decoded"))
    monkeypatch.setattr(subtitles, "read", lambda path: pytest.fail(f"{path} was read"))
    assert update(index, videos).subtitles_read == 0
    monkeypatch.setattr(subtitles, "read", read)
    (videos / "a.srt").write_text(SRT.replace("general", "admiral") + "\n\n9 --> 10\nno times\n")
    (videos / "c.vtt").write_text("no cues")
    report = update(index, videos)
    assert (report.subtitles, report.subtitles_read, report.cues_damaged) == (3, 2, 1)
    assert [broken.path.name for broken in report.subtitles_broken] == ["c.vtt"]
    assert "admiral" in held(index)["a.srt"][0]
    report = update(index, videos)
    assert (report.subtitles_read, list(report.subtitles_broken)) == (0, [])
    (videos / "b.en.vtt").unlink()
    update(index, videos)
    assert held(index).keys() == {"a.srt", "c.vtt"}
    (videos / "a.avi").rename(videos / "z.avi")
    (videos / "a.srt").rename(videos / "z.srt")
    update(index, videos)
    assert held(index).keys() == {"z.srt", "c.vtt"}
    upkeep.remove(index, [videos / "z.avi"])
    assert held(index).keys() == {"c.vtt"}
    (videos / "z.avi").unlink()
    (videos / "c.avi").unlink()
    update(index, videos)
    assert held(index) == {}
    assert not any("admiral" in path.read_text() for path in (index / subtitles.FOLDER).iterdir())


def test_what_was_read_in_an_earlier_way_answers_until_an_update_reads_it_again(videos, tmp_path, monkeypatch) -> None:
    index = tmp_path / "index"
    (videos / "a.srt").write_bytes("1\n00:00:00,500 --> 00:00:01,000\nc\u0153ur\n".encode("cp1252"))
    update(index, videos)
    for record in list((index / subtitles.FOLDER).iterdir()):
        name, reading = record.stem.rsplit("-", 1)
        assert (reading, name.count("-")) == (str(subtitles.READING), 3)
        record.write_text(record.read_text().replace("c\\u0153ur", "c ur"))  # what reading it as Latin-1 left
        record.rename(record.with_name(f"{name}.json"))
    assert held(index) == {"a.srt": ["c ur"], "b.en.vtt": ["the general sleeps"]}
    monkeypatch.setattr(embed_pipeline, "decode", lambda path, *rest, **named: pytest.fail(f"{path} was decoded"))
    (videos / "b.avi").rename(tmp_path / "b.avi")  # its subtitles leave with it
    assert update(index, videos).subtitles_read == 1
    assert held(index) == {"a.srt": ["cœur"]}
    assert len(list((index / subtitles.FOLDER).iterdir())) == 1
    assert update(index, videos).subtitles_read == 0


def test_other_folders_keep_theirs_and_a_switch_keeps_all(videos: Path, tmp_path: Path) -> None:
    clip(tmp_path / "more" / "d.avi", ["green"], seed=4)
    (tmp_path / "more" / "d.srt").write_text(SRT)
    index = tmp_path / "index"
    update(index, videos)
    assert update(index, tmp_path / "more").subtitles == 1
    assert held(index).keys() == {"a.srt", "b.en.vtt", "d.srt"}
    switch(index, FakeMethod(1), model_card={})
    assert held(index).keys() == {"a.srt", "b.en.vtt", "d.srt"}
    shutil.move(videos, tmp_path / "unplugged")
    with pytest.raises(IndexError_):
        update(index, videos, method=FakeMethod(1))
    assert held(index).keys() == {"a.srt", "b.en.vtt", "d.srt"}


def test_a_kill_leaves_whole_files_and_the_next_update_the_rest(videos, tmp_path, monkeypatch) -> None:
    index = tmp_path / "index"

    class Killed(BaseException):
        pass

    def die(self: Path, target: Path) -> None:
        if target.suffix == ".json" and target.parent.name == subtitles.FOLDER:
            raise Killed
        os.replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(Killed):
            update(index, videos)
    assert held(index) == {}
    assert [path.suffix for path in (index / subtitles.FOLDER).iterdir()] == [".part"]
    assert update(index, videos).subtitles_read == 2
    assert all(path.suffix == ".json" for path in (index / subtitles.FOLDER).iterdir())
    next((index / subtitles.FOLDER).iterdir()).write_text("{damaged")
    assert len(held(index)) == 1


def test_a_full_disk_is_a_sentence(videos, tmp_path, monkeypatch) -> None:
    update(tmp_path / "index", videos)
    (videos / "a.srt").write_text(SRT + "\n")

    def full(self: Path, *args: object, **named: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(IndexError_, match=r"cannot be written \(No space left"):
            update(tmp_path / "index", videos)
    assert len(held(tmp_path / "index")) == 2


def slow_bm25(query: str, documents: list[list[str]]) -> list[float]:
    """The formula, word by word."""
    scores = []
    mean = sum(len(document) for document in documents) / len(documents)
    for document in documents:
        score = covered = whole = 0.0
        for word in set(words_of(query)):
            n = sum(1 for other in documents if word in other)
            weight = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            whole += weight
            count = document.count(word)
            if count:
                covered += weight
                score += weight * count * (1.2 + 1) / (count + 1.2 * (1 - 0.75 + 0.75 * len(document) / mean))
        scores.append(score if covered >= whole / 2 else 0.0)
    return scores


def test_bm25_equals_its_definition() -> None:
    chance = np.random.default_rng(0)
    words = [f"w{n}" for n in range(12)]
    for _ in range(100):
        documents = [
            [words[min(11, int(n))] for n in chance.geometric(0.2, chance.integers(1, 15)) - 1]
            for _ in range(chance.integers(1, 9))
        ]
        query = " ".join(chance.choice(words, chance.integers(1, 5)))
        ready = Documents(Counter(document) for document in documents)
        assert ready.scores(query).tolist() == pytest.approx(slow_bm25(query, documents))
        passing = chance.random(len(documents)) < 0.6
        expected = np.zeros(len(documents))
        if passing.any():
            kept = [document for document, passes in zip(documents, passing, strict=True) if passes]
            expected[passing] = slow_bm25(query, kept)
        assert ready.scores(query, passing).tolist() == pytest.approx(expected.tolist())
    assert Documents([]).scores("anything").tolist() == []


def test_what_is_said_everywhere_is_no_evidence() -> None:
    texts = ("the man in a car", "the rain in the park", "a dog and a cat")
    documents = Documents(Counter(words_of(text)) for text in texts)
    assert documents.scores("a dog on the moon")[0] == 0
    assert documents.scores("the dog and the cat")[2] > 0
    assert documents.scores("zebra").tolist() == [0, 0, 0]


def test_words_are_the_same_however_their_letters_are_composed() -> None:
    assert (
        words_of("un cafe\u0301 NAI\u0308F") == words_of("un caf\u00e9 NA\u00cfF") == ["un", "caf\u00e9", "na\u00eff"]
    )


def test_words() -> None:
    assert words_of("Don’t STOP, Straße_9!") == ["don't", "stop", "strasse", "9"]
    assert words_of("東京タワー") == ["東京", "京タ", "タワ", "ワー"]
    assert words_of("猫 🎬 ...") == ["猫"]


def test_fusion_equals_its_definition() -> None:
    assert fused([[3, 1, 2], [2, 9]]) == [
        (2, pytest.approx(1 / 63 + 1 / 61)), (3, 1 / 61), (1, 1 / 62), (9, 1 / 62),
    ]  # fmt: skip
    assert fused([[], []]) == []


@pytest.fixture
def searcher(videos: Path, tmp_path: Path) -> Searcher:
    update(tmp_path / "index", videos)
    return Searcher(cards.open_index(tmp_path / "index"), FakeMethod())


def spoken_of(searcher: Searcher) -> Spoken:
    return Spoken(load(searcher.index.directory))


def overlapped(searcher: Searcher, videos: Path, cues: tuple[Cue, ...]) -> list[tuple[float, Cue]]:
    """Where segments of a.avi that hold a cue begin, with the cue, by loops."""
    loaded = searcher.loaded
    found = []
    for cue in cues:
        starts = []
        for s in loaded.segments_V[loaded.paths_V.index(str(videos / "a.avi"))]:
            start, end = float(loaded.segments.start_S[s]), float(loaded.segments.end_S[s])
            if (cue.start < end and cue.end > start) or start <= cue.start < end:
                starts.append((start, cue))
        found += starts[:1] if cue.end - cue.start > 60 else starts
    return sorted(found)


def test_cues_belong_to_the_segments_that_they_overlap(searcher: Searcher, videos: Path) -> None:
    chance = np.random.default_rng(0)
    some = (Cue(0.0, 0.1, "x"), Cue(0.2, 4.0, "x"), Cue(1.5, 1.5, "x"), Cue(2.9, 3.0, "x"), Cue(9.0, 10.0, "x"))
    begins = chance.integers(0, 20, 200) / 4
    more = tuple(
        sorted(Cue(begin, begin + length, "x") for begin in begins for length in (0.0, 0.25, 1.5, 4.0, 60.0, 60.25))
    )
    for cues in (some, more):
        ranked = Spoken([Sidecar(videos / "a.avi", videos / "a.srt", cues, 0)]).rank(searcher.loaded, "x")
        start_S = searcher.loaded.segments.start_S
        found = [(float(start_S[s]), cue) for s, entries in ranked.cues_S.items() for _, cue in entries]
        assert sorted(found) == overlapped(searcher, videos, cues)
    assert [start for start, _ in overlapped(searcher, videos, some)] == [0.0, 0.0, 1.5, 1.5, 1.5, 3.0]


def test_cues_over_a_whole_film_are_filed_once(searcher: Searcher, videos: Path) -> None:
    cues = (*(Cue(0.0, 32_400.0, f"x{n}") for n in range(500)), Cue(3.2, 4.0, "budget"))
    ranked = Spoken([Sidecar(videos / "a.avi", videos / "a.srt", cues, 0)]).rank(searcher.loaded, "budget")
    assert sum(map(len, ranked.cues_S.values())) == len(cues)
    (segment,) = ranked.segments
    assert searcher.loaded.segments.start_S[segment] == 3.0


def still(tmp_path: Path) -> Searcher:
    """A talk of a minute that shows one picture all the time, a copy of it with noise, and two other films."""
    method = FakeMethod()
    red, blue = (method.encode_texts([colour]).pooled_TD for colour in ("red", "blue"))
    noise = torch.randn(60, 12, generator=torch.Generator().manual_seed(0))
    films = {
        "/v/talk": red.repeat(60, 1),
        "/v/talk again": red.repeat(60, 1) + 0.001 * noise,
        "/v/sea": blue.repeat(24, 1),
        "/v/sky": method.encode_texts(["white"]).pooled_TD.repeat(24, 1),
    }
    return Searcher(index_of(tmp_path / "still", films, segment=12), method)


def lines(*cues: Cue, video: str = "talk", file: str = "talk.srt") -> Sidecar:
    return Sidecar(Path("/v") / video, Path("/v") / file, cues, 0)


def spans(answers: list[Answer]) -> list[tuple[str, float, float, str]]:
    """The answers that were found by words."""
    return [(Path(a.path).name, a.start, a.end, a.heard.text) for a in answers if a.heard]


BUDGET = (Cue(5.0, 7.0, "the budget"), Cue(35.0, 37.5, "a budget"), Cue(50.0, 52.0, "lunch"))


@pytest.mark.parametrize("collapse", [True, False])
def test_every_line_is_a_moment_of_its_own_however_still_the_picture(tmp_path: Path, collapse: bool) -> None:
    searcher, spoken = still(tmp_path), Spoken([lines(*BUDGET)])
    answers = ask(searcher, Query("budget"), 20, moments="all", collapse=collapse, spoken=spoken)
    assert spans(answers) == [("talk", 5.0, 7.0, "the budget"), ("talk", 35.0, 37.5, "a budget")]
    assert [answer.heard is not None for answer in answers[:2]] == [True, True]
    assert [answer.score for answer in answers] == sorted((answer.score for answer in answers), reverse=True)
    assert all(answer.start <= answer.peak <= answer.end for answer in answers)
    if not collapse:
        assert ("/v/talk", 0.0, 60.0) in [(answer.path, answer.start, answer.end) for answer in answers]
    one = ask(searcher, Query("budget"), 20, moments="one", collapse=collapse, spoken=spoken)
    assert spans(one) == [("talk", 5.0, 7.0, "the budget")]
    assert len({answer.path for answer in one}) == len(one)


def test_lines_are_told_once_and_within_their_video(tmp_path: Path) -> None:
    cues = (
        Cue(1.0, 2.0, "budget"), Cue(4.0, 4.0, "budget"), Cue(11.0, 13.0, "budget"), Cue(30.0, 200.0, "budget"),
        Cue(58.5, 70.0, "budget"),
    )  # fmt: skip
    again = Cue(1.5, 2.5, "budget"), Cue(10.5, 11.5, "budget")
    spoken = Spoken([lines(*cues), lines(*again, file="talk.en.srt")])
    answers = ask(still(tmp_path), Query("budget"), 20, moments="all", collapse=False, spoken=spoken)
    assert sorted(start_end[1:3] for start_end in spans(answers)) == [
        (1.0, 2.0), (4.0, 5.0), (11.0, 13.0), (30.0, 60.0),
    ]  # fmt: skip


def test_a_backup_with_its_subtitles_says_nothing_twice(tmp_path: Path) -> None:
    talk, sea = torch.ones(3, 12), -torch.ones(3, 12)
    films = {"/v/sea": sea, "/v/talk": talk, "/w/talk": talk}
    loaded = Searcher(index_of(tmp_path / "index", films), FakeMethod()).loaded
    sidecars = [lines(Cue(0.0, 1.0, "a budget at sea"), video="sea"), lines(Cue(0.0, 1.0, "the budget in brief"))]
    once = Spoken(sidecars).rank(loaded, "budget")
    backup = Sidecar(Path("/w/talk"), Path("/w/talk.srt"), sidecars[1].cues, 0)
    assert Spoken([*sidecars, backup]).rank(loaded, "budget") == once
    translated = Spoken([*sidecars, lines(Cue(0.0, 1.0, "das Budget"), file="talk.de.srt")])
    assert len(translated.rank(loaded, "budget").cues_S[once.segments[1]]) == 2


def test_what_says_more_of_it_comes_first_and_a_film_that_left_says_nothing(tmp_path: Path) -> None:
    loaded = still(tmp_path).loaded
    said = lines(Cue(5.0, 7.0, "a budget for lunch and more"), Cue(35.0, 37.5, "budget, budget"))
    ranked = Spoken([said, lines(Cue(0.0, 1.0, "the budget"), video="gone")]).rank(loaded, "budget")
    assert loaded.segments.start_S[ranked.segments].tolist() == [24.0, 36.0, 0.0]


def test_words_follow_an_index_that_changes_under_them(tmp_path: Path) -> None:
    films = {"/v/sea": -torch.ones(6, 12), "/v/talk": torch.ones(3, 12)}
    before = Searcher(index_of(tmp_path / "before", films), FakeMethod()).loaded
    after = Searcher(index_of(tmp_path / "after", {"/v/talk": films["/v/talk"]}), FakeMethod()).loaded
    spoken = Spoken([lines(Cue(0.0, 1.0, "the budget"))])
    assert (spoken.rank(before, "budget").segments, spoken.rank(after, "budget").segments) == ([2], [0])


def test_copies_that_say_the_same_are_one_answer(tmp_path: Path) -> None:
    searcher = still(tmp_path)
    copy = lines(*BUDGET[:1], Cue(35.0, 37.5, "no budget"), video="talk again", file="talk again.srt")
    answers = ask(searcher, Query("budget"), 20, moments="all", spoken=Spoken([lines(*BUDGET), copy]))
    assert sorted(spans(answers)) == [
        ("talk", 5.0, 7.0, "the budget"), ("talk", 35.0, 37.5, "a budget"), ("talk again", 35.0, 37.5, "no budget")
    ]  # fmt: skip
    (first,) = [answer for answer in answers if answer.start == 5.0]
    assert ("/v/talk again", 5.0, 7.0) in [hit[:3] for hit in first.alike]
    assert ("/v/talk", 0.0, 60.0) in [hit[:3] for answer in answers for hit in answer.alike]


def test_spoken_words_are_found_beside_what_is_seen(searcher: Searcher, videos: Path) -> None:
    plain = ask(searcher, Query("general sleeps"), 3)
    answers = ask(searcher, Query("general sleeps"), 3, spoken=spoken_of(searcher))
    assert {answer.path for answer in answers} == {answer.path for answer in plain}
    first = answers[0]
    assert Path(first.path).name == "b.avi"
    assert first.heard is not None
    assert first.heard[:5] == (str(videos / "b.en.vtt"), 0.0, 1.0, "the general sleeps", 1)
    assert first.scale == "ranks"
    assert first.score == pytest.approx(1 / 61 + 1 / (60 + first.heard.pictures))
    assert answers[-1].heard is None
    assert json.loads(json.dumps(first.plain()))["heard"]["text"] == "the general sleeps"
    assert all(answer.heard is None and answer.scale == "cosine" for answer in plain)


def test_segments_are_merged_and_the_best_of_a_video_answers(searcher: Searcher) -> None:
    by_words = ask(searcher, Query("tom jerry"), 1, spoken=spoken_of(searcher))[0]
    assert (Path(by_words.path).name, by_words.start) == ("a.avi", 0.0)
    both = [a for a in ask(searcher, Query("tom jerry"), 9, moments="all", spoken=spoken_of(searcher)) if a.heard]
    assert {answer.heard.text for answer in both if answer.heard} == {"Tom & Jerry"}


def test_filters_and_what_is_unwanted_hold_for_words_too(searcher: Searcher, videos: Path) -> None:
    only_a = Filters(below=(videos / "a.avi",))
    answers = ask(searcher, Query("general"), 5, filters=only_a, spoken=spoken_of(searcher))
    assert [Path(answer.path).name for answer in answers] == ["a.avi"]
    kept = spoken_of(searcher)
    ask(searcher, Query("general"), 5, spoken=kept)
    assert ask(searcher, Query("general"), 5, filters=only_a, spoken=kept) == answers
    unwanted = ask(searcher, Query("general", without=("blue",)), 5, spoken=spoken_of(searcher))
    assert "b.avi" not in [Path(answer.path).name for answer in unwanted]


def test_an_index_as_one_object_searches_them(videos: Path, tmp_path: Path) -> None:
    update(tmp_path / "index", videos)
    index, query = Index(tmp_path / "index", FakeMethod()), Query("general sleeps")
    assert spans(index.ask(query, subtitles=True, moments="all")) == [("b.avi", 0.0, 1.0, "the general sleeps")]
    assert spans(index.ask(query)) == []
    (videos / "c.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nan admiral sleeps\n")
    update(tmp_path / "index", videos)
    assert spans(index.ask(Query("admiral"), 1, moments="all", subtitles=True)) == [
        ("c.avi", 0.0, 1.0, "an admiral sleeps")
    ]


def test_queries_without_words_are_refused(searcher: Searcher, videos: Path) -> None:
    from reelseek.index.query import Clip

    for query in (Query("a", then="b"), Query(clip=Clip(videos / "a.avi"))):
        with pytest.raises(ConfigError, match="subtitles"):
            ask(searcher, query, spoken=spoken_of(searcher))


def test_the_command(tmp_path: Path) -> None:
    films, index = cli_world.films(tmp_path / "films"), tmp_path / "i"
    (films / "brown.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nthe president\x1b[31m speaks\n")
    said = cli_world.run("index", films, "--index", index)
    assert "1 of 1 subtitle files read." in said.out
    found = cli_world.run("search", "the president speaks", "--index", index, "--subtitles", "-k", 3)
    assert found.code == 0, found
    assert 'brown.mp4   said at 0:00.5: "the president [31m speaks"' in found.out
    assert "\x1b" not in found.out
    assert found.out.count("said at") == 1
    plain = cli_world.run("search", "the president speaks", "--index", index, "-k", 3)
    assert "said at" not in plain.out
    lines = cli_world.run("search", "the president speaks", "--index", index, "--subtitles", "--json").out.splitlines()
    assert json.loads(lines[0])["heard"]["start"] == 0.5
    assert "ranks" in cli_world.refused(2, "search", "x", "--index", index, "--subtitles", "--probability")
    german = ["search", "der Hund und die Frau", "--index", index, "-k", 1]
    assert "expect noise, and ask in English" in cli_world.run(*german).out
    assert "subtitles are searched for its words" in cli_world.run(*german, "--subtitles").out
    (films / "brown.srt").unlink()
    assert cli_world.run("index", films, "--index", index, "--json").code == 0
    assert "expect noise, and ask in English" in cli_world.run(*german, "--subtitles").out
    assert "no subtitles" in cli_world.run("search", "x", "--index", index, "--subtitles").err
