"""What a head can learn from: marked queries and captions with the videos that are right for them, on two sides.

Two fifths are held out, by a hash of the query, or of the video for captions, so that an example stays on its side as
others come. Only a caption that joins two videos, or repeats a marked query, may move an example that was there before.
Nothing here computes scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from reelseek.index.judged import JudgedQuery, Span
from reelseek.index.marks import folded

HELD_OUT = 0.4
"""Share of the groups that nothing is learnt from."""
FOLDS = 3


class Caption(NamedTuple):
    """A sentence about a video of the library. content: its hash. span: the seconds meant, the whole video if None."""

    text: str
    content: str
    span: Span | None = None


class Example(NamedTuple):
    """A text, what is known of its answers (see `JudgedQuery`), where it is from, and its group's digest.

    Examples of one group are always on one side: all marks of a query, all captions of a video, and captions of
    different videos that say the same.
    """

    text: str
    right: Mapping[str, tuple[Span, ...]]
    wrong: frozenset[str]
    source: Literal["marks", "captions"]
    group: str


class Sides(NamedTuple):
    """Examples to learn from and examples to judge by."""

    train: list[Example]
    held_out: list[Example]


def digest(text: str) -> str:
    """Sixteen hexadecimal digits of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def examples_of(queries: Sequence[JudgedQuery], captions: Sequence[Caption]) -> list[Example]:
    """Marked queries and captions, each text once. A caption that repeats a marked query adds its video to that."""
    texts: dict[str, str] = {}
    right: dict[str, dict[str, tuple[Span, ...]]] = {}
    wrong: dict[str, frozenset[str]] = {}
    for query in queries:
        key = folded(query.text)
        texts[key], right[key], wrong[key] = query.text, dict(query.right), query.wrong
    marked = set(texts)
    for caption in captions:
        key = folded(caption.text)
        texts.setdefault(key, caption.text)
        own = right.setdefault(key, {})
        own[caption.content] = (*own.get(caption.content, ()), caption.span or (0.0, float("inf")))
    groups = _groups((folded(caption.text), caption.content) for caption in captions)
    return [
        Example(
            text=texts[key],
            right=right[key],
            wrong=wrong.get(key, frozenset()) - right[key].keys(),
            source="marks" if key in marked else "captions",
            group=groups.get(key, digest(key)),
        )
        for key in sorted(texts)
    ]


def divide(examples: Sequence[Example], *, seen: Collection[str] = (), seed: int = 0) -> Sides:
    """Both sides of examples. seen: digests of folded texts that the present head learnt from; their groups stay there.

    A group is held out if the hash of its digest falls into the first two fifths of all hashes.
    """
    learnt = {example.group for example in examples if digest(folded(example.text)) in seen}
    sides = Sides([], [])
    for example in examples:
        share = int(digest(f"{seed} {example.group}"), 16) / 16**16
        side = sides.held_out if share < HELD_OUT and example.group not in learnt else sides.train
        side.append(example)
    return sides


def folds(examples: Sequence[Example]) -> list[list[int]]:
    """Positions of examples in `FOLDS` parts of about as many groups each; groups stay whole. No part is empty.

    Fewer parts where there are fewer groups.
    """
    order = sorted({example.group for example in examples}, key=lambda group: digest(f"fold {group}"))
    part_of = {group: number % FOLDS for number, group in enumerate(order)}
    parts: list[list[int]] = [[] for _ in range(min(FOLDS, len(order)))]
    for position, example in enumerate(examples):
        parts[part_of[example.group]].append(position)
    return parts


def _groups(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The group of every text that is linked with a content: the digest of the least content of all that hang together.

    No text has a part in that: a further caption of a video would rename the group, which could change its side.
    """
    above: dict[tuple[str, str], tuple[str, str]] = {}

    def top(node: tuple[str, str]) -> tuple[str, str]:
        while above.setdefault(node, node) != node:
            above[node] = node = above[above[node]]
        return node

    texts = []
    for text, content in links:
        texts.append(text)
        # "content" sorts before "text".
        a, b = sorted((top(("content", content)), top(("text", text))))
        above[b] = a
    return {text: digest(" ".join(top(("text", text)))) for text in texts}
