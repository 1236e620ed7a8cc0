from __future__ import annotations

from pathlib import Path

import pytest

from benchmark_miniatures import LSMDC_FILES, TEST, TRAIN, lsmdc, lsmdc_id, lsmdc_row, touch, write
from reelseek.config import DataConfig
from reelseek.data import load
from reelseek.data import lsmdc as reader
from reelseek.data.lsmdc import EXCLUDED, load_lsmdc
from reelseek.data.pairs import Standard
from reelseek.errors import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(reader, "TEST", Standard("miniature LSMDC", 6, 6))
    return lsmdc(tmp_path)


def append(root: Path, part: str, text: str) -> None:
    with (root / LSMDC_FILES[part]).open("a", encoding="utf-8") as file:
        file.write(text)


def test_published_counts():
    assert reader.TEST[1:] == (1000, 1000)
    assert reader.PUBLISHED_ROWS == {"train": 101079, "val": 7408, "test": 1000}


def test_splits(root):
    splits = load(DataConfig("lsmdc", root=str(root)))
    assert [(len(split.video_ids), len(split.texts)) for split in splits] == [(20, 21), (4, 4), (6, 6)]
    assert splits.test.complete
    assert splits.test.texts[0] == 'SOMEONE says "no 24.'
    assert splits.train.captions_of(lsmdc_id(0)) == ('SOMEONE says "no 0.', "'Again', he says.")
    assert splits.train.paths[3] == root / "avi" / "1003_Some_Film" / f"{lsmdc_id(3)}.avi"
    assert "21 of 101,079 rows" in splits.train.describe()
    assert {split.corpus for split in splits} == {"lsmdc"}
    splits.test.refuse_seen(splits.train.corpus, splits.train.video_ids)


def test_the_excluded_clip_is_left_out_and_named(root):
    row = lsmdc_row(0, "He goes.").replace(lsmdc_id(0), EXCLUDED)
    touch(root / "avi" / f"{EXCLUDED}.avi")
    append(root, "train", row)
    train = load_lsmdc(root).train
    assert EXCLUDED not in train.video_ids
    assert f"22 of 101,079 rows; clip {EXCLUDED} left out" in train.describe()
    assert "left out" not in load_lsmdc(root).val.describe()


def test_no_test_clip_is_left_out(root):
    append(root, "test", lsmdc_row(0, "He goes.").replace(lsmdc_id(0), EXCLUDED))
    test = load_lsmdc(root).test
    assert test.missing_videos == (EXCLUDED,)
    assert not test.complete


def test_older_encodings_and_line_ends(root):
    path = root / LSMDC_FILES["test"]
    text = path.read_text().replace("no 24", "caf\u00e9 \u2019 24").replace("\n", "\r\n")
    path.write_bytes(text.encode("cp1252"))
    told = load_lsmdc(root).test
    path.write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8"))
    assert told.texts[0] == load_lsmdc(root).test.texts[0] == 'SOMEONE says "caf\u00e9 \u2019 24.'
    assert told.video_ids[0] == load_lsmdc(root).test.video_ids[0] == lsmdc_id(24)


def test_a_line_separator_inside_a_sentence_does_not_cut_it(root):
    append(root, "val", lsmdc_row(20, "one\u2028two\x0bthree"))
    assert load_lsmdc(root).val.captions_of(lsmdc_id(20))[1] == "one\u2028two\x0bthree"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("only a clip id\n", "line 5 has 1 fields"),
        ("a\tb\tc\td\te\tf\tg\n", "line 5 has 7 fields"),
        ("\tb\tc\td\te\tf\n", "line 5 has 6 fields between tabs; it needs a clip id"),
    ],
)
def test_rows_of_another_shape(root, line, message):
    append(root, "val", line)
    with pytest.raises(DataError, match=f"{LSMDC_FILES['val']}: {message}"):
        load_lsmdc(root)


def test_empty_sentences_are_counted_and_empty_files_refused(root):
    append(root, "val", lsmdc_row(20, "") + "\n")
    assert "dropped 1 empty captions" in load_lsmdc(root).val.describe()
    write(root / LSMDC_FILES["val"], "\n")
    with pytest.raises(DataError, match="is empty"):
        load_lsmdc(root)


def test_missing_clips_and_files(root):
    (root / "avi" / "1029_Some_Film" / f"{lsmdc_id(29)}.avi").unlink()
    test = load_lsmdc(root).test
    assert (test.missing_videos, test.missing_texts, test.complete) == ((lsmdc_id(29),), 1, False)
    for number in TRAIN:
        (root / "avi" / f"{1000 + number}_Some_Film" / f"{lsmdc_id(number)}.avi").unlink()
    assert load_lsmdc(root).train is None
    (root / LSMDC_FILES["test"]).unlink()
    with pytest.raises(DataError, match="LSMDC: no LSMDC16_challenge_1000_publictect"):
        load_lsmdc(root)


def test_a_test_clip_in_training_is_refused(root):
    append(root, "train", lsmdc_row(TEST[0], "Seen before."))
    with pytest.raises(DataError, match=f"'{lsmdc_id(TEST[0])}' is in both the train and the test list"):
        load_lsmdc(root)
