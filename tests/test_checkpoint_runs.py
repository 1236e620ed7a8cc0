"""Run folders: what is saved comes back, and nothing half written is taken for a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from reelseek.checkpoint import load_run, save_run
from reelseek.errors import CheckpointError

CONFIG = {"kind": "a run", "seed": 3, "nested": {"rates": [0.1, 0.2], "name": "gäre"}}
TENSORS = {"head.weight": torch.arange(6.0).reshape(2, 3), "scale": torch.tensor(4.0), "steps": torch.tensor([1, 2])}


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    save_run(tmp_path / "deep" / "run", CONFIG, TENSORS, extra={"README.md": "about"})
    config, tensors = load_run(tmp_path / "deep" / "run")
    assert config == CONFIG
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert (tmp_path / "deep" / "run" / "README.md").read_text() == "about"
    assert sorted(path.name for path in (tmp_path / "deep" / "run").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_tensors_that_share_memory_are_saved_apart(tmp_path: Path) -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    save_run(tmp_path, {}, {"rows": weight[1:], "turned": weight.T})
    _, tensors = load_run(tmp_path)
    assert torch.equal(tensors["rows"], weight[1:])
    assert torch.equal(tensors["turned"], weight.T)


def test_saving_again_replaces(tmp_path: Path) -> None:
    save_run(tmp_path, CONFIG, TENSORS)
    save_run(tmp_path, {"seed": 4}, {"other": torch.zeros(1)})
    config, tensors = load_run(tmp_path)
    assert config == {"seed": 4}
    assert list(tensors) == ["other"]


@pytest.mark.parametrize("dies_at", [1, 2])
def test_writing_that_is_broken_off_never_makes_a_wrong_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    save_run(tmp_path, CONFIG, TENSORS)
    real, calls = os.replace, []

    def replace(source: str, target: Path) -> None:
        calls.append(target)
        if len(calls) == dies_at:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        save_run(tmp_path, {"seed": 5}, {"other": torch.zeros(1)})
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    if dies_at == 1:
        assert load_run(tmp_path)[0] == CONFIG
    else:
        with pytest.raises(CheckpointError, match="broken off"):
            load_run(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_and_cut_parts_are_named(tmp_path: Path, name: str) -> None:
    save_run(tmp_path, CONFIG, TENSORS)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=name):
        load_run(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_run(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '"words"', '{"model_type": "clip"}'])
def test_another_project_s_config_is_no_run(tmp_path: Path, content: str) -> None:
    save_run(tmp_path, CONFIG, TENSORS)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match="not written by a training run"):
        load_run(tmp_path)


def test_a_missing_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run"):
        load_run(tmp_path / "nowhere")


def test_a_folder_that_is_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_run(tmp_path / "file", CONFIG, TENSORS)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, Path("x")])
def test_settings_that_json_cannot_hold_are_refused_before_writing(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON"):
        save_run(tmp_path, {"value": value}, TENSORS)
    assert not any(tmp_path.iterdir())
