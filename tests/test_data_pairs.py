from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelseek.data.pairs import Pairs, Splits, Standard, pair_up
from reelseek.errors import DataError


def make(video_of_T=(0, 0, 1), videos=3, **changes) -> Pairs:
    fields = {
        "name": "toy test",
        "texts": tuple(f"text {number}" for number in range(len(video_of_T))),
        "text_ids": tuple(f"t{number}" for number in range(len(video_of_T))),
        "video_of_T": np.array(video_of_T),
        "video_ids": tuple(f"v{number}" for number in range(videos)),
        "paths": tuple(Path(f"v{number}.mp4") for number in range(videos)),
    }
    return Pairs(**{**fields, **changes})


def test_relevance_is_strict_unless_corrected():
    pairs = make(extra_relevance=((0, 2), (2, 0)))
    strict = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=bool)
    np.testing.assert_array_equal(pairs.relevance_TV(), strict)
    corrected = strict.copy()
    corrected[0, 2] = corrected[2, 0] = True
    np.testing.assert_array_equal(pairs.relevance_TV(corrected=True), corrected)


@given(st.data())
def test_subset_keeps_every_relation_among_the_chosen(data):
    videos = data.draw(st.integers(1, 6))
    owner = data.draw(st.lists(st.integers(0, videos - 1), min_size=1, max_size=12))
    extra = data.draw(
        st.lists(st.tuples(st.integers(0, len(owner) - 1), st.integers(0, videos - 1)), max_size=6, unique=True)
    )
    pairs = make(
        owner,
        videos,
        extra_relevance=tuple(extra),
        spans=tuple((0.0, 1.0 + v) for v in range(videos)),
        contrasts={"other": tuple((t, own, (own + 1) % videos) for t, own in enumerate(owner) if videos > 1)},
    )
    chosen = data.draw(st.permutations(range(videos)))[: data.draw(st.integers(1, videos))]
    if not any(video in chosen for video in owner):
        with pytest.raises(DataError, match="0 texts"):
            pairs.subset(f"v{video}" for video in chosen)
        return
    part = pairs.subset(f"v{video}" for video in chosen)
    assert part.video_ids == tuple(f"v{video}" for video in chosen)
    assert part.spans == tuple((0.0, 1.0 + video) for video in chosen)
    named = [
        (part.text_ids[text], part.video_ids[right], part.video_ids[wrong])
        for text, right, wrong in part.contrasts["other"]
    ]
    assert named == [
        (f"t{text}", f"v{owner[text]}", f"v{wrong}")
        for text, _, wrong in pairs.contrasts["other"]
        if owner[text] in chosen and wrong in chosen
    ]
    rows = [text for text, video in enumerate(owner) if video in chosen]
    assert part.text_ids == tuple(f"t{text}" for text in rows)
    for corrected in (False, True):
        expected = pairs.relevance_TV(corrected)[np.ix_(rows, chosen)]
        np.testing.assert_array_equal(part.relevance_TV(corrected), expected)


def test_a_video_without_a_caption_is_a_distractor():
    assert make().captions_of("v2") == ()
    assert make().captions_of("v0") == ("text 0", "text 1")
    with pytest.raises(DataError, match="no video 'v9'"):
        make().captions_of("v9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": ("a", "b")}, "2 texts, 3 text ids"),
        ({"text_ids": ("a", "b", "a")}, "text id 'a' appears more than once"),
        ({"video_ids": ("a", "b", "a")}, "video id 'a' appears more than once"),
        ({"paths": (Path("a"),)}, "3 video ids, 1 paths"),
        ({"spans": ((0.0, 1.0),)}, "and 1 spans"),
        ({"spans": ((2.0, 1.0), None, None)}, "'v0' has the span 2.0 to 1.0 s"),
        ({"spans": ((1.0, 1.0), None, None)}, "'v0' has the span 1.0 to 1.0 s"),
        ({"spans": (None, (-1.0, 1.0), None)}, "'v1' has the span -1.0 to 1.0 s"),
        ({"texts": ("a", "b", " ")}, "text 't2' is empty"),
        ({"video_of_T": np.array([0, 1, 3])}, "'t2' belongs to video number 3, but there are 3 videos"),
        ({"video_of_T": np.array([0, 1, -1])}, "video number -1"),
        ({"video_of_T": np.zeros((3, 1))}, "of shape"),
        ({"extra_relevance": ((0, 3),)}, "names \\(0, 3\\) in 3 x 3"),
        ({"extra_relevance": ((0, 1), (3, 0))}, "names \\(3, 0\\) in 3 x 3"),
        ({"extra_relevance": ((-1, 0),)}, "names \\(-1, 0\\) in 3 x 3"),
        ({"extra_relevance": ((0, -1),)}, "names \\(0, -1\\) in 3 x 3"),
        ({"texts": (), "text_ids": (), "video_of_T": np.array([])}, "0 texts and 3 videos"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_unknown_and_repeated_ids_in_a_subset_are_refused():
    with pytest.raises(DataError, match="no video 'v7'"):
        make().subset(["v0", "v7"])
    with pytest.raises(DataError, match="more than once"):
        make().subset(["v0", "v0"])


def test_complete_needs_the_published_counts():
    standard = Standard("Toy test", videos=3, texts=3)
    whole = make(standard=standard)
    assert whole.complete
    assert whole.describe().endswith("; the standard split Toy test")
    assert not whole.subset(["v0", "v1"]).complete
    lacking = replace(make(standard=Standard("Toy test", 4, 4)), missing_videos=("v3",), missing_texts=1)
    assert not lacking.complete
    assert lacking.describe() == (
        "toy test: 3 videos, 3 texts; missing 1 videos and 1 texts; not the standard split Toy test (4 videos, 4 texts)"
    )
    assert make().complete
    assert not make(missing_texts=2).complete
    assert not make(missing_videos=("v9",)).complete
    assert make(missing_texts=2).describe().endswith("missing 0 videos and 2 texts")
    assert not make(dropped=1).complete
    assert make(dropped=1, standard=standard).complete


def test_repeated_captions_and_further_matches_are_counted():
    described = make(texts=("a", "a", "b"), extra_relevance=((0, 2),)).describe()
    assert "3 texts (2 different); 1 further true matches; missing" in described


def test_test_videos_that_were_trained_on_are_refused():
    test = make(corpus="toy")
    with pytest.raises(DataError, match="2 of its 3 videos were in the training set \\(such as 'v0'\\)"):
        test.refuse_seen("toy", ["v0", "v2", "x"])
    test.refuse_seen("toy", ["x"])
    test.refuse_seen("another", ["v0"])


@pytest.mark.parametrize(
    ("seen", "tested", "same"),
    [
        ("films/a.mp4", "films/a.mp4#3-7.5", True),
        ("films/a.mp4#0-2", "films/a.mp4", True),
        ("films/a.MKV#0-2", "films/a.MKV#2-1e+06", True),
        ("films/a.mp4#0-2", "films/b.mp4#0-2", False),
        ("take#1", "take#2", False),
        ("take#1.mp4", "take#2.mp4", False),
        ("a.mp4#one", "a.mp4#two", False),
    ],
)
def test_parts_of_one_file_are_one_video_that_was_trained_on(seen, tested, same):
    test = make(corpus="toy", video_ids=(tested, "v1", "v2"))
    if not same:
        test.refuse_seen("toy", [seen])
        return
    with pytest.raises(
        DataError, match=rf"1 of its 3 videos were in the training set \(such as {re.escape(repr(tested))}\)"
    ):
        test.refuse_seen("toy", [seen])
    test.refuse_seen("another", [seen])


def test_videos_of_a_corpus_of_another_name_are_the_same_by_id_and_texts():
    seen = make(corpus="folder-1")
    prints = seen.fingerprints()
    assert list(prints) == ["v0", "v1"]
    moved = make(corpus="folder-2").subset(["v1", "v2"])
    with pytest.raises(
        DataError, match=r"1 of its 2 videos .* validation set \(such as 'v1', by its name and captions"
    ):
        moved.refuse_seen(seen.corpus, seen.video_ids, prints.values(), part="validation")
    moved.refuse_seen(seen.corpus, seen.video_ids)
    others = (
        make(corpus="folder-2", texts=("text 0", "another", "more")),
        make(corpus="folder-2", video_ids=("a", "b", "c")),
        make(corpus="folder-2", texts=("text 0", "text 1", "new")).subset(["v1"]),
    )
    for other in others:
        other.refuse_seen(seen.corpus, seen.video_ids, prints.values())
    reordered = make((1, 0, 0), corpus="folder-2", texts=("text 2", "text 1", "text 0"))
    assert reordered.fingerprints() == prints


def test_positions_cannot_be_changed_afterwards():
    given_T = np.array([0, 0, 1])
    pairs = make(video_of_T=given_T)
    given_T[0] = 2
    assert pairs.video_of_T.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="read-only"):
        pairs.video_of_T[0] = 1


def test_pair_up_leaves_out_rows_of_other_videos():
    texts, video_of_T = pair_up([("b", "one"), ("x", "two"), ("a", "three")], ["a", "b"])
    assert texts == ("one", "three")
    assert video_of_T.tolist() == [1, 0]


def test_splits_describe_what_there_is():
    assert Splits(test=make()).describe() == make().describe()
    assert len(Splits(make(), None, make()).describe().splitlines()) == 2


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 14), st.integers(0, 3))
def test_drawn_texts_keep_their_videos(owner, count, seed):
    pairs = make(owner, 6)
    part = pairs.draw(count, seed)
    assert len(part.texts) == min(count, len(owner))
    assert part.text_ids == tuple(text for text in pairs.text_ids if text in part.text_ids)
    own = {text: pairs.video_ids[video] for text, video in zip(pairs.text_ids, pairs.video_of_T, strict=True)}
    assert [part.video_ids[video] for video in part.video_of_T] == [own[text] for text in part.text_ids]
    assert set(part.video_ids) == {own[text] for text in part.text_ids}
    assert part.text_ids == pairs.draw(count, seed).text_ids


def test_a_draw_changes_with_its_seed_and_needs_a_count():
    pairs = make(range(50), 50)
    assert len({pairs.draw(5, seed).text_ids for seed in range(5)}) > 1
    with pytest.raises(ValueError, match="at least 1"):
        pairs.draw(0, 0)


@pytest.mark.parametrize("triple", [(3, 0, 1), (0, 3, 1), (0, 0, 3), (0, 1, 1), (-1, 0, 1), (0, -1, 1), (0, 0, -1)])
def test_contrasts_that_name_nothing_are_refused(triple):
    with pytest.raises(DataError, match="contrast 'order'"):
        make(contrasts={"order": (triple,)})
