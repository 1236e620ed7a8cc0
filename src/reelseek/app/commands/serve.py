"""`reelseek serve`: the search page on this machine."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reelseek.app.terminal import parser

if TYPE_CHECKING:
    from reelseek.index.search import Searcher


def parse(words: Sequence[str]) -> Namespace:
    """--index DIR [--against DIR] [--host 127.0.0.1] [--port 8765] [--token T] [--metadata FILE] [--probability]."""
    options = parser(
        "serve", "Open the search page. It answers this machine only, unless --host and --token say otherwise."
    )
    options.add_argument("--index", required=True, metavar="DIR", help="an index made by `reelseek index`")
    options.add_argument("--host", default="127.0.0.1", help="another address needs a token")
    options.add_argument("--port", type=int, default=8765, help="0 takes any free one")
    options.add_argument(
        "--token", default="", help="asked of every visitor; better in $REELSEEK_TOKEN, where no process list shows it"
    )
    options.add_argument("--metadata", default="", metavar="FILE.csv", help="a table about the videos, to filter by")
    options.add_argument(
        "--probability", action="store_true", help="how probable each answer is as a match: as good as the model"
    )
    options.add_argument(
        "--against", default="", metavar="DIR", help="an index of the same videos by another model, to compare with"
    )
    options.add_argument("--model", default="", help="the model that made the index, if it has moved")
    options.add_argument("--against_model", default="", help="the model of --against, if it has moved")
    options.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Load model and index, then serve until Ctrl-C."""
    from reelseek.app.models import method_of_index
    from reelseek.app.service import Service
    from reelseek.app.web import create_app, serve
    from reelseek.errors import IndexMismatch
    from reelseek.index.cards import open_index
    from reelseek.index.filters import read_metadata
    from reelseek.index.search import Searcher
    from reelseek.video.files import thumbnail

    metadata = read_metadata(Path(arguments.metadata)) if arguments.metadata else None

    def service(directory: str, model: str) -> Service:
        def opened(asked: str) -> Searcher:
            index = open_index(Path(directory))
            return Searcher(index, method_of_index(index, asked, arguments.device))

        def again() -> Searcher:
            try:
                return opened("")
            except IndexMismatch:
                # the model that this was started with may be the one that has moved
                if not model:
                    raise
                return opened(model)

        return Service(opened(model), again=again, metadata=metadata, probability=arguments.probability)

    token = arguments.token or os.environ.get("REELSEEK_TOKEN", "")
    first = service(arguments.index, arguments.model)
    against = service(arguments.against, arguments.against_model) if arguments.against else None
    app = create_app(first, against=against, thumbnail=thumbnail, token=token or None)
    serve(app, arguments.host, arguments.port, announce=lambda address: print(_greeting(address, token), flush=True))
    return 0


def _greeting(address: str, token: str) -> str:
    place = f"{address}?token={token}" if token else address
    return f"The search page is at {place}   (Ctrl-C ends it)"
