"""How names of video files end. Nothing is imported here, so that a client without decoders can ask."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg"),
        *("mpg", "mts", "mxf", "nut", "ogm", "ogv", "qt", "rm", "rmvb", "ts", "vob", "webm", "wmv"),
    )
)
"""File name endings, in lower case, that `find_videos` takes for videos."""
