"""The trained joint space over towers of different widths: one linear map a side.

Not here: the untrained joint space (`ConseProjection` in `reelseek.encoders.offline`). Shapes: T texts, V videos,
F frames, L tokens, D width, N texts or videos.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import layer_norm

from reelseek.records import Texts, Videos

LENGTH = 10.0
"""Length that vectors start with, about that of CLIP ViT-B/32's: GARE's temperature and increments presume it."""


class LinearProjection(nn.Module):
    """Maps sentence and token vectors by one linear map, frame vectors by another, both to `width`.

    Every vector is first brought to mean 0 and variance 1 over its entries, so that two towers of different scales meet
    at one length. No bias, as in CLIP's projections: a shared offset adds the same direction to every vector of a side,
    which a cosine cannot use. Weights start from N(0, s^2) with s such that vectors start at `LENGTH` on average.
    """

    def __init__(self, text_width: int, frame_width: int, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_width, width, bias=False)
        self.frame = nn.Linear(frame_width, width, bias=False)
        nn.init.normal_(self.text.weight, std=LENGTH * (text_width * width) ** -0.5)
        nn.init.normal_(self.frame.weight, std=LENGTH * (frame_width * width) ** -0.5)

    def forward(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        """Texts and videos with every vector mapped to `width`; masks as they are, streams each by the text map."""
        frames_VFD = _without_padding(videos.frames_VFD, videos.mask_VF)
        return self._texts(texts), videos._replace(frames_VFD=self.frame(_standardised(frames_VFD)))

    def _texts(self, texts: Texts) -> Texts:
        tokens_TLD = texts.tokens_TLD
        if tokens_TLD is not None:
            assert texts.mask_TL is not None
            tokens_TLD = self.text(_standardised(_without_padding(tokens_TLD, texts.mask_TL)))
        streams = texts.streams and {name: self._texts(stream) for name, stream in texts.streams.items()}
        return Texts(self.text(_standardised(texts.pooled_TD)), tokens_TLD, texts.mask_TL, streams)


def _without_padding(vectors_NLD: Tensor, mask_NL: Tensor) -> Tensor:
    """Zeros where the mask is False: whatever stands there would reach the map's gradient as 0 times itself."""
    return vectors_NLD.masked_fill(~mask_NL[..., None], 0)


def _standardised(vectors: Tensor) -> Tensor:
    return layer_norm(vectors, vectors.shape[-1:])
