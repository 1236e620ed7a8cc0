"""Any folder of videos with a captions file, CSV or JSON lines.

Columns (or keys): `video` (path below the folder, or the file's name without its ending), `caption`, and optionally
`split` (train, val or test), `start` and `end` (seconds: the caption is about this part). In JSON lines `caption` may
be a list: a row for each, repeats as well. A row that an earlier line has, and rows that cannot be used, are dropped,
counted and named in `Pairs.notes`. Not here: looking into the videos.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reelseek.config import DataConfig
from reelseek.data.pairs import Pairs, Splits, pair_up
from reelseek.data.problems import Problem, by_what, in_words, of_split
from reelseek.errors import DataError
from reelseek.video.files import find_videos

NAMES = ("captions.csv", "captions.tsv", "captions.jsonl")
FORM = (
    "It is a CSV file with a header line `video,caption` (optionally also split, start, end), or a .jsonl file with "
    'one object a line such as {"video": "clips/a.mp4", "caption": "a dog jumps"}, or with a list of captions.'
)
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"}
SHARES = {"test": 0.1, "val": 0.1}

Span = tuple[float, float] | None


class CaptionRow(NamedTuple):
    """A usable line of a captions file. split: train, val, test or nothing. span: seconds, None for the whole video."""

    video: str
    caption: str
    split: str
    span: Span


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The folder that settings name; see `reelseek.data.load`."""
    return load_folder(config.root, config.captions, seed=config.seed)


def load_folder(folder: str | Path, captions: str | Path = "", *, seed: int = 0) -> Splits:
    """Read a folder of videos and its captions.

    captions: the file; by default captions.csv, captions.tsv or captions.jsonl in the folder. Without a split column
    the videos are divided 80/10/10 by a hash of their names and `seed`; parts of one file stay together.
    A video id is the path below the folder, with `#start-end` for a part of a file. Videos without a caption are left
    out. Raises DataError if the folder or the captions file is absent or has no usable row, names no video of the
    folder, or puts one video into two splits.
    """
    if not str(folder) or not Path(folder).is_dir():
        raise DataError(f"{str(folder)!r} is not a folder; name the folder that holds the videos.")
    folder = Path(folder)
    path = _captions_file(folder, captions)
    problems: Counter[Problem] = Counter()
    files = _Files(folder, find_videos(folder))
    rows, repeated = _without_repeats(_usable(path, problems), files)
    if not rows:
        found = "; ".join(f"{count:,} {what}" for what, count in by_what(problems).items()) or "it is empty"
        raise DataError(f"{path}: no usable row ({found}). {FORM}")
    if all(files.find(row.video) is None for row in rows):
        raise DataError(
            f"{path}: none of its {len({row.video for row in rows}):,} videos is among the {len(files.paths):,} video "
            f"files below {folder} (the first is {rows[0].video!r})."
        )
    rows, split_of, notes = _divided(rows, files, seed, problems)
    if files.ambiguous:
        notes.append(f"{len(files.ambiguous):,} names fit several files and count as missing")
    uncaptioned = len(files.paths) - len({files.find(row.video) for row in rows} - {None})
    if uncaptioned:
        notes.append(f"{uncaptioned:,} files without a caption left out")
    notes += [f"dropped {repeated:,} repeated rows"] if repeated else []

    def split(name: str) -> Pairs | None:
        lost = of_split(name, problems, lambda video: split_of.get(files.key(video), ""))
        return _split(name, rows, files, lost.total(), (*notes, *in_words(lost)))

    return Splits(*map(split, ("train", "val", "test")))


def read_captions(path: Path) -> tuple[list[CaptionRow], Counter[str]]:
    """The usable rows of a captions file, wherever its videos are, and how many others there are by what is wrong.

    Raises DataError for a file that is absent or no such table, or has no usable row.
    """
    if not path.is_file():
        raise DataError(f"No captions file at {path}. {FORM}")
    problems: Counter[Problem] = Counter()
    rows = [row for line in _usable(path, problems) for row in line]
    counts = by_what(problems)
    if not rows:
        found = "; ".join(f"{count:,} {what}" for what, count in counts.items()) or "it is empty"
        raise DataError(f"{path}: no usable row ({found}). {FORM}")
    return rows, counts


class _Files:
    """The video files below a folder, found by relative path or by bare name."""

    def __init__(self, folder: Path, paths: list[Path]) -> None:
        self.folder, self.paths = folder, paths
        self.ambiguous: set[str] = set()
        self._by_name: dict[str, list[Path]] = {}
        for path in paths:
            relative = path.relative_to(folder)
            for name in {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}:
                self._by_name.setdefault(_composed(name), []).append(path)

    def find(self, name: str) -> Path | None:
        """The file that a row names; None if there is none, or several fit."""
        name = name.replace("\\", "/").removeprefix("./")
        fitting = self._by_name.get(_composed(name), [])
        exact = self.folder / name
        if exact in fitting or len(fitting) == 1:
            return exact if exact in fitting else fitting[0]
        if fitting:
            self.ambiguous.add(name)
        return None

    def key(self, name: str) -> str:
        """The path below the folder, or the name as written where there is no such file."""
        file = self.find(name)
        return name if file is None else file.relative_to(self.folder).as_posix()


def _composed(name: str) -> str:
    """A name in one form: a disk may hold é as e and an accent, where a keyboard types it as one letter."""
    return unicodedata.normalize("NFC", name)


def _captions_file(folder: Path, captions: str | Path) -> Path:
    if str(captions):
        path = Path(captions)
        path = path if path.is_file() else folder / path
    else:
        path = next((folder / name for name in NAMES if (folder / name).is_file()), folder / NAMES[0])
    if not path.is_file():
        raise DataError(f"No captions file at {path}. {FORM}")
    return path


def _usable(path: Path, problems: Counter[Problem]) -> Iterator[list[CaptionRow]]:
    """Rows that can be used, line by line; what is wrong with the others is counted in `problems`."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    for values in _json_rows(text, problems) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text, problems):
        said = values.get("caption")
        captions = said if isinstance(said, list) and said else [said]
        yield [row for caption in captions if (row := _row(values, caption, problems)) is not None]


def _without_repeats(lines: Iterator[list[CaptionRow]], files: _Files) -> tuple[list[CaptionRow], int]:
    """The rows without those that an earlier line has, and how many those are; two names of one file are one."""
    kept: list[CaptionRow] = []
    repeated = 0
    earlier: set[CaptionRow] = set()
    for rows in lines:
        keys = [row._replace(video=files.key(row.video)) for row in rows]
        fresh = [row for row, key in zip(rows, keys, strict=True) if key not in earlier]
        repeated += len(rows) - len(fresh)
        kept += fresh
        earlier.update(keys)
    return kept, repeated


def _csv_rows(path: Path, text: str, problems: Counter[Problem]) -> Iterator[Mapping[str, Any]]:
    header, *lines = text.split("\n")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in header and "," not in header else ","
    columns = [column.strip().lower() for column in _fields(path, 1, header, delimiter)]
    absent = [column for column in ("video", "caption") if column not in columns]
    if absent:
        raise DataError(f"{path}: no column {' and no column '.join(absent)} in its header {header.strip()!r}. {FORM}")
    for number, line in enumerate(lines, 2):
        fields = _fields(path, number, line, delimiter)
        if not any(field.strip() for field in fields):
            continue
        if len(fields) > len(columns):
            problems[Problem("rows with too many fields (quote captions that hold the separator)")] += 1
            continue
        yield dict(zip(columns, fields, strict=False))


def _fields(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    """The fields of one line: a quote that nothing closes would take the rows behind it for a part of its field.

    Between tabs, where captions need no quotes, those that do not pair up are characters like others.
    """
    try:
        if delimiter == "\t":
            return _tab_fields(line)
        fields = next(csv.reader([line + "\n"], delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV file at line {number} ({error}).") from error
    if any("\n" in field for field in fields):
        raise DataError(
            f"{path}: a field of line {number} goes on in the next: is a quote not closed? A caption is on one line, "
            "and a quote inside a quoted one is written twice."
        )
    return fields


def _tab_fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter="\t", strict=True), [])
    except csv.Error:
        return line.split("\t")


def _json_rows(text: str, problems: Counter[Problem]) -> Iterator[Mapping[str, Any]]:
    # Not splitlines: a caption may hold a Unicode line separator.
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            problems[Problem("lines that are not JSON")] += 1
            continue
        if isinstance(values, dict) and "video" in values and "caption" in values:
            yield values
        else:
            problems[Problem("lines without the keys video and caption")] += 1


def _row(values: Mapping[str, Any], said: object, problems: Counter[Problem]) -> CaptionRow | None:
    if any(isinstance(values.get(key), list | dict) for key in ("video", "split", "start", "end")):
        problems[Problem("rows whose video, split, start or end is a list or an object")] += 1
        return None
    video, split = _plain(values.get("video")).strip(), _plain(values.get("split")).strip().lower()
    caption = " ".join(_plain(said).split())
    span = _span(values.get("start"), values.get("end"))
    if said is not None and not isinstance(said, str):
        what = "captions that are no text"
    elif not video:
        what = "rows without a video"
    elif not caption:
        what = "empty captions"
    elif split and split not in SPLIT_NAMES:
        what = f"rows of the unknown split {split!r}"
    elif span == "wrong":
        what = "rows whose start and end are not two times in seconds, in order"
    else:
        return CaptionRow(video, caption, SPLIT_NAMES.get(split, ""), span)
    problems[Problem(what, SPLIT_NAMES.get(split, ""), video)] += 1
    return None


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _span(start: object, end: object) -> Span | Literal["wrong"]:
    if _plain(start).strip() == _plain(end).strip() == "":
        return None
    try:
        span = float(_plain(start)), float(_plain(end))
    except ValueError:
        return "wrong"
    return span if 0 <= span[0] < span[1] and math.isfinite(span[1]) else "wrong"


def _divided(
    rows: list[CaptionRow], files: _Files, seed: int, problems: Counter[Problem]
) -> tuple[list[CaptionRow], dict[str, str], list[str]]:
    """The rows with a split each, the split of every file by its key, and how they came by it."""
    if not any(row.split for row in rows):
        split_of = by_hash(sorted({files.key(row.video) for row in rows}), seed)
        notes = [f"split 80/10/10 by a hash of the file names, seed {seed}"]
        return [row._replace(split=split_of[files.key(row.video)]) for row in rows], split_of, notes
    kept = [row for row in rows if row.split]
    problems.update(Problem("rows without a split", video=row.video) for row in rows if not row.split)
    split_of = {}
    for row in kept:
        key = files.key(row.video)
        if split_of.setdefault(key, row.split) != row.split:
            raise DataError(f"{key!r} is in the splits {split_of[key]} and {row.split}; a file belongs to one of them.")
    return kept, split_of, []


def by_hash(keys: list[str], seed: int) -> dict[str, str]:
    """A split for every key: a tenth each for test and val (at least one each from three keys on), the rest train."""
    order = sorted(keys, key=lambda key: _digest(f"{seed}:{key}"))
    split_of = dict.fromkeys(order, "train")
    start = 0
    for split, share in SHARES.items():
        count = max(round(share * len(order)), int(len(order) >= 3))
        split_of.update(dict.fromkeys(order[start : start + count], split))
        start += count
    return split_of


def _split(name: str, rows: list[CaptionRow], files: _Files, dropped: int, notes: tuple[str, ...]) -> Pairs | None:
    ours = [row for row in rows if row.split == name]
    if not ours:
        return None
    found: dict[str, tuple[Path, Span]] = {}
    missing: dict[str, None] = {}
    captions: list[tuple[str, str]] = []
    for row in ours:
        part = "" if row.span is None else f"#{row.span[0]:g}-{row.span[1]:g}"
        video_id, file = files.key(row.video) + part, files.find(row.video)
        if file is None:
            missing[video_id] = None
            continue
        found.setdefault(video_id, (file, row.span))
        captions.append((video_id, row.caption))
    if not found:
        raise DataError(f"None of the {len(missing):,} videos of the split {name} is below {files.folder}.")
    video_ids = tuple(found)
    texts, video_of_T = pair_up(captions, video_ids)
    spans = tuple(span for _, span in found.values())
    return Pairs(
        name=f"{files.folder.resolve().name} {name}",
        texts=texts,
        text_ids=tuple(f"{name}{number}" for number in range(len(texts))),
        video_of_T=video_of_T,
        video_ids=video_ids,
        paths=tuple(file for file, _ in found.values()),
        spans=spans if any(spans) else None,
        missing_videos=tuple(missing),
        missing_texts=len(ours) - len(captions),
        dropped=dropped,
        corpus=f"folder-{_digest(str(files.folder.resolve()))}",
        notes=notes,
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
