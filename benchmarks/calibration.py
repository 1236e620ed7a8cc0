"""Whether probabilities tell queries that a library answers from queries that it does not.

FOLDER/manifest.json names captioned clips. 50 queries that they answer and 50 that none answers, in two sets
(`calibration_queries`), are searched for in an index of all clips, model offline. Query lists and settings
(`calibration_settings.py`) were fixed before this was run. A query counts by the greatest probability
among its first ten hits. Prints, and writes benchmarks/results/calibration.json: the area under the ROC curve with a
bootstrap interval over queries, beside that of the plain best score; what "nothing here matches" gets right; how often
the probabilities come true; what fitting and searching cost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
from calibration_queries import absent, in_library, matched

import reelseek
from reelseek.index.build import update
from reelseek.index.calibration import DOUBT, background_queries, nothing_matches
from reelseek.index.cards import open_index
from reelseek.index.search import Searcher
from reelseek.records import Hit

RESULTS = Path(__file__).parent / "results" / "calibration.json"
K = 10
DRAWS = 2000
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def area(inside_N: np.ndarray, outside_N: np.ndarray) -> float:
    """The probability that a query with an answer stands higher than one without, ties counted half."""
    difference = inside_N[:, None] - outside_N[None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def interval(inside_N: np.ndarray, outside_N: np.ndarray) -> list[float]:
    """95 % bootstrap interval of the area, queries of each list drawn anew."""
    draw = np.random.default_rng(0)
    areas = [area(draw.choice(inside_N, len(inside_N)), draw.choice(outside_N, len(outside_N))) for _ in range(DRAWS)]
    return [round(float(value), 3) for value in np.quantile(areas, [0.025, 0.975])]


def reliability(chances_N: np.ndarray, true_N: np.ndarray) -> list[dict[str, float]]:
    """By bins of probability: how many, the mean probability, and the share that came true."""
    rows = []
    for low, high in itertools.pairwise(EDGES):
        inside_N = (chances_N >= low) & (chances_N < high if high < 1 else chances_N <= high)
        if inside_N.any():
            told, came = float(chances_N[inside_N].mean()), float(true_N[inside_N].mean())
            rows.append({"from": low, "to": high, "queries": int(inside_N.sum()), "told": told, "came true": came})
    return rows


def best(hits: list[Hit]) -> float:
    return max(hit.probability or 0.0 for hit in hits)


def seconds_a_search(searcher: Searcher, queries: list[str]) -> float:
    """Median seconds of one search."""
    times = []
    for query in queries:
        begun = time.perf_counter()
        searcher.search(query, K)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def judged(searcher: Searcher, inside: list[tuple[str, str]], outside: list[str]) -> dict[str, object]:
    """What the probabilities of one set of queries are worth; prints the worst ones."""
    found_in = searcher.search_many([query for query, _ in inside], K)
    found_out = searcher.search_many(outside, K)
    chances_in, chances_out = (np.array([best(hits) for hits in found]) for found in (found_in, found_out))
    scores_in, scores_out = (np.array([hits[0].score for hits in found]) for found in (found_in, found_out))
    names = [[Path(hit.path).name for hit in hits] for hits in found_in]
    right = np.array([found[0] == Path(file).name for found, (_, file) in zip(names, inside, strict=True)])
    first = np.array([hits[0].probability for hits in (*found_in, *found_out)])
    for title, words, chances, order in (
        ("absent, but probable", outside, chances_out, np.argsort(-chances_out)),
        ("with an answer, but improbable", [query for query, _ in inside], chances_in, np.argsort(chances_in)),
    ):
        print(title, *(f"  {chances[n]:.2f} {words[n]}" for n in order[:6]), sep="\n")
    return {
        "AUROC": round(area(chances_in, chances_out), 3),
        "95 % interval": interval(chances_in, chances_out),
        "AUROC of the best score": round(area(scores_in, scores_out), 3),
        "95 % interval of that": interval(scores_in, scores_out),
        f"nothing here matches (every probability below {DOUBT:.2f})": {
            "said of queries with an answer": sum(map(nothing_matches, found_in)),
            "said of absent queries": sum(map(nothing_matches, found_out)),
        },
        "is there an answer, by the greatest probability": reliability(
            np.concatenate([chances_in, chances_out]), np.repeat([True, False], [len(inside), len(outside)])
        ),
        "is the first hit the query's own clip, by its probability": reliability(
            first, np.concatenate([right, np.zeros(len(outside), bool)])
        ),
        "queries whose clip is the first hit": int(right.sum()),
        "AUROC of those": round(area(chances_in[right], chances_out), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    method = reelseek.load("offline")
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "index"
        clips = json.loads((options.folder / "manifest.json").read_text(encoding="utf-8"))
        files = sorted({options.folder / clip["file"] for clip in clips})
        update(directory, files, method, model_card={})
        plain = Searcher(open_index(directory), method)
        begun = time.perf_counter()
        searcher = Searcher(open_index(directory), method).calibrate()
        fitting = time.perf_counter() - begun
        sets = {
            "matched": judged(searcher, *matched()),
            "captions": judged(searcher, in_library(options.folder), absent()),
        }
        costs = {"plain": seconds_a_search(plain, absent()), "with probabilities": seconds_a_search(searcher, absent())}
    result = {
        "date": date.today().isoformat(),
        "clips": len(files),
        "queries": "50 with an answer, 50 without",
        "background queries": len(background_queries()),
        "model": method.id,
        **sets,
        "seconds": {"fit": fitting, **costs},
        "load": os.getloadavg()[0],
    }
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
