"""An index as tools of the Model Context Protocol: an assistant searches videos, and asks why one was found.

The tools answer what the command line answers with `--json`, cut to what an assistant can read. Nothing is written but
feedback, and no file is opened but those of the index and the image or clip that a query names, which must lie below
the folders that the server was started for.
Not here: searching (`reelseek.app.service`), transport (the `mcp` package).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from reelseek.app.bounds import bounded, thinned
from reelseek.app.guard import shown
from reelseek.app.schema import MOST_CHARACTERS, MOST_HITS, Seconds, span_of
from reelseek.app.service import Service
from reelseek.errors import ConfigError, ReelseekError
from reelseek.index.calibration import nothing_matches
from reelseek.index.filters import parse_filters
from reelseek.index.query import Clip, Frame, Query, parse_clip

INSTRUCTIONS = (
    "Search a person's own videos. `search` finds places by what they show, `similar` finds more like one of them; "
    "times are seconds. Scores order the answers of one query and mean nothing across queries. `explain` says which "
    "frames and words carried one answer. `feedback` keeps what the person says of an answer: never call it on your "
    "own judgement."
)

ALIKE, NAMED, POINTS = 3, 20, 100
"""The most places alike of a hit, unreadable files of a status and points of a curve that are told."""

Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Count = Annotated[int, Field(ge=1, le=MOST_HITS)]
Share = Annotated[float, Field(ge=0, le=1)]


def create_server(service: Service, *, readable: Sequence[Path] = ()) -> MCPServer:
    """A server with the tools `search`, `similar`, `explain`, `feedback` and `index_status`.

    What is indexed meanwhile is found, and a model that the index switches to is taken up. readable: folders whose
    images and videos a query may name, besides the videos of the index itself.
    Every refusal reaches the caller as a sentence. Bytes of a path that are no text travel as escapes, and are
    understood as such.
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
        longer: Text = "",
        shorter: Text = "",
        where: list[Text] | None = None,
        duplicates: bool = False,
        variety: Share = 0.0,
        subtitles: bool = False,
    ) -> dict[str, Any]:
        """Find places in the videos by what they show.

        text: a sentence. image: path of an image, or clip: of a video, as FILE or FILE@START-END, to find what looks
        like it. but: what is to differ from that picture. then: what comes later in the same video. without: what must
        not be seen. moments: "" for stored segments, "one" for the best moment of each video, "all" for several. below:
        only files below these folders. since, until: only files changed in these days (YYYY-MM-DD). longer, shorter:
        only videos of at least, at most this length, as 90 or 1:30. where: conditions on the `columns` that
        `index_status` names, as camera=GoPro or rating>=3. duplicates: the same footage twice is two answers. variety:
        from 0, the best first, to 1, as different as can be. subtitles: look the text up in subtitles too; `heard` then
        says which words answered. A `note` says what to mind of the query. nothing_matches: whether every answer's
        probability is low, where the server tells probabilities: then say that nothing here matches.
        """

        def answer() -> dict[str, Any]:
            query = Query(
                text=text,
                image=_may_read(image, service, readable) if image else None,
                clip=_clip(clip, service, readable) if clip else None,
                but=but,
                then=then,
                without=tuple(without or ()),
            )
            filters = parse_filters(
                below=[service.named(place) for place in below or ()],
                since=since,
                until=until,
                longer=longer,
                shorter=shorter,
                where=where or (),
                metadata=service.metadata,
            )
            answers = service.ask(
                query,
                k,
                filters=filters,
                moments=moments,
                collapse=not duplicates,
                variety=variety,
                subtitles=subtitles,
            )
            return {
                "query": str(query),
                "note": service.note(query, filters=filters, subtitles=subtitles),
                "nothing_matches": nothing_matches(answers),
                "hits": [bounded(found.plain(), ALIKE) for found in answers],
            }

        return _answered(service, answer)

    @server.tool(structured_output=True)
    def similar(path: str, peak: Seconds, text: Text = "", k: Count = 10) -> dict[str, Any]:
        """Find places that look like a hit, which itself is left out. path, peak: of the hit. text: adds words."""

        def answer() -> dict[str, Any]:
            query = Query(text=text, frame=Frame(Path(service.named(path)), peak))
            return {"query": str(query), "hits": [bounded(found.plain(), ALIKE) for found in service.similar(query, k)]}

        return _answered(service, answer)

    @server.tool(structured_output=True)
    def explain(
        query: Text, path: str, peak: Seconds, start: Seconds | None = None, end: Seconds | None = None
    ) -> dict[str, Any]:
        """Say why a hit of a sentence has its score: frames, words and the method's parts. path, peak, start, end: of
        the hit. `moment` is what a further moment of a segment scores less than the segment. `curve`: (time, cosine) of
        the video's frames; of a long video the best of each stretch.
        """

        def answer() -> dict[str, Any]:
            known = service.explain(query, service.named(path), peak, span=span_of(start, end)).to_json()
            return {**known, "curve": thinned(known["curve"], POINTS)}

        return _answered(service, answer)

    @server.tool(structured_output=True)
    def feedback(
        query: Text,
        path: str,
        peak: Seconds,
        good: bool | None,
        start: Seconds | None = None,
        end: Seconds | None = None,
    ) -> dict[str, Any]:
        """Keep whether the person says that a hit is what they meant; null takes that back. path, peak, start, end: of
        the hit. Without start and end its frame alone is meant, and null takes back all that was said on that frame.
        """

        def answer() -> dict[str, Any]:
            if not query.strip():
                raise ConfigError("Feedback is about a sentence: say which query the hit answered.")
            kept = service.judge(query.strip(), service.named(path), peak, good, span=span_of(start, end))
            return {"kept": None if kept is None else {**kept.mark._asdict(), "path": kept.path}}

        return _answered(service, answer)

    @server.tool(structured_output=True)
    def index_status() -> dict[str, Any]:
        """Which model made the index, how much it holds, and which files could not be read, with their reasons.

        broken: the first 20 of `broken_count`. columns: of the table about the videos, for `where`.
        """
        names = ("model", "trained_on", "directory", "videos", "segments", "seconds", "broken_count", "subtitles")

        def answer() -> dict[str, Any]:
            known = service.status()
            table = service.metadata
            return {
                **{name: known[name] for name in names},
                "broken": known["broken"][:NAMED],
                "columns": [] if table is None else list(table.columns),
            }

        return _answered(service, answer)

    return server


def _answered(service: Service, answer: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """An answer over the index as it is now, or the sentence that refuses it."""
    try:
        service.refresh()
        return {key: _travelling(value) for key, value in answer().items()}
    except (ReelseekError, ValueError) as error:
        raise ToolError(shown(error)) from None


def _travelling(value: Any) -> Any:
    """Values of JSON whose strings can be encoded, see `reelseek.app.guard.shown`."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {shown(key): _travelling(part) for key, part in value.items()}
    return [_travelling(part) for part in value] if isinstance(value, list | tuple) else value


def _clip(text: str, service: Service, readable: Sequence[Path]) -> Clip:
    clip = parse_clip(text)
    return replace(clip, path=_may_read(str(clip.path), service, readable))


def _may_read(name: str, service: Service, readable: Sequence[Path]) -> Path:
    """A file that this server may open, links resolved: one of the index as it was indexed, or one below `readable`."""
    path = Path(service.named(name))
    held = service.readable(str(path))
    if held is not None:
        return held
    real = path.resolve()
    if not any(real.is_relative_to(folder.resolve()) for folder in readable):
        raise ConfigError(
            f"{name}: this server may not read it, only files of the index that have not changed since they were "
            "indexed, and those below --read."
        )
    return real
