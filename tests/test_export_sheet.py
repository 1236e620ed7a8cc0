"""Contact sheets are opened by Pillow: where each picture stands, what labels hold, and that no name breaks one."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import write_clip
from reelseek.errors import ExportError
from reelseek.index import export_sheet
from reelseek.index.export_sheet import (
    GAP,
    HEAD,
    HEIGHT,
    INK,
    LABEL,
    PAPER,
    WIDTH,
    contact_sheet,
    sheet_jpeg,
    sheet_png,
)
from reelseek.records import Hit

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


@pytest.fixture
def films(tmp_path: Path) -> list[Hit]:
    return [
        Hit(str(write_clip(tmp_path / f"{name}.mp4", colour)), 0.0, 1.0, 0.5, 0.5) for name, colour in COLOURS.items()
    ]


def opened(made) -> Image.Image:
    picture = Image.open(io.BytesIO(made.documents[0].content))
    picture.load()
    return picture


def corner(place: int, columns: int) -> tuple[int, int]:
    return GAP + place % columns * (WIDTH + GAP), HEAD + place // columns * (HEIGHT + LABEL + GAP)


@pytest.mark.parametrize(("make", "kind"), [(sheet_png, "PNG"), (sheet_jpeg, "JPEG")])
def test_every_hit_s_frame_stands_in_its_place(films: list[Hit], make, kind: str) -> None:
    sheet = opened(make("three colours", films))
    assert (sheet.format, sheet.mode) == (kind, "RGB")
    assert sheet.size == (GAP + 2 * (WIDTH + GAP), HEAD + 2 * (HEIGHT + LABEL + GAP))
    for place, colour in enumerate(COLOURS.values()):
        left, top = corner(place, 2)
        middle = np.array(sheet.getpixel((left + WIDTH // 2, top + HEIGHT // 2)))
        assert abs(middle - colour).max() < 30, "the frame at the peak, fifth of its film, is a little brighter"
    label_HW3 = np.asarray(sheet)[top + HEIGHT : top + HEIGHT + LABEL, left : left + WIDTH]
    assert label_HW3.max() > 200, "something is written"


def test_the_frame_is_the_one_at_the_peak(films: list[Hit]) -> None:
    late = films[0]._replace(peak=1.875)
    centre = [
        opened(sheet_png("a", [hit])).getpixel((GAP + WIDTH // 2, HEAD + HEIGHT // 2)) for hit in (films[0], late)
    ]
    assert centre[1][1] - centre[0][1] in range(8, 15), "eleven frames later is eleven steps brighter"


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9, 26])
def test_grids_of_any_count(count: int) -> None:
    hits = [Hit(f"/a/{n}.mp4", 0, 1, 0.5, 0) for n in range(count)]
    sheet = contact_sheet("a", hits, [Image.new("RGB", (40, 90), "white")] * count)
    columns = (sheet.width - GAP) // (WIDTH + GAP)
    assert columns <= 5
    assert (count - 1) // columns == (sheet.height - HEAD) // (HEIGHT + LABEL + GAP) - 1
    for place in range(count):
        left, top = corner(place, columns)
        assert sheet.getpixel((left + WIDTH // 2, top + HEIGHT // 2)) == (255, 255, 255)
        assert sheet.getpixel((left + 2, top + HEIGHT // 2)) != (255, 255, 255), "tall pictures are not stretched"


NAMES = [
    "x" * 2000, "a b" * 90, "猫が走る", "عربي", "\x00\n\x1b[31m", "\u202e", "\udce9", "🎬", "a/" * 50, " ", "<b>&amp;",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_a_sheet_or_leaves_its_column(name: str) -> None:
    hits = [Hit(f"/films/{name}.mp4", 3600.0, 7261.96, -0.5, 0.0)] * 2
    sheet = np.asarray(contact_sheet(name * 3, hits, [None, None]))
    gap_HW3 = sheet[HEAD:, GAP + WIDTH + 1 : 2 * GAP + WIDTH - 1]
    assert (gap_HW3 == PAPER).all(), "labels stay under their pictures"
    assert (sheet[:, -GAP + 1 :] == PAPER).all()


def test_what_no_font_has_becomes_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_sheet, "_system_fonts", lambda: ())
    assert export_sheet._font("a 猫🎬", 14)[1] == "a □□"
    assert export_sheet._font("é Ж ع", 14)[1] == "é Ж ع"


def test_a_font_of_the_system_is_taken_for_its_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    fonts = (str(tmp_path / "damaged.ttf"), "/fonts/cats.ttf")
    monkeypatch.setattr(export_sheet, "_system_fonts", lambda: fonts)
    known = export_sheet._characters
    monkeypatch.setattr(
        export_sheet, "_characters", lambda path: frozenset("猫犬a ") if path == fonts[1] else known(path)
    )
    monkeypatch.setattr(export_sheet, "_loaded", lambda path, size: path)
    assert export_sheet._font("猫犬 aé", 14) == (fonts[1], "猫犬 a□")
    assert export_sheet._font("plain", 14)[0] == export_sheet._default_font()


def test_long_text_keeps_both_ends() -> None:
    font, _ = export_sheet._font("", 14)
    cut = export_sheet._cut("begin " + "x" * 500 + " end.mp4", font, 200)
    assert cut.startswith("begin x")
    assert cut.endswith("end.mp4")
    assert "…" in cut
    assert 180 < font.getlength(cut) <= 200
    assert export_sheet._cut("short", font, 200) == "short"
    assert export_sheet._cut("WWW", font, 3) == "…"


def test_gone_videos_leave_their_place(films: list[Hit]) -> None:
    os.unlink(films[1].path)
    made = sheet_png("a", [*films, films[1]])
    assert [file.path for file in made.broken] == [Path(films[1].path)]
    left, top = corner(1, 2)
    assert (np.asarray(opened(made))[top + 4 : top + HEIGHT // 3, left : left + WIDTH] == export_sheet.FRAME).all()
    assert sheet_png("a", films[1:2]).documents == []


def test_too_many_are_refused(films: list[Hit], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_sheet, "MOST_HITS", 2)
    with pytest.raises(ExportError, match="at most 2 pictures, not 3"):
        sheet_png("a", films)


def test_ink_can_be_read() -> None:
    assert min(INK) - max(PAPER) > 150
