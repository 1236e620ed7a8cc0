"""Queries of several parts against the same scores written as loops, over vectors that the tests choose."""

from __future__ import annotations

import itertools
import math
import os
import statistics
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from index_fakes import COLOURS, FakeMethod, clip, update
from reelseek import Index
from reelseek.config import IndexConfig
from reelseek.errors import ConfigError, DataError, UnreadableVideo
from reelseek.index import cards, evidence
from reelseek.index.ask import ask
from reelseek.index.evidence import Evidence, asked_parts, standardised
from reelseek.index.filters import Filters, parse_condition, read_metadata
from reelseek.index.moments import best_pair
from reelseek.index.pictures import picture_vector
from reelseek.index.query import Clip, Frame, Query
from reelseek.index.search import EXACT_SEGMENTS, Searcher
from reelseek.index.similar import similar
from reelseek.records import Videos
from test_search import index_of, random_videos

COUNT = 30


class PairwiseMethod(FakeMethod):
    """A method whose score is not the cosine of any one frame: it weights frames by how well they match."""

    def score(self, texts, videos):
        cosines_TVF = torch.cosine_similarity(texts.pooled_TD[:, None, None], videos.frames_VFD[None], dim=-1)
        weights_TVF = (4 * cosines_TVF).masked_fill(~videos.mask_VF, -math.inf).softmax(dim=-1)
        return super().score(texts, videos)._replace(matrix_TV=(weights_TVF * cosines_TVF).sum(dim=-1) ** 3)


@pytest.fixture(scope="module", params=[FakeMethod, PairwiseMethod])
def searcher(request, tmp_path_factory):
    return Searcher(index_of(tmp_path_factory.mktemp("ask") / "index", random_videos(COUNT)), request.param())


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    return picture(tmp_path_factory.mktemp("image") / "purple.png", (150, 20, 130))


def picture(path: Path, colour) -> Path:
    pixels = np.broadcast_to(np.array(colour, np.uint8), (40, 60, 3))
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return path


def cosine(a, b) -> float:
    return float(np.dot(a, b) / math.sqrt(np.dot(a, a)) / math.sqrt(np.dot(b, b)))


def scaled(values: dict, over=None) -> dict:
    over = list(values.values()) if over is None else [values[key] for key in over]
    mean, spread = statistics.fmean(over), statistics.pstdev(over)
    return {key: (value - mean) / spread for key, value in values.items()}


def by_loops(searcher: Searcher, query: Query, over=None) -> tuple[list[dict], list[dict]]:
    """For each part of a query: scores of segments (video, number) and of frames (video, time), standardised."""
    stored, method = searcher.loaded.segments, searcher.method
    segments, frames = [], []
    for part in query.parts():
        of_segments, of_frames = {}, {}
        texts = None if part.role == "picture" else searcher.encode([part.what])
        wanted = (picture_vector(method, searcher.index.config, query.picture) if texts is None else texts.pooled_TD)[
            0
        ].double()
        for s in range(len(stored.count_S)):
            rows = range(stored.first_S[s], stored.first_S[s] + stored.count_S[s])
            video = int(searcher.loaded.video_S[s])
            own = [cosine(wanted, frame) for frame in stored.frames_ND[torch.tensor(rows)].double()]
            for row, value in zip(rows, own, strict=True):
                of_frames[video, float(stored.times_N[row])] = value
            if texts is None:
                of_segments[video, int(stored.number_S[s])] = max(own)
            else:
                vectors = stored.frames_ND[torch.tensor(rows)].float()[None]
                pair = Videos(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool))
                of_segments[video, int(stored.number_S[s])] = float(method.score(texts, pair).matrix_TV)
        segments.append(scaled(of_segments, over))
        frames.append(scaled(of_frames))
    return segments, frames


def together(query: Query, parts: list[float], *, later: bool = False) -> float | None:
    """One place's score; None where it is left out."""
    roles = [part.role for part in query.parts()]
    if later:
        score = parts[roles.index("then")]
    else:
        asked = [value for role, value in zip(roles, parts, strict=True) if role in ("text", "picture")]
        score = sum(asked) / len(asked)
        if "but" in roles:
            score = min(score, parts[roles.index("but")])
    unwanted = max([value for role, value in zip(roles, parts, strict=True) if role == "without"], default=0.0)
    if unwanted > 0:
        return score - unwanted if score > unwanted else None
    return score


def queries(image: Path) -> dict[str, Query]:
    return {
        "text and image": Query("red", image=image),
        "but": Query(image=image, but="green"),
        "text, but": Query("white", image=image, but="a tree"),
        "without": Query("red", without=("blue",)),
        "without two": Query(image=image, without=("a tree", "green")),
    }


KINDS = ["text and image", "but", "text, but", "without", "without two"]


@pytest.mark.parametrize("kind", KINDS)
def test_combined_scores_equal_the_loops(searcher, image, kind):
    query = queries(image)[kind]
    segments, _ = by_loops(searcher, query)
    best: dict[int, tuple[float, int]] = {}
    for video, number in segments[0]:
        score = together(query, [part[video, number] for part in segments])
        if score is not None and (video not in best or score > best[video][0]):
            best[video] = score, number
    answers = ask(searcher, query, COUNT, collapse=False)
    expected = sorted(best, key=lambda video: -best[video][0])
    assert 0 < len(expected) < COUNT or not query.without
    assert [answer.path for answer in answers] == [searcher.loaded.paths_V[video] for video in expected]
    for answer, video in zip(answers, expected, strict=True):
        score, number = best[video]
        assert answer.score == pytest.approx(score, abs=2e-4)
        assert answer.start == 3.0 * number
        assert answer.scale == "deviations"
        assert [part.score for part in answer.parts] == pytest.approx(
            [part[video, number] for part in segments], abs=2e-4
        )


@pytest.mark.parametrize(("but", "without"), [("", ()), ("", ("white",)), ("a tree", ())])
def test_ordered_pairs_equal_the_loops(searcher, image, but, without):
    query = Query("red", image=image, but=but, then="green", without=without)
    segments, frames = by_loops(searcher, query)
    best: dict[int, tuple[float, float, float, float]] = {}
    for video in range(COUNT):
        times = [time for v, time in frames[0] if v == video]
        judged = {
            time: [(f[video, time] + s[video, int(time // 3)]) / 2 for f, s in zip(frames, segments, strict=True)]
            for time in times
        }
        for i, j in itertools.combinations(sorted(times), 2):
            first, second = together(query, judged[i]), together(query, judged[j], later=True)
            if first is not None and second is not None:
                pair = min(first, second), first + second, -j, -i
                best[video] = max(best.get(video, pair), pair)
    answers = ask(searcher, query, COUNT, collapse=False)
    expected = sorted(best, key=lambda video: -best[video][0])
    assert [answer.path for answer in answers] == [searcher.loaded.paths_V[video] for video in expected]
    assert len(expected) > 5
    for answer, video in zip(answers, expected, strict=True):
        score, _, second, first = best[video]
        assert answer.score == pytest.approx(score, abs=2e-4)
        assert (answer.peak, answer.then[2]) == (-first, -second)
        assert answer.start <= answer.peak < answer.end <= answer.then[0] <= answer.then[2] < answer.then[1]


@pytest.mark.parametrize("kind", KINDS)
def test_two_stages_equal_exhaustive_search_from_all_segments_on(searcher, image, kind):
    query, segments = queries(image)[kind], searcher.segment_count
    assert ask(searcher, query, 5, coarse=segments) == ask(searcher, query, 5, coarse=10 * segments)


@pytest.mark.parametrize("moments", ["", "one", "all"])
def test_a_plain_sentence_is_answered_as_by_the_searcher(searcher, moments):
    for words in ("red", "a tree", "red and green"):
        answers = ask(searcher, Query(words), 7, moments=moments, collapse=False)
        hits = searcher.search(words, 1000 if moments == "one" else 7, moments=bool(moments))
        if moments == "one":
            hits = list({hit.path: hit for hit in reversed(hits)}.values())
            hits = sorted(hits, key=lambda hit: -hit.score)[:7]
        assert [(a.path, a.start, a.end, a.score, a.peak, a.probability) for a in answers] == [
            tuple(hit) for hit in hits
        ]
        assert all(answer.scale == "cosine" for answer in answers)
        assert [answer.parts[0].score for answer in answers] == [answer.score for answer in answers]


def test_an_image_alone_scores_the_cosine_of_its_best_frame(searcher, image):
    query = Query(image=image)
    wanted = picture_vector(searcher.method, searcher.index.config, image)[0]
    stored = searcher.loaded.segments
    for answer in ask(searcher, query, COUNT, collapse=False):
        rows = [
            row
            for s in np.flatnonzero(np.array(searcher.loaded.paths_V)[searcher.loaded.video_S] == answer.path)
            for row in range(stored.first_S[s], stored.first_S[s] + stored.count_S[s])
        ]
        frames = stored.frames_ND[torch.tensor(rows)].double()
        cosines = {float(stored.times_N[row]): cosine(wanted, frame) for row, frame in zip(rows, frames, strict=True)}
        assert answer.score == pytest.approx(max(cosines.values()), abs=1e-5)
        assert cosines[answer.peak] == pytest.approx(answer.score, abs=1e-5)


def test_scores_depend_on_the_part_and_the_library_alone(searcher, image):
    def red(query: Query, **settings) -> dict:
        answers = ask(searcher, query, COUNT, collapse=False, **settings)
        return {(a.path, a.start): a.parts[0].score for a in answers}

    every = red(Query("red", image=image))
    some = {Path(path) for path in searcher.loaded.paths_V[3:9]}
    for other in (
        red(Query("red", image=image), filters=Filters(below=tuple(some))),
        red(Query("red", without=("blue", "a tree"))),
        red(Query("red", image=image), coarse=3),
    ):
        common = every.keys() & other.keys()
        assert len(common) > 2
        assert {place: every[place] for place in common} == pytest.approx({p: other[p] for p in common}, abs=1e-5)


def test_a_large_library_is_measured_on_segments_spread_over_it(searcher, image, monkeypatch):
    monkeypatch.setattr(evidence, "REFERENCE_SEGMENTS", 10)
    loaded, query = searcher.loaded, Query("red", image=image)
    by_path = sorted(
        ((int(v), int(n)) for v, n in zip(loaded.video_S, loaded.segments.number_S, strict=True))
    )  # videos are numbered by path
    over = [by_path[int(number * (len(by_path) - 1) / 9)] for number in range(10)]
    segments, _ = by_loops(searcher, query, over)
    (answer,) = ask(searcher, query, 1, coarse=1000)
    number = int(answer.start // 3)
    video = loaded.paths_V.index(answer.path)
    assert [part.score for part in answer.parts] == pytest.approx([part[video, number] for part in segments], abs=2e-4)


def test_the_library_is_measured_evenly_in_order_of_path_however_it_is_stored(monkeypatch):
    monkeypatch.setattr(evidence, "REFERENCE_SEGMENTS", 3)
    loaded = SimpleNamespace(segments_V=[np.array([3, 4]), np.array([0, 1, 2])])
    assert sorted(evidence._reference(loaded)) == [0, 2, 3]


def test_enough_of_a_library_is_scored_and_not_more_than_four_blocks_of_it():
    loaded = SimpleNamespace(segments_V=[np.arange(100_000)])
    assert 1 / np.sqrt(len(evidence._reference(loaded))) < 0.05  # standard errors of a mean, in deviations
    assert len(evidence._reference(loaded)) <= 4 * EXACT_SEGMENTS


def evidence_of(searcher: Searcher, query: Query) -> Evidence:
    return Evidence(searcher, searcher.loaded, asked_parts(searcher, searcher.loaded, query))


def test_frames_that_show_the_same_lie_as_close_on_the_scale_of_the_scores(searcher, image):
    query = Query("red", image=image, but="white", then="green", without=("blue",))
    found = evidence_of(searcher, query)
    close = [0.01 / statistics.pstdev(row.cosines_N.tolist()) for row in found.asked]
    assert found.alike() == pytest.approx(statistics.fmean(close[:3]))
    assert found.alike(later=True) == pytest.approx(close[3])
    assert evidence_of(searcher, Query("red")).alike() == 0.01


@pytest.mark.parametrize("kind", ["text and image", "but", "without"])
def test_candidates_are_found_by_every_part_s_best_frames(searcher, image, kind):
    """None is left out by an estimate, however much it shows of what is unwanted."""
    query = queries(image)[kind]
    found = evidence_of(searcher, query)
    parts = [scaled(dict(enumerate(best_S.tolist()))) for best_S in found.best_AS]
    for s, score in enumerate(found.coarse()):
        asked = [part[s] for part in parts]
        if kind == "without":
            assert score == pytest.approx(asked[0] - max(0, asked[1]), abs=1e-5)
        else:
            assert score == pytest.approx(together(query, asked), abs=1e-5)


def test_no_segment_is_scored_twice(searcher, monkeypatch):
    scored: list[int] = []
    score = searcher.score
    monkeypatch.setattr(
        searcher, "score", lambda loaded, texts, picks: scored.extend(picks) or score(loaded, texts, picks)
    )
    ask(searcher, Query("red"), COUNT, coarse=5)
    assert len(scored) == len(set(scored)) >= COUNT


def test_parts_without_spread_count_nothing():
    same = np.full(5, 0.3, np.float32)
    assert standardised(same, same).tolist() == [0.0] * 5
    assert standardised(np.array([1.0, 3.0]), np.array([0.0, 2.0])).tolist() == [0.0, 2.0]
    near = np.array([0.3, 0.30001])
    assert standardised(near, near).tolist() == pytest.approx([-1.0, 1.0])


@given(st.lists(st.tuples(*[st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 1.0, 2.0])] * 2), max_size=9))
def test_best_pair_is_the_best_of_all_pairs(values):
    first, second = [np.array([row[side] for row in values], float) for side in (0, 1)]
    pairs = [
        (min(first[i], second[j]), first[i] + second[j], -j, -i)
        for i, j in itertools.combinations(range(len(values)), 2)
        if min(first[i], second[j]) > -math.inf
    ]
    found = best_pair(first, second)
    if not pairs:
        assert found is None
    else:
        low, _, j, i = max(pairs)
        assert found == (-i, -j, low)


# ---- drawn clips


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    clip(folder / "rb.avi", ["red", "blue"])
    clip(folder / "br.avi", ["blue", "red"])
    clip(folder / "rgw.avi", ["red", "green", "white"])
    clip(folder / "old" / "g.avi", ["green", "green"])
    clip(folder / "old" / "w.avi", ["white"])
    os.utime(folder / "old" / "w.avi", (1_000_000_000, 1_000_000_000))
    return folder


@pytest.fixture(scope="module")
def library(films, tmp_path_factory) -> Index:
    index = Index(tmp_path_factory.mktemp("index") / "index", FakeMethod())
    update(index.directory, films)
    return index


def names(answers) -> list[str]:
    return [Path(answer.path).stem for answer in answers]


def test_order_matters(library):
    (first, *_) = ask_first = library.ask(Query("red", then="blue"))
    assert names(ask_first)[0] == "rb"
    assert (first.start, first.end) == (0.0, 1.5)
    assert first.then[:2] == (1.5, 3.0)
    (first, *_) = library.ask(Query("blue", then="red"))
    assert (Path(first.path).stem, first.start, first.end, first.then[:2]) == ("br", 0.0, 1.5, (1.5, 3.0))


def test_without_leaves_out_places_that_show_more_of_it(library):
    assert sorted(names(library.ask(Query("green"), 2, collapse=False))) == ["g", "rgw"]
    answers = library.ask(Query("green", without=("green",)), collapse=False)
    assert all(part.score <= 0 for answer in answers for part in answer.parts if part.role == "without")
    assert "g" not in names(answers)


def test_like_this_image_but_with_another_colour(library, tmp_path):
    red = picture(tmp_path / "red.png", COLOURS["red"])
    assert names(library.ask(Query(image=red), 3, moments="one"))[:1] != ["g"]
    answers = library.ask(Query(image=red, but="white"))
    assert answers[0].score == min(part.score for part in answers[0].parts)


def test_a_clip_finds_its_own_span(library, films):
    (answer,) = library.ask(Query(clip=Clip(films / "rgw.avi", 1.6, 2.9)), 1, moments="one")
    assert answer.score > 0.99
    (answer,) = library.ask(Query(clip=Clip(films / "rgw.avi", 3.1)), 1)
    assert names([answer]) in (["w"], ["rgw"])


def test_moments_one_is_one_a_video(searcher):
    every = ask(searcher, Query("red"), 500, moments="all", collapse=False)
    one = ask(searcher, Query("red"), 500, moments="one", collapse=False)
    assert len(every) > len(one) == COUNT
    firsts = {}
    for answer in every:
        firsts.setdefault(answer.path, answer)
    assert [(a.path, a.start, a.end) for a in one] == [(a.path, a.start, a.end) for a in firsts.values()]


def test_filters_hold_before_ranking(library, films):
    top = names(library.ask(Query("red"), 2, collapse=False))
    assert not {"g", "w"} & set(top)
    old = Filters(below=(films / "old",))
    assert sorted(names(library.ask(Query("red"), 2, filters=old))) == ["g", "w"]
    assert names(library.ask(Query("red"), 5, filters=Filters(until=1_000_000_001))) == ["w"]
    assert set(names(library.ask(Query("red", then="blue"), 5, filters=Filters(longer=4.0)))) == {"rgw"}
    assert library.ask(Query("red"), filters=Filters(longer=1000.0)) == []


@pytest.mark.parametrize("coarse", [1, 1000])
def test_the_k_best_that_pass(searcher, coarse):
    everything = ask(searcher, Query("red"), COUNT, collapse=False, coarse=1000)
    worst = [answer.path for answer in everything[-6:]]
    only = Filters(below=tuple(map(Path, worst)))
    found = ask(searcher, Query("red"), 4, filters=only, collapse=False, coarse=coarse)
    assert len(found) == 4
    assert {answer.path for answer in found} <= set(worst)
    if coarse == 1000:
        assert [answer.path for answer in found] == worst[:4]


def test_content_under_several_paths_answers_under_the_first_that_passes(tmp_path):
    frames_ND = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    other_ND = torch.randn(4, 12, generator=torch.Generator().manual_seed(1))
    videos = {"/v/z": frames_ND, "/v/m": other_ND, "/v/a": frames_ND}
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    assert {answer.path for answer in ask(searcher, Query("red"))} == {"/v/a", "/v/m"}
    only = Filters(below=(Path("/v/z"), Path("/v/m")))
    assert {answer.path for answer in ask(searcher, Query("red"), filters=only)} == {"/v/z", "/v/m"}


def test_equal_scores_come_in_order_of_the_path_that_passes(tmp_path):
    frame_1D = torch.ones(1, 12)
    videos = {f"/v/{name}": frame_1D.repeat(n, 1) for name, n in [("d", 6), ("b", 9), ("c", 3), ("a", 12)]}
    videos["/v/e"] = videos["/v/a"]
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    only = Filters(below=tuple(Path(f"/v/{name}") for name in "bcde"))
    answers = ask(searcher, Query("white"), filters=only, collapse=False, coarse=1)
    assert [answer.path for answer in answers] == ["/v/b", "/v/c", "/v/d", "/v/e"]


def test_an_empty_index_answers_nothing(tmp_path):
    (tmp_path / "videos").mkdir()
    update(tmp_path / "index", tmp_path / "videos")
    searcher = Searcher(cards.open_index(tmp_path / "index"), FakeMethod())
    for query in (Query("red"), Query("red", then="blue", without=("white",))):
        assert ask(searcher, query, filters=Filters(longer=1.0)) == ask(searcher, query) == []


def test_one_video_of_one_frame_has_no_pair_and_no_scale(tmp_path):
    searcher = Searcher(index_of(tmp_path / "index", {"/v/a": torch.ones(1, 12)}), FakeMethod())
    assert ask(searcher, Query("red", then="blue")) == []
    (answer,) = ask(searcher, Query("red", without=("blue",)))
    assert answer.score == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 0}, "k and coarse must be at least 1"),
        ({"coarse": 0}, "k and coarse must be at least 1"),
        ({"variety": 1.5}, "variety 1.5: it goes from 0"),
        ({"variety": float("nan")}, "variety nan"),
        ({"moments": "all", "query": Query("red", then="blue")}, "leave moments out"),
    ],
)
def test_settings_that_do_not_fit_are_refused(searcher, settings, words):
    with pytest.raises(ConfigError, match=words):
        ask(searcher, **{"query": Query("red"), **settings})


def test_answers_tell_all_that_is_known(library, films):
    answer = library.ask(Query("red", then="blue"), 1)[0]
    plain = answer.plain()
    assert set(plain) == {
        *("path", "start", "end", "score", "peak", "probability", "scale", "parts", "then", "alike"),
        *("duration", "changed", "metadata", "heard"),
    }
    assert plain["then"] == {"start": 1.5, "end": 3.0, "peak": pytest.approx(1.5, abs=1.1)}
    assert plain["duration"] == 3.0
    assert plain["parts"][0] == {"role": "text", "what": "red", "score": round(answer.parts[0].score, 6)}


# ---- pictures


def test_an_image_is_a_video_of_one_frame(image):
    method = FakeMethod()
    vector_1D = picture_vector(method, IndexConfig(), image)
    pixels = torch.tensor([150.0, 20, 130]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    frames_1D = method.encode_frames((pixels - 127.5) / 127.5) @ method.projection_WD
    assert vector_1D[0].tolist() == pytest.approx(torch.nn.functional.normalize(frames_1D)[0].tolist(), abs=1e-5)


def test_a_transparent_image_lies_on_white_and_a_turned_one_is_set_upright(tmp_path):
    from reelseek.video.image import read_image

    Image.new("RGBA", (4, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, :2] = 255
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.shape == (1, 4, 2, 3)
    assert upright[0, :2].min() == 255
    assert upright[0, 2:].max() == 0


def test_a_clip_is_the_mean_of_its_frames(films):
    method, config = FakeMethod(), IndexConfig(fps=2.0, min_frames=2, segment_frames=4)
    whole = picture_vector(method, config, Clip(films / "rb.avi"))[0]
    red, blue = (picture_vector(method, config, Clip(films / "rb.avi", *span))[0] for span in ((0, 1.4), (1.6, 3)))
    assert cosine(whole, red + blue) > 0.999
    assert cosine(red, blue) < 0.5


def test_pictures_that_cannot_be_used(tmp_path, films):
    (tmp_path / "text.png").write_text("no image")
    method, config = FakeMethod(), IndexConfig()
    for path, words in ((tmp_path / "text.png", "no image file"), (tmp_path / "none.png", "No such file")):
        with pytest.raises(UnreadableVideo, match=words):
            picture_vector(method, config, path)
    with pytest.raises(UnreadableVideo, match=r"it is 3\.0 s long, the clip begins at 7\.0 s"):
        picture_vector(method, config, Clip(films / "rb.avi", 7))
    with pytest.raises(UnreadableVideo):
        picture_vector(method, config, Clip(tmp_path / "text.png"))
    method.projection_WD.zero_()
    with pytest.raises(UnreadableVideo, match="no usable vector"):
        picture_vector(method, config, _png(tmp_path))


def _png(folder: Path) -> Path:
    return picture(folder / "plain.png", (10, 20, 30))


def test_an_image_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    path = _png(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableVideo, match="too many pixels"):
        picture_vector(FakeMethod(), IndexConfig(), path)


def test_a_table_that_names_nothing_is_refused_before_the_search(library, tmp_path):
    (tmp_path / "t.csv").write_text("path,x\nnone.mp4,1\n")
    metadata = read_metadata(tmp_path / "t.csv")
    with pytest.raises(DataError, match="names no file of the index"):
        library.ask(Query("red"), filters=Filters(metadata=metadata, where=(parse_condition("x=1"),)))
    assert library.ask(Query("red"), filters=Filters(metadata=metadata)) == library.ask(Query("red"))


def test_a_row_that_names_two_videos_spoils_no_search_that_asks_nothing_of_it(library, films, tmp_path):
    (tmp_path / "t.csv").write_text(f"path,x\nrb,1\n{films}/br.avi,2\nrb.avi,3\n")
    filters = Filters(metadata=read_metadata(tmp_path / "t.csv"))
    answers = library.ask(Query("red"), filters=filters, collapse=False)
    assert {answer.metadata.get("x") for answer in answers} == {None, "2"}


def test_answers_have_the_probabilities_of_hits(library):
    searcher = Searcher(cards.open_index(library.directory), FakeMethod()).calibrate()
    hits = {hit.path: hit.probability for hit in searcher.search("red", 50)}
    assert None not in hits.values()
    answers = ask(searcher, Query("red"), 50, collapse=False)
    assert {answer.path: answer.probability for answer in answers} == hits
    below = Filters(below=(Path(answers[-1].path).parent,))
    assert all(answer.probability is not None for answer in ask(searcher, Query("red"), 50, filters=below))
    assert ask(searcher, Query("red", without=("blue",)), 1)[0].probability is None


@pytest.mark.parametrize("time", [3.0, 2.9999999, 3.4])
@pytest.mark.parametrize("k", [1, 2])
def test_the_neighbour_of_a_moment_may_be_like_it(tmp_path, time, k):
    blue, red = (FakeMethod().encode_texts([colour]).pooled_TD for colour in ("blue", "red"))
    blue, red = blue / blue.norm(), red / red.norm()
    film = torch.cat([(0.4 * blue + 0.6 * red).repeat(3, 1), blue.repeat(3, 1), red.repeat(6, 1)])
    videos = {"/v/a": film, "/v/b": red.repeat(3, 1) + 0.01}
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    found = similar(searcher, Query(frame=Frame(Path("/v/a"), time)), k, moments="all")
    assert [(hit.path, hit.start, hit.end) for hit in found] == [("/v/a", 0, 3), ("/v/b", 0, 3)][:k]


def test_a_copy_that_is_more_like_a_moment_than_its_own_place_leaves_with_it(tmp_path):
    blue, red = (FakeMethod().encode_texts([colour]).pooled_TD for colour in ("blue", "red"))
    blue, red = blue / blue.norm(), red / red.norm()
    shown = 0.9 * blue + 0.1 * red
    videos = {"/v/b": torch.cat([shown, blue]), "/v/a": shown.repeat(2, 1)}
    videos |= {"/v/c": red.repeat(2, 1), "/v/d": (red - blue).repeat(2, 1)}
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    query = Query(frame=Frame(Path("/v/b"), 0.0))
    first = ask(searcher, query, 1)[0]
    assert (first.path, [hit.path for hit in first.alike]) == ("/v/a", ["/v/b"])
    assert [hit.path for hit in similar(searcher, query, 2)] == ["/v/c", "/v/d"]
    assert [hit.path for hit in similar(searcher, query, 1, collapse=False)] == ["/v/a"]


def test_the_last_moment_of_a_video_is_not_like_itself(tmp_path):
    blue, red = (FakeMethod().encode_texts([colour]).pooled_TD for colour in ("blue", "red"))
    film = torch.cat([red.repeat(3, 1), blue.repeat(3, 1)])
    searcher = Searcher(index_of(tmp_path / "index", {"/v/a": film, "/v/b": red.repeat(2, 1)}), FakeMethod())
    for time in (5.0, 6.0):
        found = similar(searcher, Query(frame=Frame(Path("/v/a"), time)), moments="all")
        assert "/v/b" in [hit.path for hit in found]
        assert ("/v/a", 3) not in [(hit.path, hit.start) for hit in found]
