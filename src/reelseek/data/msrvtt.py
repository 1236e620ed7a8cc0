"""MSR-VTT (Xu et al. 2016) from its original files: the 1k-A split with 9k or 7k training videos, and the full split.

Read as published, anywhere below one folder:
  MSRVTT_data.json (videos and sentences), or annotation/MSR_VTT.json (annotations with image_id and caption);
  MSRVTT_train.9k.csv, MSRVTT_train.7k.csv (column video_id); MSRVTT_JSFUSION_test.csv (key, vid_key, video_id,
  sentence); MSRVTT_train.full.csv, MSRVTT_val.full.csv, MSRVTT_test.full.csv, or the videos' own `split` fields;
  the videos as video*.mp4 or any other video ending.
The 1k-A test videos are part of the full test split, and the 9k training videos hold the rest of it: see
`Pairs.refuse_seen`. Tested on miniatures in these formats.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from random import Random
from typing import Any, Literal

from reelseek.config import DataConfig
from reelseek.data.pairs import Pairs, Splits, Standard, pair_up
from reelseek.errors import DataError
from reelseek.video.files import find_videos

CORPUS = "msrvtt"
ANNOTATIONS = ("MSRVTT_data.json", "MSR_VTT.json")
TEST_1KA = Standard("MSR-VTT 1k-A test", videos=1000, texts=1000)
TEST_FULL = Standard("MSR-VTT full test", videos=2990, texts=59800)
TRAIN_IDS = {"9k": 9000, "7k": 7010}
FULL_IDS = {"train": 6513, "val": 497, "test": 2990}
VALIDATION = 500
"""Training videos held out for validation, since 1k-A has no validation split."""


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The split that settings name: msrvtt-1ka-9k, msrvtt-1ka-7k or msrvtt-full."""
    if config.name == "msrvtt-full":
        return load_full(config.root)
    return load_1ka(config.root, train="7k" if config.name.endswith("7k") else "9k", seed=config.seed)


def load_1ka(root: str | Path, *, train: Literal["9k", "7k"] = "9k", seed: int = 0) -> Splits:
    """The 1k-A (JSFUSION) split: 1,000 test videos with one caption each, 995 of the captions different.

    train: which of the two training lists. `VALIDATION` of its videos (a tenth, if that is fewer), drawn by `seed`, are
    held out as the validation split, so that the test set never chooses a checkpoint.
    A part for learning of which no video is on disk is None: the test videos alone are enough for a test.
    Raises DataError for absent or damaged files, a list that shares videos with the test set, or no test video.
    """
    files = _Files(root)
    rows = files.rows("MSRVTT_JSFUSION_test.csv", ("key", "video_id", "sentence"))
    test_ids = tuple(dict.fromkeys(row["video_id"] for row in rows))
    test = files.pairs(
        "msrvtt-1ka test", test_ids, [(row["key"], row["video_id"], row["sentence"]) for row in rows], TEST_1KA
    )
    listed = files.ids(f"MSRVTT_train.{train}.csv")
    shared = set(listed) & set(test_ids)
    if shared:
        raise DataError(f"MSRVTT_train.{train}.csv lists {len(shared)} test videos, such as {min(shared)!r}.")
    held_out = set(Random(seed).sample(sorted(listed), min(VALIDATION, len(listed) // 10)))
    captions = files.captions()
    note = (
        f"{len(listed):,} of {TRAIN_IDS[train]:,} listed training videos, {len(held_out):,} of them held out by seed "
        f"{seed} for validation"
    )
    parts = {
        "train": tuple(video for video in listed if video not in held_out),
        "val": tuple(video for video in listed if video in held_out),
    }
    learnt = {
        part: files.pairs(f"msrvtt-1ka-{train} {part}", ids, captions, None, note)
        for part, ids in parts.items()
        if files.hold_any(ids)
    }
    return Splits(learnt.get("train"), learnt.get("val"), test)


def load_full(root: str | Path) -> Splits:
    """The full split: 6,513 / 497 / 2,990 videos with 20 captions each.

    The lists are MSRVTT_{train,val,test}.full.csv where all three exist, else the videos' own `split` fields.
    A part for learning of which no video is on disk is None.
    Raises DataError for absent or damaged files, lists that share videos, or no test video.
    """
    files = _Files(root)
    captions = files.captions()
    names = {part: f"MSRVTT_{part}.full.csv" for part in FULL_IDS}
    if all(files.has(name) for name in names.values()):
        lists = {part: files.ids(name) for part, name in names.items()}
    else:
        lists = files.split_fields()
    owner: dict[str, str] = {}
    for part, ids in lists.items():
        for video in ids:
            if owner.setdefault(video, part) != part:
                raise DataError(f"{video!r} is in both the {owner[video]} and the {part} list of the full split.")
    splits = {
        part: files.pairs(
            f"msrvtt-full {part}",
            ids,
            captions,
            TEST_FULL if part == "test" else None,
            f"{len(ids):,} of {FULL_IDS[part]:,} videos listed",
        )
        for part, ids in lists.items()
        if part == "test" or files.hold_any(ids)
    }
    return Splits(**splits)


class _Files:
    """The annotation files and the videos below a root, by name."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not str(root) or not self.root.is_dir():
            raise DataError(
                f"MSR-VTT: {str(root)!r} is no folder; set data.root to the folder with its original files."
            )
        self._named: dict[str, Path] = {}
        for here, _, names in os.walk(self.root):
            for name in sorted(names):
                if name.endswith((".json", ".csv")):
                    self._named.setdefault(name, Path(here, name))
        self.videos = {path.stem: path for path in reversed(find_videos(self.root))}
        self._annotation: dict[str, Any] | None = None

    def hold_any(self, ids: tuple[str, ...]) -> bool:
        """Whether a single one of these videos is on disk."""
        return not self.videos.keys().isdisjoint(ids)

    def has(self, name: str) -> bool:
        return name in self._named

    def rows(self, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
        """The rows of a CSV file that has these columns."""
        if not self.has(name):
            raise DataError(f"MSR-VTT: no {name} below {self.root}.")
        with self._named[name].open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            absent = [column for column in columns if column not in (reader.fieldnames or ())]
            if absent:
                raise DataError(f"{self._named[name]}: no column {absent[0]!r}; it has {reader.fieldnames}.")
            rows = list(reader)
        short = [number for number, row in enumerate(rows, 2) if not all(row[column] for column in columns)]
        if short:
            raise DataError(f"{self._named[name]}: line {short[0]} lacks one of {', '.join(columns)}.")
        return rows

    def ids(self, name: str) -> tuple[str, ...]:
        """The video ids that a CSV file lists."""
        return tuple(dict.fromkeys(row["video_id"] for row in self.rows(name, ("video_id",))))

    def annotation(self) -> dict[str, Any]:
        if self._annotation is None:
            path = next((self._named[name] for name in ANNOTATIONS if self.has(name)), None)
            if path is None:
                raise DataError(f"MSR-VTT: neither {' nor '.join(ANNOTATIONS)} below {self.root}.")
            try:
                content = json.loads(path.read_text("utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise DataError(f"{path}: is not JSON ({error}).") from error
            if not isinstance(content, dict) or not ({"sentences", "annotations"} & content.keys()):
                raise DataError(f"{path}: has neither `sentences` nor `annotations`; is it the MSR-VTT annotation?")
            self._annotation = content
        return self._annotation

    def captions(self) -> list[tuple[str, str, str]]:
        """(text id, video id, caption) of every sentence, in file order; text ids number a video's captions."""
        content = self.annotation()
        key, rows = ("video_id", content.get("sentences")) if "sentences" in content else ("image_id", None)
        counts: dict[str, int] = {}
        captions = []
        for row in rows if rows is not None else content["annotations"]:
            if not isinstance(row, dict) or key not in row or "caption" not in row:
                raise DataError(f"MSR-VTT annotation: a sentence without {key} and caption: {str(row)[:80]}.")
            video = str(row[key])
            counts[video] = counts.get(video, -1) + 1
            captions.append((f"{video}#{counts[video]}", video, str(row["caption"])))
        return captions

    def split_fields(self) -> dict[str, tuple[str, ...]]:
        """Ids by the `split` field of the videos: train, validate or val, test."""
        videos = self.annotation().get("videos", [])
        names = {"train": "train", "validate": "val", "val": "val", "test": "test"}
        lists: dict[str, list[str]] = {part: [] for part in FULL_IDS}
        for video in videos:
            if video.get("split") not in names or "video_id" not in video:
                raise DataError(
                    f"MSR-VTT annotation: a video without a known split: {str(video)[:80]}. Add the files "
                    "MSRVTT_{train,val,test}.full.csv."
                )
            lists[names[video["split"]]].append(str(video["video_id"]))
        empty = [part for part, ids in lists.items() if not ids]
        if empty:
            raise DataError(
                f"MSR-VTT: no {empty[0]} video in the annotation's split fields; add MSRVTT_{empty[0]}.full.csv."
            )
        return {part: tuple(dict.fromkeys(ids)) for part, ids in lists.items()}

    def pairs(
        self,
        name: str,
        ids: tuple[str, ...],
        captions: list[tuple[str, str, str]],
        standard: Standard | None,
        note: str = "",
    ) -> Pairs:
        """A split of the videos `ids` that are on disk; the captions of the others are counted as missing."""
        found = tuple(video for video in ids if video in self.videos)
        listed = set(ids)
        ours = [row for row in captions if row[1] in listed]
        empty = sum(not text.strip() for _, _, text in ours)
        ours = [row for row in ours if row[2].strip()]
        if not found:
            raise DataError(f"{name}: none of its {len(ids):,} videos is below {self.root} (such as {ids[0]}.mp4).")
        kept = [row for row in ours if row[1] in self.videos]
        texts, video_of_T = pair_up([(video, text) for _, video, text in kept], found)
        silent = len(listed - {video for _, video, _ in ours})
        notes = [note] if note else []
        notes += [f"dropped {empty:,} empty captions"] if empty else []
        notes += [f"{silent:,} listed videos have no caption"] if silent else []
        return Pairs(
            name=name,
            texts=texts,
            text_ids=tuple(text_id for text_id, _, _ in kept),
            video_of_T=video_of_T,
            video_ids=found,
            paths=tuple(self.videos[video] for video in found),
            missing_videos=tuple(video for video in ids if video not in self.videos),
            missing_texts=len(ours) - len(kept),
            standard=standard,
            corpus=CORPUS,
            notes=tuple(notes),
        )
