"""A setting that a run would not read is refused; no recipe holds one."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from reelseek.config import DataConfig, LossConfig, MethodConfig, RunConfig, SampleConfig
from reelseek.errors import ConfigError
from reelseek.methods import METHODS
from reelseek.methods.gare import GareHead
from reelseek.recipes import RECIPES, recipe
from reelseek.recipes.forms import FORMS
from reelseek.recipes.parts import CLIP_B32
from reelseek.recipes.presets import PRESETS, preset
from reelseek.recipes.refuse import METHOD_SETTINGS, refuse_unread
from reelseek.records import Texts, Videos
from reelseek.study.plan import Run, Study, arm_config
from reelseek.study.studies import STUDIES

NO_FRAME_READ = {"name": "gare", "side": "text", "context": "words", "query": "text"}
FRAME_READ = (("side", "video"), ("context", "frames"), ("query", "gap"))
PADDING = {"padding": "counted", "counted_frames": 12}


def run_of(method: dict[str, Any], loss: dict[str, Any] | None = None) -> RunConfig:
    return RunConfig(method=MethodConfig(**method), loss=LossConfig(**(loss or {})))


def test_every_setting_is_read_by_some_method() -> None:
    assert METHOD_SETTINGS.keys() == METHODS.keys()
    assert frozenset().union(*METHOD_SETTINGS.values()) == {entry.name for entry in fields(MethodConfig)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name_of_preset", ["", *PRESETS])
def test_no_recipe_holds_a_setting_that_nobody_reads(form: str, name_of_preset: str) -> None:
    passed = 0
    for name in RECIPES:
        try:
            config = recipe(name, form=form, preset=name_of_preset)
        except ConfigError:  # no such form or preset of this recipe
            continue
        refuse_unread(config)
        passed += 1
    assert passed >= 20


@pytest.mark.parametrize(
    ("method", "loss", "named"),
    [
        ({"name": "clip4clip", "frame_temperature": 5.0}, {}, "method.frame_temperature"),
        ({"name": "gare-baseline", "heads": 2}, {}, "method.heads"),
        ({"name": "gare", "gate": "full"}, {}, "method.gate"),
        ({"name": "camoe", "dropout": 0.1}, {}, "method.dropout"),
        ({"name": "camoe", "gate": "full"}, {}, "method.gate"),
        ({"name": "camoe", "gate": "multi", "streams": "fusion", "fusion_aggregation": "se"}, {}, "method.gate"),
        ({"name": "camoe", "streams": "fusion", "entity_aggregation": "se"}, {}, "method.entity_aggregation"),
        ({"name": "camoe", "streams": "fusion, action", "entity_aggregation": "se"}, {}, "method.entity_aggregation"),
        ({"name": "zero-shot", "temporal": "lstm"}, {}, "method.temporal"),
        ({"name": "clip4clip"}, {"kl_weight": 0.5}, "loss.kl_weight"),
        ({"name": "gare"}, {"dual_softmax_temperature": 10.0}, "loss.dual_softmax_temperature"),
        ({"name": "gare"}, {"stream_weight": 0.5}, "loss.stream_weight"),
        ({"name": "gare", "gate": "full"}, {"stream_weight": 0.5}, "gate and loss.stream_weight"),
        ({"name": "gare", "backbone": CLIP_B32, "width": 512}, {}, "method.width"),
        ({"name": "zero-shot", "width": 512}, {}, "method.width"),
        ({"name": "gare", "temporal": "mean", "layers": 9}, {}, "method.layers"),
        ({"name": "clip4clip", "temporal": "lstm", "text_layer": "transformer", "layers": 9}, {}, "method.layers"),
        ({"name": "gare", "counted_frames": 9}, {}, "method.counted_frames"),
        (NO_FRAME_READ | PADDING, {}, r"method\.padding and method\.counted_frames"),
        (NO_FRAME_READ | {"name": "camoe-gare", "padding": "counted"}, {}, r"method\.padding"),
        ({"name": "gare", "dropout": 0.0, "dropout_kind": "pair"}, {}, "method.dropout_kind"),
        ({"name": "camoe", "streams": "fusion", "sentences": "rkw"}, {}, "method.sentences"),
        ({"name": "camoe", "streams": "fusion", "inference": "sum"}, {}, "method.inference"),
        ({"name": "camoe", "streams": "fusion"}, {"stream_weight": 0.5}, "loss.stream_weight"),
        ({"name": "gare"}, {"direction_weight": 0.0, "alpha": 9.0}, "loss.alpha"),
        ({"name": "gare"}, {"direction_weight": 0.0, "direction": "orthogonality"}, "loss.direction"),
        ({"name": "gare"}, {"direction": "orthogonality", "alpha": 9.0}, "loss.alpha"),
        ({"name": "gare"}, {"kl_weight": 0.0, "kl_reduction": "mean"}, "loss.kl_reduction"),
        ({"name": "gare"}, {"kl_weight": 0.0, "prior_sigma": 2.0}, "loss.prior_sigma"),
        ({"name": "gare"}, {"norm_weight": 0.0, "norm_bound": 2.0}, "loss.norm_bound"),
    ],
    ids=str,
)
def test_what_would_do_nothing_is_refused(method: dict[str, Any], loss: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        refuse_unread(run_of(method, loss))


@pytest.mark.parametrize(
    ("method", "loss"),
    [
        ({"name": "gare", "frame_temperature": 5.0, "heads": 2}, {"kl_weight": 0.5}),
        (
            {"name": "camoe-gare", "gate": "full", "action_aggregation": "se", "dropout": 0.1},
            {"stream_weight": 0.5, "alpha": 1.0},
        ),
        ({"name": "camoe", "streams": "fusion, action", "action_aggregation": "se", "gate": "multi"}, {}),
        ({"name": "clip4clip"}, {"contrastive": "dual_softmax", "dual_softmax_temperature": 10.0}),
        ({"name": "gare", "width": 512, "temporal": "transformer", "layers": 9, "dropout_kind": "pair"}, {}),
        ({"name": "gare", "backbone": CLIP_B32, "layers": 4, "padding": "counted", "counted_frames": 12}, {}),
        *((NO_FRAME_READ | PADDING | {name: value}, {}) for name, value in FRAME_READ),
        ({"name": "clip4clip", "temporal": "lstm", "text_layer": "lstm"}, {}),
        ({"name": "camoe", "sentences": "rkw", "inference": "sum"}, {"stream_weight": 0.5}),
        ({"name": "gare"}, {"direction": "orthogonality", "kl_reduction": "mean", "prior_sigma": 2.0}),
        ({"name": "gare"}, {"norm_weight": 0.1, "norm_bound": 2.0}),
        ({"name": "no-such-method", "heads": 2}, {}),  # for `build` to refuse
        ({"name": "camoe", "streams": "fusion,no-such-stream"}, {}),  # this and the next, too
        ({"name": "camoe", "streams": "entity", "gate": "full"}, {}),
    ],
    ids=str,
)
def test_what_is_read_passes(method: dict[str, Any], loss: dict[str, Any]) -> None:
    refuse_unread(run_of(method, loss))


@pytest.mark.parametrize("change", [(), *FRAME_READ], ids=str)
def test_counted_padding_moves_scores_where_it_is_not_refused(change: tuple[str, Any]) -> None:
    torch.manual_seed(0)
    settings = {"side": "text", "context": "words", "query": "text"} | dict([change] if change else [])
    counted, masked = (
        GareHead(16, temperature=3.0, **settings, **padding).eval()
        for padding in ({"padding": "counted", "counted_frames": 12}, {})
    )
    for weight in counted.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    masked.load_state_dict(counted.state_dict())
    texts = Texts(torch.randn(3, 16), torch.randn(3, 4, 16), torch.ones(3, 4, dtype=torch.bool))
    videos = Videos(torch.randn(5, 6, 16), torch.ones(5, 6, dtype=torch.bool))
    one_TV, other_TV = (head.score(texts, videos).matrix_TV for head in (counted, masked))
    assert torch.allclose(one_TV, other_TV, atol=1e-6) is (change == ())


@pytest.mark.parametrize("counted", [0, 12])
def test_counted_padding_goes_to_the_frames_of_the_run(counted: int) -> None:
    config = preset("as-released", recipe("gare-motions"))
    refuse_unread(config)
    method, sample = replace(config.method, counted_frames=counted), replace(config.sample, frames=24)
    with pytest.raises(ConfigError, match=rf"counted_frames is {counted} and sample\.frames 24"):
        refuse_unread(replace(config, method=method, sample=sample))


@pytest.mark.parametrize("policy", ["middle", "uniform"])
def test_a_rate_that_sampling_does_not_read(policy: Any) -> None:
    refuse_unread(RunConfig(sample=SampleConfig(policy="fps", fps=4.0)))
    with pytest.raises(ConfigError, match=r"sample\.fps: .*at its default \(sample\.fps 1\.0\)"):
        refuse_unread(RunConfig(sample=SampleConfig(policy=policy, fps=4.0)))


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_no_arm_of_a_study_holds_a_setting_that_nobody_reads(study: Study) -> None:
    for arm in study.arms:
        refuse_unread(arm_config(study, Run(arm, 0), DataConfig()))


@pytest.mark.parametrize(
    "change", [{"chunk": 1}, {"workers": 0}, {"freeze_layers": 0}, {"gradient_checkpointing": True}], ids=str
)
def test_towers_that_are_not_trained_save_nothing(change: dict[str, Any]) -> None:
    config = recipe("gare-motions")
    (name,) = change
    with pytest.raises(ConfigError, match=rf"train\.{name}: the towers stay frozen"):
        refuse_unread(replace(config, train=replace(config.train, **change)))
    refuse_unread(replace(config, train=replace(config.train, backbone_learning_rate=1e-7, **change)))
