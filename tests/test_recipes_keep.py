"""A run folder belongs to one run: its settings and its data."""

from __future__ import annotations

import csv
import errno
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import write_clip
from reelseek.config import DataConfig, EvaluateConfig, MethodConfig, RunConfig, SampleConfig, TrainConfig
from reelseek.data import load as load_data
from reelseek.data.pairs import digest
from reelseek.errors import CheckpointError, DataError
from reelseek.methods.saved import load
from reelseek.recipes.keep import SPLITS
from reelseek.recipes.run import SEEN, refuse_seen, train

SHADES = range(40, 240, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten grey walls in captions.csv; swapped.csv exchanges training and test."""
    root = tmp_path_factory.mktemp("walls")
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 4
    swapped = ["test"] * 4 + ["val"] * 2 + ["train"] * 4
    for name, parts in (("captions.csv", splits), ("swapped.csv", swapped)):
        with (root / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["video", "caption", "split"])
            writer.writerows([f"{s}.mp4", f"a wall of shade {s}", part] for s, part in zip(SHADES, parts, strict=True))
    for shade in SHADES:
        write_clip(root / f"{shade}.mp4", [shade] * 3, frames=4)
    return root


def config_for(folder: Path, captions: str = "", **train_settings: float) -> RunConfig:
    """Two epochs of two steps over the frozen offline towers."""
    return RunConfig(
        data=DataConfig(name="folder", root=str(folder), captions=str(folder / captions) if captions else ""),
        sample=SampleConfig(frames=2),
        method=MethodConfig(name="clip4clip", width=32, temporal="lstm"),
        train=replace(TrainConfig(epochs=2, batch_size=2, device="cpu"), **train_settings),
        evaluate=EvaluateConfig(bootstrap=0),
    )


def while_training(config: RunConfig, out: Path, cache: Path, act: Callable[[], None]) -> None:
    """Train, and do something after every step."""

    def told(done: int, total: int) -> None:
        act()

    train(config, out, cache=cache, progress=lambda stage: nullcontext(told if "training" in stage else _pass))


def stop_at_once(config: RunConfig, out: Path, cache: Path) -> None:
    """Leave a run after its first step."""

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        while_training(config, out, cache, stop)


def _pass(done: int, total: int) -> None:
    pass


def bytes_of(run: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


@pytest.mark.parametrize("finished", [True, False])
def test_other_data_are_refused_and_nothing_is_written(folder: Path, tmp_path: Path, finished: bool) -> None:
    run = tmp_path / "run"
    if finished:
        train(config_for(folder), run, cache=tmp_path / "cache")
    else:
        stop_at_once(config_for(folder), run, tmp_path / "cache")
    before = bytes_of(run)
    with pytest.raises(CheckpointError, match=r"run holds a run on other data: .*\(train split\) are not those"):
        train(config_for(folder, "swapped.csv"), run, cache=tmp_path / "cache")
    assert bytes_of(run) == before
    assert train(config_for(folder), run, cache=tmp_path / "cache").fit.resumed_at == (4 if finished else 1)


def test_an_edited_caption_of_the_validation_split_is_other_data(folder: Path, tmp_path: Path) -> None:
    stop_at_once(config_for(folder), tmp_path / "run", tmp_path / "cache")
    edited = tmp_path / "edited.csv"
    edited.write_text((folder / "captions.csv").read_text().replace("shade 120,val", "light 120,val"))
    config = config_for(folder)
    with pytest.raises(CheckpointError, match=r"\(val split\)"):
        train(replace(config, data=replace(config.data, captions=str(edited))), tmp_path / "run")


def test_data_that_moved_are_the_same_data(folder: Path, tmp_path: Path) -> None:
    stop_at_once(config_for(folder), tmp_path / "run", tmp_path / "cache")
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert train(config_for(moved), tmp_path / "run", cache=tmp_path / "cache").fit.resumed_at == 1


def test_a_run_of_before_digests_goes_on_and_keeps_what_it_says_it_saw(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = train(config_for(folder), run, cache=tmp_path / "cache").method
    (run / SPLITS).unlink()
    seen = (run / SEEN).read_bytes()
    swapped = config_for(folder, "swapped.csv")
    again = train(swapped, run, cache=tmp_path / "cache").method
    assert (run / SEEN).read_bytes() == seen
    assert load(str(run)).trained_on == again.trained_on == first.trained_on
    test = load_data(swapped.data).test
    assert test is not None
    for method in (again, load(str(run))):
        with pytest.raises(DataError, match="4 of its 4 videos were in the training set"):
            refuse_seen(method, test)
    assert not (run / SPLITS).exists()
    train(config_for(folder), run, cache=tmp_path / "cache")


def test_a_finished_run_that_was_not_written_out_says_what_it_saw(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config_for(folder), run, cache=tmp_path / "cache")
    seen = (run / SEEN).read_bytes()
    for name in ("config.json", "model.safetensors", SEEN):
        (run / name).unlink()
    train(config_for(folder), run, cache=tmp_path / "cache")
    assert (run / SEEN).read_bytes() == seen


def test_a_damaged_digest_is_named(folder: Path, tmp_path: Path) -> None:
    stop_at_once(config_for(folder), tmp_path / "run", tmp_path / "cache")
    (tmp_path / "run" / SPLITS).write_text('{"train": ')
    with pytest.raises(CheckpointError, match=r"splits\.json is damaged"):
        train(config_for(folder), tmp_path / "run", cache=tmp_path / "cache")


def test_a_digest_holds_texts_videos_and_what_belongs_together(folder: Path) -> None:
    pairs = load_data(config_for(folder).data).train
    assert pairs is not None
    others = [
        replace(pairs, texts=("another", *pairs.texts[1:])),
        replace(pairs, video_ids=("another", *pairs.video_ids[1:])),
        replace(pairs, video_of_T=np.array([1, 0, 2, 3])),
        None,
    ]
    assert len({digest([split]) for split in (pairs, *others)}) == 5
    assert digest([pairs, None]) != digest([None, pairs])
    assert digest([replace(pairs, paths=tuple(Path("moved") / p.name for p in pairs.paths))]) == digest([pairs])


def test_a_second_training_in_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    config, run, cache = config_for(folder), tmp_path / "run", tmp_path / "cache"
    refused: list[bool] = []

    def start_again() -> None:
        before = bytes_of(run)
        with pytest.raises(CheckpointError, match=f"process {os.getpid()} on .* is training in this folder"):
            train(config, run, cache=cache)
        refused.append(bytes_of(run) == before)

    while_training(config, run, cache, start_again)
    assert refused == [True] * 4
    assert train(config, run, cache=cache).fit.resumed_at == 4


def test_a_file_system_without_locks_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(handle: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("reelseek.lock.fcntl.flock", no_locks)
    told: list[str] = []
    assert train(config_for(folder), tmp_path / "run", cache=tmp_path / "cache", say=told.append).fit.steps == 4
    assert f"{tmp_path}/run lies on a file system without locks: nothing keeps a second training out of it." in told


def test_a_run_folder_that_cannot_be_made(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file/run: the run cannot be written there \(Not a directory\)"):
        train(config_for(folder), tmp_path / "file" / "run", cache=tmp_path / "cache")
    with pytest.raises(CheckpointError, match="the run cannot be written there"):
        train(config_for(folder), tmp_path / ("x" * 300), cache=tmp_path / "cache")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
def test_a_folder_of_something_else_is_left_alone(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_text("mine")
    with pytest.raises(CheckpointError, match=rf"model holds something else: {name}, .* no state\.safetensors"):
        train(config_for(folder), tmp_path / "model", cache=tmp_path / "cache")
    assert bytes_of(tmp_path / "model") == {name: b"mine"}


def test_a_finished_run_without_its_state_is_left_alone(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config_for(folder), run, cache=tmp_path / "cache")
    (run / "state.safetensors").unlink()
    before = bytes_of(run)
    for config in (config_for(folder), config_for(folder, learning_rate=0.5)):
        with pytest.raises(CheckpointError, match=r"run holds something else: config\.json"):
            train(config, run, cache=tmp_path / "cache")
    assert bytes_of(run) == before
