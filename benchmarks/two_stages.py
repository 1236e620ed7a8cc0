"""Two stages against one: a scan and GARE's score of the N best segments, against GARE's score of 100,000 segments.

    python benchmarks/two_stages.py                                   # trains `gare-motions` first
    python benchmarks/two_stages.py --run RUN --data DIR --cache DIR  # a trained run, its generated videos, features

How much of the exhaustive top 10 the N best by the scan hold, for powers of two; the smallest N from 256 that holds
0.99 of it in the mean; and what one search takes then and with all segments, in turn. The model must be trained: an
untrained increment leaves the order of cosines as it is.

The segments: those of the test videos as the model projects them (12 frames each), then as many more as are wanted,
each from two of them: frames drawn with replacement from the one, moved by up to 30 % towards frames of the other, and
noise of a tenth of the spread of all frames. Queries: captions of the test videos.
Writes results/two_stages.{json,png}.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from search_million import in_turn, machine, rounded, row_of, segments_of

from reelseek.config import DataConfig, IndexConfig, SampleConfig
from reelseek.data import load as load_data
from reelseek.embed import embed_pairs
from reelseek.evaluation import project_in_blocks
from reelseek.index import cards, store
from reelseek.index.cards import IndexCard
from reelseek.index.disk import locked
from reelseek.index.loaded import gather
from reelseek.index.scan import scan
from reelseek.index.search import COARSE, Searcher
from reelseek.methods.saved import load, usual_settings
from reelseek.records import EmbeddedVideo, Method, Texts
from reelseek.score.blocks import score_in_blocks

TOP, GOAL, LEAST = 10, 0.99, 256
SIZES = [2**power for power in range(4, 17)]
RESULTS = Path(__file__).parent / "results"


def train(args: argparse.Namespace, place: Path) -> Path:
    words = ["train", "gare-motions", "--out", str(place / "run")]
    words += ["--data", args.data] if args.data else []
    words += ["--cache", args.cache] if args.cache else []
    subprocess.run([sys.executable, "-m", "reelseek", *words], check=True)
    return place / "run"


def real_segments(method: Method, run: Path, args: argparse.Namespace) -> tuple[Texts, Tensor, list[str]]:
    """Projected captions and segments [S, F, D] of the test videos."""
    test = load_data(DataConfig(name="motions", root=args.data)).test
    assert test is not None
    sample = SampleConfig(**usual_settings(str(run))["sample"])
    embedded = embed_pairs(method, test, sample, cache=Path(args.cache) if args.cache else None)
    with torch.inference_mode():
        texts, videos = project_in_blocks(method, embedded.texts, embedded.videos, block=1000)
    return texts, videos.frames_VFD[videos.mask_VF.all(dim=1)], embedded.pairs.texts


def more_segments(frames_SFD: Tensor, count: int) -> Tensor:
    dice = torch.Generator().manual_seed(0)
    spread_D = frames_SFD.flatten(0, 1).std(dim=0)
    _, length, width = frames_SFD.shape
    made = [frames_SFD]
    for low in range(len(frames_SFD), count, 4096):
        new = min(4096, count - low)
        one, other = torch.randint(len(frames_SFD), (2, new, 1), generator=dice)
        at, beside = torch.randint(length, (2, new, length), generator=dice)
        share = 0.3 * torch.rand(new, 1, 1, generator=dice)
        noise = 0.1 * spread_D * torch.randn(new, length, width, generator=dice)
        made.append((1 - share) * frames_SFD[one, at] + share * frames_SFD[other, beside] + noise)
    return torch.cat(made)[:count]


def index_of(directory: Path, frames_SFD: Tensor, method: Method) -> IndexCard:
    width = frames_SFD.shape[2]
    index = IndexCard(directory, {"name": method.name, "id": method.id}, IndexConfig(), width, "now")
    times_N, seconds = np.arange(frames_SFD.shape[1], dtype=float), float(frames_SFD.shape[1])
    with locked(directory):
        cards.create(index)
        for low in range(0, len(frames_SFD), 4096):
            made = [
                EmbeddedVideo(Path(f"/{number:07d}"), f"{number:032x}", frames_FD, times_N, seconds)
                for number, frames_FD in enumerate(frames_SFD[low : low + 4096], low)
            ]
            store.append_segments(directory, [segments_of(made, width)])
            store.write_files(directory, [row_of(one, make_file=False) for one in made])
        store.tidy(directory)
    return index


def overlaps(searcher: Searcher, texts: Texts) -> dict[int, float]:
    """For every N the share of the exhaustive top 10 that is among the N best by the scan, in the mean over queries."""
    loaded = searcher.loaded
    blocks = range(0, searcher.segment_count, 8192)
    with torch.inference_mode():
        picks = [np.arange(low, min(low + 8192, searcher.segment_count)) for low in blocks]
        device = texts.pooled_TD.device
        parts = [score_in_blocks(searcher.method, texts, gather(loaded, pick, device), block=1000) for pick in picks]
        exact_TS = torch.cat(parts, dim=1).numpy()
        places = []
        for row, text_D in zip(exact_TS, texts.pooled_TD, strict=True):
            cosines_N = scan(loaded.frames_ND.pieces, loaded.inverse_norms_N, text_D[None])[0]
            coarse_S = np.maximum.reduceat(cosines_N, loaded.segments.first_S)
            top = np.lexsort((loaded.order_S, -row))[:TOP]
            place_S = np.empty(len(coarse_S), np.int64)
            place_S[np.lexsort((loaded.order_S, -coarse_S))] = np.arange(len(coarse_S))
            places.append(place_S[top])
    return {size: float(np.mean(np.array(places) < size)) for size in SIZES}


def draw(curve: dict[int, float], chosen: int, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 3.6), layout="constrained")
    axes.plot(list(curve), list(curve.values()), marker="o")
    axes.axhline(GOAL, ls="--", lw=1, color="grey")
    axes.axvline(chosen, ls=":", lw=1, color="grey")
    axes.set(xscale="log", xlabel="N, segments that are scored", ylabel="share of the exhaustive top 10")
    axes.set_xticks(list(curve)[::2], labels=[f"{size:,}" for size in list(curve)[::2]], rotation=45)
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a trained run; without it one is trained")
    parser.add_argument("--data", default="", help="folder of the generated videos")
    parser.add_argument("--cache", default="", help="folder of tower outputs")
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--timed", type=int, default=3, help="exhaustive searches that are timed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run = args.run or train(args, place)
        method = load(str(run))
        texts, frames_SFD, captions = real_segments(method, run, args)
        chosen = torch.randperm(len(captions), generator=torch.Generator().manual_seed(0))[: args.queries]
        queries = texts.each(lambda rows: rows[chosen])
        index = index_of(place / "index", more_segments(frames_SFD, args.segments), method)
        searcher = Searcher(index, method)
        begun = time.perf_counter()
        curve = overlaps(searcher, queries)
        print(f"{time.perf_counter() - begun:.0f} s", curve, flush=True)
        size = next((size for size in SIZES if size >= LEAST and curve[size] >= GOAL), args.segments)

        # The text tower does not depend on the index.
        def encoded(words: list[str]) -> Texts:
            return queries.each(lambda rows: rows[int(words[0])][None])

        searcher.encode = encoded  # type: ignore[method-assign]
        for coarse in (size, COARSE):
            searcher.search("0", TOP, coarse=coarse)
        times: dict[str, Any] = in_turn(
            {
                "all segments": lambda n: searcher.search(str(n), TOP, coarse=args.segments),
                f"the best {size}": lambda n: searcher.search(str(n), TOP, coarse=size),
                f"the best {COARSE}": lambda n: searcher.search(str(n), TOP, coarse=COARSE),
            },
            args.timed,
        )
        speed = times["all segments"]["p50_ms"] / times[f"the best {size}"]["p50_ms"]
    results = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "setup": {
            "segments": args.segments,
            "from_real": len(frames_SFD),
            "frames": frames_SFD.shape[1],
            "width": frames_SFD.shape[2],
            "queries": args.queries,
            "timed": args.timed,
            "model": {"name": method.name, "trained_on": str(getattr(method, "trained_on", ""))},
        },
        "overlap": {str(size): round(value, 4) for size, value in curve.items()},
        "n": size,
        "speed_up": round(speed, 1),
        "times": rounded(times),
    }
    (RESULTS / "two_stages.json").write_text(json.dumps(results, indent=2) + "\n")
    draw(curve, size, RESULTS / "two_stages.png")
    print(json.dumps(results["times"]), size, results["speed_up"])


if __name__ == "__main__":
    main()
