"""`reelseek serve`: the search page on this machine."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from reelseek.app.terminal import add_device, parser
from reelseek.errors import ConfigError


def parse(words: Sequence[str]) -> Namespace:
    """--index DIR [--against DIR] [--host 127.0.0.1] [--port 8765] [--token T] [--metadata FILE] [--probability]."""
    options = parser(
        "serve",
        "Serve the search page and its HTTP interface. It answers this machine only, unless --host and --token say "
        "otherwise.",
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
    options.add_argument("--against-model", default="", help="the model of --against, if it has moved")
    add_device(options)
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Load model and index, then serve until Ctrl-C."""
    from reelseek.app.service import Service, open_service
    from reelseek.app.token import check_token
    from reelseek.app.web import create_app, serve
    from reelseek.index.filters import read_metadata
    from reelseek.video.files import thumbnail

    def service(directory: str, model: str) -> Service:
        return open_service(
            directory,
            model=model,
            device=arguments.device,
            # each its own: a table keeps which files of one index its rows name
            metadata=read_metadata(Path(arguments.metadata)) if arguments.metadata else None,
            probability=arguments.probability,
        )

    if arguments.against_model and not arguments.against:
        raise ConfigError("--against-model: it is the model of the index of --against; name that too.")
    token = arguments.token or os.environ.get("REELSEEK_TOKEN", "")
    check_token(token)  # before minutes of loading
    first = service(arguments.index, arguments.model)
    against = service(arguments.against, arguments.against_model) if arguments.against else None
    app = create_app(first, against=against, thumbnail=thumbnail, token=token or None)
    serve(app, arguments.host, arguments.port, announce=lambda address: print(_greeting(address, token), flush=True))
    return 0


def _greeting(address: str, token: str) -> str:
    place = f"{address}?token={quote(token, safe='')}" if token else address
    return f"The search page is at {place}   (Ctrl-C ends it)"
