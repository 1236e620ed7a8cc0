"""The command line as tests use it: `run` calls it in this process; `World` is a few drawn clips, an index and a run.

The offline towers are loaded once for all tests of this process.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import av
import numpy as np

from reelseek.app.cli import main

COLOURS = {
    "red": (210, 30, 30), "green": (30, 180, 40), "blue": (30, 50, 210), "yellow": (220, 210, 40),
    "purple": (130, 30, 150), "orange": (240, 140, 20), "white": (235, 235, 235), "grey": (120, 120, 120),
    "brown": (110, 70, 30), "pink": (240, 150, 190), "black": (20, 20, 20), "cyan": (30, 200, 210),
}  # fmt: skip
SPLITS = dict(zip(COLOURS, ["train"] * 6 + ["val"] * 3 + ["test"] * 3, strict=True))


class Said(NamedTuple):
    """What one command came to."""

    code: int
    out: str
    err: str


def run(*words: object) -> Said:
    """Run `reelseek WORDS` here. The streams are strict about encoding, as those of a terminal are."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors=errors) for errors in ("strict", "backslashreplace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), one_load():
        code = main([str(word) for word in words])
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    assert "Traceback" not in texts[1]
    return Said(code, *texts)


def refused(code: int, *words: object) -> str:
    """The one sentence with which a command refuses; it prints nothing else on stdout."""
    said = run(*words)
    assert said.code == code, said
    assert said.out == ""
    last = said.err.splitlines()[-1]
    assert last.startswith(f"reelseek {words[0]}: ")
    assert last.endswith((".", "?"))
    return last


@functools.cache
def one_load() -> contextlib.AbstractContextManager[object]:
    """Hand out towers that are loaded once; they are frozen, so methods can share them."""
    from reelseek.encoders import offline

    make = functools.cache(offline.OfflineBackbone)
    return mock.patch.object(offline, "OfflineBackbone", make)


def gradient(path: Path, colour: tuple[int, int, int], *, frames: int = 8) -> Path:
    """A small H.264 video of a colour that fades from left to right and moves a little."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp_W = np.linspace(0.3, 1.0, 64)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=4, options={"crf": "20", "preset": "ultrafast"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            pixels = np.roll(ramp_W, number)[None, :, None] * np.array(colour) * np.ones((64, 1, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())
    return path


def films(folder: Path) -> Path:
    """Twelve clips and their captions.csv with splits: six to train on, three each to choose by and to test on."""
    for name, colour in COLOURS.items():
        gradient(folder / f"{name}.mp4", colour)
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "caption", "split"])
        for name, split in SPLITS.items():
            rows.writerows([[name, f"a {name} wall", split], [name, f"something {name} in the light", split]])
    return folder


class World(NamedTuple):
    """A folder of films with captions, an index of it, a cache, a trained run, and what `train` said."""

    films: Path
    index: Path
    cache: Path
    run: Path
    trained: Said

    @property
    def train_words(self) -> list[object]:
        return train_words(self.films, self.cache, self.run)


def train_words(data: Path, cache: Path, out: Path) -> list[object]:
    """A training of a second or two."""
    small = ["--train.epochs", 2, "--train.batch_size", 4, "--method.width", 16, "--evaluate.bootstrap", 20]
    return ["train", "gare-folder", "--data", data, "--cache", cache, "--out", out, *small]


def build(folder: Path) -> World:
    """Everything, through the commands themselves."""
    data, index, cache, out = films(folder / "films"), folder / "films.index", folder / "cache", folder / "run"
    indexed = run("index", data, "--index", index)
    assert indexed.code == 0, indexed
    return World(data, index, cache, out, run(*train_words(data, cache, out)))
