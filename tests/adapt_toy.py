"""A method whose texts lie in a turned space, drawn clips of one colour each, and an index of them: for tests of heads.

A query is "colour R G B". A linear map of the texts alone makes it find its clip, which no training of videos needs.
"""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import torch
from torch import nn

from reelseek.config import IndexConfig, MethodConfig
from reelseek.index import build as index_build
from reelseek.index.marks import Mark, keep_mark
from reelseek.index.store import list_files
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.records import Preprocess, Texts

WIDTH = 16
CLIPS = 40
CONFIG = IndexConfig(fps=2.0, min_frames=2, segment_frames=2)


class Towers(nn.Module):
    """Colours through one random layer on both sides, and an orthogonal turn of the texts."""

    name = "toy"
    id = "toy-towers"
    preprocess = Preprocess(resize=8, crop=8, mean=(127.5,) * 3, std=(127.5,) * 3, interpolation="bilinear")
    text_width = frame_width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        make = torch.Generator().manual_seed(0)
        self.lift_3D = torch.randn(3, WIDTH, generator=make)
        self.turn_DD = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=make)).Q

    def encode_frames(self, pixels_N3HW):
        return torch.tanh(2 * pixels_N3HW.mean(dim=(2, 3)) @ self.lift_3D)

    def encode_texts(self, captions, *, keep=None):
        rows = []
        for caption in captions:
            numbers = [float(word) for word in re.findall(r"\d+", caption)][:3] or [len(caption) % 7, 1.0, 2.0]
            rows.append(torch.tensor([*numbers, 0.0, 0.0][:3]) / 127.5 - 1)
        pooled_TD = torch.tanh(2 * torch.stack(rows) @ self.lift_3D) @ self.turn_DD
        tokens_TLD = torch.stack([pooled_TD, pooled_TD.flip(0)], dim=1)
        return Texts(pooled_TD, tokens_TLD, torch.ones(len(rows), 2, dtype=torch.bool))

    def token_spans(self, captions):
        return [[(0, len(caption))] for caption in captions]


def toy(name: str = "zero-shot") -> Method:
    """A method over the toy's towers, the same weights at every call."""
    torch.manual_seed(1)
    return build(MethodConfig(name=name, backbone="toy"), Towers()).eval()


def colours() -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(5)
    return [tuple(int(part) for part in rng.integers(10, 246, 3)) for _ in range(CLIPS)]


def query_of(colour: tuple[int, int, int]) -> str:
    return "colour {} {} {}".format(*colour)


def make_clip(path: Path, colour: tuple[int, int, int], *, frames: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(frames):
            picture = np.full((32, 32, 3), colour, np.int16) + number
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def library(folder: Path, method: Method) -> Path:
    """An index of a clip for every colour, named by its number."""
    for number, colour in enumerate(colours()):
        make_clip(folder / "films" / f"{number:02d}.avi", colour)
    card = {"name": f"{method.name} over toy", "source": "toy", "trained_on": "nothing: a toy"}
    index_build.update(folder / "index", [folder / "films"], method, model_card=card, config=CONFIG)
    return folder / "index"


def mark(index: Path, query: str, number: int, *, good: bool = True, peak: float = 0.0) -> None:
    """A mark on the clip of this number."""
    row = next(row for row in list_files(index) if row.path.name == f"{number:02d}.avi")
    keep_mark(index, Mark(query, str(row.path), row.content_hash, 0.0, row.duration, peak, good, 1.0))


def mark_all(index: Path, count: int = CLIPS, *, shuffled: bool = False) -> None:
    """A right answer for so many colours, and a wrong one; shuffled: right answers are those of other colours."""
    order = np.random.default_rng(9).permutation(CLIPS) if shuffled else np.arange(CLIPS)
    for number, colour in enumerate(colours()[:count]):
        mark(index, query_of(colour), int(order[number]))
        mark(index, query_of(colour), (int(order[number]) + 1) % CLIPS, good=False)
