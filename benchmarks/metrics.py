"""How long metrics, rescoring and a whole evaluation take at the size of the largest benchmark, and their memory.

    python benchmarks/metrics.py            # about two minutes on one core; writes benchmarks/results/metrics.json

MSR-VTT full has 59,800 texts of 2,990 videos, 20 a video; the scores are drawn. Every case runs in a process of its
own, so that peaks of memory do not mix; the peak is that of the process, the 0.7 GB of scores and the 0.2 GB of
relevance included. "evaluation" scores vectors of 64 numbers by cosine: what is timed is everything after the towers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from reelseek.config import EvaluateConfig
from reelseek.data.pairs import Pairs
from reelseek.embed import EmbeddedPairs
from reelseek.evaluation import evaluate_embedded
from reelseek.rank.metrics import retrieval_metrics, video_to_text_metrics
from reelseek.records import Scores, Texts, Videos
from reelseek.score.priors import RESCORERS, Bank, rescorer

WIDTH, BANK = 64, 5000
EVALUATIONS = {
    "evaluation": EvaluateConfig(bootstrap=0),
    "evaluation with intervals": EvaluateConfig(),
    "evaluation with dual softmax": EvaluateConfig(bootstrap=0, rescoring="dual_softmax"),
    "evaluation with QB-Norm from a bank": EvaluateConfig(bootstrap=0, rescoring="qb_norm", prior="bank"),
}
METRICS = ("text to video", "video to text, best caption", "video to text, any caption", "all metrics", "corrected")
CASES = (*METRICS, *RESCORERS, *EVALUATIONS)


def scores(texts: int, videos: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((texts, videos), dtype=np.float32) * np.float32(0.1)


def owners(texts: int, videos: int) -> np.ndarray:
    return np.sort(np.arange(texts) % videos)


def metric_case(name: str, texts: int, videos: int) -> Callable[[], object]:
    matrix, owner = scores(texts, videos), owners(texts, videos)
    relevance = np.zeros((texts, videos), dtype=bool)
    relevance[np.arange(texts), owner] = True
    if name == "corrected":
        relevance[np.arange(texts), np.random.default_rng(1).integers(0, videos, texts)] = True
    calls = {
        "text to video": lambda: retrieval_metrics(matrix, relevance),
        "video to text, best caption": lambda: video_to_text_metrics(matrix, relevance, owner_T=owner),
        "video to text, any caption": lambda: video_to_text_metrics(matrix, relevance, "any_caption"),
    }
    return calls[name] if name in calls else lambda: [call() for call in calls.values()]


def rescoring_case(name: str, texts: int, videos: int) -> Callable[[], object]:
    matrix = torch.from_numpy(scores(texts, videos))
    bank = Bank(torch.from_numpy(scores(BANK, videos)), torch.from_numpy(scores(videos, videos)))
    prior = "test" if "test" in RESCORERS[name].priors else "bank"
    apply = rescorer(name, prior, bank=bank).apply
    return lambda: apply(matrix)


def split(name: str, texts: int, videos: int) -> EmbeddedPairs:
    chance = torch.Generator().manual_seed(len(name))
    pairs = Pairs(
        name=name,
        texts=tuple(f"text {number}" for number in range(texts)),
        text_ids=tuple(map(str, range(texts))),
        video_of_T=owners(texts, videos),
        video_ids=tuple(f"{name}{number}" for number in range(videos)),
        paths=(Path("none.mp4"),) * videos,
    )
    frames = Videos(torch.randn(videos, 1, WIDTH, generator=chance), torch.ones(videos, 1, dtype=torch.bool))
    return EmbeddedPairs(pairs, Texts(torch.randn(texts, WIDTH, generator=chance)), frames, [])


def evaluation_case(name: str, texts: int, videos: int) -> Callable[[], object]:
    unit = torch.nn.functional.normalize
    method = SimpleNamespace(
        name="cosine",
        project=lambda left, right: (left, right),
        score=lambda left, right: Scores(unit(left.pooled_TD, dim=-1) @ unit(right.frames_VFD[:, 0], dim=-1).T),
    )
    test, bank = split("test", texts, videos), split("train", BANK, BANK // 20)
    return lambda: evaluate_embedded(method, test, config=EVALUATIONS[name], frames=1, bank=bank)


def measured(case: str, texts: int, videos: int) -> dict[str, float]:
    make = metric_case if case in METRICS else rescoring_case if case in RESCORERS else evaluation_case
    call = make(case, texts, videos)
    begun = time.perf_counter()
    call()
    seconds = time.perf_counter() - begun
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1e6
    return {"seconds": round(seconds, 2), "peak_gb": round(peak, 2)}


def main(words: Sequence[str] | None = None) -> None:
    """Measure every case, print a line each, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=59800)
    parser.add_argument("--videos", type=int, default=2990)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", choices=CASES, help="run this one here and print its figures as JSON")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "metrics.json")
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    if args.case:
        print(json.dumps(measured(args.case, args.texts, args.videos)))
        return
    cpu = Path("/proc/cpuinfo").read_text().split("model name")[1].splitlines()[0].lstrip("\t: ")
    results: dict[str, object] = {
        "machine": {
            "cpu": cpu,
            "cores": os.cpu_count(),
            "threads": args.threads,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "load_before": round(os.getloadavg()[0], 2),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "sizes": {"texts": args.texts, "videos": args.videos, "bank": BANK},
    }
    for case in CASES:
        command = [sys.executable, __file__, f"--case={case}"]
        command += [f"--{name}={getattr(args, name)}" for name in ("texts", "videos", "threads")]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        results[case] = figures
        print(f"{case:36} {figures['seconds']:7.2f} s, peak {figures['peak_gb']:.2f} GB", flush=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
