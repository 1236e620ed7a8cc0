"""MSR-VTT (Xu et al. 2016) from its original files: the 1k-A split with 9k or 7k training videos, and the full split.

Read as published, anywhere below one folder:
  MSRVTT_data.json (videos and sentences), annotation/MSR_VTT.json (annotations with image_id and caption), or the
  organisers' train_val_videodatainfo.json and test_videodatainfo.json, of the first form, or one that suffices;
  MSRVTT_train.9k.csv (or train_list_jsfusion.txt), MSRVTT_train.7k.csv (column video_id);
  MSRVTT_JSFUSION_test.csv (key, vid_key, video_id, sentence);
  the videos' own `split` fields, or MSRVTT_train.full.csv, MSRVTT_val.full.csv, MSRVTT_test.full.csv (or
  train_list_full.txt, val_list_full.txt, test_list_full.txt); a .txt has an id a line;
  the videos as video*.mp4 or any other video ending.
The 1k-A test videos are part of the full test split, and the 9k training videos hold the rest of it: see
`Pairs.refuse_seen`. Tested on miniatures in these formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from reelseek.config import DataConfig
from reelseek.data.files import Caption, Files, hold_out, listed_notes, numbered, read_json
from reelseek.data.pairs import Splits, Standard
from reelseek.errors import DataError

CORPUS = "msrvtt"
ANNOTATIONS = ("MSRVTT_data.json", "MSR_VTT.json")
OFFICIAL = ("train_val_videodatainfo.json", "test_videodatainfo.json")
"""The organisers' annotation, in two files; `ANNOTATIONS` go before them."""
TEST_1KA = Standard("MSR-VTT 1k-A test", videos=1000, texts=1000)
TEST_FULL = Standard("MSR-VTT full test", videos=2990, texts=59800)
TRAIN_IDS = {"9k": 9000, "7k": 7010}
FULL_IDS = {"train": 6513, "val": 497, "test": 2990}
LISTS = "https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msrvtt_data.zip"
OTHER_NAMES = {
    "MSRVTT_train.9k.csv": "train_list_jsfusion.txt",
    **{f"MSRVTT_{part}.full.csv": f"{part}_list_full.txt" for part in FULL_IDS},
}
"""Lists of ids under the names that Frozen in Time's loader reads from its archive, an id a line. The captions of its
1k-A test are chosen by a pickle, which is not read."""
BY_HAND = (
    "Add train_list_full.txt, val_list_full.txt and test_list_full.txt of the videos' archive, or "
    "MSRVTT_train.full.csv, MSRVTT_val.full.csv and MSRVTT_test.full.csv: a line video_id, then an id a line, "
    "video0 to video6512, video6513 to video7009 and video7010 to video9999."
)
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
    files = Files("MSR-VTT", root)
    for name in ("MSRVTT_JSFUSION_test.csv", f"MSRVTT_train.{train}.csv"):
        if _list(files, name) is None:
            other = f" and no {OTHER_NAMES[name]}" if name in OTHER_NAMES else ""
            raise DataError(f"MSR-VTT: no {name}{other} below {files.root}. It is one of CLIP4Clip's lists: {LISTS}.")
    rows = files.rows("MSRVTT_JSFUSION_test.csv", ("key", "video_id", "sentence"))
    test_ids = tuple(dict.fromkeys(row["video_id"] for row in rows))
    sentences = [Caption(row["key"], row["video_id"], row["sentence"]) for row in rows]
    test = files.split("msrvtt-1ka test", test_ids, sentences, corpus=CORPUS, standard=TEST_1KA)
    listed = _ids(files, f"MSRVTT_train.{train}.csv")
    shared = set(listed) & set(test_ids)
    if shared:
        given = _list(files, f"MSRVTT_train.{train}.csv")
        raise DataError(f"{given} lists {len(shared)} test videos, such as {min(shared)!r}.")
    parts = hold_out(listed, VALIDATION, seed)
    captions = _captions(_annotation(files))
    half = _missing_half(files)
    silent = set(listed) - {caption.video for caption in captions} if half else set()
    if silent:
        raise DataError(
            f"MSR-VTT: no {half} below {files.root}, and without it {len(silent):,} listed videos have no caption "
            f"(such as {min(silent)!r})."
        )
    note = (
        f"{len(listed):,} of {TRAIN_IDS[train]:,} listed training videos, {len(parts['val']):,} of them held out by "
        f"seed {seed} for validation"
    )
    learnt = {
        part: files.split(f"msrvtt-1ka-{train} {part}", ids, captions, corpus=CORPUS, notes=[note])
        for part, ids in parts.items()
        if not files.videos.keys().isdisjoint(ids)
    }
    return Splits(learnt.get("train"), learnt.get("val"), test)


def load_full(root: str | Path) -> Splits:
    """The full split: 6,513 / 497 / 2,990 videos with 20 captions each.

    The lists are MSRVTT_{train,val,test}.full.csv (or `OTHER_NAMES`) where all three exist, else the videos' own
    `split` fields. The organisers' test_videodatainfo.json alone is enough for a test.
    A part for learning of which no video is on disk is None.
    Raises DataError for absent or damaged files, lists that share videos, or no test video.
    """
    files = Files("MSR-VTT", root)
    content = _annotation(files)
    half = _missing_half(files)
    if half == OFFICIAL[1]:
        raise DataError(f"MSR-VTT: no {half} below {files.root}: the test videos of the full split are in it.")
    needed = ("test",) if half else tuple(FULL_IDS)
    captions = _captions(content)
    if all(_list(files, f"MSRVTT_{part}.full.csv") for part in FULL_IDS):
        lists = {part: _ids(files, f"MSRVTT_{part}.full.csv") for part in needed}
    else:
        lists = _split_fields(content, needed)
    notes = listed_notes(lists, FULL_IDS)
    return files.splits("msrvtt-full", lists, captions, corpus=CORPUS, standard=TEST_FULL, notes=notes)


def _list(files: Files, name: str) -> str | None:
    """The name under which a list is there, its own or the other one."""
    return next((given for given in (name, OTHER_NAMES.get(name)) if given in files.named), None)


def _ids(files: Files, name: str) -> tuple[str, ...]:
    """The video ids that a list holds, a CSV file or lines."""
    given = _list(files, name) or name
    if given.endswith(".txt"):
        return tuple(dict.fromkeys(files.lines(given)))
    return tuple(dict.fromkeys(row["video_id"] for row in files.rows(given, ("video_id",))))


def _missing_half(files: Files) -> str | None:
    """Which of the organisers' two files is absent where the captions come from the other one."""
    absent = [name for name in OFFICIAL if name not in files.named]
    whole = any(name in files.named for name in ANNOTATIONS)
    return absent[0] if len(absent) == 1 and not whole else None


def _annotation(files: Files) -> dict[str, Any]:
    """The videos and sentences of one file, or of the organisers' two together."""
    given = [name for name in OFFICIAL if name in files.named]
    if not given or any(name in files.named for name in ANNOTATIONS):
        return _content(files.path(*ANNOTATIONS))
    halves = [_content(files.path(name)) for name in given]
    return {key: [row for half in halves for row in half.get(key, [])] for key in ("videos", "sentences")}


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not ({"sentences", "annotations"} & content.keys()):
        raise DataError(f"{path}: has neither `sentences` nor `annotations`; is it the MSR-VTT annotation?")
    for name in ("sentences", "annotations", "videos"):
        if not isinstance(content.get(name, []), list):
            raise DataError(f"{path}: its {name!r} is not a list.")
    return content


def _captions(content: dict[str, Any]) -> list[Caption]:
    """Every sentence, in file order; text ids number a video's captions."""
    key = "video_id" if "sentences" in content else "image_id"
    captions = []
    for row in content["sentences"] if "sentences" in content else content["annotations"]:
        if not isinstance(row, dict) or key not in row or "caption" not in row:
            raise DataError(f"MSR-VTT annotation: a sentence without {key} and caption: {str(row)[:80]}.")
        captions.append((str(row[key]), str(row["caption"])))
    return numbered(captions)


def _split_fields(content: dict[str, Any], needed: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Ids of the parts that are needed by the `split` field of the videos: train, validate or val, test."""
    videos = content.get("videos", [])
    names = {"train": "train", "validate": "val", "val": "val", "test": "test"}
    lists: dict[str, list[str]] = {part: [] for part in FULL_IDS}
    for video in videos:
        if not isinstance(video, dict) or video.get("split") not in names or "video_id" not in video:
            raise DataError(f"MSR-VTT annotation: a video without a known split: {str(video)[:80]}. {BY_HAND}")
        lists[names[video["split"]]].append(str(video["video_id"]))
    empty = [part for part in needed if not lists[part]]
    if empty:
        raise DataError(f"MSR-VTT: no {empty[0]} video in the annotation's split fields. {BY_HAND}")
    return {part: tuple(dict.fromkeys(lists[part])) for part in needed}
