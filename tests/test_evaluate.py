"""Evaluation: numbers with their protocol, equal however they are cut into blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import FakeMethod
from reelseek.config import EvaluateConfig, SampleConfig
from reelseek.data.pairs import Pairs, Standard
from reelseek.embed import EmbeddedPairs
from reelseek.errors import ConfigError
from reelseek.evaluation import evaluate, evaluate_embedded, project_in_blocks, score_embedded
from reelseek.evaluation_bank import rescorer_of
from reelseek.rank.metrics import retrieval_metrics
from reelseek.records import Texts, Videos

PLAIN = EvaluateConfig(bootstrap=50)


def random_split(texts: int = 12, videos: int = 7, width: int = 32) -> EmbeddedPairs:
    generator = torch.Generator().manual_seed(1)
    pairs = Pairs(
        name="random test",
        texts=tuple(f"text {n}" for n in range(texts)),
        text_ids=tuple(f"t{n}" for n in range(texts)),
        video_of_T=np.arange(texts) % videos,
        video_ids=tuple(f"v{n}" for n in range(videos)),
        paths=tuple(Path(f"v{n}.mp4") for n in range(videos)),
    )
    mask_VF = torch.rand(videos, 5, generator=generator) > 0.3
    mask_VF[:, 0] = True
    return EmbeddedPairs(
        pairs,
        Texts(torch.randn(texts, width, generator=generator)),
        Videos(torch.randn(videos, 5, width, generator=generator) * mask_VF[..., None], mask_VF),
        [],
    )


def test_real_files_end_to_end(colours: Path, tmp_path: Path) -> None:
    names = ["red", "green", "blue"]
    pairs = Pairs(
        name="colours test",
        texts=tuple(f"something {name}" for name in names),
        text_ids=("a", "b", "c"),
        video_of_T=np.arange(3),
        video_ids=tuple(names),
        paths=tuple(colours / f"{name}.mp4" for name in names),
        standard=Standard("colours", videos=3, texts=3),
    )
    found = evaluate(FakeMethod(), pairs, config=PLAIN, sample=SampleConfig(frames=4), cache=tmp_path)
    assert found.metrics["text_to_video"]["R@1"] == 100
    assert found.metrics["video_to_text"]["R@1"] == 100
    assert found.protocol["complete"]
    (colours / "red.mp4").write_bytes(b"")
    less = evaluate(FakeMethod(), pairs, config=PLAIN, sample=SampleConfig(frames=4), cache=tmp_path)
    assert not less.protocol["complete"]
    assert less.protocol["videos_missing"] == 1
    assert less.protocol["texts_missing"] == 1
    assert len(less.broken) == 1


@pytest.mark.parametrize("block", [1, 3, 100])
def test_blocks_do_not_change_scores(block: int) -> None:
    split = random_split()
    whole = FakeMethod().score(split.texts, split.videos).matrix_TV
    torch.testing.assert_close(score_embedded(FakeMethod(), split.texts, split.videos, block=block), whole)
    texts, videos = project_in_blocks(FakeMethod(), split.texts, split.videos, block=block)
    assert torch.equal(texts.pooled_TD, split.texts.pooled_TD)
    assert torch.equal(videos.frames_VFD, split.videos.frames_VFD)


def test_metrics_are_those_of_the_matrix_and_intervals_hold_them() -> None:
    split = random_split()
    found = evaluate_embedded(FakeMethod(), split, config=PLAIN, frames=5)
    assert found.metrics["text_to_video"] == retrieval_metrics(found.matrix_TV, split.pairs.relevance_TV())
    for name, value in found.metrics["text_to_video"].items():
        low, high = found.intervals["text_to_video"][name]
        assert low <= value <= high
    assert not evaluate_embedded(FakeMethod(), split, config=replace(PLAIN, bootstrap=0), frames=5).intervals


def test_rescoring_is_per_direction_and_labelled() -> None:
    split = random_split()
    config = replace(PLAIN, rescoring="dual_softmax")
    raw = evaluate_embedded(FakeMethod(), split, config=PLAIN, frames=5)
    found = evaluate_embedded(FakeMethod(), split, config=config, frames=5)
    matrix = raw.matrix_TV.astype(np.float64)
    weights_TV = np.exp(100 * matrix) / np.exp(100 * matrix).sum(axis=0, keepdims=True)
    np.testing.assert_allclose(found.matrix_TV, matrix * weights_TV, atol=1e-5)
    weights_TV = np.exp(100 * matrix) / np.exp(100 * matrix).sum(axis=1, keepdims=True)
    from reelseek.rank.metrics import video_to_text_metrics

    expected = video_to_text_metrics(matrix * weights_TV, split.pairs.relevance_TV())
    assert found.metrics["video_to_text"] == pytest.approx(expected)
    assert found.protocol["transductive"]
    assert not raw.protocol["transductive"]


def test_nan_is_refused() -> None:
    split = random_split()
    split.texts.pooled_TD[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"(?i)nan"):
        evaluate_embedded(FakeMethod(), split, config=PLAIN, frames=5)


def test_an_unknown_rescoring_is_refused() -> None:
    with pytest.raises(ConfigError, match="dual_softmax"):
        rescorer_of(replace(PLAIN, rescoring="magic"))  # type: ignore[arg-type]


def test_ties_as_clip4clip_counts_them_leave_intervals_one_rank_a_text() -> None:
    split = random_split(texts=7)
    split.videos.frames_VFD[1], split.videos.mask_VF[1] = split.videos.frames_VFD[0], split.videos.mask_VF[0]
    found = evaluate_embedded(FakeMethod(), split, config=replace(PLAIN, ties="clip4clip"), frames=5)
    assert found.metrics["text_to_video"] == retrieval_metrics(found.matrix_TV, split.pairs.relevance_TV(), "clip4clip")
    strict = evaluate_embedded(FakeMethod(), split, config=PLAIN, frames=5)
    np.testing.assert_array_equal(found.ranks_T, strict.ranks_T)
    assert found.intervals == strict.intervals
