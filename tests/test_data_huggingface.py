from __future__ import annotations

import builtins
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from reelseek.config import DataConfig
from reelseek.data import load
from reelseek.data.huggingface import load_huggingface
from reelseek.data.rows import Row, splits_of
from reelseek.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """The package, with its caches in a folder of the test and the hub out of reach."""
    import datasets

    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hf")))
    patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield datasets
    datasets.enable_progress_bars()
    patch.undo()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reelseek" / "hf"


def films(folder: Path, names: str) -> list[str]:
    (folder / "films").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "films" / f"{name}.mp4").write_bytes(name.encode())
    return [f"films/{name}.mp4" for name in names]


def test_a_saved_data_set_with_paths(datasets, tmp_path):
    root = tmp_path / "set"
    parts = {
        part: datasets.Dataset.from_dict({"video": films(root, names), "caption": [f"see {name}" for name in names]})
        for part, names in (("train", "abc"), ("validation", "d"), ("test", "ef"), ("extra", "g"))
    }
    datasets.DatasetDict(parts).save_to_disk(str(root))
    calls = []
    splits = load_huggingface(str(root), progress=lambda *counts: calls.append(counts))
    assert [split.video_ids for split in splits] == [
        ("films/a.mp4", "films/b.mp4", "films/c.mp4"), ("films/d.mp4",), ("films/e.mp4", "films/f.mp4"),
    ]  # fmt: skip
    assert splits.test.texts == ("see e", "see f")
    assert "left out the splits extra" in splits.test.describe()
    assert splits.test.paths[0] == root / "films" / "e.mp4"
    assert calls[-1] == (6, 6)
    assert len({split.corpus for split in splits}) == 1
    (root / "films" / "e.mp4").unlink()
    assert load_huggingface(str(root)).test.missing_videos == ("films/e.mp4",)


def test_parquet_files_with_bytes_and_lists_of_captions(datasets, tmp_path, cache):
    root = tmp_path / "set"
    root.mkdir()
    for part, names in (("train", "abca"), ("test", "de")):
        rows = {"webm": [f"film {name}".encode() for name in names], "texts": [[name, " ", "film"] for name in names]}
        datasets.Dataset.from_dict(rows).to_parquet(str(root / f"{part}-00000.parquet"))
    splits = load_huggingface(str(root))
    assert (splits.val, len(splits.train.video_ids), len(splits.test.video_ids)) == (None, 3, 2)
    assert splits.train.texts == ("a", "film", "b", "film", "c", "film")
    assert splits.test.paths[1].read_bytes() == b"film e"
    assert splits.test.paths[1].parent == cache
    assert "dropped 4 empty captions" in splits.train.describe()
    assert "dropped 2 empty captions" in splits.test.describe()
    assert (splits.train.dropped, splits.test.dropped) == (4, 2)
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(before) == 5
    assert load_huggingface(str(root)).test.paths == splits.test.paths
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_a_video_feature_is_not_decoded(datasets, tmp_path):
    root = tmp_path / "set"
    films(root / "train", "ab")
    films(root / "test", "c")
    for part, names in (("train", "ab"), ("test", "c")):
        lines = [json.dumps({"file_name": f"films/{name}.mp4", "text": f"see {name}"}) for name in names]
        (root / part / "metadata.jsonl").write_text("\n".join(lines))
    splits = load_huggingface(str(root))
    assert splits.train.texts == ("see a", "see b")
    assert splits.test.paths[0].read_bytes() == b"c"


def test_a_folder_that_was_copied_has_the_same_videos_in_the_same_splits(datasets, tmp_path):
    """The package hands out whole paths of the files that a metadata file names."""
    root, names = tmp_path / "set", "abcdefghijklmnopqrst"
    lines = [json.dumps({"file_name": name, "text": f"see {name}"}) for name in films(root, names)]
    (root / "metadata.jsonl").write_text("\n".join(lines))
    shutil.copytree(root, tmp_path / "other place" / "set")
    (tmp_path / "link").symlink_to(root)
    here = load_huggingface(str(root))
    assert sorted(video for split in here for video in split.video_ids) == [f"films/{name}.mp4" for name in names]
    for place in (tmp_path / "other place" / "set", tmp_path / "link"):
        there = load_huggingface(str(place))
        assert [split.video_ids for split in there] == [split.video_ids for split in here]
        assert there.test.paths[0].read_bytes() == here.test.paths[0].read_bytes()
        with pytest.raises(DataError, match="by its name and captions" if place.name == "set" else "were in the"):
            there.train.refuse_seen(here.train.corpus, here.train.video_ids, here.train.fingerprints().values())


def test_json_lines_alone_are_divided_by_a_hash(datasets, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    names = [str(tmp_path / name) for name in films(tmp_path, "abcdefghij")]
    (root / "list.jsonl").write_text("\n".join(json.dumps({"path": name, "title": f"see {name}"}) for name in names))
    splits = load(DataConfig(name="hf", root=str(root)))
    assert [len(split.video_ids) for split in splits] == [8, 1, 1]
    assert "split 80/10/10" in splits.train.describe()


def test_a_test_split_alone_stays_one(datasets, tmp_path):
    root = tmp_path / "set"
    datasets.DatasetDict(
        test=datasets.Dataset.from_dict({"video": films(root, "abc"), "caption": ["x", "y", "z"]})
    ).save_to_disk(str(root))
    splits = load_huggingface(str(root))
    assert splits[:2] == (None, None)
    assert len(splits.test.video_ids) == 3


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("test", [0, 0, 20]),
        ("test[:20]", [0, 0, 20]),
        ("validation", [0, 20, 0]),
        ("train", [16, 2, 2]),
        ("all", [16, 2, 2]),
    ],
)
def test_a_split_saved_alone_keeps_its_name(datasets, tmp_path, name, sizes):
    root = tmp_path / "set"
    names = "abcdefghijklmnopqrst"
    rows = {"video": films(root, names), "caption": [f"see {name}" for name in names]}
    datasets.Dataset.from_dict(rows, split=datasets.NamedSplit(name)).save_to_disk(str(root))
    splits = load_huggingface(str(root))
    assert [0 if split is None else len(split.video_ids) for split in splits] == sizes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"video_column": "film"}, "no column 'film'; set data.video_column to one of clip_of, said"),
        ({"caption_column": "said"}, "no column is plainly the video; set data.video_column to one of clip_of, said"),
        ({"video_column": "clip_of"}, "no column is plainly the caption; set data.caption_column"),
    ],
)
def test_columns_that_cannot_be_guessed(datasets, tmp_path, settings, words):
    root = tmp_path / "set"
    datasets.Dataset.from_dict({"clip_of": films(root, "a"), "said": ["x"]}).save_to_disk(str(root))
    with pytest.raises(ConfigError, match=words):
        load(DataConfig(name="hf", root=str(root), **settings))
    whole = load(DataConfig(name="hf", root=str(root), video_column="clip_of", caption_column="said"))
    assert whole.train.texts == ("x",)


def test_rows_that_cannot_be_used_are_counted(datasets, tmp_path):
    root = tmp_path / "set"
    rows = {"video": [*films(root, "ab"), None, "films/gone.mp4"], "caption": ["x", None, "y", "z"]}
    datasets.DatasetDict(test=datasets.Dataset.from_dict(rows)).save_to_disk(str(root))
    test = load_huggingface(str(root)).test
    assert test.video_ids == ("films/a.mp4",)
    assert test.missing_videos == ("test2", "films/gone.mp4")
    assert "dropped 1 captions that are no text" in test.describe()
    assert "dropped 1 videos without a caption" in test.describe()
    assert test.dropped == 1


@pytest.mark.parametrize("named", [True, False])
def test_a_caption_that_is_no_text_counts_for_its_own_split(datasets, tmp_path, named):
    root = tmp_path / "set"
    said = [["x", None], *[["x"]] * 9]
    part = datasets.Dataset.from_dict({"video": films(root, "abcdefghij"), "caption": said})
    other = datasets.Dataset.from_dict({"video": films(root, "k"), "caption": [["y"]]})
    (datasets.DatasetDict(train=part, test=other) if named else part).save_to_disk(str(root))
    found = [split for split in load_huggingface(str(root)) if split is not None]
    assert [split.dropped for split in found] == ["films/a.mp4" in split.video_ids for split in found]
    assert [split.complete for split in found] == ["films/a.mp4" not in split.video_ids for split in found]


def test_other_splits_are_named(datasets, tmp_path):
    root = tmp_path / "set"
    part = datasets.Dataset.from_dict({"video": films(root, "a"), "caption": ["x"]})
    datasets.DatasetDict(full=part).save_to_disk(str(root))
    with pytest.raises(DataError, match="has the splits full; it needs train, validation or test"):
        load_huggingface(str(root))


@pytest.mark.parametrize("names", [("train", "test_1k"), ("train", "validation", "public_test"), ("train", "b", "c")])
def test_a_split_that_may_be_the_test_is_refused_and_not_left_out(datasets, tmp_path, names):
    root = tmp_path / "set"
    rows = {"video": films(root, "abcdefghij"), "caption": ["x"] * 10}
    datasets.DatasetDict({name: datasets.Dataset.from_dict(rows) for name in names}).save_to_disk(str(root))
    with pytest.raises(DataError, match=rf"has the splits {', '.join(names)}: no test, and .*{names[-1]}.*Save what"):
        load_huggingface(str(root))


@pytest.mark.parametrize("name", ["test_1k", "public.test", "val_small"])
def test_a_test_of_another_name_saved_alone_is_not_divided(datasets, tmp_path, name):
    root = tmp_path / "set"
    rows = {"video": films(root, "abc"), "caption": ["x", "y", "z"]}
    datasets.Dataset.from_dict(rows, split=datasets.NamedSplit(name)).save_to_disk(str(root))
    with pytest.raises(DataError, match=rf"is the split '{name}' alone\. Save what you mean"):
        load_huggingface(str(root))


def test_a_configuration_is_saved_first(datasets, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    root = tmp_path / "set"
    configs = []
    for language, names in (("de", "a"), ("en", "bc")):
        names = [str(tmp_path / name) for name in films(tmp_path, names)]
        rows = datasets.Dataset.from_dict({"video": names, "caption": [f"{language} {at}" for at in range(len(names))]})
        (root / language).mkdir(parents=True)
        rows.to_parquet(str(root / language / "test.parquet"))
        configs.append(f"- config_name: {language}\n  data_files:\n  - split: test\n    path: {language}/*.parquet\n")
    (root / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n")
    with pytest.raises(ConfigError, match=r"has several configurations: \['de', 'en'\]\. Save the one") as told:
        load_huggingface(str(root))
    monkeypatch.chdir(tmp_path)
    lines = [line.strip() for line in str(told.value).splitlines() if line.startswith("    ")]
    assert len(lines) == 2
    exec("\n".join(lines), {"CONFIGURATION": "en", "FOLDER": "saved"})
    assert load_huggingface("saved").test.texts == ("en 0", "en 1")


def test_no_script_is_run(datasets, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    (root / "set.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    with pytest.raises(DataError, match="cannot be read as a data set"):
        load_huggingface(str(root))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["", "no-such/name", "empty"])
def test_what_is_no_data_set(datasets, tmp_path, monkeypatch, name):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    words = "set data.root to a folder" if not name else f"'{name}' cannot be read as a data set"
    with pytest.raises(DataError, match=words):
        load_huggingface(name)


def test_without_the_package_the_hint_names_what_to_install(tmp_path, monkeypatch):
    whole = builtins.__import__

    def without(name, *rest):
        if name == "datasets":
            raise ModuleNotFoundError("No module named 'datasets'")
        return whole(name, *rest)

    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r'pip install "reelseek\[hf\]"'):
        load_huggingface(str(tmp_path))


def test_the_reader_is_imported_without_the_package():
    code = "import sys, reelseek.data.huggingface; print('datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def row(video: str, split: str = "train", captions: tuple[str, ...] = ("x",), path: str | None = "a.mp4") -> Row:
    return Row(video, None if path is None else Path(path), captions, split)


def gather(*rows: Row):
    return splits_of("set", rows, corpus="c", seed=0, problems=Counter())


def test_rows_of_one_video_are_joined():
    splits = gather(row("a"), row("b", captions=("y", "y", "z ")), row("a", captions=("x", "w"), path=None))
    assert splits.train.video_ids == ("a", "b")
    assert splits.train.captions_of("a") == ("x", "w")
    assert splits.train.captions_of("b") == ("y", "y", "z")
    assert splits.train.text_ids == ("a#0", "a#1", "b#0", "b#1", "b#2")


def test_captions_repeated_in_a_row_stay_and_those_of_a_later_row_are_counted():
    said = gather(row("a", captions=("x", "x ")), row("a", captions=("x", "w", "x", "w")), row("b")).train
    assert said.captions_of("a") == ("x", "x", "w", "w")
    assert said.captions_of("b") == ("x",)
    assert "dropped 2 captions that an earlier row of their video has" in said.describe()
    assert said.complete
    assert "dropped" not in gather(row("a", captions=("x", "x"))).train.describe()


def test_dropped_rows_and_captions_make_no_split_complete():
    for rows, of_train, of_test in (
        ([row("b", captions=(" ",))], 1, 0),
        ([row("b", captions=())], 0, 0),
        ([row("b", captions=("x", " ", ""))], 2, 0),
        ([row("b", captions=(" ",)), row("c", "test", ("", ""))], 1, 2),
        ([row("b", split="")], 1, 1),
        ([row("b", split="", captions=(" ",))], 1, 1),
        ([row("a", split="", captions=(" ",))], 1, 0),
    ):
        train, _, test = gather(row("a"), row("t", "test"), *rows)
        for split, dropped in ((train, of_train), (test, of_test)):
            assert (split.dropped, split.complete) == (dropped, not dropped)
            told = [note for note in split.notes if not note.endswith("videos without a caption")]
            assert [int(note.split()[1]) for note in told if note.startswith("dropped")] == [dropped] * bool(dropped)


def test_what_is_dropped_of_videos_divided_by_a_hash_counts_for_their_split():
    rows = [row(str(at), split="", captions=("x", " ")) if at % 2 else row(str(at), split="") for at in range(20)]
    for split in gather(*rows):
        assert split.dropped == sum(int(video) % 2 for video in split.video_ids)
    assert [split.dropped for split in gather(*rows, row("none", split="", captions=(" ",)))] == [
        split.dropped + 1 for split in gather(*rows)
    ]


def test_a_video_in_two_splits_is_refused():
    with pytest.raises(DataError, match="'a' is in the splits train and test"):
        gather(row("a"), row("a", "test"))
    with pytest.raises(DataError, match="'a' is in the splits train and none"):
        gather(row("a"), row("a", ""))


def test_rows_without_files_are_missing_or_an_error():
    splits = gather(row("a"), row("b", captions=("x", "y"), path=None))
    assert splits.train.missing_videos == ("b",)
    assert splits.train.missing_texts == 2
    with pytest.raises(DataError, match="1 videos with captions, none of them with a file"):
        gather(row("a", path=None), row("b", captions=(" ",)))


def test_a_test_split_without_a_file_is_refused_and_not_left_out():
    assert gather(row("a"), row("b", "val", path=None))[1:] == (None, None)
    with pytest.raises(DataError, match=r"none of the 1 videos of its test split has a file .* \(such as 'c'\)"):
        gather(row("a"), row("c", "test", path=None))
