"""Every benchmark in miniature, with clips that can be decoded, and a run of any recipe on it in a second or two."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import benchmark_miniatures as originals
import cli_world
from conftest import write_clip
from reelseek.config import RunConfig
from reelseek.recipes import recipe
from reelseek.recipes.run import Outcome, train

COLOURS = [(210, 30, 30), (30, 180, 40), (30, 50, 210), (220, 210, 40), (130, 30, 150), (240, 240, 240)]


@functools.cache
def clips(folder: Path) -> list[Path]:
    """A short clip of every colour."""
    return [write_clip(folder / f"{number}.mp4", colour, frames=6) for number, colour in enumerate(COLOURS)]


def msrvtt(root: Path, make: Callable[[Path], None]) -> Path:
    """20 training, 4 validation and 6 test videos, two captions each; the short test set is 4 of the 6."""
    numbers = [*originals.TRAIN, *originals.VAL, *originals.TEST]
    names = {**dict.fromkeys(originals.TRAIN, "train"), **dict.fromkeys(originals.VAL, "validate")}
    videos = [{"video_id": f"video{n}", "split": names.get(n, "test")} for n in numbers]
    sentences = [
        {"caption": f"a dog runs {turn}", "video_id": f"video{n}", "sen_id": 100 * turn + n}
        for turn in range(2)
        for n in numbers
    ]
    originals.write(root / "MSRVTT_data.json", {"videos": videos, "sentences": sentences})
    short = numbers[-4:]
    for name in ("9k", "7k"):
        listed = [n for n in numbers if n not in short]
        originals.write(root / f"MSRVTT_train.{name}.csv", "video_id\n" + "".join(f"video{n}\n" for n in listed))
    rows = "".join(f"ret{n},msr{n},video{n},a red ball {n}\n" for n in short)
    originals.write(root / "MSRVTT_JSFUSION_test.csv", f"key,vid_key,video_id,sentence\n{rows}")
    for n in numbers:
        make(root / "videos" / f"video{n}.mp4")
    return root


def youcook2(root: Path, make: Callable[[Path], None]) -> Path:
    """Two clips in every video."""
    database = {}
    for number, subset in enumerate(["training"] * 12 + ["validation"] * 4):
        annotations = [
            {"id": at, "segment": [0.4 * at, 0.4 * at + 0.3], "sentence": f"the ball {number} {at}"} for at in range(2)
        ]
        video = f"yc_{number:08}"
        database[video] = {"subset": subset, "video_url": "", "duration": 2, "annotations": annotations}
        make(root / "videos" / f"{video}.mp4")
    originals.write(root / "youcookii_annotations_trainval.json", {"database": database})
    return root


def tgif(root: Path, make: Callable[[Path], None]) -> Path:
    """GIFs named as in their addresses, and lists of addresses."""
    lines = []
    for part, numbers in originals.PARTS.items():
        urls = [f"https://example.org/tumblr_{n}.gif" for n in numbers]
        originals.write(root / "splits" / f"{part}.txt", "".join(f"{url}\n" for url in urls))
        for url, number in zip(urls, numbers, strict=True):
            lines.append(f"{url}\ta cat sleeps {number}\n")
            file = root / "gifs" / url.rpartition("/")[2]
            file.parent.mkdir(parents=True, exist_ok=True)
            frames = [Image.new("RGB", (32, 32), COLOURS[(number + at) % len(COLOURS)]) for at in range(3)]
            frames[0].save(file, save_all=True, append_images=frames[1:], duration=200)
    originals.write(root / "tgif-v1.0.tsv", "".join(lines))
    return root


def exercises(root: Path, make: Callable[[Path], None]) -> Path:
    """Twelve exercises of four families, two photos each."""
    rows = []
    for number in range(12):
        tool, move = ("Barbell", "Dumbbell", "Cable")[number % 3], ("Curl", "Row", "Squat", "Lunge")[number // 3]
        photos = [f"photos/{number}_{at}.jpg" for at in range(2)]
        for at, name in enumerate(photos):
            pixels = np.random.default_rng(2 * number + at).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((48, 32)).save(root / name)
        row = {"id": f"{tool}_{move}", "name": f"{tool} {move}", "photos": photos, "equipment": tool.lower()}
        rows.append(row | {"category": "strength", "muscles": ["biceps"], "steps": [f"Hold number {number}.", "Move!"]})
    originals.write(root / "exercises.json", rows)
    return root


def folder(root: Path, make: Callable[[Path], None]) -> Path:
    """Clips by colour with splits."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "caption", "split"])
        for name, split in cli_world.SPLITS.items():
            make(root / f"{name}.mp4")
            rows.writerow([name, f"a {name} wall", split])
    return root


def generated(root: Path, make: Callable[[Path], None]) -> Path:
    """Nothing: the reader makes the benchmark itself."""
    return root


WRITERS: dict[str, Callable[[Path, Callable[[Path], None]], Path]] = {
    "motions": generated,
    "babyai": generated,
    "folder": folder,
    "exercises": exercises,
    "msrvtt": msrvtt,
    "msrvtt-7k": msrvtt,
    "msrvtt-full": msrvtt,
    "msvd": originals.msvd,
    "lsmdc": originals.lsmdc,
    "didemo": originals.didemo,
    "activitynet": originals.activitynet,
    "vatex": originals.vatex,
    "youcook2": youcook2,
    "tgif": tgif,
}
"""By the second part of a recipe's name."""


def write_benchmark(name: str, root: Path, clip_folder: Path) -> Path:
    """The files of a benchmark below `root`, every clip a copy of one of `clips`."""
    made: list[Path] = []

    def make(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        choices = clips(clip_folder)
        shutil.copyfile(choices[len(made) % len(choices)], path)
        made.append(path)

    return WRITERS[name](root, make)


def small(name: str, root: Path, towers: Path, *, form: str = "clean") -> RunConfig:
    """A recipe's settings with six training videos, two frames a video, a tiny CLIP, and two steps or a few more."""
    config = recipe(name, form=form)
    method = config.method
    if method.backbone != "offline":
        method = replace(method, backbone=str(towers), layers=1 if method.temporal == "transformer" else method.layers)
    if method.padding == "counted":
        method = replace(method, counted_frames=2)
    return replace(
        config,
        data=replace(config.data, root=str(root), size=6),
        sample=replace(config.sample, frames=2),
        method=method,
        train=replace(config.train, epochs=1, batch_size=12 if "vatex" in name else 3, device="cpu"),
        evaluate=replace(config.evaluate, bootstrap=0),
    )


def run(name: str, root: Path, towers: Path, out: Path, *, form: str = "clean") -> Outcome:
    """Train a recipe on its miniature."""
    return train(small(name, root, towers, form=form), out / "run", cache=out / "cache")


def losses_of(run_folder: Path) -> list[float]:
    """The total loss of every step."""
    records = map(json.loads, (run_folder / "log.jsonl").read_text().splitlines())
    return [record["loss/total"] for record in records if record["kind"] == "step"]
