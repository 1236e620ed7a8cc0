"""Evaluation: numbers with their protocol, equal however they are cut into blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import FakeMethod
from reelseek.config import EvaluateConfig, SampleConfig
from reelseek.data.pairs import Pairs, Standard
from reelseek.embed import EmbeddedPairs
from reelseek.errors import ConfigError, DataError
from reelseek.evaluation import contrast_percent, evaluate, evaluate_embedded, project_in_blocks, score_embedded
from reelseek.evaluation_bank import drawn, rescorer_of
from reelseek.rank.compare import bootstrap_interval
from reelseek.rank.metrics import retrieval_metrics, video_to_text_metrics
from reelseek.records import Texts, Videos
from reelseek.score.priors import RESCORERS, Bank, rescorer

PLAIN = EvaluateConfig(bootstrap=50)


def random_split(texts: int = 12, videos: int = 7, width: int = 32, seed: int = 1, **changes: Any) -> EmbeddedPairs:
    generator = torch.Generator().manual_seed(seed)
    pairs = Pairs(
        name=f"random {seed}",
        texts=tuple(f"text {n}" for n in range(texts)),
        text_ids=tuple(f"t{n}" for n in range(texts)),
        video_of_T=np.arange(texts) % videos,
        video_ids=tuple(f"v{seed}-{n}" for n in range(videos)),
        paths=tuple(Path(f"v{n}.mp4") for n in range(videos)),
        **changes,
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
    assert (found.protocol["standard"], found.protocol["dropped"]) == ("colours", 0)
    assert (found.protocol["frames"], found.protocol["sampling"]) == (4, "middle")
    (colours / "red.mp4").write_bytes(b"")
    other = SampleConfig(policy="fps", frames=4, fps=0.5, keyframes=True)
    less = evaluate(FakeMethod(), pairs, config=PLAIN, sample=other, cache=tmp_path)
    assert less.protocol["sampling"] == "at most, 0.5 a second, nearest key frames"
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


def test_intervals_draw_videos_with_all_their_texts() -> None:
    split = random_split(texts=30, videos=6)
    found = evaluate_embedded(FakeMethod(), split, config=PLAIN, frames=5)
    owner_T = split.pairs.video_of_T
    for name, interval in found.intervals["text_to_video"].items():
        assert interval == bootstrap_interval(found.ranks_T, name, samples=50, groups_T=owner_T)
    alone = bootstrap_interval(found.ranks_T, "MnR", samples=50)
    assert found.intervals["text_to_video"]["MnR"] != alone


def test_rescoring_is_per_direction_and_labelled() -> None:
    split = random_split()
    config = replace(PLAIN, rescoring="dual_softmax")
    raw = evaluate_embedded(FakeMethod(), split, config=PLAIN, frames=5)
    found = evaluate_embedded(FakeMethod(), split, config=config, frames=5)
    matrix = raw.matrix_TV.astype(np.float64)
    weights_TV = np.exp(100 * matrix) / np.exp(100 * matrix).sum(axis=0, keepdims=True)
    np.testing.assert_allclose(found.matrix_TV, matrix * weights_TV, atol=1e-5)
    weights_TV = np.exp(100 * matrix) / np.exp(100 * matrix).sum(axis=1, keepdims=True)
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


@pytest.mark.parametrize("ties", ["against", "mean", "for"])
def test_ranks_and_intervals_follow_the_rule_of_ties(ties: Any) -> None:
    split = random_split()
    split.videos.frames_VFD[:], split.videos.mask_VF[:] = split.videos.frames_VFD[:1], split.videos.mask_VF[:1]
    found = evaluate_embedded(FakeMethod(), split, config=replace(PLAIN, ties=ties), frames=5)
    assert set(found.ranks_T) == {{"against": 7, "mean": 4, "for": 1}[ties]}
    assert set(found.intervals["text_to_video"]["MnR"]) == {found.metrics["text_to_video"]["MnR"]}


BANK = random_split(texts=9, videos=5, seed=2)


def scores(texts: EmbeddedPairs, videos: EmbeddedPairs) -> torch.Tensor:
    return FakeMethod().score(texts.texts, videos.videos).matrix_TV


@pytest.mark.parametrize("name", [name for name, kind in RESCORERS.items() if "bank" in kind.priors])
def test_a_bank_corrects_each_direction_by_its_own_queries(name: str) -> None:
    split = random_split(texts=13)
    unit_B, unit_T = (torch.nn.functional.normalize(part.texts.pooled_TD, dim=-1) for part in (BANK, split))
    mean_B, mean_V = (
        torch.nn.functional.normalize(
            torch.stack([f[m].mean(0) for f, m in zip(part.videos.frames_VFD, part.videos.mask_VF, strict=True)]),
            dim=-1,
        )
        for part in (BANK, split)
    )
    raw_TV, relevance = scores(split, split), split.pairs.relevance_TV()
    forth = rescorer(name, "bank", bank=Bank(scores(BANK, split), mean_B @ mean_V.T)).apply(raw_TV)
    back = rescorer(name, "bank", bank=Bank(scores(split, BANK).T, unit_B @ unit_T.T)).apply(raw_TV.T).T
    config = replace(PLAIN, rescoring=name, prior="bank", block=3)
    found = evaluate_embedded(FakeMethod(), split, config=config, frames=5, bank=BANK)
    np.testing.assert_allclose(found.matrix_TV, forth, atol=1e-5)
    assert found.metrics["text_to_video"] == pytest.approx(retrieval_metrics(forth, relevance))
    assert found.metrics["video_to_text"] == pytest.approx(video_to_text_metrics(back, relevance))
    assert (found.protocol["bank_texts"], found.protocol["bank_videos"]) == (9, 5)
    assert found.protocol["prior"] == "bank"
    assert not found.protocol["transductive"]


@pytest.mark.parametrize(("prior", "said"), [("test", "all test queries"), ("batch", "batches of 4 test queries")])
def test_priors_of_test_queries_are_named_and_transductive(prior: Any, said: str) -> None:
    config = replace(PLAIN, rescoring="csls", prior=prior, prior_batch=4)
    found = evaluate_embedded(FakeMethod(), random_split(), config=config, frames=5)
    assert found.protocol["prior"] == said
    assert said in found.protocol["rescoring"]
    assert found.protocol["transductive"]
    assert found.protocol["bank_texts"] == 0
    plain = evaluate_embedded(FakeMethod(), random_split(), config=PLAIN, frames=5, bank=BANK).protocol
    assert (plain["prior"], plain["bank_texts"], plain["bank_videos"]) == ("none", 0, 0)


def test_a_bank_is_drawn_by_seed_and_counted() -> None:
    config = replace(PLAIN, rescoring="nnn", prior="bank", bank_size=3)
    part = drawn(BANK, config)
    assert len(part.pairs.texts) == len(part.texts.pooled_TD) == 3
    assert len(part.pairs.video_ids) == len(part.videos.mask_VF)
    for row, text in enumerate(part.pairs.text_ids):
        assert torch.equal(part.texts.pooled_TD[row], BANK.texts.pooled_TD[BANK.pairs.text_ids.index(text)])
    for row, video in enumerate(part.pairs.video_ids):
        assert torch.equal(part.videos.frames_VFD[row], BANK.videos.frames_VFD[BANK.pairs.video_ids.index(video)])
    chosen = {drawn(BANK, replace(config, bank_seed=seed)).pairs.text_ids for seed in range(6)}
    assert len(chosen) > 1
    found = evaluate_embedded(FakeMethod(), random_split(), config=config, frames=5, bank=BANK)
    assert found.protocol["bank_texts"] == 3
    again = evaluate_embedded(FakeMethod(), random_split(), config=config, frames=5, bank=part)
    assert found.metrics == again.metrics


def test_settings_of_rescoring_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    split = random_split()
    for changes, words in (
        ({"rescoring": "nnn", "prior": "bank"}, "needs a training split"),
        ({"rescoring": "nnn", "rescoring_scale": 3.0}, "NNN has no scale; its parameters are alpha, k"),
        ({"rescoring": "dual_is"}, "cannot read the prior 'test'"),
    ):
        with pytest.raises(ConfigError, match=words):
            evaluate_embedded(FakeMethod(), split, config=replace(PLAIN, **changes), frames=5)
    # These files are not there: what is wrong must be said before any is opened.
    with pytest.raises(ConfigError, match="no split was given"):
        evaluate(FakeMethod(), split.pairs, config=replace(PLAIN, rescoring="nnn", prior="bank"), cache=tmp_path)
    for unread in ({"prior": "bank"}, {"rescoring_gallery_scale": 2.0}, {"rescoring_k": 3, "prior": "batch"}):
        with pytest.raises(ConfigError, match=f"evaluate.{next(iter(unread))} is .* while evaluate.rescoring is none"):
            evaluate(FakeMethod(), split.pairs, config=replace(PLAIN, **unread), cache=tmp_path)
    with pytest.raises(ConfigError, match="CSLS has no scale"):
        evaluate(FakeMethod(), split.pairs, config=replace(PLAIN, rescoring="csls", rescoring_scale=2.0))


def test_a_bank_of_tested_videos_is_refused() -> None:
    config = replace(PLAIN, rescoring="nnn", prior="bank")
    with pytest.raises(DataError, match="7 of the videos of the bank are tested"):
        evaluate_embedded(FakeMethod(), random_split(), config=config, frames=5, bank=random_split())
    with pytest.raises(DataError, match="7 of the videos of the bank are tested"):
        evaluate(FakeMethod(), random_split().pairs, config=config, bank=random_split().pairs)


def test_a_bank_of_files_is_embedded_too(colours: Path, tmp_path: Path) -> None:
    def of(*names: str) -> Pairs:
        return Pairs(
            name=f"colours {names[0]}",
            texts=tuple(f"something {name}" for name in names),
            text_ids=names,
            video_of_T=np.arange(len(names)),
            video_ids=names,
            paths=tuple(colours / f"{name}.mp4" for name in names),
        )

    config = replace(PLAIN, rescoring="inverted_softmax", prior="bank")
    found = evaluate(FakeMethod(), of("red", "green"), config=config, cache=tmp_path, bank=of("blue"))
    assert found.protocol["bank_videos"] == 1
    assert found.matrix_TV.shape == (2, 2)
    for seed in range(4):
        config = replace(config, bank_size=1, bank_seed=seed)
        found = evaluate(FakeMethod(), of("red"), config=config, cache=tmp_path, bank=of("green", "blue"))
        chosen = of("green", "blue").draw(1, seed)
        assert found.protocol["bank_texts"] == 1
        alone = evaluate(FakeMethod(), of("red"), config=config, cache=tmp_path, bank=chosen)
        np.testing.assert_array_equal(found.matrix_TV, alone.matrix_TV)


@pytest.mark.parametrize(
    ("convention", "ties"), [("best_caption", "against"), ("any_caption", "mean"), ("best_caption", "clip4clip")]
)
def test_further_true_matches_are_ranked_beside_the_strict_ones(convention: Any, ties: Any) -> None:
    split = random_split(extra_relevance=((0, 3), (5, 1), (11, 0)))
    config = replace(PLAIN, video_to_text=convention, ties=ties)
    found = evaluate_embedded(FakeMethod(), split, config=config, frames=5)
    corrected = split.pairs.relevance_TV(corrected=True)
    matrix, owner = found.matrix_TV, split.pairs.video_of_T
    assert list(found.metrics) == [
        "text_to_video", "video_to_text", "text_to_video_corrected", "video_to_text_corrected",
    ]  # fmt: skip
    usual = "against" if ties == "clip4clip" else ties
    assert found.metrics["text_to_video_corrected"] == retrieval_metrics(matrix, corrected, usual)
    assert found.metrics["video_to_text_corrected"] == video_to_text_metrics(
        matrix, corrected, convention, usual, owner_T=owner
    )
    strict = evaluate_embedded(FakeMethod(), random_split(), config=config, frames=5)
    assert list(strict.metrics) == ["text_to_video", "video_to_text"]
    for way, values in strict.metrics.items():
        assert found.metrics[way] == values
    assert strict.protocol["relevance"] == "strict"
    assert "3 further true matches" in found.protocol["relevance"]
    assert ("(ties against)" in found.protocol["relevance"]) == (ties == "clip4clip")


def test_ties_that_a_convention_does_not_know_are_refused() -> None:
    config = replace(PLAIN, ties="clip4clip", video_to_text="any_caption")
    for call in (
        lambda split: evaluate_embedded(FakeMethod(), split, config=config, frames=5),
        lambda split: evaluate(FakeMethod(), split.pairs, config=config),
    ):
        with pytest.raises(ConfigError, match="best_caption"):
            call(random_split())
    single = random_split(texts=7)
    found = evaluate_embedded(FakeMethod(), single, config=config, frames=5)
    same = evaluate_embedded(FakeMethod(), single, config=replace(config, video_to_text="best_caption"), frames=5)
    assert found.metrics == same.metrics


def test_contrasts_are_asked_of_the_raw_scores_with_a_margin() -> None:
    rows = ((0, 0, 3), (4, 4, 1), (5, 5, 2))
    split = random_split(contrasts={"order": rows, "nothing": ()})
    matrix = scores(split, split)
    wins = sum(float(matrix[text, right] - matrix[text, wrong]) > 1e-5 for text, right, wrong in rows)
    for rescoring in ("none", "dual_softmax"):
        config = replace(PLAIN, rescoring=rescoring)
        found = evaluate_embedded(FakeMethod(), split, config=config, frames=5)
        assert found.contrasts == {"order": pytest.approx(100 * wins / 3)}
        assert found.protocol["contrasts"] == {"order": 3}
    matrix = np.array([[0.5, 0.5 + 1e-6, 0.4, 0.50002]], dtype=np.float32)
    assert contrast_percent(matrix, [(0, 1, 0), (0, 0, 1)]) == 0
    assert contrast_percent(matrix, [(0, 0, 2), (0, 1, 2), (0, 3, 0), (0, 2, 0)]) == 75
    with pytest.raises(ValueError, match="no contrasts"):
        contrast_percent(matrix, [])
    with pytest.raises(ValueError, match="NaN"):
        contrast_percent(np.full((1, 2), np.nan), [(0, 0, 1)])


@pytest.mark.parametrize("rescoring", ["none", *RESCORERS])
@pytest.mark.parametrize(("texts", "videos"), [(1, 1), (5, 1), (3, 6)])
def test_splits_of_every_shape_have_numbers(rescoring: Any, texts: int, videos: int) -> None:
    split = random_split(texts=texts, videos=videos)
    prior: Any = "bank" if rescoring in ("dual_is", "dual_dis", "sinkhorn_bias") else "test"
    config = replace(PLAIN, rescoring=rescoring, prior=prior)
    found = evaluate_embedded(FakeMethod(), split, config=config, frames=5, bank=BANK)
    assert found.matrix_TV.shape == (texts, videos)
    assert all(np.isfinite(value) for values in found.metrics.values() for value in values.values())
