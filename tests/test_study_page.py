"""What a study says of its runs, from drawn ranks to the page: nothing is better that the interval does not bear."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelseek.study import summary as summary_unit
from reelseek.study.grid import Plan, Status
from reelseek.study.page import metric_rows, power_words, write_results
from reelseek.study.plan import Mode, Run, Study
from reelseek.study.plots import Point, cost_plot, lines_plot
from reelseek.study.power import SeededDifference
from reelseek.study.run import Place
from reelseek.study.summary import summarise

HOSTILE = "<img src=x onerror=alert(1)> & 'arm'"
HEAD = {"reelseek": "9.9", "created": "2026-01-02T03:04:05", "machine": {"cpu": "a cpu"}, "command": "reelseek study x"}
QUERIES = 900


def study_of(**changes: Any) -> Study:
    values: dict[str, Any] = {
        "arms": {"low": {}, "high": {}, "same": {}, HOSTILE: {}, "never run": {}},
        "comparisons": (("high", "low"), ("low", "high"), ("same", "low"), ("best", "low"), ("never run", "low")),
        "modes": {"dual": Mode({"rescoring": "dual_softmax"})},
        "families": {"best": ("same", "high")},
        "metrics": ("R@1", "MnR", "swap"),
        "lines": {"high": ((0.0, "low"), (50.0, "high")), HOSTILE: ((0.0, HOSTILE), (50.0, "best"))},
        "axis": "% of something",
        "seeds": 3,
        **changes,
    }
    return Study(name="drawn", question=f"What of {HOSTILE}?", benchmark="folder", **values)


def ranks_of(arm: str, seed: int) -> np.ndarray:
    """Ranks of 1 for about 40 % of the queries, 60 % for "high"; "same" differs from "low" by chance alone."""
    hard_T = np.random.default_rng(0).random(QUERIES)
    noise_T = np.random.default_rng([len(arm), ord(arm[0]), seed]).normal(0, 0.05, QUERIES)
    return np.where(hard_T + noise_T < (0.6 if arm == "high" else 0.4), 1.0, 3.0)


def arrays_of(arm: str, seed: int) -> dict[str, np.ndarray]:
    ids = np.array([f"t{query}" for query in range(QUERIES)])
    videos = np.array([f"v{query // 3}" for query in range(QUERIES)])
    arrays: dict[str, np.ndarray] = {}
    for mode in ("plain", "dual"):
        ranks_T = ranks_of(arm, seed)
        arrays |= {
            f"strict|{mode}": ranks_T,
            f"corrected|{mode}": ranks_T,
            f"ids|{mode}": ids,
            f"videos|{mode}": videos,
        }
    wins_N = np.arange(90) % 3 == seed
    return arrays | {"swap|plain": wins_N * 1.0, "swap ids|plain": ids[:90], "swap videos|plain": videos[:90]}


def result_of(arm: str, seed: int) -> dict[str, Any]:
    protocol = {
        "split": f"test of {HOSTILE}", "texts_found": len(arrays_of(arm, seed)["ids|plain"]), "videos_found": 300,
        "galleries": 3, "gallery_videos": 100, "ties": "against", "frames": 12, "transductive": False,
    }  # fmt: skip
    best = {"low": 40.0, "high": 61.0, "same": 42.0}.get(arm, 39.0)
    return {
        "benchmark": "folder", "parameters": 1234, "seconds_a_step": 0.01 * (1 + len(arm)), "steps": 720,
        "training_seconds": 7.2, "seconds": 30.0, "threads": 1, "best_validation": best,
        "validation": [[1, best - 5], [2, best]],
        "protocols": {"plain": protocol, "dual": {**protocol, "transductive": True}},
    }  # fmt: skip


def summary_of(study: Study, seeds: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The summary of drawn runs; every arm but "never run" has all its seeds, and the hostile one a single seed."""
    plan = Plan(study, seeds, Place(tmp_path, {}, tmp_path))
    runs = [run for run in plan.runs if run.arm != "never run" and (run.arm != HOSTILE or run.seed == 0)]
    folders = {run.folder: run for run in runs}
    monkeypatch.setattr(
        summary_unit,
        "load_arrays",
        lambda folder: arrays_of(*folders[str(folder.relative_to(tmp_path))]),
    )
    results = {run: result_of(*run) for run in runs}
    failed = {Run("never run", 0): f"it cannot: {HOSTILE}"}
    return summarise(plan, Status(results, failed, len(plan.runs), None))


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    return summary_of(study_of(), 3, monkeypatch, tmp_path)


def comparison(summary: dict[str, Any], a: str, b: str, metric: str) -> dict[str, Any]:
    (found,) = (row for row in summary["comparisons"] if (row["a"], row["b"], row["metric"]) == (a, b, metric))
    return found


def test_means_and_deviations_are_over_seeds(summary: dict[str, Any]) -> None:
    by_seed = [100 * np.mean(ranks_of("high", seed) == 1) for seed in range(3)]
    (high,) = (arm for arm in summary["arms"] if arm["name"] == "high")
    assert high["metrics"]["R@1"]["mean"] == pytest.approx(np.mean(by_seed))
    assert high["metrics"]["R@1"]["sd"] == pytest.approx(np.std(by_seed, ddof=1))
    assert high["metrics"]["swap"]["by_seed"] == pytest.approx([100 / 3] * 3)
    (dual,) = (arm for arm in summary["arms"] if arm["name"] == "high | dual")
    assert "swap" not in dual["metrics"]
    assert dual["transductive"]


def test_comparisons_of_transductive_numbers_are_labelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = study_of(comparisons=(("high", "low"), ("high | dual", "low"), ("high", "low | dual")), metrics=("R@1",))
    found = summary_of(study, 3, monkeypatch, tmp_path)
    assert [row["transductive"] for row in found["comparisons"]] == [False, True, True]
    write_results(found, HEAD, tmp_path)
    page = (tmp_path / "study.html").read_text(encoding="utf-8")
    compared = page[page.index('<section id="comparisons">') : page.index('<section id="figures">')]
    assert compared.count('badge">transductive') == 2


def without(arrays: dict[str, np.ndarray], video: str) -> dict[str, np.ndarray]:
    """A run that could not read one of the test videos."""
    left = {
        f"{table}|{mode}": arrays[f"{table}|{mode}"][arrays[f"videos|{mode}"] != video]
        for mode in ("plain", "dual")
        for table in ("strict", "corrected", "ids", "videos")
    }
    kept_N = arrays["swap videos|plain"] != video
    return arrays | left | {name: arrays[name][kept_N] for name in arrays if name.startswith("swap")}


@pytest.mark.parametrize("where", [("low", 0), ("high", 2)])
def test_runs_that_could_not_read_the_same_videos_compare_on_the_queries_of_both(
    where: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = arrays_of
    monkeypatch.setitem(
        globals(), "arrays_of", lambda *run: without(drawn(*run), "v5") if run == where else drawn(*run)
    )
    found = summary_of(study_of(), 3, monkeypatch, tmp_path)
    row = comparison(found, "high", "low", "R@1")
    kept_T = np.arange(QUERIES) // 3 != 5
    high, low = ([100 * np.mean(ranks_of(arm, seed)[kept_T] == 1) for seed in range(3)] for arm in ("high", "low"))
    assert row["by_seed"] == pytest.approx(np.subtract(high, low))
    assert (row["queries"], row["groups"]) == (QUERIES - 3, 299)
    assert comparison(found, "high", "low", "swap")["queries"] == 87
    assert comparison(found, "same", "low", "R@1")["queries"] == QUERIES - 3 * (where[0] == "low")
    rows = {(row["arm"], row["seed"]): row["queries"] for row in metric_rows(found)}
    assert rows.pop(where) == QUERIES - 3
    assert set(rows.values()) == {QUERIES}
    assert "Runs on folder answered 897 to 900 queries" in found["notes"][-1]


def test_words_follow_the_interval(summary: dict[str, Any]) -> None:
    ahead = comparison(summary, "high", "low", "R@1")
    assert ahead["low"] > 0
    assert ahead["words"] == "high is better than low"
    behind = comparison(summary, "low", "high", "R@1")
    assert behind["words"] == "high is better than low"
    assert behind["difference"] == pytest.approx(-ahead["difference"])
    # the mean rank is better when lower
    rank = comparison(summary, "high", "low", "MnR")
    assert rank["difference"] < 0
    assert rank["words"] == "high is better than low"
    unseen = comparison(summary, "same", "low", "R@1")
    assert unseen["low"] <= 0 <= unseen["high"]
    assert unseen["words"].startswith("no difference seen; could have seen")
    equal = comparison(summary, "high", "low", "swap")
    assert equal["words"] == "no query is decided differently"


def test_better_is_never_said_where_the_interval_covers_zero(summary: dict[str, Any]) -> None:
    for row in summary["comparisons"]:
        assert ("better" in row["words"]) == (row["state"] == "seen")
        if row["low"] <= 0 <= row["high"]:
            assert row["state"] == "unseen"


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (-2.0, 0.0)])
def test_an_interval_that_ends_at_zero_covers_it(low: float, high: float) -> None:
    result = SeededDifference((low + high) / 2, low, high, 0.5, 1.4, (1.0, 1.0), 9, 9)
    found = summary_unit._verdict(("a", "b"), result, lower_is_better=False, unit="points")
    assert found == {"state": "unseen", "words": "no difference seen; could have seen 1.40 points"}


def test_one_seed_never_makes_a_method_better(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = summary_of(study_of(), 1, monkeypatch, tmp_path)
    ahead = comparison(found, "high", "low", "R@1")
    assert ahead["state"] == "open"
    assert "one seed" in ahead["words"]
    assert not any("better" in row["words"] for row in found["comparisons"])


def test_a_family_is_its_best_arm_on_validation(summary: dict[str, Any]) -> None:
    assert summary["chosen"] == {"best": "high"}
    assert comparison(summary, "best", "low", "R@1")["a_arm"] == "high"
    assert summary["lines"]["R@1"][HOSTILE][1][1] == summary["lines"]["R@1"]["high"][1][1]
    (high,) = (arm for arm in summary["arms"] if arm["name"] == "high")
    spread = high["metrics"]["R@1"]
    assert summary["lines"]["R@1"]["high"][1] == [50.0, spread["mean"], spread["by_seed"]]


def test_a_family_is_judged_on_the_seeds_that_all_its_arms_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A lucky seed that one arm has alone decides nothing."""
    validation = {("same", 0): 45.0, ("same", 1): 43.0, ("high", 0): 44.0, ("high", 1): 43.0, ("high", 2): 90.0}
    results = {Run(*run): result_of(*run) | {"best_validation": best} for run, best in validation.items()}
    monkeypatch.setattr(summary_unit, "load_arrays", lambda folder: arrays_of(folder.parent.name, int(folder.name)))
    plan = Plan(study_of(), 3, Place(tmp_path, {}, tmp_path))
    assert summarise(plan, Status(results, {}, 15, None))["chosen"] == {"best": "same"}
    del results[Run("same", 0)], results[Run("same", 1)]
    assert summarise(plan, Status(results, {}, 15, None))["chosen"] == {}


def test_cost_and_curves_are_means_over_seeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = {
        Run("low", seed): result_of("low", seed)
        | {"seconds_a_step": 0.01 * (1 + seed), "seconds": 30.0 + seed, "best_validation": 40.0 + seed}
        | {"benchmark": "another folder"}
        | {"validation": [[1, 30.0 + seed], [2, 40.0 + seed], [3, 0.0]][: 2 + seed]}
        for seed in range(2)
    }
    monkeypatch.setattr(summary_unit, "load_arrays", lambda folder: arrays_of(folder.parent.name, int(folder.name)))
    found = summarise(Plan(study_of(), 2, Place(tmp_path, {}, tmp_path)), Status(results, {}, 10, None))
    plain = found["arms"][0]
    assert (plain["milliseconds_a_step"], plain["run_seconds"]) == (pytest.approx(15.0), 30.5)
    assert (plain["parameters"], plain["steps"], plain["threads"], plain["queries"]) == (1234, 720, 1, [QUERIES] * 2)
    assert found["runs"] == {"finished": 2, "planned": 10}
    assert plain["validation"] == {"mean": 40.5, "sd": pytest.approx(0.5**0.5), "by_seed": [40.0, 41.0]}
    assert found["curves"] == {"low": [[1, 30.5], [2, 40.5]]}
    assert (found["training_seconds"], found["seconds"]) == (pytest.approx(14.4), 61.0)
    assert [row["validation R@1"] for row in metric_rows(found)] == [40.0, 41.0, 40.0, 41.0]
    assert [row["transductive"] for row in metric_rows(found)] == [False, False, True, True]
    assert {row["benchmark"] for row in metric_rows(found)} == {"another folder"}
    assert {row["milliseconds a step"] for row in metric_rows(found)} == {plain["milliseconds_a_step"]}


def test_what_is_missing_is_named_with_its_reason(summary: dict[str, Any]) -> None:
    reasons = {(row["arm"], row["seed"]): row["reason"] for row in summary["missing"]}
    assert reasons == {
        ("never run", 0): f"it cannot: {HOSTILE}", ("never run", 1): "not run yet", ("never run", 2): "not run yet",
        (HOSTILE, 1): "not run yet", (HOSTILE, 2): "not run yet",
    }  # fmt: skip
    assert not any("never run" in (row["a"], row["b"]) for row in summary["comparisons"])


def test_power_is_a_range_of_the_first_metric(summary: dict[str, Any]) -> None:
    seen = [row["smallest_detectable"] for row in summary["comparisons"] if row["metric"] == "R@1"]
    words = power_words(summary)
    assert f"{min(seen):.2f} to {max(seen):.2f} points" in words
    assert "900 queries" in words
    assert power_words({**summary, "comparisons": []}) == "No comparison has its runs yet."


def test_arms_that_decide_every_query_alike_tell_nothing_of_power(
    summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alike = comparison(summary, "high", "low", "swap")
    assert alike["smallest_detectable"] == 0
    words = power_words({**summary, "comparisons": [*summary["comparisons"], alike | {"metric": "R@1"}]})
    assert words == power_words(summary)
    found = summary_of(study_of(metrics=("swap",)), 3, monkeypatch, tmp_path)
    assert power_words(found).startswith("No comparison tells what difference in swap could have been seen")
    write_results(found, HEAD, tmp_path)
    assert 'data-label="Smallest detectable">n/a<' in (tmp_path / "study.html").read_text(encoding="utf-8")


def test_files_hold_every_seed(summary: dict[str, Any], tmp_path: Path) -> None:
    write_results(summary, HEAD, tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(metric_rows(summary)) == (3 * 3 + 1) * 2
    assert float(rows[0]["R@1"]) == pytest.approx(100 * np.mean(ranks_of("low", 0) == 1))
    assert rows[-1]["swap"] == ""
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["study"]["name"] == "drawn"
    assert record["created"] == HEAD["created"]


class Page(HTMLParser):
    """Tags that are not closed, names of elements, and identifiers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.names: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.targets += [values["href"] or ""] if tag == "a" else []
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_escapes_names(summary: dict[str, Any], tmp_path: Path) -> None:
    write_results(summary, HEAD, tmp_path)
    html = (tmp_path / "study.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert not {"img", "script", "link", "iframe", "object"} & page.names
    assert len(page.ids) == len(set(page.ids))
    assert {target.removeprefix("#") for target in page.targets} <= set(page.ids)
    assert not re.search(r"(?:src|href)=\"(?!#)|url\((?!#)|@import", html)
    for words in (
        "incomplete: 5 runs missing", "in 3 galleries of 100", "stands for best: best on validation", "transductive",
        "10 of 15", "not run yet", "What could be seen", "lower is better",
    ):  # fmt: skip
        assert words in html, words


def test_axes_fit_their_numbers() -> None:
    epochs = [Point(float(epoch), 40.0 + epoch) for epoch in range(1, 21)]
    drawn = lines_plot([epochs], across="epoch", up="R@1", label="l", ident="a")
    assert [tick for tick in ("5", "10", "15", "20") if f">{tick}<" in drawn] == ["5", "10", "15", "20"]
    batches = [Point(32.0, 1.0, 0.1), Point(128.0, 2.0), Point(512.0, 3.0)]
    drawn = lines_plot([batches, batches[:2]], across="batch size", up="R@1", label="l", ident="b")
    assert all(f">{size}<" in drawn for size in (32, 128, 512))
    drawn = cost_plot([Point(20.0, 40.0), Point(700.0, 45.0, 1.0)], up="R@1", label="l", ident="c")
    assert all(f">{tick}<" in drawn for tick in (30, 100, 300, "1,000"))
    assert "mathdefault" not in drawn


def test_a_page_without_any_run_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = study_of(arms={"never run": {}}, comparisons=(), families={}, lines={})
    write_results(summary_of(study, 2, monkeypatch, tmp_path), HEAD, tmp_path)
    html = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert Page(html).open == []
    assert "No comparison has its runs yet." in html
    assert "incomplete: 2 runs missing" in html
