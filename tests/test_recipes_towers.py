"""Towers in parts, in less memory and in layers: gradients of a tiny CLIP over frames, and what stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reelseek.config import LossConfig, TrainConfig
from reelseek.errors import ConfigError
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.methods.saved import load_backbone
from reelseek.recipes import recipe
from reelseek.recipes.frames import Clips, FrameBatch
from reelseek.recipes.objective import objective
from reelseek.recipes.towers import freeze_lower, prepare_towers
from reelseek.training.cached import backward_in_parts
from reelseek.training.distributed import make_fabric
from reelseek.training.loop import fit, seed_all
from reelseek.training.optim import make_optimizer
from reelseek.training.step import Step, backward_at_once
from test_encoders_clip import CAPTIONS, tiny_folder

TRAINED = TrainConfig(epochs=1, backbone_learning_rate=1e-3, learning_rate=1e-3, device="cpu", warmup=0)
PAIRS, FRAMES = 5, 3


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("towers") / request.param, request.param, width=64)


def method_over(folder: Path, name: str = "gare-msrvtt") -> Method:
    torch.manual_seed(0)
    config = replace(recipe(name).method, backbone=str(folder), width=64, layers=1, temporal="mean", dropout=0.2)
    return build(config, load_backbone(str(folder))).train()


def clips_of(method: Method, config: TrainConfig) -> Clips:
    pairs = type("Split", (), {"texts": ()})()
    clips = Clips.__new__(Clips)
    clips.method, clips.towers, clips.config, clips.pairs = method, method.backbone, replace_train(config), pairs
    clips.towers.precision = "float32"
    prepare_towers(clips.towers, config)
    return clips


def replace_train(config: TrainConfig) -> object:
    return replace(recipe("gare-msrvtt"), train=config)


def batch_of(seed: int = 0) -> FrameBatch:
    generator = torch.Generator().manual_seed(seed)
    mask_VF = torch.arange(FRAMES) < torch.randint(1, FRAMES + 1, (PAIRS, 1), generator=generator)
    captions = tuple(" ".join(CAPTIONS[: number + 1]) for number in range(PAIRS))
    pixels = torch.randint(256, (PAIRS, FRAMES, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return FrameBatch(captions, pixels, mask_VF, torch.eye(PAIRS, dtype=torch.bool))


def numbers(parts: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(part.detach()) for name, part in parts.items()}


def gradients(folder: Path, config: TrainConfig) -> tuple[dict[str, float], dict[str, Tensor]]:
    method = method_over(folder)
    clips, fabric = clips_of(method, config), make_fabric(config)
    # Without KL: texts that random towers hardly tell apart make its deviations, and so its gradients, mere rounding.
    step = Step(method, objective(LossConfig(kl_weight=0.0)), encode=clips.encode)

    def seed(*part: int) -> None:
        seed_all(3, *part)

    if config.chunk:
        values = backward_in_parts(fabric, step, batch_of(), clips.cut(batch_of()), seed=seed, check=numbers)
    else:
        values = backward_at_once(fabric, fabric.setup(step), batch_of(), seed=seed, check=numbers)
    found = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    return values, found


@pytest.mark.parametrize(
    "change",
    [{"chunk": 2}, {"chunk": 1}, {"gradient_checkpointing": True}, {"chunk": 3, "gradient_checkpointing": True}],
    ids=str,
)
def test_less_memory_changes_no_gradient(folder: Path, change: dict[str, int]) -> None:
    expected, theirs = gradients(folder, TRAINED)
    found, ours = gradients(folder, replace(TRAINED, **change))
    assert found["total"] == pytest.approx(expected["total"], rel=1e-5)
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("backbone.model.vision") for name in ours)
    assert any(name.startswith("backbone.model.text") for name in ours)
    assert {"log_scale", "head.psi.layers.0.q_proj.weight"} <= ours.keys()
    largest = max(float(gradient.norm()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        # Below the largest by a millionth a gradient is rounding: a key's bias has none by the softmax.
        assert (ours[name] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-6 * largest, name


def test_checkpointing_recomputes_layers(folder: Path) -> None:
    calls = {}
    for on in (False, True):
        config = replace(TRAINED, gradient_checkpointing=on)
        method = method_over(folder)
        clips = clips_of(method, config)
        count = [0]
        layer = method.backbone.model.vision_model.encoder.layers[0].layer_norm1
        layer.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        Step(method, objective(LossConfig()), encode=clips.encode)(batch_of())["total"].backward()
        calls[on] = count[0]
    assert calls == {False: 1, True: 2}


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_lower_layers_stay_as_they_are(folder: Path, tmp_path: Path, layers: int) -> None:
    method = method_over(folder)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    clips = clips_of(method, replace(TRAINED, freeze_layers=layers))
    fit(
        method,
        lambda epoch, start: [batch_of(seed) for seed in range(start, 2)],
        objective(LossConfig()),
        config=clips.config.train,
        steps_per_epoch=2,
        folder=tmp_path,
        encode=clips.encode,
    )
    for tower in ("text_model", "vision_model"):
        for number in range(2):
            names = [name for name in before if f"{tower}.encoder.layers.{number}." in name and "weight" in name]
            assert names
            for name in names:
                assert torch.equal(method.state_dict()[name], before[name]) == (number < layers), name
        for name in (name for name in before if f"{tower}.embeddings" in name):
            assert torch.equal(method.state_dict()[name], before[name]), name
        last = next(name for name in before if f"{tower}.final_layer_norm" in name or f"{tower}.post_layernorm" in name)
        assert not torch.equal(method.state_dict()[last], before[last])


def test_frozen_layers_are_no_optimiser_s(folder: Path) -> None:
    method = method_over(folder)
    prepare_towers(method.backbone, replace(TRAINED, freeze_layers=1))
    groups = make_optimizer(method, TRAINED).param_groups
    names = [name for group in groups for name in group["names"] if name.startswith("backbone.")]
    assert not any("embeddings" in name or "layers.0." in name for name in names)
    assert any("layers.1." in name for name in names)


def test_more_layers_than_there_are_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.freeze_layers 3: a tower of this model has 2 layers"):
        freeze_lower(method_over(folder).backbone.model, 3)


def test_a_share_is_cut_in_order(folder: Path) -> None:
    clips = clips_of(method_over(folder), replace(TRAINED, chunk=2))
    parts = clips.cut(batch_of())
    assert [len(part.captions) for part in parts] == [2, 2, 1]
    assert sum((part.captions for part in parts), ()) == batch_of().captions
    assert torch.equal(torch.cat([part.pixels_VF3SS for part in parts]), batch_of().pixels_VF3SS)
    assert torch.equal(torch.cat([part.mask_VF for part in parts]), batch_of().mask_VF)
