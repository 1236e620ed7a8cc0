"""A captions file, as a folder of videos has one, read for the videos that an index holds, wherever they lie."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from reelseek.adapt.examples import Caption
from reelseek.data.folder import read_captions
from reelseek.errors import DataError
from reelseek.index.filters import names_file
from reelseek.index.store import IndexedFile

APART = ("val", "test")
"""Splits that a captions file keeps for choosing and testing: nothing is learnt from them."""


class Read(NamedTuple):
    """Captions of videos of the index, and what was left out, each in a sentence."""

    captions: list[Caption]
    notes: list[str]


def captions_of(path: Path, files: Iterable[IndexedFile]) -> Read:
    """The captions of a CSV or JSON lines file (`reelseek.data.folder`) that name a readable file of the index.

    A name is a path, absolute or from the captions file's folder, or the end of one, with or without the ending.
    Raises DataError for a file without a usable row or that names no video of the index.
    """
    rows, problems = read_captions(path)
    by_name: dict[str, list[IndexedFile]] = {}
    for file in files:
        if file.status == "ok":
            for name in {file.path.name, file.path.stem}:
                by_name.setdefault(name, []).append(file)
    captions, apart, unknown, unclear = [], 0, 0, 0
    for row in rows:
        if row.split in APART:
            apart += 1
            continue
        contents = sorted(_named(row.video, path.absolute().parent, by_name))
        if len(contents) == 1:
            captions.append(Caption(row.caption, contents[0], row.span))
        unknown += not contents
        unclear += len(contents) > 1
    if not captions:
        raise DataError(
            f"{path}: none of its {len(rows):,} captions is of a video of the index and free to learn from "
            f"({apart:,} of val or test, {unknown:,} of videos that the index does not hold, {unclear:,} of names that "
            "fit several)."
        )
    counted = (
        (apart, "captions of the splits val and test left alone"),
        (unknown, "captions of videos that the index does not hold"),
        (unclear, "captions whose name fits several videos of the index"),
        *((count, problem) for problem, count in problems.items()),
    )
    return Read(captions, [f"{path}: {count:,} {what}." for count, what in counted if count])


def _named(video: str, folder: Path, by_name: dict[str, list[IndexedFile]]) -> set[str]:
    """The contents that a name may mean; one beside the captions file comes first."""
    name = Path(video.replace("\\", "/").removeprefix("./"))
    fits = [file for file in by_name.get(name.name, []) if names_file(name, file.path)]
    # the folders of an index hold no ".."
    whole = Path(os.path.normpath(folder / name))
    beside = {file.content_hash for file in fits if names_file(whole, file.path.with_suffix(name.suffix))}
    return beside if len(beside) == 1 else {file.content_hash for file in fits}
