"""free-exercise-db: photos of the start and the end of physical exercises, as videos of one second a photo.

Read below one folder: exercises.json, or dist/exercises.json, a list of objects with id, name, equipment, photos (or
images), muscles (or primaryMuscles) and steps (or instructions), and the photos that it names, below the folder,
photos/ or exercises/. The photos' own bytes go into small files in the user's cache: nothing is encoded anew.
Exercises that show nearly the same ("Dumbbell Curl", "Seated Cable Curl") form a family, and a family is in one split.
Tested on the whole of it, 873 exercises. Not here: looking into the photos.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from reelseek.config import DataConfig
from reelseek.data import user_folder
from reelseek.data.pairs import Pairs, Splits
from reelseek.data.writing import join_pictures
from reelseek.errors import DataError

SOURCE = "free-exercise-db is in the public domain: https://github.com/yuhonas/free-exercise-db"
SHARES = {"test": 0.3, "val": 0.05}
STEPS = 2
"""Steps whose first sentence is a training caption."""

# Words that tell the members of a family apart: equipment, posture, grip, side, number, place.
_VARIANTS = """
    axle ball band bar barbell bench bodyweight bosu box cable chain chair db dumbbell e ez exercise floor kettlebell
    landmine leverage log machine medicine physioball plate pulley rope sled smith stability suspended t trap v wall
    weighted z attachment
    armed bent body cross elevated flat incline inner kneeling leg legged lying over overhead posture prone seated
    standing stiff straight supine arm feet head neck palm decline
    close facing grip hammer hand handed medium narrow neutral preacher pronated reverse stance supinated underhand wide
    alternate alternated alternating back behind down double front high in low one rear side single two up
    a advanced against an and assisted at biceps block cambered concentration deficit drag for from full hang
    intermediate military motion multiple no of off olympic on or pin position power powerlifting range response speed
    spider the to using version with without your below knee
"""
_ONE_WORD = {
    **{"push up": "pushup", "pull up": "pullup", "chin up": "chinup", "sit up": "situp", "step up": "stepup"},
    **{"pull down": "pulldown", "skull crusher": "skullcrusher", "flyes": "fly", "flye": "fly"},
    **{"bicep": "biceps", "tricep": "triceps"},
}


class _Exercise(NamedTuple):
    id: str
    captions: tuple[str, ...]
    photos: tuple[Path, ...]
    name: str


def from_config(config: DataConfig, progress: Callable[[int, int], None] | None) -> Splits:
    """The folder that settings name; see `reelseek.data.load`."""
    return load(config.root, seed=config.seed, progress=progress)


def load(root: str | Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Splits:
    """The exercises below a folder, split by family: 65 % for training, 5 % for validation, 30 % for test, by `seed`.

    A caption names the exercise, its equipment and its muscle; training adds the first sentences of its first
    `STEPS` steps. progress: called with (done, in all) while the photos are joined.
    Raises DataError if the folder or exercises.json is absent, damaged, or names no photo that is there.
    """
    root = Path(root) if str(root) else Path("-")
    if not root.is_dir():
        raise DataError(f"exercises: {str(root)!r} is no folder; set data.root to one with exercises.json. {SOURCE}")
    dropped: Counter[str] = Counter()
    exercises = _read(root, dropped)
    found: list[_Exercise] = []
    missing: list[_Exercise] = []
    for exercise in exercises:
        whole = all(photo.is_file() for photo in exercise.photos)
        (found if whole else missing).append(exercise)
    if not found:
        raise DataError(f"exercises: none of the photos of {len(exercises):,} exercises is below {root}. {SOURCE}")
    hashes = {photo: _digest(photo.read_bytes()) for exercise in found for photo in exercise.photos}
    shown = [[hashes[photo] for photo in exercise.photos if photo in hashes] for exercise in exercises]
    family_of = families([exercise.name for exercise in exercises], shown)
    split_of = _divided(family_of, seed)
    videos = _joined(found, hashes, progress)
    notes = [f"{len(set(family_of)):,} families of {len(exercises):,} exercises, split by seed {seed}"]
    notes += [f"dropped {count:,} {problem}" for problem, count in dropped.items()]
    part_of = {exercise.id: part for exercise, part in zip(exercises, split_of, strict=True)}
    return Splits(
        *(
            _pairs(
                part,
                [exercise for exercise in found if part_of[exercise.id] == part],
                [exercise for exercise in missing if part_of[exercise.id] == part],
                videos,
                dropped["exercises without a name or photos"],
                tuple(notes),
            )
            for part in ("train", "val", "test")
        )
    )


def families(names: Sequence[str], photos: Sequence[Sequence[str]]) -> list[str]:
    """The family of each exercise: equal words but for `_VARIANTS`, or a photo in common, make one family.

    photos: hashes of each exercise's photos. A family is called by its first name in the alphabet.
    """
    parent = list(range(len(names)))

    def root_of(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    first: dict[str, int] = {}
    for at, (name, shown) in enumerate(zip(names, photos, strict=True)):
        for key in (f"words {_core(name)}", *(f"photo {photo}" for photo in shown)):
            one, other = sorted((root_of(first.setdefault(key, at)), root_of(at)))
            parent[other] = one
    called: dict[int, str] = {}
    for at, name in enumerate(names):
        called[root_of(at)] = min(name, called.get(root_of(at), name))
    return [called[root_of(at)] for at in range(len(names))]


def _core(name: str) -> str:
    words = []
    for word in re.findall("[a-z]+", name.lower().replace("'", "")):
        if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
            word = word[:-2]
        elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "ceps")) and word != "flyes":
            word = word[:-1]
        words.append(word)
    text = " ".join(words)
    for apart, together in _ONE_WORD.items():
        text = re.sub(rf"\b{apart}\b", together, text)
    variants = set(_VARIANTS.split())
    core = sorted({word for word in text.split() if word not in variants})
    return " ".join(core) or text


def _divided(family_of: Sequence[str], seed: int) -> list[str]:
    """A split for every exercise: whole families in an order drawn by `seed`, until a split has its share."""
    sizes = Counter(family_of)
    order = sorted(sizes, key=lambda family: _digest(f"{seed}:{family}".encode()))
    split_of, splits, held = {}, list(SHARES), 0
    for family in order:
        while splits and held >= round(SHARES[splits[0]] * len(family_of)):
            splits, held = splits[1:], 0
        split_of[family] = splits[0] if splits else "train"
        held += sizes[family]
    return [split_of[family] for family in family_of]


def _read(root: Path, dropped: Counter[str]) -> list[_Exercise]:
    path = next((root / name for name in ("exercises.json", "dist/exercises.json") if (root / name).is_file()), None)
    if path is None:
        raise DataError(f"exercises: no exercises.json and no dist/exercises.json in {root}. {SOURCE}")
    try:
        rows = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not JSON ({error}).") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: is no list of exercises. {SOURCE}")
    exercises: dict[str, _Exercise] = {}
    for row in rows:
        name, photos = _text(row.get("name")), _list(row, "photos", "images")
        key = _text(row.get("id")) or name
        if not name or not photos:
            dropped["exercises without a name or photos"] += 1
        elif key in exercises:
            dropped["repeated exercises"] += 1
        else:
            exercises[key] = _Exercise(key, _captions(name, row), tuple(_photo(root, photo) for photo in photos), name)
    if not exercises:
        raise DataError(f"{path}: none of its {len(rows):,} exercises has a name and photos. {SOURCE}")
    return list(exercises.values())


def _photo(root: Path, name: str) -> Path:
    """Where a photo is; its plain place below the folder if it is nowhere. No name leads out of the folder."""
    parts = [part for part in Path(name).parts if part not in ("..", "/")]
    places = [Path(root, folder, *parts) for folder in (".", "photos", "exercises")]
    return next((place for place in places if place.is_file()), places[0])


def _captions(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """What the exercise is, then the first sentences of its first steps, each once."""
    equipment = _text(row.get("equipment")).lower()
    article = "" if equipment.endswith("s") or equipment in ("medicine ball", "exercise ball") else "a "
    means = {"": "", "other": "", "body only": ", with no equipment"}.get(equipment, f", with {article}{equipment}")
    muscles = " and ".join(_list(row, "muscles", "primaryMuscles")).lower()
    first = f"{name}{means}{f', for the {muscles}' if muscles else ''}."
    steps = [re.split(r"(?<=[.!?])\s", step.strip())[0] for step in _list(row, "steps", "instructions")[:STEPS]]
    return tuple(dict.fromkeys([first, *(step for step in steps if step)]))


def _joined(
    exercises: Sequence[_Exercise], hashes: Mapping[Path, str], progress: Callable[[int, int], None] | None
) -> dict[str, Path]:
    """The video of each exercise, by id, made where it is not in the cache yet; its name is a hash of the photos."""
    folder = user_folder() / "exercises"
    folder.mkdir(parents=True, exist_ok=True)
    videos = {}
    for number, exercise in enumerate(exercises, 1):
        path = folder / f"{_digest(' '.join(hashes[photo] for photo in exercise.photos).encode())}.mkv"
        if not path.is_file():
            try:
                join_pictures(exercise.photos, path)
            except (av.error.FFmpegError, ValueError, StopIteration) as error:
                raise DataError(f"exercises: the photos of {exercise.id!r} cannot be joined ({error}).") from error
            if progress is not None:
                progress(number, len(exercises))
        videos[exercise.id] = path
    return videos


def _pairs(
    part: str,
    found: Sequence[_Exercise],
    missing: Sequence[_Exercise],
    videos: Mapping[str, Path],
    dropped: int,
    notes: tuple[str, ...],
) -> Pairs | None:
    if not found:
        return None
    most = 1 + STEPS if part == "train" else 1
    rows = [(at, number, text) for at, one in enumerate(found) for number, text in enumerate(one.captions[:most])]
    return Pairs(
        name=f"exercises {part}",
        texts=tuple(text for _, _, text in rows),
        text_ids=tuple(f"{found[at].id}#{number}" for at, number, _ in rows),
        video_of_T=np.array([at for at, _, _ in rows], dtype=np.int64),
        video_ids=tuple(exercise.id for exercise in found),
        paths=tuple(videos[exercise.id] for exercise in found),
        missing_videos=tuple(exercise.id for exercise in missing),
        missing_texts=sum(len(exercise.captions[:most]) for exercise in missing),
        dropped=dropped,
        corpus="exercises",
        notes=notes,
    )


def _list(row: Mapping[str, Any], *names: str) -> list[str]:
    """The texts under the first of these names that the row has."""
    values = next((row[name] for name in names if name in row), None)
    return [text for value in values if (text := _text(value))] if isinstance(values, list) else []


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
