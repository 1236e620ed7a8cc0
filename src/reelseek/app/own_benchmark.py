"""`reelseek evaluate` of an index: the marked queries, put to its own videos; or two indexes on the same ones.

An index is a model, a sampling rate and perhaps a head, so that this compares any of them. Everything that is said of
benchmarks holds here: numbers with their protocol, intervals over queries, paired tests.
Shapes: T queries, V videos.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reelseek.app.models import method_of_index
from reelseek.app.terminal import printable, table
from reelseek.config import DataConfig, RunConfig, SampleConfig
from reelseek.data.pairs import Pairs
from reelseek.errors import ConfigError, DataError
from reelseek.evaluation import Evaluation
from reelseek.index import cards
from reelseek.index.cards import IndexCard
from reelseek.index.judged import Judged, alike, encode_in_parts, judged, relevance, video_scores
from reelseek.index.marks import read_marks
from reelseek.index.search import Searcher
from reelseek.index.store import list_files
from reelseek.rank.compare import Metric, bootstrap_interval
from reelseek.rank.metrics import mean_reciprocal_rank, retrieval_metrics
from reelseek.rank.ranking import ranks, top_k

if TYPE_CHECKING:
    from reelseek.methods.method import Method

METRICS = ("R@1", "R@5", "R@10", "MRR", "MdR", "MnR")
MEASURES: dict[str, Metric] = {"MRR": mean_reciprocal_rank}
FIRST = 10
"""Answers of a query that are looked through for unjudged ones."""


class Measured(NamedTuple):
    """One index, measured. first: how many first answers are right, marked wrong and unjudged. judged_share: percent of
    the first `FIRST` answers that have a mark.
    """

    name: str
    method: Method
    evaluation: Evaluation
    first: tuple[int, int, int]
    judged_share: float


def results(arguments: Namespace, config: RunConfig) -> dict[str, Any]:
    """Print the metrics with their protocol, and the comparison; write files if asked. What results.json holds."""
    from reelseek.app.commands.evaluate import show_comparisons, write_files
    from reelseek.app.results import comparison, results_record, run_record

    names = [arguments.model, *([arguments.against] if arguments.against else [])]
    _check(arguments, config, names)
    queries, videos = _benchmark(names, arguments.marks or names[0])
    found = [_measure(name, queries, videos, config, arguments.device) for name in names]
    told = results_record("reelseek evaluate " + " ".join(map(printable, names)))
    told["notes"] += _notes(found, queries)
    for one in found:
        told["runs"].append(run_record(printable(one.name), one.evaluation, one.method))
    _show(found, printable(arguments.marks or names[0]))
    groups_T = alike(found[0].evaluation.pairs.relevance_TV(corrected=True))
    if len(found) == 2 and len(set(groups_T)) > 1:
        (a, _, first, *_), (b, _, second, *_) = found
        for metric in ("R@1", "R@5", "MRR"):
            row = comparison(
                printable(a), first, printable(b), second, metric, measure=MEASURES.get(metric), groups_T=groups_T
            )
            told["comparisons"].append(row)
        show_comparisons(told["comparisons"])
    for note in told["notes"]:
        print(note)
    if arguments.out:
        write_files(Path(arguments.out), told, found[0].evaluation, corrected=True)
    return told


def _check(arguments: Namespace, config: RunConfig, names: Sequence[str]) -> None:
    for name in names:
        if not cards.has_card(Path(name)):
            raise ConfigError(f"{name}: is no index; an index is measured alone or against another index.")
    if config.data != DataConfig() or arguments.split != "test":
        raise ConfigError("an index is measured on its own videos by its marks: leave out --data and --split.")
    if config.sample != SampleConfig():
        raise ConfigError("an index is measured by the frames that it holds: leave out --sample. settings.")
    if config.evaluate.rescoring != "none" or config.evaluate.ties == "clip4clip":
        raise ConfigError(
            "an index is measured as it is searched: leave evaluate.rescoring at none, and choose another "
            "evaluate.ties than clip4clip, which knows one right video a query."
        )


def _benchmark(names: Sequence[str], source: str) -> tuple[Judged, dict[str, Path]]:
    """The queries that all these indexes can answer, and the videos that all of them hold, by content, with a path."""
    held: list[dict[str, Path]] = []
    for name in names:
        files = [row for row in list_files(Path(name)) if row.status == "ok"]
        held.append({row.content_hash: row.path for row in reversed(files)})
    common = {content: path for content, path in held[0].items() if all(content in other for other in held)}
    marks = read_marks(Path(source))
    queries = judged(marks, common)
    if not queries.queries:
        raise DataError(
            f"{source}: {len(marks)} marks, and none calls a video right that {' and '.join(names)} "
            f"{'hold' if len(names) > 1 else 'holds'}. Mark answers on the page, or with `reelseek mark`."
        )
    return queries, dict(sorted(common.items()))


def _measure(name: str, queries: Judged, videos: dict[str, Path], config: RunConfig, device: str) -> Measured:
    index = cards.open_index(Path(name))
    method = method_of_index(index, "", device)
    searcher = Searcher(index, method)
    loaded = searcher.loaded
    position = {content: at for at, content in enumerate(loaded.contents_V)}
    if not videos.keys() <= position.keys():
        raise DataError(f"{name}: it changed while it was read. Run the same command again.")
    columns = [position[content] for content in videos]
    texts = encode_in_parts(searcher.encode, [query.text for query in queries.queries])
    matrix_TV = video_scores(searcher, loaded, texts)[:, columns]
    right_TV, wrong_TV = relevance(queries.queries, list(videos))
    ties, samples = config.evaluate.ties, config.evaluate.bootstrap
    ranks_T = ranks(matrix_TV, right_TV, ties)
    metrics = {**retrieval_metrics(matrix_TV, right_TV, ties), "MRR": mean_reciprocal_rank(ranks_T)}
    intervals = {}
    groups_T = alike(right_TV)
    if samples and len(set(groups_T)) > 1:
        intervals["text_to_video"] = {
            metric: bootstrap_interval(ranks_T, MEASURES.get(metric, metric), samples=samples, groups_T=groups_T)
            for metric in metrics
        }
    evaluation = Evaluation(
        method=method.name,
        protocol=_protocol(index, queries, len(loaded.contents_V) - len(videos), len(videos), ties),
        metrics={"text_to_video": metrics},
        intervals=intervals,
        ranks_T=ranks_T,
        matrix_TV=matrix_TV,
        pairs=_pairs(index, queries, videos, right_TV),
        broken=[],
    )
    best_TK = top_k(matrix_TV, FIRST).items_TK
    right_TK, wrong_TK = (np.take_along_axis(judged_TV, best_TK, axis=1) for judged_TV in (right_TV, wrong_TV))
    right, wrong = int(right_TK[:, 0].sum()), int(wrong_TK[:, 0].sum())
    share = float(100 * (right_TK | wrong_TK).mean())
    return Measured(name, method, evaluation, (right, wrong, len(best_TK) - right - wrong), share)


def _pairs(index: IndexCard, queries: Judged, videos: dict[str, Path], right_TV: np.ndarray) -> Pairs:
    first_T = right_TV.argmax(axis=1)
    further_TV = right_TV.copy()
    further_TV[np.arange(len(right_TV)), first_T] = False
    return Pairs(
        name=f"marks over {index.directory}",
        texts=tuple(query.text for query in queries.queries),
        text_ids=tuple(f"query{number}" for number in range(len(queries.queries))),
        video_of_T=first_T,
        video_ids=tuple(videos),
        paths=tuple(videos.values()),
        extra_relevance=tuple((int(text), int(video)) for text, video in np.argwhere(further_TV)),
    )


def _protocol(index: IndexCard, queries: Judged, left_out: int, videos: int, ties: str) -> dict[str, object]:
    sampling = index.config
    return {
        "split": f"marks over {printable(str(index.directory))}",
        "texts_found": len(queries.queries),
        "texts_missing": queries.unanswerable,
        "videos_found": videos,
        "videos_missing": left_out,
        "complete": None,
        "ties": ties,
        "rescoring": "none",
        "prior": "none",
        "bank_texts": 0,
        "bank_videos": 0,
        "transductive": False,
        "relevance": f"{queries.right} marks right, {queries.wrong} wrong; the best-placed right video counts; "
        "unjudged videos count as not right",
        "contrasts": {},
        "frames": sampling.segment_frames,
        "sampling": f"{sampling.fps:g} frames a second in segments of at most {sampling.segment_frames}"
        + (", cut at shots" if sampling.segments == "shots" else "")
        + (", nearest key frames" if sampling.keyframes else "")
        + "; a video scores its best segment, all of them compared",
        "video_to_text": None,
    }


def _notes(found: Sequence[Measured], queries: Judged) -> list[str]:
    notes = []
    if queries.unanswerable or queries.gone:
        notes.append(
            f"Left out: {queries.unanswerable} queries without a right video here, {queries.gone} marks of files that "
            "are not here."
        )
    for one in found:
        right, wrong, unjudged = one.first
        total = right + wrong + unjudged
        notes.append(
            f"{printable(one.name)}: of {total} first answers {right} are right, {wrong} marked wrong, {unjudged} "
            f"unjudged, so R@1 would lie between {100 * right / total:.1f} and {100 * (right + unjudged) / total:.1f} "
            f"with every answer judged; of the first {FIRST} {one.judged_share:.0f} % are judged."
        )
    if len(found) == 2:
        notes.append(
            "Marks favour the model whose answers were marked: what only the other one finds is unjudged. The shares "
            "above say how far; mark the other one's first answers too."
        )
    return notes


def _show(found: Sequence[Measured], source: str) -> None:
    rows = []
    for one in found:
        values = one.evaluation.metrics["text_to_video"]
        intervals = (one.evaluation.intervals or _NONE)["text_to_video"]
        cells = []
        for metric in METRICS:
            cells.append(f"{values[metric]:.1f}")
            if metric in ("R@1", "MRR"):
                low_high = intervals.get(metric)
                cells.append(f"{low_high[0]:.1f} to {low_high[1]:.1f}" if low_high else "")
        rows.append((printable(one.name), *cells))
    columns = [
        "index",
        *(column for metric in METRICS for column in ([metric, "95 %"] if metric in ("R@1", "MRR") else [metric])),
    ]
    table(
        f"marks of {source} (text to video; MRR: 100 x mean of 1 / rank)", columns, rows, right=range(1, len(columns))
    )
    for one in found:
        protocol = one.evaluation.protocol
        print(
            f"{printable(one.name)}: {one.method.name} over {one.method.backbone.name}, trained on "
            f"{one.method.trained_on}; {protocol['texts_found']:,} queries over {protocol['videos_found']:,} videos "
            f"({protocol['videos_missing']:,} others left out); {protocol['relevance']}; ties {protocol['ties']}; "
            f"{protocol['sampling']}."
        )


_NONE: dict[str, dict[str, tuple[float, float]]] = {"text_to_video": {}}
