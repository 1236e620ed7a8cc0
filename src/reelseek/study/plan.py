"""What a study is: arms, seeds, ways of scoring, and the comparisons it was made for. Plain values, no computing.

Not here: the studies themselves (`reelseek.study.studies`), running them (`reelseek.study.grid`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

from reelseek.config import DataConfig, EvaluateConfig, RunConfig
from reelseek.errors import ConfigError
from reelseek.recipes import recipe
from reelseek.recipes.parts import OFFLINE_TEMPERATURE
from reelseek.recipes.presets import preset as apply_preset

BASE = "clip4clip-meanp-motions"
"""The recipe that every arm starts from: frozen towers, a rate of 1e-3."""
SHORT = {"train.epochs": 10, "train.batch_size": 64}
"""As many steps as the recipe's 20 epochs of 128 captions, at half the cost or less: chosen on validation (LOG.md)."""
PLAIN = "plain"
"""The way of scoring that every study has: no rescoring, every caption a query."""


@dataclass(frozen=True)
class Mode:
    """One way of scoring a trained run.

    evaluate: settings of `EvaluateConfig` by name. captions: queries kept of every video (the first ones); 0 keeps all.
    """

    evaluate: Mapping[str, Any] = field(default_factory=dict)
    captions: int = 0


@dataclass(frozen=True)
class Study:
    """A grid of arms over seeds, and the question that it answers.

    benchmark: a key of `reelseek.study.benchmarks.BENCHMARKS`.
    base: settings of every arm by dotted name, over those of the recipes for generated data. arms: settings of each arm
    over the base; "preset" names one of `reelseek.recipes.presets`, "benchmark" another benchmark for this arm.
    modes: ways of scoring besides `PLAIN`, by name. metrics: names of `reelseek.study.measures.MEASURES`.
    comparisons: (a, b) of scored arms: "arm", or "arm | mode"; a family may stand for an arm.
    families: arms that differ in a setting which no comparison is about; the one with the best mean validation R@1
    stands for the family.
    lines: for a figure over a number (`axis`), by name the (number, scored arm) of each point.
    minutes: what the study is allowed on two cores at its own number of seeds.
    """

    name: str
    question: str
    benchmark: str
    arms: Mapping[str, Mapping[str, Any]]
    comparisons: tuple[tuple[str, str], ...]
    base: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, Mode] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("R@1", "R@5", "MnR")
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lines: Mapping[str, tuple[tuple[float, str], ...]] = field(default_factory=dict)
    axis: str = ""
    seeds: int = 5
    minutes: int = 120
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Study:
        """The inverse of `to_json`."""
        known = {name: values[name] for name in (entry.name for entry in fields(cls))}
        known["modes"] = {name: Mode(**mode) for name, mode in values["modes"].items()}
        known["comparisons"] = tuple((a, b) for a, b in values["comparisons"])
        known["families"] = {name: tuple(arms) for name, arms in values["families"].items()}
        known["lines"] = {name: tuple((x, arm) for x, arm in points) for name, points in values["lines"].items()}
        known["metrics"], known["notes"] = tuple(values["metrics"]), tuple(values["notes"])
        return cls(**known)


class Run(NamedTuple):
    """One training run of a grid."""

    arm: str
    seed: int

    @property
    def folder(self) -> str:
        """Its place below a study's folder."""
        return f"runs/{re.sub('[^A-Za-z0-9]+', '-', self.arm).strip('-')}/{self.seed}"


def runs_of(study: Study, seeds: int) -> list[Run]:
    """Every run, all arms of a seed before the next seed: a grid that stops early is still balanced."""
    return [Run(arm, seed) for seed in range(seeds) for arm in study.arms]


def benchmark_of(study: Study, arm: str) -> str:
    """The benchmark that an arm is trained and tested on."""
    return str(study.arms[arm].get("benchmark", study.benchmark))


def with_arms(study: Study, names: Sequence[str]) -> Study:
    """The study with these of its arms alone, and with the comparisons and points that they leave whole.

    A family names its arms; one of which some are left out chooses among the rest, and a note says so. Raises
    ConfigError for a name that the study does not have.
    """
    wanted: set[str] = set()
    for name in names:
        if name not in study.arms and name not in study.families:
            raise ConfigError(f"study {study.name} has no arm {name!r}. Its arms: {'; '.join(study.arms)}.")
        wanted.update(study.families.get(name, (name,)))
    families = {family: tuple(arm for arm in arms if arm in wanted) for family, arms in study.families.items()}
    families = {family: arms for family, arms in families.items() if arms}
    left_out = {family: [arm for arm in study.families[family] if arm not in wanted] for family in families}
    notes = tuple(f"Left out of {family}: {'; '.join(arms)}." for family, arms in left_out.items() if arms)

    def whole(name: str) -> bool:
        return scored(name)[0] in wanted | set(families)

    lines = {line: tuple(point for point in points if whole(point[1])) for line, points in study.lines.items()}
    return replace(
        study,
        arms={arm: settings for arm, settings in study.arms.items() if arm in wanted},
        families=families,
        notes=(*study.notes, *notes),
        comparisons=tuple(pair for pair in study.comparisons if all(map(whole, pair))),
        lines={line: points for line, points in lines.items() if points},
    )


def lacks_towers(study: Study) -> bool:
    """Whether an arm trains towers along, and none that can be trained are named."""
    configs = (arm_config(study, Run(arm, 0), DataConfig()) for arm in study.arms)
    return any(config.train.backbone_learning_rate > 0 and config.method.backbone == "offline" for config in configs)


def over_towers(study: Study, towers: str) -> Study:
    """The study with other towers below every arm: a name or folder that `method.backbone` takes."""
    return replace(study, base={**study.base, "method.backbone": towers})


def modes_of(study: Study) -> dict[str, Mode]:
    """Every way of scoring, the plain one first."""
    return {PLAIN: Mode(), **study.modes}


def scored(name: str) -> tuple[str, str]:
    """Arm (or family) and mode of a scored arm's name."""
    arm, _, mode = name.partition(" | ")
    return arm, mode or PLAIN


def arm_config(study: Study, run: Run, data: DataConfig) -> RunConfig:
    """The settings of one run. data: where the arm's benchmark is, which the arm's own data settings may change.

    Raises ConfigError for a setting that does not exist.
    """
    config = with_settings(replace(recipe(BASE), data=data), SHORT)
    arm = dict(study.arms[run.arm])
    arm.pop("benchmark", None)
    preset = arm.pop("preset", None)
    towers = {**study.base, **arm}.get("method.backbone", "offline")
    if towers == "offline" and "gare" in arm.get("method.name", ""):
        config = with_settings(config, {"method.frame_temperature": OFFLINE_TEMPERATURE})
    config = with_settings(config, {**study.base, **arm})
    if preset is not None:
        config = with_settings(apply_preset(preset, config), arm)
    return with_settings(config, {"train.seed": run.seed, "evaluate.bootstrap": 0})


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """A run's settings with some changed by dotted name. Raises ConfigError for a name that does not exist."""
    for dotted, value in settings.items():
        section, _, name = dotted.partition(".")
        part = getattr(config, section, None)
        if part is None or name not in {entry.name for entry in fields(part)}:
            raise ConfigError(f"there is no setting {dotted!r}.")
        config = replace(config, **{section: replace(part, **{name: value})})
    return config


def mode_config(mode: Mode) -> EvaluateConfig:
    """The evaluation settings of a way of scoring. Raises ConfigError for a name that does not exist."""
    unknown = set(mode.evaluate) - {entry.name for entry in fields(EvaluateConfig)}
    if unknown:
        raise ConfigError(f"there is no setting 'evaluate.{min(unknown)}'.")
    return replace(EvaluateConfig(bootstrap=0), **dict(mode.evaluate))


def check(study: Study) -> None:
    """Refuse a study that does not fit together, before anything is run.

    Raises ConfigError: settings that do not exist, comparisons or points of arms or modes that do not exist, folders
    that two arms share.
    """
    for arm in study.arms:
        arm_config(study, Run(arm, 0), DataConfig())
    for mode in study.modes.values():
        mode_config(mode)
    members = [(family, arm) for family, arms in study.families.items() for arm in arms]
    named = [name for pair in study.comparisons for name in pair]
    named += [name for points in study.lines.values() for _, name in points]
    for name in named:
        arm, way = scored(name)
        if (arm not in study.arms and arm not in study.families) or way not in modes_of(study):
            raise ConfigError(f"study {study.name}: there is no scored arm {name!r}.")
    for family, arm in members:
        if arm not in study.arms or family in study.arms:
            raise ConfigError(f"study {study.name}: family {family!r} needs arms of other names; {arm!r} is none.")
    if len({run.folder for run in runs_of(study, 1)}) < len(study.arms):
        raise ConfigError(f"study {study.name}: two arms have names that differ in signs alone.")
