"""The loop on a small problem: it learns, keeps the best epoch, bounds the scale, refuses what cannot go on."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from safetensors.torch import load_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from reelseek.errors import ConfigError, TrainingError
from reelseek.records import Texts, Videos
from reelseek.training.batches import Batch
from reelseek.training.loop import fit, seed_all
from reelseek.training.optim import rate_factor
from reelseek.training.step import Step
from train_toy import CONFIG, Toy, batches_of, dataset, objective, read_log, recall


def train(folder, method, config=CONFIG, objective=objective, **options):
    texts, videos = dataset()
    batches, steps = batches_of(texts, videos, config)
    options = {"batches": batches, "steps_per_epoch": steps} | options
    return fit(method, options.pop("batches"), objective, config=config, folder=folder, **options)


def test_it_learns_its_data_by_heart(tmp_path):
    method, (texts, videos) = Toy(), dataset()
    before = recall(method, texts, videos)
    result = train(
        tmp_path, method, replace(CONFIG, epochs=60), validate=lambda: {"R@1": recall(method, texts, videos)}
    )
    assert before < 30
    assert result.best_value >= 95
    assert recall(method, texts, videos) == result.best_value
    losses = [record["loss/total"] for record in read_log(tmp_path) if record["kind"] == "step"]
    assert len(losses) == result.steps == 60 * 3
    assert sum(losses[-3:]) < sum(losses[:3]) / 4
    assert not method.training


def test_the_best_epoch_is_kept_and_the_earliest_of_equals(tmp_path):
    method, values, weights = Toy(), iter([10.0, 30.0, 30.0, 20.0]), []

    def validate():
        assert not method.training
        assert not torch.is_grad_enabled()
        weights.append(method.texts.weight.clone())
        return {"R@1": next(values), "MnR": 3}

    result = train(tmp_path, method, replace(CONFIG, epochs=4), validate=validate)
    assert (result.best_epoch, result.best_value) == (2, 30.0)
    assert [row["R@1"] for row in result.history] == [10.0, 30.0, 30.0, 20.0]
    assert [(row["epoch"], row["step"]) for row in result.history] == [(1, 3), (2, 6), (3, 9), (4, 12)]
    assert torch.equal(method.texts.weight, weights[1])
    assert not torch.equal(weights[1], weights[3])


@pytest.mark.parametrize("name", ["MdR", "MnR"])
def test_the_lowest_rank_is_the_best(tmp_path, name):
    values = iter([30.0, 10.0, 10.0, 20.0])
    config = replace(CONFIG, epochs=4, select=name)
    result = train(tmp_path, Toy(), config, validate=lambda: {"R@1": 1.0, name: next(values)})
    assert (result.best_epoch, result.best_value) == (2, 10.0)


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    method = Toy()
    result = train(tmp_path, method)
    assert (result.best_epoch, result.best_value, result.history) == (3, None, [])
    assert not method.training


def test_the_seconds_are_those_of_steps_and_validations(tmp_path):
    start = time.perf_counter()
    result = train(tmp_path, Toy(), validate=lambda: time.sleep(0.05) or {"R@1": 1.0})
    whole = time.perf_counter() - start
    steps = [record["seconds"] for record in read_log(tmp_path) if record["kind"] == "step"]
    assert min(steps) > 0
    assert sum(steps) + 3 * 0.05 <= result.seconds < whole


@pytest.mark.parametrize("values", [{"R@5": 1.0}, {"R@1": float("nan")}])
def test_validation_must_give_the_number_that_decides(tmp_path, values):
    with pytest.raises(ValueError, match=r"no number for 'R@1'"):
        train(tmp_path, Toy(), validate=lambda: values)


def test_the_log_holds_every_part_and_tensorboard_reads_it_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = []
    train(tmp_path, Toy(), validate=lambda: {"R@1": 5.0}, progress=seen.append)
    records = read_log(tmp_path)
    assert records == seen
    steps = [record for record in records if record["kind"] == "step"]
    assert [record["step"] for record in steps] == list(range(1, 10))
    assert [record["epoch"] for record in steps] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    for record in steps:
        assert record["loss/total"] == pytest.approx(record["loss/contrast"] + record["loss/size"])
        assert {"lr", "logit_scale", "grad_norm", "seconds"} <= record.keys()
    assert [record["step"] for record in records if record["kind"] == "validation"] == [3, 6, 9]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("step/loss/total")
    assert [event.step for event in scalars] == list(range(1, 10))
    assert [event.value for event in scalars] == pytest.approx([record["loss/total"] for record in steps])
    assert [event.value for event in events.Scalars("validation/R@1")] == [5.0] * 3


def test_the_scale_stays_below_its_bound(tmp_path):
    seen = []

    def pull(scores, logit_scale, relevance_TV=None):
        seen.append(float(logit_scale.detach()))
        return {"total": scores.matrix_TV.sum() * 0 - logit_scale}

    method = Toy(scale=300.0)
    train(tmp_path, method, objective=pull)
    scales = [record["logit_scale"] for record in read_log(tmp_path)]
    assert max(scales) == max(seen) == pytest.approx(100.0)
    assert float(method.logit_scale.detach()) == pytest.approx(100.0)


@pytest.mark.parametrize("longest", [0.125, 0.0])
def test_gradients_are_clipped_before_the_step(tmp_path, longest):
    """Adam hides the size of a gradient, so it is read where the optimiser takes it. A length of 0 clips nothing."""
    method, norms = Toy(), []
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, args, kwargs: norms.append(
            float(torch.cat([p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]).norm())
        )
    )
    try:
        train(tmp_path, method, replace(CONFIG, clip_norm=longest))
    finally:
        handle.remove()
    told = [record["grad_norm"] for record in read_log(tmp_path)]
    assert max(told) > 0.125
    assert [min(norm, longest or norm) for norm in told] == pytest.approx(norms, rel=1e-4)


def test_a_loss_that_is_no_number_stops_with_step_and_parts(tmp_path):
    calls = []

    def broken(scores, logit_scale, relevance_TV=None):
        calls.append(1)
        parts = objective(scores, logit_scale)
        return parts | {"total": parts["total"] / (0.0 if len(calls) == 4 else 1.0)}

    with pytest.raises(TrainingError, match=r"loss is not finite at step 4 \(epoch 2\): total inf, contrast "):
        train(tmp_path, Toy(), objective=broken)
    assert len(read_log(tmp_path)) == 3


def test_a_gradient_that_is_no_number_stops_before_the_weights_change(tmp_path):
    method = Toy()
    before = method.texts.weight.detach().clone()

    def broken(scores, logit_scale, relevance_TV=None):
        return {"total": (scores.matrix_TV.sum() * 0).sqrt()}

    with pytest.raises(TrainingError, match="gradient is not finite at step 1"):
        train(tmp_path, method, objective=broken)
    assert torch.equal(method.texts.weight, before)


def scaled_fabric(config):
    """16-mixed on a processor, which `make_fabric` refuses."""
    precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[precision])
    fabric.launch()
    return fabric


def test_scaled_gradients_that_are_never_numbers_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("reelseek.training.loop.make_fabric", scaled_fabric)
    method = Toy()
    before = method.texts.weight.detach().clone()

    def broken(scores, logit_scale, relevance_TV=None):
        return {"total": (scores.matrix_TV.sum() * 0).sqrt()}

    with pytest.raises(TrainingError, match="gradient is not finite at step 25 "):
        train(tmp_path, method, replace(CONFIG, epochs=20), objective=broken)
    assert len(read_log(tmp_path)) == 24
    assert torch.equal(method.texts.weight, before)


def test_scaled_gradients_that_overflow_now_and_then_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("reelseek.training.loop.make_fabric", scaled_fabric)
    method, calls = Toy(), []

    def now_and_then(scores, logit_scale, relevance_TV=None):
        calls.append(1)
        parts = objective(scores, logit_scale)
        return parts if len(calls) % 20 == 0 else {"total": parts["total"] + (scores.matrix_TV.sum() * 0).sqrt()}

    result = train(tmp_path, method, replace(CONFIG, epochs=20), objective=now_and_then)
    norms = [record["grad_norm"] for record in read_log(tmp_path)]
    assert result.steps == len(norms) == 60
    assert [number for number, norm in enumerate(norms, 1) if norm is not None] == [20, 40, 60]


def test_frozen_towers_stay_as_they_are(tmp_path):
    method = Toy(dropout=0.1)
    method.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in method.backbone.state_dict().items()}
    modes = []

    def watching(scores, logit_scale, relevance_TV=None):
        modes.append((method.training, method.backbone.training))
        return objective(scores, logit_scale)

    train(tmp_path, method, objective=watching)
    assert all(torch.equal(value, before[name]) for name, value in method.backbone.state_dict().items())
    assert set(modes) == {(True, False)}
    for name in ("state.safetensors", "best.safetensors"):
        assert not [key for key in load_file(tmp_path / name) if "backbone." in key]


def test_towers_train_through_encode(tmp_path):
    method, (texts, videos) = Toy(), dataset()
    method.backbone = nn.Linear(6, 6)
    before = method.backbone.weight.detach().clone()
    batches, steps = batches_of(texts, videos)

    def encode(batch):
        return Texts(method.backbone(batch.texts.pooled_TD)), batch.videos

    config = replace(CONFIG, backbone_learning_rate=1e-3)
    train(tmp_path, method, config, batches=batches, steps_per_epoch=steps, encode=encode)
    assert not torch.equal(method.backbone.weight, before)


def test_lone_pairs_are_passed_over_and_batches_are_counted(tmp_path):
    texts, videos = dataset(9)

    def batches(epoch, start):
        for rows in (slice(0, 4), slice(4, 5), slice(5, 9))[start:]:
            yield Batch(Texts(texts.pooled_TD[rows]), Videos(videos.frames_VFD[rows], videos.mask_VF[rows]))

    assert train(tmp_path / "a", Toy(), batches=batches, steps_per_epoch=2).steps == 6
    assert train(tmp_path / "b", Toy(), batches=batches, steps_per_epoch=5).steps == 6
    rates = [record["lr"] for record in read_log(tmp_path / "b")]
    places = [5 * epoch + step for epoch in range(3) for step in range(2)]
    assert rates == pytest.approx([CONFIG.learning_rate * rate_factor(place, 15, CONFIG.warmup) for place in places])
    with pytest.raises(ValueError, match="more than the stated 1 batches"):
        train(tmp_path / "c", Toy(), batches=batches, steps_per_epoch=1)
    with pytest.raises(ValueError, match="epoch 1 gave no batch"):
        train(tmp_path / "d", Toy(), batches=lambda epoch, start: [], steps_per_epoch=1)


def test_relevance_reaches_the_objective(tmp_path):
    texts, videos = dataset(6)
    relevance = torch.eye(6, dtype=torch.bool).repeat_interleave(2, 0)
    doubled = Batch(Texts(texts.pooled_TD.repeat_interleave(2, 0)), videos, relevance)
    shapes = []

    def looking(scores, logit_scale, relevance_TV=None):
        shapes.append((scores.matrix_TV.shape, torch.equal(relevance_TV, relevance)))
        return objective(scores, logit_scale, relevance_TV)

    train(tmp_path, Toy(), objective=looking, batches=lambda epoch, start: [doubled][start:], steps_per_epoch=1)
    assert shapes == [((12, 6), True)] * 3


@pytest.mark.parametrize("device", ["cpu", "auto", "mps"])
def test_half_precision_without_cuda_is_refused(tmp_path, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"train\.precision 16-mixed needs a CUDA device.* on (cpu|mps)"):
        train(tmp_path, Toy(), replace(CONFIG, device=device, precision="16-mixed"))
    assert not list(tmp_path.iterdir())


def test_mixed_precision_learns_too(tmp_path):
    method = Toy()
    train(tmp_path, method, replace(CONFIG, epochs=10, precision="bf16-mixed"))
    losses = [record["loss/total"] for record in read_log(tmp_path)]
    assert losses[-1] < losses[0]
    assert method.texts.weight.dtype == torch.float32


def test_all_generators_are_seeded_by_every_number():
    def drawn(*numbers):
        seed_all(*numbers)
        return random.random(), float(np.random.random()), float(torch.rand(1))

    assert drawn(7, 3) == drawn(7, 3)
    for one, other in zip(drawn(7, 3), drawn(7, 4), strict=True):
        assert one != other
    assert len({drawn(*numbers) for numbers in ((7, 3), (3, 7), (7,), (7, 3, 1))}) == 4


def test_dropout_is_drawn_by_the_seed_by_each_process_for_itself(tmp_path, monkeypatch):
    batches, steps = batches_of(*dataset())

    def losses(name, config):
        # Rank 1 of one process: its seed, and the whole batch for a share.
        options = {"batches": batches, "steps_per_epoch": steps, "encode": lambda batch: (batch.texts, batch.videos)}
        train(tmp_path / name, Toy(dropout=0.5), config, **options)
        return [record["loss/total"] for record in read_log(tmp_path / name)]

    first, again, other = (losses(f"{seed} {at}", replace(CONFIG, seed=seed)) for at, seed in enumerate((7, 7, 8)))
    monkeypatch.setattr(Fabric, "global_rank", property(lambda fabric: 1))
    second = losses("second process", CONFIG)
    assert first == again
    assert first[0] != other[0] != second[0] != first[0]


def test_a_step_is_project_score_and_objective():
    method, (texts, videos) = Toy(), dataset(4)
    parts = Step(method, objective)(Batch(texts, videos))
    expected = objective(method.score(*method.project(texts, videos)), method.logit_scale)
    assert parts.keys() == expected.keys()
    assert all(torch.equal(parts[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "at least one epoch"),
        ({"warmup": 1.0}, "warmup"),
        ({"warmup": -0.1}, "warmup"),
        ({"clip_norm": -1.0}, "clip_norm"),
        ({"max_logit_scale": 0.0}, "max_logit_scale"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, Toy(), replace(CONFIG, **change))


def test_a_run_of_no_steps_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one step is needed, not 3 and 0"):
        train(tmp_path, Toy(), steps_per_epoch=0)
