"""Every setting of a run, as frozen dataclasses of plain values (standard library only, so that --help is fast).

`reelseek.recipes` fills these in by name; a YAML file or dotted overrides change them. A docstring has a line
`name: text` for every setting: the commands' help shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Ties = Literal["against", "mean", "for", "clip4clip"]


@dataclass(frozen=True)
class SampleConfig:
    """Which frames of a video are looked at.

    policy: "middle" takes the middle of each of `frames` equal parts, "uniform" `frames` times from first to last,
        "fps" one frame every 1/fps seconds, thinned to `frames` where there are more.
    frames: most frames taken from a video.
    fps: frames a second, for the policy "fps".
    keyframes: take the nearest key frame instead of the exact one: faster, less exact.
    """

    policy: Literal["middle", "uniform", "fps"] = "middle"
    frames: int = 12
    fps: float = 1.0
    keyframes: bool = False


@dataclass(frozen=True)
class DataConfig:
    """Which benchmark, and where its files are.

    name: the reader, such as motions or msrvtt-1ka-9k; an unknown name is answered with all of them.
    root: its folder (for "hf" also a name on the hub); "motions" and "babyai" are made in the user's cache without one.
    captions: a captions file instead of the usual one below `root`, for the readers "folder" and "msvd".
    size: training videos to make, for "motions" and "babyai" (0: those that are there, or 500); elsewhere the most that
        are used, drawn by `seed` (0: all).
    seed: of everything that is drawn: what is made, split or left out.
    video_column: for "hf": the column of videos, guessed where empty.
    caption_column: for "hf": the column of captions, guessed where empty.
    objects: for "motions": how many different objects occur (0: the folder's number, or the generator's own).
    false_negatives: for "motions": share of items that repeat another item's programme (null: the folder's share, or
        the generator's own).
    noise: for "motions": how training captions are spoilt; the videos stay as they are.
    noise_rate: for "motions": share of the training captions that are spoilt.
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
    """Which method, over which backbone.

    name: the method, such as gare or clip4clip.
    backbone: the towers: "offline", a CLIP or SigLIP name or folder, or a folder of small towers (`reelseek towers`).
    width: D of the joint space, for towers without one of their own, such as the offline ones.
    temporal: module over a video's frames.
    layers: layers of a temporal transformer.
    frame_temperature: GARE: a text's weights over frames are a softmax of products divided by it.
    dropout: GARE: rate inside the increment's module.
    dropout_kind: GARE: "video" draws per video and dimension (exact fast path), "pair" per pair, as released (slow).
    initialisation: GARE: of the increment's weights: "normal" (deviation 0.02), or "identity".
    side: GARE: which side the increment corrects.
    context: GARE: what the increment's attention looks at.
    query: GARE: what asks in that attention: the gap (mean frame minus text), or the text alone.
    sign: GARE: sign of the gap.
    heads: GARE: heads of that attention; they must divide the width.
    increment_layers: GARE: layers of the increment's module, chained.
    padding: GARE: "masked" leaves padded frames out; "counted" lets them into mean and attention, as released.
    counted_frames: GARE: frames that every video is padded to where they are counted: in a run `sample.frames` (0: the
        longest at hand).
    sentences: CAMoE: how entity and action sentences are made: other words masked in the tower ("muw"), key words alone
        ("rkw"), or the mean of the key words' vectors ("akwe").
    gate: CAMoE: "single": the fusion stream alone mixes all experts; "multi": the others mix their own and fusion's;
        "full": all mix all.
    fusion_aggregation: CAMoE: how the fusion expert pools frames; "se" is squeeze and excitation.
    entity_aggregation: CAMoE: how the entity expert pools frames.
    action_aggregation: CAMoE: how the action expert pools frames.
    streams: CAMoE: streams that are trained, separated by commas, fusion among them.
    inference: CAMoE: score of the fusion stream alone, or of all streams together.
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
    """The objective: a contrastive loss, and GARE's regularisers by weight.

    contrastive: symmetric InfoNCE, or the dual softmax loss.
    dual_softmax_temperature: temperature of that loss's prior: 1000 is nearly InfoNCE, lower ones weigh harder.
    kl_weight: GARE: weight of the bottleneck (0 leaves it out).
    kl_reduction: GARE: the bottleneck summed over the D dimensions, as released, or averaged, as described.
    prior_sigma: GARE: deviation of the bottleneck's prior.
    direction_weight: GARE: weight of the direction term (0 leaves it out).
    direction: GARE: the direction term: "diversity", or the penalty "orthogonality" of its ablation.
    alpha: GARE: sharpness of "diversity"; nothing for "orthogonality".
    norm_weight: GARE: weight of the term that rewards lengths of increments that differ (0 leaves it out).
    norm_bound: GARE: variance of the lengths beyond which nothing is rewarded.
    mask_known_positives: leave other true matches in a batch out of the negatives.
    stream_weight: CAMoE: weight of the entity and action streams' losses beside the fusion stream's.
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
    """The loop: an optimiser, a warm-up, a cosine to zero.

    epochs: passes over the training captions.
    batch_size: pairs of a step, the negatives of one another; torchrun's processes share it.
    batches: order of the captions: "contrasts" puts a caption beside one of a video that differs from its own in
        little, where the data knows such videos ("motions", "babyai").
    learning_rate: highest rate of everything but the towers.
    backbone_learning_rate: highest rate of the towers, and of the logit scale where they learn (0: frozen towers, and
        heads trained on cached features).
    optimizer: "adamw", or "bertadam", which CLIP4Clip and GARE were released with: it clips every parameter's gradient,
        decays norms too, and has its own schedule.
    weight_decay: decay of the weights.
    warmup: share of all steps over which the rate rises.
    schedule_epochs: epochs that the schedule is made for (0: those of the run); beyond them bertadam's rate rises.
    clip_norm: longest gradient of all parameters together (0: any length).
    max_logit_scale: bound of the learned logit scale, held after every step.
    freeze_layers: layers of towers that learn, which stay as they are, with the embeddings (-1: whole towers learn).
    chunk: examples that pass the towers at a time; the results are those of the whole batch (0: all at once).
    workers: processes that decode videos for each training process, where towers learn (-1: as many as its share of the
        cores and the shared memory allow; 0: it decodes by itself).
    gradient_checkpointing: recompute the towers' layers in the backward pass: less memory, the same results.
    select: the validation metric that chooses the epoch; lower is better for MdR and MnR.
    seed: of first weights, order and dropout.
    device: where it runs; "auto" takes CUDA where there is one, else the CPU.
    precision: of the computation: 32 bits, or mixed with bfloat16 or float16.
    """

    epochs: int = 5
    batch_size: int = 128
    batches: Literal["shuffled", "contrasts"] = "shuffled"
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
    workers: int = -1
    gradient_checkpointing: bool = False
    select: Literal["R@1", "R@5", "R@10", "R@50", "MdR", "MnR"] = "R@1"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


@dataclass(frozen=True)
class EvaluateConfig:
    """How scores become numbers, and which correction of them.

    ties: rank of a right video among equal scores: behind them, in their middle, before them, or as CLIP4Clip's code
        counts.
    rescoring: correction of the score matrix by what other queries score.
    prior: the other queries: all of the test, `prior_batch` of them at a time (both transductive), or a bank of
        training captions.
    prior_batch: test queries that see one another, for the prior "batch".
    bank_size: training captions of a bank, with their videos.
    bank_seed: by which they are drawn.
    rescoring_scale: the correction's factor on scores (0: its usual value).
    rescoring_gallery_scale: the same, for scores within the gallery's side (0: its usual value).
    rescoring_k: how many best ones the correction looks at (0: its usual number).
    rescoring_alpha: how much the correction takes off (0: its usual value).
    rescoring_iterations: how often rows and columns are scaled in turn (0: its usual number).
    video_to_text: from video to text: each video with its best caption, or the best-placed true caption among all.
    block: texts and videos scored at a time: less needs less memory, for the same numbers.
    bootstrap: samples of the intervals (0: no intervals).
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
    """How files become the segments of an index.

    fps: frames looked at a second.
    min_frames: least frames of a file, however short it is.
    segment_frames: frames of a segment.
    keyframes: look at key frames only: faster, less exact.
    segments: "windows" of just that length, or "shots", of which longer ones are cut into equal parts.
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
