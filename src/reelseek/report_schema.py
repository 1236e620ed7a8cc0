"""Checks results.json and fills its gaps: every optional part that is missing comes back as None or as nothing.

`read_results` is the only public name. The schema itself is written out in `reelseek.report`. Nothing here formats,
plots or writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reelseek.errors import DataError

# A field takes a value, its place (for messages) and the list of unknown places, and returns the value to show.
Field = Callable[[Any, str, list[str]], Any]

_THUMBNAIL = re.compile(r"data:image/(jpeg|png|webp|gif);base64,[A-Za-z0-9+/=\s]+")
_LARGEST_MAP = 100


def read_results(results: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The results with every known field present, and the places of fields that a report does not know.

    A number that is missing, null, NaN or infinite becomes None; a missing list or mapping becomes an empty one.

    Raises:
        DataError: a part has the wrong type; the message names the place, such as `runs[2].metrics`.
    """
    unknown: list[str] = []
    return _RESULTS(results, "results", unknown), unknown


def _wrong(place: str, wanted: str, value: object) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:60] + "..."
    return DataError(f"{place} must be {wanted}, but is {type(value).__name__} {shown}. Correct it and write again.")


def _text(value: Any, place: str, unknown: list[str]) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise _wrong(place, "a string", value)


def _flag(value: Any, place: str, unknown: list[str]) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise _wrong(place, "true or false", value)


def _number(value: Any, place: str, unknown: list[str]) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(place, "a number", value)
    return value if math.isfinite(value) else None


def _scalar(value: Any, place: str, unknown: list[str]) -> str | float | None:
    if isinstance(value, str | bool):
        return str(value)
    return _number(value, place, unknown)


def _thumbnail(value: Any, place: str, unknown: list[str]) -> str | None:
    if value is None or (isinstance(value, str) and _THUMBNAIL.fullmatch(value)):
        return value
    raise _wrong(place, "a data: URI of a JPEG, PNG, WebP or GIF in base64 (a report loads nothing)", value)


def _many(field: Field) -> Field:
    def read(value: Any, place: str, unknown: list[str]) -> list[Any]:
        if value is None:
            return []
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise _wrong(place, "a list", value)
        return [field(item, f"{place}[{number}]", unknown) for number, item in enumerate(value)]

    return read


def _named(field: Field) -> Field:
    """A mapping whose keys the producer chooses, such as the names of metrics."""

    def read(value: Any, place: str, unknown: list[str]) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise _wrong(place, "an object", value)
        return {str(key): field(item, f"{place}[{str(key)!r}]", unknown) for key, item in value.items()}

    return read


def _record(needed: Sequence[str] = (), **fields: Field) -> Field:
    def read(value: Any, place: str, unknown: list[str]) -> dict[str, Any]:
        if value is None and not needed:
            value = {}
        if not isinstance(value, Mapping):
            raise _wrong(place, "an object", value)
        for name in needed:
            if value.get(name) is None:
                raise DataError(f"{place} has no {name!r}, which a report needs. Add it and write again.")
        unknown.extend(f"{place}.{key}" for key in value if key not in fields)
        return {name: field(value.get(name), f"{place}.{name}", unknown) for name, field in fields.items()}

    return read


def _optional(record: Field) -> Field:
    return lambda value, place, unknown: None if value is None else record(value, place, unknown)


def _pair(value: Any, place: str, unknown: list[str]) -> tuple[float, float] | None:
    """Two numbers; None when either is not known."""
    numbers = _many(_number)(value, place, unknown)
    if numbers and len(numbers) != 2:
        raise _wrong(place, "two numbers", value)
    return (numbers[0], numbers[1]) if numbers and None not in numbers else None


def _map(value: Any, place: str, unknown: list[str]) -> list[list[float | None]]:
    rows: list[list[float | None]] = _many(_many(_number))(value, place, unknown)
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise DataError(f"{place} has rows of different lengths ({sorted(widths)}): give a full matrix.")
    if rows and max(len(rows), len(rows[0])) > _LARGEST_MAP:
        size = f"{len(rows)} x {len(rows[0])}"
        raise DataError(f"{place} is {size}; a report shows {_LARGEST_MAP} x {_LARGEST_MAP} at most: give a sample.")
    return rows


_PROTOCOL = _record(
    split=_text,
    texts_found=_number,
    texts_missing=_number,
    videos_found=_number,
    videos_missing=_number,
    dropped=_number,
    complete=_flag,
    standard=_text,
    ties=_text,
    rescoring=_text,
    prior=_text,
    bank_texts=_number,
    bank_videos=_number,
    transductive=_flag,
    relevance=_text,
    contrasts=_named(_number),
    frames=_number,
    sampling=_text,
    video_to_text=_text,
)
_GAP = _optional(_record(distance=_number, points_text=_many(_pair), points_video=_many(_pair)))
_RUN = _record(
    needed=("name",),
    name=_text,
    method=_text,
    backbone=_text,
    trained_on=_text,
    parameters=_number,
    seconds=_number,
    protocol=_PROTOCOL,
    metrics=_named(_named(_number)),
    intervals=_named(_named(_pair)),
    contrasts=_named(_number),
    curves=_named(_many(_pair)),
    ranks=_many(_number),
    similarity=_map,
    gap=_record(before=_GAP, after=_GAP),
)
_COMPARISON = _record(
    needed=("a", "b", "metric"),
    a=_text,
    b=_text,
    metric=_text,
    transductive=_flag,
    difference=_number,
    low=_number,
    high=_number,
    p_value=_number,
    smallest_detectable=_number,
    queries=_number,
    groups=_number,
)
_FOUND = _record(video=_text, score=_number, thumbnail=_thumbnail, right=_flag)
_EXAMPLE = _record(
    needed=("text",),
    run=_text,
    text=_text,
    wanted=_record(video=_text, thumbnail=_thumbnail),
    rank=_number,
    found=_many(_FOUND),
)
_HIT = _record(needed=("path",), path=_text, start=_number, end=_number, score=_number, thumbnail=_thumbnail)
_RESULTS = _record(
    reelseek=_text,
    created=_text,
    machine=_named(_scalar),
    command=_text,
    runs=_many(_RUN),
    comparisons=_many(_COMPARISON),
    examples=_many(_EXAMPLE),
    searches=_many(_record(needed=("query",), model=_text, trained_on=_text, query=_text, hits=_many(_HIT))),
    broken=_many(_record(needed=("path",), path=_text, reason=_text)),
    notes=_many(_text),
)
