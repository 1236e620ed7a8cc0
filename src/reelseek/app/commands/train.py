"""`reelseek train`: a method by recipe."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reelseek.app.settings import add_cache, parse_with_recipe, run_config, settings_parser
from reelseek.app.terminal import progress, table
from reelseek.errors import ConfigError
from reelseek.recipes import RECIPES, parts_in_words
from reelseek.recipes.parts import BENCHMARK_PARTS, METHOD_PARTS


def parse(words: Sequence[str]) -> Namespace:
    """RECIPE --data DIR [--form paper] [--preset NAME] [--out RUN] [--config FILE] [--section.key value ...]."""
    if "--list" in words:
        return Namespace(list=True)
    options = settings_parser("train", "Train a method by recipe. Any setting can be changed by its dotted name.")
    options.add_argument("recipe", metavar="RECIPE", help=f"METHOD-BENCHMARK: {parts_in_words()}")
    options.add_argument("--list", action="store_true", help="show all recipes and leave")
    options.add_argument(
        "--form",
        default="clean",
        help="clean, or paper: settings as the method was published with (for recipes over CLIP)",
    )
    options.add_argument("--preset", default="", metavar="NAME", help="one of GARE's: as-described, as-released")
    options.add_argument(
        "--out", default="", metavar="RUN", help="the run folder instead of runs/RECIPE-SEED; a stopped run goes on"
    )
    add_cache(options)
    options.usage = (
        "reelseek train RECIPE [--data DIR] [--form paper] [--out RUN] [--config FILE] [--section.setting VALUE ...]\n"
        "       reelseek train --list"
    )
    return parse_with_recipe(options, words)


def run(arguments: Namespace) -> int:
    """Train, save the run, and say how to evaluate it on the test split, which training never looks at."""
    if arguments.list:
        return show_recipes()
    from reelseek.index.cards import has_card
    from reelseek.recipes.run import train

    config = run_config(arguments)
    variant = "".join(f"-{word}" for word in (arguments.form, arguments.preset) if word not in ("", "clean"))
    out = Path(arguments.out or f"runs/{arguments.recipe}{variant}-{config.train.seed}")
    if has_card(out):
        raise ConfigError(f"--out {out}: it is an index. A run needs a folder of its own.")
    cache = Path(arguments.cache) if arguments.cache else None
    outcome = train(config, out, cache=cache, progress=progress, say=_say)
    if int(os.environ.get("RANK", "0")) > 0:  # torchrun: the first process speaks for all
        return 0
    fit = outcome.fit
    done = "was trained before" if fit.resumed_at == fit.steps else f"{fit.steps:,} steps in {fit.seconds:.0f} s"
    print(
        f"{out}: {done}; best epoch {fit.best_epoch}, validation {config.train.select} {fit.best_value:.1f} "
        "(the epoch was chosen by it: not a result)."
    )
    print(f"Next: reelseek evaluate {out}")
    return 0


def show_recipes() -> int:
    """All recipes as a table: a row a benchmark, with what it sets; the methods that go before its name."""
    rows = []
    for name in BENCHMARK_PARTS:
        config = RECIPES[f"gare-{name}"]()
        towers = "end to end" if config.train.backbone_learning_rate else "frozen"
        epochs = sorted({RECIPES[f"{method}-{name}"]().train.epochs for method in METHOD_PARTS})
        settings = (str(config.sample.frames), " or ".join(map(str, epochs)), str(config.train.batch_size))
        rows.append((f"METHOD-{name}", config.data.name, f"{config.method.backbone}, {towers}", *settings))
    table("", ["recipe", "data", "towers", "frames", "epochs", "batch"], rows, right=range(3, 6))
    print(f"METHOD is one of {', '.join(METHOD_PARTS)}.")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
