"""Sampled frames kept small beside an index, so that another model can be tried without reading the videos again.

    frames/HASH-SAMPLING/       one folder a video's content and sampling, with a file for every piece of it

A piece holds its frames as JPEG, the shorter side 256 pixels, with their times. It is written below a name of its own;
the folder takes its place in one step when the video is whole, so a kill leaves all of a video's frames or none.
Frames are kept where the folder `frames` is: who asks for them makes it, who wants them no more deletes it.
Not here: what an update does (`reelseek.index.build`), how a model is changed (`reelseek.index.switch`).
Shapes: F frames of a piece, H W 3 pixels.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from reelseek.config import IndexConfig
from reelseek.embed_pipeline import Source, content_hash
from reelseek.errors import UnreadableVideo
from reelseek.index.cards import IndexCard
from reelseek.index.disk import writes
from reelseek.index.store import IndexedFile
from reelseek.records import Frames, Method, Preprocess
from reelseek.video.decode import decode
from reelseek.video.transform import resize

FOLDER = "frames"
SIDE, QUALITY = 256, 90
PART = ".part-"
SAME_TIME = 1e-6

_SMALL = Preprocess(SIDE, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

Choose = Callable[[float], np.ndarray]


class Keeper:
    """Keeps the frames of one index, taken with one sampling."""

    def __init__(self, directory: Path, config: IndexConfig) -> None:
        self.directory = directory
        self.folder = directory / FOLDER
        self.sampling = f"{config.fps:g}-{config.min_frames}{'-keyframes' * config.keyframes}"

    def wanted(self) -> bool:
        """Whether this index keeps frames."""
        return self.folder.is_dir()

    def place(self, content: str) -> Path:
        """Where the frames of a content are, or would be."""
        return self.folder / f"{content}-{self.sampling}"

    def source(self) -> Source:
        """Video files whose frames are kept on the way; `finish` or `discard` every one. Call it under the lock."""
        for part in self.folder.glob(f"{PART}*"):  # of a killed run, perhaps of a file that is another by now
            shutil.rmtree(part)
        return Source(self._decode, content_hash)

    def finish(self, path: Path, content: str) -> None:
        """The frames of a video file are whole."""
        part = self._part(path)
        if part.is_dir():
            with writes(self.directory):
                place, old = self.place(content), self.folder / f"{PART}{content}"
                # what lies there may be the rest of a deletion that was cut short
                if place.exists():
                    place.rename(old)
                part.rename(place)
                shutil.rmtree(old, ignore_errors=True)

    def discard(self, path: Path) -> None:
        """A video file could not be read to its end."""
        shutil.rmtree(self._part(path), ignore_errors=True)

    def tidy(self, contents: Collection[str]) -> None:
        """Delete what a killed run left, and frames of other contents and samplings. Call it under the lock."""
        if self.wanted():
            live = {self.place(content).name for content in contents}
            for name in set(os.listdir(self.folder)) - live:
                leaving = self.folder / name
                if not name.startswith(PART):
                    # under its own name, half a folder would pass for a whole one
                    leaving = leaving.rename(self.folder / f"{PART}{name}")
                shutil.rmtree(leaving, ignore_errors=True)

    def _decode(self, path: Path, choose: Choose, *, keyframes: bool, shape: Preprocess) -> Frames:
        asked_F = np.empty(0)
        pictures: dict[int, bytes] = {}

        def chosen(duration: float) -> np.ndarray:
            nonlocal asked_F
            asked_F = np.asarray(choose(duration), np.float64)
            return asked_F

        def also(number: int, picture_HW3: np.ndarray) -> None:
            pictures[number] = _jpeg(picture_HW3)

        frames = decode(path, chosen, keyframes=keyframes, shape=shape, also=also)
        _write(self._part(path), asked_F, frames, [pictures[number] for number in range(len(asked_F))])
        return frames

    def _part(self, path: Path) -> Path:
        return self.folder / f"{PART}{hashlib.blake2b(os.fsencode(path), digest_size=12).hexdigest()}"


def kept_source() -> Source:
    """The folders of `Keeper.place` in the place of video files."""
    return Source(_decode_kept, lambda place: place.name.split("-")[0])


def rows_with_frames(index: IndexCard, method: Method, rows: Sequence[IndexedFile]) -> list[IndexedFile]:
    """The files whose kept frames stand for them: as large as the model wants them, and of the file as it is now.

    A file that is not there now counts as unchanged.
    """
    if method.preprocess.resize > SIDE:
        return []
    keeper = Keeper(index.directory, index.config)
    return [row for row in rows if row.status == "ok" and keeper.place(row.content_hash).is_dir() and _unchanged(row)]


def _unchanged(row: IndexedFile) -> bool:
    try:
        stat = row.path.stat()
    except OSError:
        return True
    return (stat.st_size, stat.st_mtime_ns) == (row.size, row.mtime_ns)


def _decode_kept(place: Path, choose: Choose, *, keyframes: bool, shape: Preprocess) -> Frames:
    """Kept frames in the place of a video's. Raises UnreadableVideo where they are damaged or do not hold a time."""
    names = sorted(os.listdir(place)) if place.is_dir() else []
    if not names:
        raise UnreadableVideo(f"{place}: keeps no frames")
    duration, *_ = _read(place / names[0])
    asked_F = choose(duration)
    starts = [int(name.split(".")[0]) for name in names]
    pictures: list[np.ndarray] = []
    times: list[float] = []
    at = -1
    for time in asked_F.tolist():
        piece = max(0, bisect_right(starts, _micros(time) + 1) - 1)
        if piece != at:
            _, known_F, times_F, jpegs = _read(place / names[piece])
            at = piece
        number = int(np.abs(known_F - time).argmin())
        if abs(known_F[number] - time) > SAME_TIME:
            raise UnreadableVideo(f"{place}: keeps no frame at {time:.3f} s")
        pictures.append(resize(_pixels(jpegs[number], place)[None], shape)[0])
        times.append(float(times_F[number]))
    if len({picture.shape for picture in pictures}) > 1:
        raise UnreadableVideo(f"{place}: its frames differ in size")
    return Frames(np.stack(pictures), np.array(times), duration)


def _write(folder: Path, asked_F: np.ndarray, frames: Frames, jpegs: list[bytes]) -> None:
    tensors = {
        "jpegs": torch.frombuffer(bytearray(b"".join(jpegs)), dtype=torch.uint8),
        "ends": torch.from_numpy(np.cumsum([len(jpeg) for jpeg in jpegs])),
        "asked": torch.from_numpy(asked_F),
        "times": torch.from_numpy(frames.times_F),
        "duration": torch.tensor(frames.duration, dtype=torch.float64),
    }
    with writes(folder.parent.parent):
        folder.mkdir(exist_ok=True)
        try:
            save_file(tensors, folder / f"{_micros(asked_F[0]):015d}.safetensors")
        except SafetensorError as error:
            raise OSError(str(error)) from None


def _read(file: Path) -> tuple[float, np.ndarray, np.ndarray, list[bytes]]:
    try:
        with safe_open(file, framework="pt") as tensors:
            whole = tensors.get_tensor("jpegs").numpy().tobytes()
            ends = tensors.get_tensor("ends").tolist()
            known_F, times_F = (tensors.get_tensor(name).numpy() for name in ("asked", "times"))
            duration = float(tensors.get_tensor("duration"))
    except (OSError, SafetensorError) as error:
        raise UnreadableVideo(f"{file}: the kept frames cannot be read ({error})") from None
    jpegs = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return duration, known_F, times_F, jpegs


def _jpeg(picture_HW3: np.ndarray) -> bytes:
    small_HW3 = picture_HW3 if min(picture_HW3.shape[:2]) <= SIDE else resize(picture_HW3[None], _SMALL)[0]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(small_HW3)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _pixels(jpeg: bytes, place: Path) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableVideo(f"{place}: a kept frame is damaged ({error})") from None


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)
