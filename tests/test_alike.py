"""The same footage twice is one answer, and different answers on demand: against loops, and on clips encoded again."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from index_fakes import FakeMethod, clip, update
from reelseek.index import alike, cards
from reelseek.index.alike import diverse, grouped, looks
from reelseek.index.ask import ask
from reelseek.index.filters import Filters
from reelseek.index.places import Place
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from test_search import index_of, random_videos


@pytest.fixture(scope="module")
def searcher(tmp_path_factory):
    return Searcher(index_of(tmp_path_factory.mktemp("alike") / "index", random_videos(20)), FakeMethod())


def place_of(searcher, video, s):
    first, count = (int(numbers[s]) for numbers in (searcher.loaded.segments.first_S, searcher.loaded.segments.count_S))
    return Place(video, 0, 1, 1 - video / 20, 0, int(s), np.arange(first, first + count))


@pytest.fixture(scope="module")
def places(searcher):
    return [place_of(searcher, v, s[0]) for v, s in enumerate(searcher.loaded.segments_V)]


@pytest.fixture(scope="module")
def several(searcher):
    """All segments: some videos have one, some have four."""
    return [place_of(searcher, v, s) for v, own_S in enumerate(searcher.loaded.segments_V) for s in own_S]


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def look_by_loops(loaded, rows) -> list[float]:
    units = [unit(frame) for frame in torch.cat(loaded.frames_ND.pieces).double().tolist()]
    mean = [sum(column) / len(units) for column in zip(*units, strict=True)]
    away = [unit([x - m for x, m in zip(units[row], mean, strict=True)]) for row in rows]
    return unit([sum(column) / len(away) for column in zip(*away, strict=True)])


@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_looks_equal_the_loops(searcher, places, monkeypatch, rows):
    monkeypatch.setattr(alike, "ROWS", rows)
    assert looks(searcher.loaded, places) == pytest.approx(
        np.concatenate([looks(searcher.loaded, [place]) for place in places]), abs=1e-6
    )
    for place in places[:6]:
        assert looks(searcher.loaded, [place])[0].tolist() == pytest.approx(
            look_by_loops(searcher.loaded, place.rows_F), abs=1e-5
        )


def test_what_equals_the_mean_of_the_library_is_like_nothing(tmp_path):
    frames_ND = torch.ones(4, 12)
    videos = {"/v/a": frames_ND, "/v/b": frames_ND[:2]}
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    assert len(ask(searcher, Query("red"))) == 2


def dot(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("same", [0.9, 0.3, 0.0])
@pytest.mark.parametrize("k", [1, 4, 100, 2**40])
def test_groups_equal_the_loops(searcher, several, monkeypatch, same, k):
    monkeypatch.setattr(alike, "SAME", same)
    monkeypatch.setattr(alike, "BLOCK", 3)
    vectors = [look_by_loops(searcher.loaded, place.rows_F) for place in several]
    expected: list[list[int]] = []
    for number, place in enumerate(several):
        for group in expected:
            if several[group[0]].video != place.video and dot(vectors[group[0]], vectors[number]) >= same:
                group.append(number)
                break
        else:
            if len(expected) < k:
                expected.append([number])
    found = grouped(several, searcher.loaded, k)
    assert [[first.segment, *(other.segment for other in others)] for first, others in found] == [
        [several[number].segment for number in group] for group in expected
    ]
    assert same == 0.9 or max(map(len, expected)) > 1


def test_moments_of_one_video_that_look_alike_are_all_told(tmp_path):
    red, blue = (FakeMethod().encode_texts([colour]).pooled_TD for colour in ("red", "blue"))
    laps = torch.cat([red.repeat(3, 1), blue.repeat(3, 1)] * 3)
    noise = 0.001 * torch.randn(laps.shape, generator=torch.Generator().manual_seed(0))
    white = FakeMethod().encode_texts(["white"]).pooled_TD.repeat(6, 1)
    searcher = Searcher(index_of(tmp_path / "index", {"/v/a": laps, "/v/b": laps + noise, "/v/c": white}), FakeMethod())
    answers = ask(searcher, Query("red"), 20, moments="all")
    first = answers[0].path
    assert sorted((a.start, a.end) for a in answers if a.path == first and a.score > 0.9) == [(0, 3), (6, 9), (12, 15)]
    copies = [hit for answer in answers for hit in answer.alike]
    assert {hit.path for hit in copies} == {"/v/a", "/v/b"} - {first}
    assert {hit.start for hit in copies if hit.score > 0.9} == {0, 6, 12}


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.integers(1, 25), st.permutations(range(20)))
def test_diverse_equals_the_loops(searcher, places, weight, k, order):
    shuffled = [places[number] for number in order]
    vectors = [looks(searcher.loaded, [place])[0].tolist() for place in shuffled]
    scores = [place.score for place in shuffled]
    relevance = [(score - min(scores)) / (max(scores) - min(scores)) for score in scores]
    chosen: list[int] = []
    gains: list[list[float]] = []
    while len(chosen) < min(k, len(shuffled)):
        gains.append([])
        for number in range(len(shuffled)):
            nearest = max([0.0, *(dot(vectors[number], vectors[c]) for c in chosen)])
            gains[-1].append(-math.inf if number in chosen else (1 - weight) * relevance[number] - weight * nearest)
        chosen.append(gains[-1].index(max(gains[-1])))
    found = diverse(shuffled, searcher.loaded, k, weight)
    # float32 and Python's floats may part on a tie of the last digit: then the gains are equal
    for step, (mine, theirs) in enumerate(zip(found, chosen, strict=True)):
        if mine != theirs:
            assert gains[step][mine] == pytest.approx(gains[step][theirs], abs=1e-5)
            break


def test_without_weight_the_order_stays_and_one_place_is_chosen_alone(searcher, places):
    assert diverse(places, searcher.loaded, 20, 0.0) == list(range(20))
    assert diverse(places[:1], searcher.loaded, 5, 0.5) == [0]
    assert diverse([], searcher.loaded, 5, 0.5) == []


def test_variety_brings_another_kind_forward(tmp_path):
    generator = torch.Generator().manual_seed(0)
    red = FakeMethod().encode_texts(["red"]).pooled_TD.repeat(3, 1)
    green = FakeMethod().encode_texts(["green"]).pooled_TD.repeat(3, 1)
    videos = {f"/v/{n}": red + 0.4 * torch.randn(3, 12, generator=generator) for n in range(6)}
    videos |= {f"/v/g{n}": green + 0.4 * torch.randn(3, 12, generator=generator) for n in range(3)}
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    plain = [answer.path for answer in ask(searcher, Query("red"), 3, collapse=False)]
    assert not any("g" in path for path in plain)
    varied = [answer.path for answer in ask(searcher, Query("red"), 3, collapse=False, variety=0.7)]
    assert varied[0] == plain[0]
    assert "g" in varied[1]


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twice")
    for number, colours in enumerate((["red", "blue"], ["green"], ["white", "green"], ["blue"])):
        clip(folder / f"{number}.avi", colours)
    clip(folder / "0 again.avi", ["red", "blue"], seed=1)
    clip(folder / "0 once more.avi", ["red", "blue"], seed=2)
    update(folder.with_name("twice.index"), folder)
    return Searcher(cards.open_index(folder.with_name("twice.index")), FakeMethod())


@pytest.mark.parametrize("moments", ["", "one", "all"])
def test_footage_encoded_again_is_one_answer(twice, moments):
    (best, *others) = ask(twice, Query("red"), moments=moments)
    stems = {Path(best.path).stem, *(Path(hit.path).stem for hit in best.alike)}
    assert stems == {"0", "0 again", "0 once more"}
    assert not any("0" in Path(answer.path).stem and answer.start == best.start for answer in others)
    assert all(hit.score <= best.score and hit.start == best.start for hit in best.alike)
    shown = ask(twice, Query("red"), moments=moments, collapse=False)
    assert [Path(answer.path).stem[0] for answer in shown][:3] == ["0"] * 3
    assert all(answer.alike == () for answer in shown)


def test_a_pair_of_moments_collapses_as_a_whole(twice):
    (best, *others) = ask(twice, Query("red", then="blue"))
    assert len(best.alike) == 2
    assert not any(Path(answer.path).stem.startswith("0") for answer in others)


@pytest.mark.parametrize("coarse", [1, 1000])
def test_k_answers_are_left_after_duplicates_are_taken_away(twice, coarse):
    answers = ask(twice, Query("red"), 2, coarse=coarse)
    assert len(answers) == 2
    assert len(answers[0].alike) == 2


def test_duplicates_that_do_not_pass_are_not_counted(twice):
    folder = Path(twice.loaded.paths_V[0]).parent
    only = Filters(below=(folder / "0.avi", folder / "1.avi", folder / "0 again.avi"))
    assert len(ask(twice, Query("red"), filters=only)[0].alike) == 1
