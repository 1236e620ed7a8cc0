"""Exports are read back by the tools that they are made for, and never half written."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import unquote

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, R, Success

from reelseek.rank.export import write_json, write_metrics_csv, write_qrels, write_trec_run
from reelseek.rank.metrics import retrieval_metrics
from reelseek.rank.ranking import top_k

TEXTS = [f"text {n}%" for n in range(12)]
VIDEOS = [f"my holiday/clip\u00a0{n}.mp4" for n in range(9)]


@pytest.fixture
def judged():
    rng = np.random.default_rng(0)
    relevance = rng.random((12, 9)) < 0.15
    relevance[np.arange(12), rng.integers(0, 9, 12)] = True
    return rng.standard_normal((12, 9)).astype(np.float32), relevance


def test_ir_measures_reads_the_same_recall_from_the_files(tmp_path, judged):
    matrix, relevance = judged
    write_trec_run(tmp_path / "run.trec", matrix, TEXTS, VIDEOS, tag="a tag")
    write_qrels(tmp_path / "qrels", relevance, TEXTS, VIDEOS)
    run = list(ir_measures.read_trec_run(str(tmp_path / "run.trec")))
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels")))
    assert len(run) == 12 * 9
    assert len(qrels) == relevance.sum()
    assert [unquote(row.doc_id) for row in qrels] == [VIDEOS[v] for v in np.nonzero(relevance)[1]]
    theirs = ir_measures.calc_aggregate([Success @ 1, Success @ 5, RR, R @ 9], qrels, run)
    ours = retrieval_metrics(matrix, relevance)
    assert ours["R@1"] == pytest.approx(100 * theirs[Success @ 1])
    assert ours["R@5"] == pytest.approx(100 * theirs[Success @ 5])
    assert theirs[R @ 9] == pytest.approx(1.0)


def test_scores_and_order_survive_the_file(tmp_path, judged):
    matrix, _ = judged
    write_trec_run(tmp_path / "run.trec", top_k(matrix, 4), TEXTS, VIDEOS, depth=3)
    lines = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert len(lines) == 12 * 3
    for text, zero, video, rank, score, tag in lines:
        row, column = TEXTS.index(unquote(text)), VIDEOS.index(unquote(video))
        assert np.float32(score) == matrix[row, column]
        assert int(rank) == 1 + (matrix[row] > matrix[row, column]).sum()
        assert (zero, tag) == ("Q0", "reelseek")
    write_trec_run(tmp_path / "first.trec", matrix, TEXTS, VIDEOS, depth=1)
    assert (tmp_path / "first.trec").read_text().splitlines() == [" ".join(line) for line in lines[::3]]


def test_qrels_without_relevance_are_the_diagonal(tmp_path):
    write_qrels(tmp_path / "qrels", None, ["a", "b"], ["x", "y"])
    assert (tmp_path / "qrels").read_text() == "a 0 x 1\nb 0 y 1\n"


def test_csv_and_json_keep_their_values(tmp_path):
    write_metrics_csv(tmp_path / "m.csv", [{"run": "a, b", "R@1": 1.5}, {"run": "c", "MdR": 2.0}])
    with open(tmp_path / "m.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"run": "a, b", "R@1": "1.5", "MdR": ""},
            {"run": "c", "R@1": "", "MdR": "2.0"},
        ]
    write_json(tmp_path / "deep" / "v.json", {"a": np.float32(0.5), "b": np.arange(2), "c": Path("x"), "d": "é"})
    assert json.loads((tmp_path / "deep" / "v.json").read_text("utf-8")) == {"a": 0.5, "b": [0, 1], "c": "x", "d": "é"}


def test_bytes_of_file_names_that_are_not_utf_8_are_written(tmp_path):
    texts, videos = ["caf\udce9/clip0.mp4#0", "b"], ["caf\udce9/clip0.mp4", "caf%E9/clip0.mp4\ud800"]
    write_trec_run(tmp_path / "run.txt", np.eye(2), texts, videos)
    write_qrels(tmp_path / "qrels.txt", None, texts, videos)
    for name in ("run.txt", "qrels.txt"):
        line = (tmp_path / name).read_text("utf-8").splitlines()[0].split()
        assert [line[0], line[2]] == ["caf%E9/clip0.mp4#0", "caf%E9/clip0.mp4"]
        assert unquote(line[2], errors="surrogateescape") == videos[0]
    assert (tmp_path / "qrels.txt").read_text("utf-8").splitlines()[1] == "b 0 caf%25E9/clip0.mp4%ED%A0%80 1"
    write_json(tmp_path / "a.json", {"videos": videos, "é": "\\"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"videos": videos, "é": "\\"}
    write_metrics_csv(tmp_path / "a.csv", [{"video": videos[0]}])
    assert (tmp_path / "a.csv").read_text("utf-8") == "video\ncaf\\udce9/clip0.mp4\n"


@pytest.mark.parametrize("byte", [0x80, 0xFF])
def test_the_first_and_the_last_byte_above_ascii_come_back(tmp_path, byte):
    name = chr(0xDC00 + byte)
    write_qrels(tmp_path / "qrels", None, ["a"], [name])
    assert (tmp_path / "qrels").read_text("utf-8") == f"a 0 %{byte:02X} 1\n"


def test_a_run_holds_the_first_thousand_results(tmp_path):
    write_trec_run(tmp_path / "run", np.arange(1001.0)[None], ["a"], [str(n) for n in range(1001)])
    lines = (tmp_path / "run").read_text().splitlines()
    assert [line.split()[2] for line in lines] == [str(n) for n in range(1000, 0, -1)]


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "m.csv"
    write_metrics_csv(target, [{"a": 1}])

    class Unprintable:
        def __str__(self):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_metrics_csv(target, [{"a": 2}, {"a": Unprintable()}])
    assert target.read_text() == "a\n1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: write_trec_run(path, [[1.0]], ["a"], [""]), "video id number 0 is empty"),
        (
            lambda path: write_trec_run(path, [[1.0], [2.0], [3.0]], ["b", "a", "a"], ["x"]),
            "text id 'a' stands for more",
        ),
        (lambda path: write_trec_run(path, [[1.0]], ["a", "b"], ["x"]), "2 text ids for 1 rows"),
        (lambda path: write_trec_run(path, [[1.0]], ["a"], ["x", "y"]), "2 video ids for 1 columns"),
        (lambda path: write_trec_run(path, top_k([[1.0, 2.0]], 2), ["a"], ["x"]), "holds video number 1"),
        (lambda path: write_trec_run(path, [[1.0]], ["a"], ["x"], depth=0), "depth"),
        (lambda path: write_qrels(path, None, ["a"], ["x", "y"]), "pair up"),
        (lambda path: write_json(path, {"a": float("nan")}), "not JSON compliant"),
    ],
)
def test_what_would_make_a_wrong_file_is_refused(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
