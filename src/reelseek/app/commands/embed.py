"""`reelseek embed`: run the videos and captions of a benchmark through the frozen towers once, into a cache."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reelseek.app.settings import add_cache, parse_with_recipe, run_config, settings_parser
from reelseek.app.terminal import progress, tell_broken
from reelseek.recipes import parts_in_words


def parse(words: Sequence[str]) -> Namespace:
    """RECIPE --data DIR [--cache DIR] [--section.key value ...]."""
    options = settings_parser(
        "embed", "Embed every split of a recipe's data once; what is there already is not decoded again."
    )
    options.add_argument("recipe", metavar="RECIPE", help=f"METHOD-BENCHMARK: {parts_in_words()}")
    add_cache(options)
    options.usage = "reelseek embed RECIPE [--data DIR] [--cache DIR] [--config FILE] [--section.setting VALUE ...]"
    return parse_with_recipe(options, words)


def run(arguments: Namespace) -> int:
    """Embed and count; broken files are named on stderr and left out."""
    from reelseek.data import load
    from reelseek.embed import embed_pairs
    from reelseek.methods import build
    from reelseek.methods.saved import load_backbone, pick_device
    from reelseek.recipes.run import cache_folder

    config = run_config(arguments)
    if config.train.backbone_learning_rate > 0:
        print(
            "note: this recipe trains its towers, so training will not read these outputs; evaluating the towers as "
            "they are will.",
            file=sys.stderr,
        )
    with progress("making the benchmark") as tell:
        splits = load(config.data, tell)
    cache = Path(arguments.cache) if arguments.cache else cache_folder()
    method = build(config.method, load_backbone(config.method.backbone, device=pick_device(config.train.device)))
    for pairs in filter(None, splits):
        with progress(f"embedding {pairs.name}") as tell:
            embedded = embed_pairs(method, pairs, config.sample, cache=cache, progress=tell)
        tell_broken(embedded.broken)
        print(embedded.pairs.describe())
    print(f"cache: {cache}")
    return 0
