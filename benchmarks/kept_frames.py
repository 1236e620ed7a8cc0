"""What keeping frames costs and brings: `python benchmarks/kept_frames.py [FOLDER_OR_FILE ...] [--model offline]`.

Indexes the videos (without places the clips that installed packages carry) without and with `--keep-frames yes`, then
changes the settings of both, which embeds everything again: from the videos, and from the frames kept. Tells times, the
size of the kept frames, the cosine of the vectors of both ways, and how far the answers of 247 queries agree.
With --resize 224 the encoder wants its frames at that size, as CLIP does, so that kept frames are resized twice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import reelseek.index
from reelseek.config import IndexConfig
from reelseek.data.packaged import packaged_clips
from reelseek.index import cards, kept, store
from reelseek.index.build import update
from reelseek.index.search import Searcher
from reelseek.index.switch import switch
from reelseek.methods.saved import load
from reelseek.rank.export import write_json

RESULTS = Path(__file__).parent / "results"
QUERIES = Path(reelseek.index.__file__).parent / "background_queries.txt"


def timed(rows: dict[str, float], name: str, work: Any) -> None:
    wall, busy = time.perf_counter(), time.process_time()
    work()
    rows[name] = round(time.perf_counter() - wall, 2)
    rows[f"{name}, processor"] = round(time.process_time() - busy, 2)


def vectors(index: Path) -> dict[str, np.ndarray]:
    """Frame vectors of every content, at length 1."""
    _, stored = store.load(cards.open_index(index))
    found: dict[str, list[tuple[int, np.ndarray]]] = {}
    for s, key in enumerate(stored.content_S):
        rows = stored.frames_ND[stored.first_S[s] : stored.first_S[s] + stored.count_S[s]].astype(np.float32)
        found.setdefault(key, []).append((int(stored.number_S[s]), rows))
    whole = {key: np.concatenate([rows for _, rows in sorted(parts, key=lambda part: part[0])])
             for key, parts in found.items()}  # fmt: skip
    return {key: rows / np.linalg.norm(rows, axis=1, keepdims=True) for key, rows in whole.items()}


def answers(index: Path, method: Any, queries: Sequence[str]) -> list[list[str]]:
    hits = Searcher(cards.open_index(index), method).search_many(queries, 10)
    return [[hit.path for hit in found] for found in hits]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("places", nargs="*", type=Path)
    options.add_argument("--model", default="offline")
    options.add_argument("--resize", type=int, default=0)
    arguments = options.parse_args()
    places = arguments.places or packaged_clips()
    method = load(arguments.model)
    if arguments.resize:
        method.backbone.preprocess = method.preprocess._replace(resize=arguments.resize)
    card = {"name": "", "source": ""}
    other = replace(IndexConfig(), segment_frames=6)
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        plain, keeping = Path(folder) / "plain", Path(folder) / "keeping"
        update(Path(folder) / "warm", places, method, model_card=card)
        timed(rows, "index", lambda: update(plain, places, method, model_card=card))
        timed(rows, "index and keep", lambda: update(keeping, places, method, model_card=card, keep_frames=True))
        seconds = sum(row.duration for row in store.list_files(plain))
        size = sum(file.stat().st_size for file in (keeping / kept.FOLDER).rglob("*") if file.is_file())
        frames = sum(len(found) for found in vectors(plain).values())
        timed(rows, "switch from videos", lambda: switch(plain, method, model_card=card, config=other))
        timed(rows, "switch from frames", lambda: switch(keeping, method, model_card=card, config=other))
        one, two = vectors(plain), vectors(keeping)
        cosines = np.concatenate([(one[key] * two[key]).sum(axis=1) for key in one])
        queries = QUERIES.read_text(encoding="utf-8").split("\n")
        queries = [query for query in queries if query.strip() and not query.startswith("#")]
        first, second = answers(plain, method, queries), answers(keeping, method, queries)
    result = {
        "model": arguments.model,
        "resize": method.preprocess.resize,
        "videos": len(one),
        "video seconds": round(seconds, 1),
        "frames": frames,
        "seconds": rows,
        "MB an hour of video": round(size / seconds * 3600 / 1e6, 1),
        "kB a frame": round(size / frames / 1e3, 1),
        "cosine": {"least": round(float(cosines.min()), 4), "mean": round(float(cosines.mean()), 5)},
        "queries": len(queries),
        "same first answer": round(float(np.mean([a[0] == b[0] for a, b in zip(first, second, strict=True)])), 3),
        "overlap of ten": round(
            float(np.mean([len({*a} & {*b}) / len(a) for a, b in zip(first, second, strict=True)])), 3
        ),
    }
    write_json(RESULTS / f"kept_frames_{method.preprocess.resize}.json", result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
