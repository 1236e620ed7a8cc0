"""BertAdam and its schedule against the released rule, written out number by number; a stopped run goes on with it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from reelseek.config import TrainConfig
from reelseek.training.bert_adam import BertAdam
from reelseek.training.optim import make_optimizer, parameter_groups, rate_at, rate_factor, released_factor
from test_train_loop import train
from test_train_optim import Everything
from train_toy import CONFIG, Toy, read_log

BERT = replace(CONFIG, optimizer="bertadam", weight_decay=0.2)


def released_rule(values, gradients, rates, decay):
    """One parameter over several steps, element by element."""
    values = [float(value) for value in values]
    mean, square = [0.0] * len(values), [0.0] * len(values)
    for gradient, rate in zip(gradients, rates, strict=True):
        length = math.sqrt(sum(float(g) ** 2 for g in gradient))
        shorter = min(1.0, 1.0 / (length + 1e-6))
        for i, g in enumerate(gradient):
            g = float(g) * shorter
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.98 * square[i] + 0.02 * g * g
            values[i] -= rate * (mean[i] / (math.sqrt(square[i]) + 1e-6) + decay * values[i])
    return values


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("size", [1e-4, 1.0, 50.0])
def test_every_update_is_the_released_rule(decay, size):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=5), size * rng.normal(size=(6, 5))
    rates = [0.1 * released_factor(step, 6, 0.4) for step in range(6)]
    parameter = torch.nn.Parameter(torch.tensor(start))
    optimizer = BertAdam([{"params": [parameter], "weight_decay": decay}])
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(parameter.detach().numpy(), released_rule(start, gradients, rates, decay), rtol=1e-9)


def test_moments_are_not_corrected_and_a_rate_of_zero_moves_them_alone():
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = BertAdam([{"params": [parameter], "lr": 0.0}])
    parameter.grad = torch.full((1,), 0.5, dtype=torch.float64)
    optimizer.step()
    assert float(parameter.detach()) == 1.0
    assert float(optimizer.state[parameter]["exp_avg"]) == pytest.approx(0.05)
    assert float(optimizer.state[parameter]["exp_avg_sq"]) == pytest.approx(0.005)


def test_parameters_are_clipped_one_by_one_and_those_without_a_gradient_stay():
    long, short, still = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    optimizer = BertAdam([{"params": [long, short, still], "lr": 0.1}])
    long.grad, short.grad = torch.full((1,), 30.0), torch.full((1,), 0.25)
    assert optimizer.step(lambda: 7.0) == 7.0
    assert float(long.grad) == pytest.approx(1.0)
    assert float(short.grad) == 0.25
    assert float(still.detach()) == 0.0


def test_the_released_schedule_starts_at_zero_jumps_and_rises_beyond_its_end():
    factors = [released_factor(step, 100, 0.1) for step in range(201)]
    assert factors[:10] == pytest.approx([step / 10 for step in range(10)])
    assert factors[10] == pytest.approx(0.9755, abs=1e-4)
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
    assert factors[150] == pytest.approx(0.5)
    assert factors[200] == pytest.approx(1.0)
    assert released_factor(0, 7, 0.0) == 1.0
    for step, total, warmup in [(-1, 5, 0.1), (0, 0, 0.1), (0, 5, 1.0), (0, 5, -0.1)]:
        with pytest.raises(ValueError, match="0 <= step"):
            released_factor(step, total, warmup)


def test_the_schedule_may_be_written_for_other_epochs_than_the_run_has():
    config = TrainConfig(epochs=10, optimizer="bertadam", schedule_epochs=5)
    assert rate_at(50, 10, config) == pytest.approx(0.0)
    assert rate_at(75, 10, config) == pytest.approx(0.5)
    assert rate_at(50, 10, replace(config, schedule_epochs=0)) == pytest.approx(0.5)
    longer = TrainConfig(epochs=5, schedule_epochs=10)
    assert rate_at(49, 10, longer) == rate_at(49, 10, TrainConfig(epochs=10)) == rate_factor(49, 100, longer.warmup)


def test_a_shorter_schedule_with_adamw_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"schedule_epochs 2 of 3 epochs: adamw's rate"):
        train(tmp_path, Toy(), replace(CONFIG, schedule_epochs=2))
    assert train(tmp_path, Toy(), replace(CONFIG, schedule_epochs=3)).steps == 9


def test_everything_but_biases_decays():
    config = TrainConfig(optimizer="bertadam", learning_rate=1e-4, backbone_learning_rate=1e-7)
    groups = {group["name"]: group for group in parameter_groups(Everything(), config)}
    assert "log_scale" in groups["backbone"]["names"]
    assert {"backbone.ln_1.weight", "backbone.lin.weight"} <= set(groups["backbone"]["names"])
    assert {"bn.weight", "query", "position.weight"} <= set(groups["head"]["names"])
    for key, group in groups.items():
        assert {"bias" in name for name in group["names"]} == {key.endswith(", no decay")}, key
    assert isinstance(make_optimizer(Everything(), config), BertAdam)


def test_a_run_learns_and_logs_the_rates_of_the_released_schedule(tmp_path):
    train(tmp_path, Toy(), replace(BERT, epochs=20))
    steps = read_log(tmp_path)
    assert [record["lr"] for record in steps] == pytest.approx(
        [BERT.learning_rate * released_factor(step, 60, 0.1) for step in range(60)]
    )
    assert sum(record["loss/total"] for record in steps[-3:]) < sum(record["loss/total"] for record in steps[:3]) / 2


@pytest.mark.parametrize("at", [2, 5])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, at):
    whole = Toy(dropout=0.2)
    train(tmp_path / "whole", whole, BERT)

    def fail(record):
        if record["step"] == at:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "cut", Toy(dropout=0.2), BERT, progress=fail, save_seconds=0.0)
    again = Toy(dropout=0.2)
    assert train(tmp_path / "cut", again, BERT).resumed_at == at - 1
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
