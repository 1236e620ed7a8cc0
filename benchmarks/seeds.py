"""How much of a difference between methods is the seed: the motions recipes over several seeds, on the test split.

    python benchmarks/seeds.py OUT [--root MOTIONS] [--seeds 5]

The settings are the recipes' own. Runs are kept in OUT and go on there after a kill; the benchmark (500, 100 and 200
videos) is made in OUT/motions unless --root names one.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from reelseek import evaluate, train
from reelseek.app.results import machine
from reelseek.data import load
from reelseek.rank.export import write_json
from reelseek.recipes import recipe

RESULT = Path(__file__).parent / "results" / "seeds.json"
RECIPES = ("clip4clip-meanp-motions", "gare-baseline-motions", "gare-motions")
SHOWN = ("R@1", "R@5", "R@10", "MdR", "MnR")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out", type=Path)
    options.add_argument("--root", type=Path)
    options.add_argument("--cache", type=Path)
    options.add_argument("--seeds", type=int, default=5)
    arguments = options.parse_args()
    root, cache = arguments.root or arguments.out / "motions", arguments.cache or arguments.out / "cache"
    found: dict[str, list[dict[str, float]]] = {name: [] for name in RECIPES}
    protocol: dict[str, object] = {}
    for name in RECIPES:
        for seed in range(arguments.seeds):
            config = recipe(name)
            config = replace(
                config,
                data=replace(config.data, root=str(root)),
                train=replace(config.train, seed=seed),
            )
            method = train(config, arguments.out / f"{name}-{seed}", cache=cache).method
            test = load(config.data).test
            assert test is not None
            no_intervals = replace(config.evaluate, bootstrap=0)
            evaluation = evaluate(method, test, config=no_intervals, sample=config.sample, cache=cache)
            found[name].append(dict(evaluation.metrics["text_to_video"]))
            protocol = dict(evaluation.protocol)
    summary = {}
    for name, rows in found.items():
        mean = {metric: float(np.mean([row[metric] for row in rows])) for metric in SHOWN}
        spread = {metric: float(np.std([row[metric] for row in rows], ddof=1)) for metric in SHOWN}
        summary[name] = {"mean": mean, "standard deviation": spread}
        print(f"{name:<28}" + "".join(f"{metric} {mean[metric]:.1f} ± {spread[metric]:.1f}   " for metric in SHOWN))
    write_json(
        RESULT,
        {"machine": machine(), "protocol": protocol, "seeds": arguments.seeds, "summary": summary, "runs": found},
    )


if __name__ == "__main__":
    main()
