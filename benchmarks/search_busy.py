"""What a search costs beside other work: the parts that threads can share, by shared threads and by a thread each.

    python benchmarks/search_busy.py        # a minute on two cores; writes benchmarks/results/search_busy.json

Busy means as many other processes as there are cores, each at products of matrices all the time, as during an update of
the index. Measured in turn, on the idle machine and beside them: a query's text by the offline model, and GARE's exact
scores of 1,024 segments, in one block whose steps all threads share, and in blocks side by side as a search does it.
Medians and the slowest of `--repeats`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from reelseek.app.results import machine
from reelseek.encoders import minilm
from reelseek.encoders.offline import OfflineBackbone
from reelseek.index.search import EXACT_SEGMENTS
from reelseek.methods.gare import GareHead
from reelseek.rank.export import write_json
from reelseek.records import Texts, Videos
from reelseek.threads import one_thread, side_by_side

RESULT = Path(__file__).parent / "results" / "search_busy.json"
SEGMENTS, FRAMES, WIDTH = 1024, 12, 512


def keep_busy() -> None:
    torch.set_num_threads(1)
    square = torch.randn(512, 512)
    while True:
        square = (square @ square).tanh()


def parts() -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    torch.manual_seed(0)
    backbone, head = OfflineBackbone(), GareHead(WIDTH, temperature=3.0).eval()
    texts = Texts(torch.randn(1, WIDTH) * 10 / WIDTH**0.5)
    frames_VFD = torch.randn(SEGMENTS, FRAMES, WIDTH) * 10 / WIDTH**0.5
    mask_VF = torch.ones(SEGMENTS, FRAMES, dtype=torch.bool)
    # The tower itself: the backbone settles the number of threads.
    tower = backbone.text_tower
    ids_1L, real_1L = minilm.batch([backbone.tokenizer.encode("people riding bicycles").ids])

    def block(low: int) -> torch.Tensor:
        some = slice(low, low + EXACT_SEGMENTS)
        return head.score(texts, Videos(frames_VFD[some], mask_VF[some])).matrix_TV

    def alone() -> object:
        with one_thread():
            return tower(ids_1L, real_1L)

    return {
        "a text, threads shared": lambda: tower(ids_1L, real_1L),
        "a text, one thread": alone,
        "1,024 segments, threads shared": lambda: head.score(texts, Videos(frames_VFD, mask_VF)),
        "1,024 segments, side by side": lambda: side_by_side(block, range(0, SEGMENTS, EXACT_SEGMENTS)),
    }


def timed(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for name, call in calls.items():
                begun = time.perf_counter()
                call()
                if repeat:
                    seconds[name].append(time.perf_counter() - begun)
    return {
        name: {"p50_ms": round(1000 * statistics.median(row), 1), "slowest_ms": round(1000 * max(row), 1)}
        for name, row in seconds.items()
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=25)
    repeats = options.parse_args().repeats
    cores = len(os.sched_getaffinity(0))
    calls, load_before = parts(), os.getloadavg()[0]
    idle = timed(calls, repeats)
    others = [multiprocessing.get_context("spawn").Process(target=keep_busy, daemon=True) for _ in range(cores)]
    for other in others:
        other.start()
    time.sleep(5)
    busy = timed(calls, repeats)
    for other in others:
        other.terminate()
    about = {"machine": machine(), "load": round(load_before, 1), "repeats": repeats}
    write_json(RESULT, {**about, "idle": idle, "busy": busy})
    print(f"{'medians (and the slowest), ms':<34}{'idle':>18}{'busy':>20}")
    for name in calls:
        one, other = (f"{row[name]['p50_ms']} ({row[name]['slowest_ms']})" for row in (idle, busy))
        print(f"{name:<34}{one:>18}{other:>20}")


if __name__ == "__main__":
    main()
