from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from reelseek.config import DataConfig
from reelseek.data import load as load_by_name
from reelseek.data import motions, motions_render
from reelseek.data.folder import load_folder
from reelseek.data.motions import generate, load, load_items
from reelseek.data.motions_items import true_pairs
from reelseek.data.motions_plan import Knobs
from reelseek.errors import ConfigError, DataError
from reelseek.evaluation import contrast_percent

SIZES = {"train": 10, "val": 3, "test": 24}
KNOBS = Knobs(side=64, clause_frames=4, objects=8, group=4, false_negatives=0.15, mismatch=0.3)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("motions") / "set"
    generate(folder, **SIZES, seed=2, knobs=KNOBS)
    return folder


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_made_can_be_read_back(made):
    splits = load(made)
    assert [len(split.video_ids) for split in (splits.train, splits.val, splits.test)] == [10, 3, 24]
    assert len(splits.train.texts) == 30
    assert splits.test.video_of_T.tolist() == list(range(24))
    for split in splits:
        assert split.complete
        assert all(path.is_file() for path in split.paths)
    assert "captions spoilt on purpose" in splits.train.describe()
    assert "spoilt" not in splits.test.describe()
    assert len({split.corpus for split in splits}) == 1


def test_further_matches_are_kept_apart_from_strict_ones(made):
    test = load(made).test
    items = load_items(made, test)
    true = true_pairs(list(enumerate(items)), items)
    expected = np.zeros((24, 24), dtype=bool)
    for text, video in true:
        expected[text, video] = True
    np.testing.assert_array_equal(test.relevance_TV(corrected=True), expected)
    np.testing.assert_array_equal(test.relevance_TV(), np.eye(24, dtype=bool))
    assert expected.sum() > 24


def test_a_spoilt_caption_has_no_further_matches(made):
    train = load(made).train
    lines = [json.loads(line) for line in (made / "captions.jsonl").read_text().splitlines()]
    spoilt = {line["id"] for line in lines if line["noise"]}
    assert spoilt
    further = {train.text_ids[text] for text, _ in train.extra_relevance}
    assert not further & spoilt


def test_the_captions_file_is_one_that_folders_take(made):
    ours, theirs = load(made), load_folder(made)
    for split, other in zip(ours, theirs, strict=True):
        pairs = {(split.paths[v], t) for t, v in zip(split.texts, split.video_of_T, strict=True)}
        assert {(other.paths[v], t) for t, v in zip(other.texts, other.video_of_T, strict=True)} == pairs


def test_a_second_call_renders_nothing(made, monkeypatch):
    before = digest(made)

    def fail(*_):
        raise AssertionError("rendered again")

    monkeypatch.setattr(motions_render, "write_video", fail)
    splits = generate(made, **SIZES, seed=2, knobs=KNOBS)
    assert splits.test.texts == load(made).test.texts
    assert digest(made) == before


def test_an_interrupted_run_is_finished_and_equals_a_whole_one(made, tmp_path, monkeypatch):
    whole = motions_render.write_video
    calls, done = [], []

    def interrupted(frames, path, knobs):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(path)
        whole(frames, path, knobs)

    monkeypatch.setattr(motions_render, "write_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", **SIZES, seed=2, knobs=KNOBS)
    with pytest.raises(DataError, match=r"no motions\.json"):
        load(tmp_path / "set")
    monkeypatch.setattr(motions_render, "write_video", whole)
    with pytest.raises(DataError, match="other settings"):
        generate(tmp_path / "set", **SIZES, seed=3, knobs=KNOBS)
    generate(tmp_path / "set", **SIZES, seed=2, knobs=KNOBS, progress=lambda n, of: done.append((n, of)))
    assert done == [(number, 37) for number in range(6, 38)]
    assert digest(tmp_path / "set") == digest(made)


@pytest.mark.soak
def test_a_killed_run_leaves_no_half_video(made, tmp_path):
    folder = tmp_path / "set"
    code = (
        "from reelseek.data.motions import generate; from reelseek.data.motions_plan import Knobs;"
        f"generate({str(folder)!r}, **{SIZES!r}, seed=2, knobs={KNOBS!r})"
    )
    for wait in (0.02, 0.05, 0.1):
        process = subprocess.Popen([sys.executable, "-c", code])
        while process.poll() is None and len(list(folder.glob("videos/*.mp4"))) < 2:
            time.sleep(0.005)
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for path in folder.glob("videos/*.mp4"):
            assert path.read_bytes() == (made / "videos" / path.name).read_bytes()
    subprocess.run([sys.executable, "-c", code], check=True)
    kept = {name: content for name, content in digest(folder).items() if not name.endswith(".part")}
    assert kept == digest(made)


def test_old_leftovers_are_removed_and_young_ones_left(made, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(made, folder)
    old, young = folder / "videos" / ".a.mp4.1.part", folder / "videos" / ".b.mp4.2.part"
    for part in (old, young):
        part.touch()
    os.utime(old, (0, 0))
    (folder / "videos" / "test00000.mp4").unlink()
    generate(folder, **SIZES, seed=2, knobs=KNOBS)
    assert not old.exists()
    assert young.exists()


def test_a_folder_of_something_else_is_left_alone(made, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="is not empty and holds no benchmark"):
        generate(tmp_path, **SIZES)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(DataError, match="other settings"):
        generate(made, **SIZES, seed=2)
    with pytest.raises(ValueError, match="at least one video"):
        generate(tmp_path / "new", train=1, val=0, test=1)


def test_lost_videos_are_counted(made, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(made, folder)
    (folder / "videos" / "test00003.mp4").unlink()
    test = load(folder).test
    assert test.missing_videos == ("test00003",)
    assert test.missing_texts == 1
    assert not test.complete
    assert len(test.texts) == 23


def test_damaged_files_are_named(made, tmp_path):
    for name in ("motions.json", "captions.jsonl"):
        shutil.copy(made / name, tmp_path / name)
    with pytest.raises(DataError, match=r"no motions\.json"):
        load(tmp_path / "nowhere")
    (tmp_path / "captions.jsonl").unlink()
    with pytest.raises(DataError, match=r"captions\.jsonl is missing"):
        load(tmp_path)
    stored = json.loads((made / "motions.json").read_text())
    stored["settings"]["version"] = 0
    (tmp_path / "motions.json").write_text(json.dumps(stored))
    with pytest.raises(DataError, match="another version"):
        load(tmp_path)
    (tmp_path / "motions.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        load(tmp_path)


def test_items_follow_the_order_of_the_split(made):
    test = load(made).test
    part = test.subset(test.video_ids[5:2:-1])
    assert [item.id for item in load_items(made, part)] == list(part.video_ids)
    foreign = test.subset(test.video_ids[:1])
    object.__setattr__(foreign, "video_ids", ("other",))
    with pytest.raises(DataError, match="'other' is no video of"):
        load_items(made, foreign)


def test_the_name_motions_makes_and_finds_a_benchmark(made, tmp_path, monkeypatch):
    held = load_by_name(DataConfig(name="motions", root=str(made)))
    assert held.test.texts == load(made).test.texts
    sizes = []

    def fake(folder, **settings):
        sizes.append((folder, settings["train"], settings["val"], settings["test"], settings["seed"]))

    monkeypatch.setattr(motions, "generate", fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_by_name(DataConfig(name="motions", size=10, seed=4))
    load_by_name(DataConfig(name="motions", root=str(tmp_path / "here")))
    assert sizes == [
        (tmp_path / "reelseek" / "motions-10-4", 10, 2, 4, 4),
        (tmp_path / "here", 500, 100, 200, 0),
    ]


def test_noise_by_settings_spoils_training_captions_and_nothing_else(made):
    def read(**settings):
        return load_by_name(DataConfig(name="motions", root=str(made), **settings))

    before = digest(made)
    clean, noisy = read(noise="mismatch"), read(noise="typos", noise_rate=1.0)
    assert "spoilt" not in clean.train.describe()
    assert "30 captions spoilt on purpose" in noisy.train.describe()
    assert all(ours != theirs for ours, theirs in zip(clean.train.texts, noisy.train.texts, strict=True))
    assert clean[1].texts + clean[2].texts == noisy[1].texts + noisy[2].texts
    half = read(noise="typos", noise_rate=0.5)
    assert all(text in pair for text, *pair in zip(half.train.texts, clean.train.texts, noisy.train.texts, strict=True))
    assert half.train.corpus == clean.train.corpus
    assert half.train.paths == clean.train.paths
    # the folder's own captions were written with mismatches; they are the same lots
    assert read(noise="mismatch", noise_rate=0.3).train.texts == read().train.texts == load(made).train.texts
    assert digest(made) == before


def test_the_settings_of_items_choose_the_folder(made, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(motions, "generate", lambda folder, **settings: asked.append((folder.name, settings["knobs"])))
    monkeypatch.setattr(motions, "load", lambda folder, noise: asked.append((folder.name, noise)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_by_name(DataConfig(name="motions", size=9, objects=12, false_negatives=0.0, noise="typos", noise_rate=0.1))
    name = "motions-9-0-objects-12-false-negatives-0"
    assert asked == [(name, Knobs(objects=12, false_negatives=0.0)), (name, {"typos": 0.1})]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"noise_rate": 0.2}, ConfigError, "data.noise is none"),
        ({"noise": "typos", "noise_rate": 1.5}, ConfigError, "typos is a share between 0 and 1"),
        ({"objects": 2}, ConfigError, "objects must lie between"),
        ({"false_negatives": 0.5}, DataError, "made with false_negatives 0.15, not 0.5"),
        ({"objects": 9}, DataError, "made with objects 8, not 9"),
    ],
)
def test_settings_that_do_not_fit(made, settings, error, words):
    with pytest.raises(error, match=words):
        load_by_name(DataConfig(name="motions", root=str(made), **settings))
    assert load_by_name(DataConfig(name="motions", root=str(made), objects=8, false_negatives=0.15)).test.complete


def accuracy_by_loops(matrix, items, kinds, video_of_T) -> float:
    wins = total = 0
    for text, own in enumerate(video_of_T):
        for other, item in enumerate(items):
            if items[own].kind in kinds and items[own].twin == item.id:
                total += 1
                wins += bool(matrix[text][own] > matrix[text][other])
    return 100 * wins / total


@pytest.mark.parametrize(("name", "kinds"), [("swap", ("order",)), ("binding", ("binding", "distractor"))])
def test_contrasts_are_captions_with_their_own_video_and_its_twin(made, name, kinds):
    test = load(made).test
    items = load_items(made, test)
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(len(test.texts), len(test.video_ids)))
    expected = accuracy_by_loops(matrix, items, kinds, test.video_of_T)
    assert 0 < expected < 100
    assert contrast_percent(matrix, test.contrasts[name]) == pytest.approx(expected)
    text_N, right_N, _ = np.array(test.contrasts[name]).T
    np.testing.assert_array_equal(right_N, test.video_of_T[text_N])
    assert not {(text, wrong) for text, _, wrong in test.contrasts[name]} & set(test.extra_relevance)


def test_contrasts_leave_out_captions_that_do_not_tell_twins_apart(made):
    plain = load(made).train.contrasts["swap"]
    dropped = load_by_name(DataConfig(name="motions", root=str(made), noise="dropped_clause", noise_rate=1.0)).train
    assert plain
    assert "swap" not in dropped.contrasts
