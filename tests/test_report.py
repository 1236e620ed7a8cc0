"""The report page: well-formed, complete, safe with hostile strings, and clear about results that do not fit."""

from __future__ import annotations

import json
import math
import random
import re
from html.parser import HTMLParser

import pytest

from reelseek import report
from reelseek.errors import DataError
from reelseek.report import write_report
from reelseek.report_schema import read_results

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42m"
    "Nk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page, failing on tags that do not nest, and keeps its text, tags, ids and everything it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.loads, self.ids, self.words, self.images = [], [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.loads += [given[key] for key in ("src", "srcset", "data", "poster", "xlink:href", "href") if key in given]
        self.ids += [given["id"]] if "id" in given else []
        self.images += [given.get("alt")] if tag == "img" else []
        assert not any(key.startswith("on") for key in given), f"{tag} runs a script: {given}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def full_results() -> dict:
    chance = random.Random(0)

    def cloud(shift):
        return [[chance.gauss(shift, 1), chance.gauss(0, 1)] for _ in range(30)]

    def run(name, first):
        metrics = {"R@1": first, "R@5": 61.37, "R@10": 72.91, "R@50": 93.14, "MdR": 3.5, "MnR": 17.26}
        return {
            "name": name,
            "method": "gare",
            "backbone": "offline",
            "trained_on": "motions",
            "parameters": 1234567,
            "seconds": 754.0,
            "protocol": {
                "split": "test",
                "texts_found": 994,
                "texts_missing": 6,
                "videos_found": 1003,
                "videos_missing": 0,
                "complete": False,
                "ties": "against",
                "rescoring": "dual_softmax",
                "prior": "batches of 5 test queries",
                "bank_texts": 4321,
                "bank_videos": 1234,
                "transductive": True,
                "relevance": "strict, and corrected",
                "contrasts": {"swap": 480},
                "frames": 12,
                "video_to_text": "best_caption",
            },
            "metrics": {
                "text_to_video": metrics,
                "video_to_text": {"R@1": 28.68, "MdR": 4.0},
                "text_to_video_corrected": {"R@1": 37.46},
            },
            "contrasts": {"swap": 51.25, "binding": None},
            "intervals": {"text_to_video": {"R@1": [29.13, 34.77]}},
            "curves": {"loss": [[0, 4.5], [10, 3.1], [20, math.nan]], "validation R@1": [[20, 31.0]]},
            "ranks": [1, 1, 2, 7.5, 33, 812],
            "similarity": [[chance.random() for _ in range(6)] for _ in range(5)],
            "gap": {
                "before": {"distance": 1.234, "points_text": cloud(0), "points_video": cloud(3)},
                "after": {"distance": 0.456, "points_text": cloud(0), "points_video": cloud(1)},
            },
        }

    comparison = {"a": "one", "b": "two", "metric": "R@1", "difference": 7.89, "low": 4.12, "high": 11.63}
    found = [{"video": "v7.mp4", "score": 0.618, "thumbnail": PIXEL, "right": True}, {"video": "v8.mp4", "score": 0.5}]
    return {
        "reelseek": "0.1.0",
        "created": "2026-01-31T14:05:59+00:00",
        "machine": {"cpu": "A processor", "cores": 2, "torch": "2.13.0", "threads": 1},
        "command": "reelseek train gare-motions",
        "runs": [run("one", 31.94), run("two", 24.05)],
        "comparisons": [comparison | {"p_value": 0.0004, "smallest_detectable": 3.31, "queries": 994, "groups": 741}],
        "examples": [
            {
                "run": "one",
                "text": "a dog runs",
                "wanted": {"video": "v7.mp4", "thumbnail": PIXEL},
                "rank": 37,
                "found": found,
            }
        ],
        "searches": [
            {
                "model": "gare-offline",
                "trained_on": "motions",
                "query": "a red flower",
                "hits": [{"path": "/v/f.mp4", "start": 62.5, "end": 3671.0, "score": 0.731, "thumbnail": PIXEL}],
            }
        ],
        "broken": [{"path": "/v/half.mp4", "reason": "The pictures end early."}],
        "notes": ["Generated clips only."],
    }


def written(results, folder):
    write_report(results, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return written(full_results(), tmp_path_factory.mktemp("report"))


def test_page_shows_every_number_and_word(html):
    page = Page(html)
    shown = ["31.9", "24.1", "61.4", "72.9", "93.1", "3.5", "17.3", "28.7", "4.0", "29.1", "34.8"]
    shown += [
        "994 texts found, 6 missing",
        "1,003 videos found, 0 missing",
        "ties: against",
        "frames: 12",
        "split test",
    ]
    shown += ["transductive: reads the other test queries", "incomplete split", "rescoring: dual_softmax"]
    shown += [
        "video to text: best_caption",
        "1,234,567",
        "12.6 min",
        "+7.89",
        "4.12 to 11.63",
        "< 0.001",
        "3.31 points",
        "741 groups",
    ]
    shown += ["prior: batches of 5 test queries", "bank: 4,321 texts, 1,234 videos", "relevance: strict, and corrected"]
    shown += ["swap: 51.2 % of 480 contrasts right", "binding: n/a % of n/a contrasts right", "37.5"]
    shown += [
        "Text to video, all true matches right",
        "one is better than two",
        "distance 1.234",
        "distance 0.456",
        "the right video is at rank 37",
        "0.618",
    ]
    shown += ["1:02.5 to 1:01:11", "0.731", "gare-offline", "trained on motions", "a red flower", "a dog runs", "0.1.0"]
    shown += ["The pictures end early.", "Generated clips only.", "2026-01-31 14:05", "A processor", "2.13.0"]
    shown += ["reelseek train gare-motions", "Text to video", "Video to text", "loss", "validation R@1", "0.500"]
    missing = [words for words in shown if words not in page.text]
    assert missing == []
    assert page.tags.count("svg") >= 10
    assert "Recorded but not shown" not in page.text


def test_page_is_one_file_that_loads_nothing(html):
    page = Page(html)
    assert all(target.startswith(("data:", "#")) for target in page.loads), page.loads
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"@import|url\((?!#)", html)
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    # every reference inside a figure has its target in the same page
    assert {target[1:] for target in page.loads if target.startswith("#")} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(page.ids)


def test_pictures_and_headers_can_be_read_aloud(html):
    page = Page(html)
    assert len(page.images) == 3
    assert all(page.images)
    assert all("scope=" in tag for tag in re.findall(r"<th\b[^>]*>", html))
    assert all("aria-label=" in tag or "aria-hidden" in tag for tag in re.findall(r"<svg\b[^>]*>", html))
    assert '<html lang="en">' in html


def test_figures_follow_the_colours_of_the_page(html):
    assert "#0102" not in html
    assert html.count("var(--c0)") > 4
    assert "DejaVu" not in html


HOSTILE = "\"><script>alert(1)</script> ' & {{ 7*7 }} $x_1$ \N{RIGHT-TO-LEFT OVERRIDE}\N{GRINNING FACE}\nnew line\udcff"


def with_hostile_strings(value):
    """Every string and every free name of a results tree made hostile; field names, kinds and thumbnails kept."""
    if isinstance(value, dict):
        return {
            key + HOSTILE if re.match(r"R@1$|loss$|cpu$", key) else key: with_hostile_strings(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [with_hostile_strings(item) for item in value]
    return value + HOSTILE if isinstance(value, str) and value != PIXEL else value


def test_hostile_strings_stay_text(tmp_path):
    html = written(with_hostile_strings(full_results()), tmp_path)
    page = Page(html)
    assert "script" not in page.tags
    assert "<script" not in html
    assert page.text.count("<script>alert(1)</script>") > 25
    assert "{{ 7*7 }}" in page.text
    assert "\N{GRINNING FACE}" in page.text
    assert "\\udcff" in page.text


def test_missing_parts_are_left_out(tmp_path):
    page = Page(written({}, tmp_path))
    assert "section" not in page.tags
    assert "Report" in page.text

    full = full_results()
    run = full["runs"][0]
    for part in full.keys() - {"runs"}:
        Page(written({part: full[part]}, tmp_path))
    for field in run.keys() - {"name"}:
        # a protocol is shown beside numbers, so its absence is told where numbers are
        page = Page(written({"runs": [{"name": "one", field: run[field]}]}, tmp_path))
        assert ("protocol not recorded" in page.text) == (field == "metrics")


def emptied(value, hole):
    """The tree with every number replaced by `hole`."""
    if isinstance(value, dict):
        return {key: emptied(item, hole) for key, item in value.items()}
    if isinstance(value, list):
        return [emptied(item, hole) for item in value]
    return hole if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize("hole", [None, math.nan, math.inf])
def test_numbers_that_are_not_known(tmp_path, hole):
    page = Page(written(emptied(full_results(), hole), tmp_path))
    assert "n/a" in page.text
    assert not re.search(r"\b(nan|inf|None)\b", page.text)
    assert "not tested" in page.text


def test_results_read_back_from_a_file(tmp_path, html):
    assert written(json.loads(json.dumps(full_results())), tmp_path) == html


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ({"complete": True}, "complete split"),
        ({"complete": False}, "incomplete split"),
        ({"complete": True, "standard": ""}, "nothing missing"),
        ({"complete": False, "standard": "", "dropped": 1234}, "1,234 captions or rows dropped"),
        ({"complete": False, "standard": "", "dropped": 1}, "not all rows used"),
        ({"complete": False, "standard": "", "dropped": 1, "texts_missing": 1}, "incomplete split"),
        ({"complete": True, "standard": "1k-A"}, "the standard split 1k-A"),
        ({"complete": False, "standard": "1k-A"}, "not the standard split 1k-A"),
    ],
)
def test_a_split_is_called_standard_only_where_there_is_one(tmp_path, protocol, words):
    results = full_results()
    for run in results["runs"]:
        run["protocol"] = run["protocol"] | {"texts_missing": 0} | protocol
    page = Page(written(results, tmp_path)).text
    assert words in page
    assert ("not the standard split" in page) == (words == "not the standard split 1k-A")
    only_dropped = bool(protocol.get("dropped")) and not protocol.get("texts_missing")
    assert ("not all rows used" in page) == only_dropped
    assert ("incomplete split" in page) == (words == "incomplete split")


def test_the_mean_reciprocal_rank_is_explained_where_it_stands(tmp_path):
    results = full_results()
    assert "1 / rank" not in Page(written(results, tmp_path)).text
    for run in results["runs"]:
        run["metrics"]["text_to_video"]["MRR"] = 44.4
    assert Page(written(results, tmp_path)).text.count("MRR: 100 times the mean of 1 / rank") == 1


def test_a_chart_over_different_splits_names_them(tmp_path):
    results = full_results()
    assert "on test" not in Page(written(results, tmp_path)).text
    results["runs"][0]["protocol"] = results["runs"][0]["protocol"] | {"split": "val"}
    text = Page(written(results, tmp_path)).text
    assert "on val" in text
    assert "on test" in text


def test_unknown_fields_are_named(tmp_path):
    results = {"runs": [{"name": "one"}, {"name": "two", "colour": "red"}], "weather": 3}
    text = Page(written(results, tmp_path)).text
    assert "Recorded but not shown: results.weather, results.runs[1].colour." in text


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda r: r.update(runs={}), "results.runs must be a list"),
        (lambda r: r["runs"].append({"method": "gare"}), "results.runs[2] has no 'name'"),
        (lambda r: r["runs"][1].update(metrics=[1]), "results.runs[1].metrics must be an object"),
        (
            lambda r: r["runs"][0]["metrics"]["text_to_video"].update({"R@1": "31"}),
            "results.runs[0].metrics['text_to_video']['R@1'] must be a number",
        ),
        (lambda r: r["runs"][0].update(ranks=[True]), "results.runs[0].ranks[0] must be a number"),
        (lambda r: r["runs"][0].update(similarity=[[1.0], [1.0, 2.0]]), "rows of different lengths"),
        (lambda r: r["runs"][0].update(similarity=[[0.0] * 101]), "1 x 101; a report shows 100 x 100"),
        (lambda r: r["runs"][0]["curves"].update(loss=[[1, 2, 3]]), "curves['loss'][0] must be two numbers"),
        (lambda r: r["runs"][0]["protocol"].update(complete="yes"), "protocol.complete must be true or false"),
        (lambda r: r["comparisons"].append({"a": "x", "b": "y"}), "comparisons[1] has no 'metric'"),
        (lambda r: r["examples"][0]["wanted"].update(thumbnail="https://x.example/a.jpg"), "must be a data: URI"),
        (
            lambda r: r["examples"][0]["wanted"].update(thumbnail="data:image/svg+xml;base64,AA=="),
            "must be a data: URI",
        ),
        (lambda r: r.update(notes="one note"), "results.notes must be a list"),
        (lambda r: r.update(command=["reelseek"]), "results.command must be a string"),
    ],
)
def test_wrong_parts_are_named(tmp_path, change, place):
    results = full_results()
    change(results)
    with pytest.raises(DataError) as caught:
        write_report(results, tmp_path / "report.html")
    assert place in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_results_that_are_no_object():
    with pytest.raises(DataError, match="results must be an object"):
        read_results([1, 2])


@pytest.mark.parametrize(
    ("metric", "difference", "low", "high", "p_value", "words"),
    [
        ("R@1", 2.0, 0.5, 3.5, 0.01, "one is better than two"),
        ("R@1", -2.0, -3.5, -0.5, 0.01, "two is better than one"),
        ("MnR", -2.0, -3.5, -0.5, 0.01, "one is better than two"),
        ("MdR", 2.0, 0.5, 3.5, None, "two is better than one"),
        ("R@1", 0.4, -1.0, 1.8, 0.61, "no difference seen; could have seen 2.20 points"),
        ("MnR", 0.4, -1.0, 1.8, 0.61, "no difference seen; could have seen 2.20 ranks"),
        ("R@1", 0.4, None, None, 0.61, "no difference seen; could have seen 2.20 points"),
        ("R@1", 1.4, -0.1, 2.9, 0.04, "undecided: the interval and the test disagree; could have seen 2.20 points"),
        ("R@1", 1.4, None, None, None, "not tested"),
        ("R@1", None, 0.5, 3.5, 0.01, "not tested"),
    ],
)
def test_comparisons_in_words(tmp_path, metric, difference, low, high, p_value, words):
    comparison = {"a": "one", "b": "two", "metric": metric, "difference": difference, "low": low, "high": high}
    results = {"comparisons": [comparison | {"p_value": p_value, "smallest_detectable": 2.2}]}
    text = Page(written(results, tmp_path)).text
    assert f"one and two {words}" in text


def test_a_comparison_in_which_nothing_differs_claims_no_power(tmp_path):
    comparison = {"a": "one", "b": "two", "metric": "R@1", "difference": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}
    text = Page(written({"comparisons": [comparison | {"smallest_detectable": 0.0}]}, tmp_path)).text
    assert "one and two no query is decided differently" in text
    assert "0.00 points" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.96, "1:00"), (3.25, "0:03.2"), (62.5, "1:02.5"), (3671, "1:01:11"), (None, "n/a")],
)
def test_clock(seconds, text):
    assert report._clock(seconds) == text


def test_many_runs_and_one_point_curves(tmp_path):
    curves = {"loss": [[0, 4.5], [10, 3.1]], "validation R@1": [[20, 31.0]]}
    runs = [{"name": f"run {number}", "curves": curves, "ranks": [1, 2, 30]} for number in range(20)]
    page = Page(written({"runs": runs}, tmp_path))
    assert all(page.text.count(run["name"]) >= 3 for run in runs)
