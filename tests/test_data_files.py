"""Finding original files by name, reading them, and splits made of lists and captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelseek.data.files import (
    Caption,
    Files,
    Place,
    hold_out,
    numbered,
    paragraph,
    read_json,
    read_text,
    refuse_shared,
    without_ending,
)
from reelseek.errors import DataError


def test_files_are_found_below_links_and_not_below_dots(tmp_path):
    store, root = tmp_path / "store", tmp_path / "root"
    for path in (store / "deep" / "a.MP4", store / ".hidden" / "b.mp4", store / ".c.mp4", root / "list.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "videos").symlink_to(store)
    (store / "deep" / "loop").symlink_to(root)
    (store / "gone.mp4").symlink_to(tmp_path / "nowhere")
    files = Files("Some", root)
    assert set(files.named) == {"a.MP4", "list.txt"}
    assert files.find("a") == Place(root / "videos" / "deep" / "a.MP4", None)
    assert files.find("b") is None


def test_of_several_files_of_one_name_the_first_path_is_taken(tmp_path):
    for folder in ("z", "a", "m"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.mp4").touch()
    (tmp_path / "a" / "y.mp4").touch()
    files = Files("Some", tmp_path)
    assert files.videos["x"] == tmp_path / "a" / "x.mp4"
    note = f"1 videos have several files of one name, such as {tmp_path / 'a' / 'x.mp4'}, which was used"
    assert note in files.split("s", ("x", "y"), numbered([("x", "t"), ("y", "t")]), corpus="").notes
    assert files.split("s", ("y",), numbered([("y", "t")]), corpus="").notes == ()


def test_a_gif_is_a_video_where_there_is_no_other(tmp_path):
    for name in ("previews/x.gif", "previews/z.GIF", "x.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    videos = Files("Some", tmp_path).videos
    assert videos == {"x": tmp_path / "x.mp4", "z": tmp_path / "previews" / "z.GIF"}
    assert Files("Some", tmp_path, gifs=True).videos["x"] == tmp_path / "previews" / "x.gif"


@pytest.mark.parametrize("root", ["", "nowhere"])
def test_no_folder(root):
    with pytest.raises(DataError, match=r"^Some: .* is no folder; set data.root"):
        Files("Some", root)


@pytest.mark.parametrize(
    ("content", "text"), [(b"\xef\xbb\xbfcaf\xc3\xa9", "café"), (b"caf\xc3\xa9", "café"), (b"caf\xe9 \x92", "café ’")]
)
def test_encodings(tmp_path, content, text):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert read_text(path, otherwise="cp1252") == text


def test_what_is_in_neither_encoding_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"caf\xe9 \x81")
    with pytest.raises(DataError, match=r"is not utf-8-sig text \(byte 3\)"):
        read_text(path)
    with pytest.raises(DataError, match=r"is not cp1252 text \(byte 5\)"):
        read_text(path, otherwise="cp1252")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 200_000, "is not JSON"),
        ('{"a": {"v_x": 1, "v_y": 2, "v_x": 3}}', "has the key 'v_x' more than once"),
    ],
)
def test_json_that_cannot_be_trusted(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_json(path)


def test_an_empty_list_is_refused(tmp_path):
    (tmp_path / "test_list.txt").write_text(" \n\n")
    with pytest.raises(DataError, match=r"test_list.txt: is empty"):
        Files("Some", tmp_path).lines("test_list.txt")


def test_lines_of_every_kind_of_file(tmp_path):
    (tmp_path / "test_list.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\n b \r\nc")
    assert Files("Some", tmp_path).lines("test_list.txt") == ("a", "b", "c")


def test_the_first_of_several_names_or_all_of_them_in_the_message(tmp_path):
    (tmp_path / "two.json").touch()
    files = Files("Some", tmp_path)
    assert files.path("one.json", "two.json") == tmp_path / "two.json"
    with pytest.raises(DataError, match=r"Some: no one.json and no three.json below"):
        files.path("one.json", "three.json")


def test_lists_of_one_name_that_differ_are_refused(tmp_path):
    """Another version of a split, or another benchmark's, would be taken for the test without a word."""
    for folder, content in (("b", "x\ny"), ("a", "x\ny"), ("c", "x\nz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test_list.txt").write_text(content)
        (tmp_path / folder / "unread.txt").write_text(content)
    with pytest.raises(DataError, match=r"Some: .*a/test_list.txt and .*c/test_list.txt differ, .*leave one"):
        Files("Some", tmp_path).lines("test_list.txt")
    (tmp_path / "c" / "test_list.txt").unlink()
    assert Files("Some", tmp_path).path("none", "test_list.txt") == tmp_path / "a" / "test_list.txt"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    for name in "abc":
        (tmp_path / f"{name}.mp4").touch()
    return Files("Some", tmp_path)


def test_a_split_counts_what_is_repeated_empty_missing_or_silent(files):
    captions = numbered([("a", "one"), ("d", "lost"), ("a", " "), ("a", "two"), ("other", "no"), ("b", "three")])
    split = files.split("some test", ("c", "a", "b", "d", "a"), captions, corpus="some", notes=["first"])
    assert (split.video_ids, split.missing_videos, split.missing_texts) == (("c", "a", "b"), ("d",), 1)
    assert split.dropped == 1
    assert list(zip(split.text_ids, split.texts, split.video_of_T.tolist(), strict=True)) == [
        ("a#0", "one", 1),
        ("a#2", "two", 1),
        ("b#0", "three", 2),
    ]
    assert split.spans is None
    assert split.notes == (
        "first",
        "dropped 1 empty captions",
        "1 listed videos have no caption",
        "1 ids are listed more than once",
    )


def test_spans_are_kept_where_one_video_has_one(files):
    places = {"a": Place(Path("a.mp4"), (0.0, 31.0)), "b": Place(Path("b.mp4"))}
    split = files.split("x", ("a", "b"), numbered([("a", "t"), ("b", "t")]), corpus="", find=places.get)
    assert split.spans == ((0.0, 31.0), None)


@pytest.mark.parametrize(
    ("ids", "captions", "message"),
    [
        (("a",), [Caption("1", "a.avi", "x")], r"none of its 1 videos has a caption \(listed: 'a'; captioned: 'a.avi'"),
        (("a",), [Caption("1", "a", " ")], "none of its 1 videos has a caption"),
        ((), [], "none of its 0 videos has a caption"),
        (("z",), [Caption("1", "z", "x")], r"none of its 1 videos is below .* \(such as 'z'\)"),
    ],
)
def test_lists_and_captions_that_do_not_meet(files, ids, captions, message):
    with pytest.raises(DataError, match=message):
        files.split("x", ids, captions, corpus="")


def test_held_out_videos_are_drawn_by_seed_and_keep_their_order():
    ids = tuple(f"v{number}" for number in range(40))
    parts = hold_out(ids, 3, 0)
    assert len(parts["val"]) == 3
    assert tuple(sorted(parts["train"] + parts["val"], key=ids.index)) == ids
    assert list(parts["train"]) == sorted(parts["train"], key=ids.index)
    assert parts == hold_out(ids, 3, 0)
    assert len({hold_out(ids, 3, seed)["val"] for seed in range(4)}) > 1
    assert len(hold_out(ids, 500, 0)["val"]) == 4


def test_a_video_in_two_lists_is_refused():
    refuse_shared("x", {"train": ("a", "a"), "val": ("b",)})
    with pytest.raises(DataError, match=r"x: 'b' is in both the val and the test list \(2 such videos\)"):
        refuse_shared("x", {"train": ("a",), "val": ("b", "c"), "test": ("d", "b", "c")})


def test_small_things():
    assert paragraph([" A man. ", "", "  He\n runs."]) == "A man. He runs."
    assert [without_ending(name) for name in ("a.avi", "a.MP4", "1_00.05.941", "a")] == ["a", "a", "1_00.05.941", "a"]


HEAD = "id,text\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (HEAD + 'a,"one\nb,two\nc,three\n', "a field of line 2 goes on in the next: is a quote not closed"),
        (HEAD + 'a,one\nb,"' + "two\n" * 40_000, "line .* cannot be read as CSV .*field larger"),
        (HEAD + "a,one\nb,\n", "line 3 lacks one of id, text"),
        (HEAD + "a,one\nb\n", "line 3 lacks one of id, text"),
        ("id,words\na,one\n", "no column 'text'"),
        ("", "no column 'id'"),
    ],
)
def test_rows_that_cannot_be_told_apart_are_refused(tmp_path, content, told):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=rf"list.csv: {told}"):
        Files("Some", tmp_path).rows("list.csv", ("id", "text"))


def test_rows_of_a_csv(tmp_path):
    (tmp_path / "list.csv").write_text(HEAD + 'a,"one, ""two"""\r\nb,three\n')
    assert [row["text"] for row in Files("Some", tmp_path).rows("list.csv", ("id", "text"))] == ['one, "two"', "three"]
