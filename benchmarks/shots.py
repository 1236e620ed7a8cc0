"""How many cuts are found: `python benchmarks/shots.py [FOLDER_OR_FILE ...] [--fps 1]`.

Takes frames of every video at the sampling rate of an index, joins runs of 2 to 11 of them from videos drawn by chance
into 300 films of 2 to 7 shots, and compares the cuts found with the joins. Without places the videos are drawn: moving
patches under changing light. A cut inside one of the videos counts as wrong, since nobody has listed those: with files
precision is a lower bound. Adds a row to benchmarks/results/shots.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reelseek.errors import VideoError
from reelseek.rank.export import write_json
from reelseek.video.decode import decode
from reelseek.video.files import find_videos
from reelseek.video.sample import fixed_fps
from reelseek.video.shots import CUT, differences, small

RESULT = Path(__file__).parent / "results" / "shots.json"
FILMS = 300


def drawn(count: int = 40, frames: int = 24) -> dict[str, np.ndarray]:
    """Patches of colours of their own that drift, in light that comes and goes."""
    videos = {}
    for number in range(count):
        chance = np.random.default_rng(number)
        tint = chance.integers(0, 256, (1, 1, 3))
        picture = np.kron(chance.integers(0, 256, (9, 16, 3)) // 2 + tint // 2, np.ones((20, 20, 1)))
        speed, swing = chance.integers(-12, 13, 2), chance.uniform(0, 0.4)
        shown = [
            np.roll(picture, (speed * step).tolist(), axis=(0, 1)) * (1 - swing * (0.5 + 0.5 * np.sin(step / 2)))
            for step in range(frames)
        ]
        noise = chance.integers(-8, 9, (frames, 180, 320, 3))
        videos[f"drawn {number}"] = small((np.stack(shown) + noise).clip(0, 255).astype(np.uint8))
    return videos


def of_files(places: list[Path], fps: float) -> dict[str, np.ndarray]:
    videos = {}
    for path in [path for place in places for path in (find_videos(place) if place.is_dir() else [place])]:
        try:
            frames = decode(path, lambda duration: fixed_fps(duration, fps, 0, at_least=4))
        except VideoError as error:
            print(error)
            continue
        videos[str(path)] = small(frames.pixels_FHW3)
    return videos


def films(videos: dict[str, np.ndarray]) -> Iterator[tuple[np.ndarray, set[int]]]:
    """Frames of joined runs, and the numbers of the frames at which a new one begins."""
    chance = np.random.default_rng(0)
    names = list(videos)
    for _ in range(FILMS):
        order = [int(chance.integers(len(names)))]
        for _ in range(chance.integers(1, 7)):
            order.append((order[-1] + int(chance.integers(1, len(names)))) % len(names))
        runs = []
        for number in order:
            frames = videos[names[number]]
            count = min(len(frames), int(chance.integers(2, 12)))
            start = int(chance.integers(len(frames) - count + 1))
            runs.append(frames[start : start + count])
        yield np.concatenate(runs), set(np.cumsum([len(run) for run in runs])[:-1].tolist())


def measure(videos: dict[str, np.ndarray], threshold: float) -> dict[str, float]:
    right = wrong = missed = 0
    for frames, joins in films(videos):
        found = set(np.flatnonzero(differences(frames) > threshold).tolist())
        right, wrong, missed = right + len(found & joins), wrong + len(found - joins), missed + len(joins - found)
    return {"precision": round(right / max(1, right + wrong), 3), "recall": round(right / (right + missed), 3)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("places", nargs="*", type=Path)
    options.add_argument("--fps", type=float, default=1.0)
    arguments = options.parse_args()
    videos = of_files(arguments.places, arguments.fps) if arguments.places else drawn()
    inside = [float(value) for frames in videos.values() for value in differences(frames)[1:]]
    row: dict[str, Any] = {
        "videos": len(videos),
        "of": "files" if arguments.places else "drawn",
        "fps": arguments.fps if arguments.places else None,
        "films": FILMS,
        "largest differences inside a video": [round(value, 2) for value in sorted(inside)[-5:]],
        "at": {f"{threshold:.2f}": measure(videos, threshold) for threshold in (0.45, 0.5, CUT, 0.6, 0.65)},
    }
    kept = json.loads(RESULT.read_text()) if RESULT.is_file() else []
    same = [old for old in kept if (old["of"], old["fps"], old["videos"]) == (row["of"], row["fps"], row["videos"])]
    write_json(RESULT, [old for old in kept if old not in same] + [row])
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
