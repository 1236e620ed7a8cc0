"""The items of the synthetic benchmark: what happens in a video, and which captions are true of it.

Not here: drawing lots (motions_plan), wording (motions_language), pictures (motions_render).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

MOTIONS = ("right", "left", "rise", "fall", "circle", "grow", "shrink", "spin")
REST = "rest"
SPLITS = ("train", "val", "test")
KINDS = ("single", "order", "binding", "distractor", "tempo")


class Act(NamedTuple):
    """One object doing one motion, `passes` times within its clause (1 plain or slow, 3 quick)."""

    label: str
    motion: str
    passes: int = 1


class Item(NamedTuple):
    """One video.

    kind: the step of the ladder of hardness, one of `KINDS`: one clause; order-swapped twins; who did what;
        one clause beside an object at rest, whose twin has the roles exchanged; slow against quick.
    mode: "sequence" (acts one after another, in equal clauses) or "while" (two acts at once).
    still: label of the object at rest, or "".
    marked: whether captions say how fast it goes.
    twin: id of the item that differs in nothing but what `kind` tests, or "".
    copy_of: id of the item whose programme this one shows again (a false negative made on purpose), or "".
    group: items of one group share their objects. held_out: has an object-motion pair that training never shows.
    glyphs: the character that draws each label. scene: seed of background and places; equal for twins.
    """

    id: str
    split: str
    kind: str
    mode: str
    acts: tuple[Act, ...]
    still: str
    marked: bool
    twin: str
    copy_of: str
    group: int
    held_out: bool
    glyphs: tuple[tuple[str, str], ...]
    scene: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, read back by `from_json`."""
        return {**self._asdict(), "acts": [list(act) for act in self.acts], "glyphs": dict(self.glyphs)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Item:
        """The inverse of `to_json`; unknown or absent keys raise TypeError."""
        acts = tuple(Act(*act) for act in values["acts"])
        return cls(**{**values, "acts": acts, "glyphs": tuple(values["glyphs"].items())})


Key = tuple[str, tuple[Act, ...]]


def caption_key(item: Item) -> Key:
    """What a caption of the item claims: mode and acts; passes are 0 where the caption does not speak of speed."""
    acts = item.acts if item.marked else tuple(act._replace(passes=0) for act in item.acts)
    return _key(item.mode, acts)


def true_keys(item: Item) -> set[Key]:
    """Every claim that is true of the item's video.

    A part of what happens is true (one act of two, acts 1 and 3 of three), with its speed or without; an object at
    rest adds no claim.
    """
    keys: set[Key] = set()
    plain = tuple(act._replace(passes=0) for act in item.acts)
    for acts in (item.acts, plain):
        for length in range(1, len(acts) + 1):
            for part in itertools.combinations(acts, length):
                keys.add(_key(item.mode, part))
    return keys


def true_pairs(claims: Iterable[tuple[int, Item]], videos: Iterable[Item]) -> list[tuple[int, int]]:
    """(text, video) positions of every true caption; `claims` holds texts' positions and the items they describe."""
    videos_of: dict[Key, list[int]] = {}
    for at, video in enumerate(videos):
        for key in true_keys(video):
            videos_of.setdefault(key, []).append(at)
    return [(text, video) for text, item in claims for video in videos_of.get(caption_key(item), ())]


CONTRASTS = {"swap": ("order",), "binding": ("binding", "distractor")}
"""What twins of which kinds tell apart: the order of the clauses; who did what."""


def twin_contrasts(
    claims: Iterable[tuple[int, Item]], videos: Sequence[Item]
) -> dict[str, tuple[tuple[int, int, int], ...]]:
    """Positions (text, own video, twin's video) by the names of `CONTRASTS`; a name without any is left out.

    claims: texts' positions and the items that they describe truly; items whose twin is not in `videos` are skipped.
    """
    position = {video.id: at for at, video in enumerate(videos)}
    rows = [(text, position[item.id], position[item.twin], item.kind) for text, item in claims if item.twin in position]
    found = {
        name: tuple((text, own, twin) for text, own, twin, kind in rows if kind in kinds)
        for name, kinds in CONTRASTS.items()
    }
    return {name: triples for name, triples in found.items() if triples}


def _key(mode: str, acts: tuple[Act, ...]) -> Key:
    if len(acts) == 1:
        return ("sequence", acts)
    return (mode, tuple(sorted(acts)) if mode == "while" else acts)
