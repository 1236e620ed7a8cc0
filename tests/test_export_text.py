"""Text exports are read back by json, csv and FFmpeg's subtitle readers; names and queries do their worst."""

from __future__ import annotations

import csv
import io
import json
import os
import string
from pathlib import Path
from urllib.parse import unquote_to_bytes

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from reelseek.index.encodable import encodable
from reelseek.index.export_text import csv_table, json_lines, parts, safe_name, shown, subrip, web_vtt
from reelseek.records import Hit

EVIL = 'a "dog",\r\n<b>runs</b> --> {\\an8}\x1b[31m & \udce9 猫'
ODD = os.fsdecode(b'/films/caf\xe9, "x"\n<i>\x07.mp4')


def hits(*paths: str) -> list[Hit]:
    return [Hit(path, 1.5 + n, 3.25 + n, 0.5 - n / 8, 2.0 + n) for n, path in enumerate(paths)]


def content(made) -> bytes:
    assert made.broken == []
    (document,) = made.documents
    assert document.part == ""
    return document.content


def test_json_lines_keep_everything() -> None:
    found = hits("/a/b.mp4", ODD)
    rows = [json.loads(line) for line in content(json_lines(EVIL, found)).decode("ascii").splitlines()]
    escaped = [hit._replace(path=hit.path.replace("\udce9", "\\udce9")) for hit in found]
    assert [Hit(**{key: row[key] for key in Hit._fields}) for row in rows] == escaped
    assert [(row["query"], row["rank"]) for row in rows] == [(EVIL.replace("\udce9", "\\udce9"), n) for n in (1, 2)]
    assert "path_encoded" not in rows[0]
    assert unquote_to_bytes(rows[1]["path_encoded"]) == os.fsencode(ODD)


def test_json_is_text_that_every_reader_takes() -> None:
    record = {
        "path": ODD,
        "parts": [{"what": "\udce9"}],
        "alike": [{"path": ODD}, {"path": "/a"}],
        "metadata": {"\udce9": 1},
    }
    for line in content(json_lines(EVIL, [record, *hits(ODD)])).decode("ascii").splitlines():
        from_json(line)  # refuses lone surrogates
    row = json.loads(content(json_lines(EVIL, [record])))
    assert [unquote_to_bytes(other.get("path_encoded", "")) for other in row["alike"]] == [os.fsencode(ODD), b""]


def test_both_names_of_a_moved_file_can_be_read_back() -> None:
    told = encodable({"change": "moved", "path": "/a", "was": ODD})
    assert (unquote_to_bytes(told["was_encoded"]), "path_encoded" in told) == (os.fsencode(ODD), False)
    told = encodable({"path": ODD, "was": "/a"})
    assert (unquote_to_bytes(told["path_encoded"]), "was_encoded" in told) == (os.fsencode(ODD), False)
    told = encodable({"path": ODD, "was": f"{ODD}%"})
    assert [os.fsdecode(unquote_to_bytes(told[f"{name}_encoded"])) for name in ("path", "was")] == [ODD, f"{ODD}%"]


def test_csv_keeps_what_text_can_and_escapes_the_rest() -> None:
    found = hits('/a/b, "c".mp4', ODD)
    read = list(csv.reader(io.StringIO(content(csv_table(EVIL, found)).decode("utf-8"), newline="")))
    assert read[0] == ["query", "rank", "path", "start", "end", "score", "peak", "probability", "path_encoded"]
    assert [row[2] for row in read[1:]] == [found[0].path, ODD.replace("\udce9", "\\udce9")]
    assert {row[0] for row in read[1:]} == {EVIL.replace("\udce9", "\\udce9")}
    assert [tuple(map(float, row[3:7])) for row in read[1:]] == [tuple(hit)[1:5] for hit in found]
    assert {row[7] for row in read[1:]} == {""}  # it was not asked for
    assert [unquote_to_bytes(row[8]) for row in read[1:]] == [b"", os.fsencode(ODD)]


def test_csv_gives_every_value_of_an_object_its_column() -> None:
    record = {"path": "/a", "score": 0.25, "then": None, "parts": [{"what": "=é"}], "metadata": {"a": "=1", "a.b": "x"}}
    records = [record, {**record, "then": {"start": 1.5}, "heard": {"text": "\udce9"}}]
    read = list(csv.DictReader(io.StringIO(content(csv_table("q", records)).decode("utf-8"), newline="")))
    assert list(read[0]) == [
        *("query", "rank", "path", "start", "end", "score", "peak", "probability"),
        *("parts", "metadata.a", "metadata.a.b", "then.start", "heard.text"),
    ]
    assert [row["then.start"] for row in read] == ["", "1.5"]
    assert [row["heard.text"] for row in read] == ["", "\\udce9"]
    assert [json.loads(row["parts"]) for row in read] == [record["parts"]] * 2
    assert {(row["metadata.a"], row["metadata.a.b"]) for row in read} == {("'=1", "x")}
    rows = [json.loads(line) for line in content(json_lines("q", records)).decode("ascii").splitlines()]
    records[1]["heard"] = {"text": "\\udce9"}
    assert rows == [{"query": "q", "rank": 1, **records[0]}, {"query": "q", "rank": 2, **records[1]}]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "＝", "＋", "－", "＠", "  ="])
def test_no_cell_of_a_csv_is_a_formula(sign: str) -> None:
    query = f"{sign}cmd|' /C calc'!A0"
    read = list(csv.reader(io.StringIO(content(csv_table(query, hits(query))).decode(), newline="")))
    assert read[1][0] == read[1][2] == f"'{query}"
    plain = list(csv.reader(io.StringIO(content(csv_table("a - b = c", hits("/a-b"))).decode(), newline="")))
    assert (plain[1][0], plain[1][2]) == ("a - b = c", "/a-b")
    negative = [Hit("/a", 0.0, 1.0, -0.25, 0.5)]
    assert b",-0.25," in content(csv_table("a", negative)), "numbers stay numbers"


def cues(path: Path) -> list[tuple[float, float, str]]:
    """Start, end and text of every cue as FFmpeg reads the file."""
    found = []
    with av.open(str(path)) as container:
        (stream,) = container.streams.subtitles
        for packet in container.demux(stream):
            if packet.size:
                start = float(packet.pts * packet.time_base)
                found.append((start, start + float(packet.duration * packet.time_base), bytes(packet).decode()))
    return found


@pytest.mark.parametrize(("make", "ending"), [(subrip, "srt"), (web_vtt, "vtt")])
def test_subtitles_are_read_with_their_times_in_order(tmp_path: Path, make, ending: str) -> None:
    found = [Hit("/a.mp4", 3661.0014, 3662.5, 0.25, 0), Hit("/a.mp4", 0, 0, 0.5, 0), Hit("/a.mp4", 2, 59.9996, -0.1, 0)]
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content(make("a dog", found)))
    assert path.read_text().startswith("1\n00:" if ending == "srt" else "WEBVTT\n\n1\n00:")
    read = cues(path)
    assert [row[:2] for row in read] == [
        pytest.approx((0, 0.001)), pytest.approx((2, 60)), pytest.approx((3661.001, 3662.5)),
    ]  # fmt: skip
    assert [row[2].strip() for row in read] == ["a dog (0.500)", "a dog (-0.100)", "a dog (0.250)"]


@pytest.mark.parametrize(("make", "ending"), [(subrip, "srt"), (web_vtt, "vtt")])
def test_queries_bring_no_markup_and_no_cues_into_subtitles(tmp_path: Path, make, ending: str) -> None:
    query = f"{EVIL}\n\n2\n00:00:09.000 --> 00:00:10.000\n<script>x</script>&lt;"
    made = content(make(query, hits("/a.mp4")))
    text = made.decode("utf-8")
    body = text.split("\n", 4 if ending == "vtt" else 2)[-1]
    assert not set("<>" if ending == "vtt" else "<>{}") & set(body)
    assert text.count("-->") == 1
    (tmp_path / f"a.{ending}").write_bytes(made)
    ((start, end, read),) = cues(tmp_path / f"a.{ending}")
    assert (start, end) == pytest.approx((1.5, 3.25))
    assert "\\udce9 猫" in read
    if ending == "vtt":
        assert "&lt;b&gt;runs&lt;/b&gt;" in read
        assert "&amp;lt;" in read


def test_subtitles_are_a_file_a_video() -> None:
    found = [*hits("/a/x.mp4", "/b/X.mp4", "/a/x.mp4"), *hits("/c/../x y\n.mp4")]
    made = subrip("a", found).documents
    assert [doc.part for doc in made] == ["x", "X-2", "x_y"]
    assert [doc.content.count(b"-->") for doc in made] == [2, 1, 1]


def test_parts_differ_even_from_those_that_were_made() -> None:
    assert parts(["a"]) == [""]
    assert parts(["a", "a-2", "a", "A", "b"]) == ["a", "a-2", "a-3", "A-4", "b"]
    assert parts(["A", "a"]) == ["A", "a-2"]
    assert parts([]) == []


def test_shown_is_one_safe_line() -> None:
    assert shown(" a\n\tb \x00\x1b\u202e\udce9 猫 ") == "a b \\x00\\x1b\\u202e\\udce9 猫"


ALPHABET = st.text(st.sampled_from([*string.printable, "猫", "é", "\udce9", "\u202e", "𝄞", "\x00"]), max_size=300)


@given(ALPHABET)
def test_safe_names_are_one_plain_part_of_a_path(text: str) -> None:
    name = safe_name(f"/films/{text}.mp4".replace("\x00", ""))
    assert name
    assert not set('/\\:*?"<>|. \n\t') & set(name)
    assert name.isprintable()
    assert len(name) <= 60
    assert len(name.encode()) <= 120


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/../..", "video"),
        ("/a/.mp4", "mp4"),
        ("../../etc/passwd", "passwd"),
        ("/a/猫 é-1.mp4", "猫_é-1"),
        ("/a/-.mp4", "-"),
        (f"/a/{'a' * 61}.mp4", "a" * 60),
        (f"/a/b{'猫' * 59}.mp4", "b" + "猫" * 39),
    ],
)
def test_safe_names_of_names_that_would_lead_elsewhere(path: str, name: str) -> None:
    assert safe_name(path) == name


@given(st.lists(ALPHABET, max_size=6))
def test_any_names_give_readable_json_and_csv(names: list[str]) -> None:
    found = hits(*names)
    rows = [json.loads(line) for line in content(json_lines("q", found)).decode().splitlines()]
    exact = [
        os.fsdecode(unquote_to_bytes(row["path_encoded"])) if "path_encoded" in row else row["path"] for row in rows
    ]
    assert exact == names
    text = content(csv_table("q", found)).decode("utf-8")
    if "\x00" not in text:  # no file name has it
        assert len(list(csv.reader(io.StringIO(text, newline="")))) == len(names) + 1
