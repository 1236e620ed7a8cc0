"""CAMoE's head: a mixture of experts over frames, and three streams of texts and videos that are compared each alone.

Cheng et al. 2021, arXiv 2109.04290. Confirmed by published summaries: experts named fusion, entity and action; gates
that fuse them into video vectors; the whole sentence, the nouns and the verbs as their counterparts; a selective
("single") gate beating single-task and full-gate settings; the dual softmax loss (`reelseek.losses.contrastive`).
Neither the paper's text nor code was at hand: the gates, the experts (`reelseek.methods.camoe_experts`), the sentences
(`reelseek.language.sentences`) and how streams meet at inference are a reconstruction, each choice a setting.

Shapes: T texts, V videos, F frames, E mixed experts, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from reelseek.config import MethodConfig
from reelseek.errors import ConfigError
from reelseek.language.sentences import WORDS_OF, Sentences
from reelseek.methods.builders import assemble, gare_head, joint_width
from reelseek.methods.camoe_experts import AttentionExpert, MeanExpert, SqueezeExpert
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.methods.method import Head, Method
from reelseek.records import Backbone, Scores, Texts, Videos
from reelseek.score.parts import Parts
from reelseek.score.similarity import check_mask, masked_mean

FUSION = "fusion"
STREAMS = (FUSION, *WORDS_OF)
Gate = Literal["single", "multi", "full"]


def camoe(config: MethodConfig, backbone: Backbone) -> Method:
    """CAMoE: each stream scores by the cosine of its sentence with the mean of its frames."""
    return _build(config, backbone, lambda width: MeanPoolHead(normalise_frames=False), words=False)


def camoe_gare(config: MethodConfig, backbone: Backbone) -> Method:
    """CAMoE's streams scored by GARE: text-conditioned frame weights and an increment for every pair in each stream."""
    return _build(config, backbone, lambda width: gare_head(config, width), words=config.context == "words")


class CamoeHead(nn.Module):
    """Experts over frames, gates that mix them, and a head a stream.

    experts: stream -> expert (see `reelseek.methods.camoe_experts`), "fusion" among them. heads: stream -> what scores
    its texts with its frames. width: D.
    gate: which streams mix experts, by g = softmax(W x mean frame), W without bias and starting at zero, which mixes
    evenly. "single": the fusion stream mixes all experts, the others use their own. "multi": the others too mix, their
    own expert and the fusion expert. "full": every stream mixes all experts (MMoE). A stream whose experts are all mean
    pooling, thus one and the same, has no gate.
    inference: `matrix_TV` is that of the fusion stream, or the sum over the streams, divided by their number: it ranks
    as the sum does and stays within 1, for which corrections of scores have their scales; in training too, where the
    loss looks at `Scores.streams`.
    """

    def __init__(
        self,
        experts: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
        *,
        width: int,
        gate: Gate = "single",
        inference: Literal["fusion", "sum"] = "fusion",
    ) -> None:
        super().__init__()
        if FUSION not in experts or set(experts) != set(heads):
            raise ValueError(f"experts and heads are needed for the same streams, fusion among them: {list(experts)}")
        if gate not in ("single", "multi", "full"):
            raise ValueError(f'gate must be "single", "multi" or "full", not {gate!r}.')
        if inference not in ("fusion", "sum"):
            raise ValueError(f'inference must be "fusion" or "sum", not {inference!r}.')
        self.streams = tuple(experts)
        self.inference = inference
        self.experts = nn.ModuleDict(experts)
        self.heads = nn.ModuleDict(heads)
        self.mixed = {stream: mixed_experts(gate, stream, self.streams) for stream in self.streams}
        self.gates = nn.ModuleDict()
        for stream, mixed in self.mixed.items():
            if len(mixed) > 1 and not all(isinstance(experts[name], MeanExpert) for name in mixed):
                self.gates[stream] = nn.Linear(width, len(mixed), bias=False)
                nn.init.zeros_(cast(nn.Linear, self.gates[stream]).weight)

    @property
    def max_frames(self) -> float:
        """Most frames of a video that every expert has places for."""
        return min(getattr(expert, "max_frames", float("inf")) for expert in self.experts.values())

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Scores [T, V] of every stream, and of all together; increments by stream where the heads have them.

        Raises ValueError for texts without the sentences of a stream, for an all-False mask row, and as the heads do.
        """
        sentences, views = self._sentences(texts, self.streams), self.views(videos)
        found = {name: cast(Head, self.heads[name]).score(sentences[name], views[name]) for name in self.streams}
        matrices = {name: scores.matrix_TV for name, scores in found.items()}
        increments = {name: scores.increments for name, scores in found.items() if scores.increments is not None}
        return Scores(self._together(matrices), increments or None, matrices)

    def prepare(self, videos: Videos) -> Callable[[Texts], Tensor]:
        """A function from texts to the `matrix_TV` that `score` gives in evaluation, without gradients.

        The experts' work is done once, and only streams that the scores at inference need are looked at.
        """
        wanted = self.streams if self.inference == "sum" else (FUSION,)
        with torch.no_grad():
            views = self.views(videos)
            scorers = {name: _prepared(self.heads[name], views[name]) for name in wanted}

        @torch.no_grad()
        def score(texts: Texts) -> Tensor:
            sentences = self._sentences(texts, wanted)
            return self._together({name: scorer(sentences[name]) for name, scorer in scorers.items()})

        return score

    def pooled(self, texts: Texts, videos: Videos) -> Tensor:
        """What every text sees of every video in the fusion stream, as that stream's head has it: [T or 1, V, D]."""
        seen: Tensor = cast(Any, self.heads[FUSION]).pooled(texts._replace(streams=None), self.views(videos)[FUSION])
        return seen

    def explain(self, texts: Texts, videos: Videos) -> Parts:
        """Scores taken apart: every stream by its own head over its own mixture of the experts' frames, and their mean.

        The mean is over the streams that the score is made of; at inference "fusion" that is one. Raises as
        `score` does.
        """
        sentences, views = self._sentences(texts, self.streams), self.views(videos)
        streams = {name: cast(Any, self.heads[name]).explain(sentences[name], views[name]) for name in self.streams}
        counted = self.streams if self.inference == "sum" else (FUSION,)
        experts = {
            stream: dict(zip(self.mixed[stream], shares_VE.unbind(dim=1), strict=True))
            for stream, shares_VE in self.shares(videos).items()
        }
        return Parts(
            weights_TVF=torch.stack([streams[name].weights_TVF for name in counted]).mean(dim=0),
            contributions_TVF=torch.stack([streams[name].contributions_TVF for name in counted]).mean(dim=0),
            rest_TV=torch.stack([streams[name].rest_TV for name in counted]).mean(dim=0),
            streams=streams,
            counted=counted,
            experts=experts,
        )

    def views(self, videos: Videos) -> dict[str, Videos]:
        """The videos as every stream sees them: its mixture of the experts' frames [V, F, D], and the mask."""
        check_mask(videos.mask_VF, videos.frames_VFD)
        frames = {name: expert(*videos) for name, expert in self.experts.items()}
        shares = self.shares(videos)
        views = {}
        for stream, mixed in self.mixed.items():
            mixture_VFD = frames[stream]
            if stream in shares:
                parts = zip(mixed, shares[stream].unbind(dim=1), strict=True)
                mixture_VFD = torch.stack([share_V[:, None, None] * frames[name] for name, share_V in parts]).sum(dim=0)
            views[stream] = Videos(mixture_VFD, videos.mask_VF)
        return views

    def shares(self, videos: Videos) -> dict[str, Tensor]:
        """Shares [V, E], of sum 1, that `mixed[stream]` have in a stream's videos; only streams with a gate."""
        mean_VD = masked_mean(videos.frames_VFD, videos.mask_VF)
        return {stream: gate(mean_VD).softmax(dim=1) for stream, gate in self.gates.items()}

    def _sentences(self, texts: Texts, wanted: Sequence[str]) -> dict[str, Texts]:
        sentences = {FUSION: texts._replace(streams=None), **(texts.streams or {})}
        missing = [name for name in wanted if name not in sentences]
        if missing:
            raise ValueError(f"the texts come without the streams {missing}: encode them with this method.")
        return sentences

    def _together(self, matrices: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(list(matrices.values())).mean(dim=0) if self.inference == "sum" else matrices[FUSION]


def mixed_experts(gate: Gate, stream: str, streams: Sequence[str]) -> tuple[str, ...]:
    """The experts that a stream's videos are made of: see `CamoeHead`."""
    if stream == FUSION or gate == "full":
        return tuple(streams)
    return (FUSION, stream) if gate == "multi" else (stream,)


def streams_of(config: MethodConfig) -> tuple[str, ...]:
    """The streams of the settings, in their usual order. ConfigError for one unknown or repeated, or without fusion."""
    named = [name.strip() for name in config.streams.split(",")]
    if not set(named) <= set(STREAMS) or len(set(named)) < len(named) or FUSION not in named:
        raise ConfigError(
            f"method.streams {config.streams!r}: it names some of {', '.join(STREAMS)}, each once, fusion among them."
        )
    return tuple(name for name in STREAMS if name in named)


def _build(config: MethodConfig, backbone: Backbone, make_head: Callable[[int], nn.Module], *, words: bool) -> Method:
    width, streams = joint_width(config, backbone), streams_of(config)
    head = CamoeHead(
        {name: _expert(getattr(config, f"{name}_aggregation"), width) for name in streams},
        {name: make_head(width) for name in streams},
        width=width,
        gate=config.gate,
        inference=config.inference,
    )
    others = streams[1:]
    sentences = Sentences(config.sentences, others) if others else None
    return assemble(config, backbone, head, words=words, sentences=sentences)


def _expert(kind: Literal["mean", "se", "attention"], width: int) -> nn.Module:
    if kind == "mean":
        return MeanExpert()
    if kind == "se":
        return SqueezeExpert(width)
    if width % 64:
        raise ConfigError(f"self-attention has heads of 64: method.width {width} is not a multiple of it.")
    return AttentionExpert(width, heads=width // 64)


def _prepared(head: nn.Module, videos: Videos) -> Callable[[Texts], Tensor]:
    prepare: Any = getattr(head, "prepare", None)
    if prepare is None:
        return lambda texts: cast(Head, head).score(texts, videos).matrix_TV
    return cast(Callable[[Texts], Tensor], prepare(videos))
