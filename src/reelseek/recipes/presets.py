"""GARE twice: as its paper describes it and as its released code trains it. Light: imports settings alone.

A preset changes what the two say differently about the method and its loss, in the settings of any run; data, towers,
loop and evaluation stay as they are. Not here: the released training loop (its optimiser and schedule), and dropout
drawn per pair, which both have and which alone needs the slow path: `method.dropout_kind pair` chooses it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace

from reelseek.config import RunConfig
from reelseek.errors import ConfigError

WITH_INCREMENTS = ("gare", "camoe-gare")
"""Methods that have increments, and so something to preset."""


def as_described(run: RunConfig) -> RunConfig:
    """GARE by the text of its paper (arXiv 2505.12499, camera-ready).

    KL: averaged over the dimensions, weight 0.07. On the sum over 512 dimensions that is 1.37e-4, 37 % above the
    released weight: the two differ by more than their convention. A dimension's share of a mean falls with the width D,
    of a sum it does not: at D = 256, the width of the recipes over the offline towers, it is 2.73e-4, 2.7 times.
    Initialisation: the identity that the increment module asks for, which leaves its projection normal.
    Padding: masked; the paper knows videos of F frames only.
    Temperature of the frame weights: not stated in the paper, so the run's own stays.
    Same-video captions in a batch: negatives, since the InfoNCE of the paper has its positives on the diagonal alone.
    Alike in both: alpha 2, bound 0.5, weights 0.01 and 0.01, prior N(0, 1), dropout 0.3, one head, one layer.
    """
    loss = replace(run.loss, kl_reduction="mean", kl_weight=0.07)
    return _shared(
        replace(
            run, loss=loss, method=replace(run.method, initialisation="identity", padding="masked", counted_frames=0)
        )
    )


def as_released(run: RunConfig) -> RunConfig:
    """GARE by its released code (version of 2026-05-31).

    KL: summed over the dimensions, weight 1e-4, which is 0.0512 on their mean at D = 512 and 0.0256 at D = 256. The
    first release had the paper's 0.07 on the mean.
    Initialisation: normal with deviation 0.02, because the model's own initialisation overwrites the module's identity.
    Padding: counted. Padded frames enter the mean frame and the attention, and frame weights are masked after their
    softmax, so that they do not sum to 1. Every video is padded to the run's frames a video.
    Temperature of the frame weights: 3, from the training script (the program's default is 5).
    Same-video captions in a batch: negatives; targets that would spare them are computed there and never used.
    Norm term: there it becomes the number 0 above its bound; here it stays at -bound as a tensor. The gradient is zero
    in both, only the logged value differs.
    Not reproduced: the first release let its keys be computed on frames mixed across videos (mended in 2026-05), and
    for a time cut the gradient from the gap to the text.
    Alike in both: see `as_described`.
    """
    loss = replace(run.loss, kl_reduction="sum", kl_weight=1e-4)
    method = replace(run.method, initialisation="normal", padding="counted", frame_temperature=3.0)
    method = replace(method, counted_frames=run.sample.frames)
    return _shared(replace(run, loss=loss, method=method))


def _shared(run: RunConfig) -> RunConfig:
    method = replace(run.method, dropout=0.3, heads=1, increment_layers=1)
    loss = replace(
        run.loss,
        prior_sigma=1.0,
        direction="diversity",
        direction_weight=0.01,
        alpha=2.0,
        norm_weight=0.01,
        norm_bound=0.5,
        mask_known_positives=False,
    )
    return replace(run, method=method, loss=loss)


PRESETS: dict[str, Callable[[RunConfig], RunConfig]] = {"as-described": as_described, "as-released": as_released}


def preset(name: str, run: RunConfig) -> RunConfig:
    """The settings of a run with a preset applied.

    Raises ConfigError with a suggestion for an unknown name, and for a method that has no increments.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(PRESETS)}."
        raise ConfigError(f"there is no preset {name!r}. {hint}")
    if run.method.name not in WITH_INCREMENTS:
        raise ConfigError(
            f"the preset {name} is about GARE's increments, and {run.method.name} has none. "
            f"It can be used with {' and '.join(WITH_INCREMENTS)}."
        )
    return PRESETS[name](run)
