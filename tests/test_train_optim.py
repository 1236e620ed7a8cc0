"""Which parameters decay and how fast they learn; the course of the rate; the order of batches."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from reelseek.config import TrainConfig
from reelseek.training.batches import batch_numbers, count_batches
from reelseek.training.optim import clamp_scale, freeze_towers, make_optimizer, parameter_groups, rate_factor, set_rates


class Everything(nn.Module):
    """One of each kind of module, with names that give nothing away."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict({"lin": nn.Linear(3, 3), "ln_1": nn.LayerNorm(3)})
        self.conv, self.bn = nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3)
        self.position = nn.Embedding(4, 3)
        self.attention, self.pair = nn.MultiheadAttention(4, 2, add_bias_kv=True), nn.Bilinear(2, 2, 2)
        self.lstm = nn.LSTM(3, 3)
        self.out = nn.Linear(3, 3)
        self.tied = self.out
        self.query = nn.Parameter(torch.zeros(2, 3))
        self.log_scale = nn.Parameter(torch.tensor(1.0))


CONFIG = TrainConfig(learning_rate=1e-3, backbone_learning_rate=1e-5, weight_decay=0.2)


def test_only_matrices_between_features_decay():
    groups = {group["name"]: set(group["names"]) for group in parameter_groups(Everything(), CONFIG)}
    assert groups["backbone"] == {"backbone.lin.weight"}
    assert groups["backbone, no decay"] == {
        *("backbone.lin.bias", "backbone.ln_1.weight", "backbone.ln_1.bias", "log_scale")
    }
    assert groups["head"] == {
        "conv.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "pair.weight",
        "out.weight",
    }
    assert {"bn.weight", "position.weight", "query", "out.bias", "lstm.bias_ih_l0", "attention.bias_k"} <= groups[
        "head, no decay"
    ]


def test_every_parameter_is_in_one_group_with_its_rate_and_decay():
    model = Everything()
    optimizer = make_optimizer(model, CONFIG)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    for group in optimizer.param_groups:
        assert group["lr"] == (1e-5 if "backbone" in group["name"] else 1e-3)
        assert group["weight_decay"] == (0.0 if "no decay" in group["name"] else 0.2)
    set_rates(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {5e-6, 5e-4}


@pytest.mark.parametrize("kind", ["adamw", "bertadam"])
def test_both_optimisers_have_the_betas_and_the_epsilon_of_clip(kind):
    optimizer = make_optimizer(nn.Linear(2, 2), replace(CONFIG, optimizer=kind))
    assert {(*group["betas"], group["eps"]) for group in optimizer.param_groups} == {(0.9, 0.98, 1e-6)}


def test_another_optimiser_is_refused() -> None:
    with pytest.raises(ValueError, match='must be "adamw" or "bertadam", not \'adam\''):
        make_optimizer(nn.Linear(2, 2), replace(CONFIG, optimizer="adam"))


def test_a_rate_of_zero_freezes_the_towers():
    model, config = Everything(), TrainConfig(backbone_learning_rate=0.0)
    freeze_towers(model, replace(config, backbone_learning_rate=1e-9))
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze_towers(model, config)
    groups = parameter_groups(model, config)
    assert not any(name.startswith("backbone") for group in groups for name in group["names"])
    assert {group["base"] for group in groups} == {config.learning_rate}  # the logit scale's as well
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(model, config)


def test_the_rate_rises_linearly_and_falls_to_zero_by_a_cosine():
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[99] == pytest.approx((1 + math.cos(math.pi * 89 / 90)) / 2)
    assert all(later < earlier for earlier, later in pairwise(factors[10:]))
    assert min(factors) > 0
    assert max(abs(a - b) for a, b in pairwise(factors)) < 0.1


def test_short_runs_and_runs_without_warm_up_move_from_the_first_step():
    assert rate_factor(0, 1, 0.1) == 1.0
    assert rate_factor(0, 5, 0.0) == 1.0
    for step, total, warmup in [(5, 5, 0.1), (-1, 5, 0.1), (0, 5, 1.0), (0, 5, -0.1)]:
        with pytest.raises(ValueError, match="0 <= step < total"):
            rate_factor(step, total, warmup)


def test_the_scale_is_bounded_from_above_only():
    model = Everything()
    with torch.no_grad():
        model.log_scale.fill_(math.log(150))
    clamp_scale(model, 100.0)
    assert float(model.log_scale.exp().detach()) == pytest.approx(100.0)
    with torch.no_grad():
        model.log_scale.fill_(math.log(3))
    clamp_scale(model, 100.0)
    assert float(model.log_scale.exp().detach()) == pytest.approx(3.0)


@pytest.mark.parametrize(("count", "size", "kept"), [(10, 4, 10), (9, 4, 8), (8, 4, 8), (3, 4, 3), (2, 2, 2)])
def test_batches_hold_every_item_once_but_a_lone_last_one(count, size, kept):
    batches = batch_numbers(count, size, seed=0, epoch=1)
    assert len(batches) == count_batches(count, size)
    flat = np.concatenate(batches)
    assert len(flat) == len(set(flat.tolist())) == kept
    assert all(2 <= len(batch) <= size for batch in batches)


def test_rivals_meet_as_long_as_there_are_some_left():
    rivals = {0: (1,), 1: (0,), 2: (3, 4), 3: (2,), 4: (2,), 9: (9,)}
    met = set()
    for epoch in range(60):
        flat = np.concatenate(batch_numbers(12, 12, seed=5, epoch=epoch, rivals=rivals)).tolist()
        assert sorted(flat) == list(range(12))
        shuffle = np.concatenate(batch_numbers(12, 12, seed=5, epoch=epoch)).tolist()
        place = 0
        while place < 12:  # by hand: the shuffle's next item that has not come, then one of its rivals if one is left
            item = next(item for item in shuffle if item not in flat[:place])
            assert flat[place] == item
            left = [rival for rival in rivals.get(item, ()) if rival not in flat[: place + 1]]
            place += 1
            if left:
                assert flat[place] in left
                met.add((item, flat[place]))
                place += 1
    assert met == {(0, 1), (1, 0), (2, 3), (2, 4), (3, 2), (4, 2)}


@pytest.mark.parametrize("rivals", [None, {}, {3: (4, 5), 4: (3,)}])
def test_the_order_hangs_on_seed_and_epoch_alone(rivals):
    def order(seed, epoch):
        return np.concatenate(batch_numbers(50, 8, seed=seed, epoch=epoch, rivals=rivals)).tolist()

    first = order(1, 1)
    np.random.default_rng().random()
    assert order(1, 1) == first
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    for count, size in [(1, 4), (4, 1)]:
        with pytest.raises(ValueError, match="at least 2"):
            batch_numbers(count, size, seed=0, epoch=1)
