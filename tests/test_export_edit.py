"""Edit lists and timelines: by their own text, and as OpenTimelineIO and its CMX 3600 reader see them."""

from __future__ import annotations

import json
import os
import re
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlparse

import pytest

from reelseek.errors import ExportError
from reelseek.index import export_edit
from reelseek.index.export_edit import edit_list, timeline
from reelseek.records import Hit
from test_timecode import counted
from video_clips import make_clip

NTSC = Fraction(30000, 1001)
QUERY = 'a "dog"\n* FROM CLIP NAME: other\x1b 猫 \udce9'


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """Two at 25 frames a second, one of them with sound; one at 29.97; one at 8.3."""
    odd = tmp_path / os.fsdecode(b"b \xe9\n001  BL V C.mp4")
    make_clip(tmp_path / "b.mp4", rate=25, frames=75, sound=2.0).rename(odd)
    return [
        make_clip(tmp_path / "a.mp4", rate=25, frames=75),
        odd,
        make_clip(tmp_path / "c.mp4", rate=NTSC, frames=90),
        make_clip(tmp_path / "d.mp4", rate=Fraction(25, 3), frames=20),
    ]


def hits(films: list[Path]) -> list[Hit]:
    spans = [(0.4, 1.2, 0.8), (0.0, 3.0, 1.0), (1.001, 2.002, 1.5), (0.5, 1.0, 0.6)]
    found = [Hit(str(path), *span[:2], 0.5, span[2]) for path, span in zip(films, spans, strict=True)]
    return [*found, Hit(str(films[0]), 2.0, 2.01, -0.25, 2.0)]


EVENT = re.compile(r"(\d{3})  AX       (V    |AA/V ) C        " + " ".join([r"(\d\d:\d\d:\d\d[:;]\d\d)"] * 4))


def test_events_by_their_text(films: list[Path]) -> None:
    made = edit_list(QUERY, hits(films))
    assert made.broken == []
    assert [document.part for document in made.documents] == ["25", "29.97drop", "8"]
    texts = [document.content.decode() for document in made.documents]
    assert texts[0].startswith(
        'TITLE: a "dog" * FROM CLIP NAME: other\\x1b 猫 \\udce9\nFCM: NON-DROP FRAME\n\n001  AX       V     C        '
    )
    events = [EVENT.fullmatch(line) for line in texts[0].splitlines()]
    rows = [event.groups() for event in events if event]
    assert rows == [
        ("001", "V    ", "00:00:00:10", "00:00:01:05", "01:00:00:00", "01:00:00:20"),
        ("002", "AA/V ", "00:00:00:00", "00:00:03:00", "01:00:00:20", "01:00:03:20"),
        ("003", "V    ", "00:00:02:00", "00:00:02:01", "01:00:03:20", "01:00:03:21"),
    ]
    names = re.findall(r"^\* FROM CLIP NAME: (.*)$", texts[0], re.MULTILINE)
    assert names == ["a.mp4", "b \\udce9 001 BL V C.mp4", "a.mp4"]
    codes = counted(30, True, 100)
    assert "FCM: DROP FRAME" in texts[1]
    assert f"{codes[30]} {codes[60]} 01:00:00;00 01:00:01;00" in texts[1]
    assert "NO STANDARD FRAME RATE, COUNTED AT 8 A SECOND" in texts[2]
    assert "NO STANDARD" not in texts[0] + texts[1]
    assert all(
        len([line for line in text.splitlines() if line[:3].isdigit()]) == n
        for text, n in zip(texts, (3, 1, 1), strict=True)
    )


def test_one_rate_is_one_list(films: list[Path]) -> None:
    assert [document.part for document in edit_list("a", hits(films)[:2]).documents] == [""]


def test_more_events_than_a_list_can_number(films: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one = hits(films)[0]
    assert len(re.findall(rb"^\d{3} ", edit_list("a", [one] * 999).documents[0].content, re.MULTILINE)) == 999
    with pytest.raises(ExportError, match="at most 999 events, not 1000"):
        edit_list("a", [one] * 1000)


@pytest.mark.parametrize("make", [edit_list, timeline])
def test_videos_that_are_gone_are_named_and_left_out(films: list[Path], make) -> None:
    films[2].unlink()
    made = make("a", hits(films))
    assert [file.path for file in made.broken] == [films[2]]
    assert "does not exist" in made.broken[0].reason
    assert not any(b"c.mp4" in document.content for document in made.documents)
    alone = make("a", hits(films)[2:3])
    assert (alone.documents, len(alone.broken)) == ([], 1)


def test_a_timeline_by_its_schema(films: list[Path]) -> None:
    made = timeline(QUERY, hits(films))
    whole = json.loads(made.documents[0].content)
    assert whole["OTIO_SCHEMA"] == "Timeline.1"
    picture, sound = whole["tracks"]["children"]
    assert (picture["kind"], sound["kind"]) == ("Video", "Audio")
    assert [clip["OTIO_SCHEMA"] for clip in sound["children"]] == ["Gap.1", "Clip.1", "Gap.1", "Gap.1", "Gap.1"]
    spans = [(span["start_time"], span["duration"]) for span in (clip["source_range"] for clip in picture["children"])]
    assert [(start["value"], length["value"], start["rate"]) for start, length in spans] == [
        (10, 20, 25), (0, 75, 25), (30, 30, 30000 / 1001), (4, 4, 8), (50, 1, 25),
    ]  # fmt: skip
    for clip, hit in zip(picture["children"], hits(films), strict=True):
        address = urlparse(clip["media_reference"]["target_url"])
        assert (address.scheme, unquote_to_bytes(address.path)) == ("file", os.fsencode(hit.path))
        assert clip["metadata"]["reelseek"]["score"] == hit.score
    assert json.loads(made.documents[0].content.decode("utf-8"))["metadata"]["reelseek"]["query"] == QUERY.replace(
        "\udce9", "\\udce9"
    )
    silent = json.loads(timeline("a", hits(films)[:1]).documents[0].content)
    assert len(silent["tracks"]["children"]) == 1


def test_opentimelineio_reads_the_timeline(films: list[Path]) -> None:
    otio = pytest.importorskip("opentimelineio")
    found = hits(films)
    whole = otio.adapters.read_from_string(timeline(QUERY, found).documents[0].content.decode(), "otio_json")
    clips = list(whole.video_tracks()[0])
    assert all(isinstance(clip, otio.schema.Clip) for clip in clips)
    assert [clip.metadata["reelseek"]["rank"] for clip in clips] == [1, 2, 3, 4, 5]
    for clip, hit in zip(clips, found, strict=True):
        frame = 1 / clip.source_range.start_time.rate
        assert clip.source_range.start_time.to_seconds() == pytest.approx(hit.start, abs=frame)
        assert clip.source_range.end_time_exclusive().to_seconds() == pytest.approx(hit.end, abs=1.01 * frame)
        assert clip.available_range().clamped(clip.source_range) == clip.source_range
        assert clip.source_range.contains(clip.markers[0].marked_range.start_time)
        assert clip.media_reference.target_url.startswith("file:///")
    assert whole.duration().to_seconds() == pytest.approx(0.8 + 3.0 + 1.001 + 0.5 + 0.04, abs=0.01)
    assert len(whole.audio_tracks()[0].find_clips()) == 1


def test_opentimelineio_reads_the_edit_list(films: list[Path]) -> None:
    otio = pytest.importorskip("opentimelineio")
    pytest.importorskip("otio_cmx3600_adapter")
    for document, rate in zip(edit_list("a", hits(films)[:3]).documents, (25, 30000 / 1001), strict=True):
        read = otio.adapters.read_from_string(document.content.decode(), "cmx_3600", rate=rate)
        clips = list(read.video_tracks()[0].find_clips())
        wanted = [hit for hit in hits(films)[:3] if (hit.path == str(films[2])) == (rate != 25)]
        assert [clip.source_range.start_time.to_seconds() for clip in clips] == pytest.approx(
            [hit.start for hit in wanted], abs=0.002
        )
        assert [clip.duration().to_seconds() for clip in clips] == pytest.approx(
            [hit.end - hit.start for hit in wanted], abs=0.002
        )
        assert [clip.name for clip in clips][:1] == [Path(wanted[0].path).name]


def test_the_record_side_begins_at_one_hour(films: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_edit, "RECORD_START", "02:00:00:00")
    assert b" 02:00:00:00 " in edit_list("a", hits(films)[:1]).documents[0].content
