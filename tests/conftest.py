"""What several test files share: a method without weights, and small real videos made on the spot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from reelseek.encoders.sizes import Sizes
from reelseek.records import Preprocess, Scores, Texts, Videos

WIDTH = 32

TINY_TOWERS = Sizes(side=16, patch=4, channels=8, blocks=1, width=64, layers=1, pieces=300, tokens=12)
COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200), "white": (220, 220, 220)}


class FakeMethod:
    """Deterministic vectors: a frame by its mean colour, a text by the colour it names. Counts what it encodes."""

    name = "fake"
    id = "fake-1"
    backbone_id = "fake-towers-1"
    trained_on = "nothing: a fake"
    preprocess = Preprocess(resize=16, crop=16, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))

    def __init__(self) -> None:
        self.frames_encoded = 0
        self.texts_encoded = 0
        self.lift_3D = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        self.frames_encoded += len(pixels_N3HW)
        return pixels_N3HW.mean(dim=(2, 3)) @ self.lift_3D

    def frames_in_torch(self, pixels_N3HW: Tensor) -> Tensor:
        return self.encode_frames(pixels_N3HW)

    def encode_texts(self, captions: Sequence[str]) -> Texts:
        self.texts_encoded += len(captions)
        return Texts(torch.stack([self._colour(caption) for caption in captions]) @ self.lift_3D)

    def project(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        return texts, videos

    def score(self, texts: Texts, videos: Videos) -> Scores:
        weights_VF1 = videos.mask_VF[..., None].float()
        mean_VD = (videos.frames_VFD * weights_VF1).sum(dim=1) / weights_VF1.sum(dim=1)
        return Scores(torch.nn.functional.cosine_similarity(texts.pooled_TD[:, None], mean_VD[None], dim=-1))

    @staticmethod
    def _colour(caption: str) -> Tensor:
        named = {"red": (1.0, -1, -1), "green": (-1.0, 1, -1), "blue": (-1.0, -1, 1)}
        for word, colour in named.items():
            if word in caption:
                return torch.tensor(colour)
        digest = hashlib.blake2b(caption.encode("utf-8", "replace"), digest_size=3).digest()
        return torch.tensor([byte / 127.5 - 1 for byte in digest])


@pytest.fixture
def fake_method() -> FakeMethod:
    return FakeMethod()


def write_clip(path: Path, colour: Sequence[int], *, frames: int = 16, fps: int = 8, side: int = 64) -> Path:
    """A small H.264 video of one colour whose brightness rises a little, so that no two frames are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "ultrafast"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            pixels = np.clip(np.full((side, side, 3), colour, np.int16) + number, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_colours(root: Path) -> Path:
    """A captioned folder: four colours for training, the same four, darker, for validation and test."""
    rows = []
    for split, dim in (("train", 1.0), ("val", 0.9), ("test", 0.8)):
        for name, colour in COLOURS.items():
            write_clip(root / f"{split}-{name}.mp4", [int(dim * part) for part in colour], frames=8)
            rows.append({"video": f"{split}-{name}.mp4", "caption": f"a {name} wall", "split": split})
    (root / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return root


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A folder with a red, a green and a blue video and captions.jsonl for `reelseek.data.folder`."""
    folder = tmp_path / "colours"
    for name, colour in (("red", (200, 20, 20)), ("green", (20, 200, 20)), ("blue", (20, 20, 200))):
        write_clip(folder / f"{name}.mp4", colour)
    rows = [
        f'{{"video": "{name}.mp4", "caption": "something {name}", "split": "test"}}'
        for name in ("red", "green", "blue")
    ]
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def clip() -> Callable[..., Path]:
    return write_clip


@pytest.fixture(scope="session")
def page_server(tmp_path_factory):
    """A server of drawn films, as `page_world` describes it."""
    from page_world import served

    with served(tmp_path_factory) as world:
        yield world


@pytest.fixture(scope="session")
def browser():
    """Chromium."""
    from page_world import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def page_at(browser, page_server):
    """Opens the page at a path in a window of its own, and fails at the end if anything went wrong in it."""
    from page_world import opener

    with opener(browser, page_server) as open_page:
        yield open_page
