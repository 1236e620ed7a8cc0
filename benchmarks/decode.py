"""How fast frames are read and prepared: `python benchmarks/decode.py [VIDEO ...]`.

Reads 1 frame a second and 12 frames a video in three ways (seeking, in order, key frames) from a generated clip and
from the videos named, and prepares frames by reelseek and by transformers' PIL processor. All on one thread, in seconds
of processor time, so that other work on the machine counts little. Prints tables and writes
benchmarks/results/decode.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import av
import numpy as np
import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from reelseek.video import decode as module
from reelseek.video.cursor import Cursor
from reelseek.video.decode import decode, probe
from reelseek.video.sample import fixed_fps, middle
from reelseek.video.transform import CLIP, preprocess

RESULTS = Path(__file__).parent / "results" / "decode.json"
ASKED: dict[str, Callable[[float], np.ndarray]] = {
    "1 fps": lambda duration: fixed_fps(duration, 1.0, 0),
    "12 frames": lambda duration: middle(duration, 12),
}


def generate(path: Path, seconds: int = 60) -> Path:
    """A 640 x 360 H.264 clip at 30 fps with a key frame every 5 s: drifting waves under moving noise."""
    noise = np.random.default_rng(0).integers(0, 20, (360 * 2, 640 * 2), dtype=np.uint8)
    y, x = np.mgrid[:360, :640]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"g": "150", "preset": "veryfast"}
        for number in range(seconds * 30):
            pixels = (90 + 60 * np.sin((x + 3 * number) / 60) * np.sin((y - number) / 40)).astype(np.uint8)
            shift = number % 360
            grey = pixels + noise[shift : shift + 360, shift : shift + 640]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), format="gray").reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def best_of(action: Callable[[], object], rounds: int) -> float:
    """Least processor time of `rounds` in seconds."""
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
    return min(times)


def time_decoding(path: Path, rounds: int) -> list[dict[str, object]]:
    info = probe(path)
    rows = []
    for asked, choose in ASKED.items():
        row: dict[str, object] = {
            "video": path.name,
            "seconds": round(info.duration, 2),
            "size": f"{info.width}x{info.height}",
            "codec": info.codec,
            "asked": asked,
        }
        with mock.patch.object(module, "Cursor", partial(Cursor, may_seek=False)):
            row["in order"] = info.duration / best_of(partial(decode, path, choose, shape=CLIP), rounds)
        row["seeking"] = info.duration / best_of(partial(decode, path, choose, shape=CLIP), rounds)
        row["key frames"] = info.duration / best_of(partial(decode, path, choose, keyframes=True, shape=CLIP), rounds)
        rows.append(row)
    return rows


def time_preparing(height: int, width: int, rounds: int) -> dict[str, object]:
    frames = np.random.default_rng(0).integers(0, 256, (8, height, width, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil()
    reference = processor(list(frames), return_tensors="pt")["pixel_values"]
    steps = (preprocess(frames, CLIP) - reference).abs() * torch.tensor(CLIP.std).view(3, 1, 1)
    ours = best_of(lambda: preprocess(frames, CLIP), rounds) / len(frames)
    pil = best_of(lambda: processor(list(frames), return_tensors="pt"), rounds) / len(frames)
    return {
        "size": f"{width}x{height}",
        "ours ms": 1e3 * ours,
        "PIL ms": 1e3 * pil,
        "ratio": pil / ours,
        "largest difference": round(float(steps.max()), 3),
    }


def show(rows: list[dict[str, object]]) -> None:
    cells = [list(rows[0]), *([f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    print("\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time decoding (video seconds read in one second) and preparing.")
    parser.add_argument("videos", nargs="*", type=Path, help="more videos to time")
    parser.add_argument("--rounds", type=int, default=3, help="the best of this many counts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        clips = [generate(Path(folder) / "generated.mp4"), *arguments.videos]
        decoding = [row for path in clips for row in time_decoding(path, arguments.rounds)]
    preparing = [time_preparing(*size, arguments.rounds) for size in ((256, 456), (720, 1280), (1080, 1920))]
    print("Video seconds read in one second of processor time, one thread (frames resized for CLIP)")
    show(decoding)
    print("\nPreparing a frame for CLIP, one thread; difference in steps of 255")
    show(preparing)
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"date": str(date.today()), "processor": platform.processor() or platform.machine(), "av": av.__version__}
    RESULTS.write_text(json.dumps({**machine, "decoding": decoding, "preparing": preparing}, indent=1) + "\n")


if __name__ == "__main__":
    main()
