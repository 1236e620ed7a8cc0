"""What the finished runs of a study show: means over seeds, paired differences, cost, and what is missing.

Not here: the page (`reelseek.study.page`). Shapes: S seeds, T queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reelseek.study.grid import Plan, Status
from reelseek.study.measures import BY_LOT, CORRECTED, MEASURES, STRICT, values_of
from reelseek.study.plan import PLAIN, Run, modes_of, scored
from reelseek.study.power import SeededDifference, paired_over_seeds
from reelseek.study.run import load_arrays

Record = dict[str, Any]
Arrays = Mapping[Run, Mapping[str, np.ndarray]]


def summarise(plan: Plan, found: Status) -> Record:
    """Everything that the page shows, as plain values.

    arms: every arm in every mode with mean, standard deviation and value by seed of each metric, queries by seed, and
    cost. comparisons: see `reelseek.study.power.SeededDifference`; with "seeds", and "a_arm" where a family chose an
    arm. chosen: the arm of every family. missing: runs that are not there, and why. lines: points of its figure.
    """
    arrays = {run: load_arrays(plan.place.out / run.folder) for run in found.results}
    chosen = _chosen(plan, found)
    arms = [
        _arm_record(plan, found, arrays, arm, mode)
        for mode in modes_of(plan.study)
        for arm in plan.study.arms
        if _seeds(plan, arrays, arm)
    ]
    comparisons = [
        record
        for pair in plan.study.comparisons
        for metric in plan.study.metrics
        if (record := _comparison(plan, found, arrays, chosen, pair, metric)) is not None
    ]
    return {
        "name": plan.study.name,
        "question": plan.study.question,
        "benchmark": plan.study.benchmark,
        "metrics": list(plan.study.metrics),
        "seeds": plan.seeds,
        "minutes": plan.study.minutes,
        "arms": arms,
        "comparisons": comparisons,
        "chosen": chosen,
        "lines": _lines(plan, arms, chosen),
        "axis": plan.study.axis,
        "curves": _curves(plan, found),
        "protocols": _protocols(found),
        "missing": [_missing(found, run) for run in plan.runs if run not in found.results],
        "notes": [*plan.study.notes, *_uneven(found)],
        "runs": {"finished": len(found.results), "planned": found.total},
        "training_seconds": sum(result["training_seconds"] for result in found.results.values()),
        "seconds": sum(result["seconds"] for result in found.results.values()),
    }


def _seeds(plan: Plan, arrays: Arrays, arm: str) -> list[int]:
    return [seed for seed in range(plan.seeds) if Run(arm, seed) in arrays]


class _Queries(NamedTuple):
    """A metric's numbers of one run [T]: text ids, videos, values."""

    ids: np.ndarray
    videos: np.ndarray
    values: np.ndarray


def _queries(arrays: Arrays, arm: str, mode: str, metric: str, seed: int) -> _Queries | None:
    """None where the data has no such numbers."""
    table, of_run = MEASURES[metric].table, arrays[Run(arm, seed)]
    if f"{table}|{mode}" not in of_run:
        return None
    prefix = "" if table in (STRICT, CORRECTED, BY_LOT) else f"{table} "
    values = values_of(metric, of_run[f"{table}|{mode}"])
    return _Queries(of_run[f"{prefix}ids|{mode}"], of_run[f"{prefix}videos|{mode}"], values)


def _shared(runs: Sequence[_Queries]) -> list[_Queries]:
    """The queries that every run answered: a file can be damaged, or mended, between two of them."""
    if all(np.array_equal(run.ids, runs[0].ids) for run in runs):
        return list(runs)
    counts = [Counter(run.ids.tolist()) for run in runs]
    in_all = [name for name, count in counts[0].items() if all(other[name] == count for other in counts)]
    kept = [_Queries(*(column[np.isin(run.ids, in_all)] for column in run)) for run in runs]
    return [_Queries(*(column[np.argsort(run.ids, kind="stable")] for column in run)) for run in kept]


def _arm_record(plan: Plan, found: Status, arrays: Arrays, arm: str, mode: str) -> Record:
    seeds = _seeds(plan, arrays, arm)
    results = [found.results[Run(arm, seed)] for seed in seeds]
    metrics = {}
    for metric in plan.study.metrics:
        runs = [_queries(arrays, arm, mode, metric, seed) for seed in seeds]
        if all(run is not None for run in runs):
            metrics[metric] = _spread([run.values.mean() for run in runs if run is not None])
    return {
        "name": arm if mode == PLAIN else f"{arm} | {mode}",
        "arm": arm,
        "benchmark": results[0]["benchmark"],
        "mode": mode,
        "seeds": seeds,
        "metrics": metrics,
        "queries": [len(arrays[Run(arm, seed)][f"ids|{mode}"]) for seed in seeds],
        "transductive": bool(results[0]["protocols"][mode]["transductive"]),
        "parameters": results[0]["parameters"],
        "milliseconds_a_step": 1000 * float(np.mean([result["seconds_a_step"] for result in results])),
        "steps": results[0]["steps"],
        "run_seconds": float(np.mean([result["seconds"] for result in results])),
        "threads": results[0]["threads"],
        "validation": _spread([result["best_validation"] for result in results]),
    }


def _spread(values_S: Any) -> Record:
    values_S = np.asarray(values_S, dtype=np.float64)
    deviation = float(values_S.std(ddof=1)) if len(values_S) > 1 else None
    return {"mean": float(values_S.mean()), "sd": deviation, "by_seed": values_S.tolist()}


def _chosen(plan: Plan, found: Status) -> dict[str, str]:
    """The arm that stands for each family: the best mean validation R@1 over the seeds that all its arms have."""
    chosen = {}
    for family, members in plan.study.families.items():
        shared = [seed for seed in range(plan.seeds) if all(Run(arm, seed) in found.results for arm in members)]
        if shared:
            means = {
                arm: np.mean([found.results[Run(arm, seed)]["best_validation"] for seed in shared]) for arm in members
            }
            chosen[family] = max(members, key=lambda arm: means[arm])
    return chosen


def _comparison(
    plan: Plan, found: Status, arrays: Arrays, chosen: Mapping[str, str], pair: tuple[str, str], metric: str
) -> Record | None:
    """A minus B on the seeds that both have and the queries that all these runs answered; None where there are none.

    Captions alone and beside others of their video are not the same queries.
    """
    (arm_a, mode_a), (arm_b, mode_b) = scored(pair[0]), scored(pair[1])
    arm_a, arm_b = chosen.get(arm_a, arm_a), chosen.get(arm_b, arm_b)
    modes = modes_of(plan.study)
    if modes[mode_a].captions != modes[mode_b].captions:
        return None
    seeds = [seed for seed in _seeds(plan, arrays, arm_a) if Run(arm_b, seed) in arrays]
    if not seeds:
        return None
    sides = [(arm, mode, seed) for arm, mode in ((arm_a, mode_a), (arm_b, mode_b)) for seed in seeds]
    runs = [run for arm, mode, seed in sides if (run := _queries(arrays, arm, mode, metric, seed)) is not None]
    if len(runs) < len(sides):
        return None
    runs = _shared(runs)
    if not len(runs[0].ids):
        return None
    values = np.stack([run.values for run in runs])
    result = paired_over_seeds(values[: len(seeds)], values[len(seeds) :], runs[0].videos)
    return {
        "a": pair[0],
        "b": pair[1],
        "a_arm": arm_a,
        "b_arm": arm_b,
        "metric": metric,
        "unit": MEASURES[metric].unit,
        "transductive": any(
            found.results[Run(arm, seeds[0])]["protocols"][mode]["transductive"]
            for arm, mode in ((arm_a, mode_a), (arm_b, mode_b))
        ),
        "seeds": seeds,
        **result._asdict(),
        **_verdict(pair, result, lower_is_better=MEASURES[metric].lower_is_better, unit=MEASURES[metric].unit),
    }


def _verdict(pair: tuple[str, str], result: SeededDifference, *, lower_is_better: bool, unit: str) -> Record:
    """What a comparison came to. "better" is said only where the interval leaves out zero, over more than one seed."""
    low, high = result.low, result.high
    if result.difference == result.standard_error == 0:
        return {"state": "unseen", "words": "no query is decided differently"}
    if low <= 0 <= high:
        could = f"could have seen {result.smallest_detectable:.2f} {unit}"
        return {"state": "unseen", "words": f"no difference seen; {could}"}
    ahead, behind = pair if (result.difference > 0) != lower_is_better else pair[::-1]
    if len(result.by_seed) < 2:
        return {"state": "open", "words": f"{ahead} ahead with one seed: another seed may turn it round"}
    return {"state": "seen", "words": f"{ahead} is better than {behind}"}


def _lines(plan: Plan, arms: Sequence[Record], chosen: Mapping[str, str]) -> Record:
    """By metric, by line: [number, mean, by seed] of every point that is there."""
    by_name = {record["name"]: record for record in arms}
    drawn: Record = {}
    for metric in plan.study.metrics:
        for line, points in plan.study.lines.items():
            for number, name in points:
                arm, mode = scored(name)
                arm = chosen.get(arm, arm)
                record = by_name.get(arm if mode == PLAIN else f"{arm} | {mode}")
                if record is not None and metric in record["metrics"]:
                    spread = record["metrics"][metric]
                    drawn.setdefault(metric, {}).setdefault(line, []).append(
                        [number, spread["mean"], spread["by_seed"]]
                    )
    return drawn


def _curves(plan: Plan, found: Status) -> Record:
    """Validation R@1 by epoch of every arm, the mean over its seeds."""
    curves = {}
    for arm in plan.study.arms:
        runs = [result["validation"] for run, result in found.results.items() if run.arm == arm]
        shortest = min(map(len, runs), default=0)
        if shortest:
            curves[arm] = [
                [runs[0][at][0], float(np.mean([validation[at][1] for validation in runs]))] for at in range(shortest)
            ]
    return curves


def _protocols(found: Status) -> Record:
    """The protocol of every mode, by benchmark."""
    protocols: Record = {}
    for result in found.results.values():
        protocols.setdefault(result["benchmark"], result["protocols"])
    return protocols


def _uneven(found: Status) -> list[str]:
    """For every benchmark of which runs tested different videos what is compared then."""
    counts: dict[str, set[int]] = {}
    for result in found.results.values():
        counts.setdefault(result["benchmark"], set()).add(result["protocols"][PLAIN]["texts_found"])
    return [
        f"Runs on {name} answered {min(several):,} to {max(several):,} queries, as not all could read the same videos. "
        "Comparisons are over the queries that all their runs answered."
        for name, several in counts.items()
        if len(several) > 1
    ]


def _missing(found: Status, run: Run) -> Record:
    return {"arm": run.arm, "seed": run.seed, "reason": found.failed.get(run, "not run yet")}
