"""`reelseek diagnose`: how a trained run's space of texts and videos looks, and what its increments do."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reelseek.app.models import load_method, usual_options
from reelseek.app.settings import add_cache, parse_over, run_config, settings_parser
from reelseek.app.terminal import add_device, progress, refuse_file, table, tell_broken, told_aside
from reelseek.config import RunConfig
from reelseek.errors import ConfigError, DataError

if TYPE_CHECKING:
    from reelseek.data.pairs import Pairs

SECTIONS = ("data", "sample")
MEANINGS = {
    "modality_gap": "distance between the centres of texts and of what they see of their videos",
    "alignment": "mean squared distance of true pairs",
    "uniformity_text": "spread of the texts, lower is more even",
    "uniformity_video": "spread of the videos, lower is more even",
    "conflict": "how much the pulls on a text cancel, 0 to 1",
    "gradient_cosine": "cosine between the pulls of a text's pairs",
    "direction_cosine": "cosine between a text's increments",
    "length_mean": "mean length of increments",
    "length_std": "deviation of it",
    "length_05": "5 % of increments are shorter",
    "length_50": "half of them are shorter",
    "length_95": "95 % of them are shorter",
}


def parse(words: Sequence[str]) -> Namespace:
    """RUN [--data DIR] [--split val] [--pairs 256] [--out DIR]."""
    options = settings_parser(
        "diagnose",
        "Measure gradient conflict, modality gap, alignment, uniformity and increments of a run of `train`, on pairs "
        "of the split it was chosen by. Data and sampling are the run's own unless changed by their dotted names.",
        sections=SECTIONS,
    )
    options.usage = "reelseek diagnose RUN [--data DIR] [--split SPLIT] [--out DIR] [--section.setting VALUE ...]"
    options.add_argument(
        "run", metavar="RUN", help="a run folder, a weights file, offline, or a CLIP or SigLIP name or folder"
    )
    options.add_argument("--split", default="val", choices=["val", "test", "train"], help="pairs of this split")
    options.add_argument("--pairs", type=int, default=256, metavar="N", help="true pairs that are looked at")
    add_cache(options)
    options.add_argument(
        "--out", default="", metavar="DIR", help="where diagnostics.json and diagnostics.png go instead of RUN"
    )
    options.add_argument("--json", action="store_true", help="print what diagnostics.json holds, the tables to stderr")
    add_device(options)
    return parse_over(options, words, "run", lambda run: usual_options(run, SECTIONS))


def run(arguments: Namespace) -> int:
    """Print the table, write diagnostics.json and diagnostics.png."""
    from reelseek.diagnostics.plots import diagnostics_figure, figure_bytes
    from reelseek.embed import embed_pairs
    from reelseek.recipes.diagnose import epoch_history, ideal_bound, measure, sample
    from reelseek.recipes.run import cache_folder

    if arguments.pairs < 2:
        raise ConfigError(f"--pairs must be at least 2, not {arguments.pairs}.")
    config = run_config(arguments)
    method = load_method(arguments.run, arguments.device)
    folder = _folder(arguments)
    pairs = _split(config, arguments.split)
    cache = Path(arguments.cache) if arguments.cache else cache_folder()
    with progress(f"embedding {pairs.name}") as tell:
        embedded = embed_pairs(method, pairs, config.sample, cache=cache, progress=tell)
    tell_broken(embedded.broken)
    found = sample(method, embedded, pairs=arguments.pairs)
    values, details = measure(found)
    bound, history = ideal_bound(found), epoch_history(Path(arguments.run))
    count = len(found.texts_TD)
    record = {
        "run": arguments.run,
        "split": pairs.name,
        "pairs": count,
        "values": values,
        "ideal": bound,
        "epochs": history,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "diagnostics.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "diagnostics.png").write_bytes(figure_bytes(diagnostics_figure(details, bound, history)))
    with told_aside(arguments.json):
        show(f"{arguments.run} on {count} pairs of {pairs.name}", values, bound)
        print(f"written: {folder}/diagnostics.json, diagnostics.png")
    if arguments.json:
        print(json.dumps(record))
    return 0


def show(title: str, values: Mapping[str, float], bound: Sequence[Mapping[str, float]]) -> None:
    """The values with and without increments, and what ideal increments would do."""
    rows = []
    for name, value in values.items():
        if name.startswith("corrected_"):
            continue
        corrected = values.get(f"corrected_{name}")
        other = "" if corrected is None else f"{corrected:.3f}"
        rows.append((name, f"{value:.3f}", other, MEANINGS.get(name.rpartition("/")[2], "")))
    table(title, ["", "value", "with increments", "meaning"], rows, right=range(1, 3))
    ideal = ", ".join(f"{row['R@1']:.1f} at {row['radius']:g}" for row in bound[1:])
    print(
        f"R@1 among these pairs: {bound[0]['R@1']:.1f} without increments, {bound[0]['method_R@1']:.1f} by the method; "
        f"with ideal increments, which are told the answer, {ideal} of the texts' length."
    )


def _folder(arguments: Namespace) -> Path:
    """Where results go. Raises ConfigError for a file, and for a model that is no run without --out."""
    from reelseek.methods.saved import is_run

    folder = Path(arguments.out or arguments.run)
    if arguments.out:
        refuse_file(folder)
    if not arguments.out and not is_run(folder):
        raise ConfigError(f"{arguments.run} is no run folder: name a folder for the results with --out.")
    return folder


def _split(config: RunConfig, name: str) -> Pairs:
    from reelseek.data import load

    with progress("making the benchmark") as tell:
        pairs: Pairs | None = getattr(load(config.data, tell), name)
    if pairs is None:
        raise DataError(f"{config.data.name}: it has no {name} split.")
    return pairs
