"""`reelseek study`: a named grid of training runs over seeds, and one page of what it showed."""

from __future__ import annotations

import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from reelseek.app.terminal import clock, parser, printable, progress, table
from reelseek.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from reelseek.study.grid import Plan, Status
    from reelseek.study.plan import Study


def parse(words: Sequence[str]) -> Namespace:
    """NAME --out DIR [--data DIR] [--towers NAME] [--arms ARM ...] [--seeds N] [--jobs N] [--budget MIN] | --list."""
    options = parser("study", "Run a study: every arm with every seed, then tables, intervals and plots on one page.")
    options.add_argument("study", metavar="NAME", nargs="?", default="", help="a study of --list")
    options.add_argument("--list", action="store_true", help="name the studies and what each would run")
    options.add_argument("--out", default="", metavar="DIR", help="the study's folder instead of studies/NAME")
    options.add_argument("--data", default="", metavar="DIR", help="where its data is, or is made")
    options.add_argument(
        "--towers", default="", metavar="NAME", help="towers below every arm, as method.backbone takes them"
    )
    options.add_argument("--arms", nargs="+", default=[], metavar="ARM", help="these arms or families alone")
    options.add_argument("--seeds", type=int, default=None, help="seeds an arm instead of the study's own number")
    options.add_argument("--jobs", type=int, default=1, help="runs at a time, each a process of its own")
    options.add_argument(
        "--budget",
        type=float,
        default=None,
        metavar="MINUTES",
        help="stop after so long instead of the study's time; 0 only writes the page of what is there",
    )
    options.add_argument("--cache", default="", metavar="DIR", help="folder of tower outputs instead of the usual one")
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Run what is left of the study and write its page; exit code 0 even where the budget left runs undone."""
    from reelseek.study.studies import STUDIES, study_named

    if arguments.list:
        _list(STUDIES.values())
        return 0
    if not arguments.study:
        raise ConfigError(f"name a study: {', '.join(STUDIES)}.")
    for name, least in (("seeds", 1), ("jobs", 1), ("budget", 0)):
        given = getattr(arguments, name)
        if given is not None and given < least:
            raise ConfigError(f"--{name} must be at least {least}, not {given}.")
    study = study_named(arguments.study)
    from reelseek.study.grid import prepare, run_grid
    from reelseek.study.plan import lacks_towers, over_towers, with_arms

    if arguments.arms:
        study = with_arms(study, arguments.arms)
    if arguments.towers:
        towers = Path(arguments.towers)
        study = over_towers(study, str(towers.absolute()) if towers.exists() else arguments.towers)
    if lacks_towers(study):
        raise ConfigError(f"{study.name} trains towers along: name those that it starts from with --towers.")

    plan = _plan(study, arguments)
    minutes = study.minutes if arguments.budget is None else arguments.budget
    print(f"{study.name}: {study.question}")
    print(
        f"{len(study.arms)} arms x {plan.seeds} seeds = {len(plan.runs)} runs, {len(study.modes) + 1} ways of scoring; "
        f"it stops after {minutes:g} minutes, and the same command goes on."
    )
    print(f"Arms: {'; '.join(study.arms)}.")
    deadline = time.time() + 60 * minutes
    if arguments.jobs > 1:
        prepare(plan, deadline=deadline, progress=progress)
    with _telling(plan) as tell:
        found = run_grid(plan, jobs=arguments.jobs, deadline=deadline, tell=tell)
    return _write(plan, found, arguments)


def _plan(study: Study, arguments: Namespace) -> Plan:
    """The study with its data in place: generated where that is its kind, and refused early where it is not there.

    With no time for runs the data is left alone.
    """
    from reelseek.recipes.run import cache_folder
    from reelseek.study.benchmarks import make, place
    from reelseek.study.grid import Plan
    from reelseek.study.plan import benchmark_of, check
    from reelseek.study.run import Place

    check(study)
    data = {name: place(name, arguments.data) for name in dict.fromkeys(benchmark_of(study, arm) for arm in study.arms)}
    for name, settings in data.items():
        if not settings.root:
            what = "your videos and captions" if name == "folder" else name
            raise ConfigError(f"{study.name} reads a data set that is not made: name the folder of {what} with --data.")
        if arguments.budget != 0:
            with progress(f"making {name}") as tell:
                make(name, settings, tell)
    out = Path(arguments.out or f"studies/{study.name}")
    cache = Path(arguments.cache) if arguments.cache else cache_folder()
    return Plan(study, study.seeds if arguments.seeds is None else arguments.seeds, Place(out, data, cache))


@contextmanager
def _telling(plan: Plan) -> Iterator[Callable[[Status], None]]:
    """A table of the arms that follows the runs on a terminal; elsewhere a line for every run that ends."""
    if not sys.stdout.isatty():
        yield _line_by_line()
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield lambda status: live.update(_state(plan, status), refresh=True)


def _state(plan: Plan, status: Status) -> RichTable:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    sheet = Table(box=box.SIMPLE_HEAD, show_edge=False, caption=_standing(status), caption_justify="left")
    for column in ("arm", "runs", "validation R@1", "seconds"):
        sheet.add_column(column, justify="left" if column == "arm" else "right")
    for arm in plan.study.arms:
        done = [result for run, result in status.results.items() if run.arm == arm]
        failed = any(run.arm == arm for run in status.failed)
        means = [
            f"{fmean(result[key] for result in done):.1f}" if done else "" for key in ("best_validation", "seconds")
        ]
        sheet.add_row(escape(arm), f"{len(done)} of {plan.seeds}{', failed' if failed else ''}", *means)
    return sheet


def _standing(status: Status) -> str:
    left = f"about {clock(status.seconds_left)} to go" if status.seconds_left is not None else ""
    left = left or "the first run will tell how long it takes"
    return f"{len(status.results)} of {status.total} runs are there; {left}."


def _line_by_line() -> Callable[[Status], None]:
    told: set[object] = set()
    first = True

    def tell(status: Status) -> None:
        nonlocal first
        for run, result in status.results.items():
            if run not in told and not first:
                print(f"{run.arm}, seed {run.seed}: validation R@1 {result['best_validation']:.1f}")
            told.add(run)
        for run, reason in status.failed.items():
            if run not in told:
                print(f"failed  {run.arm}, seed {run.seed}: {printable(reason)}", file=sys.stderr, flush=True)
            told.add(run)
        print(_standing(status), flush=True)
        first = False

    return tell


def _write(plan: Plan, found: Status, arguments: Namespace) -> int:
    from reelseek.app.results import results_record
    from reelseek.study.page import power_words, write_results
    from reelseek.study.summary import summarise

    summary = summarise(plan, found)
    words = ["reelseek", "study", plan.study.name, *(["--data", arguments.data] if arguments.data else [])]
    words += ["--towers", arguments.towers] if arguments.towers else []
    words += ["--arms", *arguments.arms] if arguments.arms else []
    words += ["--out", str(plan.place.out), "--seeds", str(plan.seeds), "--jobs", str(arguments.jobs)]
    head = results_record(shlex.join(words))
    kept = ("reelseek", "created", "machine", "command")
    write_results(summary, {name: head[name] for name in kept}, plan.place.out)
    metrics = summary["metrics"]
    rows = [
        [_labelled(arm["name"], arm), *(_cell(arm["metrics"].get(name)) for name in metrics), str(len(arm["seeds"]))]
        for arm in summary["arms"]
    ]
    table("", ["arm", *metrics, "seeds"], rows, right=range(1, len(metrics) + 2))
    print(power_words(summary))
    seen = [row for row in summary["comparisons"] if row["metric"] == metrics[0]]
    table(
        "",
        ["difference", metrics[0], "95 % interval", "finding"],
        [_difference_cells(row) for row in seen],
        right=[1, 2],
    )
    if summary["missing"]:
        print(f"{len(summary['missing'])} of {found.total} runs are missing; the same command goes on with them.")
    print(f"{plan.place.out / 'study.html'}, results.json and metrics.csv are written.")
    return 0


def _cell(spread: dict[str, float] | None) -> str:
    if spread is None:
        return "n/a"
    return f"{spread['mean']:.1f}" + (f" ± {spread['sd']:.1f}" if spread["sd"] is not None else "")


def _difference_cells(row: dict[str, Any]) -> list[str]:
    interval = f"{row['low']:.2f} to {row['high']:.2f}"
    pair = _labelled(f"{row['a']} - {row['b']}", row)
    return [pair, f"{row['difference']:+.2f}", interval, row["words"]]


def _labelled(name: str, record: dict[str, Any]) -> str:
    return f"{name} (transductive)" if record["transductive"] else name


def _list(studies: Iterable[Study]) -> None:
    rows = [
        [study.name, study.benchmark, str(len(study.arms)), str(study.seeds), f"{study.minutes} min", study.question]
        for study in studies
    ]
    table("", ["study", "data", "arms", "seeds", "budget", "question"], rows, right=[2, 3, 4])
