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
from reelseek.recipes.relevance import batch_relevance
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


def test_recipes_import_no_torch() -> None:
    code = "import sys, reelseek.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def scores(batch: int = 6, width: int = 8) -> Scores:
    generator = torch.Generator().manual_seed(0)
    matrix_TV = torch.rand(batch, batch, generator=generator) * 2 - 1
    return Scores(matrix_TV, torch.randn(batch, batch, width, generator=generator))


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    config = LossConfig(kl_weight=0.3, direction_weight=0.2, norm_weight=0.1)
    made = scores()
    found = objective(config)(made, torch.tensor(20.0), None)
    terms = gare_regularisers(made.increments, alpha=config.alpha, norm_bound=config.norm_bound)
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


def test_batch_relevance_is_that_of_the_split() -> None:
    pairs = Pairs(
        name="x",
        texts=tuple("abcdef"),
        text_ids=tuple("abcdef"),
        video_of_T=np.array([0, 0, 1, 2, 2, 3]),
        video_ids=tuple("wxyz"),
        paths=tuple(Path(name) for name in "wxyz"),
        extra_relevance=((0, 3), (5, 0)),
    )
    rows = np.array([5, 1, 0, 4])
    expected = pairs.relevance_TV(corrected=True)[rows][:, pairs.video_of_T[rows]]
    assert np.array_equal(batch_relevance(pairs, rows).numpy(), expected)
