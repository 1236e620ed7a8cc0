"""The values that travel between the stages of reelseek, and the two swap points.

Shape legend, used as a suffix of every tensor's name in this project:
T texts, V videos, F frames of a video, L tokens of a text, D width, N any flat count, H W 3 pixels.

Nothing here computes, opens a file or imports torch at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor


class Preprocess(NamedTuple):
    """How an image encoder wants its pixels.

    resize: length in pixels of the shorter side after resizing (or of both sides when `squash`).
    crop: side in pixels of the centre crop; the encoder's input is crop x crop.
    mean, std: per channel, on the 0..255 scale: input = (pixel - mean) / std.
    interpolation: "bicubic" or "bilinear", always antialiased.
    squash: resize both sides to `resize`, ignoring the aspect ratio (SigLIP).
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    squash: bool = False


class Frames(NamedTuple):
    """Decoded frames of one video: RGB uint8 [F, H, W, 3], their times in seconds [F], the length in seconds."""

    pixels_FHW3: np.ndarray
    times_F: np.ndarray
    duration: float


class EmbeddedVideo(NamedTuple):
    """What the frozen image tower made of one file.

    frames_ND: float32 tower outputs, one row a sampled frame. times_N: seconds. duration: seconds.
    content_hash: hexadecimal digest of the file's bytes. cached: True when nothing was decoded. differences_N: how much
    each frame differs from the one before it (`reelseek.video.shots`), where that was asked for.
    """

    path: Path
    content_hash: str
    frames_ND: Tensor
    times_N: np.ndarray
    duration: float
    cached: bool = False
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    differences_N: np.ndarray | None = None


class BrokenFile(NamedTuple):
    """A file that was set aside, and the reason in a sentence. passing: the file itself may be whole."""

    path: Path
    reason: str
    passing: bool = False


class Texts(NamedTuple):
    """A batch of texts: sentence vectors [T, D]; optionally token vectors [T, L, D] with mask [T, L] (True = real)."""

    pooled_TD: Tensor
    tokens_TLD: Tensor | None = None
    mask_TL: Tensor | None = None
    streams: Mapping[str, Texts] | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Texts:
        """Every tensor changed alike, those of the streams too: rows taken, or another device."""
        return Texts(
            change(self.pooled_TD),
            None if self.tokens_TLD is None else change(self.tokens_TLD),
            None if self.mask_TL is None else change(self.mask_TL),
            self.streams and {name: stream.each(change) for name, stream in self.streams.items()},
        )


class Videos(NamedTuple):
    """A batch of videos: frame vectors [V, F, D] and mask [V, F], bool, True = real frame (at least one a video)."""

    frames_VFD: Tensor
    mask_VF: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Videos:
        """Both tensors changed alike: rows taken, or another device."""
        return Videos(change(self.frames_VFD), change(self.mask_VF))


class Scores(NamedTuple):
    """Cosine similarities [T, V], and what the losses need besides them.

    increments: GARE's per-pair increments, either a dense [T, V, D] tensor (plain path) or
    `reelseek.score.increments.FactorisedIncrements` (exact path); a mapping of those by stream where every stream has
    its own. None for methods without increments.
    streams: similarity matrices of named streams (CAMoE), each [T, V], or None.
    """

    matrix_TV: Tensor
    increments: Any = None
    streams: Mapping[str, Tensor] | None = None


class Ranking(NamedTuple):
    """The best K items of each query: item numbers [T, K] and their scores [T, K], best first."""

    items_TK: np.ndarray
    scores_TK: np.ndarray


class Rescorer(NamedTuple):
    """A correction of a score matrix: its name, the function [T, V] -> [T, V], whether it reads other test queries."""

    name: str
    apply: Callable[[Tensor], Tensor]
    sees_test_queries: bool


class Hit(NamedTuple):
    """One search result: a file, the span in seconds that matches, its score, and the best frame's time.

    probability: that it is a match, if a match was as likely as not beforehand; None where nothing is known of that.
    """

    path: str
    start: float
    end: float
    score: float
    peak: float
    probability: float | None = None


class Backbone(Protocol):
    """A pair of frozen or trainable towers. name: what kind of towers they are."""

    name: str
    preprocess: Preprocess
    text_width: int
    frame_width: int

    @property
    def id(self) -> str:
        """Kind, weights and settings in a word: the cache key."""
        ...

    def encode_texts(
        self, captions: Sequence[str], *, keep: Sequence[Sequence[tuple[int, int]]] | None = None
    ) -> Texts:
        """Sentence vectors [T, text_width], and token vectors where the tower has them.

        keep: for every caption the character spans (start, end) of the words that may be attended to; all by default.
        Masked words keep their places, special tokens always count.
        """
        ...

    def token_spans(self, captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        """The characters (start, end) of every token of `encode_texts`, by caption; (0, 0) for special tokens."""
        ...

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        """Frame vectors [N, frame_width] of normalised pixels (see `reelseek.video.transform.preprocess`)."""
        ...

    def frames_in_torch(self, pixels_N3HW: Tensor) -> Tensor:
        """`encode_frames` by torch alone, whatever faster engine is there: the same bits at every run."""
        ...


class Method(Protocol):
    """A retrieval method: towers, trained projection and temporal module, and a score for every pair."""

    name: str

    @property
    def id(self) -> str:
        """Hash of configuration and weights."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """How frames must be prepared for `encode_frames`."""
        ...

    @property
    def backbone_id(self) -> str:
        """The towers' identity: the cache key of their outputs."""
        ...

    def encode_texts(self, captions: Sequence[str]) -> Texts:
        """Frozen text tower."""
        ...

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        """Frozen image tower."""
        ...

    def frames_in_torch(self, pixels_N3HW: Tensor) -> Tensor:
        """Frozen image tower by torch alone, whatever faster engine is there: the same bits at every run."""
        ...

    def project(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        """Trained projection and temporal module: tower outputs to one width D, what an index stores."""
        ...

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Scores of every pair of projected texts and videos."""
        ...
