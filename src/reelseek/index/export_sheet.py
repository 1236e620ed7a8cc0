"""Search results as one picture: a grid of the hits' best frames with rank, name, time and score under each.

Labels are drawn with DejaVu Sans, or with a font of the system where a script needs one; characters that no font has
become boxes. Not here: decoding (`reelseek.video.decode`), writing files (`export`).
Shapes: F frames, H W 3 pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from reelseek.errors import ExportError, VideoError
from reelseek.index.export_text import Document, Export, shown
from reelseek.records import BrokenFile, Hit
from reelseek.video.decode import decode

MOST_HITS = 500
"""Pictures on a sheet: more make one that few programs open."""
WIDTH, HEIGHT, GAP, LABEL, HEAD = 320, 180, 16, 48, 56
"""Pixels: of a picture, between pictures, of the two lines below a picture, of the query above all."""
PAPER, FRAME, INK, FAINT = (22, 24, 28), (36, 39, 45), (236, 238, 241), (150, 156, 166)
BOX = "□"
DOTS = "…"

Font = ImageFont.FreeTypeFont


def sheet_png(query: str, hits: Sequence[Hit]) -> Export:
    """The contact sheet as PNG. Raises ExportError for more hits than a sheet holds."""
    return _sheet(query, hits, "PNG")


def sheet_jpeg(query: str, hits: Sequence[Hit]) -> Export:
    """The contact sheet as JPEG. Raises ExportError for more hits than a sheet holds."""
    return _sheet(query, hits, "JPEG")


def contact_sheet(query: str, hits: Sequence[Hit], pictures: Sequence[Image.Image | None]) -> Image.Image:
    """The grid as an RGB image; `pictures` belong to the hits, None where there is none. At least one hit."""
    columns = min(5, math.ceil(math.sqrt(len(hits))))
    rows = math.ceil(len(hits) / columns)
    size = (GAP + columns * (WIDTH + GAP), HEAD + rows * (HEIGHT + LABEL + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    count = f"{len(hits)} result{'s' if len(hits) > 1 else ''}"
    small = _font(count, 14)[0]
    room = size[0] - 2 * GAP
    if columns > 1:
        room -= round(small.getlength(count)) + GAP
        draw.text((size[0] - GAP, HEAD / 2), count, FAINT, small, anchor="rm")
    _line(draw, (GAP, HEAD // 2), shown(query), 20, INK, room)
    for place, (hit, picture) in enumerate(zip(hits, pictures, strict=True)):
        left = GAP + place % columns * (WIDTH + GAP)
        top = HEAD + place // columns * (HEIGHT + LABEL + GAP)
        draw.rectangle((left, top, left + WIDTH - 1, top + HEIGHT - 1), FRAME)
        if picture is None:
            _line(draw, (left + 12, top + HEIGHT // 2), "no picture", 14, FAINT, WIDTH - 24)
        else:
            fitted = _fitted(picture)
            sheet.paste(fitted, (left + (WIDTH - fitted.width) // 2, top + (HEIGHT - fitted.height) // 2))
        # apart, so that a name written from right to left does not take the rank along
        rank = f"{place + 1}  "
        _line(draw, (left, top + HEIGHT + 14), rank, 14, INK, WIDTH)
        indent = math.ceil(_font(rank, 14)[0].getlength(rank))
        name = shown(Path(hit.path).name)
        _line(draw, (left + indent, top + HEIGHT + 14), name, 14, INK, WIDTH - indent)
        facts = f"{_clock(hit.start)} – {_clock(hit.end)}   score {hit.score:.3f}"
        _line(draw, (left, top + HEIGHT + 34), facts, 13, FAINT, WIDTH)
    return sheet


def _sheet(query: str, hits: Sequence[Hit], kind: str) -> Export:
    if len(hits) > MOST_HITS:
        raise ExportError(f"a contact sheet holds at most {MOST_HITS} pictures, not {len(hits)}: ask for fewer results")
    pictures: list[Image.Image | None] = []
    broken: list[BrokenFile] = []
    for hit in hits:
        try:
            pictures.append(_picture(hit))
        except VideoError as error:
            pictures.append(None)
            if not any(file.path == Path(hit.path) for file in broken):
                broken.append(BrokenFile(Path(hit.path), str(error)))
    if not any(pictures):
        return Export([], broken)
    file = io.BytesIO()
    contact_sheet(query, hits, pictures).save(file, kind, quality=90)
    return Export([Document("", file.getvalue())], broken)


def _picture(hit: Hit) -> Image.Image:
    frames = decode(Path(hit.path), lambda duration: np.array([min(max(0.0, hit.peak), duration)]))
    return _fitted(Image.fromarray(frames.pixels_FHW3[0]))


def _fitted(picture: Image.Image) -> Image.Image:
    scale = min(WIDTH / picture.width, HEIGHT / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)


def _line(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, ink: tuple[int, int, int], room: int
) -> None:
    font, text = _font(text, size)
    draw.text(place, _cut(text, font, room), ink, font, anchor="lm")


def _cut(text: str, font: Font, room: int) -> str:
    """The text, or as much of its start and end as fits into `room` pixels: endings tell names apart."""
    if font.getlength(text) <= room:
        return text
    # a name of a thousand letters is not measured a thousand times
    text = text if len(text) <= 400 else text[:200] + text[-200:]
    for kept in range(len(text) - 1, 0, -1):
        tail = kept // 3
        short = text[: kept - tail].rstrip() + DOTS + (text[-tail:].lstrip() if tail else "")
        if font.getlength(short) <= room:
            return short
    return DOTS


def _font(text: str, size: int) -> tuple[Font, str]:
    """The font that has most of a text's characters, and the text with boxes in place of those it has not."""
    path = _default_font()
    missing = set(text) - _characters(path)
    if missing:
        # the first of equals, which is the default where no other has more
        path = max([path, *_system_fonts()], key=lambda one: len(set(text) & _characters(one)))
        missing = set(text) - _characters(path)
    return _loaded(path, size), "".join(BOX if ch in missing else ch for ch in text)


@cache
def _loaded(path: str, size: int) -> Font:
    return ImageFont.truetype(path, size)


@cache
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a damaged file among the system's
        return frozenset()


def _default_font() -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@cache
def _system_fonts() -> tuple[str, ...]:
    # reads a list of the system's fonts, or makes it: only where a script asks for it
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(findSystemFonts()))


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    hours, minutes, left = tenths // 36000, tenths // 600 % 60, tenths % 600 / 10
    return f"{hours}:{minutes:02d}:{left:04.1f}" if hours else f"{minutes}:{left:04.1f}"
