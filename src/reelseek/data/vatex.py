"""VATEX (Wang et al. 2019), English captions, on the split of HGR (Chen et al. 2020) that retrieval papers use.

Read anywhere below one folder:
  train_list.txt, test_list.txt and, if there is one, val_list.txt: ids such as Ptf_2VRj-V0_000122_000132;
  vatex_data.json ({id: {"enCap": [ten captions]}}), or the published vatex_training_v1.0.json and
  vatex_validation_v1.0.json ([{"videoID": id, "enCap": [...]}]), of which HGR took its val and test;
  the clips as <id>.mp4, or whole YouTube videos as <YouTube id>.mp4, of which the id's seconds are used; any ending.
Tested on miniatures in these formats.
"""

from __future__ import annotations

import re
from pathlib import Path

from reelseek.config import DataConfig
from reelseek.data.files import Files, Place, hold_out, listed_notes, numbered, read_json, without_ending
from reelseek.data.pairs import Splits, Standard
from reelseek.errors import DataError

CORPUS = "vatex"
COLLECTED = "vatex_data.json"
PUBLISHED_FILES = ("vatex_training_v1.0.json", "vatex_validation_v1.0.json")
TEST = Standard("VATEX test of HGR's split, English", videos=1500, texts=15000)
PUBLISHED = {"train": 25991, "val": 1500, "test": 1500}
VALIDATION = 1500
"""Training videos held out for validation where there is no val_list.txt."""


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The splits below `data.root`."""
    return load_vatex(config.root, seed=config.seed)


def load_vatex(root: str | Path, *, seed: int = 0) -> Splits:
    """25,991 / 1,500 / 1,500 clips with ten English captions each; every caption is a query with one right clip.

    Without val_list.txt, `VALIDATION` of the training clips (a tenth, if that is fewer) are drawn by `seed`.
    A part for learning of which no clip is on disk is None.
    Raises DataError for absent or damaged files, lists that share clips, or no test clip.
    """
    files = Files("VATEX", root)
    parts = ["train", *(["val"] if "val_list.txt" in files.named else []), "test"]
    lists = {part: tuple(map(without_ending, files.lines(f"{part}_list.txt"))) for part in parts}
    notes = listed_notes(lists, PUBLISHED)
    if "val" not in lists:
        held = hold_out(tuple(dict.fromkeys(lists["train"])), VALIDATION, seed)
        note = f"no val_list.txt: {len(held['val']):,} training videos held out by seed {seed} for validation"
        notes = {"train": [*notes["train"], note], "val": [note], "test": notes["test"]}
        lists = {**held, "test": lists["test"]}
    names = [COLLECTED] if COLLECTED in files.named else PUBLISHED_FILES
    clips: dict[str, list[str]] = {}
    for name in names:
        _add_captions(files.path(name), clips)
    captions = numbered((video, text) for video, texts in clips.items() for text in texts)

    def find(video: str) -> Place | None:
        parsed = re.fullmatch(r"(.+)_(\d+)_(\d+)", video)
        if video in files.videos or parsed is None or parsed[1] not in files.videos:
            return files.find(video)
        return Place(files.videos[parsed[1]], (float(parsed[2]), float(parsed[3])))

    return files.splits("vatex", lists, captions, corpus=CORPUS, standard=TEST, notes=notes, find=find)


def _add_captions(path: Path, clips: dict[str, list[str]]) -> None:
    """Add the English captions of one annotation file by clip id, in its order."""
    content = read_json(path)
    if not isinstance(content, dict | list):
        raise DataError(f"{path}: is neither an object nor a list of clips.")
    entries = content.items() if isinstance(content, dict) else ((_id(path, entry), entry) for entry in content)
    for video, entry in entries:
        texts = entry.get("enCap") if isinstance(entry, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{path}: {video!r} has no list `enCap` of captions.")
        if video in clips:
            raise DataError(f"{path}: {video!r} has captions already; a clip has one entry.")
        clips[video] = texts


def _id(path: Path, entry: object) -> str:
    video = entry.get("videoID") if isinstance(entry, dict) else None
    if not isinstance(video, str):
        raise DataError(f"{path}: a clip without videoID: {str(entry)[:80]}.")
    return video
