"""Pieces of files on all cores: any number of workers gives one worker's vectors, threads end up where they were."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import FakeMethod
from reelseek import embed_pipeline
from reelseek.embed import embed_files
from reelseek.embed_pipeline import running
from reelseek.errors import UnreadableVideo
from reelseek.records import BrokenFile, EmbeddedVideo, Frames
from reelseek.video.sample import middle

MakeClip = Callable[..., Path]


def run(
    method: FakeMethod, paths: list[Path], frames: int, workers: int | None = None, *, keyframes: bool = False
) -> list[EmbeddedVideo | BrokenFile]:
    choose = lambda duration: middle(duration, frames)  # noqa: E731
    return list(embed_files(method, paths, choose, sampling_key="x", workers=workers, keyframes=keyframes))


@pytest.fixture
def films(tmp_path: Path, clip: MakeClip) -> list[Path]:
    lengths = (60, 8, 33, 16, 9)
    return [clip(tmp_path / f"{n}.mp4", (20 * n, 200 - 20 * n, 90), frames=f) for n, f in enumerate(lengths)]


@pytest.mark.parametrize("workers", [1, 2, 5, None])
@pytest.mark.parametrize("keyframes", [False, True])
def test_any_number_of_workers_gives_the_frames_one_by_one(
    films: list[Path], workers: int | None, keyframes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(FakeMethod(), films, 20, 1, keyframes=keyframes)
    monkeypatch.setattr(embed_pipeline, "CHUNK", 3)
    found = run(FakeMethod(), films, 20, workers, keyframes=keyframes)
    for path, one, other in zip(films, whole, found, strict=True):
        assert isinstance(one, EmbeddedVideo)
        assert isinstance(other, EmbeddedVideo)
        assert one.path == other.path == path
        assert len(other.frames_ND) == 20
        torch.testing.assert_close(other.frames_ND, one.frames_ND)
        assert np.array_equal(one.times_N, other.times_N)
        assert other.decode_seconds > 0


def test_a_file_broken_in_several_pieces_gives_the_first_reason(
    films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_pipeline, "CHUNK", 3)
    original = embed_pipeline.decode

    def decode(path: Path, choose: Callable[[float], np.ndarray], **options: object) -> Frames:
        frames = original(path, choose, **options)  # type: ignore[arg-type]
        if path == films[0] and frames.times_F[0] > 2:
            raise UnreadableVideo(f"{path}: damaged at {frames.times_F[0]:.3f}")
        return frames

    monkeypatch.setattr(embed_pipeline, "decode", decode)
    reasons = set()
    for workers in (1, 4):
        broken, *others = run(FakeMethod(), films, 20, workers)
        assert isinstance(broken, BrokenFile)
        reasons.add(broken.reason)
        assert all(isinstance(other, EmbeddedVideo) for other in others)
    assert len(reasons) == 1


def test_a_file_too_large_for_memory_is_set_aside(films: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object, **__: object) -> Frames:
        raise MemoryError

    monkeypatch.setattr(embed_pipeline, "decode", decode)
    (broken,) = run(FakeMethod(), films[:1], 4)
    assert isinstance(broken, BrokenFile)
    assert "do not fit into memory" in broken.reason


def test_a_tower_that_fails_reaches_the_caller(films: list[Path]) -> None:
    class Failing(FakeMethod):
        def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(Failing(), films, 4)


class Watching(FakeMethod):
    """Notes on how many threads of torch, and how many at a time, it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        self.threads.append(torch.get_num_threads())
        return super().encode_frames(pixels_N3HW)


@pytest.fixture
def four_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(
    ("files", "chunk", "workers", "threads"),
    [(1, 64, None, 4), (2, 64, None, 2), (5, 64, None, 1), (1, 3, None, 1), (1, 64, 1, 4), (5, 64, 2, 2)],
)
def test_threads_of_torch_are_divided_among_workers(
    films: list[Path], files: int, chunk: int, workers: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One short file has all of them; pieces of a long one, and many files, one core each."""
    monkeypatch.setattr(embed_pipeline, "CHUNK", chunk)
    method = Watching()
    run(method, films[:files], 4, workers)
    assert set(method.threads) == {threads}
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_workers_are_bounded(fake_method: FakeMethod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_pipeline, "MOST_WORKERS", 2)
    with running(fake_method, keyframes=False, folder=None, workers=None) as pipeline:
        assert (pipeline.workers, pipeline.threads) == (2, 2)


def test_an_accelerator_is_used_by_one_thread_at_a_time(fake_method: FakeMethod) -> None:
    class Elsewhere(FakeMethod):
        def parameters(self) -> list[Tensor]:
            return [torch.zeros(1, device="meta")]

    with running(fake_method, keyframes=False, folder=None, workers=2) as pipeline:
        assert isinstance(pipeline.turn, nullcontext)
    with running(Elsewhere(), keyframes=False, folder=None, workers=2) as pipeline:
        assert isinstance(pipeline.turn, type(threading.Lock()))


def test_nothing_goes_on_after_the_caller_has_left(films: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_pipeline, "CHUNK", 1)
    method = Watching()
    stream = embed_files(method, films, lambda duration: middle(duration, 20), sampling_key="x", workers=1)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frames")]
    assert len(method.threads) < 20 * len(films)
