"""`reelseek towers`: small towers with random weights, for training from nothing on data of one's own kind."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reelseek.app.settings import help_texts, parse_with_recipe, run_config, settings_parser
from reelseek.app.terminal import progress
from reelseek.encoders.sizes import Sizes
from reelseek.errors import ConfigError, DataError
from reelseek.recipes import parts_in_words


def parse(words: Sequence[str]) -> Namespace:
    """RECIPE TARGET --data DIR [--side N] [--patch N] [--channels N] [--blocks N] [--width N] [--layers N] ...."""
    options = settings_parser(
        "towers",
        "Write small towers with random weights and a vocabulary of a recipe's training captions, for videos that are "
        "like nothing the published towers saw, and say how to train them.",
    )
    options.add_argument("recipe", metavar="RECIPE", help=f"METHOD-BENCHMARK: {parts_in_words()}")
    options.add_argument("target", metavar="TARGET", help="the folder to write")
    told = help_texts(Sizes)
    for name, value in Sizes()._asdict().items():
        options.add_argument(f"--{name}", type=int, default=value, metavar="N", help=f"{told[name]} (default: {value})")
    options.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (default: 0)")
    options.usage = "reelseek towers RECIPE TARGET [--data DIR] [--side N] [--patch N] [--width N] [--seed N]"
    return parse_with_recipe(options, words)


def run(arguments: Namespace) -> int:
    """Write the folder and say how to train it."""
    from reelseek.data import load
    from reelseek.methods.small_folders import make_small, save_small

    config, target = run_config(arguments), Path(arguments.target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} holds something already: name a new folder for the towers.")
    with progress("making the benchmark") as tell:
        train = load(config.data, tell).train
    if train is None:
        raise DataError(f"{config.data.name} has no training captions to learn a vocabulary from.")
    sizes = Sizes(**{name: getattr(arguments, name) for name in Sizes._fields})
    towers = make_small(train.texts, sizes, seed=arguments.seed)
    save_small(towers, target)
    print(f"{target}: small towers of {sum(one.numel() for one in towers.parameters()):,} parameters, untrained.")
    words = ["reelseek", "train", arguments.recipe, *(["--data", config.data.root] if config.data.root else [])]
    words += ["--method.backbone", str(target)]
    print(f"Next: {shlex.join(words)} --train.backbone_learning_rate 2e-3 --train.max_logit_scale 20")
    return 0
