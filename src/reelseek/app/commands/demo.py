"""`reelseek demo`: the whole tour. Real clips indexed and searched, methods trained and compared, a page of results.

Everything lands in one folder and is reused by the next run. Steps: `index_and_search`, `train_and_compare`,
`search_with_trained`, each returning what the report needs.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelseek.app.commands.evaluate import show, show_comparisons
from reelseek.app.terminal import clock, parser, progress, refuse_file, short, table, tell_broken
from reelseek.config import RunConfig
from reelseek.errors import DataError
from reelseek.recipes import recipe

if TYPE_CHECKING:
    from reelseek.evaluation import Evaluation
    from reelseek.index.build import IndexReport
    from reelseek.methods.method import Method
    from reelseek.records import Backbone

QUERIES = (
    "planet earth seen from space",
    "people riding bicycles",
    "a cartoon rabbit in a meadow",
    "tall buildings and traffic in a city",
    "a man talking inside a car",
)
RECIPES = {"clip4clip": "clip4clip-meanp-motions", "gare-baseline": "gare-baseline-motions", "gare": "gare-motions"}
TRAIN_VIDEOS = 500


def parse(words: Sequence[str]) -> Namespace:
    """[--model NAME] [--videos DIR] [--query TEXT ...] [--out DIR]."""
    options = parser(
        "demo", "Index and search real clips, train and compare methods on a generated benchmark, write a report."
    )
    options.add_argument("--model", default="offline", help="offline, or a CLIP or SigLIP name or folder")
    options.add_argument(
        "--videos", default="", metavar="DIR", help="your videos (default: clips that installed packages carry)"
    )
    options.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="what to look for, instead of the demo's own; may be repeated",
    )
    options.add_argument("--out", default="demo", metavar="DIR", help="where everything is written")
    options.add_argument("--size", type=int, default=TRAIN_VIDEOS, help="training videos of the generated benchmark")
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """All steps in order; exit code 0 when the report is written."""
    from reelseek.app.models import load_method
    from reelseek.app.results import results_record
    from reelseek.data.motions import size_of
    from reelseek.rank.export import write_json
    from reelseek.report import write_report

    out = Path(arguments.out)
    refuse_file(out)
    held = size_of(out / "motions")
    if held and arguments.size and held != arguments.size:  # before minutes of indexing
        raise DataError(
            f"{out} holds a benchmark of {held:,} training videos, not {arguments.size:,}. Give --size {held}, or "
            "another folder by --out."
        )
    results = results_record(f"reelseek demo --model {arguments.model}")
    zero_shot = load_method(arguments.model, "auto")  # first: a model that cannot be had should be said at once

    _title("1  Index real video clips, with no training")
    index_real_clips(out, arguments, zero_shot, results)
    _title("2  Search them by text")
    search_clips(out / "clips.index", zero_shot, arguments.query or list(QUERIES), results)
    _title("3  Train, evaluate and compare on a generated benchmark")
    run_folder = train_and_compare(out, arguments, zero_shot, results)
    _title("4  Index and search with the method just trained")
    search_with_trained(out, run_folder, results)
    _title("5  Report")
    results["notes"] += NOTES
    write_json(out / "results.json", results)
    write_report(results, out / "report.html")
    print(f"{out}/report.html and {out}/results.json are written.")
    print("\nOpen the search page with:\n")
    print(f"    {_command()} serve --index {out}/clips.index\n")
    return 0


def index_real_clips(out: Path, arguments: Namespace, method: Method, results: dict[str, Any]) -> None:
    """Index the user's folder, or the clips that installed packages carry."""
    from reelseek.app.models import model_card
    from reelseek.data.packaged import packaged_clips

    places = [Path(arguments.videos).expanduser()] if arguments.videos else packaged_clips()
    if arguments.videos and not places[0].exists():
        raise DataError(f"--videos {arguments.videos}: there is no such folder or file.")
    if not places:
        raise DataError("no clips were found: name a folder with --videos, or run `make env`, which installs some.")
    with progress("indexing clips") as tell:
        report = _update(out / "clips.index", places, method, model_card(method, arguments.model), tell)
    tell_broken(report.broken)
    results["broken"] += [{"path": str(b.path), "reason": b.reason} for b in report.broken]
    print(
        f"{method.name} over {method.backbone.name}: {report.added} videos added, {report.unchanged} unchanged, "
        f"{len(report.broken)} set aside, {report.seconds:.1f} s."
    )


def search_clips(directory: Path, method: Method, queries: Sequence[str], results: dict[str, Any]) -> None:
    """Answer every query and print a table of the best three."""
    from reelseek.app.results import search_record
    from reelseek.index.cards import open_index
    from reelseek.index.search import Searcher

    searcher = Searcher(open_index(directory), method)
    rows = []
    for query in queries:
        hits = searcher.search(query, 3)
        for number, hit in enumerate(hits):
            span = f"{clock(hit.start)} - {clock(hit.end)}"
            rows.append(("" if number else query, f"{hit.score:.3f}", span, short(hit.path)))
        results["searches"].append(
            search_record(f"{method.name} over {method.backbone.name}", method.trained_on, query, hits)
        )
    table("", ["query", "score", "span", "path"], rows, right=[1])


def train_and_compare(out: Path, arguments: Namespace, zero_shot: Method, results: dict[str, Any]) -> Path:
    """Generate, embed once, train every recipe, evaluate on the test split, compare; returns GARE's run folder."""
    from reelseek.app.results import comparison, examples, modality_gap, run_record
    from reelseek.data import load
    from reelseek.embed import embed_pairs
    from reelseek.evaluation import evaluate_embedded
    from reelseek.methods import build
    from reelseek.recipes.run import train
    from reelseek.training.loop import seed_all

    configs = {name: _config(of, out, arguments, zero_shot.backbone) for name, of in RECIPES.items()}
    first = next(iter(configs.values()))
    cache = out / "cache"
    with progress("rendering the benchmark") as tell:
        splits = load(first.data, tell)
    assert splits.train is not None
    assert splits.test is not None
    for pairs in (splits.train, splits.test):
        print(pairs.describe())
        with progress(f"embedding {pairs.name}") as tell:
            embedded = embed_pairs(zero_shot, pairs, first.sample, cache=cache, progress=tell)
    named: list[tuple[str, Evaluation]] = [
        ("zero-shot", evaluate_embedded(zero_shot, embedded, config=first.evaluate, frames=first.sample.frames))
    ]
    results["runs"].append(run_record("zero-shot", named[0][1], zero_shot))
    for name, config in configs.items():
        seed_all(config.train.seed)
        before = modality_gap(build(config.method, zero_shot.backbone).eval(), embedded)
        folder = _run_folder(out, name, zero_shot)
        outcome = train(config, folder, cache=cache, progress=progress)
        evaluation = evaluate_embedded(outcome.method, embedded, config=config.evaluate, frames=config.sample.frames)
        gap = {"before": before, "after": modality_gap(outcome.method, embedded)}
        record = run_record(name, evaluation, outcome.method, seconds=outcome.fit.seconds, folder=folder, gap=gap)
        results["runs"].append(record)
        named.append((name, evaluation))
    show(named)
    results["examples"] += examples(*named[-1])
    for other in (named[1], named[2]):
        for metric in ("R@1", "R@5", "MnR"):
            results["comparisons"].append(comparison(named[-1][0], named[-1][1], other[0], other[1], metric))
    show_comparisons(results["comparisons"])
    print("Intervals are over queries; one seed each. Settings were chosen on validation.")
    return _run_folder(out, "gare", zero_shot)


def _run_folder(out: Path, name: str, zero_shot: Method) -> Path:
    """Where a recipe's run over one model lies. Each model has runs of its own: a run goes on over no other."""
    return out / f"{name}-{zero_shot.id}"


def search_with_trained(out: Path, run_folder: Path, results: dict[str, Any]) -> None:
    """Index the benchmark's test videos with the run, and search them with three of their captions."""
    from reelseek.app.models import load_method, model_card
    from reelseek.data.motions import load

    method = load_method(str(run_folder), "auto")
    test = load(out / "motions").test
    assert test is not None
    directory = out / "motions-gare.index"
    with progress("indexing test videos") as tell:
        _update(directory, list(test.paths), method, model_card(method, str(run_folder)), tell)
    print(f"{method.name}, trained on: {method.trained_on}")
    search_clips(directory, method, test.texts[:: max(len(test.texts) // 3, 1)][:3], results)


NOTES = [
    "The generated benchmark is synthetic: it tells methods apart, it says nothing about published benchmarks.",
    "The offline encoders know objects and scenes, not order or actions; they are no replacement for CLIP-type models.",
    "One seed a method. Intervals are over test queries only, so a small difference may not survive another seed.",
]


def _config(name: str, out: Path, arguments: Namespace, backbone: Backbone) -> RunConfig:
    """A recipe over the asked model. Frozen towers with a joint space leave mean pooling nothing to train: they get
    CLIP4Clip's temporal transformer, of two layers, at the rate that its pretrained start needs.
    """
    from reelseek.methods.builders import has_joint_space

    config = recipe(name)
    config = replace(
        config,
        data=replace(config.data, root=str(out / "motions"), size=arguments.size),
        method=replace(config.method, backbone=arguments.model),
    )
    if not has_joint_space(backbone):
        return config
    return replace(
        config,
        method=replace(config.method, temporal="transformer", layers=2),
        train=replace(config.train, learning_rate=1e-4),
    )


def _update(
    directory: Path,
    places: Sequence[Path],
    method: Method,
    card: Mapping[str, Any],
    tell: Callable[[int, int], None],
) -> IndexReport:
    """Bring the index up to date. One that another model made is switched: marks given meanwhile outlive that."""
    from reelseek.index.build import update
    from reelseek.index.cards import is_index, open_index
    from reelseek.index.switch import switch

    if is_index(directory) and open_index(directory).model["id"] != method.id:
        switch(directory, method, model_card=card, progress=tell)
        print(f"{directory} had another model; `reelseek index rollback --index {directory}` brings it back.")
    return update(directory, places, method, model_card=card, progress=tell)


def _command() -> str:
    return os.path.relpath(sys.argv[0]) if sys.argv[0].endswith("reelseek") else "reelseek"


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)
