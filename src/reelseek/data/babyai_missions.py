"""Missions of the BabyAI language as values: which of them mean the same, and which are true of an episode.

Not here: the environment (babyai_episodes), files (babyai).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

DOES = {"goto": ("goto",), "pickup": ("pickup", "goto"), "putnext": ("putnext", "pickup", "goto")}
"""What an agent does that carries out a clause of a kind: to pick a thing up, it goes there."""


class Clause(NamedTuple):
    """One thing to do: kind of action, the object's colour ("" for any) and type, and those of the place for it."""

    action: str
    colour: str
    thing: str
    by_colour: str = ""
    by_thing: str = ""


Mission = tuple[tuple[Clause, ...], ...]
"""Stages in the order of time; the clauses of a stage come in any order, and stand sorted."""


def mission(stages: Iterable[Iterable[Clause]]) -> Mission:
    """The mission of some stages: equal values for equal meanings, however the words say it."""
    return tuple(tuple(sorted(set(stage))) for stage in stages)


def from_json(stages: Sequence[Sequence[Sequence[str]]]) -> Mission:
    """A mission from the lists that JSON makes of it."""
    return mission([Clause(*clause) for clause in stage] for stage in stages)


def true_pairs(claims: Sequence[Mission], shown: Sequence[Mission]) -> list[tuple[int, int]]:
    """(claim, video) positions of every claim that a video's own mission implies, sorted.

    A part of what was done is true ("go to a ball" of "pick up the red ball, then ..."), in its order; "a" and "the"
    count the same. What happens by accident, or cannot be told from the mission's words, counts as false.
    """
    single: dict[Clause, set[int]] = {}
    for at, stages in enumerate(shown):
        for clause in _implied(clause for stage in stages for clause in stage):
            single.setdefault(clause, set()).add(at)
    parts = [[_implied(stage) for stage in stages] for stages in shown]
    found: dict[Mission, list[int]] = {}
    for claim in dict.fromkeys(claims):
        candidates = set.intersection(*(single.get(clause, set()) for stage in claim for clause in stage))
        found[claim] = sorted(at for at in candidates if len(claim) == 1 or _in_order(claim, parts[at]))
    return [(number, at) for number, claim in enumerate(claims) for at in found[claim]]


def _in_order(claim: Mission, parts: list[set[Clause]]) -> bool:
    """Whether each stage of the claim is implied by one stage of the video, in the same order."""
    at = 0
    for stage in claim:
        while at < len(parts) and not parts[at].issuperset(stage):
            at += 1
        if at == len(parts):
            return False
        at += 1
    return True


def _implied(clauses: Iterable[Clause]) -> set[Clause]:
    """Every single clause that is true where these were carried out: lesser actions, colours left out."""
    implied = set()
    for clause in clauses:
        for action in DOES[clause.action]:
            for colour in {clause.colour, ""}:
                if action != "putnext":
                    implied.add(Clause(action, colour, clause.thing))
                    continue
                for by_colour in {clause.by_colour, ""}:
                    implied.add(clause._replace(colour=colour, by_colour=by_colour))
    return implied
