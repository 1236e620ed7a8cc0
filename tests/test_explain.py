"""Explanations of hits, written as loops over an index whose vectors the tests choose."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from index_fakes import FakeMethod, clip, update
from reelseek.app.service import Service
from reelseek.errors import IndexError_
from reelseek.index import explain as explaining
from reelseek.index.explain import MOST_PIECES, explain, pieces_of
from reelseek.index.explanation import Explanation
from reelseek.index.library import Index
from reelseek.index.search import Searcher
from reelseek.language.sentences import Sentences, kept_words
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.records import Hit, Texts, Videos
from reelseek.score.parts import IncrementParts, Parts
from test_search import index_of, random_videos

QUERY = "red, green and blue"


class Explaining(FakeMethod):
    """The fake, with its mean pooling taken apart."""

    def explain(self, texts: Texts, videos: Videos) -> Parts:
        return MeanPoolHead(normalise_frames=False).explain(texts, videos)

    def kept_words(self, caption: str) -> dict[str, list[tuple[int, int]]]:
        return {"entity": [(0, 3)], "action": [(0, len(caption))]}


@pytest.fixture(scope="module")
def videos() -> dict[str, torch.Tensor]:
    return random_videos(12)


@pytest.fixture(scope="module")
def searcher(videos: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return Searcher(index_of(tmp_path_factory.mktemp("explain") / "index", videos), Explaining())


@pytest.fixture(scope="module")
def found(searcher: Searcher) -> list[tuple[Hit, Explanation]]:
    hits = searcher.search(QUERY, 12)
    return list(zip(hits, explain(searcher, QUERY, hits), strict=True))


def project(rows_ND: torch.Tensor) -> list[list[float]]:
    """Vectors as the index keeps them, in half precision."""
    return (rows_ND @ FakeMethod().projection_WD).half().float().tolist()


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def mean(rows: list[list[float]]) -> list[float]:
    return [sum(row[d] for row in rows) / len(rows) for d in range(len(rows[0]))]


def text_of(query: str) -> list[float]:
    row: list[float] = (FakeMethod().encode_texts([query]).pooled_TD @ FakeMethod().projection_WD)[0].tolist()
    return row


def segment_of(videos: dict[str, torch.Tensor], why: Explanation) -> list[list[float]]:
    """A frame a second and three a segment: the segment's start says which frames it has."""
    return project(videos[why.path])[round(why.start) : round(why.start) + 3]


def test_the_parts_add_up_to_the_hit_s_score(found: list[tuple[Hit, Explanation]]) -> None:
    assert len(found) == 12
    for hit, why in found:
        assert why.exact
        assert (why.path, why.query) == (hit.path, QUERY)
        assert (why.start, why.end) == (hit.start, hit.end)
        assert why.score == pytest.approx(hit.score, abs=1e-6)
        total = sum(frame.contribution for frame in why.frames if frame.contribution is not None) + why.rest
        assert total == pytest.approx(hit.score, abs=1e-5)
        assert sum(frame.weight for frame in why.frames if frame.weight is not None) == pytest.approx(1, abs=1e-5)
        assert hit.peak == max(why.frames, key=lambda frame: frame.cosine).time


def test_the_parts_of_every_moment_add_up_to_its_own_score(tmp_path: Path) -> None:
    films = {name: torch.cat([rows] * 2) for name, rows in random_videos(6).items()}
    searcher = Searcher(index_of(tmp_path / "index", films, segment=12), Explaining())
    hits = searcher.search(QUERY, 100, moments=True)
    found = list(zip(hits, explain(searcher, QUERY, hits), strict=True))
    for hit, why in found:
        assert why.score == pytest.approx(hit.score, abs=1e-6)
        parts = sum(frame.contribution for frame in why.frames if frame.contribution is not None) + why.rest
        assert parts + why.moment == pytest.approx(hit.score, abs=1e-5)
        best = max(frame.cosine for frame in why.frames)
        (own,) = (frame.cosine for frame in why.frames if frame.time == hit.peak)
        assert why.moment == pytest.approx(own - best, abs=2e-6)
        assert [frame.inside for frame in why.frames] == [hit.start <= frame.time < hit.end for frame in why.frames]
    assert any(why.moment < -0.01 for _, why in found)
    assert any(why.moment == 0 for _, why in found)
    assert any(not frame.inside for _, why in found for frame in why.frames)


def test_without_a_span_and_between_frames(searcher: Searcher) -> None:
    (hit,) = searcher.search(QUERY, 1)
    (why,) = explain(searcher, QUERY, [(hit.path, hit.peak)])
    assert all(frame.inside for frame in why.frames)
    (line,) = explain(searcher, QUERY, [hit._replace(start=hit.peak + 0.2, end=hit.peak + 0.4)])
    assert [frame.time for frame in line.frames if frame.inside] == [hit.peak]


def test_a_span_holds_frames_to_the_millisecond_and_all_at_the_end_of_its_video(searcher: Searcher) -> None:
    hits = [hit for hit in searcher.search(QUERY, 12) if hit.end - hit.start == 3]
    assert hits
    for hit in hits[:3]:
        for off in (-0.0004, 0.0004):  # times that were rounded on their way
            rounded = hit._replace(peak=hit.start, start=hit.start + off, end=hit.start + 1 + off)
            (why,) = explain(searcher, QUERY, [rounded])
            assert [frame.time for frame in why.frames if frame.inside] == [hit.start]
    times_F = np.array([0.0, 1.0, 2.0])
    assert explaining._inside(times_F, (1.0, 2.0), 2.0).tolist() == [False, True, True]
    assert explaining._inside(times_F, (1.0, 2.0), 3.0).tolist() == [False, True, False]


class Streaming(Explaining):
    """Three streams, of which two count, with numbers that say whose they are."""

    def explain(self, texts: Texts, videos: Videos) -> Parts:
        whole = super().explain(texts, videos)
        said_TV = whole.matrix_TV
        increment = IncrementParts("text", said_TV + 1, said_TV + 2, said_TV + 3, said_TV + 4)
        streams = {
            name: whole._replace(
                contributions_TVF=factor * whole.contributions_TVF,
                rest_TV=factor * whole.rest_TV,
                increment=increment if name == "entity" else None,
            )
            for name, factor in {"fusion": 3.0, "entity": 1.5, "action": 0.5}.items()
        }
        experts = {"entity": {"first": said_TV[0], "second": 1 - said_TV[0]}}
        return whole._replace(increment=increment, streams=streams, counted=("entity", "action"), experts=experts)


def test_every_hit_has_its_own_streams_and_increments(videos: dict[str, torch.Tensor], tmp_path: Path) -> None:
    searcher = Searcher(index_of(tmp_path / "index", videos), Streaming())
    hits = searcher.search(QUERY, 12)
    for hit, why in zip(hits, explain(searcher, QUERY, hits), strict=True):
        own = pytest.approx([hit.score + n for n in (1, 2, 3, 4)], abs=1e-6)
        assert why.increment is not None
        assert [*vars(why.increment).values()][1:] == own
        fusion, entity, action = why.streams
        assert (fusion.name, entity.name, action.name) == ("fusion", "entity", "action")
        assert [stream.share for stream in why.streams] == pytest.approx([0, 0.75, 0.25])
        assert (fusion.words, entity.words, action.words) == ((), ("red",), ())
        assert entity.experts == pytest.approx({"first": hit.score, "second": 1 - hit.score}, abs=1e-6)
        assert fusion.experts == action.experts == {}
        assert entity.increment is not None
        assert [*vars(entity.increment).values()][1:] == own
        assert fusion.increment is action.increment is None
        for stream, factor in zip(why.streams, (3, 1.5, 0.5), strict=True):
            assert stream.score == pytest.approx(factor * hit.score, abs=1e-5)
            wanted = [factor * (frame.contribution or 0) for frame in why.frames]
            assert list(stream.contributions) == pytest.approx(wanted, abs=1e-6)


def test_frames_and_curve_by_loops(videos: dict[str, torch.Tensor], found: list[tuple[Hit, Explanation]]) -> None:
    text = text_of(QUERY)
    for _, why in found:
        frames = project(videos[why.path])
        assert [time for time, _ in why.curve] == [float(n) for n in range(len(frames))]
        assert [match for _, match in why.curve] == pytest.approx([cosine(text, row) for row in frames], abs=1e-5)
        assert why.duration == len(frames)
        own = segment_of(videos, why)
        pooled = mean(own)
        lengths = [math.sqrt(sum(x * x for x in row)) for row in own]
        factor = sum(lengths) / len(own) / math.sqrt(sum(x * x for x in pooled))
        for number, frame in enumerate(why.frames):
            assert frame.time == why.start + number
            assert frame.cosine == pytest.approx(cosine(text, own[number]), abs=1e-5)
            assert frame.weight == pytest.approx(lengths[number] / sum(lengths), abs=1e-5)
            expected = cosine(text, own[number]) * lengths[number] / sum(lengths) * factor
            assert frame.contribution == pytest.approx(expected, abs=1e-5)


def test_words_by_loops(videos: dict[str, torch.Tensor], found: list[tuple[Hit, Explanation]]) -> None:
    shorter = ["green and blue", "red, and blue", "red, green blue", "red, green and"]
    segments = [project(rows)[low : low + 3] for rows in videos.values() for low in range(0, len(rows), 3)]
    assert len(segments) < explaining.COMPARED

    def score(query: str, rows: list[list[float]]) -> float:
        return cosine(text_of(query), mean(rows))

    for _, why in found:
        assert [word.text for word in why.words] == ["red,", "green", "and", "blue"]
        assert [QUERY[word.start : word.end] for word in why.words] == [word.text for word in why.words]
        own = segment_of(videos, why)
        for word, without in zip(why.words, shorter, strict=True):
            drop = score(QUERY, own) - score(without, own)
            usual = sum(score(QUERY, rows) - score(without, rows) for rows in segments) / len(segments)
            assert word.drop == pytest.approx(drop, abs=1e-5)
            assert word.weight == pytest.approx(drop - usual, abs=1e-5)
            assert sum(word.by_frame) == pytest.approx(word.weight, abs=1e-5)
            factor = 1 / len(own) / math.sqrt(sum(x * x for x in mean(own)))
            for number, row in enumerate(own):
                size = math.sqrt(sum(x * x for x in row)) * factor
                lost = (cosine(text_of(QUERY), row) - cosine(text_of(without), row)) * size
                weight = why.frames[number].weight
                assert weight is not None
                assert word.by_frame[number] == pytest.approx(lost - usual * weight, abs=1e-5)


def test_moments_are_explained_by_the_segment_that_scored_them(searcher: Searcher) -> None:
    hits = searcher.search(QUERY, 40, moments=True)
    assert len({hit.path for hit in hits}) < len(hits)
    for hit, why in zip(hits, explain(searcher, QUERY, hits), strict=True):
        assert why.score == pytest.approx(hit.score, abs=1e-6)
        assert why.start <= hit.peak < why.end


def test_hits_one_by_one_and_in_blocks(
    searcher: Searcher, found: list[tuple[Hit, Explanation]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    videos = explaining._videos
    monkeypatch.setattr(explaining, "_videos", lambda places, *more: sizes.append(len(places)) or videos(places, *more))
    explain(searcher, QUERY, [found[0][0]] * 70)
    assert sizes == [32, 32, 6]
    monkeypatch.setattr(explaining, "HITS_AT_ONCE", 5)
    for again, (_, why) in zip(explain(searcher, QUERY, [hit for hit, _ in found]), found, strict=True):
        assert (again.path, again.curve) == (why.path, why.curve)
        assert [frame.contribution for frame in again.frames] == pytest.approx([f.contribution for f in why.frames])
        assert [word.weight for word in again.words] == pytest.approx([word.weight for word in why.words], abs=1e-6)
    for hit, why in found[:3]:
        (alone,) = explain(searcher, QUERY, [(hit.path, round(hit.peak, 4))])
        assert alone.score == pytest.approx(why.score, abs=1e-6)
        assert [frame.contribution for frame in alone.frames] == pytest.approx([f.contribution for f in why.frames])
    assert explain(searcher, QUERY, []) == []


def test_the_streams_sentences(found: list[tuple[Hit, Explanation]], searcher: Searcher) -> None:
    assert explaining._kept_words(searcher, QUERY) == {"entity": ("red",), "action": ()}
    assert explaining._kept_words(searcher, "\udcff red") == {"entity": ("? r",), "action": ()}
    assert found[0][1].streams == ()


def test_a_method_that_cannot_say_gives_cosines_and_words(videos: dict[str, torch.Tensor], tmp_path: Path) -> None:
    searcher = Searcher(index_of(tmp_path / "index", videos), FakeMethod())
    hits = searcher.search(QUERY, 3)
    for hit, why in zip(hits, explain(searcher, QUERY, hits), strict=True):
        assert not why.exact
        assert why.score == pytest.approx(hit.score, abs=1e-6)
        assert all(frame.weight is None and frame.contribution is None for frame in why.frames)
        assert max(frame.cosine for frame in why.frames) == max(match for _, match in why.curve[round(why.start) :][:3])
        assert all(word.by_frame == () for word in why.words)
        assert any(abs(word.weight) > 1e-3 for word in why.words)


def test_padding_is_as_long_as_the_index_s_longest_segment(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    score = FakeMethod.score
    monkeypatch.setattr(FakeMethod, "score", lambda s, t, v: seen.append(v.mask_VF.shape[1]) or score(s, t, v))
    explain(searcher, QUERY, searcher.search(QUERY, 1, coarse=1))
    assert set(seen) == {3}


def test_a_reload_meanwhile_changes_no_explanation(
    videos: dict[str, torch.Tensor], found: list[tuple[Hit, Explanation]], tmp_path: Path
) -> None:
    searcher = Searcher(index_of(tmp_path / "index", videos), Explaining())
    other = Searcher(index_of(tmp_path / "other", random_videos(3, seed=1), segment=5), Explaining()).loaded
    score, texts = searcher.method.score, searcher.method.encode_texts

    class Reloaded(Explaining):
        def encode_texts(self, captions: Sequence[str]) -> Texts:
            searcher._loaded = other
            return texts(captions)

        def score(self, *given: Any) -> Any:
            searcher._loaded = other
            return score(*given)

    searcher.method = Reloaded()
    assert explain(searcher, QUERY, [hit for hit, _ in found]) == [why for _, why in found]


def test_a_word_is_compared_with_enough_of_a_large_index(tmp_path: Path) -> None:
    searcher = Searcher(index_of(tmp_path / "index", random_videos(150)), Explaining())
    (why,) = explain(searcher, QUERY, searcher.search(QUERY, 1))
    word, everything = why.words[0], searcher.sample(searcher.loaded, 10_000)
    before_V, after_V = (
        searcher.method.score(searcher.encode([text]), everything).matrix_TV[0] for text in (QUERY, "green and blue")
    )
    exact, spread = word.drop - float((before_V - after_V).mean()), float((before_V - after_V).std())
    assert spread > 0.1
    assert word.weight == pytest.approx(exact, abs=3 * spread / math.sqrt(64))  # three standard errors of their mean
    assert word.weight != pytest.approx(exact, abs=1e-4)  # not all are scored: a library has millions


def test_json_is_plain_and_keeps_the_sum(found: list[tuple[Hit, Explanation]]) -> None:
    for hit, why in found:
        plain: dict[str, Any] = json.loads(json.dumps(why.to_json(), allow_nan=False))
        assert sum(frame["contribution"] for frame in plain["frames"]) + plain["rest"] == pytest.approx(
            hit.score, abs=1e-5
        )
        assert plain["words"][0]["text"] == "red,"
        assert plain["curve"][0][0] == 0.0


@pytest.mark.parametrize(
    ("query", "texts", "without"),
    [
        ("red", [], []),
        ("red !", [], []),
        ("... ?", [], []),
        ("a  dog\truns", ["a", "dog", "runs"], ["dog runs", "a runs", "a dog"]),
        ("no - yes", ["no", "yes"], ["- yes", "no -"]),
    ],
)
def test_pieces(query: str, texts: list[str], without: list[str]) -> None:
    pieces = pieces_of(query)
    assert [query[piece.start : piece.end] for piece in pieces] == texts
    assert [piece.without for piece in pieces] == without


@pytest.mark.parametrize(("words", "count"), [(12, 12), (13, 12), (30, 12), (100, 4), (5000, 2)])
def test_long_queries_are_cut_into_runs(words: int, count: int) -> None:
    query = " ".join(f"w{number}" for number in range(words))
    pieces = pieces_of(query)
    assert len(pieces) == count <= MOST_PIECES
    joined = " ".join(query[piece.start : piece.end] for piece in pieces)
    assert joined == query


def test_refusals(searcher: Searcher) -> None:
    with pytest.raises(ValueError, match="query is empty"):
        explain(searcher, "  ", [])
    with pytest.raises(IndexError_, match=r"holds no frame of /gone.mp4 at 1 s any more. Search again."):
        explain(searcher, "red", [("/gone.mp4", 1.0)])
    path = searcher.search("red", 1)[0].path
    with pytest.raises(IndexError_, match=r"at 1\.5 s"):
        explain(searcher, "red", [(path, 1.5)])


def test_sample_is_spread_over_the_index(searcher: Searcher) -> None:
    everything = searcher.sample(searcher.loaded, 1000)
    assert len(everything.mask_VF) == searcher.segment_count
    some = searcher.sample(searcher.loaded, 4)
    places = [0, (searcher.segment_count - 1) // 3, 2 * (searcher.segment_count - 1) // 3, searcher.segment_count - 1]
    torch.testing.assert_close(some.frames_VFD, everything.frames_VFD[places])


def test_an_index_as_one_object(tmp_path: Path) -> None:
    clip(tmp_path / "films" / "a.avi", ["red"])
    update(tmp_path / "index", tmp_path / "films")
    index = Index(tmp_path / "index", FakeMethod())
    hits = Index(tmp_path / "index", FakeMethod()).search("red and blue", 1)
    (why,) = index.explain("red and blue", hits)
    assert why.score == pytest.approx(hits[0].score, abs=1e-6)
    assert [word.text for word in why.words] == ["red", "and", "blue"]
    assert any(abs(word.drop) > 1e-3 for word in why.words)
    # the only segment there is: no word does more for it than for others
    assert [word.weight for word in why.words] == pytest.approx([0, 0, 0], abs=1e-6)


def test_the_page_s_service_explains_by_path_and_peak(searcher: Searcher, found: list[tuple[Hit, Explanation]]) -> None:
    hit, why = found[0]
    assert Service(searcher).explain(QUERY, hit.path, hit.peak).score == pytest.approx(why.score, abs=1e-6)
    with pytest.raises(ValueError, match="query is empty"):
        Service(searcher).explain(" ", hit.path, hit.peak)


def test_words_kept_by_every_strategy() -> None:
    def tokens(captions: list[str]) -> list[list[tuple[int, int]]]:
        return [[(0, 0), (0, 3), (4, 8), (0, 0)] for _ in captions]  # a tower that reads eight characters

    caption = "the dogs run"
    for strategy in ("rkw", "muw", "akwe"):
        kept = kept_words(Sentences(strategy), caption, token_spans=tokens)  # type: ignore[arg-type]
        assert [caption[start:end] for start, end in kept["entity"]] == ["dogs"]
        read = ["run"] if strategy == "rkw" else [caption]  # the verb lies beyond what the tower reads
        assert [caption[start:end] for start, end in kept["action"]] == read
    assert kept_words(Sentences("rkw", ("action",)), "of the", token_spans=tokens) == {"action": [(0, 6)]}
