"""Settings that cannot be are refused by name, from Python as from the command line."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

import reelseek
from reelseek.config import DataConfig, EvaluateConfig, LossConfig, MethodConfig, RunConfig, SampleConfig, TrainConfig
from reelseek.config_check import ABOVE_ZERO, BELOW_ONE, LEAST, check, check_section
from reelseek.encoders.offline import OfflineBackbone
from reelseek.errors import ConfigError
from reelseek.methods import build
from reelseek.recipes import RECIPES, recipe
from reelseek.recipes.forms import FORMS
from reelseek.recipes.objective import objective

SECTIONS = {entry.name: type(getattr(RunConfig(), entry.name)) for entry in fields(RunConfig)}
KINDS = {f"{section}.{name}": kind for section, kept in SECTIONS.items() for name, kind in get_type_hints(kept).items()}
CHOICES = [name for name, kind in KINDS.items() if get_origin(kind) is Literal]


def with_setting(dotted: str, value: Any) -> RunConfig:
    section, name = dotted.split(".")
    return RunConfig(**{section: replace(SECTIONS[section](), **{name: value})})


def refusal(dotted: str, value: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check(with_setting(dotted, value))
    return str(caught.value)


@pytest.mark.parametrize("dotted", CHOICES)
def test_a_word_that_is_none_of_a_settings_is_refused(dotted: str) -> None:
    said = refusal(dotted, "nonesuch")
    assert said.startswith(f"{dotted} must be ")
    assert said.endswith(", not 'nonesuch'.")
    assert all(str(word) in said for word in get_args(KINDS[dotted]))


@pytest.mark.parametrize("dotted", [name for name in KINDS if name not in CHOICES])
def test_a_value_of_another_type_is_refused(dotted: str) -> None:
    for value in ([], "1" if KINDS[dotted] is not str else 1, True if KINDS[dotted] is not bool else 1):
        assert refusal(dotted, value).startswith(f"{dotted} must be ")
    if int in (KINDS[dotted], *get_args(KINDS[dotted])):
        assert refusal(dotted, 1.5).endswith("a whole number, not 1.5.")


@pytest.mark.parametrize("dotted", [*LEAST, *ABOVE_ZERO, *BELOW_ONE])
def test_numbers_keep_their_bounds(dotted: str) -> None:
    whole = KINDS[dotted] is int
    outside = [LEAST[dotted] - 1] if dotted in LEAST else []
    outside += [0.0, -1.0] if dotted in ABOVE_ZERO else []
    outside += [1.0] if dotted in BELOW_ONE else []
    outside += [] if whole else [math.nan]
    for value in outside:
        assert refusal(dotted, int(value) if whole else value).startswith(f"{dotted} must be ")
    check(with_setting(dotted, LEAST.get(dotted, 0.5)))


def test_a_bound_below_which_nothing_is_rewarded_is_refused() -> None:
    assert refusal("loss.norm_bound", 0.0) == "loss.norm_bound must be above 0, not 0.0."


@pytest.mark.parametrize(("section", "settings", "reason"), [
    ("train", TrainConfig(epochs=2, schedule_epochs=1), "the rate of adamw is 0 at its schedule's end"),
    ("evaluate", EvaluateConfig(bootstrap=1), "must be at least 2, or 0"),
    ("data", DataConfig(noise="typos"), "no caption would be spoilt"),
])  # fmt: skip
def test_values_that_do_not_go_together(section: str, settings: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_section(section, settings)


def test_whole_numbers_and_null_where_they_may_be() -> None:
    check(with_setting("train.learning_rate", 1))
    check(with_setting("data.false_negatives", None))
    check(with_setting("data.false_negatives", 0.5))
    check(with_setting("method.sign", -1))
    check_section("train", TrainConfig(epochs=2, schedule_epochs=1, optimizer="bertadam"))
    check_section("data", DataConfig(noise="typos", noise_rate=0.1))
    check_section("sample", SampleConfig())


@pytest.mark.parametrize("form", FORMS)
def test_every_recipe_holds(form: str) -> None:
    for name in RECIPES:
        try:
            config = recipe(name, form=form)
        except ConfigError:  # recipes without that form
            continue
        check(config)


@pytest.mark.parametrize(("dotted", "value"), [
    ("method.temporal", "seqLSTM"), ("method.text_layer", "seqLSTM"), ("loss.contrastive", "infonce"),
    ("train.optimizer", "adam"), ("train.batches", "contrast"), ("sample.policy", "first"), ("evaluate.ties", "lot"),
    ("method.name", "garre"),
])  # fmt: skip
def test_train_refuses_them_before_anything_is_read(dotted: str, value: str, tmp_path: Path) -> None:
    section, name = dotted.split(".")
    config = recipe("clip4clip-meanp-folder")
    config = replace(config, data=DataConfig(name="folder", root=str(tmp_path / "nowhere")))
    config = replace(config, **{section: replace(getattr(config, section), **{name: value})})
    with pytest.raises(ConfigError, match=repr(value)):
        reelseek.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_methods_and_objectives_that_are_made_alone_refuse_them_too() -> None:
    backbone = OfflineBackbone()
    for setting in ("temporal", "text_layer"):
        with pytest.raises(ConfigError, match=rf"method\.{setting} must be .* not 'seqLSTM'"):
            build(MethodConfig(name="clip4clip", **{setting: "seqLSTM"}), backbone)
    with pytest.raises(ConfigError, match=r"loss\.contrastive must be info_nce or dual_softmax, not 'infonce'"):
        objective(LossConfig(contrastive="infonce"))
