"""Methods as folders that carry their towers: whatever is saved comes back the same, from anywhere, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cli_world
import reelseek
from original_clip import TEXT, OriginalClip, noisy, write_words
from reelseek.config import MethodConfig, RunConfig
from reelseek.data.pairs import Pairs
from reelseek.encoders import hub
from reelseek.encoders.clip import ClipBackbone
from reelseek.errors import CheckpointError, DataError, HubUnreachable, ModelError
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.methods.pretrained import from_pretrained, save_pretrained
from reelseek.methods.saved import is_run, load, save, usual_settings
from reelseek.recipes.run import SEEN, refuse_seen
from reelseek.records import Preprocess, Videos

CAPTIONS = ["a wall", "something red"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP file with a tokenizer beside it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    write_words(folder)
    torch.save(noisy(OriginalClip(joint=TEXT, context=16)).state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt"


def trained(weights: Path, *, name: str = "gare", temporal: str = "transformer") -> Method:
    """A method with weights of its own over the towers of a file, as if it had been trained."""
    torch.manual_seed(1)
    backbone = load(str(weights)).backbone
    config = MethodConfig(name=name, backbone=str(weights), temporal=temporal)
    method = build(config, backbone)
    for key, value in method.named_parameters():
        if not key.startswith("backbone."):
            torch.nn.init.normal_(value.data, std=0.1)
    method.trained_on = "clips train: 3 videos, 6 texts"
    return method.eval()


def outputs(method: Method) -> list[torch.Tensor]:
    method.backbone.precision = "float32"
    pixels = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    with torch.no_grad():
        texts, frames = method.encode_texts(CAPTIONS), method.encode_frames(pixels)
        mask = torch.ones(1, 2, dtype=torch.bool)
        projected = method.project(texts, Videos(frames[None], mask))
        return [texts.pooled_TD, frames, method.score(*projected).matrix_TV]


def same(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("name", "temporal"),
    [("gare", "transformer"), ("clip4clip", "lstm"), ("clip4clip", "mean"), ("gare-baseline", "mean")],
)
def test_a_saved_method_comes_back_without_anything_beside_it(
    name: str, temporal: str, weights: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(weights.parent, own)
    method = trained(own / "tiny.pt", name=name, temporal=temporal)
    saved = save_pretrained(method, tmp_path / "saved")
    assert all(path.is_file() for path in saved.files)
    assert {path.suffix for path in saved.files} <= {".json", ".safetensors", ".md", ".txt"}
    shutil.rmtree(own)
    (tmp_path / "saved").rename(tmp_path / "moved")
    for loaded in (from_pretrained(tmp_path / "moved"), load(str(tmp_path / "moved"))):
        assert (loaded.id, loaded.backbone_id, loaded.trained_on) == (method.id, method.backbone_id, method.trained_on)
        assert not loaded.training
        same(outputs(loaded), outputs(method))
    again = save_pretrained(loaded, tmp_path / "again").folder
    assert load(str(again)).id == method.id


def test_towers_that_were_trained_are_saved_as_they_are(weights: Path, tmp_path: Path) -> None:
    method = trained(weights)
    before = method.backbone_id
    with torch.no_grad():
        method.backbone.model.visual_projection.weight.mul_(1.5)
    run = asdict(RunConfig(method=replace(MethodConfig(), backbone=str(weights))))
    run["train"]["backbone_learning_rate"] = 1e-6
    save(method, tmp_path / "run", run=run, extra={"seen.json": "{}"})
    loaded = load(str(tmp_path / "run"))
    save_pretrained(loaded, tmp_path / "saved")
    found = from_pretrained(tmp_path / "saved")
    assert found.id == method.id
    assert found.backbone_id != before
    same(outputs(found), outputs(method))


def test_what_a_run_keeps_beside_its_weights_goes_along(weights: Path, tmp_path: Path) -> None:
    run = asdict(RunConfig())
    run["sample"]["frames"] = 7
    save(trained(weights), tmp_path / "run", run=run, extra={"seen.json": '{"videos": ["ä"]}'})
    save_pretrained(load(str(tmp_path / "run")), tmp_path / "saved")
    assert (tmp_path / "saved" / "seen.json").read_text(encoding="utf-8") == '{"videos": ["ä"]}'
    assert usual_settings(str(tmp_path / "saved")) == run
    card = (tmp_path / "saved" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: reelseek\n")
    assert "Trained on: clips train: 3 videos, 6 texts" in card


def test_offline_towers_stay_in_their_packages(tmp_path: Path) -> None:
    with cli_world.one_load():
        method = reelseek.load("offline")
        saved = save_pretrained(method, tmp_path / "saved")
        assert not (tmp_path / "saved" / "towers").exists()
        assert sum(path.stat().st_size for path in saved.files) < 100_000
        assert from_pretrained(tmp_path / "saved").id == method.id


def test_siglip_and_odd_preprocessing_come_back(tmp_path: Path) -> None:
    from transformers import SiglipConfig, SiglipModel

    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    marks = {"pad_token_id": 29, "bos_token_id": 28, "eos_token_id": 29}
    text = shared | marks | {"vocab_size": 30, "max_position_embeddings": 16, "projection_size": 32}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=shared | {"image_size": 32, "patch_size": 8}))
    model.save_pretrained(tmp_path / "made")
    write_words(tmp_path / "made")
    model, tokenizer, _ = hub.find(str(tmp_path / "made"))
    numbers = iter(torch.rand(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist())
    for look in (
        Preprocess(32, 32, (127.5,) * 3, (127.5,) * 3, squash=True),
        Preprocess(40, 32, tuple(255 * next(numbers) for _ in range(3)), (60.1, 61.7, 62.3), "bilinear"),
        Preprocess(32, 32, (1.1, 2.2, 3.3), (0.7, 254.9, 100.3)),
    ):
        method = build(MethodConfig(name="zero-shot", backbone="x"), ClipBackbone(model.eval(), tokenizer, look))
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        save_pretrained(method, tmp_path / "saved")
        found = from_pretrained(tmp_path / "saved")
        assert found.preprocess == look
        assert found.id == method.id


# --- refusals ---


@pytest.fixture
def saved(weights: Path, tmp_path: Path) -> Path:
    return save_pretrained(trained(weights, temporal="mean"), tmp_path / "saved").folder


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("config.json", CheckpointError), ("model.safetensors", CheckpointError),
        ("towers/config.json", ModelError), ("towers/model.safetensors", ModelError),
        ("towers/tokenizer.json", ModelError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_folder_that_was_copied_in_part_is_refused(saved: Path, file: str, error: type[Exception], how: str) -> None:
    if how == "gone":
        (saved / file).unlink()
    else:
        (saved / file).write_bytes((saved / file).read_bytes()[:-40])
    with pytest.raises(error):
        from_pretrained(saved)


def test_towers_of_another_method_are_refused(saved: Path, weights: Path, tmp_path: Path) -> None:
    other = load(str(weights))
    with torch.no_grad():
        other.backbone.model.visual_projection.weight.mul_(2)
    towers = save_pretrained(other, tmp_path / "other").folder / "towers"
    shutil.rmtree(saved / "towers")
    shutil.copytree(towers, saved / "towers")
    with pytest.raises(CheckpointError, match=r"its towers .* are not the ones that it was saved with"):
        load(str(saved))


@pytest.mark.parametrize(
    "change",
    [
        {"method": {"name": "unheard-of"}}, {"method": {"name": "gare", "width": "wide"}}, {"method": "gare"},
        {"method": {"name": "gare", "temporal": "seqLSTM"}},
        {"files": ["../secret.json"]}, {"files": ["gone.json"]}, {"backbone_id": None},
    ],
)  # fmt: skip
def test_settings_that_make_no_method_are_refused(saved: Path, change: dict[str, object]) -> None:
    (saved.parent / "secret.json").write_text("{}")
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match="saved"):
        from_pretrained(saved)


def test_other_folders_are_neither_read_nor_written_over(saved: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no method that reelseek saved"):
        from_pretrained(weights.parent)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    for place in (tmp_path / "photos", tmp_path / "photos" / "a.jpg"):
        with pytest.raises(CheckpointError, match="holds something else"):
            save_pretrained(trained(weights), place)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    replaced = save_pretrained(trained(weights, name="clip4clip", temporal="mean"), saved).folder
    assert from_pretrained(replaced).name == "clip4clip"


# --- hub ---


@pytest.fixture
def offline_hub(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds the saved method as somebody/method, and a hub that must not be asked."""
    cache, commit = tmp_path / "cache", "0" * 40
    repository = cache / "models--somebody--method"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(saved, repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "urlopen", lambda *_, **__: pytest.fail("asked the hub"))
    return cache


@pytest.mark.usefixtures("offline_hub")
def test_a_repository_of_the_hub_is_a_folder_like_any_other(saved: Path) -> None:
    wanted = load(str(saved)).id
    assert from_pretrained("somebody/method").id == wanted
    assert load("somebody/method").id == wanted


@pytest.mark.usefixtures("offline_hub")
def test_a_repository_is_evaluated_with_the_settings_of_its_run(saved: Path) -> None:
    assert usual_settings("somebody/method") == usual_settings(str(saved))
    assert usual_settings("somebody/else") == asdict(RunConfig())


def test_what_a_run_saw_goes_where_it_goes(weights: Path, tmp_path: Path) -> None:
    """Of a folder that was given away and of a hub's repository, as of the run itself."""
    method = trained(weights)
    seen = json.dumps({"corpus": "clips", "videos": ["a"], "validation": ["b"]})
    save(method, tmp_path / "run", run=asdict(RunConfig()), extra={SEEN: seen})
    save_pretrained(load(str(tmp_path / "run")), tmp_path / "given")
    pairs = Pairs(
        "clips test", ("x", "y"), ("0", "1"), np.arange(2), ("a", "c"), (Path("a.mp4"), Path("c.mp4")), corpus="clips"
    )
    for folder in ("run", "given"):
        with pytest.raises(DataError, match="1 of its 2 videos were in the training set"):
            refuse_seen(load(str(tmp_path / folder)), pairs)


@pytest.mark.usefixtures("offline_hub")
def test_names_that_nobody_has_are_refused() -> None:
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE"):
        from_pretrained("somebody/else")
    with pytest.raises(ModelError, match="no such folder"):
        from_pretrained("a/b/c")
    assert not is_run(Path("somebody/else"))
