"""Recipes: a name, and a function that returns the frozen settings of a run. Light: imports settings alone.

Here method, loss and data meet as values; `reelseek.recipes.run` turns them into a trained run.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace

from reelseek.config import DataConfig, LossConfig, MethodConfig, RunConfig, SampleConfig, TrainConfig
from reelseek.errors import ConfigError

MEANP = MethodConfig(name="clip4clip", temporal="mean")
SEQLSTM = MethodConfig(name="clip4clip", temporal="lstm")
SEQTRANSF = MethodConfig(name="clip4clip", temporal="transformer", layers=4)
GARE_BASELINE = MethodConfig(name="gare-baseline", temporal="transformer", layers=4)
GARE = MethodConfig(name="gare", temporal="transformer", layers=4)
CLIP_B32 = "openai/clip-vit-base-patch32"


def motions(method: MethodConfig) -> RunConfig:
    """The synthetic benchmark over the offline towers: frozen features, minutes on two processor cores."""
    return RunConfig(
        data=DataConfig(name="motions"),
        sample=SampleConfig(policy="middle", frames=12),
        method=replace(method, backbone="offline", frame_temperature=10.0),
        loss=LossConfig(),
        train=TrainConfig(epochs=20, batch_size=128, learning_rate=1e-3),
    )


def msrvtt(method: MethodConfig, data: str) -> RunConfig:
    """MSR-VTT over CLIP ViT-B/32, end to end: AdamW, towers at 1e-6, heads at 1e-4, 12 frames, batch 128, 5 epochs."""
    return RunConfig(
        data=DataConfig(name=data),
        sample=SampleConfig(policy="fps", frames=12, fps=1.0),
        method=replace(method, backbone=CLIP_B32),
        train=TrainConfig(epochs=5, batch_size=128, learning_rate=1e-4, backbone_learning_rate=1e-6),
    )


def folder(method: MethodConfig) -> RunConfig:
    """A folder of your own videos with a captions file, over the offline towers."""
    return replace(motions(method), data=DataConfig(name="folder"))


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "clip4clip-meanp-motions": lambda: motions(MEANP),
    "clip4clip-seqlstm-motions": lambda: motions(SEQLSTM),
    "clip4clip-seqtransf-motions": lambda: motions(SEQTRANSF),
    "gare-baseline-motions": lambda: motions(replace(GARE_BASELINE, temporal="mean")),
    "gare-motions": lambda: motions(replace(GARE, temporal="mean")),
    "clip4clip-meanp-folder": lambda: folder(MEANP),
    "gare-folder": lambda: folder(replace(GARE, temporal="mean")),
    "clip4clip-meanp-msrvtt": lambda: msrvtt(MEANP, "msrvtt-1ka-9k"),
    "clip4clip-seqlstm-msrvtt": lambda: msrvtt(SEQLSTM, "msrvtt-1ka-9k"),
    "clip4clip-seqtransf-msrvtt": lambda: msrvtt(SEQTRANSF, "msrvtt-1ka-9k"),
    "gare-msrvtt": lambda: msrvtt(GARE, "msrvtt-1ka-9k"),
    "gare-msrvtt-7k": lambda: msrvtt(GARE, "msrvtt-1ka-7k"),
    "gare-msrvtt-full": lambda: msrvtt(GARE, "msrvtt-full"),
}


def recipe(name: str) -> RunConfig:
    """The settings of a recipe. Raises ConfigError with a suggestion for an unknown name."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(RECIPES)}."
        raise ConfigError(f"there is no recipe {name!r}. {hint}")
    return RECIPES[name]()
