"""`reelseek search`: find videos and moments by text."""

from __future__ import annotations

import json
import sys
import textwrap
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reelseek.app.terminal import clock, parser, printable, short, table, tell_broken
from reelseek.errors import ConfigError
from reelseek.records import BrokenFile, Hit

if TYPE_CHECKING:
    from reelseek.index.export import Written


def parse(words: Sequence[str]) -> Namespace:
    """TEXT --index DIR [-k 10] [--moments] [--json] [--out PATH]."""
    options = parser("search", "Find videos by text: one answer a video with the span that matches best, or --moments.")
    options.add_argument("query", nargs="+", metavar="TEXT", help="what to look for")
    options.add_argument("--index", required=True, metavar="DIR", help="an index made by `reelseek index`")
    options.add_argument("-k", type=int, default=10, help="how many answers")
    options.add_argument("--moments", action="store_true", help="several spans of one video may answer")
    options.add_argument("--model", default="", help="the model that made the index, if it has moved")
    options.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    options.add_argument("--json", action="store_true", help="one JSON object a line: path, start, end, score, peak")
    options.add_argument(
        "--out",
        action="append",
        default=[],
        metavar="PATH",
        help="also write the answers, by the ending: .jsonl .csv .srt .vtt .edl .otio .png .jpg, or clips into a "
        "folder (a name with / at its end); may be given several times",
    )
    options.add_argument("--overwrite", action="store_true", help="let --out replace files")
    options.add_argument(
        "--cut",
        choices=["exact", "copy"],
        default="exact",
        help="clips: exact encodes where key frames do not allow a copy; copy starts at the key frame before instead",
    )
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Print the best matches, best first."""
    query = " ".join(arguments.query)
    if not query.strip():
        raise ConfigError('the query is empty: say what to look for, for instance "a dog runs on a beach".')
    if arguments.k < 1:
        raise ConfigError(f"-k {arguments.k}: it must be at least 1.")
    if arguments.out:
        from reelseek.index.export import check_outs

        check_outs(arguments.out, overwrite=arguments.overwrite)
    from reelseek.app.models import method_of_index
    from reelseek.index.search import Searcher
    from reelseek.index.store import open_index

    index = open_index(Path(arguments.index))
    method = method_of_index(index, arguments.model, arguments.device)
    hits = Searcher(index, method).search(query, arguments.k, moments=arguments.moments)
    if arguments.json:
        for hit in hits:
            print(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in hit._asdict().items()}))
    elif not hits:
        print("The index holds no video.")
    else:
        title = printable(textwrap.shorten(query, 100, placeholder=" ..."))
        _print_table(f"{title}   [{method.name} over {method.backbone.name}]", hits)
    for out in arguments.out:
        if hits:
            _write(query, hits, out, arguments)
        else:
            print(f"{printable(out)}: nothing is written", file=sys.stderr)
    return 0


def _print_table(title: str, hits: Sequence[Hit]) -> None:
    rows = [
        (
            str(number),
            f"{hit.score:.3f}",
            f"{clock(hit.start)} - {clock(hit.end)}",
            short(hit.path),
        )
        for number, hit in enumerate(hits, 1)
    ]
    table(title, ["", "score", "span", "path"], rows, right=[0, 1])


def _write(query: str, hits: Sequence[Hit], out: str, arguments: Namespace) -> None:
    from reelseek.index.export import write_results

    for one in write_results(query, hits, out, overwrite=arguments.overwrite, mode=arguments.cut):
        if isinstance(one, BrokenFile):
            tell_broken([one])
        else:
            print(f"wrote {printable(str(one.path))}{_told(one)}", file=sys.stderr)


def _told(written: Written) -> str:
    """How a clip was made: what was copied and what encoded, and how far a copy reaches beyond its hit."""
    hit, cut = written.hit, written.cut
    if hit is None or cut is None:
        return ""
    words = "copied" if cut.copied else f"encoded: {cut.why}"
    extra = [
        f"{seconds:.1f} s {where}"
        for seconds, where in ((hit.start - cut.start, "before"), (cut.end - hit.end, "after"))
        if seconds >= 0.1
    ]
    words += f", with {' and '.join(extra)}" if extra else ""
    return f" ({words}; {'no sound' if cut.sound == 'none' else f'sound {cut.sound}'})"
