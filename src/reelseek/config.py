"""Every setting of a run, as frozen dataclasses of plain values (standard library only, so that --help is fast).

`reelseek.recipes` fills these in by name; a YAML file or dotted overrides change them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Ties = Literal["against", "mean", "for", "clip4clip"]


@dataclass(frozen=True)
class SampleConfig:
    """Which frames of a video are looked at.

    policy: "middle" (middle of each of `frames` equal segments), "uniform" (`frames` times from first to last),
        "fps" (one frame every 1/fps seconds; more than `frames` of them are thinned to `frames`).
    frames: most frames taken from a video. fps: frames a second for policy "fps".
    keyframes: take the nearest key frame instead of the exact one (faster, less exact).
    """

    policy: Literal["middle", "uniform", "fps"] = "middle"
    frames: int = 12
    fps: float = 1.0
    keyframes: bool = False


@dataclass(frozen=True)
class DataConfig:
    """Which benchmark, where its files are. `name` is a key of `reelseek.data.DATASETS`.

    video_column, caption_column: of a Hugging Face data set; guessed where empty.
    "motions": objects, how many different ones occur, and false_negatives, the share of items that repeat another
    item's programme (0 and None: the generator's own number, or that of the folder). noise: how training captions are
    spoilt, noise_rate: the share of them; the videos stay as they are.
    """

    name: str = "motions"
    root: str = ""
    captions: str = ""
    size: int = 0
    seed: int = 0
    video_column: str = ""
    caption_column: str = ""
    objects: int = 0
    false_negatives: float | None = None
    noise: Literal["none", "mismatch", "wrong_motion", "wrong_object", "dropped_clause", "typos"] = "none"
    noise_rate: float = 0.0


@dataclass(frozen=True)
class MethodConfig:
    """Which method, over which backbone. `name` is a key of `reelseek.methods.METHODS`.

    backbone: "offline", or a CLIP or SigLIP name or folder. width: D of the joint space, for backbones without one.
    temporal: module over frames, `layers` deep.
    GARE: frame_temperature of the text-conditioned frame weights. side: which side the increment corrects. context:
    what its attention looks at. query: "gap" (mean frame minus text), or the text alone. sign: 1 or -1, of the gap.
    heads, increment_layers: of the increment module. dropout: rate inside it. dropout_kind: "video" (drawn per video
    and dimension, exact factorised path) or "pair" (drawn per pair, plain path). initialisation: of its weights.
    padding: "masked", or "counted" as the released code has it, where padded frames enter the mean and the attention,
    after every video was padded to `counted_frames`: in a run `sample.frames` (0: to the longest at hand).
    CAMoE: sentences, how entity and action sentences are made. gate: which streams mix the experts. The three
    aggregations are each expert's pooling over frames. streams: those trained, comma-separated, "fusion" among them.
    inference: the fusion stream's scores alone, or the sum of all.
    text_layer: a trained layer over the text tower's tokens, whose mean then stands for the text.
    """

    name: str = "gare"
    backbone: str = "offline"
    width: int = 256
    temporal: Literal["mean", "lstm", "transformer"] = "mean"
    layers: int = 2
    frame_temperature: float = 3.0
    dropout: float = 0.3
    dropout_kind: Literal["video", "pair"] = "video"
    initialisation: Literal["normal", "identity"] = "normal"
    side: Literal["text", "video"] = "text"
    context: Literal["frames", "words"] = "frames"
    query: Literal["gap", "text"] = "gap"
    sign: Literal[1, -1] = 1
    heads: int = 1
    increment_layers: int = 1
    padding: Literal["masked", "counted"] = "masked"
    counted_frames: int = 0
    sentences: Literal["muw", "rkw", "akwe"] = "muw"
    gate: Literal["single", "multi", "full"] = "single"
    fusion_aggregation: Literal["mean", "se", "attention"] = "mean"
    entity_aggregation: Literal["mean", "se", "attention"] = "mean"
    action_aggregation: Literal["mean", "se", "attention"] = "mean"
    streams: str = "fusion,entity,action"
    inference: Literal["fusion", "sum"] = "fusion"
    text_layer: Literal["none", "transformer", "lstm"] = "none"


@dataclass(frozen=True)
class LossConfig:
    """The objective: a contrastive loss, and GARE's regularisers with their weights (0 leaves one out).

    direction: what keeps a text's increments apart: "diversity", or the penalty "orthogonality" of GARE's ablation.
    stream_weight: of CAMoE's entity and action losses beside the fusion stream's.
    """

    contrastive: Literal["info_nce", "dual_softmax"] = "info_nce"
    dual_softmax_temperature: float = 1000.0
    kl_weight: float = 1e-4
    kl_reduction: Literal["sum", "mean"] = "sum"
    prior_sigma: float = 1.0
    direction_weight: float = 0.01
    direction: Literal["diversity", "orthogonality"] = "diversity"
    alpha: float = 2.0
    norm_weight: float = 0.01
    norm_bound: float = 0.5
    mask_known_positives: bool = True
    stream_weight: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """The loop: an optimiser, a warm-up over `warmup` of all steps, a cosine to zero.

    backbone_learning_rate 0 keeps the towers frozen and trains on cached features; above 0 the logit scale, which is a
    part of CLIP, learns at it too.
    optimizer: "adamw", or "bertadam", the one that CLIP4Clip and GARE were released with, with its clipping of every
    parameter, its decay of norms and its schedule, which starts at 0 and jumps at the end of the warm-up.
    schedule_epochs: length of the schedule where it is not that of the run (0: it is); beyond it bertadam's cosine
    rises again, as GARE's does, whose schedule is written for 5 epochs.
    freeze_layers: -1 trains whole towers; n keeps their embeddings and first n layers as they are.
    chunk: examples that pass the towers at a time with cached gradients (0: the whole batch at once);
    gradient_checkpointing: recompute the towers' layers in the backward pass. Both save memory and change no result.
    max_logit_scale: the learned scale is clamped to it after every step. select: the validation metric that the best
    epoch has.
    """

    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 1e-4
    backbone_learning_rate: float = 0.0
    optimizer: Literal["adamw", "bertadam"] = "adamw"
    weight_decay: float = 0.2
    warmup: float = 0.1
    schedule_epochs: int = 0
    clip_norm: float = 1.0
    max_logit_scale: float = 100.0
    freeze_layers: int = -1
    chunk: int = 0
    gradient_checkpointing: bool = False
    select: Literal["R@1", "R@5", "R@10", "R@50", "MdR", "MnR"] = "R@1"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


@dataclass(frozen=True)
class EvaluateConfig:
    """How scores become numbers. block: texts and videos scored at a time, which bounds memory.

    rescoring: a correction of the score matrix. prior: what it reads of other queries: "test", all test queries;
    "batch", `prior_batch` test queries at a time; "bank", `bank_size` training captions drawn by `bank_seed`, with
    their videos. The first two are transductive. scale, gallery_scale, k, alpha, iterations: the correction's
    parameters; 0 stands for its usual value, and one that it does not have must be left at 0.
    """

    ties: Ties = "against"
    rescoring: Literal[
        "none",
        "dual_softmax",
        "inverted_softmax",
        "qb_norm",
        "csls",
        "dual_is",
        "dual_dis",
        "nnn",
        "sinkhorn",
        "sinkhorn_bias",
    ] = "none"
    prior: Literal["test", "batch", "bank"] = "test"
    prior_batch: int = 128
    bank_size: int = 5000
    bank_seed: int = 0
    rescoring_scale: float = 0.0
    rescoring_gallery_scale: float = 0.0
    rescoring_k: int = 0
    rescoring_alpha: float = 0.0
    rescoring_iterations: int = 0
    video_to_text: Literal["best_caption", "any_caption"] = "best_caption"
    block: int = 512
    bootstrap: int = 1000


@dataclass(frozen=True)
class IndexConfig:
    """How files become segments: `fps` frames a second (at least `min_frames` a file), cut every `segment_frames`.

    segments: "windows" of just that length, or "shots", of which those that are longer are cut into equal parts.
    """

    fps: float = 1.0
    min_frames: int = 4
    segment_frames: int = 12
    keyframes: bool = False
    segments: Literal["windows", "shots"] = "windows"


@dataclass(frozen=True)
class RunConfig:
    """Everything that one training run needs; written resolved beside its checkpoint."""

    data: DataConfig = field(default_factory=DataConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
