"""Recipes are plain values by name; an objective is the sum of its parts; a batch has the relevance of its split."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reelseek.config import LossConfig, RunConfig
from reelseek.data import DATASETS
from reelseek.data.pairs import Pairs
from reelseek.errors import ConfigError
from reelseek.losses.contrastive import dual_softmax_loss, info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.methods import METHODS
from reelseek.recipes import RECIPES, recipe
from reelseek.recipes.objective import objective, without_known_positives
from reelseek.recipes.parts import BENCHMARK_PARTS, METHOD_PARTS
from reelseek.recipes.relevance import batch_relevance, rivals_of
from reelseek.records import Scores


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_what_exists(name: str) -> None:
    config = recipe(name)
    assert isinstance(config, RunConfig)
    assert config.data.name in DATASETS
    assert config.method.name in METHODS
    with pytest.raises(FrozenInstanceError):
        config.train.epochs = 1  # type: ignore[misc]


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean gare-msrvtt"):
        recipe("gare-msrvt")
    with pytest.raises(ConfigError, match=r"METHOD one of clip4clip-meanp, .*; BENCHMARK one of motions, "):
        recipe("zzz")
    with pytest.raises(ConfigError, match=r"no form 'papr' of a recipe. The forms are clean and paper"):
        recipe("gare-msrvtt", form="papr")
    with pytest.raises(ConfigError, match="as-released"):
        recipe("gare-msrvtt", preset="as-relased")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gare-msrvtt-9k", r"are gare-msrvtt, gare-msrvtt-7k, gare-msrvtt-full\.$"),
        ("gare-baseline-msrvtt-1k", r"are gare-baseline-msrvtt, "),
        ("gare-msvd-2", r"Did you mean gare-msvd\?$"),
        ("camoe-dls-msrvtt", r"Did you mean camoe-dsl-msrvtt\?$"),
        ("gare-hf", r"no recipe of its own: take another one's, gare-folder --data\.name hf\.$"),
        ("gare-webdataset", r"gare-folder --data\.name webdataset\.$"),
        ("camoe-activitynet-val2", r"camoe-activitynet --data\.name activitynet-val2\.$"),
        ("camoe", r"METHOD one of "),
        ("clip4clip", r"METHOD one of "),
        ("gare-", r"METHOD one of "),
        ("", r"METHOD one of "),
    ],
)
def test_a_hint_leads_to_no_other_benchmark(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        recipe(name)


def test_a_benchmark_has_the_name_of_its_data_too() -> None:
    for name in METHOD_PARTS:
        for part in BENCHMARK_PARTS:
            found = recipe(f"{name}-{part}")
            assert recipe(f"{name}-{found.data.name}") == found
    assert recipe("gare-msrvtt-1ka-9k", form="paper") == recipe("gare-msrvtt", form="paper")


def test_recipes_are_every_method_on_every_benchmark() -> None:
    assert len(RECIPES) == len(METHOD_PARTS) * len(BENCHMARK_PARTS) == 112
    assert {recipe(name).data.name for name in RECIPES} == {
        recipe(f"gare-{part}").data.name for part in BENCHMARK_PARTS
    }
    for name, part in METHOD_PARTS.items():
        configs = [recipe(f"{name}-{benchmark}") for benchmark in BENCHMARK_PARTS]
        assert {config.method.name for config in configs} == {part.method.name}
        assert {(config.loss, config.evaluate) for config in configs} == {(part.loss, part.evaluate)}


def test_what_the_papers_settle_for_a_benchmark() -> None:
    frames = {part: recipe(f"clip4clip-meanp-{part}").sample.frames for part in BENCHMARK_PARTS}
    assert {part for part, count in frames.items() if count == 64} == {"didemo", "activitynet"}
    assert (frames["msrvtt"], frames["msvd"], frames["exercises"]) == (12, 12, 2)
    assert recipe("gare-msvd").method.temporal == recipe("gare-baseline-msvd").method.temporal == "mean"
    assert recipe("clip4clip-seqtransf-msvd").method.temporal == "transformer"
    at = recipe("gare-activitynet")
    assert (at.method.side, at.method.context, at.method.sign, at.train.epochs) == ("video", "words", 1, 10)
    assert recipe("gare-didemo").method.side == "text"
    assert recipe("clip4clip-seqtransf-activitynet").train.epochs == 5
    for name, method, loss, rescoring in [
        ("camoe", "camoe", "info_nce", "none"),
        ("camoe-dsl", "camoe", "dual_softmax", "dual_softmax"),
        ("camoe-gare-dsl", "camoe-gare", "dual_softmax", "dual_softmax"),
    ]:
        config = recipe(f"{name}-msrvtt")
        assert (config.method.name, config.loss.contrastive) == (method, loss)
        assert config.evaluate.rescoring == rescoring


def test_what_the_clean_form_trains_with() -> None:
    for name, make in RECIPES.items():
        config, over_clip = make(), make().method.backbone != "offline"
        train, sample = config.train, config.sample
        rates = (train.learning_rate, train.backbone_learning_rate)
        assert (rates, sample.policy) == (((1e-4, 1e-6), "fps") if over_clip else ((1e-3, 0.0), "middle")), name
        assert (train.optimizer, train.batch_size, train.weight_decay, train.warmup) == ("adamw", 128, 0.2, 0.1), name
        long = name in ("gare-activitynet", "gare-baseline-activitynet")
        assert (train.epochs, sample.fps) == ((10 if long else 5) if over_clip else 20, 1.0), name
        assert config.method.frame_temperature == (3.0 if over_clip or "gare" not in config.method.name else 10.0), name
        assert config.loss.mask_known_positives, name
    for name in ("clip4clip-seqtransf", "gare-baseline", "gare"):
        assert (recipe(f"{name}-msrvtt").method.temporal, recipe(f"{name}-msrvtt").method.layers) == ("transformer", 4)
    experts = recipe("camoe-msrvtt").method
    assert (experts.fusion_aggregation, experts.entity_aggregation, experts.action_aggregation, experts.temporal) == (
        *("mean", "se", "attention"),
        "mean",
    )


OVER_CLIP = [name for name in RECIPES if recipe(name).train.backbone_learning_rate > 0]


@pytest.mark.parametrize("name", OVER_CLIP)
def test_the_paper_form_changes_the_loop_and_what_the_release_has(name: str) -> None:
    clean, published = recipe(name), recipe(name, form="paper")
    train = published.train
    assert (train.optimizer, train.learning_rate, train.backbone_learning_rate) == ("bertadam", 1e-4, 1e-7)
    assert (train.weight_decay, train.batch_size, train.freeze_layers) == (0.2, 128, 0)
    assert train.schedule_epochs == (5 if clean.method.name.startswith("gare") else 0)
    assert (train.epochs, published.data, published.sample) == (clean.train.epochs, clean.data, clean.sample)
    assert not published.loss.mask_known_positives
    assert published.evaluate == clean.evaluate
    if clean.method.name == "gare":
        assert published == recipe(name, form="paper", preset="as-released")
        assert published.method.padding == "counted"
    else:
        assert published.method == clean.method


@pytest.mark.parametrize("name", sorted(set(RECIPES) - set(OVER_CLIP)))
def test_frozen_towers_have_no_paper_form(name: str) -> None:
    with pytest.raises(ConfigError, match="no paper form over frozen offline towers"):
        recipe(name, form="paper")


def test_a_preset_goes_over_either_form() -> None:
    found = recipe("gare-motions", preset="as-described")
    assert (found.loss.kl_weight, found.loss.kl_reduction) == (0.07, "mean")
    assert recipe("gare-msrvtt", form="paper", preset="as-described").loss.kl_weight == 0.07
    assert recipe("gare-msrvtt", form="paper", preset="as-described").train.optimizer == "bertadam"


def test_recipes_import_no_torch() -> None:
    code = "import sys, reelseek.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def scores(batch: int = 6, width: int = 8) -> Scores:
    generator = torch.Generator().manual_seed(0)
    matrix_TV = torch.rand(batch, batch, generator=generator) * 2 - 1
    return Scores(matrix_TV, torch.randn(batch, batch, width, generator=generator))


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    weights = {"kl_weight": 0.3, "direction_weight": 0.2, "norm_weight": 0.1}
    config = LossConfig(**weights, alpha=0.7, norm_bound=0.01, kl_reduction="mean", prior_sigma=0.5)
    made = scores()
    found = objective(config)(made, torch.tensor(20.0), None)
    terms = gare_regularisers(made.increments, alpha=0.7, norm_bound=0.01, kl_reduction="mean", prior_sigma=0.5)
    expected = info_nce(made.matrix_TV, 20.0) + 0.3 * terms["kl"] + 0.2 * terms["direction"] + 0.1 * terms["norm"]
    torch.testing.assert_close(found["total"], expected)
    assert set(found) == {"total", "info_nce", "kl", "direction", "norm"}


def test_without_increments_or_weights_only_the_contrastive_part_is_left() -> None:
    made = scores()
    for config, given in ((LossConfig(), made._replace(increments=None)), (_unweighted(), made)):
        found = objective(config)(given, torch.tensor(20.0), None)
        torch.testing.assert_close(found["total"], info_nce(made.matrix_TV, 20.0))
        assert set(found) == {"total", "info_nce"}


def _unweighted() -> LossConfig:
    return LossConfig(kl_weight=0.0, direction_weight=0.0, norm_weight=0.0)


def test_known_positives_leave_the_sums() -> None:
    made = scores(4)
    relevance_TV = torch.eye(4, dtype=torch.bool)
    relevance_TV[0, 1] = relevance_TV[1, 0] = True
    config = replace(_unweighted(), contrastive="info_nce")
    found = objective(config)(made, torch.tensor(5.0), relevance_TV)["total"]
    logits = (5 * made.matrix_TV).tolist()
    rows = []
    for direction in (logits, [list(column) for column in zip(*logits, strict=True)]):
        for i in range(4):
            kept = [direction[i][j] for j in range(4) if i == j or not relevance_TV[i, j]]
            rows.append(np.log(np.exp(kept).sum()) - direction[i][i])
    assert float(found) == pytest.approx(np.mean(rows), rel=1e-5)
    unmasked = objective(replace(config, mask_known_positives=False))(made, torch.tensor(5.0), relevance_TV)["total"]
    torch.testing.assert_close(unmasked, info_nce(made.matrix_TV, 5.0))


def test_dual_softmax_takes_known_positives_out_too() -> None:
    made = scores(4)
    relevance_TV = torch.eye(4, dtype=torch.bool)
    relevance_TV[2, 3] = True
    config = replace(_unweighted(), contrastive="dual_softmax", dual_softmax_temperature=10.0)
    found = objective(config)(made, torch.tensor(5.0), relevance_TV)["total"]
    masked = without_known_positives(made.matrix_TV, relevance_TV)
    torch.testing.assert_close(found, dual_softmax_loss(masked, 5.0, temperature=10.0))
    assert torch.isfinite(found)


SIX_TEXTS = Pairs(
    name="x",
    texts=tuple("abcdef"),
    text_ids=tuple("abcdef"),
    video_of_T=np.array([0, 0, 1, 2, 2, 3]),
    video_ids=tuple("wxyz"),
    paths=tuple(Path(name) for name in "wxyz"),
)


def test_batch_relevance_is_that_of_the_split() -> None:
    pairs = replace(SIX_TEXTS, extra_relevance=((0, 3), (5, 0)))
    rows = np.array([5, 1, 0, 4])
    expected = pairs.relevance_TV(corrected=True)[rows][:, pairs.video_of_T[rows]]
    assert np.array_equal(batch_relevance(pairs, rows).numpy(), expected)


def test_true_matches_are_walked_once_for_all_batches() -> None:
    class Walked(tuple):
        times = 0

        def __iter__(self):
            Walked.times += 1
            return super().__iter__()

    pairs = replace(SIX_TEXTS, extra_relevance=Walked(((0, 3), (5, 0))))
    checked = Walked.times
    for rows in ([5, 1], [0, 4], [2, 3]):
        batch_relevance(pairs, np.array(rows))
    assert Walked.times == checked + 1


def test_rivals_of_a_text_come_from_all_its_contrasts() -> None:
    contrasts = {"swap": ((0, 0, 2), (4, 2, 0), (3, 2, 0)), "colour": ((0, 0, 1), (2, 1, 0), (1, 0, 3))}
    pairs = replace(SIX_TEXTS, contrasts=contrasts)
    assert rivals_of(pairs) == {0: (2, 3, 4), 1: (), 2: (0, 1), 3: (0, 1), 4: (0, 1)}
