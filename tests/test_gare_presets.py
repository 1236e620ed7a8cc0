"""The two presets say what they change; the objective passes a configuration's regularisers on."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

from reelseek.config import LossConfig, MethodConfig, RunConfig, TrainConfig
from reelseek.errors import ConfigError
from reelseek.losses.contrastive import info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.methods.builders import gare_head
from reelseek.recipes import recipe
from reelseek.recipes.objective import objective
from reelseek.recipes.presets import PRESETS, preset
from reelseek.records import Scores
from reelseek.score.increments import FactorisedIncrements, TextIncrements


def differences(first: RunConfig, second: RunConfig) -> dict[str, tuple]:
    pairs = {}
    for section, values in asdict(first).items():
        for key, value in values.items():
            other = asdict(second)[section][key]
            if other != value:
                pairs[f"{section}.{key}"] = (value, other)
    return pairs


def test_all_that_the_presets_differ_in() -> None:
    run = recipe("gare-msrvtt")
    run = replace(run, method=replace(run.method, frame_temperature=5.0))
    assert differences(preset("as-described", run), preset("as-released", run)) == {
        "method.initialisation": ("identity", "normal"),
        "method.padding": ("masked", "counted"),
        "method.counted_frames": (0, 12),
        "method.frame_temperature": (5.0, 3.0),
        "loss.kl_weight": (0.07, 1e-4),
        "loss.kl_reduction": ("mean", "sum"),
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_takes_back_what_a_run_had_changed_and_leaves_the_rest(name: str) -> None:
    run = RunConfig(
        method=MethodConfig(heads=4, dropout=0.0, increment_layers=2, side="video", context="words"),
        loss=LossConfig(alpha=5.0, direction="orthogonality", norm_bound=9.0, prior_sigma=3.0, norm_weight=0.0),
        train=TrainConfig(epochs=7),
    )
    made = preset(name, run)
    assert differences(made, preset(name, RunConfig())).keys() == {"method.side", "method.context", "train.epochs"}
    assert not made.loss.mask_known_positives
    assert (made.loss.alpha, made.loss.norm_bound, made.loss.direction) == (2.0, 0.5, "diversity")
    assert (made.loss.direction_weight, made.loss.norm_weight, made.loss.prior_sigma) == (0.01, 0.01, 1.0)
    assert (made.method.dropout, made.method.heads, made.method.increment_layers) == (0.3, 1, 1)
    assert gare_head(made.method, 16).variant.padding == made.method.padding
    assert run.method.heads == 4


def test_unknown_presets_and_methods_without_increments_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean as-released"):
        preset("as-relased", RunConfig())
    with pytest.raises(ConfigError, match="Known: as-described, as-released"):
        preset("zzz", RunConfig())
    with pytest.raises(ConfigError, match="clip4clip has none"):
        preset("as-described", recipe("clip4clip-meanp-msrvtt"))


def test_presets_import_no_torch() -> None:
    code = "import sys, reelseek.recipes.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_objective_takes_the_configured_direction_term_and_the_mean_over_streams() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(4, 4, 8, generator=generator) for _ in range(2))
    matrix_TV = torch.rand(4, 4, generator=generator)
    config = LossConfig(direction="orthogonality", direction_weight=0.5, kl_weight=0.0, norm_weight=0.0)
    alone = objective(config)(Scores(matrix_TV, first), torch.tensor(5.0), None)
    penalty = gare_regularisers(first, direction="orthogonality")["direction"]
    torch.testing.assert_close(alone["total"], info_nce(matrix_TV, 5.0) + 0.5 * penalty)
    both = objective(config)(Scores(matrix_TV, {"a": first, "b": second}), torch.tensor(5.0), None)
    other = gare_regularisers(second, direction="orthogonality")["direction"]
    torch.testing.assert_close(both["direction"], (penalty + other) / 2)


@pytest.mark.parametrize("owner", [FactorisedIncrements, TextIncrements])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_objective_is_computed_in_whole_precision_under_autocast(owner: type, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    # Bases of a length whose squares half precision cannot hold.
    parts = [torch.randn(4, 3, 4, generator=generator), 200 * torch.randn(4, 3, 16, generator=generator)]
    matrix_TV, offset_D = torch.rand(4, 4, generator=generator), torch.randn(16, generator=generator)
    compute, found = objective(LossConfig(norm_bound=1e9)), []
    for mixed in (False, True):
        leaves = [part.clone().requires_grad_() for part in (*parts, offset_D, matrix_TV)]
        with torch.autocast("cpu", dtype=dtype, enabled=mixed):
            losses = compute(Scores(leaves[3], owner(*leaves[:3])), torch.tensor(5.0), None)
        losses["total"].backward()
        found.append([*(loss.detach() for loss in losses.values()), *(leaf.grad for leaf in leaves)])
    for whole, half in zip(*found, strict=True):
        torch.testing.assert_close(half, whole, rtol=0, atol=0)
