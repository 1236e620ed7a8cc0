"""What GARE's scoring and training step cost as texts, videos, frames and batch grow, and what half precision costs.

    python benchmarks/scoring_curves.py     # about five minutes on two cores; writes results/scoring_curves.{json,png}

Memory is the peak of a process of its own beyond its inputs. Seconds are medians.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from scoring import batch, bound_of, in_turn, machine, peak_mb, same_top, step_case

from reelseek.methods.gare import GareHead
from reelseek.methods.gare_scorers import matrix_scorer
from reelseek.score.blocks import score_in_blocks

START = {"texts": 500, "videos": 500, "frames": 12}
CURVES = {
    "texts": (125, 250, 500, 1000, 2000, 4000),
    "videos": (125, 250, 500, 1000, 2000, 4000),
    "frames": (1, 4, 8, 12, 24, 48),
    "batch": (32, 64, 128, 256, 512, 1024, 2048),
}
RESULTS = Path(__file__).parent / "results"


def point(axis: str, value: int, args: argparse.Namespace) -> dict[str, float]:
    if axis == "batch":
        step = argparse.Namespace(batch=value, frames=12, width=512, repeats=3 if value < 512 else 1, plain_repeats=1)
        return {key: float(figure) for key, figure in step_case("step_factorised", step).items()}  # type: ignore[arg-type]
    sizes = START | {axis: value}
    texts, videos = batch(sizes["texts"], sizes["videos"], sizes["frames"], 512)
    head = GareHead(512, temperature=3.0).eval()
    before = peak_mb()
    score_in_blocks(head, texts, videos, 1000)
    peak = peak_mb() - before
    times = in_turn(5, call=lambda: score_in_blocks(head, texts, videos, 1000), bound=bound_of(texts, videos))
    return {"seconds": times["call"], "bound_seconds": times["bound"], "peak_mb": peak}


def operand_errors() -> dict[str, dict[str, float]]:
    """Every score from half-precision operands, none scored again, against float32."""
    texts, videos = batch(200, 200, 12, 512)
    head = GareHead(512, temperature=3.0).eval()
    exact_TV = head.prepare(videos)(texts)
    found = {}
    for operands in (torch.bfloat16, torch.float16):
        rounded_TV = matrix_scorer(head.psi, head.variant, videos, operands=operands)(texts.pooled_TD)
        found[str(operands).removeprefix("torch.")] = same_top(exact_TV, rounded_TV)
    return found


def draw(curves: dict[str, list[dict[str, float]]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(14, 3.6), layout="constrained")
    for axis, (name, points) in zip(axes, curves.items(), strict=True):
        values = [entry["value"] for entry in points]
        axis.plot(values, [entry["seconds"] for entry in points], marker="o", label="reelseek")
        if "bound_seconds" in points[0]:
            axis.plot(values, [entry["bound_seconds"] for entry in points], marker=".", ls="--", label="products alone")
        axis.set(xlabel=name, xscale="log", yscale="log", title="training step" if name == "batch" else "scoring")
        axis.set_xticks(values, labels=[str(value) for value in values], rotation=45)
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds")
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--largest-batch", type=int, default=2048)
    parser.add_argument("--point", help="axis:value: measure this one here and print it as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.point:
        axis, value = args.point.split(":")
        print(json.dumps(point(axis, int(value), args)))
        return
    curves: dict[str, list[dict[str, float]]] = {}
    for axis, values in CURVES.items():
        curves[axis] = []
        for value in (one for one in values if axis != "batch" or one <= args.largest_batch):
            command = [sys.executable, __file__, f"--threads={args.threads}", f"--point={axis}:{value}"]
            figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            curves[axis].append({"value": value, **figures})
            print(axis, value, {name: round(figure, 4) for name, figure in figures.items()}, flush=True)
    errors = operand_errors()
    print(errors)
    results = {"machine": machine(args.threads), "start": START, "curves": curves, "operands": errors}
    (RESULTS / "scoring_curves.json").write_text(json.dumps(results, indent=2) + "\n")
    draw(curves, RESULTS / "scoring_curves.png")


if __name__ == "__main__":
    main()
