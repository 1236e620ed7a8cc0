"""Subtitle files beside videos: read, cleaned, and kept in the index, so that a search can look through what is said.

`film.srt`, `film.vtt` and `film.en.srt` belong to `film.mp4` in the same folder. An index keeps one small JSON file for
each below `subtitles/`; its name says which video and file it was read from, that file's size and time of change, and
in which way it was read, so that an update sees what is new from the names alone. Every file is written whole and then
renamed: a kill leaves a whole one or none, and the next update reads what is missing.
They come from strangers: their size is bounded, damaged cues are counted and left out, tags are taken off, and what is
left is text and nothing else.
Not here: how words are searched (`reelseek.index.spoken`).
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from reelseek.errors import ReelseekError
from reelseek.index.disk import writes
from reelseek.index.plan import below
from reelseek.index.store import IndexedFile
from reelseek.records import BrokenFile

FOLDER = "subtitles"
SUFFIXES = (".srt", ".vtt")
MOST_BYTES = 8 << 20
"""A subtitle file of more is not read: two hours of speech take 0.2 MB."""
MOST_CUES = 100_000
LONGEST = 1_000
"""Characters kept of a cue."""

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_SPAN = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s|$)")
_BETWEEN = re.compile(r"(\.[\w-]{1,20}){0,2}")
"""What may stand between a video's name and the ending: a language, and what kind of subtitles these are."""
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")
_WINDOWS = {byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0xA0)}
"""Where Windows-1252 differs from Latin-1. Five of the bytes mean nothing in it."""
READING = 2
"""To be raised whenever `read` makes other cues of a file: the next update then reads all files again."""


class Cue(NamedTuple):
    """Words that are said or shown from `start` to `end` seconds."""

    start: float
    end: float
    text: str


class Sidecar(NamedTuple):
    """A subtitle file as the index keeps it. damaged: cues that could not be read."""

    video: Path
    file: Path
    cues: tuple[Cue, ...]
    damaged: int


class Followed(NamedTuple):
    """What an update did. files: that the index now holds below the places. read: of those, new or changed.

    damaged: cues left out of what was read. broken: new or changed files without a cue, and those not to be read now.
    """

    files: int
    read: int
    damaged: int
    broken: list[BrokenFile]


def parse(text: str) -> tuple[list[Cue], int]:
    """The cues of an SRT or WebVTT file in order of time, and how many could not be read.

    A cue is a line with two times and an arrow, and the lines below it up to an empty one or the next cue. Damaged are
    a line with an arrow that names no two times, a cue that ends before it begins, one without words.
    """
    cues: list[Cue] = []
    damaged = 0
    for span, lines in _blocks(text):
        found = _SPAN.match(span)
        said = _plain(" ".join(lines))
        if found is None or not said:
            damaged += 1
            continue
        start, end = _seconds(*found.groups()[:4]), _seconds(*found.groups()[4:])
        if end < start or len(cues) >= MOST_CUES:
            damaged += 1
            continue
        cues.append(Cue(start, end, said[:LONGEST]))
    return sorted(cues), damaged


def read(path: Path) -> tuple[list[Cue], int]:
    """`parse` of a file in UTF-8, in UTF-16 where it begins with that mark, or else in Windows-1252.

    Raises ReelseekError for a file that is too large or holds no cue; OSError for one that cannot be read now.
    """
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ReelseekError(f"{path}: is larger than {MOST_BYTES >> 20} MB, too large for subtitles; it is left out.")
    cues, damaged = parse(_decoded(data))
    if not cues:
        raise ReelseekError(f"{path}: holds no cue of SRT or WebVTT; it is left out.")
    return cues, damaged


def beside(videos: Sequence[Path]) -> dict[Path, list[tuple[Path, os.stat_result]]]:
    """The subtitle files of every video, sorted by name, with their sizes and times; one folder is listed once.

    A file that fits two videos belongs to the one with the longer name. Videos that are not there and those in folders
    that cannot be listed have no entry.
    """
    found: dict[Path, list[tuple[Path, os.stat_result]]] = {}
    by_folder: dict[Path, list[Path]] = {}
    for video in videos:
        by_folder.setdefault(video.parent, []).append(video)
    for folder, here in by_folder.items():
        try:
            with os.scandir(folder) as entries:
                listed = {entry.name for entry in entries}
        except OSError:
            continue
        names = sorted(name for name in listed if name.lower().endswith(SUFFIXES))
        here = [video for video in here if video.name in listed]
        found |= {video: [] for video in here}
        owners: dict[str, list[Path]] = {}
        for video in here:
            owners.setdefault(video.stem, []).append(video)
        for name in names:
            for video in _owners(name[:-4], owners):
                with suppress(OSError):
                    found[video].append((folder / name, os.stat(folder / name)))
    return found


def follow(directory: Path, rows: Sequence[IndexedFile], places: Sequence[Path]) -> Followed:
    """Bring the index's subtitles up to date with the files beside its videos. Call it under the lock.

    Videos outside `places`, those that are not there and those in folders that cannot be listed keep what they have;
    those that the index no longer holds lose it. Raises IndexError_ where the disk does not take them.
    """
    good = [row.path for row in rows if row.status == "ok"]
    seen = beside(list(filter(below(places), good)))
    kept = {_digest(path) for path in good if path not in seen}
    wanted = {
        _name(video, file, stat): (video, file) for video, files in seen.items() for file, stat in files
    }  # fmt: skip
    folder = directory / FOLDER
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    read_now = damaged = 0
    unread: set[str] = set()
    broken: list[BrokenFile] = []
    with writes(directory):
        for name in sorted(wanted.keys() - there):
            video, file = wanted[name]
            record: dict[str, Any] = {"video": str(video), "file": str(file), "cues": [], "damaged": 0}
            try:
                cues, record["damaged"] = read(file)
                record["cues"] = [list(cue) for cue in cues]
            except ReelseekError as error:
                broken.append(BrokenFile(file, str(error)))
            except OSError as error:  # the next update tries again, and what is known stays
                unread |= {old for old in there if old.startswith(_owner(video, file))}
                broken.append(BrokenFile(file, f"{file}: the subtitles cannot be read ({error.strerror or error})."))
                continue
            read_now += 1
            damaged += record["damaged"]
            folder.mkdir(exist_ok=True)
            part = folder / f"{name}.part"
            part.write_text(json.dumps(record), encoding="ascii")
            part.replace(folder / name)
        for name in there - wanted.keys() - unread:
            if name.split("-")[0] not in kept or name.endswith(".part"):
                (folder / name).unlink(missing_ok=True)
    return Followed(len(wanted), read_now, damaged, broken)


def version(directory: Path) -> tuple[int, int]:
    """How many subtitle files an index keeps, and what changes whenever one comes or leaves."""
    folder = directory / FOLDER
    try:
        changed = folder.stat().st_mtime_ns
        return sum(name.endswith(".json") for name in os.listdir(folder)), changed
    except OSError:
        return 0, 0


def with_cues(directory: Path) -> int:
    """How many of the subtitle files that an index keeps hold a cue; those that could not be read are kept without."""
    folder, found = directory / FOLDER, 0
    names = os.listdir(folder) if folder.is_dir() else []
    for name in [name for name in names if name.endswith(".json")]:
        with suppress(OSError), (folder / name).open("rb") as file:
            # the end of the record tells: there may be hours of subtitles before it
            file.seek(max(0, os.fstat(file.fileno()).st_size - 64))
            found += b'"cues": []' not in file.read()
    return found


def load(directory: Path) -> list[Sidecar]:
    """All subtitles that an index keeps; one that is damaged, or leaves meanwhile, is passed over."""
    folder = directory / FOLDER
    found = []
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    for name in [name for name in names if name.endswith(".json")]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads((folder / name).read_bytes())
            cues = tuple(Cue(float(start), float(end), str(text)) for start, end, text in record["cues"])
            found.append(Sidecar(Path(record["video"]), Path(record["file"]), cues, int(record["damaged"])))
    return found


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every line with an arrow, and the lines of its cue."""
    span: str | None = None
    lines: list[str] = []
    # `splitlines` would also break at characters that stand within a line, such as U+0085 and U+2028
    for line in [*re.split(r"\r\n|\r|\n", text), ""]:
        if "-->" in line:
            if span is not None:
                # Without an empty line between them the next cue's number is the last line of this one.
                yield span, lines[:-1] if lines and lines[-1].strip().isdigit() else lines
            span, lines = line, []
        elif not line.strip():
            if span is not None:
                yield span, lines
            span, lines = None, []
        elif span is not None:
            lines.append(line)


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _plain(text: str) -> str:
    """Text without tags, entities, control characters and repeated spaces."""
    untagged = html.unescape(_TAG.sub(" ", text))
    kept = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in untagged)
    return unicodedata.normalize("NFC", " ".join(kept.split()))


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1").translate(_WINDOWS)


def _owners(stem: str, videos: Mapping[str, list[Path]]) -> list[Path]:
    """The videos whose name the longest beginning of a subtitle file's name is."""
    end = len(stem)
    while end > 0:
        if stem[:end] in videos and _BETWEEN.fullmatch(stem[end:]):
            return videos[stem[:end]]
        end = stem.rfind(".", 0, end)
    return []


def _digest(path: Path) -> str:
    return hashlib.blake2b(os.fsencode(path), digest_size=12).hexdigest()


def _name(video: Path, file: Path, stat: os.stat_result) -> str:
    return f"{_owner(video, file)}{stat.st_size:x}-{stat.st_mtime_ns % (1 << 64):x}-{READING}.json"


def _owner(video: Path, file: Path) -> str:
    """How the names of all records of a video's subtitle file begin, whatever its content was."""
    return f"{_digest(video)}-{_digest(file)}-"
