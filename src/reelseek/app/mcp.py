"""An index as tools of the Model Context Protocol: an assistant searches videos, and asks why one was found.

The tools answer what the command line answers with `--json`. They read the index alone: nothing is written, and no file
is opened but the image or clip that a query names, which must lie below the folders that the server was started for.
Not here: searching (`reelseek.index.ask`), transport (the `mcp` package).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from reelseek.errors import ConfigError, ReelseekError
from reelseek.index.ask import ask
from reelseek.index.explain import explain
from reelseek.index.filters import parse_filters
from reelseek.index.language import note_of
from reelseek.index.library import status
from reelseek.index.query import Query, parse_clip
from reelseek.index.search import Searcher
from reelseek.index.spoken import Spoken
from reelseek.index.store import list_files
from reelseek.index.subtitles import load

MOST_HITS = 100
MOST_CHARACTERS = 2_000
INSTRUCTIONS = (
    "Search a person's own videos. `search` finds places by what they show; times are seconds. Scores order the "
    "answers of one query and mean nothing across queries. `explain` says which frames and words carried one answer."
)

Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Count = Annotated[int, Field(ge=1, le=MOST_HITS)]


def create_server(searcher: Searcher, *, readable: Sequence[Path] = ()) -> MCPServer:
    """A server with the tools `search`, `explain` and `index_status`.

    readable: folders whose images and videos a query may name, besides the videos of the index itself.
    Every refusal reaches the caller as a sentence.
    """
    server = MCPServer("reelseek", instructions=INSTRUCTIONS, log_level="WARNING")

    @server.tool(structured_output=True)
    def search(
        text: Text = "",
        k: Count = 10,
        image: Text = "",
        clip: Text = "",
        but: Text = "",
        then: Text = "",
        without: list[Text] | None = None,
        moments: Literal["", "one", "all"] = "",
        below: list[Text] | None = None,
        since: Text = "",
        until: Text = "",
        subtitles: bool = False,
    ) -> dict[str, Any]:
        """Find places in the videos by what they show.

        text: a sentence. image: path of an image, or clip: of a video, as FILE or FILE@START-END, to find what looks
        like it. but: what is to differ from that picture. then: what comes later in the same video. without: what must
        not be seen. moments: "" for stored segments, "one" for the best moment of each video, "all" for several. below:
        only files below these folders. since, until: only files changed in these days (YYYY-MM-DD). subtitles: look the
        text up in subtitles too; `heard` then says which words answered. A `note` says what to mind of the query.
        """

        def answer() -> dict[str, Any]:
            searcher.reload()
            query = Query(
                text=text,
                image=_may_read(image, searcher, readable) if image else None,
                clip=_clip(clip, searcher, readable) if clip else None,
                but=but,
                then=then,
                without=tuple(without or ()),
            )
            filters = parse_filters(below=below or (), since=since, until=until)
            spoken = Spoken(load(searcher.index.directory)) if subtitles else None
            answers = ask(searcher, query, k, filters=filters, moments=moments, spoken=spoken)
            note = note_of(query, searcher.method)
            return {"query": str(query), "note": note, "hits": [found.plain() for found in answers]}

        return _or_sentence(answer)

    @server.tool(name="explain", structured_output=True)
    def explain_hit(query: Text, path: Text, peak: Annotated[float, Field(ge=0)]) -> dict[str, Any]:
        """Say why a hit of a sentence has its score: frames, words and the method's parts. path, peak: of the hit."""

        def answer() -> dict[str, Any]:
            searcher.reload()
            return dict(explain(searcher, query, [(path, peak)])[0].to_json())

        return _or_sentence(answer)

    @server.tool(structured_output=True)
    def index_status() -> dict[str, Any]:
        """Which model made the index, how much it holds, and which files could not be read, with their reasons."""

        def answer() -> dict[str, Any]:
            searcher.reload()
            return status(searcher, list_files(searcher.index.directory))

        return _or_sentence(answer)

    return server


def _or_sentence(answer: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return dict(answer())
    except (ReelseekError, ValueError) as error:
        raise ToolError(str(error)) from None


def _clip(text: str, searcher: Searcher, readable: Sequence[Path]) -> Any:
    clip = parse_clip(text)
    _may_read(str(clip.path), searcher, readable)
    return clip


def _may_read(name: str, searcher: Searcher, readable: Sequence[Path]) -> Path:
    """A file that this server may open: one of the index, or one below `readable`, links followed."""
    path = Path(name)
    if name in searcher.loaded.files:
        return path
    real = path.resolve()
    if not any(real.is_relative_to(folder.resolve()) for folder in readable):
        raise ConfigError(f"{name}: this server may not read it, only files of the index and those below --read.")
    return path
