"""Texts, videos and which belongs to which: what every benchmark reader returns.

Not here: reading a format (one file a benchmark), decoding (`reelseek.video`), scoring.
Shapes: T texts, V videos.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reelseek.errors import DataError
from reelseek.video.suffixes import VIDEO_SUFFIXES


class Standard(NamedTuple):
    """A published test split and the counts that make it one."""

    name: str
    videos: int
    texts: int


@dataclass(frozen=True, eq=False)
class Pairs:
    """One split: texts [T], videos [V], and the video that each text describes.

    name: for people, such as "msrvtt-1ka test". corpus: the collection that the video ids are from; two splits of one
    corpus that share an id share a video.
    video_of_T: int [T], position in `video_ids` of the video that each text describes. A video without a text is
    allowed: it is a distractor in the gallery. A text without a video is not.
    paths: one file a video; several videos may be spans of one file. spans: (start, end) in seconds, or None for the
    whole file; None for the field means whole files throughout.
    extra_relevance: further (text, video) positions that are true matches although the annotation does not say so.
    missing_videos: ids that the annotation names and the disk lacks; missing_texts: captions lost with them. dropped:
    captions and rows of this split that the reader could not use, and those whose split is unknown; no repeats.
    standard: set only where this split, when complete, is a published test split.
    notes: what the reader dropped or decided, each in a sentence.
    contrasts: by name, positions (text, right video, wrong video) where the wrong video differs from the right one in
    nothing but what the name says; an evaluation counts how often the right one scores higher.
    """

    name: str
    texts: tuple[str, ...]
    text_ids: tuple[str, ...]
    video_of_T: np.ndarray
    video_ids: tuple[str, ...]
    paths: tuple[Path, ...]
    spans: tuple[tuple[float, float] | None, ...] | None = None
    extra_relevance: tuple[tuple[int, int], ...] = ()
    missing_videos: tuple[str, ...] = ()
    missing_texts: int = 0
    dropped: int = 0
    standard: Standard | None = None
    corpus: str = ""
    notes: tuple[str, ...] = ()
    contrasts: Mapping[str, tuple[tuple[int, int, int], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises DataError: no text or no video, fields of different lengths, repeated ids, empty texts, a text that
        points at no video, a contrast that does not name two different videos, or a span that ends before it starts.
        """
        video_of_T = np.array(self.video_of_T, dtype=np.int64)
        video_of_T.flags.writeable = False
        object.__setattr__(self, "video_of_T", video_of_T)
        texts, videos = len(self.texts), len(self.video_ids)
        if not texts or not videos:
            raise DataError(f"{self.name}: {texts} texts and {videos} videos; a split needs at least one of each.")
        if len(self.text_ids) != texts or video_of_T.shape != (texts,):
            raise DataError(
                f"{self.name}: {texts} texts, {len(self.text_ids)} text ids and video_of_T of shape {video_of_T.shape}."
            )
        if len(self.paths) != videos or (self.spans is not None and len(self.spans) != videos):
            spans = "no" if self.spans is None else len(self.spans)
            raise DataError(f"{self.name}: {videos} video ids, {len(self.paths)} paths and {spans} spans.")
        _refuse_repeats(self.name, "text id", self.text_ids)
        _refuse_repeats(self.name, "video id", self.video_ids)
        self._check_positions()
        for text_id, text in zip(self.text_ids, self.texts, strict=True):
            if not text.strip():
                raise DataError(f"{self.name}: text {text_id!r} is empty.")
        for video_id, span in zip(self.video_ids, self.spans or (), strict=False):
            if span is not None and not 0 <= span[0] < span[1]:
                raise DataError(f"{self.name}: video {video_id!r} has the span {span[0]} to {span[1]} s.")

    def _check_positions(self) -> None:
        texts, videos = len(self.texts), len(self.video_ids)
        lost = np.flatnonzero((self.video_of_T < 0) | (self.video_of_T >= videos))
        if lost.size:
            at = int(lost[0])
            raise DataError(
                f"{self.name}: text {self.text_ids[at]!r} belongs to video number {int(self.video_of_T[at])}, "
                f"but there are {videos} videos ({lost.size} such texts)."
            )
        for text, video in self.extra_relevance:
            if not (0 <= text < texts and 0 <= video < videos):
                raise DataError(f"{self.name}: extra_relevance names ({text}, {video}) in {texts} x {videos}.")
        for name, rows in self.contrasts.items():
            for text, right, wrong in rows:
                if not (0 <= text < texts and 0 <= right < videos and 0 <= wrong < videos and right != wrong):
                    raise DataError(
                        f"{self.name}: the contrast {name!r} names ({text}, {right}, {wrong}) in {texts} x {videos}; "
                        "it takes a text and two different videos."
                    )

    @cached_property
    def extra_videos(self) -> Mapping[int, list[int]]:
        """The videos that `extra_relevance` names, by text; texts without any are left out."""
        found: dict[int, list[int]] = {}
        for text, video in self.extra_relevance:
            found.setdefault(text, []).append(video)
        return found

    def relevance_TV(self, corrected: bool = False) -> np.ndarray:
        """Which video is a right answer to which text: bool [T, V].

        Strict by default: only the video that the text was written for. `corrected` adds `extra_relevance`.
        """
        relevance_TV = np.zeros((len(self.texts), len(self.video_ids)), dtype=bool)
        relevance_TV[np.arange(len(self.texts)), self.video_of_T] = True
        if corrected and self.extra_relevance:
            rows, columns = np.array(self.extra_relevance).T
            relevance_TV[rows, columns] = True
        return relevance_TV

    @property
    def complete(self) -> bool:
        """True if nothing is missing, and the counts are the published ones or, without such, nothing was dropped."""
        counts = (len(self.video_ids), len(self.texts))
        fits = not self.dropped if self.standard is None else counts == self.standard[1:]
        return fits and not self.missing_videos and not self.missing_texts

    def describe(self) -> str:
        """One line: what was found, what is missing, and whether the split is the standard one."""
        line = f"{self.name}: {len(self.video_ids):,} videos, {len(self.texts):,} texts"
        repeated = len(self.texts) - len(set(self.texts))
        if repeated:
            line += f" ({len(self.texts) - repeated:,} different)"
        if self.extra_relevance:
            line += f"; {len(self.extra_relevance):,} further true matches"
        line += f"; missing {len(self.missing_videos):,} videos and {self.missing_texts:,} texts"
        if self.standard is not None and self.complete:
            line += f"; the standard split {self.standard.name}"
        elif self.standard is not None:
            line += (
                f"; not the standard split {self.standard.name} "
                f"({self.standard.videos:,} videos, {self.standard.texts:,} texts)"
            )
        return "; ".join([line, *self.notes])

    def captions_of(self, video: str) -> tuple[str, ...]:
        """The texts that describe a video id, in order. Raises DataError for an id that is not in the split."""
        if video not in self.video_ids:
            raise DataError(f"{self.name}: no video {video!r} among {len(self.video_ids):,}.")
        at = self.video_ids.index(video)
        return tuple(self.texts[int(text)] for text in np.flatnonzero(self.video_of_T == at))

    def subset(self, videos: Iterable[str]) -> Pairs:
        """The split cut down to some video ids, in the order given, with their texts in the old order.

        A standard split stays labelled, and is then not complete. Raises DataError for an unknown or repeated id.
        """
        wanted = tuple(videos)
        old_position = {video: at for at, video in enumerate(self.video_ids)}
        unknown = [video for video in wanted if video not in old_position]
        if unknown:
            raise DataError(f"{self.name}: no video {unknown[0]!r} ({len(unknown)} unknown ids).")
        chosen = [old_position[video] for video in wanted]
        kept = np.flatnonzero(np.isin(self.video_of_T, chosen))
        return self._cut(chosen, kept.tolist())

    def draw(self, count: int, seed: int) -> Pairs:
        """At most `count` texts, drawn by seed and in the old order, with the videos that they describe.

        Raises ValueError for a count below 1.
        """
        if count < 1:
            raise ValueError(f"the count of texts to draw must be at least 1, not {count}.")
        if count >= len(self.texts):
            kept = np.arange(len(self.texts))
        else:
            kept = np.sort(np.random.default_rng(seed).choice(len(self.texts), count, replace=False))
        return self._cut(np.unique(self.video_of_T[kept]).tolist(), kept.tolist())

    def _cut(self, chosen: Sequence[int], kept: Sequence[int]) -> Pairs:
        """The split with only these positions of videos and of texts, whose videos must be among them."""
        new_video = {old: new for new, old in enumerate(chosen)}
        new_text = {old: new for new, old in enumerate(kept)}
        return replace(
            self,
            texts=tuple(self.texts[text] for text in kept),
            text_ids=tuple(self.text_ids[text] for text in kept),
            video_of_T=np.array([new_video[int(self.video_of_T[text])] for text in kept], dtype=np.int64),
            video_ids=tuple(self.video_ids[video] for video in chosen),
            paths=tuple(self.paths[video] for video in chosen),
            spans=None if self.spans is None else tuple(self.spans[video] for video in chosen),
            extra_relevance=tuple(
                (new_text[text], new_video[video])
                for text, video in self.extra_relevance
                if text in new_text and video in new_video
            ),
            contrasts={
                name: tuple(
                    (new_text[text], new_video[right], new_video[wrong])
                    for text, right, wrong in rows
                    if text in new_text and right in new_video and wrong in new_video
                )
                for name, rows in self.contrasts.items()
            },
        )

    def fingerprints(self) -> dict[str, str]:
        """For every video with a text, 16 characters of its id and its texts: the same wherever its folder lies."""
        texts: dict[str, set[str]] = {}
        for text, video in zip(self.texts, self.video_of_T.tolist(), strict=True):
            texts.setdefault(self.video_ids[video], set()).add(text)
        return {video: _hash([video, *sorted(mine)], 8) for video, mine in texts.items()}

    def refuse_seen(
        self, corpus: str, seen_videos: Iterable[str], seen_fingerprints: Iterable[str] = (), *, part: str = "training"
    ) -> None:
        """Refuse to test on videos that a model was trained or chosen on.

        corpus, seen_videos, seen_fingerprints: `corpus`, `video_ids` and values of `fingerprints` of that split, as the
        checkpoint recorded them. part: its name.
        Raises DataError that counts the shared videos. Ids alone are compared within one corpus, where all parts of a
        file are one video; a video of another one, such as a folder that was moved or copied, is the same where both
        its id and its texts are.
        """
        seen = set(map(_file_of, seen_videos)) if corpus == self.corpus else set()
        known, prints = set(seen_fingerprints), self.fingerprints()
        by_id = {video for video in self.video_ids if _file_of(video) in seen}
        shared = by_id | {video for video, mine in prints.items() if mine in known}
        if shared:
            how = "" if by_id else ", by its name and captions"
            raise DataError(
                f"{self.name}: {len(shared):,} of its {len(self.video_ids):,} videos were in the {part} set (such as "
                f"{min(shared)!r}{how}), so no score on it would be a test. Use the test split that belongs to the "
                "training split."
            )


class Splits(NamedTuple):
    """The parts of a benchmark; None where it has no such part."""

    train: Pairs | None = None
    val: Pairs | None = None
    test: Pairs | None = None

    def describe(self) -> str:
        """One line a split."""
        return "\n".join(split.describe() for split in self if split is not None)


def digest(splits: Iterable[Pairs | None]) -> str:
    """What some splits are, as 32 characters: their texts, video ids and which belong together, wherever files lie."""
    facts = [None if pairs is None else (pairs.texts, pairs.video_ids, pairs.video_of_T.tolist()) for pairs in splits]
    return _hash(facts, 16)


def pair_up(captions: Sequence[tuple[str, str]], video_ids: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Texts and `video_of_T` of (video id, caption) rows, in the rows' order; rows of other videos are left out."""
    position = {video: at for at, video in enumerate(video_ids)}
    kept = [(caption, position[video]) for video, caption in captions if video in position]
    return tuple(caption for caption, _ in kept), np.array([at for _, at in kept], dtype=np.int64)


def _file_of(video: str) -> str:
    """The file of which an id such as films/a.mp4#3-7 names a part; other ids as they are."""
    file, _, part = video.rpartition("#")
    return file if Path(file).suffix.lower() in VIDEO_SUFFIXES and re.fullmatch(r"[\d.e+-]+", part) else video


def _hash(facts: object, size: int) -> str:
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=size).hexdigest()


def _refuse_repeats(name: str, what: str, ids: Sequence[str]) -> None:
    repeated = [key for key, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DataError(f"{name}: {what} {repeated[0]!r} appears more than once ({len(repeated)} repeated).")
