"""`reelseek mcp`: the index as tools for an assistant, over standard input and output."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reelseek.app.terminal import add_device, parser
from reelseek.errors import ConfigError


def parse(words: Sequence[str]) -> Namespace:
    """--index DIR [--read DIR ...] [--metadata FILE] [--probability] [--model M]."""
    options = parser(
        "mcp", "Answer an assistant that speaks the Model Context Protocol, over standard input and output."
    )
    options.add_argument("--index", required=True, metavar="DIR", help="an index made by `reelseek index`")
    options.add_argument(
        "--read", action="append", default=[], metavar="DIR", help="a folder whose images and clips a query may name"
    )
    options.add_argument("--metadata", default="", metavar="FILE.csv", help="a table about the videos, to filter by")
    options.add_argument(
        "--probability", action="store_true", help="how probable each answer is as a match: as good as the model"
    )
    options.add_argument("--model", default="", help="the model that made the index, if it has moved")
    add_device(options)
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Serve until the other side closes."""
    for folder in arguments.read:
        if not Path(folder).is_dir():
            raise ConfigError(f"--read {folder}: there is no such folder.")
    try:
        from reelseek.app.mcp import create_server
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "mcp":
            raise
        raise ConfigError('the Model Context Protocol needs the package mcp: pip install "reelseek[mcp]".') from None
    from reelseek.app.service import open_service
    from reelseek.index.filters import read_metadata

    metadata = read_metadata(Path(arguments.metadata)) if arguments.metadata else None
    service = open_service(
        arguments.index,
        model=arguments.model,
        device=arguments.device,
        metadata=metadata,
        probability=arguments.probability,
    )
    create_server(service, readable=[Path(folder) for folder in arguments.read]).run("stdio")
    return 0
