"""GARE's head: text-conditioned frame weights, and an increment of one side for every pair of text and video.

Xiao et al. 2025, arXiv 2505.12499. `GareHead` holds the parameters and chooses the path; the arithmetic is in
`reelseek.methods.gare_factorised` and `gare_words` (exact and fast) and `reelseek.methods.gare_plain` (the definition).

Two deliberate differences from the released code, neither of which changes a number where no frame is padded: padded
frames take no part in the frame weights, the mean frame or the attention (padding "counted" has it the other way); only
parameters that reach the score exist.

Shapes: T texts, V videos, F frames, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from reelseek.errors import ModelError
from reelseek.methods.gare_factorised import baseline_scores, factorised_scores
from reelseek.methods.gare_few import few_scores, is_few
from reelseek.methods.gare_plain import (
    Psi,
    Variant,
    draw_dropout,
    frame_shares,
    plain_scores,
    plain_scores_in_blocks,
    pool_frames,
    zero_padded,
)
from reelseek.methods.gare_scorers import matrix_scorer
from reelseek.methods.gare_words import word_scores
from reelseek.records import Scores, Texts, Videos
from reelseek.score.increments import dense_increments
from reelseek.score.parts import Parts, cosine_parts, increment_parts
from reelseek.score.similarity import check_lengths, check_mask, check_precision, masked_mean

AUTHORS_NAMES = {
    "q_proj": "cross_attn.q_proj",
    "k_proj": "cross_attn.k_proj",
    "v_proj": "cross_attn.v_proj",
    "out_proj": "cross_attn.out_proj",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "norm3": "layer_norm3",
}
"""Modules of a layer whose names differ in the released code."""

CHOICES: dict[str, tuple[Any, ...]] = {
    "dropout_kind": ("video", "pair"),
    "initialisation": ("normal", "identity"),
    "side": ("text", "video"),
    "context": ("frames", "words"),
    "query": ("gap", "text"),
    "sign": (1, -1),
    "padding": ("masked", "counted"),
}


class GareHead(nn.Module):
    """Cosine of the corrected text with the text-conditioned mean of the frames, or of the text with a corrected mean.

    width: D. temperature: of the frame weights, on raw dot products (3 in the released script).
    dropout: rate inside the increment module, in training only. dropout_kind: "video" draws it per (video, dimension),
        shared by all texts (per text, shared by all videos, where words are the context), and trains on the factorised
        path; "pair" draws it per pair as the released code does and trains on the plain path, many times slower.
    initialisation: "normal" is N(0, 0.02) with zero biases, what the released code ends up with; "identity" is what its
        module asks for before the model overwrites it (mean_proj stays normal).
    side: "text" scores cos(t + increment, p), "video" cos(t, p + increment), with p the text-conditioned mean of the
        frames. Which vector the paper corrects on the video's side it does not say; p is a reconstruction.
    context: what the attention looks at: the video's "frames", or the text's "words" (tokens_TLD and mask_TL).
    query: "gap" is sign x (mean frame - text), "text" the text alone, which has no sign.
    sign: 1 or -1, of the gap: for either side the paper's eta = +1 is sign 1. Its table has eta = +1 ahead on the
        text's side (49.1 against 47.8 with frames) and no clear winner on the video's (47.7 and 47.5 with frames).
    heads: of the attention; they must divide the width. The released code asks for 8 and builds 1.
    layers: chained, each with the last one's output for its query. The released code's loop feeds every layer the
        same input and keeps the last output, so that only its last layer counts; it is used with one.
    padding: "masked", or "counted" as in the released code: padded frames, as zeros, enter the mean frame and the
        attention, and the frame weights are not made to sum to 1 again. Words are always masked.
    counted_frames: with "counted", shorter videos are padded to so many frames first, as the released code pads every
        video to its most frames; without it a score would depend on the longest video at hand.
    """

    def __init__(
        self,
        width: int,
        *,
        temperature: float,
        dropout: float = 0.3,
        dropout_kind: Literal["video", "pair"] = "video",
        initialisation: Literal["normal", "identity"] = "normal",
        side: Literal["text", "video"] = "text",
        context: Literal["frames", "words"] = "frames",
        query: Literal["gap", "text"] = "gap",
        sign: Literal[1, -1] = 1,
        heads: int = 1,
        layers: int = 1,
        padding: Literal["masked", "counted"] = "masked",
        counted_frames: int = 0,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, not {temperature}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}.")
        given = {"dropout_kind": dropout_kind, "initialisation": initialisation, "side": side, "context": context}
        for name, value in {**given, "query": query, "sign": sign, "padding": padding}.items():
            if value not in CHOICES[name]:
                raise ValueError(f"{name} must be {' or '.join(map(repr, CHOICES[name]))}, not {value!r}.")
        if query == "text" and sign == -1:
            raise ValueError('sign is that of the gap: with query "text" it must be 1.')
        if layers < 1:
            raise ValueError(f"layers must be at least 1, not {layers}.")
        if heads < 1 or width % heads:
            raise ValueError(f"heads must be at least 1 and divide the width {width}, not {heads}.")
        if counted_frames < 0 or (counted_frames and padding != "counted"):
            raise ValueError(f'counted_frames goes with padding "counted" and is 0 or more, not {counted_frames}.')
        self.counted_frames = counted_frames
        self.variant = Variant(float(temperature), side, context, query, sign, heads, padding)
        self.dropout = dropout
        self.dropout_kind = dropout_kind
        self.psi = Psi(width, layers=layers, initialisation=initialisation)

    @property
    def temperature(self) -> float:
        """Of the frame weights."""
        return self.variant.temperature

    @property
    def needs_words(self) -> bool:
        """Whether texts must come with token vectors."""
        return self.variant.context == "words"

    @classmethod
    def from_authors(cls, weights: Mapping[str, Tensor], *, temperature: float) -> GareHead:
        """The head with the weights of the released module, under its names, and dropout 0.

        Anything before "layers.0." in the names is ignored, and so are the released module's unused parameters.
        Raises ModelError naming a tensor that is missing or has another shape.
        """
        anchor = "layers.0.cross_attn.q_proj.weight"
        found = sorted(name for name in weights if name.endswith(anchor))
        if not found:
            raise ModelError(f"these are not GARE's increment weights: no tensor is named {anchor!r}.")
        prefix = found[0].removesuffix(anchor)
        head = cls(weights[found[0]].shape[0], temperature=temperature, dropout=0.0)
        own = head.psi.state_dict()
        for name, value in own.items():
            *layer, module, kind = name.split(".")
            theirs = prefix + ".".join([*layer, AUTHORS_NAMES.get(module, module), kind])
            if theirs not in weights or weights[theirs].shape != value.shape:
                shape = tuple(weights[theirs].shape) if theirs in weights else "missing"
                raise ModelError(f"GARE's tensor {theirs!r} should have shape {tuple(value.shape)}, but is {shape}.")
            value.copy_(weights[theirs])
        return head

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Cosine similarity [T, V] and the increments, on the factorised path.

        A few texts, without gradients, take a shorter way (`reelseek.methods.gare_few`), training with "pair" dropout
        the plain one.

        Raises ValueError for an all-False mask row, for texts without words where they are the context, for weights in
        half precision, and naming the row for a text or real frame of zero or non-finite length.
        """
        if self.training and self.dropout > 0 and self.dropout_kind == "pair":
            return self._plain(texts, videos, plain_scores_in_blocks)
        few = is_few(len(texts.pooled_TD), videos.frames_VFD.shape[1])
        if few and not self.needs_words and not torch.is_grad_enabled():
            return self._plain(texts, videos, few_scores)
        texts, videos = self._checked_texts(texts), self._checked_videos(videos)
        with torch.autocast(texts.pooled_TD.device.type, enabled=False):
            noise = self._noise(texts, videos, None)
            if self.needs_words:
                return Scores(*word_scores(self.psi, self.variant, texts, videos, noise))
            return Scores(*factorised_scores(self.psi, self.variant, texts.pooled_TD, videos, noise))

    def prepare(self, videos: Videos, *, leaders: int = 0) -> Callable[[Texts], Tensor]:
        """A function from texts to the matrix [T, V] that `score` gives in evaluation, without gradients.

        For many batches of texts over the same videos: their bases are made once. It keeps the weights of this moment
        for them; with words for context nothing can be made before. leaders: above 0, products take bfloat16 operands
        and the `leaders` best videos of every text are scored again exactly, the others are off by up to some
        thousandths; where bfloat16 is no faster, all are exact. Raises as `score` does, and ValueError for leaders with
        words for context.
        """
        videos = self._checked_videos(videos)
        kind = videos.frames_VFD.device.type
        scorer: Callable[[Texts], Tensor]
        if self.needs_words:
            if leaders:
                raise ValueError("leaders need bases that the videos own: words for context have none.")

            def scorer(texts: Texts) -> Tensor:
                with torch.no_grad():
                    return word_scores(self.psi, self.variant, texts, videos, None)[0]

        else:
            with torch.autocast(kind, enabled=False):
                pooled_scorer = matrix_scorer(self.psi, self.variant, videos, leaders=leaders)

            def scorer(texts: Texts) -> Tensor:
                return pooled_scorer(texts.pooled_TD)

        def score(texts: Texts) -> Tensor:
            with torch.autocast(kind, enabled=False):
                return scorer(self._checked_texts(texts))

        return score

    def pooled(self, texts: Texts, videos: Videos) -> Tensor:
        """What every text sees of every video, before any increment [T, V, D]: for looking at a few hundred pairs."""
        return _pooled(self.variant, self._checked_texts(texts), self._checked_videos(videos))

    def explain(self, texts: Texts, videos: Videos) -> Parts:
        """The scores of evaluation taken apart, frame by frame, and what the increments are: for a few hundred pairs.

        An increment of the text's side moves what every frame adds; one of the video's side is a vector of its own
        beside the frames, and its product with the text is the rest. Raises as `score` does.
        """
        increments_TVD = dense_increments(self.score(texts, videos).increments)
        texts, videos = self._checked_texts(texts), zero_padded(self._checked_videos(videos))
        texts_T1D = texts.pooled_TD[:, None]
        shares_TVF = frame_shares(self.variant, texts.pooled_TD, videos).transpose(0, 1)
        pooled_TVD = pool_frames(self.variant, texts.pooled_TD, videos)
        counted = self.variant.padding == "counted"
        mean_VD = videos.frames_VFD.mean(dim=1) if counted else masked_mean(videos.frames_VFD, videos.mask_VF)
        if self.variant.side == "text":
            parts = cosine_parts(texts_T1D + increments_TVD, shares_TVF, videos.frames_VFD)
        else:
            parts = cosine_parts(texts_T1D, shares_TVF, videos.frames_VFD, increments_TVD)
        increment = increment_parts(self.variant.side, texts.pooled_TD, increments_TVD, pooled_TVD, mean_VD)
        return parts._replace(increment=increment)

    def score_reference(self, texts: Texts, videos: Videos) -> Scores:
        """The same by the definition, pair by pair, with dense increments [T, V, D]; raises as `score` does."""
        return self._plain(texts, videos, plain_scores)

    def _plain(self, texts: Texts, videos: Videos, scores: Callable[..., tuple[Tensor, Tensor]]) -> Scores:
        texts, videos = self._checked_texts(texts), self._checked_videos(videos)
        check_lengths(texts.pooled_TD.detach().square().sum(dim=1), "text")
        squared_VF = videos.frames_VFD.detach().square().sum(dim=2)
        check_lengths(squared_VF.masked_fill(~videos.mask_VF, 1), "video")
        others = len(videos.frames_VFD if self.needs_words else texts.pooled_TD)
        with torch.autocast(texts.pooled_TD.device.type, enabled=False):
            noise = self._noise(texts, videos, others if self.dropout_kind == "pair" else 1)
            return Scores(*scores(self.psi, self.variant, texts, videos, noise))

    def _noise(self, texts: Texts, videos: Videos, others: int | None) -> list[Tensor] | None:
        """Dropout factors of every layer, None outside training: [owners, D], or [owners, others, D]."""
        if not self.training or self.dropout == 0:
            return None
        owners = len(texts.pooled_TD if self.needs_words else videos.frames_VFD)
        width = texts.pooled_TD.shape[1]
        shape = (owners, width) if others is None else (owners, others, width)
        return [draw_dropout(shape, self.dropout, texts.pooled_TD) for _ in self.psi.layers]

    def _checked_texts(self, texts: Texts) -> Texts:
        """Texts in the weights' type: half-precision towers would lose the variances to rounding."""
        self._check_vectors(texts.pooled_TD, "texts")
        dtype = self.psi.mean_proj.weight.dtype
        if not self.needs_words or texts.tokens_TLD is None:
            return Texts(texts.pooled_TD.to(dtype))
        self._check_vectors(texts.tokens_TLD, "tokens")
        return Texts(texts.pooled_TD.to(dtype), texts.tokens_TLD.to(dtype), texts.mask_TL)

    def _checked_videos(self, videos: Videos) -> Videos:
        check_mask(videos.mask_VF, videos.frames_VFD)
        self._check_vectors(videos.frames_VFD, "frames")
        absent = max(0, self.counted_frames - videos.frames_VFD.shape[1])
        frames_VFD = videos.frames_VFD.to(self.psi.mean_proj.weight.dtype)
        if not absent:
            return Videos(frames_VFD, videos.mask_VF)
        return Videos(pad(frames_VFD, (0, 0, 0, absent)), pad(videos.mask_VF, (0, absent)))

    def _check_vectors(self, vectors: Tensor, what: str) -> None:
        check_precision(self.psi.mean_proj.weight)
        width = self.psi.mean_proj.in_features
        if vectors.shape[-1] != width:
            raise ValueError(f"this head takes embeddings of width {width}, not {vectors.shape[-1]} ({what}).")


class BaselineHead(nn.Module):
    """Cosine of the text with the text-conditioned mean of the frames: GARE without increments, without parameters."""

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, not {temperature}.")
        self.temperature = float(temperature)

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Cosine similarity [T, V]; raises as `GareHead.score` does."""
        check_mask(videos.mask_VF, videos.frames_VFD)
        return Scores(baseline_scores(texts.pooled_TD, videos.frames_VFD, videos.mask_VF, self.temperature))

    def pooled(self, texts: Texts, videos: Videos) -> Tensor:
        """What every text sees of every video [T, V, D]: for looking at a few hundred pairs."""
        check_mask(videos.mask_VF, videos.frames_VFD)
        return _pooled(Variant(self.temperature), texts, videos)

    def explain(self, texts: Texts, videos: Videos) -> Parts:
        """The scores taken apart, frame by frame; raises as `score` does."""
        check_mask(videos.mask_VF, videos.frames_VFD)
        videos = zero_padded(videos)
        shares_VTF = frame_shares(Variant(self.temperature), texts.pooled_TD, videos)
        return cosine_parts(texts.pooled_TD[:, None], shares_VTF.transpose(0, 1), videos.frames_VFD)


def _pooled(variant: Variant, texts: Texts, videos: Videos) -> Tensor:
    return pool_frames(variant, texts.pooled_TD, zero_padded(videos))
