"""The trained joint space over towers of different widths: one linear map a side.

Not here: the untrained joint space (`ConseProjection` in `reelseek.encoders.offline`). Shapes: T texts, V videos,
F frames, L tokens, D width.
"""

from __future__ import annotations

from torch import nn

from reelseek.records import Texts, Videos


class LinearProjection(nn.Module):
    """Maps sentence and token vectors by one linear map, frame vectors by another, both to `width`.

    No bias, as in CLIP's projections: a shared offset adds the same direction to every vector of a side, which a cosine
    cannot use. Weights start from N(0, 1 / input width), so that lengths are kept on average.
    """

    def __init__(self, text_width: int, frame_width: int, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_width, width, bias=False)
        self.frame = nn.Linear(frame_width, width, bias=False)
        nn.init.normal_(self.text.weight, std=text_width**-0.5)
        nn.init.normal_(self.frame.weight, std=frame_width**-0.5)

    def forward(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        """Texts and videos with every vector mapped to `width`; masks as they are, streams each by the text map."""
        return self._texts(texts), videos._replace(frames_VFD=self.frame(videos.frames_VFD))

    def _texts(self, texts: Texts) -> Texts:
        tokens_TLD = None if texts.tokens_TLD is None else self.text(texts.tokens_TLD)
        streams = texts.streams and {name: self._texts(stream) for name, stream in texts.streams.items()}
        return Texts(self.text(texts.pooled_TD), tokens_TLD, texts.mask_TL, streams)
