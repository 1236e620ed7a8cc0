"""`reelseek search`: find videos and moments by text."""

from __future__ import annotations

import json
import textwrap
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reelseek.app.terminal import clock, parser, printable, short, table
from reelseek.errors import ConfigError


def parse(words: Sequence[str]) -> Namespace:
    """TEXT --index DIR [-k 10] [--moments] [--json]."""
    options = parser("search", "Find videos by text: one answer a video with the span that matches best, or --moments.")
    options.add_argument("query", nargs="+", metavar="TEXT", help="what to look for")
    options.add_argument("--index", required=True, metavar="DIR", help="an index made by `reelseek index`")
    options.add_argument("-k", type=int, default=10, help="how many answers")
    options.add_argument("--moments", action="store_true", help="several spans of one video may answer")
    options.add_argument("--model", default="", help="the model that made the index, if it has moved")
    options.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    options.add_argument(
        "--json", action="store_true", help="one JSON object a line: path, start, end, score, peak, probability"
    )
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Print the best matches, best first."""
    query = " ".join(arguments.query)
    if not query.strip():
        raise ConfigError('the query is empty: say what to look for, for instance "a dog runs on a beach".')
    if arguments.k < 1:
        raise ConfigError(f"-k {arguments.k}: it must be at least 1.")
    from reelseek.app.models import method_of_index
    from reelseek.index.calibration import nothing_matches
    from reelseek.index.search import Searcher
    from reelseek.index.store import open_index

    index = open_index(Path(arguments.index))
    method = method_of_index(index, arguments.model, arguments.device)
    hits = Searcher(index, method).calibrate().search(query, arguments.k, moments=arguments.moments)
    if arguments.json:
        for hit in hits:
            print(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in hit._asdict().items()}))
        return 0
    rows = [
        (
            str(number),
            f"{hit.score:.3f}",
            "-" if hit.probability is None else f"{100 * hit.probability:.0f} %",
            f"{clock(hit.start)} - {clock(hit.end)}",
            short(hit.path),
        )
        for number, hit in enumerate(hits, 1)
    ]
    if not hits:
        print("The index holds no video.")
        return 0
    title = (
        f"{printable(textwrap.shorten(query, 100, placeholder=' ...'))}   [{method.name} over {method.backbone.name}]"
    )
    none = nothing_matches(hits)
    if none:
        title += "\nNothing here matches; the nearest are:"
    table(title, ["", "score", "match", "span", "path"], rows, right=[0, 1, 2], dim=none)
    return 0
