"""All runs of a study, in one process or several, until they are done or the time is up.

A folder holds the plan (`study.json`) and the runs. Workers share nothing but that folder: each takes the first run
that is neither finished nor held by another, so a killed one leaves a run that the next start goes on with.
Not here: one run (`reelseek.study.run`), what the runs show (`reelseek.study.summary`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from reelseek.config import DataConfig
from reelseek.data import GENERATED, load
from reelseek.data.pairs import digest
from reelseek.embed import Progress
from reelseek.errors import CheckpointError, ReelseekError
from reelseek.lock import held
from reelseek.rank.export import write_json
from reelseek.recipes.decoding import cores
from reelseek.recipes.run import Stages
from reelseek.study.plan import Run, Study, benchmark_of, runs_of
from reelseek.study.run import RESULT, Place, embed_ahead, finish, is_finished
from reelseek.study.scoring import Splits

PLAN, FAILED, HELD = "study.json", "failed.txt", ".held"
_POLL = 1.0
_PATIENCE = 60.0


class Plan(NamedTuple):
    """A study with the number of seeds it is run with, and where."""

    study: Study
    seeds: int
    place: Place

    @property
    def runs(self) -> list[Run]:
        """Every run of the grid, in the order in which they are taken."""
        return runs_of(self.study, self.seeds)


class Status(NamedTuple):
    """Where a grid stands. results: result.json of finished runs. failed: reasons. seconds_left: None if unknown."""

    results: dict[Run, dict[str, Any]]
    failed: dict[Run, str]
    total: int
    seconds_left: float | None


class OutOfTime(KeyboardInterrupt):
    """The budget is spent, or nobody waits any more: training saves its state, as it does at Ctrl-C."""


def write_plan(plan: Plan) -> None:
    """Write study.json, with a digest of what each benchmark's texts and videos are, wherever they lie.

    Raises CheckpointError where the folder cannot be written, or holds runs on other data.
    """
    values = {
        "study": plan.study.to_json(),
        "seeds": plan.seeds,
        "data": {name: asdict(data) for name, data in plan.place.data.items()},
        "digests": _digests(plan),
        "cache": str(plan.place.cache.absolute()),
    }
    try:
        write_json(plan.place.out / PLAN, values)
    except OSError as error:
        raise CheckpointError(f"{plan.place.out}: the study cannot be written there ({error.strerror}).") from None


def read_plan(out: Path) -> Plan:
    """The plan of a study's folder. Raises CheckpointError where there is none."""
    try:
        values = json.loads((out / PLAN).read_text(encoding="utf-8"))
        data = {name: DataConfig(**settings) for name, settings in values["data"].items()}
        return Plan(Study.from_json(values["study"]), values["seeds"], Place(out, data, Path(values["cache"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{out} holds no study ({PLAN}: {error}).") from None


def status(plan: Plan, jobs: int = 1) -> Status:
    """What is finished, what failed, and how long the rest takes at the pace of the finished runs."""
    results: dict[Run, dict[str, Any]] = {}
    failed: dict[Run, str] = {}
    for run in plan.runs:
        folder = plan.place.out / run.folder
        if is_finished(plan.study, run, plan.place):
            results[run] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        elif (folder / FAILED).exists():
            failed[run] = (folder / FAILED).read_text(encoding="utf-8")
    return Status(results, failed, len(plan.runs), _seconds_left(plan, results, jobs))


def prepare(plan: Plan, *, deadline: float, progress: Stages) -> None:
    """Embed what the runs that are left will read: processes that start together would each do it.

    deadline: in seconds since the epoch, when it stops. Data that cannot be read is left to the runs, which say so.
    Raises CheckpointError for a folder with runs of other settings or on other data.
    """
    write_plan(plan)
    if time.time() >= deadline:
        return
    finished = status(plan).results
    with suppress(OutOfTime, ReelseekError, ValueError):
        embed_ahead(
            plan.study,
            [run for run in plan.runs if run not in finished],
            plan.place,
            _with_deadline(progress, deadline),
        )


def run_grid(plan: Plan, *, jobs: int, deadline: float, tell: Callable[[Status], None]) -> Status:
    """Run what is left, `jobs` runs at a time, each job a process where there are several; returns where it stands.

    deadline: in seconds since the epoch, when runs save their state and stop. tell: called when a run has ended.
    Raises ReelseekError if a process ended by itself, CheckpointError for a folder with runs of other settings or
    on other data.
    """
    write_plan(plan)
    tell(status(plan, jobs))
    if time.time() >= deadline:
        return status(plan, jobs)
    if jobs == 1:
        work(plan, deadline, lambda: tell(status(plan)))
    else:
        _run_processes(plan, jobs, deadline, tell)
    return status(plan, jobs)


def work(plan: Plan, deadline: float, ended: Callable[[], None], parent: int = 0) -> None:
    """Take runs until none is left or the time is up. parent: a process without which nobody waits for the runs.

    A run that is refused or fails with a known error leaves its reason in its folder, and the others go on.
    """
    splits: dict[str, Splits] = {}
    for run in plan.runs:
        folder = plan.place.out / run.folder
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / HELD) as holder:
            if holder or is_finished(plan.study, run, plan.place):
                continue
            try:
                finish(plan.study, run, plan.place, splits, progress=_until(deadline, parent))
                (folder / FAILED).unlink(missing_ok=True)
            except OutOfTime:
                return
            except (ReelseekError, ValueError) as error:
                # A name in the message may hold bytes that are no UTF-8.
                (folder / FAILED).write_text(str(error), encoding="utf-8", errors="backslashreplace")
        ended()


def _digests(plan: Plan) -> dict[str, str]:
    """The digest of every benchmark that this folder's runs were or will be on, compared with those kept before."""
    try:
        kept = json.loads((plan.place.out / PLAN).read_text(encoding="utf-8"))["digests"]
    except (OSError, ValueError, KeyError):
        kept = {}
    found = {}
    for name, data in plan.place.data.items():
        # What is generated follows from its settings. What cannot be read is told by the runs that are left; a page is
        # written without the videos.
        if data.name not in GENERATED:
            with suppress(ReelseekError, ValueError):
                found[name] = digest(load(data))
    for run in plan.runs:
        name = benchmark_of(plan.study, run.arm)
        begun = (plan.place.out / run.folder / "log.jsonl").exists()
        if begun and name in found and kept.get(name, found[name]) != found[name]:
            raise CheckpointError(
                f"{plan.place.out / run.folder} holds a run on other texts or videos than those of "
                f"{plan.place.data[name].root}. Give the study another folder."
            )
    return {**kept, **found}


def _until(deadline: float, parent: int) -> Stages:
    def check(done: int, total: int) -> None:
        if time.time() >= deadline or (parent and os.getppid() != parent):
            raise OutOfTime

    def stage(name: str) -> Any:
        check(0, 0)
        return nullcontext(check)

    return stage


def _with_deadline(progress: Stages, deadline: float) -> Stages:
    @contextmanager
    def stage(name: str) -> Iterator[Progress]:
        check = _until(deadline, 0)(name)
        with progress(name) as tell, check as look:

            def both(done: int, total: int) -> None:
                tell(done, total)
                look(done, total)

            yield both

    return stage


def _run_processes(plan: Plan, jobs: int, deadline: float, tell: Callable[[Status], None]) -> None:
    threads = str(max(1, cores() // jobs))
    words = [sys.executable, "-m", "reelseek.study.worker", str(plan.place.out), str(deadline), str(os.getpid())]
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    workers = [subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) for _ in range(jobs)]
    ended = -1
    try:
        while any(worker.poll() is None for worker in workers):
            time.sleep(_POLL)
            now = sum(
                1 for run in plan.runs for name in (RESULT, FAILED) if (plan.place.out / run.folder / name).exists()
            )
            if now != ended:
                ended = now
                tell(status(plan, jobs))
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGINT)
        for worker in workers:
            try:
                worker.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
    codes = [worker.returncode for worker in workers if worker.returncode]
    if codes:
        raise ReelseekError(f"a process of the study ended with code {codes[0]}; the same command goes on.")


def _seconds_left(plan: Plan, results: dict[Run, dict[str, Any]], jobs: int) -> float | None:
    if not results:
        return None
    by_arm: dict[str, list[float]] = {}
    for run, result in results.items():
        by_arm.setdefault(run.arm, []).append(result["seconds"])
    usual = fmean(fmean(seconds) for seconds in by_arm.values())
    left = [run for run in plan.runs if run not in results]
    return sum(fmean(by_arm.get(run.arm, [usual])) for run in left) / jobs
