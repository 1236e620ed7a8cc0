"""`reelseek search`: find videos and moments by text, by a picture, and by more than one thing at once."""

from __future__ import annotations

import json
import sys
import textwrap
from argparse import Namespace
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from reelseek.app.terminal import Parser, add_device, parser, printable
from reelseek.errors import ConfigError
from reelseek.index.encodable import encodable

if TYPE_CHECKING:
    from reelseek.index.filters import Filters
    from reelseek.index.query import Query

DIVERSE = 0.5


def parse(words: Sequence[str]) -> Namespace:
    """[TEXT] --index DIR [-k 10], what else to look for, which files may answer, how answers are told."""
    options = parser(
        "search",
        "Find videos by text, a picture or a clip: one answer a video with the span that matches best, or --moments.",
    )
    options.add_argument("query", nargs="*", metavar="TEXT", help="what to look for")
    options.add_argument("--index", required=True, metavar="DIR", help="an index made by `reelseek index`")
    options.add_argument("-k", type=int, default=10, help="how many answers")
    _add_query(options)
    _add_filters(options)
    options.add_argument("--moments", action="store_true", help="several spans of one video may answer")
    options.add_argument("--best-moment", action="store_true", help="one span a video, cut to where it matches")
    options.add_argument("--show-duplicates", action="store_true", help="the same footage twice is two answers")
    options.add_argument("--diverse", action="store_true", help="answers that differ from one another")
    options.add_argument(
        "--variety", type=float, default=None, metavar="0..1",
        help=f"how much --diverse counts against the score (without it: {DIVERSE})",
    )  # fmt: skip
    options.add_argument(
        "--subtitles", action="store_true", help="also look the text up in the subtitle files beside the videos"
    )
    options.add_argument(
        "--probability", action="store_true", help="how probable each answer is as a match: as good as the model"
    )
    options.add_argument(
        "--explain", action="store_true", help="say below each answer which frames and words carried it"
    )
    options.add_argument("--model", default="", help="the model that made the index, if it has moved")
    add_device(options)
    options.add_argument("--json", action="store_true", help="one JSON object a line: all that is known of an answer")
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
        default=None,
        help="clips of --out: exact (the usual) encodes where key frames do not allow a copy; copy starts at the key "
        "frame before instead",
    )
    return options.parse_args(list(words))


def _add_query(options: Parser) -> None:
    options.add_argument("--image", default="", metavar="FILE", help="places that look like this image")
    options.add_argument(
        "--clip", default="", metavar="FILE[@START-END]", help="places that look like this video, or a span of it"
    )
    options.add_argument("--but", default="", metavar="TEXT", help="what is to be different from the image or clip")
    options.add_argument("--then", default="", metavar="TEXT", help="what comes later in the same video")
    options.add_argument(
        "--without", action="append", default=[], metavar="TEXT", help="what must not be seen; may be given again"
    )


def _add_filters(options: Parser) -> None:
    options.add_argument(
        "--below", action="append", default=[], metavar="DIR", help="only files below this folder; may be given again"
    )
    options.add_argument("--since", default="", metavar="DATE", help="only files changed on this day or later")
    options.add_argument("--until", default="", metavar="DATE", help="only files changed on this day or before")
    options.add_argument(
        "--longer", default="", metavar="TIME", help="only videos of this length or more, as 90 or 1:30"
    )
    options.add_argument("--shorter", default="", metavar="TIME", help="only videos of this length or less")
    options.add_argument("--metadata", default="", metavar="FILE.csv", help="a table about the videos, for --where")
    options.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only videos whose row holds this; "
        "also != < <= > >=; may be given again"
    )  # fmt: skip


def run(arguments: Namespace) -> int:
    """Print the best matches, best first."""
    from reelseek.index.query import Query

    query = _query(arguments)
    if arguments.k < 1:
        raise ConfigError(f"-k {arguments.k}: it must be at least 1.")
    if arguments.moments and arguments.best_moment:
        raise ConfigError("--moments and --best-moment: give one of them.")
    if arguments.explain and query != Query(text=query.text):
        raise ConfigError("--explain: it takes apart what a sentence alone found; leave out the query's other parts.")
    if arguments.subtitles and (arguments.probability or arguments.explain):
        raise ConfigError("--subtitles: its scores are ranks; leave out --probability and --explain.")
    if arguments.variety is not None and not arguments.diverse:
        raise ConfigError("--variety: it says how much --diverse counts; give that too.")
    variety = DIVERSE if arguments.variety is None else arguments.variety
    filters = _filters(arguments)
    if (arguments.overwrite or arguments.cut) and not arguments.out:
        name = "--overwrite" if arguments.overwrite else "--cut"
        raise ConfigError(f"{name}: it is about the files of --out; name one.")
    if arguments.out:
        from reelseek.index.export import check_outs

        check_outs(arguments.out, overwrite=arguments.overwrite)
    from reelseek.app.answers import show, write
    from reelseek.app.models import method_of_index
    from reelseek.index.ask import ask
    from reelseek.index.cards import open_index
    from reelseek.index.explain import explain
    from reelseek.index.language import note_of
    from reelseek.index.search import Searcher
    from reelseek.index.spoken import Spoken
    from reelseek.index.subtitles import load
    from reelseek.records import Hit

    index = open_index(Path(arguments.index))
    method = method_of_index(index, arguments.model, arguments.device)
    searcher = Searcher(index, method)
    if arguments.probability:
        searcher.calibrate()
    spoken = Spoken(load(index.directory)) if arguments.subtitles else None
    if spoken is not None and not spoken.sidecars:
        print("The index holds no subtitles: .srt and .vtt files beside the videos are read by `reelseek index`.",
              file=sys.stderr)  # fmt: skip
    answers = ask(
        searcher,
        query,
        arguments.k,
        filters=filters,
        moments="all" if arguments.moments else "one" if arguments.best_moment else "",
        collapse=not arguments.show_duplicates,
        variety=variety if arguments.diverse else 0.0,
        spoken=spoken,
    )
    told = "" if filters.metadata is None else filters.metadata.note(searcher.loaded.files)
    if told:
        print(printable(told), file=sys.stderr)
    hits = [Hit(a.path, a.start, a.end, a.score, a.peak) for a in answers]
    explanations = explain(searcher, query.text, hits) if arguments.explain else []
    note = note_of(query, method, spoken=spoken is not None and bool(spoken.sidecars))
    records = [
        answer.plain() | ({"note": note} if note else {}) | ({} if why is None else {"explanation": why.to_json()})
        for answer, why in zip_longest(answers, explanations)
    ]
    if arguments.json:
        for record in records:
            print(json.dumps(encodable(record)))
    elif not answers:
        held = searcher.segment_count
        print("Nothing that may answer is left: see the filters." if held else "The index holds no video.")
    else:
        words = printable(textwrap.shorten(str(query), 100, placeholder=" ..."))
        title = f"{words}   [{method.name} over {method.backbone.name}]" + (f"\n{note}" if note else "")
        show(title, answers, explanations, probability=arguments.probability)
    for out in arguments.out:
        if answers:
            write(str(query), answers, records, out, overwrite=arguments.overwrite, mode=arguments.cut or "exact")
        else:
            print(f"{printable(out)}: nothing is written", file=sys.stderr)
    return 0


def _query(arguments: Namespace) -> Query:
    from reelseek.index.query import Query, parse_clip

    return Query(
        text=" ".join(arguments.query),
        image=Path(arguments.image) if arguments.image else None,
        clip=parse_clip(arguments.clip) if arguments.clip else None,
        but=arguments.but,
        then=arguments.then,
        without=tuple(arguments.without),
    )


def _filters(arguments: Namespace) -> Filters:
    from reelseek.index.filters import parse_filters, read_metadata

    return parse_filters(
        below=arguments.below,
        since=arguments.since,
        until=arguments.until,
        longer=arguments.longer,
        shorter=arguments.shorter,
        where=arguments.where,
        metadata=read_metadata(Path(arguments.metadata)) if arguments.metadata else None,
    )
