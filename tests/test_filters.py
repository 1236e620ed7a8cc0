"""Which files pass: each filter alone and together, and a table that does not fit."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from reelseek.errors import ConfigError, DataError
from reelseek.index.ask import Answer
from reelseek.index.filters import Condition, Filters, Metadata, parse_condition, parse_time, read_metadata
from reelseek.index.store import IndexedFile


def file(path: str, *, changed: float = 0, duration: float = 1, content: str = "") -> IndexedFile:
    return IndexedFile(Path(path), 1, int(changed * 1e9), content or path, duration, "ok", "", 0.0)


FILES = [
    file("/films/alps/a.mp4", changed=100, duration=10),
    file("/films/alps/b.mp4", changed=200, duration=20),
    file("/films/alpsee/a.mp4", changed=300, duration=30),
    file("/films/c.final.mkv", changed=400, duration=40),
]


def passing(**wanted) -> list[str]:
    return [str(found.path) for found in Filters(**wanted).passing(by_path(FILES))]


def by_path(files: list[IndexedFile]) -> dict[str, IndexedFile]:
    return {str(file.path): file for file in files}


def table(tmp_path: Path, text: str):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return read_metadata(path)


def test_without_filters_all_pass():
    assert passing() == [str(found.path) for found in FILES]


def test_below_is_a_folder_not_a_beginning_of_a_name():
    assert passing(below=(Path("/films/alps"),)) == ["/films/alps/a.mp4", "/films/alps/b.mp4"]
    assert passing(below=(Path("/films/alps/"), Path("/films/c.final.mkv")))[-1] == "/films/c.final.mkv"
    assert len(passing(below=(Path("/"),))) == 4


def test_below_is_seen_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [file(str(tmp_path / "in" / "a.mp4")), file("/elsewhere/in/b.mp4")]
    assert Filters(below=(Path("in"),)).passing(by_path(files)) == files[:1]


def test_since_is_inclusive_and_until_exclusive():
    assert passing(since=200, until=400) == ["/films/alps/b.mp4", "/films/alpsee/a.mp4"]
    assert passing(since=400.1) == []


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts this process into another time zone."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["FAR-14", "UTC0", "FAR+12"])
def test_the_day_that_an_answer_tells_is_the_day_that_finds_it(clock_of, zone):
    clock_of(zone)
    for hour in range(0, 48, 5):
        changed = 1.7e9 + 3600 * hour
        found = Answer("/a", 0, 1, 0.5, 0, None, "cosine", (), None, (), 1, changed, {}).plain()["changed"]
        assert datetime.fromisoformat(found).timestamp() == changed
        day = found[:10]
        assert parse_time(day) <= changed < parse_time(day, end=True)


def test_lengths_are_inclusive():
    assert passing(longer=20, shorter=30) == ["/films/alps/b.mp4", "/films/alpsee/a.mp4"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"since": 2.0, "until": 1.0}, "since and until exclude every file"),
        ({"longer": 2.0, "shorter": 1.0}, "longer and shorter exclude every file"),
        ({"longer": float("nan")}, "finite"),
        ({"where": (Condition("camera", "=", "x"),)}, "needs a table"),
    ],
)
def test_filters_that_cannot_be_meant(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Filters(**wrong)


def test_a_folder_that_holds_nothing_of_the_index_is_named():
    with pytest.raises(ConfigError, match="below /films/alp: the index holds no file there"):
        passing(below=(Path("/films"), Path("/films/alp")))


def test_folders_and_files_named_together_are_looked_up_in_one_pass(monkeypatch):
    read = []

    class Read(IndexedFile):
        @property
        def path(self) -> Path:
            read.append(self[0])
            return self[0]

    files = [Read(*row) for row in FILES]
    places = [Path("/films/alps"), *(row.path for row in FILES[1:]), Path("/films/alpsee")] * 50
    assert Filters(below=tuple(places)).passing({str(row[0]): row for row in files}) == files
    assert len(read) <= 4 * len(files)


CSV = "path,camera,rating\n../alps/a.mp4,GoPro,4\nb,gopro ,10\n/films/alpsee/a.mp4,Nikon,\nc.final,,1e1\n"


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["camera=gopro"], ["alps/a.mp4", "alps/b.mp4"]),
        (["camera!=GoPro"], ["alpsee/a.mp4"]),
        (["rating>=4"], ["alps/a.mp4", "alps/b.mp4", "c.final.mkv"]),
        (["rating>4"], ["alps/b.mp4", "c.final.mkv"]),
        (["rating<10"], ["alps/a.mp4"]),
        (["rating<=9.9"], ["alps/a.mp4"]),
        (["rating=4.0"], ["alps/a.mp4"]),
        (["rating=10"], ["alps/b.mp4", "c.final.mkv"]),
        (["rating="], ["alpsee/a.mp4"]),
        (["camera=GoPro", "rating<5"], ["alps/a.mp4"]),
    ],
)
def test_conditions_on_columns(tmp_path, conditions, names):
    where = tuple(parse_condition(condition) for condition in conditions)
    assert passing(metadata=table(tmp_path, CSV), where=where) == [f"/films/{name}" for name in names]


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["rating>=4"], ["alps/a.mp4", "c.final.mkv"]),
        (["rating>=4,5"], ["alps/a.mp4", "c.final.mkv"]),
        (["rating>4.5"], ["c.final.mkv"]),
        (["rating=4.5"], ["alps/a.mp4"]),
        (["rating<-1,2"], ["alpsee/a.mp4"]),
    ],
)
def test_a_table_of_semicolons_may_have_decimal_commas(tmp_path, conditions, names):
    metadata = table(tmp_path, "path;rating\nalps/a.mp4;4,5\nb;0,5\nalpsee/a;-1,25\nc.final;5\n")
    assert passing(metadata=metadata, where=tuple(map(parse_condition, conditions))) == [f"/films/{n}" for n in names]


def test_a_comma_is_no_decimal_point_in_a_table_of_commas(tmp_path):
    metadata = table(tmp_path, 'path,size\nb,"1,500"\n')
    with pytest.raises(ConfigError, match="'1,000' is neither"):
        passing(metadata=metadata, where=(parse_condition("size>1,000"),))
    with pytest.raises(DataError, match=r"table\.csv, line 2: its size is '1,500'"):
        passing(metadata=metadata, where=(parse_condition("size>1000"),))


DATES = "path,taken\nalps/a.mp4,2024-05-01\nb,2024-05-31T23:59\nalpsee/a,2024-06-01 00:00\nc.final,\n"


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["taken>=2024-05-01"], "abs"),
        (["taken>2024-05-01"], "bs"),
        (["taken<=2024-05-31"], "ab"),
        (["taken<2024-05-31"], "a"),
        (["taken>2024-05-31"], "s"),
        (["taken>=2024-05-01", "taken<=2024-05-01"], "a"),
        (["taken>2024-05-31T12:00"], "bs"),
        (["taken<2024-05-01T00:01"], "a"),
        (["taken=2024-05-31"], "b"),
        (["taken!=2024-05-31"], "as"),
        (["taken=2024-05-01"], "a"),
        (["taken=2024-05-01T00:00"], "a"),
        (["taken=2024-05-31 23:59"], "b"),
        (["taken!=2024-05-31 23:59"], "as"),
        (["taken=2024-05-31T12:00"], ""),
    ],
)
def test_dates_in_a_column_compare(tmp_path, conditions, names):
    where = tuple(map(parse_condition, conditions))
    paths = {"a": "/films/alps/a.mp4", "b": "/films/alps/b.mp4", "s": "/films/alpsee/a.mp4"}
    assert passing(metadata=table(tmp_path, DATES), where=where) == [paths[name] for name in names]


@pytest.mark.parametrize("cell", ["2024-05-31", "2024-05-31T10:00", "2024-05-31 23:59:59", "2024-06-01T00:00"])
@pytest.mark.parametrize("value", ["2024-05-31", "2024-05-31T10:00", "2024-06-01"])
def test_one_of_less_equal_and_more_holds_of_every_date(cell, value):
    less, equal, more, unequal, at_most, at_least = (
        Condition("x", sign, value).holds(cell) for sign in ("<", "=", ">", "!=", "<=", ">=")
    )
    assert [less, equal, more].count(True) == 1
    assert (unequal, at_most, at_least) == (not equal, less or equal, more or equal)


def test_an_underscore_makes_no_number():
    assert Condition("x", "=", "12").holds("1_2") is False
    assert Condition("x", ">", "2024").holds("2024_05_31") is None
    assert Condition("x", "=", "A_1").holds("a_1") is True


@pytest.mark.parametrize("cell", ["31.5.2024", "20240531", "2024-02-30", "4", "in May"])
def test_what_is_no_date_equals_none(cell):
    assert Condition("x", "=", "2024-05-31").holds(cell) is False
    assert Condition("x", "!=", "2024-05-31").holds(cell) is True
    assert Condition("x", "=", cell.upper()).holds(cell) is True


@pytest.mark.parametrize(
    ("condition", "cell"),
    [("x>=4", "high"), ("x<4", "2024-05-01"), ("x>2024-05-01", "4"), ("x>2024-05-01", "1.5.2024"), ("x>4", "nan")],
)
def test_a_cell_that_cannot_be_compared_is_named(tmp_path, condition, cell):
    metadata = table(tmp_path, f"path,camera,x\nb,GoPro,\nc.final,Nikon,{cell}\ngone,GoPro,{cell}\n")
    where = parse_condition(condition)
    with pytest.raises(DataError, match=rf"table\.csv, line 3: its x is '{cell}', .*Correct it"):
        passing(metadata=metadata, where=(where,))
    # what another condition leaves out, and a row without a file, need no value
    assert passing(metadata=metadata, where=(where, parse_condition("camera=GoPro"))) == []


def test_a_file_without_a_row_passes_no_condition(tmp_path):
    few = table(tmp_path, "video;camera\nb;GoPro\n")
    assert passing(metadata=few, where=(parse_condition("camera!=Nikon"),)) == ["/films/alps/b.mp4"]
    assert len(passing(metadata=few)) == 4


def test_names_match_whatever_way_a_letter_is_written(tmp_path):
    composed, parted = "/films/caf\u00e9.mp4", "/films/caf\u00e9 noir.mp4"
    files = [
        file(unicodedata.normalize("NFD", composed)),
        file(parted),
        file("/Films/STRASSE.MP4"),
        file("/films/z.mp4"),
    ]
    text = (
        unicodedata.normalize("NFD", "path,x\nfilms/cafe\u0301 noir,2\n")
        + "caf\u00e9,1\nfilms/Stra\u00dfe,3\nq,4\ny,5\n"
    )
    metadata = table(tmp_path, text)
    matched = metadata.of_files(by_path(files))
    assert {str(path): row["x"] for path, row in matched.rows.items()} == {
        str(files[0].path): "1", parted: "2", "/Films/STRASSE.MP4": "3",
    }  # fmt: skip
    assert (list(matched.unclear), list(matched.unnamed)) == ([], [5, 6])
    note = metadata.note(metadata._matched[0])
    assert note.endswith("table.csv: 2 of 5 rows name no file of the index, the first in line 5.")
    assert table(tmp_path, "path,x\nz,1\n").note(by_path(files)) == ""


def test_an_exact_name_goes_before_one_in_other_letters(tmp_path):
    rows = table(tmp_path, "path,x\nA.mp4,1\na.mp4,2\n")
    both = rows.of_files(by_path([file("/v/a.mp4"), file("/v/A.mp4")]))
    assert {str(path): row["x"] for path, row in both.rows.items()} == {"/v/A.mp4": "1", "/v/a.mp4": "2"}
    one = rows.of_files(by_path([file("/v/a.mp4")]))
    assert ({str(path): row["x"] for path, row in one.rows.items()}, list(one.unnamed)) == ({"/v/a.mp4": "2"}, [2])
    forms = [file("/v/" + unicodedata.normalize(form, "\u00e9.mp4")) for form in ("NFC", "NFD")]
    assert [str(path) for path in table(tmp_path, "path,x\n\u00e9,1\n").of_files(by_path(forms)).rows] == [
        "/v/\u00e9.mp4"
    ]
    several = table(tmp_path, "path,x\nA.MP4,1\n").of_files(by_path([file("/v/a.mp4"), file("/w/a.mp4")]))
    assert "names 2 files" in several.unclear[0][1]


def test_copies_share_a_row(tmp_path):
    files = [file("/one/a.mp4", content="same"), file("/two/a.mp4", content="same")]
    rows = table(tmp_path, "video,x\na,1\n").of_files(by_path(files)).rows
    assert {str(path): row["x"] for path, row in rows.items()} == {"/one/a.mp4": "1", "/two/a.mp4": "1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,x\na.mp4,1\n", r"line 2: a.mp4 names 2 files, /films/alps/a.mp4 and /films/alpsee/a.mp4: write more"),
        ("path,x\nb.mp4,1\nalps/b.mp4,2\n", r"lines 2 and 3: both name /films/alps/b.mp4"),
        ("path,x\nz.mp4,1\n", "its column 'path' names no file of the index"),
        ("path,x\n", "names no file of the index"),
    ],
)
def test_tables_that_do_not_fit_the_index(tmp_path, text, words):
    """Only where something is asked of the rows that do not."""
    metadata = table(tmp_path, text)
    with pytest.raises(DataError, match=words):
        passing(metadata=metadata, where=(parse_condition("x>=1"),))
    assert len(passing(metadata=metadata)) == 4


def test_rows_that_are_not_clear_are_left_out_where_nothing_is_asked_of_them(tmp_path):
    metadata = table(tmp_path, "path,x\na.mp4,1\nb.mp4,2\nalps/b,3\nc.final,4\n")
    assert metadata.of_files(by_path(FILES)).rows == {Path("/films/c.final.mkv"): {"path": "c.final", "x": "4"}}
    assert passing(metadata=metadata, where=(parse_condition("x>3"),)) == ["/films/c.final.mkv"]
    for wrong in ("x>2", "x<=1", "x=2"):
        with pytest.raises(DataError, match=r"write more of the path|both name"):
            passing(metadata=metadata, where=(parse_condition(wrong),))


def test_a_table_is_matched_once_and_only_where_it_is_asked(tmp_path, monkeypatch):
    metadata, files, calls = table(tmp_path, CSV), by_path(FILES), []
    match = Metadata._match
    monkeypatch.setattr(Metadata, "_match", lambda self, found: calls.append(found) or match(self, found))
    Filters(metadata=metadata).passing(files)
    assert calls == []
    for text in ("camera=gopro", "rating>4"):
        Filters(metadata=metadata, where=(parse_condition(text),)).passing(files)
    assert len(metadata.of_files(files).rows) == 4
    assert calls == [files]
    assert len(metadata.of_files(by_path(FILES[:2])).rows) == 2
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "needs a column path or video that names the file; it has no header"),
        (b"name,x\na,1\n", "it has name, x"),
        (b"path,x,x\na,1,2\n", "two of its columns have the same name"),
        (b"path,x\na,1\n\nb,1,2\n", "line 4: it has 3 cells, the header has 2"),
        (b"path,x\n\xff,1\n", "is not UTF-8 text"),
        (b'path,x\n"a' + b"b" * 200_000 + b'",1\n', "line 2: is no row of a CSV table"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, words):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_metadata(tmp_path / "table.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_metadata(tmp_path / "none.csv")


def test_an_unknown_column_is_named_with_those_there(tmp_path):
    with pytest.raises(ConfigError, match=r"has no such column\. It has path, camera, rating"):
        Filters(metadata=table(tmp_path, CSV), where=(parse_condition("Camera=x"),))


def test_conditions_are_read_as_they_are_written():
    assert parse_condition("camera = Go=Pro") == Condition("camera", "=", "Go=Pro")
    assert parse_condition("a b<=-1.5") == Condition("a b", "<=", "-1.5")
    for wrong in ("", "camera", "=x", " >3"):
        with pytest.raises(ConfigError, match="write a column, a sign and a value"):
            parse_condition(wrong)
    for wrong in ("rating>high", "rating<=", "rating>nan"):
        with pytest.raises(ConfigError, match="compares numbers"):
            parse_condition(wrong)


def test_dates_are_local_days():
    start = datetime(2024, 5, 31).timestamp()
    assert parse_time("2024-05-31") == start
    assert parse_time("2024-05-31", end=True) == datetime(2024, 6, 1).timestamp()
    assert parse_time("2024-05-31T18:30", end=True) == start + 18.5 * 3600
    assert parse_time("2024-05-31T18:30+00:00") == parse_time("2024-05-31 18:30:00Z") == 1717180200
    assert parse_time("2024-05-31") <= time.time()


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2024-13-01", "31.5.2024", "2024-02-30", "9999-12-31T99:00", "2024"),
        *("20240531", "2024-W22-5", "2024W225", "20240531T1830", "2024-05-31T18", "2024-05-31T18:30x"),
    ],
)
def test_wrong_dates_are_refused(text):
    with pytest.raises(ConfigError, match="is no date: write it as 2024-05-31"):
        parse_time(text)


def test_the_last_day_of_all_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="is no date"):
        parse_time("9999-12-31", end=True)


@pytest.mark.parametrize("cell", ["9999-12-31T23:59-12:00", "0001-01-01T00:00+14:00"])
@pytest.mark.parametrize("sign", ["=", "!=", "<", "<=", ">", ">="])
def test_a_time_outside_of_the_calendar_is_no_time(cell: str, sign: str) -> None:
    found = Condition("taken", sign, "2024-05-31").holds(cell)
    assert found is {"=": False, "!=": True}.get(sign)
