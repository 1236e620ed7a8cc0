"""The studies of this project, by name. What is not an arm's subject is as in the recipes for generated data.

Not here: how a study is run (`reelseek.study.grid`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from reelseek.errors import ConfigError
from reelseek.study.plan import Mode, Study

Arm = Mapping[str, Any]

MEANP: Arm = {"method.name": "clip4clip"}
BASELINE: Arm = {"method.name": "gare-baseline"}
GARE: Arm = {"method.name": "gare"}
INCREMENT: Arm = {**GARE, "loss.kl_weight": 0.0, "loss.direction_weight": 0.0, "loss.norm_weight": 0.0}
CAMOE: Arm = {"method.name": "camoe"}
ATTENTION: Arm = {
    **CAMOE,
    **{f"method.{expert}_aggregation": "attention" for expert in ("fusion", "entity", "action")},
}
CAMOE_GARE: Arm = {"method.name": "camoe-gare"}
DUAL: Arm = {"loss.contrastive": "dual_softmax"}
SLOWER, FASTER = 5e-4, 2e-3
"""Learning rates beside the recipes' 1e-3 for arms that are compared at the rate which validation prefers."""

_TOWERS, _TOWERS_SLOWER = 5e-4, 1e-4
"""Rates of towers that learn along."""

_INCREMENT_ARMS: dict[str, Arm] = {
    "baseline": BASELINE,
    "increment": INCREMENT,
    "+ KL": {**GARE, "loss.direction_weight": 0.0, "loss.norm_weight": 0.0},
    "+ direction": {**GARE, "loss.kl_weight": 0.0, "loss.norm_weight": 0.0},
    "+ norm": {**GARE, "loss.kl_weight": 0.0, "loss.direction_weight": 0.0},
    "GARE": GARE,
    "as described": {**GARE, "preset": "as-described"},
    "as released": {**GARE, "preset": "as-released"},
    "as released, same temperature": {**GARE, "preset": "as-released", "method.frame_temperature": 10.0},
    "dropout a pair": {**GARE, "method.dropout_kind": "pair"},
    "no dropout": {**GARE, "method.dropout": 0.0},
    "a quarter of the KL": {**GARE, "loss.kl_weight": 2.5e-5},
    "a sixteenth of the KL": {**GARE, "loss.kl_weight": 6.25e-6},
    "without KL": {**GARE, "loss.kl_weight": 0.0},
}
_KL_WEIGHTS = ("a quarter of the KL", "a sixteenth of the KL", "without KL")
_OTHER_RATES: dict[str, Arm] = {
    "baseline, slower": {**BASELINE, "train.learning_rate": SLOWER},
    "baseline, faster": {**BASELINE, "train.learning_rate": FASTER},
    "GARE, slower": {**GARE, "train.learning_rate": SLOWER},
    "GARE, faster": {**GARE, "train.learning_rate": FASTER},
}
_FEW = ("baseline", "increment", "GARE", "as described", "as released")
_BANK = {"prior": "bank"}
_RESCORERS: dict[str, Mode] = {
    "dual softmax": Mode({"rescoring": "dual_softmax"}),
    "dual softmax, batches of 128": Mode({"rescoring": "dual_softmax", "prior": "batch", "prior_batch": 128}),
    "dual softmax, bank": Mode({"rescoring": "dual_softmax", **_BANK}),
    "inverted softmax": Mode({"rescoring": "inverted_softmax"}),
    "inverted softmax, bank": Mode({"rescoring": "inverted_softmax", **_BANK}),
    "QB-Norm, bank": Mode({"rescoring": "qb_norm", **_BANK}),
    "CSLS": Mode({"rescoring": "csls"}),
    "DualIS, bank": Mode({"rescoring": "dual_is", **_BANK}),
    "DualDIS, bank": Mode({"rescoring": "dual_dis", **_BANK}),
    "NNN, bank": Mode({"rescoring": "nnn", **_BANK}),
    "Sinkhorn": Mode({"rescoring": "sinkhorn"}),
    "Sinkhorn bias, bank": Mode({"rescoring": "sinkhorn_bias", **_BANK}),
    "one caption": Mode(captions=1),
    "one caption, dual softmax": Mode({"rescoring": "dual_softmax"}, captions=1),
    "one caption, dual softmax, bank": Mode({"rescoring": "dual_softmax", **_BANK}, captions=1),
}
_LOSSES: dict[str, Arm] = {
    "mean pooling": MEANP,
    "mean pooling, dual loss": {**MEANP, **DUAL},
    "GARE": GARE,
    "GARE, dual loss": {**GARE, **DUAL},
}
_NOISES = {
    "mismatch": "another video's caption",
    "wrong_motion": "wrong motion",
    "wrong_object": "wrong object",
    "dropped_clause": "dropped clause",
    "typos": "typos",
}
_RATES = (0.25, 0.5)
_ROBUST: dict[str, Arm] = {"baseline": BASELINE, "GARE": GARE}
_SHARES = {0: "motions-0", 20: "motions-20", 40: "motions-40"}
_TEMPORAL: dict[str, Arm] = {
    "mean": {**MEANP, "method.temporal": "mean"},
    "LSTM": {**MEANP, "method.temporal": "lstm"},
    "transformer": {**MEANP, "method.temporal": "transformer"},
    "baseline over transformer": {**BASELINE, "method.temporal": "transformer"},
    "GARE over transformer": {**GARE, "method.temporal": "transformer"},
}
_WORDS = {"frozen sentence": "none", "transformer over words": "transformer", "LSTM over words": "lstm"}
_BATCHES = (32, 128, 512)


def _increment(name: str, benchmark: str, arms: tuple[str, ...], metrics: tuple[str, ...], **rest: Any) -> Study:
    families: dict[str, tuple[str, ...]] = {
        f"{arm} at its rate": (arm, f"{arm}, slower", f"{arm}, faster") for arm in ("baseline", "GARE")
    }
    chosen = {arm: _INCREMENT_ARMS[arm] for arm in arms} | _OTHER_RATES
    pairs = [("GARE at its rate", "baseline at its rate")]
    weights = tuple(arm for arm in arms if arm in _KL_WEIGHTS)
    if weights:
        families["GARE at its KL weight"] = ("GARE", *weights)
        pairs += [("GARE at its KL weight", arm) for arm in ("baseline", "increment", "GARE")]
    pairs += [(arm, "baseline") for arm in ("increment", "GARE", "as described", "as released") if arm in arms]
    pairs += [(arm, "increment") for arm in ("+ KL", "+ direction", "+ norm", "GARE") if arm in arms]
    pairs += [(arm, "GARE") for arm in ("dropout a pair", "no dropout") if arm in arms]
    pairs += [("as described", "as released")]
    pairs += [("as described", arm) for arm in ("as released, same temperature",) if arm in arms]
    return Study(
        name=name,
        question="Does GARE's increment beat its own baseline, which regulariser helps, and at what cost?",
        benchmark=benchmark,
        arms=chosen,
        families=families,
        comparisons=tuple(pairs),
        metrics=metrics,
        notes=(
            "as described, as released: the presets of these names, with every difference that they state; "
            "both keep other captions of a video as negatives, which no other arm does.",
        ),
        **rest,
    )


def _increment_towers() -> Study:
    arms: dict[str, Arm] = {"mean pooling": MEANP, "increment": INCREMENT}
    families: dict[str, tuple[str, ...]] = {}
    for method, settings in _ROBUST.items():
        slower = f"{method}, slower towers"
        arms |= {method: settings, slower: {**settings, "train.backbone_learning_rate": _TOWERS_SLOWER}}
        families[f"{method} at its rate"] = (method, slower)
    return Study(
        name="increment-towers",
        question="Does GARE's increment beat its own baseline where the towers learn along with it?",
        benchmark="babyai",
        base={
            "sample.policy": "uniform",
            "train.backbone_learning_rate": _TOWERS,
            "train.max_logit_scale": 20.0,
        },
        arms=arms,
        families=families,
        comparisons=(
            ("GARE at its rate", "baseline at its rate"),
            ("increment", "baseline"),
            ("GARE", "baseline"),
            ("GARE", "increment"),
            ("baseline", "mean pooling"),
            ("GARE", "mean pooling"),
        ),
        metrics=("corrected R@1", "R@1", "corrected MnR", "swap"),
        notes=(
            "Every arm starts from the same towers, trained on other episodes with mean pooling (--towers), and trains "
            "them on.",
        ),
    )


def _rescoring_pairs() -> tuple[tuple[str, str], ...]:
    pairs = [(f"{arm}, dual loss", arm) for arm in ("mean pooling", "GARE")]
    pairs += [(f"{arm}, dual loss | dual softmax", f"{arm} | dual softmax") for arm in ("mean pooling", "GARE")]
    for arm in ("mean pooling", "GARE"):
        for mode, settings in _RESCORERS.items():
            plain = f"{arm} | one caption" if settings.captions else arm
            if settings.evaluate:
                pairs.append((f"{arm} | {mode}", plain))
    return tuple(pairs)


def _noise() -> Study:
    arms = dict(_ROBUST)
    lines: dict[str, list[tuple[float, str]]] = {}
    pairs = [("GARE", "baseline")]
    for noise, words in _NOISES.items():
        for method, settings in _ROBUST.items():
            points: list[tuple[float, str]] = [(0.0, method)]
            for rate in _RATES:
                arm = f"{method}, {words} {rate:.0%}"
                arms[arm] = {**settings, "data.noise": noise, "data.noise_rate": rate}
                points.append((100 * rate, arm))
            lines[f"{method}, {words}"] = points
        pairs += [(f"GARE, {words} {rate:.0%}", f"baseline, {words} {rate:.0%}") for rate in _RATES]
        pairs += [(f"{method}, {words} 50%", method) for method in _ROBUST]
    return Study(
        name="noise",
        question="How much does each kind of caption noise cost, and does GARE stand it better than its baseline?",
        benchmark="motions",
        arms=arms,
        comparisons=tuple(pairs),
        lines={name: tuple(points) for name, points in lines.items()},
        axis="% of training captions spoilt",
        metrics=("R@1", "R@1 by lot", "R@5", "MnR"),
    )


def _false_negatives() -> Study:
    arms: dict[str, Arm] = {}
    lines: dict[str, tuple[tuple[float, str], ...]] = {}
    pairs: list[tuple[str, str]] = []
    for method, settings in _ROBUST.items():
        for masked, words in ((True, "known"), (False, "unknown")):
            for share, benchmark in _SHARES.items():
                arms[f"{method}, {words} {share}%"] = {
                    **settings, "benchmark": benchmark, "loss.mask_known_positives": masked,
                }  # fmt: skip
            lines[f"{method}, {words}"] = tuple((share, f"{method}, {words} {share}%") for share in _SHARES)
        pairs += [(f"{method}, known {share}%", f"{method}, unknown {share}%") for share in _SHARES]
    for words in ("known", "unknown"):
        pairs += [(f"GARE, {words} {share}%", f"baseline, {words} {share}%") for share in _SHARES]
    return Study(
        name="false-negatives",
        question="What do false negatives cost, in training and in the test, and does masking the known ones help?",
        benchmark="motions-0",
        arms=arms,
        comparisons=tuple(pairs),
        lines=lines,
        axis="% of videos that show another one's programme again",
        metrics=("R@1", "corrected R@1", "MnR", "corrected MnR"),
        notes=(
            "Each share is a benchmark of its own, test split included: numbers of different shares do not compare.",
            "Strict: only the video that a text was written for is right. Corrected: every video of which it is true.",
            "known, unknown: whether training leaves true matches off the diagonal out of its negatives.",
        ),
    )


def _batch_size() -> Study:
    arms: dict[str, Arm] = {}
    families: dict[str, tuple[str, ...]] = {}
    for method, settings in _ROBUST.items():
        for size in _BATCHES:
            names = []
            for rate in (SLOWER, 1e-3, FASTER):
                names.append(f"{method}, batch {size}, rate {rate:g}")
                arms[names[-1]] = {**settings, "train.batch_size": size, "train.learning_rate": rate}
            families[f"{method}, batch {size}"] = tuple(names)
    pairs = [(f"{method}, batch {size}", f"{method}, batch 128") for method in _ROBUST for size in (32, 512)]
    pairs += [(f"GARE, batch {size}", f"baseline, batch {size}") for size in _BATCHES]
    return Study(
        name="batch-size",
        question="What does the batch size do at equal examples seen, each at the rate that validation prefers?",
        benchmark="motions",
        arms=arms,
        families=families,
        comparisons=tuple(pairs),
        lines={method: tuple((float(size), f"{method}, batch {size}") for size in _BATCHES) for method in _ROBUST},
        axis="batch size",
        metrics=("R@1", "R@1 by lot", "R@5", "MnR"),
    )


def _temporal_arms(readings: Iterable[str], **settings: Any) -> dict[str, Arm]:
    """Every temporal module over every reading of the text, two layers each."""
    return {
        f"{frames}, {words}": {**module, "method.layers": 2, "method.text_layer": _WORDS[words], **settings}
        for words in readings
        for frames, module in _TEMPORAL.items()
    }


def _order() -> Study:
    arms = _temporal_arms(_WORDS)
    pairs = [(f"{frames}, {words}", f"mean, {words}") for words in _WORDS for frames in ("LSTM", "transformer")]
    pairs += [(f"{frames}, transformer over words", f"{frames}, frozen sentence") for frames in _TEMPORAL]
    pairs += [(f"GARE over transformer, {words}", f"baseline over transformer, {words}") for words in _WORDS]
    return Study(
        name="order",
        question="Which temporal module, over which reading of the text, tells a video from its twin in another order?",
        benchmark="motions",
        arms=arms,
        comparisons=tuple(pairs),
        metrics=("swap", "binding", "R@1 by lot", "R@1"),
        minutes=180,
        notes=(
            "swap: percent of captions that score their video above the one with its clauses swapped. Chance is 50; a "
            "method that cannot see order scores 0, since a tie is a failure.",
            "The frozen sentence vector is the control: it was trained elsewhere, to see what two captions share.",
        ),
    )


def _order_contrasts() -> Study:
    readings = ("frozen sentence", "LSTM over words")
    arms = _temporal_arms(readings, **{"train.epochs": 20, "train.batches": "contrasts"})
    shuffled = ("mean", "LSTM", "transformer")
    arms |= {
        f"{frames}, LSTM over words, shuffled": {**arms[f"{frames}, LSTM over words"], "train.batches": "shuffled"}
        for frames in shuffled
    }
    pairs = [(f"{frames}, LSTM over words", f"{frames}, LSTM over words, shuffled") for frames in shuffled]
    pairs += [(f"{frames}, LSTM over words", f"{frames}, frozen sentence") for frames in _TEMPORAL]
    for words in readings:
        pairs += [(f"{frames}, {words}", f"mean, {words}") for frames in ("LSTM", "transformer")]
        pairs += [(f"GARE over transformer, {words}", f"baseline over transformer, {words}")]
    return Study(
        name="order-contrasts",
        question="Is order learnt where a caption meets one of its video's twin in the batch, and by which module?",
        benchmark="motions",
        arms=arms,
        comparisons=tuple(pairs),
        metrics=("swap", "binding", "R@1 by lot", "R@1"),
        minutes=180,
        notes=(
            "Batches put a caption beside one of a video that shows the same in another order, or with its parts "
            "exchanged (train.batches contrasts); arms named shuffled do not. 20 epochs each.",
        ),
    )


def _order_babyai() -> Study:
    contrasts = {"train.batches": "contrasts"}
    arms: dict[str, Arm] = {
        frames: {**_TEMPORAL[frames], "method.layers": 2, **contrasts} for frames in ("mean", "LSTM", "transformer")
    }
    arms["LSTM, shuffled"] = {**arms["LSTM"], "train.batches": "shuffled"}
    return Study(
        name="order-babyai",
        question="Is order learnt from the language of another benchmark, where captions of twins meet in a batch?",
        benchmark="babyai",
        base={"sample.policy": "uniform", "train.epochs": 20, "method.text_layer": "lstm"},
        arms=arms,
        comparisons=(
            ("LSTM", "LSTM, shuffled"),
            ("LSTM", "mean"),
            ("transformer", "mean"),
            ("LSTM", "transformer"),
        ),
        metrics=("swap", "corrected R@1", "R@1", "corrected MnR"),
        notes=(
            "Frozen towers; an LSTM over words reads the mission. A twin is the same room with the two parts of an "
            "ordered mission exchanged. Batches put a mission beside its twin's (train.batches contrasts), but for the "
            "arm named shuffled.",
        ),
    )


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        _increment(
            "increment", "motions", tuple(_INCREMENT_ARMS), ("R@1", "R@1 by lot", "R@5", "R@10", "MnR")
        ),
        _increment("increment-babyai", "babyai", _FEW, ("corrected R@1", "R@1", "corrected MnR", "swap")),
        _increment_towers(),
        _increment("increment-exercises", "exercises", _FEW, ("R@1", "R@10", "MnR"), base={"sample.frames": 2}),
        _increment("increment-folder", "folder", _FEW, ("R@1", "R@10", "MnR")),
        Study(
            name="rescoring",
            question="What does dual softmax bring, in the loss and at inference, what other corrections of scores, "
            "and which of them need the other test queries?",
            benchmark="motions",
            arms=_LOSSES,
            modes=_RESCORERS,
            comparisons=_rescoring_pairs(),
            metrics=("R@1", "R@1 by lot", "R@5", "MnR"),
        ),
        Study(
            name="camoe",
            question="Which of CAMoE's streams, sentences, aggregations and gates helps, and does it go with GARE?",
            benchmark="motions",
            arms={
                "fusion alone": {**CAMOE, "method.streams": "fusion"},
                "fusion and entity": {**CAMOE, "method.streams": "fusion,entity"},
                "fusion and action": {**CAMOE, "method.streams": "fusion,action"},
                "three streams": CAMOE,
                "three streams, summed": {**CAMOE, "method.inference": "sum"},
                "key words alone": {**CAMOE, "method.sentences": "rkw"},
                "key word vectors": {**CAMOE, "method.sentences": "akwe"},
                "action by SE": {**CAMOE, "method.action_aggregation": "se"},
                "action by attention": {**CAMOE, "method.action_aggregation": "attention"},
                "all by attention": ATTENTION,
                "all by attention, gate: multi": {**ATTENTION, "method.gate": "multi"},
                "all by attention, gate: full": {**ATTENTION, "method.gate": "full"},
                "three streams, dual loss": {**CAMOE, **DUAL},
                "CAMoE and GARE": CAMOE_GARE,
                "CAMoE and GARE, dual loss": {**CAMOE_GARE, **DUAL},
                "mean pooling": MEANP,
            },
            modes={"dual softmax": Mode({"rescoring": "dual_softmax"})},
            comparisons=(
                ("fusion alone", "mean pooling"),
                ("three streams", "fusion alone"),
                ("fusion and entity", "fusion alone"),
                ("fusion and action", "fusion alone"),
                ("three streams, summed", "three streams"),
                ("key words alone", "three streams"),
                ("key word vectors", "three streams"),
                ("action by SE", "three streams"),
                ("action by attention", "three streams"),
                ("all by attention", "three streams"),
                ("all by attention, gate: multi", "all by attention"),
                ("all by attention, gate: full", "all by attention"),
                ("three streams, dual loss", "three streams"),
                ("three streams, dual loss | dual softmax", "three streams | dual softmax"),
                ("CAMoE and GARE", "three streams"),
                ("CAMoE and GARE, dual loss | dual softmax", "three streams, dual loss | dual softmax"),
                ("CAMoE and GARE, dual loss", "CAMoE and GARE"),
            ),
            metrics=("R@1", "R@1 by lot", "R@5", "MnR", "binding"),
        ),
        _noise(),
        _false_negatives(),
        _batch_size(),
        _order(),
        _order_contrasts(),
        _order_babyai(),
    )
}  # fmt: skip


def study_named(name: str) -> Study:
    """A study by name. Raises ConfigError with the nearest known name."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(STUDIES)}."
        raise ConfigError(f"there is no study {name!r}. {hint}")
    return STUDIES[name]
