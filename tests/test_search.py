"""Search against scores written as loops, over indexes whose vectors the tests choose."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from index_fakes import CARD, WIDTH, FakeMethod, clip, update
from reelseek.config import IndexConfig
from reelseek.index import cards, search, store
from reelseek.index import loaded as loaded_index
from reelseek.index import scan as scan_index
from reelseek.index.cards import IndexCard
from reelseek.index.disk import locked
from reelseek.index.moments import ALIKE, grow
from reelseek.index.places import lines_of, moments_of, pair_in
from reelseek.index.scan import scan
from reelseek.index.search import Searcher
from reelseek.index.segments import any_text, cut_segments
from reelseek.index.spoken import Heard
from reelseek.index.store import IndexedFile
from reelseek.records import EmbeddedVideo, Texts, Videos

WORDS = ("red", "green", "blue", "white", "red and green", "a tree", "שלום", "猫が走る", "🎬", "\udcff")


def index_of(directory: Path, videos: dict[str, torch.Tensor], width: int = WIDTH, *, segment: int = 3) -> IndexCard:
    """An index of videos given as tower outputs [N, 12], one frame a second. Equal tensors are equal content."""
    config = IndexConfig(segment_frames=segment)
    index = IndexCard(directory, {"name": "fake", "id": "fake-0", **CARD}, config, width, "now")
    with locked(directory):
        cards.create(index)
        keys: dict[bytes, str] = {}
        for name, frames_ND in videos.items():
            known = frames_ND.numpy().tobytes() in keys
            key = keys.setdefault(frames_ND.numpy().tobytes(), f"hash of {name}")
            times_N = np.arange(len(frames_ND), dtype=float)
            video = EmbeddedVideo(Path(name), key, frames_ND, times_N, float(len(frames_ND)))
            if not known:
                table = cut_segments(video, 1, FakeMethod(), any_text(FakeMethod()), index)
                store.append_segments(directory, [table])
            store.write_files(directory, [IndexedFile(Path(name), 1, 1, key, video.duration, "ok", "", 0.0)])
    return index


def random_videos(count: int = 30, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (count,), generator=generator).tolist()
    return {f"/v/{number:02d}.mp4": torch.randn(n, 12, generator=generator) for number, n in enumerate(lengths)}


def fresh(method: FakeMethod, query: str, videos: dict[str, torch.Tensor]) -> dict[str, list[tuple[float, int]]]:
    """Each video's segments as (score, number), scored one by one in float32 without any index."""
    text = method.encode_texts([query.encode("utf-8", "replace").decode()])
    scores = {}
    for name, frames_ND in videos.items():
        scores[name] = []
        for low in range(0, len(frames_ND), 3):
            part = frames_ND[low : low + 3][None]
            pair = method.project(text, Videos(part, torch.ones(part.shape[:2], dtype=torch.bool)))
            scores[name].append((float(method.score(*pair).matrix_TV[0, 0]), low // 3))
    return scores


@pytest.fixture(scope="module")
def videos():
    return random_videos()


@pytest.fixture(scope="module")
def searcher(videos, tmp_path_factory):
    return Searcher(index_of(tmp_path_factory.mktemp("search") / "index", videos), FakeMethod())


def test_scan_is_the_cosine_of_every_pair(monkeypatch):
    monkeypatch.setattr(scan_index, "SCAN_ROWS", 7)
    frames_ND = (torch.randn(25, 6, generator=torch.Generator().manual_seed(0)) * 30).half()
    queries_TD = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    found_TN = scan([frames_ND], frames_ND.float().norm(dim=1).reciprocal(), queries_TD)
    assert found_TN.dtype == np.float32
    for t, query in enumerate(queries_TD.tolist()):
        for n, frame in enumerate(frames_ND.tolist()):
            dot = sum(a * b for a, b in zip(query, frame, strict=True))
            expected = dot / math.sqrt(sum(a * a for a in query)) / math.sqrt(sum(b * b for b in frame))
            assert found_TN[t, n] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("query", WORDS)
def test_hits_equal_the_method_on_every_fresh_segment(searcher, videos, query):
    expected = {name: max(scores) for name, scores in fresh(FakeMethod(), query, videos).items()}
    hits = searcher.search(query, k=len(videos), coarse=10_000)
    assert {hit.path for hit in hits} == set(videos)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        score, number = expected[hit.path]
        assert hit.score == pytest.approx(score, abs=5e-4), "float16 storage moves a score further than stated"
        assert (hit.start, hit.end) == (3.0 * number, min(3.0 * number + 3, len(videos[hit.path])))


def test_float16_moves_scores_at_512_dimensions_by_less_than_stated():
    generator = torch.Generator().manual_seed(0)
    text_1D = torch.randn(1, 512, generator=generator)
    frames_VFD = text_1D * 0.3 + torch.randn(400, 12, 512, generator=generator)
    mask_VF = torch.ones(400, 12, dtype=torch.bool)
    exact = FakeMethod().score(Texts(text_1D), Videos(frames_VFD, mask_VF)).matrix_TV
    stored = FakeMethod().score(Texts(text_1D), Videos(frames_VFD.half().float(), mask_VF)).matrix_TV
    assert 0 < (exact - stored).abs().max() < 1e-4


@pytest.mark.parametrize(("duration", "end"), [(5.0, 5.0), (2.0, 2.9)])
def test_segments_begin_with_their_video_and_end_with_its_last_frame_at_the_least(tmp_path, duration, end):
    """Times of frames are the frames' own: a first one may come late, a last one behind the length that is stated."""
    index = IndexCard(tmp_path, {}, IndexConfig(segment_frames=2), WIDTH, "now")
    video = EmbeddedVideo(Path("a"), "a", torch.ones(3, 12), np.array([0.4, 1.9, 2.9]), duration)
    table = cut_segments(video, 1, FakeMethod(), any_text(FakeMethod()), index)
    assert (table["start"].to_pylist(), table["end"].to_pylist()) == ([0.0, 2.9], [2.9, end])
    assert table["times"].to_pylist() == [[0.4, 1.9], [2.9]]


@pytest.mark.parametrize("segments", ["windows", "shots"])
def test_segments_inside_a_still_share_its_time(tmp_path, segments):
    """A slide is one picture from when it appears, however often it is looked at."""
    index = IndexCard(tmp_path, {}, IndexConfig(segment_frames=2, segments=segments), WIDTH, "now")
    times = np.array([0.5, 0.5, 0.5, 0.5, 4.5, 6.0, 6.0, 6.0])
    video = EmbeddedVideo(Path("a"), "a", torch.ones(8, 12), times, 9.0, differences_N=np.zeros(8))
    table = cut_segments(video, 1, FakeMethod(), any_text(FakeMethod()), index)
    assert table["times"].to_pylist() == [[0.5, 1.5], [2.5, 3.5], [4.5, 6.0], [7.0, 8.0]]
    assert list(zip(table["start"].to_pylist(), table["end"].to_pylist(), strict=True)) == [
        (0.0, 2.5), (2.5, 4.5), (4.5, 7.0), (7.0, 9.0),
    ]  # fmt: skip


@pytest.mark.parametrize("query", WORDS)
def test_peak_is_the_best_frame_of_the_segment(searcher, videos, query):
    method = FakeMethod()
    text = method.encode_texts([query.encode("utf-8", "replace").decode()])
    for hit in searcher.search(query, k=10):
        pair = method.project(text, Videos(videos[hit.path][None], torch.ones(1, 1, dtype=torch.bool)))
        cosines = torch.cosine_similarity(pair[0].pooled_TD, pair[1].frames_VFD[0]).tolist()
        low, high = int(hit.start), int(hit.end)
        assert hit.peak == low + int(np.argmax(cosines[low:high]))


@pytest.mark.parametrize("moments", [False, True])
def test_two_stages_equal_exhaustive_search_from_all_segments_on(searcher, moments):
    segments = len(searcher._loaded.video_S)
    for query in WORDS:
        everything = searcher.search(query, k=1000, coarse=10 * segments, moments=moments)
        assert searcher.search(query, k=1000, coarse=segments, moments=moments) == everything
        assert [hit[:3] for hit in searcher.search(query, k=3, coarse=segments, moments=moments)] == [
            hit[:3] for hit in everything[:3]
        ]


def test_coarse_stage_passes_on_the_best_frames(searcher):
    loaded = searcher._loaded
    coarse_S = np.random.default_rng(0).permutation(len(loaded.video_S)).astype(np.float32)
    picks = loaded_index.candidates(loaded, coarse_S, k=2, coarse=5)
    by_score = sorted(range(len(coarse_S)), key=lambda s: -coarse_S[s])
    best_of: dict[int, int] = {}
    for s in by_score:
        best_of.setdefault(int(loaded.video_S[s]), s)
    assert set(picks.tolist()) == set(by_score[:5]) | set(list(best_of.values())[:2])


def test_exact_scores_do_not_depend_on_how_many_are_scored_together(searcher, monkeypatch):
    whole = [searcher.search(query, k=1000, coarse=1000) for query in WORDS]
    monkeypatch.setattr(search, "EXACT_SEGMENTS", 2)
    for query, hits in zip(WORDS, whole, strict=True):
        parts = searcher.search(query, k=1000, coarse=1000)
        assert [hit.path for hit in parts] == [hit.path for hit in hits]
        assert [hit.score for hit in parts] == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_segments_are_scored_by_threads_that_do_not_wait_for_each_other(searcher, monkeypatch):
    """Steps that threads share take a second and more beside other busy programs, where a thread of their own takes
    a tenth of that."""
    threads: list[int] = []
    score = searcher.method.score
    monkeypatch.setattr(
        searcher.method, "score", lambda *batch: threads.append(torch.get_num_threads()) or score(*batch)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for size in (1000, 2):  # all segments in one block, and in many
            monkeypatch.setattr(search, "EXACT_SEGMENTS", size)
            searcher.search("red", k=1000, coarse=1000)
        assert set(threads) == {1}
        assert len(threads) > 2
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("moments", [False, True])
def test_batch_equals_single(searcher, monkeypatch, moments):
    monkeypatch.setattr(search, "QUERY_BLOCK", 3)
    together = searcher.search_many(WORDS, 5, moments=moments)
    assert len(together) == len(WORDS)
    for query, hits in zip(WORDS, together, strict=True):
        alone = searcher.search(query, 5, moments=moments)
        assert [hit[:3] for hit in hits] == [hit[:3] for hit in alone]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in alone], abs=1e-6)


def test_equal_scores_come_by_path_then_start(tmp_path):
    frame_1D = torch.ones(1, 12)
    videos = {f"/v/{name}": frame_1D.repeat(n, 1) for name, n in [("d", 6), ("b", 9), ("c", 3), ("a", 12)]}
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    hits = searcher.search("white", coarse=1)
    assert [(hit.path, hit.start) for hit in hits] == [("/v/a", 0.0), ("/v/b", 0.0), ("/v/c", 0.0), ("/v/d", 0.0)]


def test_one_content_under_two_paths_is_one_hit_under_the_first(tmp_path):
    frames_ND = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    searcher = Searcher(index_of(tmp_path / "index", {"/v/z": frames_ND, "/v/a": frames_ND}), FakeMethod())
    assert [hit.path for hit in searcher.search("red")] == ["/v/a"]


def test_one_long_film_hides_no_other_video(tmp_path):
    red = FakeMethod().encode_texts(["red"]).pooled_TD
    videos = {"/v/film": red.repeat(300, 1)}
    videos |= {f"/v/{n}": torch.randn(3, 12, generator=torch.Generator().manual_seed(n)) for n in range(4)}
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    hits = searcher.search("red", k=5, coarse=4)
    assert len(hits) == 5
    assert hits[0].path == "/v/film"
    assert len(searcher.search("red", k=2, coarse=1)) == 2


@pytest.mark.parametrize("query", ["", " ", "\n\t　"])
def test_empty_query_is_asked_for(searcher, query):
    with pytest.raises(ValueError, match="say what to look for"):
        searcher.search(query)
    with pytest.raises(ValueError, match="say what to look for"):
        searcher.search_many(["red", query])


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": -1}, {"coarse": 0}])
def test_wrong_counts_are_refused(searcher, wrong):
    with pytest.raises(ValueError, match="at least 1"):
        searcher.search("red", **wrong)


def test_very_long_query_and_no_queries(searcher):
    assert len(searcher.search("red word " * 1000)) == 10
    assert searcher.search_many([]) == []


def test_empty_index_finds_nothing_and_reloads_what_comes(tmp_path):
    (tmp_path / "videos").mkdir()
    update(tmp_path / "index", tmp_path / "videos")
    searcher = Searcher(cards.open_index(tmp_path / "index"), FakeMethod())
    assert searcher.search("red") == searcher.search("red", moments=True) == []
    assert not searcher.reload()
    clip(tmp_path / "videos" / "a.avi", ["red"])
    update(tmp_path / "index", tmp_path / "videos")
    assert searcher.search("red") == []
    assert searcher.reload()
    assert len(searcher.search("red")) == 1
    assert not searcher.reload()


def test_real_clips_score_as_when_embedded_afresh(tmp_path):
    path = clip(tmp_path / "videos" / "a.avi", ["red", "blue", "green"])
    update(tmp_path / "index", tmp_path / "videos")
    searcher = Searcher(cards.open_index(tmp_path / "index"), FakeMethod())
    for query, start in [("red", 0.0), ("blue", 1.5), ("green", 3.0)]:
        (hit,) = searcher.search(query)
        assert hit[:5] == (str(path), start, start + 1.5, pytest.approx(1.0, abs=2e-3), pytest.approx(start, abs=1.1))
        (moment,) = [m for m in searcher.search(query, moments=True) if m.score > 0.9]
        assert (moment.start, moment.end) == (start, start + 1.5)
    assert json.dumps(hit)


def test_moments_cross_segments_and_come_apart(tmp_path):
    method = FakeMethod()
    red, blue = (method.encode_texts([colour]).pooled_TD[0] for colour in ("red", "blue"))
    shots = [blue] * 2 + [red] * 5 + [blue] * 6 + [red] * 2 + [blue] * 3
    searcher = Searcher(index_of(tmp_path / "index", {"/v/a": torch.stack(shots)}), method)
    hits = [hit for hit in searcher.search("red", moments=True) if hit.peak in (2, 3, 4, 5, 6, 13, 14)]
    assert sorted((hit.start, hit.end) for hit in hits) == [(2.0, 7.0), (13.0, 15.0)]
    assert [hit[:4] for hit in searcher.search("red")] == [("/v/a", 3.0, 6.0, pytest.approx(1.0, abs=1e-3))]


scores = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30)


alikes = st.sampled_from([ALIKE, 0.3])


@given(scores, st.integers(0, 29), alikes)
def test_grow_is_the_run_of_high_frames_around_the_peak(values, peak, alike):
    scores_F = np.array(values, np.float32)
    peak = min(peak, len(values) - 1)
    level = min((scores_F.mean() + scores_F[peak]) / 2, scores_F[peak] - alike)
    first = last = peak
    while first > 0 and scores_F[first - 1] >= level:
        first -= 1
    while last < len(values) - 1 and scores_F[last + 1] >= level:
        last += 1
    assert grow(scores_F, peak, alike=alike) == (first, last)


def test_frames_a_hundredth_of_a_cosine_apart_are_one_still_shot():
    assert grow(np.array([0.798, 0.8, 0.8, 0.809, 0.8]), 3) == (1, 4)


def test_a_segment_gives_every_moment_that_matches(tmp_path):
    method = FakeMethod()
    red, blue = (method.encode_texts([colour]).pooled_TD[0] for colour in ("red", "blue"))
    for frames in (12, 36):
        index = index_of(
            tmp_path / f"index {frames}", {"/v/a": torch.stack(([red] * 3 + [blue] * 3) * 3)}, segment=frames
        )
        hits = Searcher(index, method).search("red", moments=True)
        spans = {(hit.start, hit.end): hit.score for hit in hits}
        assert {(0.0, 3.0), (6.0, 9.0), (12.0, 15.0)} <= spans.keys()
        assert spans[0.0, 3.0] == spans[6.0, 9.0]


frame_scores = st.sampled_from([n / 8 for n in range(-4, 9)] + [0.5 + 1 / 256])


@given(
    lengths=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3),
    alike=alikes,
    data=st.data(),
)
def test_moments_are_those_of_the_plain_definition(lengths, alike, data):
    """Over and over the best frame that may still begin a moment, by the score that its moment would have."""
    videos = [data.draw(st.lists(frame_scores, min_size=sum(own), max_size=sum(own))) for own in lengths]
    loaded, scores_N = laid_out(lengths, videos)
    segments = [(v, sum(own[:n]), sum(own[: n + 1])) for v, own in enumerate(lengths) for n in range(len(own))]
    worths = [data.draw(st.sampled_from([0.25, 0.5, 1.0])) for _ in segments]
    ranked = sorted(enumerate(worths), key=lambda pair: -pair[1])

    taken: list[set[int]] = [set() for _ in videos]
    expected = []

    def height(scores: list[float], peak: float) -> float:
        return min((sum(scores) / len(scores) + peak) / 2, peak - alike)

    def begins(s: int) -> tuple[float, int] | None:
        v, low, high = segments[s]
        scores = videos[v]
        best = max(range(low, high), key=lambda f: (scores[f], -f))
        if best not in taken[v]:
            return (worths[s], best) if scores[best] + alike >= sum(scores) / len(scores) or not taken[v] else None
        left = [f for f in range(low, high) if f not in taken[v] and scores[f] >= height(scores, max(scores))]
        if not left:
            return None
        peak = max(left, key=lambda f: (scores[f], -f))
        return worths[s] - (scores[best] - scores[peak]), peak

    while found := [(begun[0], -rank, s, begun[1]) for rank, (s, _) in enumerate(ranked) if (begun := begins(s))]:
        worth, _, s, peak = max(found)
        v, low, high = segments[s]
        scores, first, last = videos[v], peak, peak
        whole = scores[peak] + alike < sum(scores) / len(scores)
        while first > 0 and first - 1 not in taken[v]:
            if first - 1 < low if whole else scores[first - 1] < height(scores, scores[peak]):
                break
            first -= 1
        while last + 1 < len(scores) and last + 1 not in taken[v]:
            if last + 1 >= high if whole else scores[last + 1] < height(scores, scores[peak]):
                break
            last += 1
        taken[v] |= set(range(first, last + 1))
        expected.append((-worth, v, first, last + 1, peak))

    places = list(moments_of(loaded, ranked, scores_N, alike=alike))
    assert [(-p.score, p.video, p.start, p.end, p.peak) for p in places] == sorted(expected)
    for place in places:
        assert loaded.video_S[place.segment] == place.video
        first = sum(len(scores) for scores in videos[: place.video])
        assert place.rows_F.tolist() == list(range(first + int(place.start), first + int(place.end)))


def test_moments_of_equal_score_come_in_order_of_path_then_start():
    """A further moment of a good segment is worth as much as the moments of others, wherever they lie."""
    loaded, scores_N = laid_out([[3, 5], [3]], [[0.75, 0, 0, 1, 0, 0.75, 0, 0], [0.75, 0, 0]])
    ranked = [(1, 1.0), (0, 0.75), (2, 0.75)]
    told = [(place.video, place.start, place.score) for place in moments_of(loaded, ranked, scores_N)]
    assert told == [(0, 3.0, 1.0), (0, 0.0, 0.75), (0, 5.0, 0.75), (1, 0.0, 0.75)]
    loaded.order_S[:] = [1, 2, 0]  # where files that are left out had made the first video the first
    ranked = [(1, 1.0), (2, 0.75), (0, 0.75)]
    told = [(place.video, place.start, place.score) for place in moments_of(loaded, ranked, scores_N)]
    assert told == [(0, 3.0, 1.0), (1, 0.0, 0.75), (0, 0.0, 0.75), (0, 5.0, 0.75)]


@given(
    told=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1, exclude_max=True), st.integers(0, 5)), max_size=8),
    data=st.data(),
)
def test_lines_that_are_heard_are_places_as_they_are_told(told, data):
    """From when to when they are said, a minute at most, with the frames on screen meanwhile; neighbours stay two."""
    lengths = [[40, 40], [2, 3]]
    videos = [data.draw(st.lists(frame_scores, min_size=sum(own), max_size=sum(own))) for own in lengths]
    loaded, scores_N = laid_out(lengths, videos)
    lines, kept, expected = [], [], []
    for rank, (s, share, long) in enumerate(told, 1):
        video = int(loaded.video_S[s])
        start = float(loaded.segments.start_S[s]) + int(share * 4 * loaded.segments.count_S[s]) / 4
        line = Heard("", start, start + (0, 0.25, 0.5, 1, 2.5, 70)[long], "", rank, rank)
        lines.append((s, 1 / rank, line))
        end = min(line.end, start + 60, len(videos[video])) if long else math.floor(start) + 1
        if any(v == video and start < after and before < end for v, before, after in kept):
            continue
        kept.append((video, start, end))
        frames = [f for f in range(len(videos[video])) if f < end and f + 1 > start]
        peak = max(frames, key=lambda f: (videos[video][f], -f))
        rows = [80 * video + f for f in frames]
        expected.append((video, start, end, 1 / rank, peak, s, rows, line))
    found = [(*place[:6], place.rows_F.tolist(), place.heard) for place in lines_of(loaded, lines, scores_N)]
    assert found == expected


@given(lengths=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=2, max_size=2), data=st.data())
def test_pairs_of_moments_are_those_of_the_plain_definition(lengths, data):
    """Each span is the run of high frames around its best one, as far as the other leaves it room."""
    loaded, _ = laid_out(lengths, [[0.0] * sum(own) for own in lengths])
    count = sum(lengths[1])
    judged = [data.draw(st.lists(frame_scores, min_size=count, max_size=count)) for _ in range(2)]
    seen = [np.array(data.draw(st.lists(frame_scores, min_size=count, max_size=count))) for _ in range(2)]
    alike = data.draw(alikes), data.draw(alikes)
    found = pair_in(loaded, 1, (np.array(judged[0]), np.array(judged[1])), (seen[0], seen[1]), alike)
    if count < 2:
        assert found is None
        return
    pairs = [
        (min(judged[0][i], judged[1][j]), judged[0][i] + judged[1][j], -j, -i)
        for i in range(count)
        for j in range(i + 1, count)
    ]
    score, _, second, first = max(pairs)
    first, second = -first, -second
    low, high = grow(seen[0], first, alike=alike[0])
    later_low, later_high = grow(seen[1], second, alike=alike[1])
    own = [f for f in range(low, high + 1) if f < second]
    later = [f for f in range(later_low, later_high + 1) if f > own[-1]]
    segment_of = [s for s, length in enumerate([*lengths[0], *lengths[1]]) for _ in range(length)][sum(lengths[0]) :]
    assert (found.score, found.peak, found.start, found.end) == (score, first, own[0], own[-1] + 1)
    assert found.then == (later[0], later[-1] + 1, second)
    assert (found.segment, found.later_segment) == (segment_of[first], segment_of[second])
    assert found.rows_F.tolist() == [sum(lengths[0]) + f for f in (*own, *later)]


def laid_out(lengths: list[list[int]], videos: list[list[float]]) -> tuple[SimpleNamespace, np.ndarray]:
    """Videos of segments so many frames long, a frame a second, as `places` reads them; and their scores [N]."""
    count_S = np.array([count for own in lengths for count in own])
    video_S = np.array([v for v, own in enumerate(lengths) for _ in own])
    ends_S = np.array([sum(own[: n + 1]) for own in lengths for n in range(len(own))], float)
    segments = SimpleNamespace(
        first_S=np.cumsum(count_S) - count_S,
        count_S=count_S,
        start_S=ends_S - count_S,
        end_S=ends_S,
        times_N=np.concatenate([np.arange(len(scores), dtype=float) for scores in videos]),
    )
    of_video = [np.flatnonzero(video_S == v) for v in range(len(videos))]
    loaded = SimpleNamespace(
        segments=segments, video_S=video_S, segments_V=of_video, order_S=np.arange(len(count_S))
    )  # fmt: skip
    return loaded, np.concatenate([np.array(scores) for scores in videos])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("queries", [1, 3])
def test_large_scans_give_what_small_ones_give(monkeypatch, queries, threads):
    pieces = [torch.randn(n, 24, generator=torch.Generator().manual_seed(n)).half() * 9 for n in (1, 40, 17)]
    inverse_norms_N = torch.cat(pieces).float().norm(dim=1).reciprocal()
    queries_TD = torch.randn(queries, 24, generator=torch.Generator().manual_seed(1))
    small_TN = scan(pieces, inverse_norms_N, queries_TD)
    monkeypatch.setattr(scan_index, "LARGE", 1)
    monkeypatch.setattr(scan_index, "SHARE_ROWS", 16)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            large_TN = scan(pieces, inverse_norms_N, queries_TD)
        monkeypatch.setattr(scan_index, "_loops", lambda: None)
        plain_TN = scan(pieces, inverse_norms_N, queries_TD)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    frames_ND, lengths = torch.cat(pieces).double(), queries_TD.double().norm(dim=1)
    for t in range(queries):
        for n, frame in enumerate(frames_ND.tolist()):
            dot = sum(a * b for a, b in zip(frame, queries_TD[t].tolist(), strict=True))
            expected = dot / float(lengths[t]) / math.sqrt(sum(a * a for a in frame))
            for found_TN in (small_TN, large_TN, plain_TN):
                assert found_TN[t, n] == pytest.approx(expected, abs=1e-6)


def test_every_float16_is_read_by_the_compiled_loop():
    loops = pytest.importorskip("reelseek.index.scan_loops")
    halves_N1 = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.float16)[:, None]
    found_N = torch.empty(len(halves_N1))
    loops.cosines(halves_N1, torch.ones(len(halves_N1)), torch.ones(1), found_N)
    assert torch.equal(found_N.isnan(), halves_N1[:, 0].isnan())
    finite_N = ~halves_N1[:, 0].isnan()
    assert torch.equal(found_N[finite_N], halves_N1[finite_N, 0].float())


@pytest.mark.parametrize("width", [1, 63, 64, 65, 128, 200, 512])
def test_the_compiled_loop_reads_whole_steps_and_the_rest(width):
    loops = pytest.importorskip("reelseek.index.scan_loops")
    generator = torch.Generator().manual_seed(width)
    frames_ND = torch.randn(7, width, generator=generator).half()
    factors_N, query_D = torch.rand(5, generator=generator), torch.randn(width, generator=generator)
    found_N = torch.full((7,), math.nan)
    loops.cosines(frames_ND[1:6], factors_N, query_D, found_N[1:6])
    expected_N = (frames_ND[1:6].double() @ query_D.double()) * factors_N.double()
    assert torch.allclose(found_N[1:6].double(), expected_N, rtol=1e-6, atol=1e-5)
    assert found_N[[0, 6]].isnan().all(), "it wrote beyond its part"


def test_the_compiled_loop_never_reads_beyond_its_tensors():
    loops = pytest.importorskip("reelseek.index.scan_loops")
    frames_ND, ones_N, query_D = torch.ones(4, 8).half(), torch.ones(4), torch.ones(8)
    loops.cosines(frames_ND, ones_N, query_D, torch.empty(4))
    for wrong in (
        (frames_ND.float(), ones_N, query_D, torch.empty(4)),
        (frames_ND[:, :4], ones_N, query_D[:4], torch.empty(4)),
        (frames_ND[:1].expand(4, 8), ones_N, query_D, torch.empty(4)),
        (frames_ND, ones_N[:3], query_D, torch.empty(4)),
        (frames_ND, ones_N, query_D[:7], torch.empty(4)),
        (frames_ND, ones_N, query_D.double(), torch.empty(4)),
        (frames_ND, ones_N, query_D, torch.empty(3)),
        (frames_ND, ones_N, query_D, torch.empty(8)[::2]),
    ):
        with pytest.raises(ValueError, match="without gaps"):
            loops.cosines(*wrong)


def test_without_the_instruction_there_is_no_compiled_loop(monkeypatch):
    binding = pytest.importorskip("llvmlite.binding")
    monkeypatch.setattr(binding, "get_host_cpu_features", dict)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.delitem(sys.modules, "reelseek.index.scan_loops", raising=False)
    monkeypatch.delattr("reelseek.index.scan_loops", raising=False)
    scan_index._loops.cache_clear()
    try:
        assert scan_index._loops() is None
    finally:
        scan_index._loops.cache_clear()


def test_equal_vectors_score_exactly_alike_wherever_they_lie(monkeypatch):
    monkeypatch.setattr(scan_index, "LARGE", 1)
    monkeypatch.setattr(scan_index, "SHARE_ROWS", 16)
    vector_1D = torch.randn(1, 512, generator=torch.Generator().manual_seed(0)).half()
    pieces = [vector_1D.expand(n, -1).contiguous() for n in (1, 40, 17)]
    inverse_norms_N = torch.cat(pieces).float().norm(dim=1).reciprocal()
    assert len(np.unique(scan(pieces, inverse_norms_N, torch.randn(1, 512)))) == 1


@given(data=st.data())
def test_candidates_are_those_of_sorting_everything(data):
    count = data.draw(st.integers(1, 60))
    owner = data.draw(st.lists(st.integers(0, 7), min_size=count, max_size=count))
    scores = np.array(data.draw(st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5]), min_size=count, max_size=count)))
    order = data.draw(st.permutations(range(count)))
    passing = sorted(data.draw(st.sets(st.sampled_from(range(count)), min_size=1)))
    k, coarse = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 20))
    index = SimpleNamespace(video_S=np.array(owner), order_S=np.array(order), passing_S=np.array(passing))
    ranked = sorted(passing, key=lambda s: (-scores[s], order[s]))
    best: dict[int, int] = {}
    for s in ranked:
        best.setdefault(owner[s], s)
    expected = sorted({*ranked[:coarse], *list(best.values())[:k]})
    assert loaded_index.candidates(index, scores, k, coarse).tolist() == (
        passing if coarse >= len(passing) else expected
    )
