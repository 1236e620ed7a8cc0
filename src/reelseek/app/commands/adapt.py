"""`reelseek adapt`: learn from marks and captions, show what it does on held-out queries, switch if it helps."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelseek.app.terminal import add_device, parser, printable, progress, table

if TYPE_CHECKING:
    from reelseek.adapt.examples import Caption, Example
    from reelseek.adapt.outcome import Outcome
    from reelseek.index.cards import IndexCard
    from reelseek.index.judged import Judged
    from reelseek.methods.method import Method


def parse(words: Sequence[str]) -> Namespace:
    """--index DIR [--captions FILE] [--dry-run]."""
    options = parser(
        "adapt",
        "Learn a small head over the index's model from what was marked in it, and from captions. Two fifths of the "
        "queries are held out and show what it does; the index answers with the head only if that is better beyond "
        "chance. Nothing is embedded again, and `reelseek index rollback` takes it back.",
    )
    options.add_argument("--index", required=True, metavar="DIR", help="an index made by `reelseek index`")
    options.add_argument(
        "--captions", default="", metavar="FILE", help="captions of its videos: CSV or .jsonl with video and caption"
    )
    options.add_argument("--dry-run", action="store_true", help="only show what it would do")
    options.add_argument("--model", default="", help="the model that made the index, if it has moved")
    add_device(options)
    options.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Teach, tell, and switch if it helps; 1 if it does not."""
    from reelseek.adapt.captions import captions_of
    from reelseek.adapt.examples import examples_of
    from reelseek.adapt.outcome import teach
    from reelseek.app.models import method_of_index
    from reelseek.errors import ConfigError
    from reelseek.index.cards import open_index
    from reelseek.index.judged import judged
    from reelseek.index.marks import read_marks
    from reelseek.index.search import Searcher
    from reelseek.index.store import list_files
    from reelseek.methods.text_head import base_of, is_head

    directory = Path(arguments.index)
    index = open_index(directory)
    files = list_files(directory)
    queries = judged(read_marks(directory), [file.content_hash for file in files if file.status == "ok"])
    captions: list[Caption] = []
    notes = _left_out(queries)
    if arguments.captions:
        captions, more = captions_of(Path(arguments.captions), files)
        notes += more
    examples = examples_of(queries.queries, captions)
    _refuse_nothing(directory, examples, queries)
    method = method_of_index(index, arguments.model, arguments.device)
    named = arguments.model or str(index.model["source"])
    if method.text_head is not None and not index.model.get("head") and not is_head(Path(named)):
        raise ConfigError(f"{named}: carries a head of its own. Make the index by the model below it, then adapt.")
    searcher = Searcher(index, method)
    with progress("cross-validation") as tell:
        outcome = teach(searcher, examples, seen=_seen(index), progress=tell)
    switched = ""
    if outcome.helps and not arguments.dry_run:
        switched = _switch(searcher.index, method, outcome, base_of(named))
    if arguments.json:
        print(json.dumps({**record(outcome), "notes": notes, "switched": bool(switched), "head": switched}))
    else:
        _tell(directory, outcome, notes, switched, dry=arguments.dry_run)
    return 0 if outcome.helps else 1


def record(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain values."""
    return {
        "helps": outcome.helps,
        "verdict": outcome.verdict,
        "held_out": outcome.rows(),
        "difference": {"metric": "MRR", **outcome.difference._asdict()},
        "learnt_from": {source: _count(outcome.train, source) for source in ("marks", "captions")},
        "judged_by": {source: _count(outcome.held_out, source) for source in ("marks", "captions")},
        "sharing_a_right_video": outcome.shared,
        "choice": {**outcome.choice.setting._asdict(), "steps": outcome.choice.steps},
        "cross_validated": {"before": outcome.choice.before, "after": outcome.choice.after},
        "ties": "against",
    }


def _count(examples: Sequence[Example], source: str) -> int:
    return sum(example.source == source for example in examples)


def _left_out(queries: Judged) -> list[str]:
    said = []
    if queries.gone:
        said.append(f"{queries.gone} marks are of files that the index does not hold now.")
    if queries.unanswerable:
        said.append(f"{queries.unanswerable} marked queries have no right video in the index: they cannot be used.")
    return said


def _refuse_nothing(directory: Path, examples: Sequence[Example], queries: Judged) -> None:
    from reelseek.errors import DataError

    if not examples:
        marked = f"{queries.unanswerable} marked queries, and none with a right video in the index"
        raise DataError(
            f"{directory}: there is nothing to learn from ({marked}). Mark right answers on the page or with "
            "`reelseek mark`, or give captions with --captions."
        )


def _seen(index: IndexCard) -> list[str]:
    """Digests of the texts that the present head has learnt from: they stay on that side."""
    from reelseek.checkpoint import load_run
    from reelseek.index.cards import head_folder

    folder = head_folder(index)
    report = {} if folder is None else load_run(folder)[0].get("report")
    learnt = report.get("learnt", []) if isinstance(report, dict) else []
    return [text for text in learnt if isinstance(text, str)] if isinstance(learnt, list) else []


def _switch(index: IndexCard, method: Method, outcome: Outcome, source: str) -> str:
    """Write the head below the index, then make it the index's in one step; returns its folder's name."""
    from reelseek.app.models import model_card
    from reelseek.index.switch import switch_texts
    from reelseek.methods.text_head import save_head

    marks, captions = (_count(outcome.train, source) for source in ("marks", "captions"))
    said = method.trained_on.split("; head: ")[0]
    trained_on = f"{said}; head: {marks} marked queries and {captions} captions of this library"
    before = method.id
    method.text_head = None
    base_id = method.id
    method.text_head, method.trained_on = outcome.head, trained_on
    head = f"head-{method.id}"
    card = model_card(method, source, head=head)

    def write() -> None:
        save_head(
            index.directory / head,
            outcome.head,
            base=card["source"],
            base_id=base_id,
            trained_on=trained_on,
            report={**record(outcome), "learnt": outcome.learnt, "config": asdict(index.config)},
        )

    switch_texts(index.directory, method.id, before=before, model_card=card, write=write)
    return head


def _tell(directory: Path, outcome: Outcome, notes: Sequence[str], switched: str, *, dry: bool) -> None:
    rows = [
        (row["examples"], str(row["queries"]), row["model"], *(f"{row[name]:.1f}" for name in ("R@1", "R@5", "MRR")))
        for row in outcome.rows()
    ]
    columns = ["held out", "queries", "", "R@1", "R@5", "MRR"]
    title = f"{printable(str(directory))}: before and after, on queries that nothing was learnt from"
    table(title, columns, rows, right=[1, 3, 4, 5])
    choice, difference = outcome.choice, outcome.difference
    print(
        f"MRR (100 x mean of 1 / rank), after minus before: {difference.difference:+.1f} "
        f"[{difference.low:+.1f}, {difference.high:+.1f}], 95 %, bootstrap over {difference.groups} groups of "
        f"{difference.queries} held-out queries; ties against; unjudged videos count as not right."
    )
    print(
        f"Learnt from {_count(outcome.train, 'marks')} marked queries and {_count(outcome.train, 'captions')} captions"
        f": rank {choice.setting.rank}, pull {choice.setting.pull:g}, {choice.steps} steps, chosen by cross-validation "
        f"among those alone (MRR {choice.before:.1f} to {choice.after:.1f}). What was measured is what is used. "
        f"{outcome.shared} held-out queries have a right video that a query learnt from has too."
    )
    for note in notes:
        print(note)
    print(outcome.verdict)
    if switched:
        print(
            f"{printable(str(directory))} answers with it now ({switched}); `reelseek index rollback` takes that back."
        )
    elif outcome.helps:
        print("Nothing was changed (--dry-run).")
    else:
        print("Nothing was changed: the index answers as before.")
