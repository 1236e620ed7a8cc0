"""A study's page, `results.json` and `metrics.csv` from its summary.

The page is one file that loads nothing (templates/study.html). Not here: computing (`reelseek.study.summary`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reelseek.rank.export import write_json, write_metrics_csv
from reelseek.report import environment
from reelseek.study.measures import MEASURES
from reelseek.study.power import planned_detectable

Record = dict[str, Any]


def write_results(summary: Mapping[str, Any], head: Mapping[str, Any], out: Path) -> None:
    """Write results.json, metrics.csv and study.html into `out`.

    head: version, time, machine and command, as other results.json have them. OSError where nothing can be written.
    """
    write_json(out / "results.json", {**head, "study": summary})
    write_metrics_csv(out / "metrics.csv", list(metric_rows(summary)))
    page = (
        environment()
        .get_template("study.html")
        .render(
            **head,
            study=summary,
            power=power_words(summary),
            strips=_strips(summary["arms"], summary["metrics"][0]),
            groups=_groups(summary),
            figures=_figures(summary),
            lower=[name for name in summary["metrics"] if MEASURES[name].lower_is_better],
        )
    )
    (out / "study.html").write_bytes(page.encode("utf-8", "backslashreplace"))


def metric_rows(summary: Mapping[str, Any]) -> list[Record]:
    """One row a scored arm and seed: every metric, and what the arm's runs cost on average."""
    return [
        {
            "study": summary["name"],
            "benchmark": arm["benchmark"],
            "arm": arm["arm"],
            "mode": arm["mode"],
            "seed": seed,
            "queries": arm["queries"][at],
            "transductive": arm["transductive"],
            **{name: spread["by_seed"][at] for name, spread in arm["metrics"].items()},
            "validation R@1": arm["validation"]["by_seed"][at],
            "parameters": arm["parameters"],
            "milliseconds a step": arm["milliseconds_a_step"],
        }
        for arm in summary["arms"]
        for at, seed in enumerate(arm["seeds"])
    ]


def power_words(summary: Mapping[str, Any]) -> str:
    """What differences of the first metric the study could have seen, in a sentence."""
    metric = summary["metrics"][0]
    rows = [row for row in summary["comparisons"] if row["metric"] == metric]
    if not rows:
        return "No comparison has its runs yet."
    # Where two arms decide every query alike, as methods blind to order do with swaps, there is no spread to go by.
    seen = [row["smallest_detectable"] for row in rows if row["smallest_detectable"] > 0]
    if not seen:
        return f"No comparison tells what difference in {metric} could have been seen: no query is decided differently."
    queries = max(row["queries"] for row in rows)
    unit = MEASURES[metric].unit
    words = f"Differences in {metric} that could have been seen: {min(seen):.2f} to {max(seen):.2f} {unit}"
    if len(seen) == 1:
        words = f"The difference in {metric} that could have been seen: {seen[0]:.2f} {unit}"
    words += (
        " (standard errors of the paired difference over seeds and queries, times Student's 97.5 % and 80 % quantiles)"
    )
    if MEASURES[metric].unit == "points":
        words += f"; from the {queries:,} queries alone {planned_detectable(queries):.2f} was to be expected"
    return f"{words}. Whatever is smaller, this study is blind to."


def _strips(arms: Sequence[Record], metric: str) -> list[Record | None]:
    """For each scored arm, its seeds and their mean on one scale of 0 to 100 for the drawing beside its name."""
    found = [arm["metrics"].get(metric) for arm in arms]
    values = [float(value) for spread in found if spread for value in spread["by_seed"]]
    low = min(values, default=0.0)
    reach = (max(values, default=0.0) - low) or 1.0

    def at(value: float) -> float:
        return 4 + 92 * (value - low) / reach

    return [
        {"seeds": [at(value) for value in spread["by_seed"]], "mean": at(spread["mean"])} if spread else None
        for spread in found
    ]


def _groups(summary: Mapping[str, Any]) -> list[Record]:
    """Comparisons by metric, each on one scale around zero."""
    groups = []
    for metric in summary["metrics"]:
        rows = [row for row in summary["comparisons"] if row["metric"] == metric]
        reach = max((abs(value) for row in rows for value in (row["low"], row["high"], *row["by_seed"])), default=0)
        scale = 48 / reach if reach else 0.0
        placed = [
            row
            | {
                "at": {
                    "low": 50 + scale * row["low"],
                    "high": 50 + scale * row["high"],
                    "value": 50 + scale * row["difference"],
                    "seeds": [50 + scale * value for value in row["by_seed"]],
                }
            }
            for row in rows
        ]
        if placed:
            groups.append({"metric": metric, "unit": MEASURES[metric].unit, "rows": placed, "reach": reach})
    return groups


def _figures(summary: Mapping[str, Any]) -> Record:
    """Every figure that there is data for; matplotlib is imported only here."""
    from reelseek.study.plots import Point, cost_plot, lines_plot

    lines = []
    for number, (metric, series) in enumerate(summary["lines"].items()):
        points = [[Point(x, mean, _deviation(by_seed)) for x, mean, by_seed in placed] for placed in series.values()]
        label = f"{metric} over {summary['axis']}"
        svg = lines_plot(points, across=summary["axis"], up=metric, label=label, ident=f"line{number}")
        lines.append({"metric": metric, "names": list(series), "svg": Markup(svg)})
    curves = Markup("")
    if summary["curves"]:
        points = [[Point(epoch, value) for epoch, value in curve] for curve in summary["curves"].values()]
        label = "Validation R@1 over epochs"
        curves = Markup(lines_plot(points, across="epoch", up="validation R@1", label=label, ident="curves"))
    metric = summary["metrics"][0]
    plain = [arm for arm in summary["arms"] if arm["mode"] == "plain" and metric in arm["metrics"]]
    cost = Markup("")
    if plain:
        points_of = [
            Point(arm["milliseconds_a_step"], arm["metrics"][metric]["mean"], arm["metrics"][metric]["sd"] or 0.0)
            for arm in plain
        ]
        cost = Markup(cost_plot(points_of, up=metric, label=f"{metric} against cost", ident="cost"))
    return {
        "lines": lines,
        "curves": curves,
        "curve_names": list(summary["curves"]),
        "cost": cost,
        "cost_names": [arm["name"] for arm in plain],
    }


def _deviation(by_seed: Sequence[float]) -> float:
    if len(by_seed) < 2:
        return 0.0
    mean = sum(by_seed) / len(by_seed)
    return float((sum((value - mean) ** 2 for value in by_seed) / (len(by_seed) - 1)) ** 0.5)
