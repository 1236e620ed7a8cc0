from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reelseek.data.folder import load_folder, read_captions
from reelseek.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files under video names; reading captions never opens them."""
    for name in ("a.mp4", "b.MOV", "sub/c.webm", "sub/a.mkv", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def write(folder: Path, text: str, name: str = "captions.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_columns_names_and_splits(folder):
    write(folder, "split,video,caption\ntrain,a.mp4,one\nvalidation,b,two\ntest,sub/c.webm,three\ntest,c,four\n")
    splits = load_folder(folder)
    assert splits.train.texts == ("one",)
    assert splits.train.paths == (folder / "a.mp4",)
    assert splits.val.video_ids == ("b.MOV",)
    assert splits.test.video_ids == ("sub/c.webm",)
    assert splits.test.texts == ("three", "four")
    assert splits.test.video_of_T.tolist() == [0, 0]
    assert splits.test.spans is None
    assert "1 files without a caption left out" in splits.train.describe()


def test_json_lines(folder):
    rows = [
        {"video": "a.mp4", "caption": "one\u2028line", "split": "test"},
        {"video": "b", "caption": "7", "split": "test"},
    ]
    write(folder, "\n".join(map(json.dumps, rows)) + "\n\n", "captions.jsonl")
    splits = load_folder(folder)
    assert splits.test.texts == ("one line", "7")
    assert splits.train is None


def test_a_list_of_captions_is_a_row_for_each(folder):
    rows = [
        {"video": "a.mp4", "caption": ["one a", "two a", "one a", 3, None, " "], "split": "test"},
        {"video": "./a.mp4", "caption": ["two a", "three a"], "split": "test"},
        *({"video": "b", "caption": wrong, "split": "test"} for wrong in (7, True, {"en": "x"}, [], [["x"]])),
        {"video": ["b"], "caption": ["x", "y"], "split": "test"},
        {"video": "b", "caption": "x", "split": "test", "start": [0], "end": 1},
    ]
    path = write(folder, "\n".join(map(json.dumps, rows)), "captions.jsonl")
    test = load_folder(folder).test
    assert test.captions_of("a.mp4") == ("one a", "two a", "one a", "three a")
    assert test.video_ids == ("a.mp4",)
    for words in (
        *("1 repeated rows", "6 captions that are no text", "2 empty captions"),
        "3 rows whose video, split, start or end is a list or an object",
    ):
        assert f"dropped {words}" in test.describe()
    read, problems = read_captions(path)
    assert [row.caption for row in read] == ["one a", "two a", "one a", "two a", "three a"]
    assert (problems["captions that are no text"], problems["empty captions"]) == (6, 2)


def test_quotes_byte_order_mark_and_windows_line_ends(folder):
    write(
        folder,
        'Video,Caption,split\r\na.mp4,"a dog, a ""good"" one, jumps",test\r\nb.MOV,naïve 🐕,test\r\n',
        encoding="utf-8-sig",
    )
    assert load_folder(folder).test.texts == ('a dog, a "good" one, jumps', "naïve 🐕")


def test_names_are_found_however_their_letters_are_composed(folder):
    """macOS writes an accent behind its letter, and a spreadsheet one letter for both."""
    apart, one = "cafe\u0301", "caf\u00e9"
    (folder / f"{apart}.mp4").write_bytes(b"")
    write(folder, f"video,caption,split\n{one},someone drinks,test\n{one}.mp4,a cup,test\n{apart},tea,test\n")
    test = load_folder(folder).test
    assert (test.video_ids, test.missing_videos, len(test.texts)) == ((f"{apart}.mp4",), (), 3)
    (folder / f"{one}.mp4").write_bytes(b"")
    write(folder, f"video,caption,split\n{one}.mp4,someone drinks,test\n{apart}.mp4,a cup,train\n")
    splits = load_folder(folder)
    assert (splits.test.video_ids, splits.train.video_ids) == ((f"{one}.mp4",), (f"{apart}.mp4",))


@pytest.mark.parametrize(("name", "mark"), [("captions.tsv", "\t"), ("captions.csv", ";")])
def test_other_separators(folder, name, mark):
    write(folder, f"video{mark}caption{mark}split\na.mp4{mark}one, two{mark}test\n", name)
    assert load_folder(folder).test.texts == ("one, two",)


@pytest.mark.parametrize(
    "row", ['a.mp4,"no end of the quote,train', '"a.mp4,one,train', 'a.mp4,one,train,"more', 'a.mp4,"one\ntwo",train']
)
@pytest.mark.parametrize("rest", ["", "\n", "\nb,two,train\nsub/c.webm,three,test\n", '\nb,"two",train\n'])
def test_a_quote_that_its_line_does_not_close_is_refused(folder, row, rest):
    path = write(folder, f"video,caption,split\nsub/a.mkv,zero,train\n{row}{rest}")
    for read in (load_folder, lambda _: read_captions(path)):
        with pytest.raises(DataError, match=r"captions\.csv: a field of line 3 goes on in the next: is a quote"):
            read(folder)


def test_quotes_between_tabs_count_where_they_pair_up(folder):
    rows = [
        'a.mp4\t"Stop, he cries\ttrain',
        'b\t"a ""good""\tdog"\ttrain',
        'c\t"Go" he cries\ttrain',
        'sub/a.mkv\t5" long\ttest',
    ]
    write(folder, "video\tcaption\tsplit\n" + "\r\n".join(rows) + "\r\n", "captions.tsv")
    splits = load_folder(folder)
    assert splits.train.texts == ('"Stop, he cries', 'a "good" dog', '"Go" he cries')
    assert splits.test.texts == ('5" long',)


def test_parts_of_a_file_are_videos_of_their_own(folder):
    write(
        folder,
        "video,caption,start,end,split\na.mp4,one,0,2.5,test\na.mp4,two,2.5,4,test\na.mp4,three,0,2.5,test\n"
        "b,four,,,test\n",
    )
    test = load_folder(folder).test
    assert test.video_ids == ("a.mp4#0-2.5", "a.mp4#2.5-4", "b.MOV")
    assert test.spans == ((0.0, 2.5), (2.5, 4.0), None)
    assert test.paths == (folder / "a.mp4", folder / "a.mp4", folder / "b.MOV")
    assert test.captions_of("a.mp4#0-2.5") == ("one", "three")


def test_bad_rows_are_dropped_counted_and_named(folder):
    rows = [
        "a.mp4,one,test,,",
        "a.mp4,one,test,,",
        "./a.mp4,one ,test,,",
        "a.mp4,   ,test,,",
        ",two,test,,",
        "b,three,tset,,",
        "b,four,,,",
        "b,five,test,3,1",
        "b,six,test,x,1",
        "b,six,test,1,",
        "b,six,test,0,nan",
        "b,six,test,0,inf",
        "b,six, with comma,test,0,1",
        "b,six",
        "gone.mp4,seven,test,,",
        "",
    ]
    write(folder, "video,caption,split,start,end\n" + "\n".join(rows))
    test = load_folder(folder).test
    assert test.texts == ("one",)
    assert test.missing_videos == ("gone.mp4",)
    assert test.missing_texts == 1
    assert test.dropped == 11
    assert not test.complete
    described = test.describe()
    for note in (
        "missing 1 videos and 1 texts",
        "dropped 2 repeated rows",
        "dropped 1 empty captions",
        "dropped 1 rows without a video",
        "dropped 1 rows of the unknown split 'tset'",
        "dropped 2 rows without a split",
        "dropped 5 rows whose start and end",
        "dropped 1 rows with too many fields",
        "3 files without a caption left out",
    ):
        assert note in described


@pytest.mark.parametrize(
    ("row", "train", "test"),
    [
        ("a.mp4,,train,,", 1, 0),
        (",one,test,,", 0, 1),
        ("a.mp4,one,train,3,1", 1, 0),
        ("gone,one,tset,,", 1, 1),
        ("gone,one,,,", 1, 1),
        ("./a.mp4,one,tset,,", 1, 0),
        ("a.mp4,other,,,", 1, 0),
        ("a.mp4,one,train,,,with,commas", 1, 1),
    ],
)
def test_what_is_dropped_counts_for_its_own_split(folder, row, train, test):
    write(folder, f"video,caption,split,start,end\na.mp4,one,train,,\nb,two,test,,\n{row}\n")
    splits = load_folder(folder)
    for split, dropped in ((splits.train, train), (splits.test, test)):
        assert (split.dropped, split.complete) == (dropped, not dropped)
        assert any("dropped" in note for note in split.notes) == bool(dropped)


def test_what_is_dropped_of_files_divided_by_a_hash_counts_for_their_split(folder):
    for at in range(10):
        (folder / f"n{at}.mp4").touch()
    rows = "".join(f"n{at}.mp4,one\n" for at in range(10))
    write(folder, f"video,caption\n{rows}n3,\n./n7.mp4,\n")
    for split in load_folder(folder):
        assert split.dropped == len({"n3.mp4", "n7.mp4"}.intersection(split.video_ids))


def test_what_is_dropped_is_not_complete_and_what_is_repeated_is(folder):
    rows = "video,caption,split\na.mp4,one,test\n"
    for more, dropped in (("", 0), ("a.mp4,one,test\n", 0), ("a.mp4, ,test\n", 1), ("b,two,tset\n", 1)):
        write(folder, rows + more)
        test = load_folder(folder).test
        assert (test.dropped, test.complete) == (dropped, not dropped)


def test_bad_json_lines_are_counted(folder):
    write(
        folder, '{"video": "a.mp4", "caption": "one"}\n{"video": "a.mp4"\n[1]\n{"video": "a.mp4"}\n', "captions.jsonl"
    )
    described = load_folder(folder).train.describe()
    assert "dropped 1 lines that are not JSON" in described
    assert "dropped 2 lines without the keys video and caption" in described


def test_a_name_that_fits_two_files_counts_as_missing(folder):
    (folder / "a.mp4").rename(folder / "sub" / "a.mp4")
    write(folder, "video,caption,split\na,one,test\nb,two,test\nsub/a.mkv,three,test\n")
    test = load_folder(folder).test
    assert test.video_ids == ("b.MOV", "sub/a.mkv")
    assert test.missing_videos == ("a",)
    assert "1 names fit several files" in test.describe()


def many(folder: Path, count: int, captions: int = 1) -> None:
    rows = ["video,caption"]
    for number in range(count):
        (folder / f"clip{number}.mp4").touch()
        rows += [f"clip{number}.mp4,caption {number} {turn}" for turn in range(captions)]
    write(folder, "\n".join(rows))


def test_without_a_split_column_videos_are_divided_by_hash(tmp_path):
    many(tmp_path, 100, captions=2)
    first, again, other = load_folder(tmp_path, seed=0), load_folder(tmp_path, seed=0), load_folder(tmp_path, seed=1)
    assert [len(split.video_ids) for split in first] == [80, 10, 10]
    assert [len(split.texts) for split in first] == [160, 20, 20]
    assert len({video for split in first for video in split.video_ids}) == 100
    assert first.test.video_ids == again.test.video_ids
    assert first.test.video_ids != other.test.video_ids
    assert "split 80/10/10 by a hash of the file names, seed 0" in first.test.describe()


def test_three_videos_make_three_splits_and_one_makes_one(tmp_path):
    many(tmp_path, 3)
    assert [len(split.video_ids) for split in load_folder(tmp_path)] == [1, 1, 1]
    many(tmp_path, 1)
    assert [split is None for split in load_folder(tmp_path)] == [False, True, True]


def test_parts_of_one_file_stay_together_when_divided(tmp_path):
    rows = ["video,caption,start,end"]
    for number in range(20):
        (tmp_path / f"clip{number}.mp4").touch()
        rows += [f"clip{number},caption {start},{start},{start + 1}" for start in range(3)]
    write(tmp_path, "\n".join(rows))
    files = [set(split.paths) for split in load_folder(tmp_path)]
    assert sum(len(paths) for paths in files) == len(set.union(*files)) == 20


def test_one_file_in_two_splits_is_refused(folder):
    write(folder, "video,caption,split\na.mp4,one,train\n./a.mp4,two,test\n")
    with pytest.raises(DataError, match=r"'a.mp4' is in the splits train and test"):
        load_folder(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column video and no column caption"),
        ("video,text\na.mp4,one\n", "no column caption in its header 'video,text'"),
        ("video,caption\n", "no usable row \\(it is empty\\)"),
        ("video,caption\na.mp4,\n", "no usable row \\(1 empty captions\\)"),
        ("video,caption\nx.mp4,one\ny.mp4,two\n", "none of its 2 videos is among the 4 video files .*'x.mp4'"),
        ("video,caption\na.mp4," + "x" * 140_000, "not a CSV file at line 2"),
    ],
)
def test_useless_files_say_what_is_wrong(folder, text, message):
    write(folder, text)
    with pytest.raises(DataError, match=message):
        load_folder(folder)


def test_missing_things_are_named(folder):
    with pytest.raises(DataError, match=r"No captions file at .*captions.csv.*header line `video,caption`"):
        load_folder(folder)
    with pytest.raises(DataError, match=r"No captions file at .*other.csv"):
        load_folder(folder, "other.csv")
    with pytest.raises(DataError, match="is not a folder"):
        load_folder(folder / "nowhere")
    with pytest.raises(DataError, match="'' is not a folder"):
        load_folder("")
    write(folder, "video,caption\na.mp4,caf\xe9\n", encoding="latin-1")
    with pytest.raises(DataError, match="not UTF-8 text \\(byte 23\\)"):
        load_folder(folder)


def test_a_split_without_any_file_is_refused(folder):
    write(folder, "video,caption,split\na.mp4,one,train\ngone.mp4,two,test\n")
    with pytest.raises(DataError, match="None of the 1 videos of the split test"):
        load_folder(folder)


def test_two_folders_are_two_corpora(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for place in (folder, other):
        (place / "a.mp4").touch()
        write(place, "video,caption,split\na.mp4,one,test\n")
    assert load_folder(folder).test.corpus == load_folder(folder).test.corpus != load_folder(other).test.corpus
    np.testing.assert_array_equal(load_folder(folder).test.relevance_TV(), [[True]])
