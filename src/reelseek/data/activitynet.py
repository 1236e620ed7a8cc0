"""ActivityNet Captions (Krishna et al. 2017) as paragraph-to-video retrieval: a video's sentences joined are its text.

Read anywhere below one folder:
  train.json, and val_1.json or val_2.json: {"v_<id>": {"duration", "timestamps", "sentences"}};
  the videos as <id> or v_<id> with any video ending.
There is no test split with captions, so the published test is val_1 (or val_2, annotated anew on nearly the same
videos). A validation split is held out of train, so that the test never chooses a checkpoint.
Checked against the real val_1.json; train and val_2 on miniatures in this format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reelseek.config import DataConfig
from reelseek.data.files import Caption, Files, Place, hold_out, paragraph, read_json
from reelseek.data.pairs import Splits, Standard
from reelseek.errors import DataError

CORPUS = "activitynet"
TESTS = {
    "val1": Standard("ActivityNet Captions val1, paragraphs", videos=4917, texts=4917),
    "val2": Standard("ActivityNet Captions val2, paragraphs", videos=4885, texts=4885),
}
TRAIN_IDS = 10009
VALIDATION = 500
"""Training videos held out for validation."""


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The splits that settings name: activitynet (val1) or activitynet-val2."""
    return load_activitynet(config.root, test="val2" if config.name.endswith("val2") else "val1", seed=config.seed)


def load_activitynet(root: str | Path, *, test: Literal["val1", "val2"] = "val1", seed: int = 0) -> Splits:
    """10,009 training videos and 4,917 (val1) or 4,885 (val2) test videos, each with one paragraph.

    `VALIDATION` of the training videos (a tenth, if that is fewer), drawn by `seed`, are the validation split.
    A video id is the annotation's without its v_. A part for learning of which no video is on disk is None.
    Raises DataError for absent or damaged files, a test that shares videos with train, or no test video.
    """
    files = Files("ActivityNet", root)
    train = _paragraphs(files.path("train.json"))
    tested = _paragraphs(files.path(f"val_{test.removeprefix('val')}.json"))
    lists = {**hold_out(tuple(train), VALIDATION, seed), "test": tuple(tested)}
    held_out = (
        f"{len(train):,} of {TRAIN_IDS:,} training videos listed, {len(lists['val']):,} of them held out by seed "
        f"{seed} for validation"
    )
    tests = f"{len(tested):,} of {TESTS[test].videos:,} videos listed"

    def find(video: str) -> Place | None:
        return files.find(video) or files.find(f"v_{video}")

    return files.splits(
        f"activitynet-{test} paragraph",
        lists,
        [Caption(video, video, text) for video, text in (train | tested).items()],
        corpus=CORPUS,
        standard=TESTS[test],
        notes={"train": [held_out], "val": [held_out], "test": [tests]},
        find=find,
    )


def _paragraphs(path: Path) -> dict[str, str]:
    """Video id to paragraph, in file order."""
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: is not an object of videos.")
    paragraphs: dict[str, str] = {}
    for video, entry in content.items():
        sentences = entry.get("sentences") if isinstance(entry, dict) else None
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise DataError(f"{path}: {video!r} has no list of sentences.")
        if video.removeprefix("v_") in paragraphs:
            raise DataError(f"{path}: {video!r} is there twice, with v_ and without.")
        paragraphs[video.removeprefix("v_")] = paragraph(sentences)
    return paragraphs
