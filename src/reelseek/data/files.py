"""The original files of a benchmark, found by name anywhere below one folder, and splits made of what they say.

Not here: what a benchmark's files mean (one file a benchmark), the user's own folder (`reelseek.data.folder`).
"""

from __future__ import annotations

import csv
import filecmp
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from reelseek.data.pairs import Pairs, Splits, Standard, pair_up
from reelseek.errors import DataError
from reelseek.video.suffixes import VIDEO_SUFFIXES


class Caption(NamedTuple):
    """A text, its id, and the id of the video that it describes."""

    id: str
    video: str
    text: str


class Place(NamedTuple):
    """The file that holds a video, and the part of it in seconds; None for the whole file."""

    path: Path
    span: tuple[float, float] | None = None


class Files:
    """All files below a folder by name.

    videos: the video files by name without ending. Where several fit, it is the first by path, a GIF (often a preview)
    only where there is nothing else, unless `gifs` says that GIFs are the videos; `several` has their names.
    Links are followed, names that start with a dot are skipped. Raises DataError where `root` is no folder.
    """

    def __init__(self, benchmark: str, root: str | Path, *, gifs: bool = False) -> None:
        self.benchmark, self.root = benchmark, Path(root)
        if not str(root) or not self.root.is_dir():
            raise DataError(
                f"{benchmark}: {str(root)!r} is no folder; set data.root to the folder with its original files."
            )
        self.named: dict[str, Path] = {}
        self.videos: dict[str, Path] = {}
        self.several: set[str] = set()
        self._further: dict[str, list[Path]] = {}
        found = _walk(self.root)
        for path in found:
            if self.named.setdefault(path.name, path) != path:
                self._further.setdefault(path.name, []).append(path)
        videos = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES]
        for path in videos if gifs else sorted(videos, key=lambda path: path.suffix.lower() == ".gif"):
            if self.videos.setdefault(path.stem, path) != path:
                self.several.add(path.stem)

    def find(self, video: str) -> Place | None:
        """The whole file that is named by a video id."""
        return Place(self.videos[video]) if video in self.videos else None

    def path(self, *names: str) -> Path:
        """The first of these files that exists. Raises DataError if none does, or several of its name differ."""
        name = next((name for name in names if name in self.named), None)
        if name is None:
            raise DataError(f"{self.benchmark}: no {' and no '.join(names)} below {self.root}.")
        path = self.named[name]
        for other in self._further.get(name, ()):
            if not filecmp.cmp(path, other, shallow=False):
                raise DataError(
                    f"{self.benchmark}: {path} and {other} differ, and which one is meant is not known: leave one "
                    f"{name} below {self.root}."
                )
        return path

    def lines(self, name: str) -> tuple[str, ...]:
        """The lines of a list, stripped, without empty ones. Raises DataError for an empty list."""
        lines = tuple(line.strip() for line in read_text(self.path(name)).split("\n") if line.strip())
        if not lines:
            raise DataError(f"{self.path(name)}: is empty.")
        return lines

    def rows(self, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
        """The rows of a CSV file that has these columns, each of them filled, on one line each."""
        path, rows = self.path(name), []
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        try:
            absent = [column for column in columns if column not in (reader.fieldnames or ())]
            if absent:
                raise DataError(f"{path}: no column {absent[0]!r}; it has {reader.fieldnames}.")
            for number, row in enumerate(reader, 2):
                if not all(row[column] for column in columns):
                    raise DataError(f"{path}: line {number} lacks one of {', '.join(columns)}.")
                # A quote that nothing closes takes the rows behind it for a part of its field.
                if any("\n" in row[column] for column in columns):
                    raise DataError(f"{path}: a field of line {number} goes on in the next: is a quote not closed?")
                rows.append(row)
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num} cannot be read as CSV ({error}).") from None
        return rows

    def split(
        self,
        name: str,
        ids: Sequence[str],
        captions: Sequence[Caption],
        *,
        corpus: str,
        standard: Standard | None = None,
        dropped: int = 0,
        notes: Sequence[str] = (),
        find: Callable[[str], Place | None] | None = None,
    ) -> Pairs:
        """A split of the videos `ids` that are on disk; the captions of the others are counted as missing.

        find: where a video is, by its id; by default the file of that name. Repeated ids and empty captions are
        dropped and counted. dropped: captions of the split that were dropped before.
        Raises DataError if none of the videos has a caption, or none is on disk.
        """
        listed = tuple(dict.fromkeys(ids))
        wanted = set(listed)
        captioned = [caption for caption in captions if caption.video in wanted]
        ours = [caption for caption in captioned if caption.text.strip()]
        if not ours:
            example = f" (listed: {listed[0]!r}; captioned: {captions[0].video!r})" if listed and captions else ""
            raise DataError(f"{name}: none of its {len(listed):,} videos has a caption{example}.")
        places = {video: place for video in listed if (place := (find or self.find)(video)) is not None}
        if not places:
            raise DataError(f"{name}: none of its {len(listed):,} videos is below {self.root} (such as {listed[0]!r}).")
        kept = [caption for caption in ours if caption.video in places]
        texts, video_of_T = pair_up([(caption.video, caption.text) for caption in kept], tuple(places))
        spans = tuple(place.span for place in places.values())
        counts = {
            "dropped {:,} empty captions": len(captioned) - len(ours),
            "{:,} listed videos have no caption": len(wanted - {caption.video for caption in ours}),
            "{:,} ids are listed more than once": sum(count > 1 for count in Counter(ids).values()),
        }
        several = {place.path.stem: place.path for place in places.values() if place.path.stem in self.several}
        chosen = [
            f"{len(several):,} videos have several files of one name, such as {path}, which was used"
            for path in list(several.values())[:1]
        ]
        return Pairs(
            name=name,
            texts=texts,
            text_ids=tuple(caption.id for caption in kept),
            video_of_T=video_of_T,
            video_ids=tuple(places),
            paths=tuple(place.path for place in places.values()),
            spans=spans if any(spans) else None,
            missing_videos=tuple(video for video in listed if video not in places),
            missing_texts=len(ours) - len(kept),
            dropped=dropped + len(captioned) - len(ours),
            standard=standard,
            corpus=corpus,
            notes=(*notes, *(words.format(count) for words, count in counts.items() if count), *chosen),
        )

    def splits(
        self,
        name: str,
        lists: Mapping[str, Sequence[str]],
        captions: Sequence[Caption],
        *,
        corpus: str,
        standard: Standard | None,
        notes: Mapping[str, Sequence[str]],
        dropped: Mapping[str, int] | None = None,
        find: Callable[[str], Place | None] | None = None,
    ) -> Splits:
        """Splits of the ids listed for train, val and test. notes: those of each part; dropped: see `split`.

        A part for learning of which no video is on disk is None: the test videos alone are enough for a test.
        Raises DataError for lists that share videos, and what `split` raises.
        """
        refuse_shared(name, lists)
        found = find or self.find
        parts = {
            part: self.split(
                f"{name} {part}",
                ids,
                captions,
                corpus=corpus,
                standard=standard if part == "test" else None,
                dropped=(dropped or {}).get(part, 0),
                notes=notes[part],
                find=find,
            )
            for part, ids in lists.items()
            if part == "test" or any(found(video) is not None for video in ids)
        }
        return Splits(**parts)


def listed_notes(lists: Mapping[str, Sequence[str]], published: Mapping[str, int]) -> dict[str, list[str]]:
    """For every list a note with its length and the published one."""
    return {part: [f"{len(set(ids)):,} of {published[part]:,} videos listed"] for part, ids in lists.items()}


def read_text(path: Path, *, otherwise: str = "") -> str:
    """A text file in UTF-8, with or without a byte order mark. otherwise: the encoding of files that are not UTF-8.

    Raises DataError for a file that is neither.
    """
    content = path.read_bytes()
    for encoding in ("utf-8-sig", *filter(None, [otherwise])):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            problem = f"{path}: is not {encoding} text (byte {error.start}); save it as UTF-8."
    raise DataError(problem)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError for what is not JSON, and for objects that repeat a key."""

    def unrepeated(items: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(items)
        if len(values) < len(items):
            key = Counter(key for key, _ in items).most_common(1)[0][0]
            raise DataError(f"{path}: has the key {key!r} more than once in one object.")
        return values

    try:
        return json.loads(read_text(path), object_pairs_hook=unrepeated)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}).") from error


def numbered(captions: Iterable[tuple[str, str]]) -> list[Caption]:
    """Captions of (video id, text) in order; their ids number a video's captions from 0."""
    counts: Counter[str] = Counter()
    rows = []
    for video, text in captions:
        rows.append(Caption(f"{video}#{counts[video]}", video, text))
        counts[video] += 1
    return rows


def paragraph(sentences: Iterable[str]) -> str:
    """Sentences joined by a space; runs of white space, which no tokenizer here sees, become one."""
    return " ".join(" ".join(sentences).split())


def hold_out(ids: Sequence[str], most: int, seed: int) -> dict[str, tuple[str, ...]]:
    """The ids in two parts, train and val: `most` of them (a tenth, if that is fewer) are drawn by seed for val."""
    held_out = set(Random(seed).sample(sorted(ids), min(most, len(ids) // 10)))
    return {
        "train": tuple(video for video in ids if video not in held_out),
        "val": tuple(video for video in ids if video in held_out),
    }


def refuse_shared(name: str, lists: Mapping[str, Sequence[str]]) -> None:
    """Raises DataError if a video is in two of the lists."""
    owner: dict[str, str] = {}
    shared = [(video, part) for part, ids in lists.items() for video in ids if owner.setdefault(video, part) != part]
    if shared:
        video, part = shared[0]
        raise DataError(
            f"{name}: {video!r} is in both the {owner[video]} and the {part} list ({len(set(shared)):,} such videos)."
        )


def without_ending(name: str) -> str:
    """A video's name without the ending of video files, if it has one."""
    path = Path(name)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else name


def _walk(folder: Path) -> list[Path]:
    """Files below a folder, sorted by path; a folder reached a second time, as in a loop of links, is not entered."""
    found: list[Path] = []
    entered: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in entered else []
        if real not in entered:
            found += (Path(here, name) for name in names if not name.startswith("."))
        entered.add(real)
    return sorted(path for path in found if path.is_file())
