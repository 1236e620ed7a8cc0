"""The whole of teaching: divide, choose, learn, and judge on what was held out whether it helps.

The head that is judged is the head that is handed back: it is not trained again with what it was judged by.
Not here: how it becomes the index's model (`reelseek.index.switch`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from reelseek.adapt.choose import Choice, choose, ranks_of
from reelseek.adapt.examples import HELD_OUT, Example, digest, divide
from reelseek.adapt.learn import learn, material
from reelseek.errors import DataError
from reelseek.index.judged import alike, encode_in_parts
from reelseek.index.marks import folded
from reelseek.index.search import Searcher
from reelseek.index.segments import blank_video
from reelseek.methods.method import Method
from reelseek.methods.text_head import TextHead
from reelseek.rank.compare import PairedResult, paired_difference
from reelseek.rank.metrics import mean_reciprocal_rank, recall_at
from reelseek.records import Texts

FEWEST = 6
"""Groups held out, at least; queries with the same right videos are one group. By chance n groups are all better or all
worse in 2 of 2^n cases: from 6 on that is rarer than 1 in 20, so that with fewer no result could be told from chance.
"""
SAMPLES = 5000


@dataclass(frozen=True, eq=False)
class Outcome:
    """What teaching came to.

    ranks: of the held-out examples by name: "no head" where the index has one now, "before", "after". difference: of
    the mean reciprocal rank, after minus before; queries with the same right videos are drawn together. shared:
    held-out examples that have a right video in common with an example learnt from. learnt: digests of the texts
    learnt from.
    """

    head: TextHead
    choice: Choice
    train: Sequence[Example]
    held_out: Sequence[Example]
    ranks: dict[str, np.ndarray]
    difference: PairedResult
    shared: int
    learnt: list[str]

    @property
    def helps(self) -> bool:
        """Whether the index should answer with this head: the interval and the test say that it is better."""
        return self.choice.steps > 0 and self.difference.low > 0 and self.difference.p_value <= 0.05

    @property
    def verdict(self) -> str:
        """In a sentence, with its numbers."""
        _, low, high, p_value, smallest, *_ = self.difference
        interval = f"[{low:+.1f}, {high:+.1f}]"
        if self.choice.steps == 0:
            return (
                "No setting of a head answered better than none in cross-validation among the examples to learn from "
                f"(mean reciprocal rank {self.choice.before:.1f}): nothing was learnt."
            )
        if self.helps:
            return f"It helps: the interval of the difference {interval} is above zero (p = {p_value:.3f})."
        why = "reaches zero or less" if low <= 0 else f"is above zero, but chance could do as much (p = {p_value:.3f})"
        return (
            f"It is not shown to help: the interval of the difference {interval} {why}; {smallest:.1f} is what "
            f"{self.difference.groups} held-out groups would usually show."
        )

    def rows(self) -> list[dict[str, Any]]:
        """Every number of the held-out examples: by source where there are both, and all together."""
        sources = {example.source for example in self.held_out}
        parts = [*sorted(sources), "all"] if len(sources) > 1 else ["all"]
        found = []
        for part in parts:
            own = np.array([part in ("all", example.source) for example in self.held_out])
            for name, ranks_T in self.ranks.items():
                some = ranks_T[own]
                numbers = {"R@1": recall_at(some, 1), "R@5": recall_at(some, 5), "MRR": mean_reciprocal_rank(some)}
                found.append({"examples": part, "queries": int(own.sum()), "model": name, **numbers})
        return found


def teach(
    searcher: Searcher,
    examples: Sequence[Example],
    *,
    seen: Collection[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Learn a head over the method of an index, without any that it has, and judge it against the index as it is.

    seen: digests of texts that the present head has learnt from. The method keeps its weights and its head.
    Raises DataError where too few groups are held out or left to learn from, with the numbers.
    """
    sides = divide(examples, seen=seen, seed=seed)
    _check(sides.train, sides.held_out)
    method = cast(Method, searcher.method)
    for parameter in method.parameters():
        parameter.requires_grad_(False)
    ordered = [*sides.train, *sides.held_out]
    data = material(searcher, ordered, encode_without_head(searcher, [example.text for example in ordered]))
    train, held_out = range(len(sides.train)), range(len(sides.train), len(ordered))
    choice = choose(data, list(train), progress)
    (head,) = learn(data, list(train), choice.setting, [max(1, choice.steps)], seed=seed)
    if choice.steps == 0:
        head.up_DR.data.zero_()
    found = {"before": ranks_of(data, method.text_head, held_out), "after": ranks_of(data, head, held_out)}
    if method.text_head is not None:
        found = {"no head": ranks_of(data, None, held_out), **found}
    difference = paired_difference(
        found["after"],
        found["before"],
        mean_reciprocal_rank,
        samples=SAMPLES,
        groups_T=alike(data.right_TV[list(held_out)]),
    )
    known = {content for example in sides.train for content in example.right}
    return Outcome(
        head=head,
        choice=choice,
        train=sides.train,
        held_out=sides.held_out,
        ranks=found,
        difference=difference,
        shared=sum(not known.isdisjoint(example.right) for example in sides.held_out),
        learnt=[digest(folded(example.text)) for example in sides.train],
    )


def _check(train: Sequence[Example], held_out: Sequence[Example]) -> None:
    learning = len({example.group for example in train})
    judging = len({frozenset(example.right) for example in held_out})
    if judging < FEWEST or learning < 2:
        raise DataError(
            f"{len(train) + len(held_out)} marked queries and captions are too few: {judging} independent ones fell to "
            f"the part that is held out, {learning} to the part that is learnt from. {FEWEST} held out are the fewest "
            "that could show anything: of fewer, even if all got better, chance would do as much more than once in 20 "
            f"times. About {round(FEWEST / HELD_OUT)} in all are the least, several times as many do better."
        )


def encode_without_head(searcher: Searcher, texts: Sequence[str]) -> Texts:
    """Texts as the index's method projects them without a head."""
    method = cast(Method, searcher.method)
    blank = blank_video(method)

    def encode(some: list[str]) -> Texts:
        whole = [text.encode("utf-8", "replace").decode() for text in some]
        return method.project_without_head(method.encode_texts(whole), blank)[0]

    return encode_in_parts(encode, texts)
