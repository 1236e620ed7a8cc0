"""Learning a head: the two sides, the scores of a step as loops, what helps and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adapt_toy import CLIPS, colours, library, mark, mark_all, query_of, toy
from reelseek.adapt import choose as choosing
from reelseek.adapt import outcome as judging
from reelseek.adapt.captions import captions_of
from reelseek.adapt.examples import Caption, Example, digest, divide, examples_of, folds
from reelseek.adapt.learn import LEARNING_RATE, Setting, by_video, found_right, learn, material, pick
from reelseek.adapt.outcome import Outcome, teach
from reelseek.errors import DataError
from reelseek.index import cards
from reelseek.index import judged as judging_marks
from reelseek.index.cards import MARKS
from reelseek.index.judged import JudgedQuery, alike, encode_in_parts, judged, relevance, video_scores
from reelseek.index.loaded import gather
from reelseek.index.marks import Mark, folded, read_marks
from reelseek.index.search import Searcher
from reelseek.index.store import list_files
from reelseek.losses.contrastive import judged_info_nce
from reelseek.methods.text_head import TextHead
from reelseek.rank.compare import PairedResult
from reelseek.records import Texts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("toy"), toy())


@pytest.fixture
def index(made: Path) -> Path:
    (made / MARKS).unlink(missing_ok=True)
    return made


@pytest.fixture(autouse=True)
def _few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "SETTINGS", (Setting(8, 0.0),))
    monkeypatch.setattr(choosing, "STOPS", (20, 60))


def searcher_of(index: Path) -> Searcher:
    return Searcher(cards.open_index(index), toy())


def marked(index: Path) -> list[Example]:
    return examples_of(judged(read_marks(index), [row.content_hash for row in list_files(index)]).queries, [])


def a_mark(query: str, content: str, good: bool, peak: float = 0.0) -> Mark:
    return Mark(query, f"/{content}.mp4", content, peak, peak + 1, peak, good, 1.0)


def test_marks_become_queries() -> None:
    marks = [
        a_mark("A  dog", "a", True),
        a_mark("a dog", "a", True, 5.0),
        a_mark("a dog", "a", False, 9.0),  # another moment of a right video
        a_mark("a dog", "b", False),
        a_mark("a dog", "gone", True),
        a_mark("a cat", "gone", True),
        a_mark("a bird", "b", False),
    ]
    found = judged(marks, ["a", "b", "c"])
    assert found.queries == [JudgedQuery("A  dog", {"a": ((0.0, 1.0), (5.0, 6.0))}, frozenset({"b"}))]
    assert (found.right, found.wrong, found.gone, found.unanswerable) == (2, 3, 2, 2)
    right_TV, wrong_TV = relevance(found.queries, ["c", "b", "a"])
    assert right_TV.tolist() == [[False, False, True]]
    assert wrong_TV.tolist() == [[False, True, False]]
    assert [side_TV.tolist() for side_TV in relevance(found.queries, ["c"])] == [[[False]], [[False]]]


def test_texts_encoded_in_parts_may_be_used_in_training() -> None:
    for count in (1, 40):
        asked: list[int] = []

        def encode(texts: list[str], asked: list[int] = asked) -> Texts:
            asked.append(len(texts))
            return Texts(
                torch.ones(len(texts), 3), torch.ones(len(texts), len(texts[0]), 3), torch.ones(len(texts), 1) > 0
            )

        texts = encode_in_parts(encode, ["red"] * count)
        assert asked == ([1] if count == 1 else [32, 8])
        assert len(texts.pooled_TD) == count
        for tensor in texts[:3]:
            assert not tensor.is_inference()


def test_queries_with_the_same_right_videos_are_alike() -> None:
    right_TV = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1]], bool)
    group_T = alike(right_TV)
    for a in range(6):
        for b in range(6):
            assert (group_T[a] == group_T[b]) == (right_TV[a].tolist() == right_TV[b].tolist())


def test_a_video_scores_its_best_segment(index: Path) -> None:
    searcher = searcher_of(index)
    loaded = searcher.loaded
    with torch.inference_mode():
        texts = searcher.encode([query_of(colour) for colour in colours()[:3]])
    found = video_scores(searcher, loaded, texts)
    assert found.shape == (3, CLIPS)
    for t in range(3):
        one = texts.each(lambda tensor, row=t: tensor[row : row + 1])
        for video in range(CLIPS):
            with torch.inference_mode():
                scores = [float(searcher.score(loaded, one, np.array([s]))[0]) for s in loaded.segments_V[video]]
            assert len(scores) == 2
            assert found[t, video] == pytest.approx(max(scores), abs=1e-6)
    best = searcher.search(query_of(colours()[0]), 1)[0]
    assert best.score == pytest.approx(float(found[0].max()), abs=1e-6)


def test_videos_stored_in_any_order_and_some_texts_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging_marks, "SCORES_AT_ONCE", 14)  # two texts with six segments
    video_S = np.array([2, 0, 1, 2, 0, 2])
    scores_TS = np.random.default_rng(0).normal(size=(5, 6))
    asked: list[int] = []

    def score_many(loaded: object, texts: Texts, picks_P: np.ndarray) -> np.ndarray:
        asked.append(len(texts.pooled_TD))
        return scores_TS[texts.pooled_TD[:, 0].long().numpy()][:, picks_P]

    texts = Texts(torch.arange(5.0)[:, None])
    found = video_scores(SimpleNamespace(score_many=score_many), SimpleNamespace(video_S=video_S), texts)  # type: ignore[arg-type]
    assert asked == [2, 2, 1]
    assert found.tolist() == [[max(row[video_S == video]) for video in range(3)] for row in scores_TS]


def test_sides_are_by_group_and_stay_as_others_come() -> None:
    captions = [Caption(f"caption {n} {k}", f"video {n}") for n in range(60) for k in range(2)]
    captions += [Caption("the same words", f"video {n}") for n in (1, 2)]
    queries = [JudgedQuery(f"query {n}", {f"video {n}": ((0.0, 1.0),)}, frozenset()) for n in range(60)]
    few, many = divide(examples_of(queries[:30], captions)), divide(examples_of(queries, captions))
    assert {e.text for e in few.train} <= {e.text for e in many.train}
    assert {e.text for e in few.held_out} <= {e.text for e in many.held_out}
    first = divide(examples_of(queries, [caption for caption in captions if not caption.text.endswith(" 1")]))
    assert {e.text for e in first.train} <= {e.text for e in many.train}
    assert {e.text for e in first.held_out} <= {e.text for e in many.held_out}
    for sides in (few, many):
        groups = [{e.group for e in side} for side in sides]
        assert not groups[0] & groups[1]
        side_of = {e.text: n for n, side in enumerate(sides) for e in side}
        for n in range(60):
            assert side_of[f"caption {n} 0"] == side_of[f"caption {n} 1"]
        assert len({side_of[f"caption {n} {k}"] for n in (1, 2) for k in (0, 1)} | {side_of["the same words"]}) == 1
    assert 0.25 < len(many.held_out) / (len(many.train) + len(many.held_out)) < 0.55
    assert many.held_out != divide(examples_of(queries, captions), seed=1).held_out
    assert many == divide(examples_of(queries[::-1], captions[::-1]))
    seen = [digest(folded(many.held_out[0].text))]
    moved = divide(examples_of(queries, captions), seen=seen)
    assert {e.text for e in many.held_out} - {e.text for e in moved.held_out} == {
        e.text for e in many.held_out if e.group == many.held_out[0].group
    }


def test_a_caption_that_repeats_a_query_is_one_example() -> None:
    query = JudgedQuery("A dog", {"a": ((0.0, 1.0),)}, frozenset({"b", "c"}))
    (example,) = examples_of([query], [Caption("a  DOG", "b"), Caption("a dog", "a", (2.0, 3.0))])
    assert example.right == {"a": ((0.0, 1.0), (2.0, 3.0)), "b": ((0.0, float("inf")),)}
    assert (example.text, example.wrong, example.source) == ("A dog", frozenset({"c"}), "marks")


def test_a_query_typed_in_bytes_that_are_no_text_is_an_example() -> None:
    queries = [JudgedQuery(text, {"a": ((0.0, 1.0),)}, frozenset()) for text in ("caf\udce9", "caf\udce8")]
    assert len({example.group for example in examples_of(queries, [])}) == 2


def test_folds_hold_every_example_once_and_no_group_twice() -> None:
    examples = examples_of([], [Caption(f"caption {n} {k}", f"video {n}") for n in range(7) for k in range(3)])
    parts = folds(examples)
    assert sorted(row for part in parts for row in part) == list(range(21))
    groups = [{examples[row].group for row in part} for part in parts]
    assert sorted(len(group) for group in groups) == [2, 2, 3]
    # the same in every process: by a hash of the group, three in turn
    order = sorted({example.group for example in examples}, key=lambda group: digest(f"fold {group}"))
    assert groups == [set(order[fold::3]) for fold in range(3)]
    assert len(folds(examples[:3])) == 1


def test_the_segments_that_were_found_right(index: Path) -> None:
    loaded = searcher_of(index).loaded
    own = loaded.segments_V[0]
    starts = loaded.segments.start_S[own]
    assert len(own) == 2
    assert found_right(loaded, 0, [(0.0, 0.0)]).tolist() == own[:1].tolist()
    assert found_right(loaded, 0, [(starts[1], starts[1])]).tolist() == own[1:].tolist()
    assert found_right(loaded, 0, [(0.0, float("inf"))]).tolist() == own.tolist()
    assert found_right(loaded, 0, [(0.0, 0.1), (starts[1] + 0.1, 9.0)]).tolist() == own.tolist()
    assert found_right(loaded, 0, [(99.0, 99.0)]).tolist() == own[1:].tolist()
    times = SimpleNamespace(start_S=np.array([0.0, 2.0, 4.0]), end_S=np.array([2.0, 4.0, 6.0]))
    three = SimpleNamespace(segments_V=[np.arange(3)], segments=times)
    found = [found_right(three, 0, [span]).tolist() for span in ((6.0, 6.0), (2.0, 2.0), (1.0, 4.0), (1.0, 4.1))]
    assert found == [[2], [1], [0, 1], [0, 1, 2]]


def test_scores_of_a_step_are_those_of_loops(index: Path) -> None:
    searcher = searcher_of(index)
    first = searcher.loaded.contents_V
    later = float(searcher.loaded.segments.start_S[searcher.loaded.segments_V[1][1]])
    examples = [
        Example("x", {first[0]: ((0.0, 0.1),), first[1]: ((later, later),)}, frozenset({first[2]}), "marks", "g"),
        Example("y", {first[3]: ((0.0, 99.0),)}, frozenset(), "marks", "h"),
    ]
    with torch.inference_mode():
        texts = searcher.encode(["colour 1 2 3", "colour 200 2 3"])
    data = material(searcher, examples, texts.each(torch.clone))
    batch = np.array([0, 1])
    picks = pick(data, batch, np.random.default_rng(0))
    assert picks.tolist() == sorted(set(picks.tolist()))
    assert {0, 1, 2, 3} <= set(searcher.loaded.video_S[picks].tolist())
    scores = torch.randn(2, len(picks), generator=torch.Generator().manual_seed(0))
    matrix_BV, right_BV = by_video(data, batch, picks, scores)
    videos = sorted(set(searcher.loaded.video_S[picks].tolist()))
    for b, example in enumerate(examples):
        for v, video in enumerate(videos):
            content = searcher.loaded.contents_V[video]
            own = [p for p, s in enumerate(picks) if searcher.loaded.video_S[s] == video]
            assert bool(right_BV[b, v]) == (content in example.right)
            if content in example.right:
                meant = found_right(searcher.loaded, video, example.right[content])
                own = [p for p in own if picks[p] in meant]
            assert float(matrix_BV[b, v]) == max(float(scores[b, p]) for p in own)


def test_large_libraries_are_drawn_from_but_judged_videos_are_always_there(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reelseek.adapt.learn.VIDEOS", 5)
    monkeypatch.setattr("reelseek.adapt.learn.SEGMENTS", 1)
    searcher = searcher_of(index)
    names = searcher.loaded.contents_V
    example = Example("x", {names[7]: ((0.0, 99.0),)}, frozenset({names[9]}), "marks", "g")
    with torch.inference_mode():
        texts = searcher.encode(["colour 1 2 3"])
    data = material(searcher, [example], texts.each(torch.clone))
    drawn = set()
    for seed in range(8):
        picks = pick(data, np.array([0]), np.random.default_rng(seed))
        videos = searcher.loaded.video_S[picks].tolist()
        assert {7, 9} <= set(videos)
        assert len(videos) == 5
        drawn.update(videos)
    assert len(drawn) > 10


def test_learning_is_reproducible_and_leaves_the_method_alone(index: Path) -> None:
    mark_all(index, 12)
    searcher = searcher_of(index)
    before = searcher.method.id
    examples = marked(index)
    with torch.inference_mode():
        texts = searcher.encode([example.text for example in examples])
    data = material(searcher, examples, texts.each(torch.clone))
    runs = [list(learn(data, range(12), Setting(4, 1.0), [2, 5], seed=7)) for _ in range(2)]
    assert [len(run) for run in runs] == [2, 2]
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a.up_DR, b.up_DR)
    assert not torch.equal(runs[0][0].up_DR, runs[0][1].up_DR)
    assert searcher.method.id == before
    (strong,) = learn(data, range(12), Setting(4, 1e6), [5], seed=7)
    assert float(strong.up_DR.norm()) < float(runs[0][1].up_DR.norm())


def test_steps_are_those_of_the_loss_as_it_is_told(index: Path) -> None:
    mark_all(index, 12)
    searcher = searcher_of(index)
    with torch.inference_mode():
        texts = searcher.encode([example.text for example in marked(index)]).each(torch.clone)
    # texts of another length: a share of it is what counts
    data = material(searcher, marked(index), texts._replace(pooled_TD=3 * texts.pooled_TD))
    (learnt,) = learn(data, range(12), Setting(4, 2.0), [4], seed=7)
    rng, head = np.random.default_rng(7), TextHead(texts.pooled_TD.shape[1], 4, seed=7)
    optimiser = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    for _ in range(4):
        batch = np.sort(rng.choice(12, 12, replace=False))
        picks = pick(data, batch, rng)
        some = data.texts.each(lambda whole_TD, batch=batch: whole_TD[batch])
        scores = searcher.method.score(head(some), gather(data.loaded, picks, torch.device("cpu"))).matrix_TV
        shares = [
            ((new_D - old_D).norm() / old_D.norm()) ** 2
            for new_D, old_D in zip(head(some).pooled_TD, some.pooled_TD, strict=True)
        ]
        loss = judged_info_nce(*by_video(data, batch, picks, scores), searcher.method.logit_scale.detach())
        wanted = list(head.parameters())
        for parameter, gradient in zip(wanted, torch.autograd.grad(loss + 2 * sum(shares) / 12, wanted), strict=True):
            parameter.grad = gradient
        optimiser.step()
    torch.testing.assert_close(learnt.up_DR, head.up_DR.detach(), rtol=1e-3, atol=1e-5)


def test_it_helps_on_real_marks_and_is_refused_on_shuffled_ones(index: Path) -> None:
    mark_all(index)
    searcher = searcher_of(index)
    good = teach(searcher, marked(index))
    assert good.helps, good.verdict
    assert "It helps" in good.verdict
    assert good.difference.low > 0
    texts = {example.text for example in good.train}
    assert not texts & {example.text for example in good.held_out}
    assert set(good.learnt) == {digest(folded(text)) for text in texts}
    rows = good.rows()
    assert [(row["examples"], row["model"]) for row in rows] == [("all", "before"), ("all", "after")]
    assert rows[1]["MRR"] - rows[0]["MRR"] == pytest.approx(good.difference.difference)
    (index / MARKS).unlink()
    mark_all(index, shuffled=True)
    bad = teach(searcher, marked(index))
    assert not bad.helps, bad.verdict


def test_the_head_that_is_judged_is_the_one_handed_back(index: Path) -> None:
    mark_all(index)
    searcher = searcher_of(index)
    found = teach(searcher, marked(index))
    method = toy()
    method.text_head = found.head
    for example, rank in zip(found.held_out, found.ranks["after"], strict=True):
        texts = method.project(method.encode_texts([example.text]), searcher._blank)[0]
        with torch.inference_mode():
            scores = video_scores(searcher, searcher.loaded, texts)[0]
        (content,) = example.right
        own = searcher.loaded.contents_V.index(content)
        assert rank == 1 + sum(scores[v] >= scores[own] for v in range(CLIPS) if v != own)


def test_a_present_head_is_what_comes_before_and_nothing_piles_up(index: Path) -> None:
    mark_all(index)
    first = teach(searcher_of(index), marked(index))
    method = toy()
    method.text_head = first.head
    searcher = searcher_of(index)
    searcher.method = method
    again = teach(searcher, marked(index), seen=first.learnt)
    assert list(again.ranks) == ["no head", "before", "after"]
    assert again.ranks["before"].tolist() == first.ranks["after"].tolist()
    assert again.ranks["no head"].tolist() == first.ranks["before"].tolist()
    assert torch.equal(again.head.up_DR, first.head.up_DR)
    assert method.text_head is first.head
    assert not again.helps


@pytest.mark.parametrize("count", [1, 3, 8])
def test_too_few_queries_are_refused_with_the_number(index: Path, count: int) -> None:
    mark_all(index, count)
    with pytest.raises(DataError, match=r"are too few: \d independent ones .* 6 held out are the fewest .* About 15"):
        teach(searcher_of(index), marked(index))


def test_six_groups_are_the_fewest_that_a_test_can_tell() -> None:
    assert 2 / 2**judging.FEWEST <= 0.05 < 2 / 2 ** (judging.FEWEST - 1)


def outcome(*, low: float, p_value: float, steps: int = 20) -> Outcome:
    difference = PairedResult(5.0, low, 9.0, p_value, 4.0, 8, 8)
    choice = choosing.Choice(Setting(8, 0.0), steps, 10.0, 20.0)
    return Outcome(TextHead(4, 1), choice, [], [], {}, difference, 0, [])


@pytest.mark.parametrize(
    ("made", "helps", "said"),
    [
        (outcome(low=0.1, p_value=0.01), True, "It helps"),
        (outcome(low=0.0, p_value=0.01), False, "reaches zero or less"),
        (outcome(low=-0.1, p_value=0.01), False, "reaches zero or less"),
        (outcome(low=0.1, p_value=0.06), False, "chance could do as much"),
        (outcome(low=0.1, p_value=0.01, steps=0), False, "nothing was learnt"),
    ],
)
def test_the_decision(made: Outcome, helps: bool, said: str) -> None:
    assert made.helps is helps
    assert said in made.verdict


def test_where_nothing_can_be_learnt_the_head_is_none(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "mean_reciprocal_rank", lambda ranks_N: 50.0)
    mark_all(index)
    found = teach(searcher_of(index), marked(index))
    assert found.choice.steps == 0
    assert found.ranks["before"].tolist() == found.ranks["after"].tolist()
    assert not found.helps


def test_captions_name_files_of_the_index(index: Path, tmp_path: Path) -> None:
    files = list_files(index)
    rows = [
        "video,caption,split,start,end",
        "00.avi,one,,,",
        "films/01,two,train,,",
        f"{files[2].path},three,,0.5,1.5",
        "03.avi,four,test,,",
        "absent.avi,five,,,",
        "05.avi,,,,",
    ]
    table = tmp_path / "captions.csv"
    table.write_text("\n".join(rows) + "\n")
    found = captions_of(table, files)
    contents = [row.content_hash for row in files]
    assert found.captions == [
        Caption("one", contents[0]),
        Caption("two", contents[1]),
        Caption("three", contents[2], (0.5, 1.5)),
    ]
    assert [note.split(": ", 1)[1] for note in found.notes] == [
        "1 captions of the splits val and test left alone.",
        "1 captions of videos that the index does not hold.",
        "1 empty captions.",
    ]


def test_a_name_that_fits_several_videos_is_left_out_unless_one_lies_beside(index: Path, tmp_path: Path) -> None:
    files = list_files(index)
    twice = [files[0], files[1]._replace(path=tmp_path / "other" / "00.avi"), files[2]]
    table = tmp_path / "captions.jsonl"
    table.write_text('{"video": "00.avi", "caption": "one"}\n{"video": "02.avi", "caption": "two"}\n')
    found = captions_of(table, twice)
    assert [caption.text for caption in found.captions] == ["two"]
    assert "1 captions whose name fits several" in found.notes[0]
    beside = tmp_path / "other" / "captions.jsonl"
    beside.parent.mkdir()
    table.rename(beside)
    assert captions_of(beside, twice).captions[0] == Caption("one", files[1].content_hash)
    further = [*twice, files[3]._replace(path=Path("/elsewhere/other/00.avi"))]
    apart = tmp_path / "words" / "captions.csv"
    apart.parent.mkdir()
    apart.write_text("video,caption\n../other/00.avi,one\n")
    assert captions_of(apart, further).captions == [Caption("one", files[1].content_hash)]


@pytest.mark.parametrize("text", ["", "video,caption\n", "name,words\na,b\n", "video,caption\nabsent.mp4,a dog\n"])
def test_a_captions_file_that_is_of_no_use(index: Path, tmp_path: Path, text: str) -> None:
    table = tmp_path / "captions.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=r"captions\.csv"):
        captions_of(table, list_files(index))
    with pytest.raises(DataError, match="No captions file"):
        captions_of(tmp_path / "absent.csv", [])


def test_a_query_with_wrong_answers_alone_is_none(index: Path) -> None:
    for number in range(20):
        mark(index, f"colour {number} 0 0", number, good=False)
    assert marked(index) == []
