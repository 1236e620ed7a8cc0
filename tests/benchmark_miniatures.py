"""Benchmarks in miniature, in the original file formats. Every function fills a folder; `make` makes one clip file."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

TRAIN, VAL, TEST = range(0, 20), range(20, 24), range(24, 30)
PARTS = {"train": TRAIN, "val": VAL, "test": TEST}
Make = Callable[[Path], None]


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def msvd_id(number: int) -> str:
    return f"-4ws{number}_PC_{number}_{number + 9}"


def msvd(root: Path, make: Make = touch, *, protocol: int = 2) -> Path:
    """2 captions of a clip, 3 of the last one, as lists of words in a pickle."""
    everything = {}
    for part, numbers in PARTS.items():
        write(root / f"{part}_list.txt", "".join(f"{msvd_id(number)}\n" for number in numbers))
        for number in numbers:
            make(root / "YouTubeClips" / f"{msvd_id(number)}.avi")
            turns = 3 if number == TEST[-1] else 2
            everything[msvd_id(number)] = [["a", "man", str(number), f"turn{turn}"] for turn in range(turns)]
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(everything, protocol=protocol))
    return root


LSMDC_FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}


def lsmdc_id(number: int) -> str:
    return f"{1000 + number}_Some_Film_00.0{number % 10}.16.065-00.0{number % 10}.21.941"


def lsmdc_row(number: int, sentence: str) -> str:
    return f"{lsmdc_id(number)}\t00.05.16.065\t00.05.21.941\t00.05.16.065\t00.05.21.941\t{sentence}\n"


def lsmdc(root: Path, make: Make = touch) -> Path:
    """One row a clip, and a second one of the first training clip; quotes that open and never close."""
    root.mkdir(exist_ok=True)
    for part, numbers in PARTS.items():
        rows = [lsmdc_row(number, f'SOMEONE says "no {number}.') for number in numbers]
        if part == "train":
            rows.append(lsmdc_row(0, "'Again', he says."))
        write(root / LSMDC_FILES[part], "".join(rows))
        for number in numbers:
            make(root / "avi" / f"{1000 + number}_Some_Film" / f"{lsmdc_id(number)}.avi")
    return root


DIDEMO_ENDINGS = ("mov", "mp4", "3g2", "")


def didemo_name(number: int) -> str:
    return f"{number}@N01_{number}_ab{number}.{DIDEMO_ENDINGS[number % 4]}"


def didemo(root: Path, make: Make = touch) -> Path:
    """3 descriptions of a video, far apart in the file; the first test video is there under a second name as well."""
    for part, numbers in PARTS.items():
        rows = [
            {
                **{
                    "video": didemo_name(number),
                    "description": f"moment {turn} of {number}",
                    "times": [[0, 1], [0, 0]],
                },
                **{"annotation_id": 100 * turn + number, "num_segments": 6, "dl_link": "https://example.org/x"},
            }
            for turn in range(3)
            for number in numbers
        ]
        if part == "test":
            other = didemo_name(numbers[0]).rpartition(".")[0] + ".avi"
            rows.insert(0, rows[0] | {"video": other, "description": "under another name"})
        write(root / f"{part}_data.json", rows)
        write(root / f"{part}_list.txt", "".join(f"{didemo_name(number)}\n" for number in numbers))
        for number in numbers:
            make(root / "videos" / didemo_name(number))
    return root


def activitynet(root: Path, make: Make = touch) -> Path:
    """val_2 has all test videos but one; files with and without v_, and with several endings."""
    ids = {part: [f"x_{number}-Q" for number in numbers] for part, numbers in PARTS.items()}
    entries = {
        f"v_{video}": {
            "duration": 55.15,
            "timestamps": [[0.28, 55.15], [13.79, 54.32]],
            "sentences": [f"First {video}.", f"  Then the second.{' '}"],
        }
        for mine in ids.values()
        for video in mine
    }
    train, test = [[f"v_{video}" for video in mine] for mine in (ids["train"] + ids["val"], ids["test"])]
    write(root / "captions" / "train.json", {video: entries[video] for video in train})
    write(root / "captions" / "val_1.json", {video: entries[video] for video in test})
    write(root / "captions" / "val_2.json", {video: {**entries[video], "sentences": ["Anew."]} for video in test[1:]})
    for number, video in enumerate(video for mine in ids.values() for video in mine):
        make(root / "videos" / f"{'v_' if number % 3 == 0 else ''}{video}.{('mp4', 'mkv', 'webm')[number % 3]}")
    return root


def vatex_id(number: int) -> str:
    return f"Pt_{number}VRj-V0_{number:06}_{number + 10:06}"


def vatex(root: Path, make: Make = touch) -> Path:
    """The published annotation and HGR's lists, the validation file holding val and test."""

    def entries(numbers: list[int]) -> list[dict[str, object]]:
        return [
            {"videoID": vatex_id(n), "enCap": [f"turn {turn} of {n}" for turn in range(10)], "chCap": ["一个人"] * 10}
            for n in numbers
        ]

    write(root / "vatex_training_v1.0.json", entries(list(TRAIN)))
    write(root / "vatex_validation_v1.0.json", entries([*TEST, *VAL]))
    for part, numbers in PARTS.items():
        write(root / f"{part}_list.txt", "".join(f"{vatex_id(number)}\n" for number in numbers))
        for number in numbers:
            make(root / "clips" / f"{vatex_id(number)}.mp4")
    return root
