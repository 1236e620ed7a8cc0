"""Whether `reelseek adapt` helps where there is something to learn, and refuses where there is not.

A generated library (`reelseek.data.motions`, 16 objects) is rendered and indexed once, model offline. Queries are
captions of its training part; their marks are simulated: every clip that a caption is true of is right, and the first
two wrong answers of the index are marked wrong, as by a person who looks at the first answers. For 10, 30, 100 and 300
marked queries: before and after on the queries held out, and, as a check that no decision saw, on captions of the test
part, which are never marked. Control: the right answers of the marked queries shuffled among them, which must be
refused. The head's settings were chosen with an eye on the library of seed 3, so the usual one is another.
Prints, and writes benchmarks/results/adapt.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import reelseek
from reelseek.adapt.choose import SETTINGS, STOPS, ranks_of
from reelseek.adapt.examples import Example, examples_of
from reelseek.adapt.learn import LEARNING_RATE, material
from reelseek.adapt.outcome import Outcome, encode_without_head, teach
from reelseek.app.commands.adapt import record
from reelseek.data import motions
from reelseek.data.motions_plan import Knobs
from reelseek.data.pairs import Pairs
from reelseek.errors import DataError
from reelseek.index.build import update
from reelseek.index.cards import open_index
from reelseek.index.judged import alike, judged
from reelseek.index.marks import Mark, folded
from reelseek.index.search import Searcher
from reelseek.rank.compare import paired_difference
from reelseek.rank.metrics import mean_reciprocal_rank

RESULTS = Path(__file__).parent / "results" / "adapt.json"
SIZES = (10, 30, 100, 300)
CONTROLS = (300,)
SEED = 4
WRONG = 2


def true_answers(pairs: Pairs, content_of: dict[str, str]) -> dict[str, list[str]]:
    """Every caption, each once, with the contents that it is true of."""
    relevance_TV = pairs.relevance_TV(corrected=True)
    found: dict[str, list[str]] = {}
    for row, text in enumerate(pairs.texts):
        own = found.setdefault(text, [])
        own += [content_of[str(pairs.paths[video])] for video in np.flatnonzero(relevance_TV[row])]
    return {text: sorted(set(own)) for text, own in found.items()}


def simulated(searcher: Searcher, answers: dict[str, list[str]]) -> list[Mark]:
    """The marks of somebody who knows what is true and looks at the first answers."""
    loaded = searcher.loaded
    path_of = dict(zip(loaded.contents_V, loaded.paths_V, strict=True))
    content_of = {path: content for content, path in path_of.items()}
    marks = []
    for text, right in answers.items():
        first = [content_of[hit.path] for hit in searcher.search(text, WRONG + len(right))]
        wrong = [content for content in first if content not in right][:WRONG]
        for content in [*right, *wrong]:
            marks.append(Mark(text, path_of[content], content, 0.0, 1e6, 0.0, content in right, 0.0))
    return marks


def fresh(searcher: Searcher, outcome: Outcome, examples: Sequence[Example]) -> dict[str, Any]:
    """The same head on captions that were never marked."""
    data = material(searcher, examples, encode_without_head(searcher, [example.text for example in examples]))
    rows = range(len(examples))
    before, after = ranks_of(data, None, rows), ranks_of(data, outcome.head, rows)
    difference = paired_difference(after, before, mean_reciprocal_rank, groups_T=alike(data.right_TV))
    return {
        "queries": len(examples),
        "MRR before": mean_reciprocal_rank(before),
        "MRR after": mean_reciprocal_rank(after),
        "difference": difference._asdict(),
    }


def measure(searcher: Searcher, marks: Sequence[Mark], unseen: Sequence[Example]) -> dict[str, Any]:
    """What adapt comes to with these marks."""
    begun = time.perf_counter()
    queries = judged(marks, searcher.loaded.contents_V).queries
    row: dict[str, Any] = {"marked queries": len(queries), "marks": len(marks)}
    try:
        outcome = teach(searcher, examples_of(queries, []))
    except DataError as error:
        return {**row, "switched": False, "refused": str(error)}
    row |= {"switched": outcome.helps, "seconds": round(time.perf_counter() - begun, 1), **record(outcome)}
    return {**row, "never marked": fresh(searcher, outcome, unseen)}


def tell(name: str, row: dict[str, Any]) -> None:
    """One line."""
    if "refused" in row:
        print(f"{name}: refused, {row['refused']}", flush=True)
        return
    told = []
    for part in (row["difference"], row["never marked"]["difference"]):
        told.append(f"{part['difference']:+.1f} [{part['low']:+.1f}, {part['high']:+.1f}] on {part['queries']}")
    before, after = (held["MRR"] for held in row["held_out"])
    verb = "switched" if row["switched"] else "refused"
    print(
        f"{name}: {verb}; held out {before:.1f} to {after:.1f}, {told[0]}; never marked {told[1]}; "
        f"{row['choice']}, {row['seconds']} s",
        flush=True,
    )


def keep(searcher: Searcher, seed: int, rows: list[dict[str, Any]], controls: list[dict[str, Any]]) -> None:
    """Write what is measured so far."""
    results = {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "seed": seed,
        "clips": len(searcher.loaded.contents_V),
        "model": searcher.method.id,
        "settings tried": [setting._asdict() for setting in SETTINGS],
        "steps tried": list(STOPS),
        "learning rate": LEARNING_RATE,
        "marked queries": rows,
        "shuffled marks": controls,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    """Run it all; some minutes, most of them rendering and embedding."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of marked queries")
    options.add_argument("--folder", default="", help="where the library is kept for another run")
    options.add_argument("--seed", type=int, default=SEED, help="of the library")
    arguments = options.parse_args()
    folder = Path(arguments.folder or tempfile.mkdtemp())
    begun = time.perf_counter()
    splits = motions.generate(
        folder / "clips", train=220, val=1, test=100, seed=arguments.seed, knobs=Knobs(objects=16)
    )
    assert splits.train is not None
    assert splits.test is not None
    method = reelseek.load("offline")
    card = {"name": "zero-shot over offline", "source": "offline", "trained_on": method.trained_on}
    update(folder / "index", [folder / "clips" / "videos"], method, model_card=card)
    searcher = Searcher(open_index(folder / "index"), method)
    content_of = {path: file.content_hash for path, file in searcher.loaded.files.items()}
    made = time.perf_counter() - begun
    print(f"{len(searcher.loaded.contents_V)} clips rendered and indexed in {made:.0f} s", flush=True)
    known, tested = (true_answers(pairs, content_of) for pairs in (splits.train, splits.test))
    order = np.random.default_rng(0).permutation(len(known))
    captions = [list(known)[at] for at in order]
    marked = {folded(text) for text in captions}
    own = {text: right for text, right in tested.items() if folded(text) not in marked}
    everything = [Mark(text, "", content, 0.0, 1e6, 0.0, True, 0.0) for text, right in own.items() for content in right]
    unseen = examples_of(judged(everything, searcher.loaded.contents_V).queries, [])
    rows = []
    for size in arguments.sizes:
        marks = simulated(searcher, {text: known[text] for text in captions[:size]})
        rows.append(measure(searcher, marks, unseen))
        tell(f"{size} marked queries", rows[-1])
        keep(searcher, arguments.seed, rows, [])
    controls = []
    for size in CONTROLS:
        answers = [known[text] for text in captions[:size]]
        mixed = np.random.default_rng(1).permutation(size)
        shuffled = {text: answers[at] for text, at in zip(captions[:size], mixed, strict=True)}
        controls.append(measure(searcher, simulated(searcher, shuffled), unseen))
        tell(f"{size} queries with shuffled marks", controls[-1])
        keep(searcher, arguments.seed, rows, controls)


if __name__ == "__main__":
    main()
