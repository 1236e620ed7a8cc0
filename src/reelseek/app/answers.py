"""Answers of a search on the terminal, and written to files.

Not here: how they are found (`reelseek.index.ask`) and the file formats (`reelseek.index.export`).
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reelseek.app.account import HOW_TO_READ, account
from reelseek.app.terminal import clock, printable, short, table, tell_broken
from reelseek.index.ask import Answer
from reelseek.index.calibration import nothing_matches
from reelseek.index.explanation import Explanation
from reelseek.records import BrokenFile, Hit

if TYPE_CHECKING:
    from reelseek.index.export import Written


def show(title: str, answers: Sequence[Answer], explanations: Sequence[Explanation], *, probability: bool) -> None:
    """Print a table of answers, or each with its explanation below. probability: a column of those."""
    none = nothing_matches(answers)
    if none:
        title += "\nNothing here matches; the nearest are:"
    columns = ["", "score", *(["match"] if probability else []), "span", "path"]
    rows = [(str(number), *_row(answer, probability)) for number, answer in enumerate(answers, 1)]
    if not explanations:
        table(title, columns, rows, right=range(columns.index("span")), dim=none)
        return
    print(title)
    for row, why in zip(rows, explanations, strict=True):
        print("\n" + "   ".join(row))
        print("\n".join(account(why)))
    print(f"\n{HOW_TO_READ}")


def _row(answer: Answer, probability: bool) -> tuple[str, ...]:
    span = f"{clock(answer.start)} - {clock(answer.end)}"
    if answer.then is not None:
        span += f", then {clock(answer.then[0])} - {clock(answer.then[1])}"
    others = f"   (and {len(answer.alike)} alike)" if answer.alike else ""
    if answer.heard is not None:
        words = printable(textwrap.shorten(answer.heard.text, 60, placeholder=" ..."))
        others += f'   said at {clock(answer.heard.start)}: "{words}"'
    match = "-" if answer.probability is None else f"{100 * answer.probability:.0f} %"
    return f"{answer.score:.3f}", *([match] if probability else []), span, short(answer.path) + others


def write(
    query: str, answers: Sequence[Answer], records: Sequence[Mapping[str, Any]], out: str, *, overwrite: bool, mode: str
) -> None:
    """Write answers to a file or folder, and say on stderr what was written and what could not be.

    records: what `--json` prints of each, for the formats that hold all of it. In the others two moments in order are
    one span, from the beginning of the first to the end of the later one.
    """
    # Pictures and videos are loaded for it, which a search without files need not wait for.
    from reelseek.index.export import write_results

    hits = [
        Hit(
            answer.path,
            answer.start,
            answer.end if answer.then is None else answer.then[1],
            answer.score,
            answer.peak,
            answer.probability,
        )
        for answer in answers
    ]
    for one in write_results(query, hits, out, records=records, overwrite=overwrite, mode=mode):
        if isinstance(one, BrokenFile):
            tell_broken([one])
        else:
            print(f"wrote {printable(str(one.path))}{_told(one)}", file=sys.stderr)


def _told(written: Written) -> str:
    """How a clip was made: what was copied and what encoded, and how far a copy reaches beyond its hit."""
    hit, cut = written.hit, written.cut
    if hit is None or cut is None:
        return ""
    words = "copied" if cut.copied else f"encoded: {cut.why}"
    extra = [
        f"{seconds:.1f} s {where}"
        for seconds, where in ((hit.start - cut.start, "before"), (cut.end - hit.end, "after"))
        if seconds >= 0.1
    ]
    words += f", with {' and '.join(extra)}" if extra else ""
    return f" ({words}; {'no sound' if cut.sound == 'none' else f'sound {cut.sound}'})"
