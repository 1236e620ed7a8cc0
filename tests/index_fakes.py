"""A method without weights, clips drawn by a rule, and a subprocess that indexes until it is killed: for the index's tests.

FakeMethod sees colours: a frame is its mean colour over a 2 x 2 grid, a text the colours that it names.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import av
import numpy as np
import torch

from reelseek.config import IndexConfig
from reelseek.records import Preprocess, Scores, Texts, Videos

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
CONFIG = IndexConfig(fps=2.0, min_frames=2, segment_frames=3)
CARD = {"trained_on": "colours", "run": "runs/colours"}
WIDTH = 16


class FakeMethod:
    """Towers of width 12 and 12, one projection to 16, masked mean of frames, cosine."""

    name = "fake"
    preprocess = Preprocess(resize=8, crop=8, mean=(127.5,) * 3, std=(127.5,) * 3, interpolation="bilinear")
    backbone_id = "fake-towers"

    def __init__(self, seed: int = 0) -> None:
        self.id = f"fake-{seed}"
        self.projection_WD = torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(seed))

    def encode_texts(self, captions):
        rows = []
        for caption in captions:
            colours = [COLOURS[word] for word in re.findall(r"\w+", caption.lower()) if word in COLOURS]
            if not colours:
                colours = [tuple(hashlib.blake2b(caption.encode(), digest_size=3).digest())]
            rows.append(torch.tensor(np.mean(colours, axis=0) / 127.5 - 1, dtype=torch.float32).repeat(4))
        return Texts(pooled_TD=torch.stack(rows))

    def encode_frames(self, pixels_N3HW):
        grid = torch.nn.functional.adaptive_avg_pool2d(pixels_N3HW, 2)
        return grid.permute(0, 2, 3, 1).reshape(len(grid), 12) + 0.01

    def project(self, texts, videos):
        return (
            texts._replace(pooled_TD=texts.pooled_TD @ self.projection_WD),
            videos._replace(frames_VFD=videos.frames_VFD @ self.projection_WD),
        )

    def score(self, texts, videos):
        mask_VF1 = videos.mask_VF[..., None].float()
        mean_VD = (videos.frames_VFD * mask_VF1).sum(dim=1) / mask_VF1.sum(dim=1)
        normalise = torch.nn.functional.normalize
        return Scores(matrix_TV=normalise(texts.pooled_TD, dim=-1) @ normalise(mean_VD, dim=-1).T)


def clip(path: Path, colours, *, seconds_each: float = 1.5, seed: int = 0) -> Path:
    """A small film: one colour after the other, with a little noise so that no two seeds give equal bytes."""
    noise = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for colour in colours:
            for _ in range(round(seconds_each * 4)):
                picture = np.array(COLOURS[colour]) + noise.integers(-9, 10, (32, 32, 3))
                frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def videos_of(frames_ND, times=None) -> Videos:
    return Videos(frames_VFD=frames_ND[None], mask_VF=torch.ones(1, len(frames_ND), dtype=torch.bool))


def main(directory: str, folder: str, batch: str) -> None:
    """Index in small commits, saying when the work begins; the parent kills this process at some moment."""
    from reelseek.index import build

    build.BATCH_VIDEOS = int(batch)
    print("begun", flush=True)
    build.update(Path(directory), [Path(folder)], FakeMethod(), model_card=CARD, config=CONFIG)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
