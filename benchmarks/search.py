"""How long a search takes: 100,000 stored frames of width 512, random, scored by GARE's head and by mean pooling.

Random vectors cost what real ones cost; the text tower is left out, since it does not depend on the index.
Run: python benchmarks/search.py [--frames 100000] [--width 512] [--queries 200]; writes benchmarks/results/search.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reelseek.config import IndexConfig
from reelseek.index import cards, store
from reelseek.index.cards import IndexCard
from reelseek.index.disk import locked
from reelseek.index.scan import scan
from reelseek.index.search import COARSE, Searcher
from reelseek.index.segments import any_text, cut_segments
from reelseek.index.store import IndexedFile
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.methods.gare import GareHead
from reelseek.records import EmbeddedVideo, Preprocess, Scores, Texts, Videos

VIDEO_FRAMES = 400
HEADS: dict[str, Callable[[int], torch.nn.Module]] = {
    "mean pooling": lambda width: MeanPoolHead(),
    "gare": lambda width: GareHead(width, temperature=3.0),
}


class RandomTowers:
    """A method whose texts are random vectors and whose score is a real head's."""

    id, name, backbone_id = "random", "random", "random"
    preprocess = Preprocess(resize=1, crop=1, mean=(0.0,) * 3, std=(1.0,) * 3)

    def __init__(self, width: int, head: torch.nn.Module) -> None:
        self.width, self.head = width, head.eval()

    def encode_texts(self, captions: list[str]) -> Texts:
        seed = torch.Generator().manual_seed(hash(captions[0]) % 2**31)
        return Texts(torch.randn(len(captions), self.width, generator=seed))

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        return torch.ones(len(pixels_N3HW), self.width)

    def project(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        return texts, videos

    def score(self, texts: Texts, videos: Videos) -> Scores:
        return self.head.score(texts, videos)


def make_index(directory: Path, method: RandomTowers, frames: int) -> IndexCard:
    index = IndexCard(directory, {"name": "random", "id": "random"}, IndexConfig(), method.width, "now")
    generator = torch.Generator().manual_seed(0)
    text = any_text(method)
    tables, rows = [], []
    for low in range(0, frames, VIDEO_FRAMES):
        frames_ND = torch.randn(min(VIDEO_FRAMES, frames - low), method.width, generator=generator)
        name = f"{low:09d}"
        video = EmbeddedVideo(
            Path(name), name, frames_ND, np.arange(len(frames_ND), dtype=float), float(len(frames_ND))
        )
        tables.append(cut_segments(video, 1, method, text, index))
        rows.append(IndexedFile(Path(name), 1, 1, name, video.duration, "ok", "", 0.0))
    with locked(directory):
        cards.create(index)
        store.append_segments(directory, tables)
        store.write_files(directory, rows)
    return index


def milliseconds(function: Callable[[int], object], times: int) -> dict[str, float]:
    function(-1)
    taken = []
    for number in range(times):
        begun = time.perf_counter()
        function(number)
        taken.append(1e3 * (time.perf_counter() - begun))
    return {"p50_ms": round(float(np.median(taken)), 2), "p95_ms": round(float(np.quantile(taken, 0.95)), 2)}


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def measure(frames: int, width: int, queries: int) -> dict[str, object]:
    rows: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        index = make_index(Path(folder) / "index", RandomTowers(width, HEADS["mean pooling"](width)), frames)
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        before = resident_mb()
        begun = time.perf_counter()
        searcher = Searcher(index, RandomTowers(width, HEADS["mean pooling"](width)))
        rows["load"] = {"seconds": round(time.perf_counter() - begun, 3)}
        rows["memory"] = {
            "vectors_mb": round(2 * frames * width / 2**20, 1),
            "grown_mb": round(resident_mb() - before, 1),
        }
        rows["disk"] = {"mb": round(disk / 2**20, 1)}
        loaded = searcher._loaded
        texts = [searcher.method.encode_texts([str(n)]).pooled_TD for n in range(16)]
        scans = {"1 query": torch.cat(texts[:1]), "16 queries": torch.cat(texts)}
        for name, text_TD in scans.items():
            rows[f"coarse scan, {name}"] = milliseconds(
                lambda _, text_TD=text_TD: scan(loaded.frames_ND.pieces, loaded.inverse_norms_N, text_TD), queries
            )
        for name, head in HEADS.items():
            searcher.method = RandomTowers(width, head(width))
            for moments in (False, True):
                label = f"whole search, {name}{', moments' if moments else ''}"
                rows[label] = milliseconds(lambda n, m=moments: searcher.search(f"query {n}", moments=m), queries)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    cpu = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    results = {
        "date": date.today().isoformat(),
        "machine": {"cpu": cpu[0], "cores": len(cpu), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "python": platform.python_version(),
        "setup": {**vars(options), "segment_frames": IndexConfig().segment_frames, "coarse": COARSE, "k": 10},
        "results": measure(options.frames, options.width, options.queries),
    }
    path = Path(__file__).parent / "results" / "search.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    for name, row in results["results"].items():
        print(f"{name:36s} " + "   ".join(f"{key} {value:g}" for key, value in row.items()))


if __name__ == "__main__":
    main()
