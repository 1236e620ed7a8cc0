"""Probabilities of hits in an index: fitted as loops would, kept, made again when anything changed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from index_fakes import FakeMethod, clip, update
from reelseek import Index
from reelseek.errors import IndexMismatch
from reelseek.index import calibration, cards, store
from reelseek.index.calibration import FILE, background_queries, nothing_matches
from reelseek.index.loaded import load
from reelseek.index.search import Searcher
from reelseek.methods.gare import GareHead
from reelseek.records import Hit, Scores
from reelseek.score import calibrate
from test_search import fresh, index_of, random_videos

QUERY = "red and green"


class Counting(FakeMethod):
    """Counts how often a bank of queries is encoded."""

    banks = 0

    def encode_texts(self, captions):
        self.banks += len(captions) > 1
        return super().encode_texts(captions)


def searched(index: cards.IndexCard, method: FakeMethod | None = None, **options) -> list[Hit]:
    return Searcher(index, method or FakeMethod()).calibrate().search(QUERY, 100, **options)


def by_path(hits: list[Hit]) -> dict[str, float | None]:
    return {Path(hit.path).name: hit.probability for hit in hits}


def expected(videos: dict[str, torch.Tensor], query: str = QUERY) -> dict[str, float]:
    """Each video's probability from scores without an index; videos go by the names of their contents."""
    names = sorted(videos, key=lambda name: f"hash of {name}")
    found = [fresh(FakeMethod(), words, videos) for words in (*background_queries(), query)]
    rows = [[scores[name] for name in names] for scores in found]
    best_TV = np.array([[max(score for score, _ in parts) for parts in row] for row in rows])
    background = calibrate.fit(best_TV[:-1])
    assert background is not None
    excess_V = calibrate.excess(background, best_TV[-1], np.arange(len(names)))
    return dict(zip((Path(name).name for name in names), calibrate.probability(excess_V).tolist(), strict=True))


@pytest.fixture(scope="module")
def videos() -> dict[str, torch.Tensor]:
    return random_videos(12)


@pytest.fixture
def index(videos: dict[str, torch.Tensor], tmp_path: Path) -> cards.IndexCard:
    return index_of(tmp_path / "index", videos)


@pytest.mark.parametrize("block", [256, 5, 3])
def test_probabilities_equal_those_of_fresh_scores(videos, index, monkeypatch, block):
    monkeypatch.setattr(calibration, "BLOCK", block)
    found = by_path(searched(index))
    assert found == pytest.approx(expected(videos), abs=2e-3)
    assert max(found.values()) - min(found.values()) > 0.2


def test_coarse_search_gives_its_hits_the_same_probabilities(index):
    whole = {hit[:3]: hit.probability for hit in searched(index)}
    part = Searcher(index, FakeMethod()).calibrate().search(QUERY, 12, coarse=1)
    same = [hit for hit in part if hit[:3] in whole]  # of the others it took another segment for the best
    assert len(same) > 6
    assert all(hit.probability == pytest.approx(whole[hit[:3]], abs=1e-6) for hit in same)


def test_several_queries_and_moments_have_probabilities_too(index):
    searcher = Searcher(index, FakeMethod()).calibrate()
    together = searcher.search_many([QUERY, "blue"], 5)
    assert [by_path(hits) for hits in together] == [by_path(searcher.search(q, 5)) for q in (QUERY, "blue")]
    videos = {hit.path: hit for hit in searcher.search(QUERY, 100)}
    moments = searcher.search(QUERY, 100, moments=True)
    assert len(moments) > len(videos)
    for hit in moments:
        assert hit.probability is not None
        assert 0 <= hit.probability <= videos[hit.path].probability + 1e-6
    assert any(hit.probability == pytest.approx(videos[hit.path].probability) for hit in moments)


def test_probabilities_change_no_score_and_no_order(index):
    plain = Searcher(index, FakeMethod()).search(QUERY, 100)
    assert all(hit.probability is None for hit in plain)
    found = searched(index)
    assert [hit[:3] for hit in found] == [hit[:3] for hit in plain]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in plain], abs=1e-6)


def test_neither_the_order_of_videos_nor_their_paths_matter(videos, index, tmp_path):
    turned = index_of(tmp_path / "turned", dict(reversed(videos.items())))
    assert by_path(searched(turned)) == pytest.approx(by_path(searched(index)), abs=1e-6)
    rows = store.list_files(index.directory)
    moved = [row._replace(path=Path(f"/w/{len(rows) - n}")) for n, row in enumerate(rows)]
    method = Counting()
    before = {row.content_hash: by_path(searched(index, method))[row.path.name] for row in rows}
    store.write_files(index.directory, moved, replace=True)
    after = by_path(searched(index, method))
    assert method.banks == 0, "a file that moves changes nothing"
    assert {row.content_hash: after[row.path.name] for row in moved} == pytest.approx(before)


@pytest.mark.parametrize("count", [1, 2])
def test_a_library_too_small_gets_no_probability(tmp_path, count):
    index = index_of(tmp_path / "index", random_videos(count))
    method = Counting()
    hits = searched(index, method)
    assert [hit.probability for hit in hits] == [None] * count
    assert method.banks == 0
    assert not nothing_matches(hits)
    assert not (index.directory / FILE).exists()


def test_three_videos_are_enough(tmp_path):
    videos = random_videos(3)
    assert by_path(searched(index_of(tmp_path / "index", videos))) == pytest.approx(expected(videos), abs=2e-3)


def test_an_empty_index_finds_nothing(tmp_path):
    (tmp_path / "videos").mkdir()
    update(tmp_path / "index", tmp_path / "videos")
    assert searched(cards.open_index(tmp_path / "index")) == []


def test_videos_that_look_the_same_are_equally_probable(tmp_path):
    one = random_videos(1)["/v/00.mp4"]
    same = {f"/v/{n}": one + n * 1e-6 for n in range(4)}
    chances = list(by_path(searched(index_of(tmp_path / "index", same))).values())
    assert all(chance is not None and 0 < chance < 1 for chance in chances)
    assert chances == pytest.approx([chances[0]] * 4, abs=1e-2)


def test_a_method_without_opinion_gets_no_probability_and_is_asked_once(index):
    class Same(Counting):
        def score(self, texts, videos):
            return Scores(torch.full((len(texts.pooled_TD), len(videos.mask_VF)), 0.3))

    method = Same()
    for _ in range(2):
        assert {hit.probability for hit in searched(index, method)} == {None}
    assert method.banks == 1


def test_any_head_and_any_scale_of_scores(videos, index):
    class Scaled(FakeMethod):
        def score(self, texts, videos):
            return Scores(super().score(texts, videos).matrix_TV * 250 - 40)

    class Gare(FakeMethod):
        head = GareHead(16, temperature=3.0).eval()

        def score(self, texts, videos):
            return self.head.score(texts, videos)

    plain = by_path(searched(index))
    (index.directory / FILE).unlink()
    assert by_path(searched(index, Scaled())) == pytest.approx(plain, abs=1e-3)
    (index.directory / FILE).unlink()
    chances = by_path(searched(index, Gare()))
    assert len({round(chance, 3) for chance in chances.values()}) > 3
    assert all(0 <= chance <= 1 for chance in chances.values())


def test_the_fit_is_kept_and_used_again(index):
    method = Counting()
    first = searched(index, method)
    assert method.banks == 1
    assert searched(index, method) == first
    assert method.banks == 1


def with_a_bit_changed(raw: bytes) -> bytes:
    place = raw.index(b"mean_V.npy") + 180  # among the means, behind the array's own header
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


DAMAGE = {
    "cut short": lambda kept, path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda kept, path: path.write_bytes(b""),
    "noise": lambda kept, path: path.write_bytes(os.urandom(500)),
    "a bit": lambda kept, path: path.write_bytes(with_a_bit_changed(kept["raw"])),
    "a field is gone": lambda kept, path: np.savez(path, fingerprint=kept["fingerprint"]),
    "other videos": lambda kept, path: np.savez(path, **kept | {"mean_V": kept["mean_V"][1:]}),
    "no number": lambda kept, path: np.savez(path, **kept | {"middle": np.float64("nan")}),
    "no spread": lambda kept, path: np.savez(path, **kept | {"spread": np.float64(0)}),
    "a pickle": lambda kept, path: np.savez(path, **kept | {"mean_V": np.array([{}], dtype=object)}),
    "another fingerprint": lambda kept, path: np.savez(path, **kept | {"fingerprint": np.array("0" * 32)}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_again(index, damage):
    first = by_path(searched(index))
    path = index.directory / FILE
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    raw = path.read_bytes()
    DAMAGE[damage]({"raw": raw} if damage == "a bit" else kept, path)
    assert path.read_bytes() != raw
    method = Counting()
    assert by_path(searched(index, method)) == pytest.approx(first, abs=1e-6)
    assert method.banks == 1
    searched(index, method)
    assert method.banks == 1, "the new file is sound"


def test_whatever_a_fit_follows_from_makes_another(index, monkeypatch):
    _, segments = store.load(index)
    contents, counts = list(segments.content_S), segments.count_S
    longer = counts.copy()
    longer[0] += 1
    others = [
        (replace(index, created="later"), segments),
        (replace(index, model={**index.model, "id": "another"}), segments),
        (index, segments._replace(content_S=["another", *contents[1:]])),
        (index, segments._replace(count_S=longer)),
    ]
    told = {calibration._fingerprint(card, rows) for card, rows in [(index, segments), *others]}
    for name, value in (
        ("VERSION", calibration.VERSION + 1),
        ("CELLS", 100),
        ("background_queries", lambda: background_queries()[1:]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(calibration, name, value)
            told.add(calibration._fingerprint(index, segments))
    assert len(told) == 8


def test_a_fit_that_cannot_be_written_is_used_all_the_same(index):
    expected = by_path(searched(index))
    (index.directory / FILE).unlink()
    (index.directory / f"{FILE}.part").mkdir()
    method = Counting()
    assert by_path(searched(index, method)) == expected
    assert method.banks == 1
    assert not (index.directory / FILE).exists()


def test_the_fit_of_another_model_is_never_used(videos, index, tmp_path):
    other = FakeMethod(seed=1)
    searched(index)
    with pytest.raises(IndexMismatch):
        Searcher(index, other).calibrate()
    directory = tmp_path / "videos"
    for number, colour in enumerate(("red", "green", "blue")):
        clip(directory / f"{number}.avi", [colour, "white"], seed=number)
    update(tmp_path / "own", directory)
    update(tmp_path / "another", directory, method=other)
    right = by_path(searched(cards.open_index(tmp_path / "another"), other))
    searched(cards.open_index(tmp_path / "own"))
    shutil.copy(tmp_path / "own" / FILE, tmp_path / "another" / FILE)
    assert by_path(searched(cards.open_index(tmp_path / "another"), other)) == right


def test_an_update_is_followed_by_a_new_fit(tmp_path):
    colours = ("red", "green", "blue", "white")
    for number, colour in enumerate(colours[:3]):
        clip(tmp_path / "videos" / f"{number}.avi", [colour], seed=number)
    method = Counting()
    update(tmp_path / "index", tmp_path / "videos")
    searcher = Searcher(cards.open_index(tmp_path / "index"), method).calibrate()
    searcher.search(QUERY)
    clip(tmp_path / "videos" / "3.avi", ["white", "red"], seed=3)
    update(tmp_path / "index", tmp_path / "videos")
    assert len(searcher.search(QUERY)) == 3
    assert searcher.reload()
    found = searcher.search(QUERY)
    assert method.banks == 2
    update(tmp_path / "fresh", tmp_path / "videos")
    assert by_path(found) == pytest.approx(by_path(searched(cards.open_index(tmp_path / "fresh"))), abs=1e-6)
    for path in sorted((tmp_path / "videos").iterdir())[1:]:
        path.unlink()
    update(tmp_path / "index", tmp_path / "videos")
    assert searcher.reload()
    assert [hit.probability for hit in searcher.search(QUERY)] == [None]


def test_a_search_with_a_fit_of_what_was_loaded_before_gives_no_probability(index, monkeypatch):
    searcher = Searcher(index, FakeMethod()).calibrate()
    searcher._loaded = load(index)
    assert {hit.probability for hit in searcher.search(QUERY)} == {None}


def test_the_index_object_fits_when_asked_and_again_after_an_update(tmp_path):
    for number, colour in enumerate(("red", "green", "blue")):
        clip(tmp_path / "videos" / f"{number}.avi", [colour], seed=number)
    method = Counting()
    library = Index(tmp_path / "index", method)
    library.update([tmp_path / "videos"])
    assert all(hit.probability is None for hit in library.search("red"))
    assert method.banks == 0
    assert all(hit.probability is not None for hit in library.calibrate().search("red"))
    library.update([tmp_path / "videos"])
    assert all(hit.probability is not None for hit in library.search("red"))
    assert method.banks == 1
    clip(tmp_path / "videos" / "white.avi", ["white"])
    library.update([tmp_path / "videos"])
    assert all(hit.probability is not None for hit in library.search("red"))
    assert method.banks == 2


def test_the_segments_of_a_video_may_be_stored_anywhere(monkeypatch):
    monkeypatch.setattr(calibration, "BLOCK", 3)
    queries, rank_S = background_queries(), np.array([2, 0, 1, 2, 0, 1, 2, 3])
    scores_BS = np.random.default_rng(0).normal(size=(len(queries), len(rank_S)))
    rows = {query: row for row, query in enumerate(queries)}
    found = calibration._fit(lambda some, picks_P: scores_BS[[rows[query] for query in some]][:, picks_P], rank_S)
    wanted = calibrate.fit(np.stack([scores_BS[:, rank_S == video].max(axis=1) for video in range(4)], axis=1))
    assert found.mean_V == pytest.approx(wanted.mean_V, abs=1e-6)
    assert (found.middle, found.spread) == pytest.approx((wanted.middle, wanted.spread), abs=1e-6)


def test_large_indexes_are_fitted_to_fewer_queries_of_every_subject(index, monkeypatch):
    monkeypatch.setattr(calibration, "CELLS", 100)
    asked: list[list[str]] = []
    _, segments = store.load(index)

    def score(queries, picks_P):
        asked.append(list(queries))
        return np.random.default_rng(len(asked)).normal(size=(len(queries), len(picks_P)))

    video_S = np.unique(segments.content_S, return_inverse=True)[1]
    names = [str(number) for number in range(video_S.max() + 1)]
    calibration.calibration_of(index, segments, names, video_S, score)
    assert len(asked[0]) == calibration.LEAST_QUERIES
    places = [background_queries().index(query) for query in asked[0]]
    assert (places[0], places[-1]) == (0, len(background_queries()) - 1)
    assert max(np.diff(places)) <= 4


def test_the_background_queries_are_many_and_different() -> None:
    queries = background_queries()
    assert len(queries) == len(set(queries)) > 200
    assert all(query == query.strip() and len(query) > 3 for query in queries)
    absent = (Path(__file__).parent.parent / "benchmarks" / "calibration_absent.txt").read_text().splitlines()
    assert len(absent) == len(set(absent)) == 50
    assert not set(absent) & set(queries)


@pytest.mark.parametrize(
    ("chances", "none"),
    [([0.2, 0.1], True), ([0.2, 0.5], False), ([0.2, None], False), ([None], False), ([], False), ([1 / 3], False)],
)
def test_nothing_matches_when_every_probability_is_low(chances, none):
    hits = [Hit("/v", 0.0, 1.0, 0.5, 0.5, chance) for chance in chances]
    assert nothing_matches(hits) is none
