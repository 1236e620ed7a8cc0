"""Captions and rows that a reader could not use, counted by the split that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Problem(NamedTuple):
    """What is wrong with a caption or row, in the plural; the split and the video that it names, "" where unknown."""

    what: str
    split: str = ""
    video: str = ""


def of_split(part: str, problems: Mapping[Problem, int], split_of: Callable[[str], str]) -> Counter[str]:
    """The problems of one split, by what is wrong. split_of: the split of a video, "" where it is in none.

    What names no split is of its video's; where that is in none either, it counts for every split.
    """
    counts: Counter[str] = Counter()
    for problem, count in problems.items():
        if (problem.split or split_of(problem.video) or part) == part:
            counts[problem.what] += count
    return +counts


def by_what(problems: Mapping[Problem, int]) -> Counter[str]:
    """The problems of all splits together, by what is wrong."""
    counts: Counter[str] = Counter()
    for problem, count in problems.items():
        counts[problem.what] += count
    return +counts


def in_words(counts: Mapping[str, int]) -> list[str]:
    """A note for everything that was wrong."""
    return [f"dropped {count:,} {what}" for what, count in counts.items()]
