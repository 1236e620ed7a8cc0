"""What recipes are put together from: a method with its losses, and a benchmark with its data, towers and loop.

Light: settings alone. The forms that a recipe comes in are in `reelseek.recipes.forms`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from reelseek.config import (
    DataConfig,
    EvaluateConfig,
    LossConfig,
    MethodConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
)

OFFLINE_TEMPERATURE = 10.0
"""Of the frame weights over offline towers, chosen on validation (see LOG.md); over CLIP it is 3."""
CLIP_B32 = "openai/clip-vit-base-patch32"


class MethodPart(NamedTuple):
    """A method, its objective, and the rescoring that it is published with."""

    method: MethodConfig
    loss: LossConfig = LossConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


SEQTRANSF = MethodConfig(temporal="transformer", layers=4)
CAMOE = MethodConfig(
    name="camoe",
    temporal="mean",
    fusion_aggregation="mean",
    entity_aggregation="se",
    action_aggregation="attention",
)
DSL = LossConfig(contrastive="dual_softmax")
DSL_SCORES = EvaluateConfig(rescoring="dual_softmax")

METHOD_PARTS: dict[str, MethodPart] = {
    "clip4clip-meanp": MethodPart(MethodConfig(name="clip4clip", temporal="mean")),
    "clip4clip-seqlstm": MethodPart(MethodConfig(name="clip4clip", temporal="lstm")),
    "clip4clip-seqtransf": MethodPart(replace(SEQTRANSF, name="clip4clip")),
    "gare-baseline": MethodPart(replace(SEQTRANSF, name="gare-baseline")),
    "gare": MethodPart(replace(SEQTRANSF, name="gare")),
    "camoe": MethodPart(CAMOE),
    "camoe-dsl": MethodPart(CAMOE, DSL, DSL_SCORES),
    "camoe-gare-dsl": MethodPart(replace(CAMOE, name="camoe-gare"), DSL, DSL_SCORES),
}
"""The first part of a recipe's name. "-dsl": dual softmax loss, and dual softmax when scores are evaluated.

CAMoE's experts aggregate frames as the paper's components do; which expert has which is a reconstruction.
"""


def offline(part: MethodPart, data: str, *, frames: int = 12) -> RunConfig:
    """Frozen offline towers over cached features: minutes on two processor cores.

    GARE's methods go without a temporal transformer there.
    """
    over = "mean" if part.method.name in ("gare", "gare-baseline") else part.method.temporal
    method = replace(part.method, backbone="offline", temporal=over)
    if "gare" in method.name:
        method = replace(method, frame_temperature=OFFLINE_TEMPERATURE)
    return RunConfig(
        data=DataConfig(name=data),
        sample=SampleConfig(policy="middle", frames=frames),
        method=method,
        loss=part.loss,
        train=TrainConfig(epochs=20, batch_size=128, learning_rate=1e-3),
        evaluate=part.evaluate,
    )


def over_clip(part: MethodPart, data: str, *, frames: int = 12) -> RunConfig:
    """CLIP ViT-B/32 end to end: AdamW, towers at 1e-6, heads at 1e-4, one frame a second, batch 128, 5 epochs.

    A caption is read up to CLIP's own 77 tokens, also where the papers stop at 32 (sentences) or 64 (paragraphs).
    """
    return RunConfig(
        data=DataConfig(name=data),
        sample=SampleConfig(policy="fps", frames=frames, fps=1.0),
        method=replace(part.method, backbone=CLIP_B32),
        loss=part.loss,
        train=TrainConfig(epochs=5, batch_size=128, learning_rate=1e-4, backbone_learning_rate=1e-6),
        evaluate=part.evaluate,
    )


def msvd(part: MethodPart) -> RunConfig:
    """As `over_clip`; GARE's release leaves out the temporal transformer on MSVD."""
    found = over_clip(part, "msvd")
    if part.method.name in ("gare", "gare-baseline"):
        return replace(found, method=replace(found.method, temporal="mean"))
    return found


def activitynet(part: MethodPart) -> RunConfig:
    """As `over_clip` with 64 frames; GARE corrects the video by the words there, and trains for 10 epochs."""
    found = over_clip(part, "activitynet", frames=64)
    if part.method.name == "gare":
        found = replace(found, method=replace(found.method, side="video", context="words"))
    if part.method.name in ("gare", "gare-baseline"):
        found = replace(found, train=replace(found.train, epochs=10))
    return found


BENCHMARK_PARTS: dict[str, Callable[[MethodPart], RunConfig]] = {
    "motions": lambda part: offline(part, "motions"),
    "folder": lambda part: offline(part, "folder"),
    "babyai": lambda part: offline(part, "babyai"),
    "exercises": lambda part: offline(part, "exercises", frames=2),
    "msrvtt": lambda part: over_clip(part, "msrvtt-1ka-9k"),
    "msrvtt-7k": lambda part: over_clip(part, "msrvtt-1ka-7k"),
    "msrvtt-full": lambda part: over_clip(part, "msrvtt-full"),
    "msvd": msvd,
    "lsmdc": lambda part: over_clip(part, "lsmdc"),
    "didemo": lambda part: over_clip(part, "didemo", frames=64),
    "activitynet": activitynet,
    "vatex": lambda part: over_clip(part, "vatex"),
    "youcook2": lambda part: over_clip(part, "youcook2"),
    "tgif": lambda part: over_clip(part, "tgif"),
}
"""The second part of a recipe's name. Where a method's paper says nothing of a benchmark (YouCook2 and TGIF in all
of them), MSR-VTT's settings are used."""
