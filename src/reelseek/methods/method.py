"""A retrieval method put together from its parts: towers, projection, temporal module and head.

Not here: how any head scores (see the other files of this folder) and how a method is trained (`reelseek.training`).
Shapes: T texts, V videos, F frames, D width, N any count.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from reelseek.encoders.identity import add_weights
from reelseek.errors import ConfigError
from reelseek.language.sentences import Encode, Sentences, Spans, kept_words, stream_texts
from reelseek.language.words import Progress, read_ahead
from reelseek.methods.text_head import TextHead
from reelseek.records import Backbone, Preprocess, Scores, Texts, Videos
from reelseek.score.parts import Parts
from reelseek.score.similarity import check_precision, masked_mean


class Head(Protocol):
    """What turns projected texts and videos into scores; an `nn.Module`."""

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Cosine similarity [T, V] of every pair."""
        ...


class Method(nn.Module):
    """Towers, projection, temporal module and head under one roof (see `reelseek.records.Method`).

    words: whether head or text layer look at token vectors; texts come without them otherwise.
    text_layer: a trained module over the projected tokens [T, L, D] and their mask, whose mean replaces the tower's own
    sentence vector; the sentences of streams keep theirs.
    sentences: further sentences made of every caption, a stream each (see `reelseek.language.sentences`).
    config: the plain values it was built from; together with the weights they make `id`.
    trained_on: in words, what the trained parts saw ("nothing: zero-shot" for an untrained method).
    run: the settings it was trained with, by section; empty until it is loaded from a run.
    text_head: what `reelseek adapt` put over the projected texts; None without.
    """

    def __init__(
        self,
        *,
        name: str,
        backbone: Backbone,
        head: nn.Module,
        projection: nn.Module | None = None,
        temporal: nn.Module | None = None,
        words: bool = False,
        text_layer: nn.Module | None = None,
        sentences: Sentences | None = None,
        config: Mapping[str, Any] | None = None,
        logit_scale: float = 100.0,
        trained_on: str = "nothing: zero-shot",
    ) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.head = head
        self.projection = projection
        self.temporal = temporal
        self.words = words or text_layer is not None
        self.text_layer = text_layer
        self.sentences = sentences
        self.text_head: TextHead | None = None
        self.config = dict(config or {})
        self.trained_on = trained_on
        self.run: dict[str, Any] = {}
        self.log_scale = nn.Parameter(torch.tensor(float(logit_scale)).log())

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits over configuration, towers and weights: equal ids give equal scores."""
        digest = hashlib.blake2b(digest_size=8)
        # The towers count by what they are, not by the name or folder that they were loaded from.
        config = {key: value for key, value in self.config.items() if key != "backbone"}
        digest.update(json.dumps([self.name, self.backbone.id, config], sort_keys=True).encode())
        add_weights(digest, {k: value for k, value in self.state_dict().items() if not k.startswith("backbone.")})
        return digest.hexdigest()

    @property
    def backbone_id(self) -> str:
        """The towers' identity: the cache key of their outputs."""
        return self.backbone.id

    @property
    def text_id(self) -> str:
        """What `encode_texts` depends on: the towers, which parts of a text are wanted, how its sentences are made."""
        parts = ["words"] if self.words else []
        return "|".join([self.backbone.id, *parts, *([self.sentences.id] if self.sentences else [])])

    @property
    def preprocess(self) -> Preprocess:
        """How frames must be prepared for `encode_frames`."""
        return self.backbone.preprocess

    @property
    def logit_scale(self) -> Tensor:
        """The factor on cosine scores inside a contrastive loss (100 for CLIP), not its logarithm."""
        return self.log_scale.exp()

    def encode_texts(self, captions: Sequence[str]) -> Texts:
        """Frozen text tower: sentence vectors, and the token vectors and streams that the head needs, no more."""
        return self._texts(captions, self.backbone.encode_texts)

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        """Frozen image tower: frame vectors [N, frame_width] of normalised pixels."""
        return self.backbone.encode_frames(pixels_N3HW)

    def frames_in_torch(self, pixels_N3HW: Tensor) -> Tensor:
        """`encode_frames` by torch alone, for features that are trained on or measured."""
        return self.backbone.frames_in_torch(pixels_N3HW)

    def forward_texts(self, captions: Sequence[str]) -> Texts:
        """`encode_texts` with gradients through the tower, for training end to end."""
        towers = cast(Any, self.backbone)

        def encode(captions: Sequence[str], *, keep: Sequence[Sequence[tuple[int, int]]] | None = None) -> Texts:
            ids_TL, mask_TL = towers.tokenize(captions)
            kept_TL = None if keep is None else towers.kept_tokens(captions, keep, ids_TL.shape[1])
            return cast(Texts, towers.forward_texts(ids_TL, mask_TL, kept_TL))

        return self._texts(captions, encode)

    def read_ahead(self, captions: Sequence[str], cache: Path, progress: Progress = lambda done, total: None) -> None:
        """Have the key words of captions, if this method wants them, at hand: from files below `cache` where kept."""
        if self.sentences is not None:
            read_ahead(captions, cache / "words", progress)

    def _texts(self, captions: Sequence[str], encode: Encode) -> Texts:
        # A lone surrogate, of a damaged file or a terminal that sent bytes, is no character that a tokenizer takes; its
        # stand-in has its place.
        captions = [caption.encode("utf-8", "replace").decode() for caption in captions]
        whole, streams = encode(captions), None
        if self.sentences is not None:
            streams = stream_texts(
                self.sentences, captions, whole, encode=encode, token_spans=self.backbone.token_spans
            )
        if not self.words:
            return Texts(
                whole.pooled_TD, streams=streams and {name: Texts(of.pooled_TD) for name, of in streams.items()}
            )
        return whole._replace(streams=streams)

    def project(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        """Trained projection, temporal module and text head: tower outputs to one width D, on the method's device.

        Raises ConfigError for videos of more frames than the temporal module or the head has places for, ValueError for
        weights in half precision.
        """
        texts, videos = self.project_without_head(texts, videos)
        return texts if self.text_head is None else self.text_head(texts), videos

    def project_without_head(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        """`project` as it was before a text head was put on."""
        for part, what in ((self.temporal, "temporal transformer"), (self.head, "head")):
            most, frames = getattr(part, "max_frames", math.inf), videos.frames_VFD.shape[1]
            if frames > most:
                raise ConfigError(
                    f"the {what} of {self.name} takes up to {most} frames, not {frames}: "
                    "lower sample.frames, or the frames of an index's segments."
                )
        check_precision(self.log_scale)
        device = self.log_scale.device
        texts, videos = texts.each(lambda tensor: tensor.to(device)), videos.each(lambda tensor: tensor.to(device))
        if self.projection is not None:
            texts, videos = self.projection(texts, videos)
        if self.text_layer is not None:
            texts = self._read(texts)
        if self.temporal is not None:
            videos = videos._replace(frames_VFD=self.temporal(videos.frames_VFD, videos.mask_VF))
        return texts, videos

    def _read(self, texts: Texts) -> Texts:
        if texts.tokens_TLD is None or texts.mask_TL is None:
            raise ValueError(f"the text layer of {self.name} reads words, and these texts were embedded without them.")
        read_TLD = cast(nn.Module, self.text_layer)(texts.tokens_TLD, texts.mask_TL)
        return texts._replace(pooled_TD=masked_mean(read_TLD, texts.mask_TL))

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Scores of every pair of projected texts and videos, in the weights' own precision.

        Mixed precision ends here: a cosine in half precision, times a scale of 100, would be off by whole logits.
        ValueError for weights in half precision.
        """
        with torch.autocast(self.log_scale.device.type, enabled=False):
            return cast(Head, self.head).score(texts.each(self._whole), videos.each(self._whole))

    def prepare(self, videos: Videos) -> Callable[[Texts], Tensor]:
        """A function from projected texts to the matrix [T, V] that `score` gives in evaluation with these videos; what
        depends on the videos alone is computed once. Without gradients.
        """
        prepare = getattr(self.head, "prepare", None)
        if prepare is None:
            return torch.no_grad()(lambda texts: self.score(texts, videos).matrix_TV)
        with torch.autocast(self.log_scale.device.type, enabled=False):
            scorer = cast(Callable[[Texts], Tensor], prepare(videos.each(self._whole)))

        def score(texts: Texts) -> Tensor:
            with torch.autocast(self.log_scale.device.type, enabled=False):
                return scorer(texts.each(self._whole))

        return score

    def explain(self, texts: Texts, videos: Videos) -> Parts | None:
        """The scores of projected texts and videos taken apart (see `reelseek.score.parts`), without gradients.

        Frames are those that `project` gives: behind a temporal module each has already seen its neighbours. None for a
        head that cannot say. For a few hundred pairs: some numbers of width D a pair.
        """
        explain = getattr(self.head, "explain", None)
        if explain is None:
            return None
        with torch.no_grad(), torch.autocast(self.log_scale.device.type, enabled=False):
            return cast(Parts, explain(texts.each(self._whole), videos.each(self._whole)))

    def kept_words(self, caption: str) -> dict[str, Spans]:
        """For every further sentence of a caption the characters (start, end) it was made of, the whole where no word
        was kept; {} for a method without further sentences.
        """
        if self.sentences is None:
            return {}
        return kept_words(self.sentences, caption, token_spans=self.backbone.token_spans)

    def _whole(self, tensor: Tensor) -> Tensor:
        """A vector of texts or videos in the weights' precision; a mask as it is."""
        check_precision(self.log_scale)
        return tensor if tensor.dtype == torch.bool else tensor.to(self.log_scale.dtype)
