"""Exact search at scale: a synthetic index on disk, its start, its memory, its scan beside FAISS, and its updates.

    python benchmarks/search_million.py                                  # 1,000,000 frames of width 512; 3 GB of disk
    python benchmarks/search_million.py --vectors 100000 300000 1000000 3000000 10000000   # 25 GB, and 12 of memory
    python benchmarks/search_million.py --many-files 100000              # what an index of so many files costs

Frames are clustered: a thousand scenes, videos of 400 frames (one a second) that each stay near one, 12 frames a
segment. FAISS is `pip install "reelseek[bench]"`: a flat index of the same vectors in float16 (SQfp16, inner product),
which takes one thread for one query; with two threads it searches two halves (`IndexShards`). Both are asked in turn.
A process of its own measures each start. The text tower is left out. Writes results/search_million.{json,png}
and results/search_files.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from reelseek.config import IndexConfig
from reelseek.index import build, cards, store
from reelseek.index.ask import ask
from reelseek.index.cards import IndexCard, open_index
from reelseek.index.disk import locked
from reelseek.index.query import Query
from reelseek.index.scan import scan
from reelseek.index.search import Searcher
from reelseek.index.store import IndexedFile
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.records import EmbeddedVideo, Preprocess, Scores, Texts, Videos

SCENES, BATCH = 1000, 64
NEAR, LOOSE = 0.6, 0.3
"""How far a video lies from its scene, and a frame from its video, in lengths of a scene's vector."""
FAISS_MOST = 3_000_000
"""Above this many vectors a copy of them in FAISS leaves too little memory."""
RESULTS = Path(__file__).parent / "results"


class Towers:
    """A method whose texts are near a scene and whose score is the mean of frames."""

    id, name, backbone_id = "synthetic", "synthetic", "synthetic"
    preprocess = Preprocess(resize=1, crop=1, mean=(0.0,) * 3, std=(1.0,) * 3)

    def __init__(self, width: int) -> None:
        self.width, self.head = width, MeanPoolHead()

    def encode_texts(self, captions: list[str]) -> Texts:
        number = zlib.crc32(captions[0].encode())
        noise_1D = torch.randn(1, self.width, generator=torch.Generator().manual_seed(number))
        return Texts(scenes(self.width)[number % SCENES] + noise_1D)

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        return torch.ones(len(pixels_N3HW), self.width)

    def project(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        return texts, videos

    def score(self, texts: Texts, videos: Videos) -> Scores:
        return self.head.score(texts, videos)


@cache
def scenes(width: int) -> Tensor:
    return torch.randn(SCENES, width, generator=torch.Generator().manual_seed(0))


@cache
def noise(width: int) -> Tensor:
    return torch.randn(1 << 15, width, generator=torch.Generator().manual_seed(1))


def video(number: int, frames: int, width: int, folder: Path) -> EmbeddedVideo:
    # Two draws from one pool of noise: drawing afresh would take longer than writing.
    own, low = (7919 * number) % (1 << 15), (104729 * number) % ((1 << 15) - frames)
    middle_D = scenes(width)[number % SCENES] + NEAR * noise(width)[own]
    frames_ND = torch.nn.functional.normalize(middle_D + LOOSE * noise(width)[low : low + frames])
    name = f"{number:07d}.mp4"
    return EmbeddedVideo(folder / name, f"{number:032x}", frames_ND, np.arange(frames, dtype=float), float(frames))


def segments_of(videos: Sequence[EmbeddedVideo], width: int) -> Any:
    """What `reelseek.index.segments.cut_segments` makes of videos of equal length, all at once."""
    each, most = len(videos[0].times_N), IndexConfig().segment_frames
    lows = np.arange(0, each, most)
    count_S = np.tile(np.minimum(most, each - lows), len(videos)).astype(np.int32)
    offsets = pa.array(np.append(0, np.cumsum(count_S)), pa.int32())
    half_ND = torch.cat([one.frames_ND for one in videos]).half().numpy()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(half_ND.ravel()), width)
    times_N = np.tile(np.arange(each, dtype=float), len(videos))
    columns = [
        pa.array(np.repeat([one.content_hash for one in videos], len(lows))),
        pa.array(np.ones(len(count_S), np.int64)),
        pa.array(np.tile(np.arange(len(lows), dtype=np.int32), len(videos))),
        pa.array(np.tile(lows.astype(float), len(videos))),
        pa.array(np.tile(np.append(lows[1:], each).astype(float), len(videos))),
        pa.array(count_S),
        pa.ListArray.from_arrays(offsets, pa.array(times_N)),
        pa.ListArray.from_arrays(offsets, vectors),
    ]
    return pa.table(columns, schema=store.segments_schema(width))


def make_index(place: Path, frames: int, width: int, each: int, *, files: bool = True) -> dict[str, float]:
    """The index at place/index of fake files at place/videos; seconds that writing and tidying took."""
    directory, folder = place / "index", place / "videos"
    folder.mkdir(parents=True)
    method = Towers(width)
    index = IndexCard(directory, {"name": method.name, "id": method.id}, IndexConfig(), width, "now")
    writing, videos = 0.0, frames // each
    with locked(directory):
        cards.create(index)
        for low in range(0, videos, BATCH):
            numbers = range(low, min(low + BATCH, videos))
            made = [video(number, each, width, folder) for number in numbers]
            table = segments_of(made, width)
            rows = [row_of(one, make_file=files) for one in made]
            begun = time.perf_counter()
            store.append_segments(directory, [table])
            store.write_files(directory, rows)
            writing += time.perf_counter() - begun
        begun = time.perf_counter()
        store.tidy(directory)
        tidying = time.perf_counter() - begun
    return {"append_seconds": writing, "tidy_seconds": tidying, "frames_per_second": frames / (writing + tidying)}


def row_of(one: EmbeddedVideo, *, make_file: bool) -> IndexedFile:
    mtime_ns = 1
    if make_file:
        one.path.write_bytes(b"x")
        mtime_ns = one.path.stat().st_mtime_ns
    return IndexedFile(one.path, 1, mtime_ns, one.content_hash, one.duration, "ok", "", 0.0)


def memory() -> dict[str, float]:
    """MiB resident: of this process alone, and shared with (or ready to be shared by) others, from mapped files.

    Mapped files are the vectors and the code of libraries.
    """
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    found = {row.split(":")[0]: int(row.split()[1]) / 1024 for row in rows}
    status = Path("/proc/self/status").read_text()
    shared = int(status.split("RssFile:")[1].split()[0]) / 1024
    vectors, mine = 0.0, False
    for row in Path("/proc/self/smaps").read_text().splitlines():
        if row.startswith("Rss:"):
            vectors += int(row.split()[1]) / 1024 if mine else 0
        elif row.endswith((".f16", ".f16 (deleted)")) or "-" in row.split()[0]:
            mine = ".f16" in row
    return {
        "resident": found["Rss"],
        "mapped": shared,
        "mapped_vectors": vectors,
        "own": found["Rss"] - shared,
        "peak": peak_mb(),
    }


def peak_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def start(place: Path, width: int) -> dict[str, Any]:
    """From opening the index to the first answer, in a process that has done nothing before; then memory."""
    method = Towers(width)
    before = memory()
    begun, cpu = time.perf_counter(), time.process_time()
    searcher = Searcher(open_index(place / "index"), method)
    loaded = time.perf_counter() - begun
    searcher.search("the first")
    first, cpu = time.perf_counter() - begun, time.process_time() - cpu
    for number in range(20):
        searcher.search(f"query {number}")
    after = memory()
    grown = {name: after[name] - before[name] for name in after}
    seconds = {"load_seconds": loaded, "first_answer_seconds": first, "first_answer_cpu_seconds": cpu}
    return {**seconds, "before_mb": before, "grown_mb": grown}


def forget(place: Path) -> None:
    """Drop an index from the page cache."""
    os.sync()
    for path in place.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def in_turn(calls: dict[str, Callable[[int], Any]], times: int) -> dict[str, dict[str, float]]:
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(times):
        for name, call in calls.items():
            begun = time.perf_counter()
            call(number)
            taken[name].append(1e3 * (time.perf_counter() - begun))
    return {
        name: {"p50_ms": float(np.median(row)), "p95_ms": float(np.quantile(row, 0.95)), "best_ms": min(row)}
        for name, row in taken.items()
    }


def pieces_of(searcher: Searcher) -> Any:
    """The vectors as they are scanned: pieces, or one tensor."""
    frames_ND = searcher.loaded.frames_ND
    return getattr(frames_ND, "pieces", frames_ND)


def top_frames(searcher: Searcher, query_1D: Tensor, factors_N: Tensor, k: int = 10) -> list[int]:
    """The best frames. factors_N: one over their lengths, or ones for inner products, which is what FAISS ranks by."""
    with torch.inference_mode():
        scores_1N = torch.from_numpy(scan(pieces_of(searcher), factors_N, query_1D))
        return [int(n) for n in scores_1N[0].topk(k).indices]


def flat(frames: Iterator[np.ndarray], width: int) -> Any:
    import faiss

    index = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for block_ND in frames:
        index.add(block_ND)
    return index


def blocks(searcher: Searcher, low: int, high: int) -> Iterator[np.ndarray]:
    for first in range(low, high, 50_000):
        rows = torch.arange(first, min(first + 50_000, high))
        yield searcher.loaded.frames_ND[rows].float().numpy()


def scans(place: Path, width: int, queries: int) -> dict[str, Any]:
    """Top-10 frames of one query, in turn with FAISS, by one thread each and by two; and whole searches."""
    searcher = Searcher(open_index(place / "index"), Towers(width))
    count = len(searcher.loaded.frames_ND)
    texts = [torch.nn.functional.normalize(searcher.method.encode_texts([f"q{n}"]).pooled_TD) for n in range(queries)]
    own = {"reelseek": lambda n: top_frames(searcher, texts[n], searcher.loaded.inverse_norms_N)}
    results: dict[str, Any] = {}
    halves: list[Any] = []
    if count <= FAISS_MOST:
        import faiss

        results["faiss"] = {"version": faiss.__version__, "options": faiss.get_compile_options().strip()}
        half = count // 2
        halves = [flat(blocks(searcher, low, high), width) for low, high in ((0, half), (half, count))]
        both = [faiss.IndexShards(width, threaded) for threaded in (False, True)]
        for shards in both:
            for one in halves:
                shards.add_shard(one)
        ones_N = torch.ones(count)
        agreed = [
            set(both[0].search(text.numpy(), 10)[1][0]) == set(top_frames(searcher, text, ones_N)) for text in texts
        ]
        results["same_top_10"] = float(np.mean(agreed))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        calls = dict(own)
        if halves:
            faiss.omp_set_num_threads(threads)
            calls["faiss"] = lambda n, threaded=threads > 1: both[threaded].search(texts[n].numpy(), 10)
        for call in calls.values():
            call(0)
        rows = in_turn(calls, queries)
        if halves:
            rows["ratio"] = rows["reelseek"]["p50_ms"] / rows["faiss"]["p50_ms"]  # type: ignore[assignment]
        results[f"top 10 frames, threads {threads}"] = rows
    results |= in_turn(
        {
            "whole search": lambda n: searcher.search(f"q{n}"),
            "whole search, moments": lambda n: searcher.search(f"q{n}", moments=True),
            "whole search, duplicates collapsed": lambda n: ask(searcher, Query(text=f"q{n}")),
        },
        queries,
    )
    results["16 queries at once"] = in_turn(
        {
            "x": lambda n: scan(
                pieces_of(searcher),
                searcher.loaded.inverse_norms_N,
                torch.cat([texts[(n + m) % queries] for m in range(16)]),
            )
        },
        min(queries, 10),
    )["x"]
    return results


def updates(place: Path, width: int, each: int) -> dict[str, float]:
    """Seconds of an update without changes, of one that adds a video, and of reading the index again after it."""
    directory, folder = place / "index", place / "videos"
    number = 1 + max(int(path.stem) for path in folder.iterdir())
    build.embed_files = lambda method, paths, *a, **k: iter([video(int(p.stem), each, width, folder) for p in paths])

    def timed(call: Callable[[], Any]) -> float:
        begun = time.perf_counter()
        call()
        return time.perf_counter() - begun

    def change(step: int) -> None:
        # No other file is as long, so none has to be read to see that this one is new.
        (folder / f"{number + step:07d}.mp4").write_bytes(b"x" * (2 + step))

    def bring_up() -> None:
        report = build.update(directory, [folder], Towers(width), model_card={})
        assert not report.broken

    found = {"unchanged_seconds": float(np.median([timed(bring_up) for _ in range(3)]))}
    searcher = Searcher(open_index(directory), Towers(width))
    added, again = [], []
    for step in range(3):
        change(step)
        added.append(timed(bring_up))
        again.append(timed(searcher.reload))
    found |= {"add_one_video_seconds": float(np.median(added)), "reload_seconds": float(np.median(again))}
    (folder / f"{number:07d}.mp4").unlink()
    found["remove_one_video_seconds"] = timed(bring_up)
    found["list_files_seconds"] = timed(lambda: store.list_files(directory))
    return found


def child(step: str, place: Path, args: argparse.Namespace) -> Any:
    command = [sys.executable, __file__, f"--step={step}", f"--place={place}", f"--width={args.width}"]
    command += [f"--queries={args.queries}", f"--each={args.each}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def disk_mb(place: Path) -> float:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) / 2**20


def measure(frames: int, args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        place = Path(name) / "library"
        rows: dict[str, Any] = {"frames": frames, "vectors_mb": 2 * frames * args.width / 2**20}
        rows["build"] = make_index(place, frames, args.width, args.each)
        rows["disk_mb"] = disk_mb(place / "index")
        tell("built", rows)
        starts = [child("start", place, args) for _ in range(3)]
        rows["start, in the page cache"] = sorted(starts, key=lambda row: row["first_answer_seconds"])[1]
        forget(place)
        rows["start, read from disk"] = child("start", place, args)
        tell("started", {key: row for key, row in rows.items() if key.startswith("start")})
        rows |= child("scans", place, args)
        rows["update"] = child("updates", place, args)
        tell("measured", rows)
    return rows


def tell(word: str, rows: dict[str, Any]) -> None:
    print(word, json.dumps(rounded(rows)), file=sys.stderr, flush=True)


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return {key: rounded(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def machine() -> dict[str, Any]:
    cpu = [row.split(":")[1].strip() for row in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in row]
    found = {"cpu": cpu[0], "cores": len(cpu), "torch": torch.__version__, "python": platform.python_version()}
    # Other work on the machine makes seconds longer; what is asked in turn stays comparable.
    return {**found, "load_average": round(os.getloadavg()[0], 1)}


def write(name: str, args: argparse.Namespace, results: Any) -> None:
    setup = {key: value for key, value in vars(args).items() if key in ("width", "each", "queries")}
    told = {"date": date.today().isoformat(), "machine": machine(), "setup": setup, "results": rounded(results)}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")


def draw(points: list[dict[str, Any]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    start, disk = "start, in the page cache", "start, read from disk"
    panels: dict[str, dict[str, Callable[[dict[str, Any]], float]]] = {
        "index, seconds": {
            "append": lambda row: row["build"]["append_seconds"],
            "tidy and copy": lambda row: row["build"]["tidy_seconds"],
        },
        "start, seconds": {
            "to the first answer": lambda row: row[start]["first_answer_seconds"],
            "from disk": lambda row: row[disk]["first_answer_seconds"],
        },
        "search, ms": {
            "one query": lambda row: row["whole search"]["p50_ms"],
            "scan, 1 thread": lambda row: row["top 10 frames, threads 1"]["reelseek"]["p50_ms"],
            "scan, 2 threads": lambda row: row["top 10 frames, threads 2"]["reelseek"]["p50_ms"],
        },
        "update, seconds": {
            "nothing new": lambda row: row["update"]["unchanged_seconds"],
            "one video more": lambda row: row["update"]["add_one_video_seconds"],
            "reload": lambda row: row["update"]["reload_seconds"],
        },
    }
    sizes = [row["frames"] for row in points]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(14, 3.6), layout="constrained")
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for name, value in lines.items():
            axis.plot(sizes, [value(row) for row in points], marker="o", label=name)
        axis.set(xlabel="frame vectors", xscale="log", yscale="log", title=title)
        axis.set_xticks(sizes, labels=[f"{size / 1e6:g} M" for size in sizes], rotation=45)
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--vectors", type=int, nargs="+", default=[1_000_000], help="sizes; what was measured of others stays"
    )
    parser.add_argument("--many-files", type=int, default=0)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--each", type=int, default=400, help="frames of a video")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--folder", default=None, help="where the index is made; the system's own place by default")
    parser.add_argument("--step", choices=["start", "scans", "updates"], help="measure this here, on --place")
    parser.add_argument("--place", type=Path)
    args = parser.parse_args()
    if args.step:
        steps = {
            "start": lambda: start(args.place, args.width),
            "scans": lambda: scans(args.place, args.width, args.queries),
            "updates": lambda: updates(args.place, args.width, args.each),
        }
        print(json.dumps(steps[args.step]()))
        return
    if args.many_files:
        args.width, args.each = 64, 4
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            place = Path(name) / "library"
            made = make_index(place, args.many_files * args.each, args.width, args.each)
            rows: dict[str, Any] = {"files": args.many_files, "build": made, "start": child("start", place, args)}
            write("search_files", args, rows | {"update": child("updates", place, args)})
        return
    file = RESULTS / "search_million.json"
    points = {row["frames"]: row for row in json.loads(file.read_text())["results"]} if file.exists() else {}
    for frames in args.vectors:
        points[frames] = measure(frames, args) | {"machine": machine()}
        rows = [points[size] for size in sorted(points)]
        write("search_million", args, rows)
        draw(rows, RESULTS / "search_million.png")


if __name__ == "__main__":
    main()
