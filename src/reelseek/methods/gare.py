"""GARE's head: text-conditioned frame weights, and an increment of the text for every pair of text and video.

Xiao et al. 2025, arXiv 2505.12499. `GareHead` holds the parameters and chooses the path; the arithmetic is in
`reelseek.methods.gare_factorised` (exact and fast) and `reelseek.methods.gare_plain` (the definition).

Two deliberate differences from the released code, neither of which changes a number where no frame is padded: padded
frames take no part in the frame weights, the mean frame or the attention; only parameters that reach the score exist.

Shapes: T texts, V videos, F frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from reelseek.errors import ModelError
from reelseek.methods.gare_factorised import baseline_scores, factorised_scores, matrix_scorer
from reelseek.methods.gare_plain import Psi, draw_dropout, plain_scores
from reelseek.records import Scores, Texts, Videos
from reelseek.score.similarity import check_lengths, check_mask

AUTHORS_NAMES = {
    "q_proj": "layers.0.cross_attn.q_proj",
    "k_proj": "layers.0.cross_attn.k_proj",
    "v_proj": "layers.0.cross_attn.v_proj",
    "out_proj": "layers.0.cross_attn.out_proj",
    "linear1": "layers.0.linear1",
    "norm1": "layers.0.layer_norm1",
    "norm2": "layers.0.layer_norm2",
    "norm3": "layers.0.layer_norm3",
    "mean_proj": "mean_proj",
}


class GareHead(nn.Module):
    """Cosine of the corrected text with the text-conditioned mean of the frames.

    width: D. temperature: of the frame weights, on raw dot products (3 in the released script).
    dropout: rate inside the increment module, in training only. dropout_kind: "video" draws it per (video, dimension),
        shared by all texts, and trains on the factorised path; "pair" draws it per pair as the released code does and
        trains on the plain path, many times slower.
    initialisation: "normal" is N(0, 0.02) with zero biases, what the released code ends up with; "identity" is what its
        module asks for before the model overwrites it (mean_proj stays normal).
    """

    def __init__(
        self,
        width: int,
        *,
        temperature: float,
        dropout: float = 0.3,
        dropout_kind: Literal["video", "pair"] = "video",
        initialisation: Literal["normal", "identity"] = "normal",
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, not {temperature}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}.")
        if dropout_kind not in ("video", "pair"):
            raise ValueError(f'dropout_kind must be "video" or "pair", not {dropout_kind!r}.')
        if initialisation not in ("normal", "identity"):
            raise ValueError(f'initialisation must be "normal" or "identity", not {initialisation!r}.')
        self.temperature = float(temperature)
        self.dropout = dropout
        self.dropout_kind = dropout_kind
        self.psi = Psi(width, initialisation=initialisation)

    @classmethod
    def from_authors(cls, weights: Mapping[str, Tensor], *, temperature: float) -> GareHead:
        """The head with the weights of the released module, under its names, and dropout 0.

        Anything before "layers.0." in the names is ignored, and so are the released module's unused parameters.
        Raises ModelError naming a tensor that is missing or has another shape.
        """
        anchor = AUTHORS_NAMES["q_proj"] + ".weight"
        found = sorted(name for name in weights if name.endswith(anchor))
        if not found:
            raise ModelError(f"these are not GARE's increment weights: no tensor is named {anchor!r}.")
        prefix = found[0].removesuffix(anchor)
        head = cls(weights[found[0]].shape[0], temperature=temperature, dropout=0.0)
        own = head.psi.state_dict()
        for name, value in own.items():
            module, kind = name.split(".")
            theirs = f"{prefix}{AUTHORS_NAMES[module]}.{kind}"
            if theirs not in weights or weights[theirs].shape != value.shape:
                shape = tuple(weights[theirs].shape) if theirs in weights else "missing"
                raise ModelError(f"GARE's tensor {theirs!r} should have shape {tuple(value.shape)}, but is {shape}.")
            value.copy_(weights[theirs])
        return head

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Cosine similarity [T, V] and the increments, on the factorised path (training with "pair" dropout: plain).

        Raises ValueError for an all-False mask row, and naming the row for a text or real frame of zero or non-finite
        length.
        """
        if self.training and self.dropout > 0 and self.dropout_kind == "pair":
            return self.score_reference(texts, videos)
        texts_TD, frames_VFD, mask_VF = self._checked(texts, videos)
        with torch.autocast(texts_TD.device.type, enabled=False):
            noise_VD = self._noise(frames_VFD[:, 0])
            matrix_TV, increments = factorised_scores(
                self.psi, texts_TD, frames_VFD, mask_VF, self.temperature, noise_VD
            )
        return Scores(matrix_TV, increments)

    def prepare(self, videos: Videos) -> Callable[[Texts], Tensor]:
        """A function from texts to the matrix [T, V] that `score` gives in evaluation, without gradients.

        For many batches of texts over the same videos: their bases are made once. It keeps the weights of this moment
        for them. Raises as `score` does.
        """
        _, frames_VFD, mask_VF = self._checked(Texts(videos.frames_VFD[:, 0]), videos)
        with torch.autocast(frames_VFD.device.type, enabled=False):
            scorer = matrix_scorer(self.psi, frames_VFD, mask_VF, self.temperature)

        def score(texts: Texts) -> Tensor:
            with torch.autocast(frames_VFD.device.type, enabled=False):
                return scorer(self._checked(texts, videos)[0])

        return score

    def score_reference(self, texts: Texts, videos: Videos) -> Scores:
        """The same by the definition, pair by pair, with dense increments [T, V, D]; raises as `score` does."""
        texts_TD, frames_VFD, mask_VF = self._checked(texts, videos)
        check_lengths(texts_TD.detach().square().sum(dim=1), "text")
        check_lengths(frames_VFD.detach().square().sum(dim=2).masked_fill(~mask_VF, 1), "video")
        with torch.autocast(texts_TD.device.type, enabled=False):
            shared_V1D = frames_VFD[:, :1]
            per_pair = self.dropout_kind == "pair"
            noise = self._noise(shared_V1D.expand(-1, len(texts_TD), -1) if per_pair else shared_V1D)
            return Scores(*plain_scores(self.psi, texts_TD, frames_VFD, mask_VF, self.temperature, noise))

    def _noise(self, like: Tensor) -> Tensor | None:
        """Dropout factors in the shape of `like`, or None outside training."""
        return draw_dropout(tuple(like.shape), self.dropout, like) if self.training and self.dropout > 0 else None

    def _checked(self, texts: Texts, videos: Videos) -> tuple[Tensor, Tensor, Tensor]:
        """Tensors in the weights' type: half-precision towers would lose the variances to rounding."""
        check_mask(videos.mask_VF, videos.frames_VFD)
        width = self.psi.q_proj.in_features
        if texts.pooled_TD.shape[-1] != width or videos.frames_VFD.shape[-1] != width:
            widths = f"{texts.pooled_TD.shape[-1]} (texts) and {videos.frames_VFD.shape[-1]} (frames)"
            raise ValueError(f"this head takes embeddings of width {width}, not {widths}.")
        dtype = self.psi.q_proj.weight.dtype
        return texts.pooled_TD.to(dtype), videos.frames_VFD.to(dtype), videos.mask_VF


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
