"""Files through decoding, preprocessing and the image tower, on all cores: what `reelseek.embed` reads its frames from.

The unit of work is a piece of a file of at most `CHUNK` frames, taken from opening the file to its vectors by one
thread on one core. Cores then never wait for each other after every small operation, files of any length keep all of
them busy, and no more pixels are in memory than one piece a thread.
Not here: the cache's files (`reelseek.embed_cache`), what is done with the vectors (`reelseek.embed`).

Shapes: F frames of a piece, N frames of one file, D width of the tower's output.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reelseek import embed_cache
from reelseek.errors import UnreachableVideo, UnreadableVideo, VideoError
from reelseek.records import BrokenFile, EmbeddedVideo, Frames, Method
from reelseek.video.decode import decode
from reelseek.video.shots import differences, small
from reelseek.video.transform import preprocess

CHUNK = 64
"""Frames decoded and encoded at a time: bounds memory for files of any length."""

MOST_WORKERS = 16
"""Threads by default at most: each holds the pixels of one piece, 38 MB at 224 pixels."""

Choose = Callable[[float], np.ndarray]


class Source(NamedTuple):
    """Where frames come from. decode: as `reelseek.video.decode.decode`; digest: what names a file's content."""

    decode: Callable[..., Frames]
    digest: Callable[[Path], str]


class _Piece(NamedTuple):
    """Vectors of a piece of a file, and what they took. seconds: of decoding, and of encoding.

    seen: where differences are wanted, that of each frame from the one before it [F], and the first and the last frame
    as `reelseek.video.shots` compares them.
    """

    frames_FD: Tensor
    times_F: np.ndarray
    duration: float
    seconds: tuple[float, float]
    seen: tuple[np.ndarray, np.ndarray] | None


class _Opened(NamedTuple):
    """The first piece of a file, and the others on their way."""

    content_hash: str
    cache_name: str
    first: _Piece
    rest: list[Future[_Piece | BrokenFile | None]]


class Pipeline:
    """Threads that turn files into vectors. Use `running`.

    folder: where `embed_cache` keeps what was made before, or None. threads: of torch, for each worker.
    differences: whether each frame is compared with the one before it, too. repeatable: torch encodes, so that every
    run gives the same bits; otherwise the fastest engine that gives nearly the same, which may change on the way.
    """

    def __init__(
        self,
        method: Method,
        *,
        keyframes: bool,
        folder: Path | None,
        pool: ThreadPoolExecutor,
        workers: int,
        threads: int,
        differences: bool,
        repeatable: bool,
        source: Source,
    ) -> None:
        self.method = method
        self.encode = method.frames_in_torch if repeatable else method.encode_frames
        self.spec = method.preprocess
        self.keyframes = keyframes
        self.folder = folder
        self.pool = pool
        self.workers = workers
        self.threads = threads
        self.differences = differences
        self.source = source
        self.stop = threading.Event()
        # An accelerator is one: its work gains nothing from several threads, and costs memory for each.
        self.turn: AbstractContextManager[Any] = nullcontext() if _on_processor(method) else threading.Lock()

    def start(
        self, path: Path, span: tuple[float, float] | None, choose: Choose, *, spare: int = 1
    ) -> Future[_Opened | EmbeddedVideo | BrokenFile | None]:
        """Begin a file. choose: from a duration to the times [N] wanted. spare: workers this file may have for itself.

        span: the (start, end) in seconds that stands for the file, or None for all of it.
        """
        return self.pool.submit(self._open, path, span, choose, spare)

    def finish(self, path: Path, started: Future[_Opened | EmbeddedVideo | BrokenFile | None]) -> _Finished:
        """Wait for a file. Raises what a defect raised in its thread."""
        opened = started.result()
        assert opened is not None  # only after a stop, when nobody waits
        if not isinstance(opened, _Opened):
            return _Finished(opened, "")
        pieces = [opened.first]
        for later in opened.rest:
            piece = later.result()
            assert piece is not None
            if isinstance(piece, BrokenFile):
                _cancel(opened.rest)
                return _Finished(piece, "")
            pieces.append(piece)
        video = EmbeddedVideo(
            path=path,
            content_hash=opened.content_hash,
            frames_ND=torch.cat([piece.frames_FD for piece in pieces]),
            times_N=np.concatenate([piece.times_F for piece in pieces]),
            duration=opened.first.duration,
            decode_seconds=sum(piece.seconds[0] for piece in pieces),
            encode_seconds=sum(piece.seconds[1] for piece in pieces),
            differences_N=_joined(pieces),
        )
        return _Finished(video, opened.cache_name)

    def _open(
        self, path: Path, span: tuple[float, float] | None, choose: Choose, spare: int
    ) -> _Opened | EmbeddedVideo | BrokenFile | None:
        if self.stop.is_set():
            return None
        try:
            digest = self.source.digest(path)
        except VideoError as error:
            return _broken(path, error)
        name = digest if span is None else f"{digest}-{span[0]:.3f}-{span[1]:.3f}"
        kept = None if self.folder is None else embed_cache.read_video(self.folder, name, path, digest)
        if kept is not None:
            return kept
        rest: list[Future[_Piece | BrokenFile | None]] = []
        threads = self.threads

        def first(duration: float) -> np.ndarray:
            nonlocal threads
            times_N = _within(path, span, choose, duration)
            if not rest:  # asked a second time where key frames alone did not do
                parts = [times_N[low : low + CHUNK] for low in range(CHUNK, len(times_N), CHUNK)]
                rest.extend(self.pool.submit(self._piece, path, _always(part), lambda: self.threads) for part in parts)
            threads = self.threads if rest else self.threads * spare
            return times_N[:CHUNK]

        piece = self._piece(path, first, lambda: threads)
        if piece is None or isinstance(piece, BrokenFile):
            _cancel(rest)
            return piece
        return _Opened(digest, name, piece, rest)

    def _piece(self, path: Path, choose: Choose, threads: Callable[[], int]) -> _Piece | BrokenFile | None:
        if self.stop.is_set():
            return None
        begun = time.perf_counter()
        torch.set_num_threads(1)
        try:
            frames = self.source.decode(path, choose, keyframes=self.keyframes, shape=self.spec)
            seen = _compared(frames.pixels_FHW3) if self.differences else None
            pixels_F3HW = preprocess(frames.pixels_FHW3, self.spec)
        except VideoError as error:
            return _broken(path, error)
        except MemoryError:
            return BrokenFile(path, f"{path}: its frames do not fit into memory.", passing=True)
        decoded = time.perf_counter()
        with self.turn, torch.no_grad():
            torch.set_num_threads(threads())
            frames_FD = self.encode(pixels_F3HW).float().cpu()
        seconds = decoded - begun, time.perf_counter() - decoded
        return _Piece(frames_FD, frames.times_F, frames.duration, seconds, seen)


class _Finished(NamedTuple):
    """A file's vectors or why there are none, and the name for the cache ("" where it is not to be kept)."""

    result: EmbeddedVideo | BrokenFile
    cache_name: str


@contextmanager
def running(
    method: Method,
    *,
    keyframes: bool,
    folder: Path | None,
    workers: int | None,
    differences: bool = False,
    repeatable: bool = False,
    source: Source | None = None,
) -> Iterator[Pipeline]:
    """A pipeline whose threads end with the block, after the pieces that they are at.

    differences, repeatable: as for `Pipeline`. source: where frames come from; None: video files. workers: threads;
    None takes as many as torch has, at most `MOST_WORKERS`. torch's threads are divided among them.
    """
    threads = torch.get_num_threads()
    count = min(threads, MOST_WORKERS) if workers is None else workers
    with ThreadPoolExecutor(count, thread_name_prefix="frames") as pool:
        each = max(1, threads // count)
        pipeline = Pipeline(
            method,
            keyframes=keyframes,
            folder=folder,
            pool=pool,
            workers=count,
            threads=each,
            differences=differences,
            repeatable=repeatable,
            source=source or Source(decode, content_hash),
        )
        try:
            yield pipeline
        finally:
            pipeline.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if torch.get_num_threads() != threads:  # a build of torch where the setting is shared by threads
                torch.set_num_threads(threads)


def content_hash(path: Path) -> str:
    """32 hexadecimal digits of BLAKE2b over the file's bytes. Raises UnreachableVideo if it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UnreachableVideo(f"{path}: cannot be read ({error.strerror or error}).") from None
    return digest.hexdigest()


def _broken(path: Path, error: VideoError) -> BrokenFile:
    return BrokenFile(path, str(error), passing=isinstance(error, UnreachableVideo))


def _compared(pixels_FHW3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    small_FSS3 = small(pixels_FHW3)
    return differences(small_FSS3), small_FSS3[[0, -1]]


def _joined(pieces: list[_Piece]) -> np.ndarray | None:
    """The differences [N] over all pieces of a file; None where they were not wanted."""
    seen = [piece.seen for piece in pieces if piece.seen is not None]
    for (_, before_2SS3), (inside_F, edges_2SS3) in pairwise(seen):
        inside_F[0] = differences(np.stack([before_2SS3[1], edges_2SS3[0]]))[1]
    return np.concatenate([inside_F for inside_F, _ in seen]) if seen else None


def _within(path: Path, span: tuple[float, float] | None, choose: Choose, duration: float) -> np.ndarray:
    """The times wanted of a file of this duration, all within the span if there is one."""
    if span is None:
        return choose(duration)
    start, end = span
    if start >= duration:
        raise UnreadableVideo(f"{path}: it is {duration:.1f} s long, its span begins at {start:.1f} s.")
    return start + choose(min(end, duration) - start)


def _always(times_F: np.ndarray) -> Choose:
    return lambda _: times_F


def _cancel(pieces: list[Future[_Piece | BrokenFile | None]]) -> None:
    for piece in pieces:
        piece.cancel()


def _on_processor(method: Method) -> bool:
    parameters = getattr(method, "parameters", None)
    return parameters is None or all(value.device.type == "cpu" for value in parameters())
