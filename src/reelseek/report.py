"""results.json -> one self-contained HTML page: tables, figures, thumbnails; it opens offline and prints.

Not here: checking (`reelseek.report_schema`), drawing (`reelseek.report_plots`), the page (templates/report.html),
and any computing of metrics: a report shows what was recorded.

The schema of results.json. Only the fields marked * are needed, where their part is given; every other field may be
missing or null, and its part of the page is then left out. Fields that are not listed are named at the page's end.

    reelseek        version of the package that wrote the results
    created         date and time, ISO 8601
    machine         {"cpu", "cores", "torch", "threads", or any other name: string or number}
    command         the command line
    runs            [{name*, method, backbone, trained_on, parameters: trained ones, without the towers', seconds,
                      protocol: {split, texts_found, texts_missing, videos_found, videos_missing, dropped,
                                 complete: bool, standard: the published split's name or "", ties, rescoring,
                                 prior, bank_texts, bank_videos, transductive: bool, relevance,
                                 contrasts: {name: count}, frames, sampling, video_to_text},
                      metrics: {"text_to_video": {"R@1": percent, ..., "MdR": rank, "MnR": rank}, "video_to_text": ...,
                                "text_to_video_corrected": ..., "video_to_text_corrected": ...},
                      contrasts: {name: percent in which the right video scores higher},
                      intervals: {"text_to_video": {"R@1": [low, high], ...}, ...}    95 % intervals
                      curves: {name: [[step, value], ...]},       one figure a name, one line a run
                      ranks: [rank of the right video, from 1, a query],
                      similarity: [[score, ...], ...],            rows texts, columns videos, at most 100 x 100
                      gap: {before, after: {distance, points_text: [[x, y], ...], points_video: ...}}}]
    comparisons     [{a*, b*, metric*, transductive: bool, difference: a minus b, low, high, p_value,
                      smallest_detectable, queries, groups: how many independent ones these make}]
    examples        [{run, text*, wanted: {video, thumbnail}, rank, found: [{video, score, thumbnail, right: bool}]}]
    searches        [{model, trained_on, query*, hits: [{path*, start, end, score, thumbnail}]}]
    broken          [{path*, reason}]
    notes           [string]

Thumbnails are data: URIs. Times are seconds. Differences of R@k are percentage points, of MdR and MnR ranks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reelseek.rank.compare import agreement
from reelseek.report_schema import read_results

Record = dict[str, Any]

_METRICS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")
_LOWER_IS_BETTER = ("MdR", "MnR")
_DIRECTIONS = {
    "text_to_video": "Text to video",
    "video_to_text": "Video to text",
    "text_to_video_corrected": "Text to video, all true matches right",
    "video_to_text_corrected": "Video to text, all true matches right",
}


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Writes the page that shows `results` (see the schema above) to `path`.

    Raises:
        DataError: a part of `results` has the wrong type; the message names the place.
        OSError: the file cannot be written.
    """
    known, unknown = read_results(results)
    page = (
        environment()
        .get_template("report.html")
        .render(
            known,
            tables=[_table(known["runs"], key) for key in _directions(known["runs"])],
            bars=_bars(known["runs"]),
            verdicts=[_verdict(comparison) for comparison in known["comparisons"]],
            figures=_figures(known["runs"]),
            directions=_DIRECTIONS,
            unknown=unknown,
        )
    )
    # a file name may hold bytes that are no text; they are shown as escapes instead of stopping the report
    path.write_bytes(page.encode("utf-8", "backslashreplace"))


def environment() -> Environment:
    """The templates of pages, with the filters that write numbers and times."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(count=_count, decimals=_decimals, clock=_clock, lasting=_lasting, day=_day, percent=_percent)
    return made


def _count(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.0f}"


def _decimals(value: float | None, places: int = 1, sign: bool = False) -> str:
    if value is None:
        return "n/a"
    text = f"{value:+.{places}f}" if sign else f"{value:.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _percent(value: float) -> str:
    """A coordinate of a drawing on a 0 to 100 scale."""
    return f"{min(100.0, max(0.0, value)):.2f}"


def _clock(seconds: float | None) -> str:
    """Seconds as 1:02:03, 2:03 or, where it matters, 2:03.5."""
    if seconds is None:
        return "n/a"
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    tail = f"{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{minutes // 60}:{minutes % 60:02d}:{tail}" if minutes >= 60 else f"{minutes}:{tail}"


def _lasting(seconds: float | None) -> str:
    if seconds is None:
        return "n/a"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _day(created: str) -> str:
    """2026-01-31T14:05:59+00:00 -> 2026-01-31 14:05; anything else as it is."""
    match = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)", created)
    return f"{match[1]} {match[2]}" if match else created


def _directions(runs: Sequence[Record]) -> list[str]:
    """The directions that any run has metrics of: the two known ones first."""
    present = {key for run in runs for key, metrics in run["metrics"].items() if metrics}
    return [key for key in _DIRECTIONS if key in present] + sorted(present - set(_DIRECTIONS))


def _table(runs: Sequence[Record], direction: str) -> Record:
    measured = [run for run in runs if run["metrics"].get(direction)]
    names = {name for run in measured for name in run["metrics"][direction]}
    columns = [name for name in _METRICS if name in names] + sorted(names - set(_METRICS))
    rows = [
        {
            "run": run,
            "protocol": _protocol(run["protocol"], run["contrasts"]),
            "cells": [
                (name, run["metrics"][direction].get(name), run["intervals"].get(direction, {}).get(name))
                for name in columns
            ],
        }
        for run in measured
    ]
    return {"title": _DIRECTIONS.get(direction, direction), "columns": columns, "rows": rows}


def _protocol(protocol: Record, contrasts: Mapping[str, float | None]) -> Record:
    """How a number was made: plain facts, and warnings that a reader must not miss; contrasts are said beside them."""
    facts: list[str] = []
    warnings: list[str] = []
    if protocol["split"]:
        facts.append(f"split {protocol['split']}")
    for kind in ("texts", "videos"):
        found, missing = protocol[f"{kind}_found"], protocol[f"{kind}_missing"]
        if found is not None:
            facts.append(f"{found:,.0f} {kind} found" + (f", {missing:,.0f} missing" if missing is not None else ""))
    labels = ("relevance", "ties", "rescoring", "prior", "frames", "sampling", "video_to_text")
    facts += [f"{key.replace('_', ' ')}: {protocol[key]}" for key in labels if protocol[key] is not None]
    if protocol["bank_texts"]:
        facts.append(f"bank: {_count(protocol['bank_texts'])} texts, {_count(protocol['bank_videos'])} videos")
    for name, percent in contrasts.items():
        facts.append(f"{name}: {_decimals(percent)} % of {_count(protocol['contrasts'].get(name))} contrasts right")
    if protocol["dropped"]:
        facts.append(f"{_count(protocol['dropped'])} captions or rows dropped")
    standard = protocol["standard"]
    whole = not (protocol["complete"] is False or protocol["texts_missing"] or protocol["videos_missing"])
    if not whole:
        lacking = protocol["texts_missing"] or protocol["videos_missing"] or not protocol["dropped"]
        warnings.append(
            f"not the standard split {standard}" if standard else "incomplete split" if lacking else "not all rows used"
        )
    if protocol["transductive"]:
        warnings.append("transductive: reads the other test queries")
    if not facts:
        warnings.append("protocol not recorded")
    if protocol["complete"] and whole:
        # Results of before do not say whether there is a standard split.
        words = {None: "complete split", "": "nothing missing"}
        facts.append(words.get(standard, f"the standard split {standard}"))
    if protocol["transductive"] is False:
        facts.append("not transductive")
    return {"facts": facts, "warnings": warnings}


def _bars(runs: Sequence[Record]) -> list[Record]:
    """R@1 from text to video, run by run, for the chart at the top; with its split where not all have the same."""
    bars = []
    alike = len({run["protocol"]["split"] for run in runs}) == 1
    for number, run in enumerate(runs):
        value = run["metrics"].get("text_to_video", {}).get("R@1")
        if value is not None:
            interval = run["intervals"].get("text_to_video", {}).get("R@1")
            warnings = _protocol(run["protocol"], {})["warnings"]
            warnings += [] if alike else [f"on {run['protocol']['split'] or 'a split not recorded'}"]
            bars.append(
                {"name": run["name"], "colour": number % 8, "value": value, "interval": interval}
                | {"warnings": warnings}
            )
    return bars


def _verdict(comparison: Record) -> Record:
    """A comparison in words: which is better, or that no difference was seen and what could have been seen.

    A difference counts as seen when everything recorded agrees: the interval leaves out zero, and p is below 0.05.
    """
    low, high, p_value = comparison["low"], comparison["high"], comparison["p_value"]
    unit = "ranks" if comparison["metric"] in _LOWER_IS_BETTER else "points"
    state = agreement(low, high, p_value)
    # 0 stands where every query came out alike: that says nothing of what could have been seen
    detectable = comparison["smallest_detectable"] or None
    could = (
        f"could have seen {_decimals(detectable, 2)} {unit}" if detectable is not None else "its power is not recorded"
    )
    if comparison["difference"] is None or (p_value is None and (low is None or high is None)):
        state, words = "open", "not tested"
    elif state == "seen":
        a_is_better = (comparison["difference"] > 0) != (comparison["metric"] in _LOWER_IS_BETTER)
        better, worse = (comparison["a"], comparison["b"]) if a_is_better else (comparison["b"], comparison["a"])
        words = f"{better} is better than {worse}"
    elif state == "open":
        words = f"undecided: the interval and the test disagree; {could}"
    elif comparison["difference"] == comparison["smallest_detectable"] == 0:
        words = "no query is decided differently"
    else:
        words = f"no difference seen; {could}"
    reach = max(
        (abs(value) for value in (low, high, comparison["difference"], detectable) if value is not None), default=0
    )
    scale = 48 / reach if reach else 0
    return comparison | {
        "state": state,
        "words": words,
        "smallest_detectable": detectable,
        "unit": unit,
        "p_words": "n/a" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}",
        "at": {
            key: None if value is None else 50 + scale * value
            for key, value in (("low", low), ("high", high), ("value", comparison["difference"]))
        },
    }


def _figures(runs: Sequence[Record]) -> Record:
    """Every figure that the runs have data for, drawn; matplotlib is imported only here."""
    from reelseek import report_plots as plots

    numbered = list(enumerate(runs))
    ranks = {number: [rank for rank in run["ranks"] if rank is not None] for number, run in numbered}
    ranks = {number: values for number, values in ranks.items() if values}
    curves = []
    for place, name in enumerate(_curve_names(runs)):
        series = {number: [point for point in run["curves"].get(name, []) if point] for number, run in numbered}
        series = {number: points for number, points in series.items() if points}
        if series:
            svg = plots.curve_plot(series, label=f"{name} over training steps", ident=f"curve{place}")
            curves.append({"name": name, "svg": Markup(svg), "runs": list(series)})
    cumulative = plots.cumulative_plot(ranks, label="Share of queries by rank", ident="cumulative") if ranks else ""
    bands = plots.rank_plot(ranks, label="Share of queries in bands of rank", ident="ranks") if ranks else ""
    maps = [
        {
            "run": run["name"],
            "svg": Markup(
                plots.similarity_plot(run["similarity"], label=f"Scores of {run['name']}", ident=f"map{number}")
            ),
        }
        for number, run in numbered
        if any(value is not None for row in run["similarity"] for value in row)
    ]
    gaps = [{"run": run["name"], "panes": panes} for number, run in numbered if (panes := _gap_panes(run, number))]
    return {
        "curves": curves,
        "cumulative": Markup(cumulative),
        "bands": Markup(bands),
        "maps": maps,
        "gaps": gaps,
        "ranked": list(ranks),
    }


def _curve_names(runs: Iterable[Record]) -> list[str]:
    """Names of curves in the order in which they first appear."""
    return list(dict.fromkeys(name for run in runs for name in run["curves"]))


def _gap_panes(run: Record, number: int) -> list[Record]:
    from reelseek import report_plots as plots

    panes = []
    for when in ("before", "after"):
        gap = run["gap"][when]
        if gap is None:
            continue
        texts, videos = ([point for point in gap[key] if point] for key in ("points_text", "points_video"))
        label = f"Texts and videos of {run['name']}, {when}"
        svg = plots.gap_plot(texts, videos, label=label, ident=f"gap{number}{when}") if texts or videos else ""
        panes.append({"when": when, "distance": gap["distance"], "svg": Markup(svg)})
    return panes
