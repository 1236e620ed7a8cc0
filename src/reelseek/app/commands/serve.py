"""`reelseek serve`: the search page on this machine."""

from __future__ import annotations

import os
import threading
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelseek.app.terminal import parser

if TYPE_CHECKING:
    from reelseek.index.search import Searcher
    from reelseek.records import Hit


def parse(words: Sequence[str]) -> Namespace:
    """--index DIR [--host 127.0.0.1] [--port 8765] [--token T]."""
    options = parser(
        "serve", "Open the search page. It answers this machine only, unless --host and --token say otherwise."
    )
    options.add_argument("--index", required=True, metavar="DIR", help="an index made by `reelseek index`")
    options.add_argument("--host", default="127.0.0.1", help="another address needs a token")
    options.add_argument("--port", type=int, default=8765, help="0 takes any free one")
    options.add_argument(
        "--token", default="", help="asked of every visitor; better in $REELSEEK_TOKEN, where no process list shows it"
    )
    options.add_argument("--model", default="", help="the model that made the index, if it has moved")
    options.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Load model and index, then serve until Ctrl-C."""
    from reelseek.app.models import method_of_index
    from reelseek.app.web import create_app, serve
    from reelseek.index.cards import open_index
    from reelseek.index.search import Searcher
    from reelseek.video.files import thumbnail

    def opened(asked: str) -> Searcher:
        index = open_index(Path(arguments.index))
        return Searcher(index, method_of_index(index, asked, arguments.device))

    token = arguments.token or os.environ.get("REELSEEK_TOKEN", "")
    service = Service(opened(arguments.model), again=lambda: opened(""))
    app = create_app(service, thumbnail=thumbnail, token=token or None)
    serve(app, arguments.host, arguments.port, announce=lambda address: print(_greeting(address, token), flush=True))
    return 0


def _greeting(address: str, token: str) -> str:
    place = f"{address}?token={token}" if token else address
    return f"The search page is at {place}   (Ctrl-C ends it)"


class Service:
    """One index behind the page (see `reelseek.app.web.SearchService`).

    What `reelseek index` adds is picked up, another model that it switches to as well. again: opens the index with the
    model that it now has.
    """

    def __init__(self, searcher: Searcher, again: Callable[[], Searcher] | None = None) -> None:
        self._searcher = searcher
        self._again = again
        self._lock = threading.Lock()
        self._look()

    def search(self, query: str, k: int, moments: bool) -> list[Hit]:
        """The best `k` videos or moments."""
        with self._lock:
            if self._renewed():
                self._look()
            return self._searcher.search(query, k, moments=moments)

    def _renewed(self) -> bool:
        from reelseek.errors import IndexMismatch

        try:
            return self._searcher.reload()
        except IndexMismatch:
            if self._again is None:
                raise
            self._searcher = self._again()
            return True

    def explain(self, query: str, path: str, peak: float) -> Mapping[str, Any]:
        """Why the hit with this path and peak has its score."""
        from reelseek.index.explain import explain

        with self._lock:
            return explain(self._searcher, query, [(path, peak)])[0].to_json()

    def status(self) -> Mapping[str, Any]:
        """The index and its model, as the page shows them."""
        return self._status

    def allowed(self, path: str) -> bool:
        """Whether a resolved path is a file of the index."""
        return path in self._paths

    def _look(self) -> None:
        from reelseek.index.library import status
        from reelseek.index.store import list_files

        files = list_files(self._searcher.index.directory)
        good = [file for file in files if file.status == "ok"]
        self._paths = {os.path.realpath(file.path) for file in good}
        self._status = status(self._searcher, files)
