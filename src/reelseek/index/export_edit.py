"""Search results as cuts for an editor: edit decision lists (CMX 3600) and OpenTimelineIO.

Hits follow one another in their order. Source times are the videos' own frames, by the time code that a file states or
from 0. The files are opened for their rate and time code; those that cannot be are named and left out.
Not here: counting frames (`reelseek.video.timecode`), writing files (`export`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelseek.errors import ExportError, VideoError
from reelseek.index.export_text import Document, Export, by_video, shown
from reelseek.records import BrokenFile, Hit
from reelseek.video.timecode import FrameClock, frame_number, read_clock, timecode

MOST_EVENTS = 999
"""Events of a CMX 3600 list: their numbers have three digits."""
RECORD_START = "01:00:00:00"
"""Time code at which the record side begins, as programmes do."""


def edit_list(query: str, hits: Sequence[Hit]) -> Export:
    """CMX 3600, one list for every frame rate: a list is counted at one rate, and its events play at their own speed.

    Reels are all AX (files have none); comments name the clip, the file and the score. A time code with ";" is drop
    frame, as the line FCM says.
    Raises ExportError for more events than a list can number.
    """
    clocks, broken = _clocks(hits)
    lists: dict[tuple[Fraction, bool], list[Hit]] = {}
    for hit in hits:
        if hit.path in clocks:
            clock = clocks[hit.path]
            lists.setdefault((clock.rate, clock.drop), []).append(hit)
    documents = []
    for (rate, drop), own in lists.items():
        if len(own) > MOST_EVENTS:
            raise ExportError(
                f"an edit decision list numbers at most {MOST_EVENTS} events, not {len(own)}: "
                "ask for fewer results or write .otio"
            )
        part = f"{float(rate):.5g}{'drop' if drop else ''}" if len(lists) > 1 else ""
        documents.append(Document(part, _events(query, own, clocks, drop=drop).encode()))
    return Export(documents, broken)


def timeline(query: str, hits: Sequence[Hit]) -> Export:
    """An OpenTimelineIO timeline: a video track of all hits, and a sound track beside it where any video has sound.

    A marker stands at each hit's best frame; metadata keep query, rank, score and times in seconds.
    """
    clocks, broken = _clocks(hits)
    kept = [(rank, hit) for rank, hit in enumerate(hits, 1) if hit.path in clocks]
    tracks = [_track("Video", [_clip(query, rank, hit, clocks[hit.path]) for rank, hit in kept])]
    if any(clock.sound for clock in clocks.values()):
        sound = [
            _clip(query, rank, hit, clocks[hit.path]) if clocks[hit.path].sound else _gap(hit, clocks[hit.path])
            for rank, hit in kept
        ]
        tracks.append(_track("Audio", sound))
    whole = {
        "OTIO_SCHEMA": "Timeline.1",
        "name": shown(query),
        "metadata": {"reelseek": {"query": _text(query)}},
        "global_start_time": None,
        "tracks": {**_item("Stack.1", "tracks", None), "children": tracks},
    }
    return Export([Document("", (json.dumps(whole, indent=2) + "\n").encode())] if kept else [], broken)


def _clocks(hits: Sequence[Hit]) -> tuple[dict[str, FrameClock], list[BrokenFile]]:
    clocks, broken = {}, []
    for path in by_video(hits):
        try:
            clocks[path] = read_clock(Path(path))
        except VideoError as error:
            broken.append(BrokenFile(Path(path), str(error)))
    return clocks, broken


def _events(query: str, hits: Sequence[Hit], clocks: dict[str, FrameClock], *, drop: bool) -> str:
    base = clocks[hits[0].path].base
    mode = "DROP FRAME" if drop else "NON-DROP FRAME"
    lines = [f"TITLE: {shown(query)[:70]}", f"FCM: {mode}", ""]
    record = frame_number(RECORD_START, base, drop)
    for number, hit in enumerate(hits, 1):
        clock = clocks[hit.path]
        low, high = clock.span(hit.start, hit.end)
        ends = (clock.first + low, clock.first + high, record, record + high - low)
        record = ends[3]
        codes = " ".join(timecode(end, base, drop=drop) for end in ends)
        lines.append(f"{number:03d}  AX       {'AA/V' if clock.sound else 'V':<5} C        {codes}")
        lines.append(f"* FROM CLIP NAME: {shown(Path(hit.path).name)}")
        lines.append(f"* SOURCE FILE: {shown(hit.path)}")
        lines.append(f"* COMMENT: SCORE {hit.score:.6f}")
        if not clock.exact:
            lines.append(f"* COMMENT: NO STANDARD FRAME RATE, COUNTED AT {base} A SECOND")
        lines.append("")
    return "\n".join(lines)


def _clip(query: str, rank: int, hit: Hit, clock: FrameClock) -> dict[str, Any]:
    low, high = clock.span(hit.start, hit.end)
    peak, after = clock.span(hit.peak, hit.peak)
    name = shown(Path(hit.path).name)
    facts = {"query": _text(query), "rank": rank, **hit._asdict(), "path": _text(hit.path)}
    marker = {
        "OTIO_SCHEMA": "Marker.2",
        "name": "best frame",
        "color": "GREEN",
        "marked_range": _range(clock.first + peak, after - peak, clock.rate),
        "metadata": {},
    }
    media = {
        "OTIO_SCHEMA": "ExternalReference.1",
        "name": name,
        "target_url": Path(hit.path).absolute().as_uri(),
        "available_range": _range(clock.first, clock.frames, clock.rate),
        "metadata": {},
    }
    clip = _item("Clip.1", name, _range(clock.first + low, high - low, clock.rate))
    return {**clip, "metadata": {"reelseek": facts}, "markers": [marker], "media_reference": media}


def _gap(hit: Hit, clock: FrameClock) -> dict[str, Any]:
    low, high = clock.span(hit.start, hit.end)
    return _item("Gap.1", "", _range(0, high - low, clock.rate))


def _track(kind: str, children: list[dict[str, Any]]) -> dict[str, Any]:
    return {**_item("Track.1", kind, None), "kind": kind, "children": children}


def _item(schema: str, name: str, source_range: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "OTIO_SCHEMA": schema,
        "name": name,
        "source_range": source_range,
        "effects": [],
        "markers": [],
        "enabled": True,
        "metadata": {},
    }


def _range(start: int, count: int, rate: Fraction) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "TimeRange.1", "start_time": _time(start, rate), "duration": _time(count, rate)}


def _time(frames: int, rate: Fraction) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "RationalTime.1", "value": float(frames), "rate": float(rate)}


def _text(text: str) -> str:
    # readers in C++ refuse a JSON string that is no text
    return text.encode("utf-8", "backslashreplace").decode()
