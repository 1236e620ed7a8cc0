"""Indexing speed: end to end, each stage's share of a core, and against a loop over OpenCV.

    python benchmarks/indexing.py [FOLDER_OR_FILE ...] [--model offline] [--fps 1] [--copies 1] [--opencv FOLDER]

Without places it takes the clips that installed packages carry. Every round measures, in turn: an index made from
nothing; all vectors without storing them, and decoding and preprocessing alone, by the same threads; each stage on one
thread; and, where --opencv is a folder with `pip install --target FOLDER opencv-python-headless`, a loop that takes the
same frames by OpenCV, at every setting of its threads, alone and with the same tower behind it. Medians of the rounds,
in wall time and in processor time, which counts other work on the machine little; the load is written down.
--copies makes a longer library of few clips: each MP4 so many times, told apart by an empty box at its end, since files
of one content are encoded once. What it costs to open a library and to end counts less there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reelseek.app.results import machine
from reelseek.config import IndexConfig
from reelseek.data.packaged import packaged_clips
from reelseek.embed import embed_files
from reelseek.encoders import compiled
from reelseek.index.build import update
from reelseek.methods.saved import load
from reelseek.rank.export import write_json
from reelseek.records import EmbeddedVideo
from reelseek.video.decode import decode
from reelseek.video.sample import fixed_fps
from reelseek.video.transform import preprocess

RESULT = Path(__file__).parent / "results" / "indexing.json"
Rows = dict[str, list[tuple[float, float]]]


class NoTower:
    """The method without its tower: frames are decoded, prepared and dropped."""

    def __init__(self, method: Any) -> None:
        self.preprocess = method.preprocess
        self.backbone_id = "none"

    def encode_frames(self, pixels_N3HW: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(pixels_N3HW), 1)


def copied(paths: Sequence[Path], copies: int, folder: Path) -> list[Path]:
    """The MP4 files among the paths, `copies` times each, in the folder, with contents that differ."""
    found = []
    for number in range(copies):
        box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        for row, path in enumerate(path for path in paths if path.suffix.lower() == ".mp4"):
            found.append(folder / f"{number:03d}-{row:03d}.mp4")
            found[-1].write_bytes(path.read_bytes() + box)
    return found


def timed(rows: Rows, name: str, work: Callable[[], object]) -> None:
    """Wall and processor seconds of a piece of work, added to its row."""
    wall, busy = time.perf_counter(), time.process_time()
    work()
    rows.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - busy))


def make_index(places: Sequence[Path], method: Any, fps: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        card = {"name": "", "source": ""}
        update(Path(folder) / "index", places, method, model_card=card, config=IndexConfig(fps=fps))


def frames_alone(paths: Sequence[Path], method: Any, choose: Callable[[float], np.ndarray]) -> None:
    list(embed_files(NoTower(method), paths, choose, sampling_key=""))  # type: ignore[arg-type]


def stages(rows: Rows, paths: Sequence[Path], method: Any, choose: Callable[[float], np.ndarray]) -> None:
    """Each stage of every file on one thread."""
    threads, spec = torch.get_num_threads(), method.preprocess
    torch.set_num_threads(1)
    small: list[np.ndarray] = []
    ready: list[torch.Tensor] = []
    timed(rows, "decode", lambda: small.extend(decode(path, choose, shape=spec).pixels_FHW3 for path in paths))
    timed(rows, "transform", lambda: ready.extend(preprocess(pixels, spec) for pixels in small))
    timed(rows, "encode", lambda: [method.encode_frames(pixels) for pixels in ready])
    timed(rows, "encode in torch", lambda: [method.backbone.frames_in_torch(pixels) for pixels in ready])
    torch.set_num_threads(threads)


def opencv_frames(path: Path, starts_F: np.ndarray, spec: Any, threads: int) -> torch.Tensor:
    """The frames that start at these times, by OpenCV, prepared for the tower: [F, 3, S, S]."""
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    half = 0.5 / max(capture.get(cv2.CAP_PROP_FPS), 1.0)
    found = []
    at = -1.0
    image = None
    for start in starts_F:
        while at < start - half and capture.grab():
            at, image = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, None
        if image is None:
            _, picture = capture.retrieve()
            height, width = picture.shape[:2]
            scale = spec.resize / min(height, width)
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=way)
            top, left = (small.shape[0] - spec.crop) // 2, (small.shape[1] - spec.crop) // 2
            image = cv2.cvtColor(small[top : top + spec.crop, left : left + spec.crop], cv2.COLOR_BGR2RGB)
        found.append(image)
    capture.release()
    pixels_F3SS = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(torch.float32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return pixels_F3SS.sub_(mean).div_(std).contiguous()


def opencv_loop(
    paths: Sequence[Path], starts: Sequence[np.ndarray], method: Any, threads: int, *, encode: bool
) -> None:
    for path, starts_F in zip(paths, starts, strict=True):
        pixels = opencv_frames(path, starts_F, method.preprocess, threads)
        if encode:
            method.encode_frames(pixels)


def report(rows: Rows, seconds: float, cores: int) -> dict[str, Any]:
    """Medians in video seconds a second, and how near the whole comes to what the stages leave possible."""
    walls = {name: statistics.median(wall for wall, _ in times) for name, times in rows.items()}
    busy = {name: statistics.median(cpu for _, cpu in times) for name, times in rows.items()}
    parts = [busy["decode"], busy["transform"], busy["encode"]]
    result: dict[str, Any] = {
        "video_seconds_per_second": {name: round(seconds / value, 1) for name, value in walls.items()},
        "processor_seconds_per_video_second": {name: round(value / seconds, 5) for name, value in busy.items()},
        "of_the_possible": {
            "possible, video seconds a second": round(cores * seconds / sum(parts), 1),
            "reached": round(sum(parts) / cores / walls["index"], 3),
            "stages in the processor time of the index": round(sum(parts) / busy["index"], 3),
            "stages in the processor time of the vectors": round(sum(parts) / busy["vectors"], 3),
        },
    }
    loops = [name for name in walls if name.startswith("opencv frames")]
    if loops:
        best = min(loops, key=lambda name: walls[name])
        whole = min((name for name in walls if name.startswith("opencv whole")), key=lambda name: walls[name])
        result["against_opencv"] = {
            "best setting": best,
            "decode + transform, wall": round(walls[best] / walls["frames"], 2),
            "decode + transform, processor": round(min(busy[name] for name in loops) / busy["frames"], 2),
            "end to end, wall": round(walls[whole] / walls["index"], 2),
        }
    return result


def show(result: dict[str, Any]) -> None:
    print(f"{'':<28}{'video s a second':>18}{'processor s a video s':>24}")
    for name, speed in result["video_seconds_per_second"].items():
        print(f"{name:<28}{speed:>18.1f}{result['processor_seconds_per_video_second'][name]:>24.5f}")
    for block in ("of_the_possible", "against_opencv"):
        for name, value in result.get(block, {}).items():
            print(f"{block.replace('_', ' ')}: {name}: {value}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("places", nargs="*", type=Path)
    options.add_argument("--model", default="offline")
    options.add_argument("--fps", type=float, default=1.0)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--copies", type=int, default=1)
    options.add_argument("--opencv", type=Path, help="a folder that holds OpenCV's package")
    arguments = options.parse_args()
    places = arguments.places or packaged_clips()
    method = load(arguments.model)
    config = IndexConfig(fps=arguments.fps)
    choose = partial(fixed_fps, fps=config.fps, frames=0, at_least=config.min_frames)
    found = [path for place in places for path in (sorted(place.iterdir()) if place.is_dir() else [place])]
    library = tempfile.TemporaryDirectory()
    if arguments.copies > 1:
        found = copied(found, arguments.copies, Path(library.name))
    videos = [video for video in embed_files(NoTower(method), found, choose, sampling_key="")  # type: ignore[arg-type]
              if isinstance(video, EmbeddedVideo)]  # fmt: skip
    if not videos:
        options.error("there is no video in these places; folders are not searched below their own files")
    paths, starts = [video.path for video in videos], [np.sort(video.times_N) for video in videos]
    seconds = sum(video.duration for video in videos)
    side = method.preprocess.crop
    compiled.PATIENCE = 16
    method.encode_frames(torch.zeros(16, 3, side, side))  # what encodes is settled before anything counts
    if arguments.opencv is not None:
        sys.path.append(str(arguments.opencv))
    rows: Rows = {}
    loads = []
    for _ in range(arguments.repeats):
        loads.append(os.getloadavg()[0])
        timed(rows, "index", lambda: make_index(paths, method, arguments.fps))
        timed(rows, "vectors", lambda: list(embed_files(method, paths, choose, sampling_key="")))
        timed(rows, "frames", lambda: frames_alone(paths, method, choose))
        stages(rows, paths, method, choose)
        if arguments.opencv is not None:
            for threads in (1, 2, 4):
                work = partial(opencv_loop, paths, starts, method, threads)
                timed(rows, f"opencv frames, {threads} threads", partial(work, encode=False))
                timed(rows, f"opencv whole, {threads} threads", partial(work, encode=True))
    cores = int(machine()["cores"])
    result = {
        "machine": machine(),
        "load": [round(load, 1) for load in loads],
        "model": arguments.model,
        "encoder": getattr(getattr(method.backbone, "compiled", None), "engine", "torch"),
        "setting": {compiled.SETTING: os.environ.get(compiled.SETTING, "")},
        "fps": arguments.fps,
        "copies": arguments.copies,
        "videos": len(videos),
        "frames": sum(map(len, starts)),
        "video_seconds": round(seconds, 1),
        "repeats": arguments.repeats,
        **report(rows, seconds, cores),
    }
    print(f"{len(videos)} videos, {seconds:.0f} s of video, {result['frames']} frames, encoder {result['encoder']}")
    show(result)
    write_json(RESULT if arguments.copies == 1 else RESULT.with_stem("indexing_long"), result)


if __name__ == "__main__":
    main()
