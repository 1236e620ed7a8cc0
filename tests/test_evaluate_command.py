"""`reelseek evaluate` with banks, further true matches and contrasts: what it prints, what it writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from cli_world import Said, films, refused, run
from reelseek.app.commands.evaluate import protocol_line, show_comparisons
from reelseek.config import DataConfig, EvaluateConfig
from reelseek.data import load
from reelseek.data.pairs import Pairs, Standard
from reelseek.evaluation import protocol_of
from reelseek.evaluation_bank import NO_RESCORING


class Place(NamedTuple):
    """A folder of drawn clips, a folder of generated ones, and a cache."""

    films: Path
    motions: Path
    cache: Path

    def evaluate(self, data: str, *words: object) -> Said:
        named = ["--data.name", data, "--data", self.films if data == "folder" else self.motions]
        return run("evaluate", "offline", *named, "--cache", self.cache, "--evaluate.bootstrap", 20, *words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    motions = folder / "motions"
    load(DataConfig(name="motions", root=str(motions), size=30, objects=4, false_negatives=0.5))
    return Place(films(folder / "films"), motions, folder / "cache")


def test_a_bank_is_drawn_from_the_training_split_and_told(place: Place, tmp_path: Path) -> None:
    words = ["--evaluate.rescoring", "qb_norm", "--evaluate.prior", "bank", "--evaluate.bank_size", 7]
    said = place.evaluate("folder", *words, "--out", tmp_path)
    assert said.code == 0, said
    assert "rescoring QB-Norm (scale 20, k 1; bank of 7) (no test query saw another; bank: 7 training " in said.out
    assert "transductive" not in said.out.lower()
    protocol = json.loads((tmp_path / "results.json").read_text())["runs"][0]["protocol"]
    assert "; 12 frames (middle); " in said.out
    assert (protocol["prior"], protocol["bank_texts"], protocol["transductive"]) == ("bank", 7, False)
    assert 4 <= protocol["bank_videos"] <= 6
    assert "transductive" not in (tmp_path / "run.trec").read_text()
    page = (tmp_path / "report.html").read_text()
    assert f"bank: 7 texts, {protocol['bank_videos']} videos" in page
    assert "not transductive" in page
    assert "sampling: middle" in page


@pytest.mark.parametrize("prior", ["test", "batch"])
def test_transductive_numbers_are_labelled_wherever_they_stand(place: Place, tmp_path: Path, prior: str) -> None:
    words = ["--evaluate.rescoring", "inverted_softmax", "--evaluate.prior", prior]
    words += ["--evaluate.prior_batch", 3] if prior == "batch" else []
    said = place.evaluate("folder", *words, "--against", "offline", "--out", tmp_path)
    assert said.code == 0, said
    rows = [line for line in said.out.splitlines() if line.startswith("offline ")]
    assert len(rows) == 4
    assert all(", transductive" in row for row in rows)
    assert "TRANSDUCTIVE" in said.out
    differences = [line for line in said.out.splitlines() if "offline minus offline" in line]
    assert len(differences) == 4
    assert all("(transductive)" in line for line in differences)
    results = json.loads((tmp_path / "results.json").read_text())
    assert all(row["protocol"]["transductive"] for row in results["runs"])
    assert all(row["transductive"] for row in results["comparisons"])
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["transductive"] for row in csv.DictReader(file)] == ["True"] * 4
    assert {line.split()[-1] for line in (tmp_path / "run.trec").read_text().splitlines()} == {"reelseek-transductive"}
    page = (tmp_path / "report.html").read_text()
    # Of each run beside the bar at the top and in both tables; then beside every comparison.
    assert page.count('badge">transductive: reads the other test queries') == 6
    assert page.count('badge">transductive</span>') == 4


def test_json_is_alone_on_stdout_and_what_results_json_holds(place: Place, tmp_path: Path) -> None:
    said = place.evaluate("folder", "--json", "--out", tmp_path)
    assert said.code == 0, said
    told, written = json.loads(said.out), json.loads((tmp_path / "results.json").read_text())
    assert told == written
    assert "rescoring none" in said.err


def test_further_true_matches_and_contrasts_are_printed_and_written(place: Place, tmp_path: Path) -> None:
    test = load(DataConfig(name="motions", root=str(place.motions))).test
    assert test is not None
    assert test.extra_relevance
    said = place.evaluate("motions", "--out", tmp_path)
    assert said.code == 0, said
    for row in ("t -> v  ", "v -> t  ", "t -> v, corrected", "v -> t, corrected"):
        assert row in said.out
    assert f"relevance strict, and corrected by {len(test.extra_relevance)} further true matches" in said.out
    record = json.loads((tmp_path / "results.json").read_text())["runs"][0]
    assert list(record["contrasts"]) == list(test.contrasts)
    page = (tmp_path / "report.html").read_text()
    for name, rows in test.contrasts.items():
        # Untrained towers see no order, and a tie is a failure.
        assert f"offline: {name} right in {record['contrasts'][name]:.1f} % of {len(rows)} contrasts" in said.out
        assert f"{name}: {record['contrasts'][name]:.1f} % of {len(rows)} contrasts right" in page
    assert record["contrasts"]["swap"] == 0
    with (tmp_path / "metrics.csv").open() as file:
        ways = [row["direction"] for row in csv.DictReader(file)]
    assert ways == list(record["metrics"])
    assert "Text to video, all true matches right" in page
    strict, corrected = (record["metrics"][f"text_to_video{end}"]["MnR"] for end in ("", "_corrected"))
    assert corrected <= strict


def test_what_cannot_be_rescored_is_said_before_anything_is_read(place: Place) -> None:
    words = ["evaluate", "offline", "--data.name", "folder", "--data", place.films, "--cache", place.cache]
    assert "cannot read the prior 'test'" in refused(2, *words, "--evaluate.rescoring", "dual_is")
    said = refused(2, *words, "--evaluate.rescoring", "nnn", "--evaluate.rescoring_scale", 3)
    assert "NNN has no scale; its parameters are alpha, k." in said
    assert "at least 1" in refused(2, *words, "--evaluate.bank_size", 0)
    for given in (["--evaluate.bank_seed", 1], ["--evaluate.rescoring", "nnn", "--evaluate.bank_size", 7]):
        assert "which only a correction with evaluate.prior bank reads" in refused(2, *words, *given)
    one = ["--evaluate.rescoring", "csls", "--evaluate.prior", "bank", "--evaluate.prior_batch", 7]
    assert "which only a correction with evaluate.prior batch reads" in refused(2, *words, *one)
    bank = ["--evaluate.rescoring", "nnn", "--evaluate.prior", "bank"]
    said = run(*words, *bank, "--split", "train")
    assert said.code == 1
    assert "6 of the videos of the bank are tested" in said.err


@pytest.mark.parametrize(
    ("low", "p_value", "end"),
    [
        (0.5, 0.01, "p = 0.010"),
        (0.5, 0.08, "p = 0.080 - undecided: the interval and the test disagree"),
        (-0.5, 0.01, "p = 0.010 - undecided: the interval and the test disagree"),
        (-0.5, 0.08, "p = 0.080 - no difference seen; 2.2 could have been"),
    ],
)
def test_a_difference_is_seen_where_interval_and_test_agree(
    capsys: pytest.CaptureFixture[str], low: float, p_value: float, end: str
) -> None:
    row = {"a": "one", "b": "two", "metric": "R@1", "transductive": False, "difference": 2.0, "low": low, "high": 3.5}
    show_comparisons([row | {"p_value": p_value, "smallest_detectable": 2.2}])
    assert capsys.readouterr().out.endswith(f"+3.5], {end}\n")


def test_a_bank_needs_a_training_split(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    films(folder)
    table = folder / "captions.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if not line.endswith("train")) + "\n")
    words = ["evaluate", "offline", "--data.name", "folder", "--data", folder, "--cache", place.cache]
    said = refused(1, *words, "--evaluate.rescoring", "nnn", "--evaluate.prior", "bank")
    assert "no train split to draw a bank from" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "2 texts and 2 videos found, nothing missing; relevance"),
        ({"missing_videos": ("c",), "missing_texts": 3}, "found, 3 texts and 1 videos missing; relevance"),
        ({"dropped": 4}, "found, 4 captions or rows dropped; relevance"),
        ({"standard": Standard("Films", 2, 2)}, "found, nothing missing (the standard split Films); relevance"),
        ({"standard": Standard("Films", 9, 9)}, "found, nothing missing (NOT the standard split Films); relevance"),
        (
            {"standard": Standard("Films", 3, 3), "missing_videos": ("c",), "missing_texts": 1, "dropped": 1},
            "found, 1 texts and 1 videos missing, 1 captions or rows dropped (NOT the standard split Films); relevance",
        ),
    ],
)
def test_only_a_split_with_a_standard_is_called_standard(changes: dict[str, Any], words: str) -> None:
    pairs = Pairs("x", ("a", "b"), ("0", "1"), np.arange(2), ("a", "b"), (Path("a"), Path("b")), **changes)
    line = protocol_line(protocol_of(pairs, EvaluateConfig(), NO_RESCORING, 12))
    assert words in line
    assert ("standard" in line) == ("standard" in changes)
