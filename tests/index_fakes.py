"""A method without weights, drawn clips, and a subprocess that indexes until it is killed: for tests of the index.

FakeMethod sees colours: a frame is its mean colour over a 2 x 2 grid, a text the colours that it names.
"""

from __future__ import annotations

import hashlib
import re
import resource
import shutil
import sys
import time
from pathlib import Path

import av
import numpy as np
import torch

from reelseek.config import IndexConfig
from reelseek.errors import IndexError_
from reelseek.index import build, cards, store
from reelseek.index.search import Searcher
from reelseek.records import Preprocess, Scores, Texts

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
CONFIG = IndexConfig(fps=2.0, min_frames=2, segment_frames=3)
CARD = {"trained_on": "colours", "run": "runs/colours"}
WIDTH = 16
QUERIES = tuple(COLOURS)


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
                colours = [tuple(hashlib.blake2b(caption.encode("utf-8", "replace"), digest_size=3).digest())]
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


def update(directory: Path, *folders: Path, method: FakeMethod | None = None, config: IndexConfig | None = CONFIG):
    return build.update(directory, folders, method or FakeMethod(), model_card=CARD, config=config)


class SlowMethod(FakeMethod):
    """Leaves time to be killed in."""

    def encode_frames(self, pixels_N3HW):
        time.sleep(0.04)
        return super().encode_frames(pixels_N3HW)


def fill(folder: Path, count: int) -> Path:
    for number in range(count):
        clip(folder / f"{number:02d}.avi", [QUERIES[number % 4], QUERIES[(number + 1) % 4]], seed=number)
    return folder


def change(folder: Path, number: int) -> None:
    """Delete, replace, rename, copy and add."""
    files = sorted(folder.glob("*.avi"))
    files[number % len(files)].unlink()
    clip(files[(number + 1) % len(files)], ["white", "white"], seed=1000 + number)
    files[(number + 2) % len(files)].rename(folder / f"renamed {number}.avi")
    shutil.copy(files[(number + 3) % len(files)], folder / f"copy {number}.avi")
    clip(folder / f"new {number}.avi", ["blue", "red"], seed=2000 + number)


def everything(index: Path) -> dict:
    """What can be seen of an index; fails if it cannot be read, or a segment is there twice or not at all."""
    files, stored = store.load(cards.open_index(index))
    segments = list(zip(stored.content_S, stored.number_S.tolist(), strict=True))
    assert len(segments) == len(set(segments)), "a segment is stored twice"
    paths = [file.path for file in files]
    assert len(paths) == len(set(paths)), "a path is listed twice"
    assert {file.content_hash for file in files if file.status == "ok"} == set(stored.content_S)
    searcher = Searcher(cards.open_index(index), FakeMethod())
    return {
        "files": [(file.path, file.content_hash, file.status, file.duration) for file in files],
        "hits": {query: [(h.path, h.start, h.end) for h in searcher.search(query, k=1000)] for query in QUERIES},
    }


def whole(index: Path, folder: Path) -> None:
    """The index equals one made afresh, and holds nothing else."""
    update(index, folder)
    fresh = index.with_name(f"{index.name} afresh {time.monotonic_ns()}")
    update(fresh, folder)
    assert everything(index) == everything(fresh)
    assert store.contents(index).keys() == store.contents(fresh).keys()
    assert [file.path for file in store.list_files(index)] == sorted(folder.glob("*.avi"))
    assert len(list((index / store.SEGMENTS / "data").iterdir())) == 1, "a data file of a killed run is left"


def slow(index: Path, folder: Path) -> None:
    """Index with a commit a video."""
    build.BATCH_VIDEOS = 1
    update(index, folder, method=SlowMethod())


def full(index: Path, folder: Path) -> None:
    """Index copies of an index, with ever more room for the largest file, until there is enough."""
    before = set(everything(index)["files"])
    shutil.copytree(index, index.with_name("finished"))
    update(index.with_name("finished"), folder)
    finished = everything(index.with_name("finished"))
    lasting = before & set(finished["files"])
    assert lasting
    for room in range(400, 100_000, 200):
        copy = index.with_name(f"index {room}")
        shutil.copytree(index, copy)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        try:
            update(copy, folder)
            return
        except IndexError_ as error:
            print("IndexError_:", str(error).removeprefix(f"{copy}: "), flush=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            seen = everything(copy)
            assert lasting <= set(seen["files"])
            update(copy, folder)
            assert everything(copy) == finished


if __name__ == "__main__":
    print("begun", flush=True)
    {"slow": slow, "full": full}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    print("done", flush=True)
