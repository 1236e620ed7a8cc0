"""What can be asked of an index: text, a picture, a change to it, two moments in order, what must not be seen.

One value for Python, the command line and a server. Not here: how it is scored (`reelseek.index.evidence`) and which
files may answer (`reelseek.index.filters`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from reelseek.errors import ConfigError

Role = Literal["text", "picture", "but", "then", "without"]
"""What a part is to its query: the two that describe a place, the change, the later moment, what is unwanted."""


class Part(NamedTuple):
    """One thing that a query asks for: its role, and the words, image or clip, as text."""

    role: Role
    what: str


@dataclass(frozen=True)
class Clip:
    """A span of a video file in seconds, up to its end where none is given. Raises ConfigError for an empty span."""

    path: Path
    start: float = 0.0
    end: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and 0 <= self.start < self.end):
            raise ConfigError(f"the clip {self}: its span must begin at 0 s or later, and end after it begins.")

    def __str__(self) -> str:
        whole = self.start == 0 and self.end == math.inf
        end = "" if self.end == math.inf else f"{self.end:g}"
        return str(self.path) if whole else f"{self.path}@{self.start:g}-{end}"


class Frame(NamedTuple):
    """A moment of a video that the index holds, in seconds: its stored vector is compared, and no file is opened."""

    path: Path
    time: float

    def __str__(self) -> str:
        return f"{self.path}@{self.time:g}"


@dataclass(frozen=True)
class Query:
    """What to look for. At least text, image or clip is given; an empty string stands for nothing.

    text: what a place shows. image: an image file, clip: a span of a video, or frame: a moment of the index, of things
    that look like it; with text both count the same. but: what is to be different from the picture. then: what comes
    after all that, later in the same video. without: things that an answer should not show.
    Raises ConfigError for combinations that mean nothing, in sentences that can be shown as they are.
    """

    text: str = ""
    image: Path | None = None
    clip: Clip | None = None
    but: str = ""
    then: str = ""
    without: tuple[str, ...] = ()
    frame: Frame | None = None

    def __post_init__(self) -> None:
        if self.image is not None and self.clip is not None:
            raise ConfigError("a query takes an image or a clip, not both.")
        if self.frame is not None and not (self.image is None and self.clip is None):
            raise ConfigError("a query takes a moment of the index or a picture of its own, not both.")
        if not self.text.strip() and self.picture is None:
            raise ConfigError('the query is empty: say what to look for, for instance "a dog runs on a beach".')
        if self.but and self.picture is None:
            raise ConfigError(f"but {self.but!r}: it changes a picture, so it needs an image or a clip.")
        for name, words in (("but", (self.but,)), ("then", (self.then,)), ("without", self.without)):
            if any(word and not word.strip() for word in words) or (name == "without" and "" in words):
                raise ConfigError(f"{name}: it is empty; say what is meant, or leave it out.")

    @property
    def picture(self) -> Path | Clip | Frame | None:
        """The image, the clip or the moment of the index, if there is one."""
        return self.image or self.clip or self.frame

    def parts(self) -> list[Part]:
        """All that is asked for, in this order: text, picture, but, then, and every without."""
        given: list[tuple[Role, str]] = [
            ("text", self.text if self.text.strip() else ""),
            ("picture", "" if self.picture is None else str(self.picture)),
            ("but", self.but),
            ("then", self.then),
            *(("without", word) for word in self.without),
        ]
        return [Part(role, what) for role, what in given if what]

    def __str__(self) -> str:
        """The query in words: `a dog, like dog.jpg, but at night, then a cat, without people`."""
        said = {"text": "", "picture": "like ", "but": "but ", "then": "then ", "without": "without "}
        return ", ".join(f"{said[part.role]}{part.what}" for part in self.parts())


def parse_clip(text: str) -> Clip:
    """`film.mp4`, or a span of it as `film.mp4@12.5-20`, `film.mp4@1:02-1:10` or `film.mp4@90-` (to its end)."""
    found = re.fullmatch(r"(.+)@([\d:.]+)-([\d:.]*)", text, re.DOTALL)
    if found is None:
        return Clip(Path(text))
    end = parse_seconds(found[3]) if found[3] else math.inf
    return Clip(Path(found[1]), parse_seconds(found[2]), end)


def parse_seconds(text: str) -> float:
    """Seconds of `90`, `90.5`, `1:30` or `1:02:03`. Raises ConfigError for anything else."""
    if re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", text.strip()) is None:
        raise ConfigError(f"{text!r} is no time: write seconds as 90 or 90.5, or minutes and seconds as 1:30.")
    total = 0.0
    for part in text.strip().split(":"):
        total = total * 60 + float(part)
    return total
