"""Vectors of sentences and of video files: their product is the method's score, and what cannot be read is named."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cli_world
import reelseek
from conftest import FakeMethod, write_clip
from reelseek.config import MethodConfig, SampleConfig
from reelseek.data.pairs import Pairs
from reelseek.errors import VideoError
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.video.decode import decode
from reelseek.video.sample import sample_times
from reelseek.video.transform import preprocess

QUERIES = ["something red", "a green wall", "blue"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    colours = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}
    lengths = (8, 12, 16)
    return [
        write_clip(folder / f"{name}.mp4", colour, frames=frames)
        for (name, colour), frames in zip(colours.items(), lengths, strict=True)
    ]


@pytest.fixture(scope="module")
def towers() -> nn.Module:
    with cli_world.one_load():
        return reelseek.load("offline").backbone


def method_of(towers: nn.Module, name: str) -> Method:
    torch.manual_seed(0)
    return build(MethodConfig(name=name, width=32), towers).eval()


def pairs_of(clips: list[Path]) -> Pairs:
    return Pairs(
        name="clips", corpus="clips", texts=tuple(QUERIES), text_ids=("a", "b", "c"),
        video_ids=("red", "green", "blue"), paths=tuple(clips), video_of_T=np.arange(3),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["zero-shot", "clip4clip"])
def test_the_product_of_two_vectors_is_the_method_s_score(name: str, towers: nn.Module, clips: list[Path]) -> None:
    method = method_of(towers, name)
    texts_TD, videos_VD = reelseek.encode_text(method, QUERIES), reelseek.encode_video(method, clips)
    assert texts_TD.dtype == videos_VD.dtype == torch.float32
    assert texts_TD.shape[1] == videos_VD.shape[1]
    torch.testing.assert_close(texts_TD.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(videos_VD.norm(dim=1), torch.ones(3))
    wanted_TV = torch.from_numpy(reelseek.evaluate(method, pairs_of(clips)).matrix_TV)
    torch.testing.assert_close(texts_TD @ videos_VD.T, wanted_TV, atol=1e-5, rtol=0)
    torch.testing.assert_close(reelseek.similarity(method, QUERIES, clips), wanted_TV, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["gare-baseline", "gare"])
def test_a_method_that_looks_at_pairs_scores_by_itself(name: str, towers: nn.Module, clips: list[Path]) -> None:
    method = method_of(towers, name)
    wanted_TV = torch.from_numpy(reelseek.evaluate(method, pairs_of(clips)).matrix_TV)
    torch.testing.assert_close(reelseek.similarity(method, QUERIES, clips), wanted_TV, atol=1e-5, rtol=0)
    videos_VD = reelseek.encode_video(method, clips)
    for path, found_D in zip(clips, videos_VD, strict=True):  # the mean of the frames' directions, by a loop
        times = decode(path, lambda duration: sample_times(duration, SampleConfig()), shape=method.preprocess)
        frames_ND = method.encode_frames(preprocess(times.pixels_FHW3, method.preprocess))
        with torch.no_grad():
            mapped = [method.projection.frame(nn.functional.layer_norm(row, row.shape)) for row in frames_ND]
        mean_D = sum(row / row.norm() for row in mapped)
        torch.testing.assert_close(found_D, mean_D / mean_D.norm(), atol=1e-5, rtol=0)


def test_one_is_as_many(clips: list[Path]) -> None:
    method = FakeMethod()
    texts_TD, videos_VD = (
        reelseek.encode_text(method, QUERIES),
        reelseek.encode_video(method, [str(clips[0]), clips[1]]),
    )
    for number, query in enumerate(QUERIES):
        assert torch.equal(reelseek.encode_text(method, query), texts_TD[number])
    assert reelseek.encode_video(method, clips[0]).shape == (32,)
    torch.testing.assert_close(reelseek.encode_video(method, str(clips[1])), videos_VD[1])
    assert int((texts_TD @ videos_VD.T).argmax(dim=0)[0]) == 0
    (texts_TD.clone().requires_grad_() @ videos_VD.T).sum().backward()  # inference tensors would raise here


def test_frames_are_those_of_the_method_s_training_unless_told(clips: list[Path]) -> None:
    method = FakeMethod()
    for run, sample, frames in (
        ({}, None, 12), ({"sample": {"policy": "fps", "frames": 12, "fps": 2.0, "keyframes": False}}, None, 2),
        ({"sample": {"frames": 5}}, SampleConfig(frames=3), 3),
    ):  # fmt: skip
        method.run, method.frames_encoded = run, 0
        reelseek.encode_video(method, clips[0], sample=sample)
        assert method.frames_encoded == frames


@pytest.mark.parametrize("what", ["gone", "no video", "a folder"])
def test_files_that_cannot_be_read_are_named(what: str, clips: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "torn.mp4"
    if what == "no video":
        path.write_bytes(b"no video")
    elif what == "a folder":
        path.mkdir()
    with pytest.raises(VideoError, match=r"torn\.mp4"):
        reelseek.encode_video(FakeMethod(), [clips[0], path])
    with pytest.raises(VideoError, match=r"torn\.mp4"):
        reelseek.similarity(FakeMethod(), QUERIES, [path])


def test_nothing_and_empty_texts_are_refused() -> None:
    for texts in ("", "  ", [], ["a wall", ""]):
        with pytest.raises(ValueError, match="there is no text"):
            reelseek.encode_text(FakeMethod(), texts)
    with pytest.raises(ValueError, match="there is no video"):
        reelseek.encode_video(FakeMethod(), [])


def test_the_example_prints_scores_and_loads_what_it_saved(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = Path(__file__).parent.parent / "examples" / "encode_and_save.py"
    words = ["offline", tmp_path / "saved", clips[0], clips[1]]
    monkeypatch.setattr(sys, "argv", [str(word) for word in (example, *words)])
    with cli_world.one_load():
        runpy.run_path(str(example), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"zero-shot over offline.*: texts \[3, \d+\], videos \[2, \d+\]", lines[0])
    assert all(re.search(r" -?\d\.\d{3}  -?\d\.\d{3}$", line) for line in lines[1:4])
    assert lines[4:] == ["saved 3 files; loaded again: the same method"]
