"""`reelseek train`: a method by recipe."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reelseek.app.settings import add_cache, parse_with_recipe, run_config, settings_parser
from reelseek.app.terminal import progress
from reelseek.recipes import RECIPES


def parse(words: Sequence[str]) -> Namespace:
    """RECIPE --data DIR [--out RUN] [--config FILE] [--section.key value ...]."""
    options = settings_parser("train", "Train a method by recipe. Any setting can be changed by its dotted name.")
    options.add_argument("recipe", metavar="RECIPE", help=f"one of: {', '.join(RECIPES)}")
    options.add_argument(
        "--out", default="", metavar="RUN", help="the run folder instead of runs/RECIPE-SEED; a stopped run goes on"
    )
    add_cache(options)
    options.usage = "reelseek train RECIPE [--data DIR] [--out RUN] [--config FILE] [--section.setting VALUE ...]"
    return parse_with_recipe(options, words)


def run(arguments: Namespace) -> int:
    """Train, save the run, and say how to evaluate it on the test split, which training never looks at."""
    from reelseek.recipes.run import train

    config = run_config(arguments)
    out = Path(arguments.out or f"runs/{arguments.recipe}-{config.train.seed}")
    cache = Path(arguments.cache) if arguments.cache else None
    outcome = train(config, out, cache=cache, progress=progress, say=_say)
    if int(os.environ.get("RANK", "0")) > 0:  # torchrun: the first process speaks for all
        return 0
    fit = outcome.fit
    done = "was trained before" if fit.resumed_at == fit.steps else f"{fit.steps:,} steps in {fit.seconds:.0f} s"
    print(
        f"{out}: {done}; best epoch {fit.best_epoch}, validation R@1 {fit.best_value:.1f} "
        "(the epoch was chosen by it: not a result)."
    )
    print(f"Next: reelseek evaluate {out}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
