"""How fast and how large GARE's scoring and its training step are, against the plain path and a matrix-product bound.

    python benchmarks/scoring.py            # about three minutes on two cores; writes benchmarks/results/scoring.json

Every case runs in a process of its own, so that peaks of memory do not mix; the bound is timed in turn with the case.
The bound is 3 products of all texts with all frames by `torch.mm`. "factorised" is `score`, with the increments that a
loss needs; "evaluated" prepares the videos and scores them, as evaluation does; "prepared" leaves out the preparing, as
for an index; "leaders" is "prepared" with bfloat16 operands and the 16 best of every text scored again; "large" is
"evaluated" at 5,000 x 5,000. The plain path is `score_reference`, the live branch
alone with keys and values once a frame, in its fastest block size. Medians of `--repeats` runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

from reelseek.losses.contrastive import info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.methods.gare import GareHead
from reelseek.records import Scores, Texts, Videos

CASES = ("factorised", "evaluated", "prepared", "leaders", "large", "plain", "step_factorised", "step_plain")
LEADERS = 16
LARGE = 5000


class Plain:
    """The plain path in the shape that `score_in_blocks` takes."""

    def __init__(self, head: GareHead) -> None:
        self.head = head

    def score(self, texts: Texts, videos: Videos) -> Scores:
        return self.head.score_reference(texts, videos)


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(repeats: int, **calls: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each call, taken in turn so that a busy moment hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call))
    return {name: statistics.median(values) for name, values in seconds.items()}


def batch(texts: int, videos: int, frames: int, width: int) -> tuple[Texts, Videos]:
    torch.manual_seed(0)
    # Lengths of about 10, as CLIP's embeddings have.
    scale = 10 / width**0.5
    mask = torch.ones(videos, frames, dtype=torch.bool)
    return Texts(torch.randn(texts, width) * scale), Videos(torch.randn(videos, frames, width) * scale, mask)


def bound_of(texts: Texts, videos: Videos) -> Callable[[], object]:
    left, right = videos.frames_VFD.flatten(0, 1), texts.pooled_TD.T.contiguous()
    return lambda: [torch.mm(left, right) for _ in range(3)]


def score_case(name: str, args: argparse.Namespace) -> dict[str, object]:
    from reelseek.score.blocks import score_in_blocks

    texts, videos = batch(args.texts, args.videos, args.frames, args.width)
    head = GareHead(args.width, temperature=3.0).eval()
    bound, found, before = bound_of(texts, videos), {}, peak_mb()
    with torch.no_grad():
        if name == "factorised":
            call: Callable[[], object] = lambda: head.score(texts, videos)  # noqa: E731
        elif name in ("evaluated", "large"):
            call = lambda: score_in_blocks(head, texts, videos, 1000)  # noqa: E731
        elif name in ("prepared", "leaders"):
            leaders = LEADERS if name == "leaders" else 0
            prepared = head.prepare(videos, leaders=leaders)
            found["prepare_seconds"] = statistics.median(
                timed(lambda: head.prepare(videos, leaders=leaders)) for _ in range(3)
            )
            call = lambda: prepared(texts)  # noqa: E731
            if leaders:
                exact = head.prepare(videos)
                found |= same_top(exact(texts), prepared(texts))
                exact_seconds = in_turn(args.repeats, exact=lambda: exact(texts), leaders=call)
                found["faster_than_exact"] = exact_seconds["exact"] / exact_seconds["leaders"]
        else:
            part = Videos(videos.frames_VFD[:128], videos.mask_VF[:128])
            some = Texts(texts.pooled_TD[:256])
            plain = Plain(head)
            trials = {
                size: timed(lambda s=size: score_in_blocks(plain, some, part, s)) for size in (16, 32, 64, 128, 256)
            }
            trials = {size: timed(lambda s=size: score_in_blocks(plain, some, part, s)) for size in trials}
            size = min(trials, key=lambda key: trials[key])
            found = {"block": size, "trial_seconds_256x128": trials}
            call = lambda: score_in_blocks(plain, texts, videos, size)  # noqa: E731
        call()
        found["peak_mb"] = peak_mb() - before
        times = in_turn(args.plain_repeats if name in ("plain", "large") else args.repeats, call=call, bound=bound)
    return {**found, "seconds": times["call"], "bound_seconds": times["bound"], "ratio": times["call"] / times["bound"]}


def same_top(exact_TV: torch.Tensor, found_TV: torch.Tensor) -> dict[str, float]:
    """Share of the ten best videos of every text that are the same, and the largest difference among all scores."""
    best, again = exact_TV.topk(10).indices.sort().values, found_TV.topk(10).indices.sort().values
    return {
        "same_top_10": float((best == again).float().mean()),
        "largest_difference": float((exact_TV - found_TV).abs().max()),
    }


def step_case(name: str, args: argparse.Namespace) -> dict[str, object]:
    texts, videos = batch(args.batch, args.batch, args.frames, args.width)
    head = GareHead(args.width, temperature=3.0, dropout=0.3, dropout_kind="video").train()
    texts.pooled_TD.requires_grad_()
    videos.frames_VFD.requires_grad_()
    score = head.score if name == "step_factorised" else head.score_reference

    def step() -> None:
        scores = score(texts, videos)
        parts = gare_regularisers(scores.increments, alpha=2.0, norm_bound=0.5)
        loss = info_nce(scores.matrix_TV, 100.0) + 1e-4 * parts["kl"] + 0.01 * (parts["direction"] + parts["norm"])
        for leaf in (*head.parameters(), texts.pooled_TD, videos.frames_VFD):
            leaf.grad = None
        loss.backward()

    before = peak_mb()
    step()
    peak = peak_mb() - before
    repeats = args.repeats if name == "step_factorised" else args.plain_repeats
    times = in_turn(repeats, step=step)
    return {"peak_mb": peak, "seconds": times["step"]}


def machine(threads: int) -> dict[str, object]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"texts": 1000, "videos": 1000, "frames": 12, "width": 512, "batch": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--plain-repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--case", choices=CASES, help="run this one here and print its figures as JSON")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "scoring.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.case:
        measure = step_case if args.case.startswith("step") else score_case
        print(json.dumps(measure(args.case, args)))
        return
    sizes = {name: getattr(args, name) for name in ("texts", "videos", "frames", "width", "batch")}
    results: dict[str, object] = {"machine": machine(args.threads), "sizes": sizes}
    for case in CASES:
        flags = [f"--{name}={getattr(args, name.replace('-', '_'))}" for name in (*sizes, "threads", "repeats")]
        flags += [f"--texts={LARGE}", f"--videos={LARGE}"] if case == "large" else []
        command = [sys.executable, __file__, *flags, f"--plain-repeats={args.plain_repeats}", f"--case={case}"]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        results[case] = figures
        ratio = f", {figures['ratio']:.2f} x the bound" if "ratio" in figures else ""
        print(f"{case:16} {figures['seconds']:8.3f} s, peak +{figures['peak_mb']:.0f} MB{ratio}", flush=True)
    seconds = {case: results[case]["seconds"] for case in CASES}  # type: ignore[index]
    results["speed_up"] = {
        "score": seconds["plain"] / seconds["factorised"],
        "evaluated": seconds["plain"] / seconds["evaluated"],
        "score_of_prepared_videos": seconds["plain"] / seconds["prepared"],
        "training_step": seconds["step_plain"] / seconds["step_factorised"],
    }
    print({name: round(value, 1) for name, value in results["speed_up"].items()})
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
