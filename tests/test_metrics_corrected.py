"""Video-to-text ranks where texts are true of several videos, against loops written from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelseek.rank import ranking
from reelseek.rank.metrics import video_to_text_metrics
from reelseek.rank.ranking import ranks, video_to_text_ranks


@st.composite
def corrected(draw):
    """Scores with many ties, an owner of every text, and relevance that holds the owners and more."""
    texts, videos = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    values = draw(st.lists(st.integers(0, 3), min_size=texts * videos, max_size=texts * videos))
    flags = draw(st.lists(st.booleans(), min_size=texts * videos, max_size=texts * videos))
    owner = np.array(draw(st.lists(st.integers(0, videos - 1), min_size=texts, max_size=texts)))
    relevance = np.array(flags).reshape(texts, videos)
    relevance[np.arange(texts), owner] = True
    return np.array(values, dtype=np.float32).reshape(texts, videos), relevance, owner


def loop_best_caption(matrix, relevance, owner, ties):
    """Every other video is stood for by its best caption that is not true of the asking one."""
    texts, videos = matrix.shape
    found = []
    for asking in range(videos):
        true = [matrix[text, asking] for text in range(texts) if relevance[text, asking]]
        if not true:
            continue
        above = level = 0
        for other in range(videos):
            rivals = [
                matrix[text, asking] for text in range(texts) if owner[text] == other and not relevance[text, asking]
            ]
            if rivals and other != asking:
                above += max(rivals) > max(true)
                level += max(rivals) == max(true)
        found.append(1 + above + {"against": level, "for": 0, "mean": level / 2}[ties])
    return found


@given(corrected(), st.sampled_from(["against", "for", "mean"]), st.integers(1, 20))
def test_best_caption_with_several_true_videos_a_text(case, ties, block):
    matrix, relevance, owner = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK", block)
        found = video_to_text_ranks(matrix, relevance, "best_caption", ties, owner_T=owner)
    assert found.tolist() == pytest.approx(loop_best_caption(matrix, relevance, owner, ties))


@given(corrected(), st.sampled_from(["against", "for", "mean"]), st.integers(1, 20))
def test_any_caption_is_the_rank_in_the_transposed_matrix(case, ties, block):
    matrix, relevance, _ = case
    asking = relevance.any(axis=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK", block)
        found = video_to_text_ranks(matrix, relevance, "any_caption", ties)
    np.testing.assert_allclose(found, ranks(matrix.T[asking], relevance.T[asking], ties))


@given(corrected(), st.sampled_from(["against", "for", "mean"]))
def test_owners_change_nothing_where_relevance_is_strict(case, ties):
    matrix, relevance, owner = case
    strict = np.zeros_like(relevance)
    strict[np.arange(len(owner)), owner] = True
    plain = video_to_text_metrics(matrix, strict, "best_caption", ties)
    assert video_to_text_metrics(matrix, strict, "best_caption", ties, owner_T=owner) == plain


@given(corrected())
def test_more_truth_never_ranks_a_video_lower(case):
    matrix, relevance, owner = case
    strict = np.zeros_like(relevance)
    strict[np.arange(len(owner)), owner] = True
    before = video_to_text_ranks(matrix, strict, "best_caption", "against", owner_T=owner)
    after = video_to_text_ranks(matrix, relevance, "best_caption", "against", owner_T=owner)
    own = strict.any(axis=0)[relevance.any(axis=0)]
    assert (after[own] <= before).all()


def test_scores_are_left_alone_and_nan_is_refused():
    matrix = np.array([[0.3, 0.1], [0.2, 0.4], [0.5, 0.6]], dtype=np.float32)
    relevance = np.array([[1, 0], [1, 1], [0, 1]], dtype=bool)
    owner = np.array([0, 1, 1])
    kept = matrix.copy()
    for convention in ("best_caption", "any_caption"):
        video_to_text_ranks(matrix, relevance, convention, owner_T=owner)
        np.testing.assert_array_equal(matrix, kept)
        for at in np.ndindex(3, 2):
            spoilt = kept.copy()
            spoilt[at] = np.nan
            with pytest.raises(ValueError, match="NaN"):
                video_to_text_ranks(spoilt, relevance, convention, owner_T=owner)


@pytest.mark.parametrize("owner", [[0, 1], [0, 1, 2], [0, -1, 1], [0.0, 1.0, 1.0]])
def test_owners_that_do_not_fit_are_refused(owner):
    with pytest.raises(ValueError, match="owner_T must name one of 2 videos for each of 3 texts"):
        video_to_text_ranks(np.zeros((3, 2)), np.ones((3, 2)), owner_T=owner)


def test_texts_of_several_videos_need_owners_and_a_rule_for_them():
    matrix, relevance = np.zeros((2, 2)), np.array([[1, 1], [0, 1]])
    with pytest.raises(ValueError, match="say which by owner_T"):
        video_to_text_ranks(matrix, relevance)
    with pytest.raises(ValueError, match="text 1 is not relevant to video 0"):
        video_to_text_ranks(matrix, relevance, owner_T=[0, 0])
    with pytest.raises(ValueError, match="clip4clip"):
        video_to_text_ranks(matrix, relevance, ties="clip4clip", owner_T=[0, 1])
    with pytest.raises(ValueError, match="ties must be one of"):
        video_to_text_ranks(matrix, relevance, "any_caption", ties="lucky")


@pytest.mark.parametrize("convention", ["best_caption", "any_caption"])
def test_one_text_and_one_video(convention):
    assert video_to_text_ranks([[0.5]], [[1]], convention, owner_T=[0]).tolist() == [1]
    assert video_to_text_ranks([[0.5, 0.2, 0.9]], [[1, 0, 1]], convention, owner_T=[0]).tolist() == [1, 1]
    assert video_to_text_ranks([[0.5], [0.7]], [[1], [1]], convention, owner_T=[0, 0]).tolist() == [1]
