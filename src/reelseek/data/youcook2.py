"""YouCook2 (Zhou et al. 2018) as clip retrieval: a step of a recipe is a part of a video, with a sentence.

Read anywhere below one folder:
  youcookii_annotations_trainval.json: {"database": {id: {"subset", "annotations": [{"id", "segment", "sentence"}]}}};
  the videos as <id> with any video ending, whole: a clip is a span of its video.
The test labels are withheld, so the validation subset is the test (3,492 clips; other papers have 3,350, those that
they could still download). A validation split is held out of train by video, so that the test never chooses a
checkpoint. Checked against the real annotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reelseek.config import DataConfig
from reelseek.data.files import Caption, Files, Place, hold_out, read_json
from reelseek.data.pairs import Splits, Standard
from reelseek.errors import DataError

CORPUS = "youcook2"
ANNOTATION = "youcookii_annotations_trainval.json"
TEST = Standard("YouCook2 validation clips", videos=3492, texts=3492)
TRAIN_CLIPS = 10337
VALIDATION = 100
"""Training videos held out for validation; each has about eight clips."""


class _Step(NamedTuple):
    clip: str
    video: str
    span: tuple[float, float]
    sentence: str


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The splits below `data.root`."""
    return load_youcook2(config.root, seed=config.seed)


def load_youcook2(root: str | Path, *, seed: int = 0) -> Splits:
    """10,337 training clips of 1,333 videos and 3,492 test clips of 457 videos, each with one sentence.

    The clips of `VALIDATION` training videos (a tenth, if that is fewer), drawn by `seed`, are the validation split.
    A video id is the video's with the clip's number, "<id>#<number>". Steps without length are dropped and counted.
    A part for learning of which no video is on disk is None.
    Raises DataError for an absent or damaged annotation, or no test video.
    """
    files = Files("YouCook2", root)
    path = files.path(ANNOTATION)
    database = _database(path)
    trained = [video for video, entry in database.items() if entry.get("subset") == "training"]
    tested = [video for video, entry in database.items() if entry.get("subset") == "validation"]
    videos = {**hold_out(trained, VALIDATION, seed), "test": tested}
    listed = {part: _steps(path, database, ids) for part, ids in videos.items()}
    steps = {part: [step for step in ours if 0 <= step.span[0] < step.span[1]] for part, ours in listed.items()}
    learnt = len(steps["train"]) + len(steps["val"])
    held_out = (
        f"{learnt:,} of {TRAIN_CLIPS:,} training clips listed, those of {len(videos['val']):,} of {len(trained):,} "
        f"videos held out by seed {seed} for validation"
    )
    tests = f"{len(steps['test']):,} of {TEST.videos:,} clips listed, of {len(tested):,} videos"
    notes, dropped = {}, {}
    for part, told in {"train": held_out, "val": held_out, "test": tests}.items():
        dropped[part] = lost = len(listed[part]) - len(steps[part])
        notes[part] = [told, *([f"dropped {lost:,} steps whose segment is no part of a video"] if lost else [])]
    step_of = {step.clip: step for part in steps.values() for step in part}

    def find(clip: str) -> Place | None:
        place = files.find(step_of[clip].video)
        return place and Place(place.path, step_of[clip].span)

    return files.splits(
        "youcook2 clips",
        {part: [step.clip for step in ours] for part, ours in steps.items()},
        [Caption(step.clip, step.clip, step.sentence) for step in step_of.values()],
        corpus=CORPUS,
        standard=TEST,
        notes=notes,
        dropped=dropped,
        find=find,
    )


def _database(path: Path) -> dict[str, dict[str, Any]]:
    content = read_json(path)
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict) or not all(isinstance(entry, dict) for entry in database.values()):
        raise DataError(f"{path}: has no `database` of videos; is it the annotation of YouCook2?")
    return database


def _steps(path: Path, database: dict[str, dict[str, Any]], videos: Sequence[str]) -> list[_Step]:
    """The steps of some videos, in file order."""
    steps = []
    for video in videos:
        rows = database[video].get("annotations")
        for row in rows if isinstance(rows, list) else [rows]:
            match row:
                case {
                    "id": number,
                    "segment": [int() | float() as start, int() | float() as end],
                    "sentence": str(text),
                }:
                    steps.append(_Step(f"{video}#{number}", video, (float(start), float(end)), text))
                case _:
                    raise DataError(f"{path}: {video!r} has a step without id, segment and sentence: {str(row)[:80]}.")
    return steps
