"""Splits of rows, each a video with its captions: for collections whose files say no more than that.

Not here: reading any format; folders with a captions file, which may name parts of videos (`reelseek.data.folder`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reelseek.data.folder import by_hash
from reelseek.data.pairs import Pairs, Splits, pair_up
from reelseek.data.problems import Problem, by_what, in_words, of_split
from reelseek.errors import DataError

KEYS = ("caption", "captions", "text", "texts", "sentence", "sentences", "description", "title", "enCap")
"""Names under which collections keep captions, the likelier first."""


class Row(NamedTuple):
    """A video by id, its file (None where there is none), its captions, its split ("" for none)."""

    video: str
    path: Path | None
    captions: tuple[str, ...]
    split: str


def splits_of(
    name: str, rows: Iterable[Row], *, corpus: str, seed: int, problems: Counter[Problem], notes: Sequence[str] = ()
) -> Splits:
    """The splits of some rows; rows of one video are joined.

    A caption that an earlier row of its video has is dropped and counted; those that one row repeats stay, since
    benchmarks count every one of them.
    Rows without a split are dropped where others have one; where none has one, the videos are divided 80/10/10 by a
    hash of their ids and `seed`. problems: captions that were dropped before, which name videos by id; others are added
    to it. notes: what else is to be said of every split.
    A part for learning of which no video has a file is None. Raises DataError if no row has a caption, no video of all
    or of the test split has a file, or a video is in two splits.
    """
    paths: dict[str, Path | None] = {}
    captions: dict[str, list[str]] = {}
    repeated = uncaptioned = 0
    split_of: dict[str, str] = {}
    for row in rows:
        texts = [" ".join(text.split()) for text in row.captions]
        problems[Problem("empty captions", row.split, row.video)] += sum(not text for text in texts)
        if not any(texts):
            uncaptioned += 1
            continue
        if split_of.setdefault(row.video, row.split) != row.split:
            raise DataError(
                f"{name}: the video {row.video!r} is in the splits {split_of[row.video] or 'none'} and "
                f"{row.split or 'none'}; a video belongs to one of them."
            )
        earlier = frozenset(captions.setdefault(row.video, []))
        captions[row.video] += (text for text in texts if text and text not in earlier)
        repeated += sum(text in earlier for text in texts)
        paths[row.video] = paths.get(row.video) or row.path
    if split_of and not any(split_of.values()):
        split_of = by_hash(sorted(split_of), seed)
        notes = [*notes, f"split 80/10/10 by a hash of the videos' names, seed {seed}"]
    if repeated:
        notes = [*notes, f"dropped {repeated:,} captions that an earlier row of their video has"]
    if uncaptioned:
        notes = [*notes, f"dropped {uncaptioned:,} videos without a caption"]
    problems.update(
        Problem("videos outside of the splits", video=video) for video, split in split_of.items() if not split
    )
    if not any(path for video, path in paths.items() if split_of[video]):
        found = f"{len(paths):,} videos with captions, none of them with a file that is there"
        raise DataError(f"{name}: {'; '.join([found, *notes, *in_words(by_what(problems))])}.")
    tested = [video for video, split in split_of.items() if split == "test"]
    if tested and not any(paths[video] for video in tested):
        raise DataError(
            f"{name}: none of the {len(tested):,} videos of its test split has a file that is there (such as "
            f"{tested[0]!r})."
        )

    def pairs(part: str) -> Pairs | None:
        ours = {video: path for video, path in paths.items() if split_of[video] == part}
        lost = of_split(part, problems, lambda video: split_of.get(video, ""))
        return _pairs(f"{name} {part}", ours, captions, corpus, lost.total(), (*notes, *in_words(lost)))

    return Splits(*map(pairs, ("train", "val", "test")))


def _pairs(
    name: str,
    paths: Mapping[str, Path | None],
    captions: Mapping[str, Sequence[str]],
    corpus: str,
    dropped: int,
    notes: tuple[str, ...],
) -> Pairs | None:
    found = {video: path for video, path in paths.items() if path is not None}
    if not found:
        return None
    texts, video_of_T = pair_up([(video, text) for video in found for text in captions[video]], tuple(found))
    return Pairs(
        name=name,
        texts=texts,
        text_ids=tuple(f"{video}#{number}" for video in found for number in range(len(captions[video]))),
        video_of_T=video_of_T,
        video_ids=tuple(found),
        paths=tuple(found.values()),
        missing_videos=tuple(video for video in paths if video not in found),
        missing_texts=sum(len(captions[video]) for video in paths if video not in found),
        dropped=dropped,
        corpus=corpus,
        notes=notes,
    )
