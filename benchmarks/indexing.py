"""Indexing speed in seconds of video a second: the whole, and decoding and encoding by themselves.

    python benchmarks/indexing.py [FOLDER_OR_FILE ...] [--model offline] [--fps 1]

Without places it takes the clips that installed packages carry. Decode includes resizing; its seconds and encode's are
summed over threads, so they overlap in time. Run it on a quiet machine; every index is made from nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from reelseek.app.results import machine
from reelseek.config import IndexConfig
from reelseek.data.packaged import packaged_clips
from reelseek.index.build import update
from reelseek.methods.saved import load
from reelseek.rank.export import write_json

RESULT = Path(__file__).parent / "results" / "indexing.json"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("places", nargs="*", type=Path)
    options.add_argument("--model", default="offline")
    options.add_argument("--fps", type=float, default=1.0)
    options.add_argument("--repeats", type=int, default=3)
    arguments = options.parse_args()
    places = arguments.places or packaged_clips()
    method = load(arguments.model)
    runs = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            config = IndexConfig(fps=arguments.fps)
            runs.append(
                update(Path(folder) / "index", places, method, model_card={"name": "", "source": ""}, config=config)
            )
    median = statistics.median
    video_seconds = runs[0].video_seconds
    speeds = {
        "whole": video_seconds / median(run.seconds for run in runs),
        "decode alone, per busy thread": video_seconds / median(run.decode_seconds for run in runs),
        "encode alone": video_seconds / median(run.encode_seconds for run in runs),
    }
    print(
        f"{runs[0].added} videos, {video_seconds:.0f} s of video, {arguments.fps:g} frames a second, {arguments.model}"
    )
    for name, speed in speeds.items():
        print(f"  {name:<32} {speed:8.1f} video seconds per second")
    result = {
        "machine": machine(),
        "model": arguments.model,
        "fps": arguments.fps,
        "videos": runs[0].added,
        "video_seconds": round(video_seconds, 1),
        "repeats": arguments.repeats,
        "video_seconds_per_second": {name: round(speed, 1) for name, speed in speeds.items()},
    }
    write_json(RESULT, result)


if __name__ == "__main__":
    main()
