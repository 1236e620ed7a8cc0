"""A whole training run: frozen towers over cached features, and towers trained end to end through a tiny CLIP."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from conftest import write_colours
from reelseek.config import DataConfig, EvaluateConfig, MethodConfig, RunConfig, SampleConfig, TrainConfig
from reelseek.data import load as load_data
from reelseek.embed import EmbeddedPairs
from reelseek.errors import CheckpointError, ConfigError, DataError
from reelseek.evaluation import evaluate
from reelseek.methods import build
from reelseek.methods.saved import load
from reelseek.recipes.frames import Clips
from reelseek.recipes.relevance import rivals_of
from reelseek.recipes.run import SEEN, feature_batch, refuse_seen, train
from reelseek.records import Videos
from reelseek.training.batches import Batch, batch_numbers
from reelseek.video.decode import decode
from reelseek.video.sample import sample_times
from reelseek.video.transform import normalised, preprocess
from test_encoders_clip import tiny_folder

# Workers that decode are forks; one that never touches an index may come from a process that has opened one.
pytestmark = pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("clip"), "clip")


def config_for(folder: Path, backbone: str, **train_settings: float | str) -> RunConfig:
    return RunConfig(
        data=DataConfig(name="folder", root=str(folder)),
        sample=SampleConfig(frames=3),
        method=MethodConfig(
            name="gare", backbone=backbone, width=64 if backbone == "offline" else 256, frame_temperature=10.0
        ),
        train=replace(TrainConfig(epochs=6, batch_size=4, learning_rate=3e-3, device="cpu"), **train_settings),
        evaluate=EvaluateConfig(bootstrap=0),
    )


def test_offline_towers_train_save_load_and_evaluate(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder, "offline")
    outcome = train(config, tmp_path / "run", cache=tmp_path / "cache")
    assert outcome.fit.history[-1]["R@1"] >= 50
    assert "4 videos, 4 texts" in outcome.method.trained_on
    again = load(str(tmp_path / "run"))
    assert again.id == outcome.method.id
    assert again.trained_on == outcome.method.trained_on
    pairs = load_data(config.data).test
    assert pairs is not None
    mine, loaded = (
        evaluate(method, pairs, config=config.evaluate, sample=config.sample, cache=tmp_path / "cache")
        for method in (outcome.method, again)
    )
    np.testing.assert_array_equal(mine.matrix_TV, loaded.matrix_TV)
    assert not any(key.startswith("backbone.") for key in _tensors(tmp_path / "run"))
    resumed = train(config, str(tmp_path / "run"), cache=str(tmp_path / "cache"))
    assert resumed.fit.resumed_at == resumed.fit.steps
    assert resumed.folder == tmp_path / "run"
    cached = len(list((tmp_path / "cache").rglob("*")))
    evaluate(again, pairs, config=config.evaluate, sample=config.sample, cache=str(tmp_path / "cache"))
    assert len(list((tmp_path / "cache").rglob("*"))) == cached
    assert resumed.method.id == outcome.method.id


def test_a_run_refuses_its_own_training_videos(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder, "offline", epochs=1)
    trained = train(config, tmp_path / "run", cache=tmp_path / "cache").method
    splits = load_data(config.data)
    assert splits.train is not None
    assert splits.val is not None
    assert splits.test is not None
    for method in (trained, load(str(tmp_path / "run"))):
        refuse_seen(method, splits.test)
        with pytest.raises(DataError, match="were in the training set"):
            refuse_seen(method, splits.train)
        with pytest.raises(DataError, match="were in the validation set"):
            refuse_seen(method, splits.val)
        refuse_seen(method, splits.val, as_test=False)
        with pytest.raises(DataError, match="were in the training set"):
            refuse_seen(method, splits.train, as_test=False)
    refuse_seen(load("offline"), splits.train)


def test_a_run_refuses_its_training_videos_in_a_copied_folder(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder, "offline", epochs=1)
    trained = train(config, tmp_path / "run", cache=tmp_path / "cache").method
    copy = shutil.copytree(folder, tmp_path / "copy")
    rows = [json.loads(line) for line in (copy / "captions.jsonl").read_text().splitlines()]
    swapped = [row | {"split": {"train": "test", "test": "train"}.get(row["split"], "val")} for row in rows]
    (copy / "captions.jsonl").write_text("\n".join(map(json.dumps, swapped)))
    test = load_data(replace(config.data, root=str(copy))).test
    assert test is not None
    for method in (trained, load(str(tmp_path / "run"))):
        with pytest.raises(DataError, match=r"4 of its 4 videos were in the training set .*, by its name and captions"):
            refuse_seen(method, test)
    old = json.loads((tmp_path / "run" / SEEN).read_text())
    del old["fingerprints"]
    trained.run["files"] = {SEEN: json.dumps(old)}
    refuse_seen(trained, test)
    splits = load_data(config.data)
    assert splits.train is not None
    with pytest.raises(DataError, match="were in the training set"):
        refuse_seen(trained, splits.train)


def test_whole_numbers_for_settings_with_fractions_come_back(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder, "offline", epochs=1)
    config = replace(config, method=replace(config.method, frame_temperature=10, dropout=0))
    outcome = train(config, tmp_path / "run", cache=tmp_path / "cache")
    assert load(str(tmp_path / "run")).id == outcome.method.id


def test_other_settings_in_the_same_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    train(config_for(folder, "offline", epochs=1), tmp_path / "run", cache=tmp_path / "cache")
    with pytest.raises(CheckpointError, match="other settings"):
        train(config_for(folder, "offline", epochs=2), tmp_path / "run", cache=tmp_path / "cache")


def test_how_a_run_is_evaluated_and_where_it_fits_may_change(
    folder: Path, tmp_path: Path, tiny_clip_folder: Path
) -> None:
    config = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3, epochs=2)

    def stop(record: Mapping[str, object]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", progress=lambda stage: nullcontext(lambda done, total: stop({})))
    other = replace(
        config,
        evaluate=EvaluateConfig(ties="mean", rescoring="dual_softmax", bootstrap=0),
        train=replace(config.train, chunk=2, gradient_checkpointing=True),
    )
    outcome = train(other, tmp_path / "run")
    assert outcome.fit.resumed_at == 1
    assert yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())["evaluate"]["ties"] == "mean"


def test_a_run_of_before_a_setting_was_there_goes_on(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder, "offline", epochs=1)
    train(config, tmp_path / "run", cache=tmp_path / "cache")
    file = tmp_path / "run" / "settings.yaml"
    settings = yaml.safe_load(file.read_text())
    del settings["train"]["optimizer"], settings["loss"]
    file.write_text(yaml.safe_dump(settings))
    assert train(config, tmp_path / "run", cache=tmp_path / "cache").fit.resumed_at == 1
    with pytest.raises(CheckpointError, match=r"train\.optimizer was adamw, now bertadam"):
        train(replace(config, train=replace(config.train, optimizer="bertadam")), tmp_path / "run")


def test_the_protocol_of_evaluation_chooses_no_weights(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder, "offline", epochs=3)
    harsh = replace(config, evaluate=EvaluateConfig(ties="for", rescoring="dual_softmax", bootstrap=0))
    one, other = (
        train(given, tmp_path / name, cache=tmp_path / "cache") for name, given in (("a", config), ("b", harsh))
    )
    assert one.fit.history == other.fit.history


@pytest.mark.parametrize(
    "change",
    [{"chunk": 2}, {"gradient_checkpointing": True}, {"freeze_layers": 0}],
    ids=lambda change: next(iter(change)),
)
def test_settings_of_towers_that_do_not_train_are_refused(folder: Path, tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"train.{next(iter(change))}: the towers stay frozen"):
        train(config_for(folder, "offline", **change), tmp_path / "run")


def test_settings_that_the_evaluation_of_the_run_would_refuse(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder, "offline")
    for wrong in (EvaluateConfig(prior="bank"), EvaluateConfig(rescoring="nnn", rescoring_scale=3.0)):
        with pytest.raises(ConfigError, match=r"evaluate\."):
            train(replace(config, evaluate=wrong), tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", ["motions", "babyai"])
def test_a_mistyped_folder_of_a_generated_benchmark(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(data=DataConfig(name=data, root=str(tmp_path / "mistyped" / "motions")))
    with pytest.raises(DataError, match=r"neither it nor .*mistyped is there"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "mistyped").exists()
    (tmp_path / "mistyped").mkdir()
    told: list[str] = []

    def no_data(config: DataConfig, progress: object) -> None:
        raise DataError("stop")

    monkeypatch.setattr("reelseek.recipes.run.load_data", no_data)
    with pytest.raises(DataError, match="stop"):
        train(config, tmp_path / "run", say=told.append)
    assert told == [f"{tmp_path}/mistyped/motions is not there: {data} will be made in it."]


def test_offline_towers_cannot_be_trained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stay frozen"):
        train(config_for(folder, "offline", backbone_learning_rate=1e-4), tmp_path / "run")


def test_frozen_towers_under_mean_pooling_leave_nothing_to_train(
    folder: Path, tmp_path: Path, tiny_clip_folder: Path
) -> None:
    config = config_for(folder, str(tiny_clip_folder))
    config = replace(config, method=replace(config.method, name="clip4clip", frame_temperature=3.0))
    with pytest.raises(ConfigError, match="nothing to train"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_end_to_end_through_clip_moves_the_towers(folder: Path, tmp_path: Path, tiny_clip_folder: Path) -> None:
    config = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3, learning_rate=1e-3, epochs=3)
    before = load(str(tiny_clip_folder))
    outcome = train(config, tmp_path / "run")
    assert outcome.method.backbone_id != before.backbone_id
    losses = [json.loads(line)["loss/total"] for line in _steps(tmp_path / "run")]
    assert losses[-1] < losses[0]
    again = load(str(tmp_path / "run"))
    assert again.id == outcome.method.id
    assert again.backbone_id == outcome.method.backbone_id


def test_encoding_a_share_equals_encoding_frame_by_frame(folder: Path, tiny_clip_folder: Path) -> None:
    config = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3)
    method = load(str(tiny_clip_folder))
    method.backbone.precision = "float32"
    pairs = load_data(config.data).train
    assert pairs is not None
    (batch,) = Clips(method, pairs, config, lambda line: None).batches(1, 0)
    batch.mask_VF[1, 2] = False
    texts, videos = Clips(method, pairs, config, lambda line: None).encode(batch)
    assert torch.equal(texts.pooled_TD, method.backbone.encode_texts(batch.captions).pooled_TD)
    for v in range(4):
        for f in range(3):
            pixels_13SS = normalised(batch.pixels_VF3SS[v, f : f + 1], method.backbone.preprocess)
            expected = method.encode_frames(pixels_13SS)[0]
            if not batch.mask_VF[v, f]:
                expected = torch.zeros_like(expected)
            torch.testing.assert_close(videos.frames_VFD[v, f].detach(), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(batch.relevance_TV, torch.eye(4, dtype=torch.bool))


def test_frames_reach_the_towers_as_they_are_prepared_elsewhere(
    folder: Path, tiny_clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3)
    method = load(str(tiny_clip_folder))
    pairs = load_data(config.data).train
    assert pairs is not None
    seen = []
    forward = method.backbone.forward_frames
    monkeypatch.setattr(method.backbone, "forward_frames", lambda pixels: (seen.append(pixels), forward(pixels))[1])
    clips = Clips(method, pairs, config, lambda line: None)
    (batch,) = clips.batches(1, 0)
    assert batch.pixels_VF3SS.dtype == torch.uint8
    clips.encode(batch)
    (pixels_N3SS,) = seen
    paths = [pairs.paths[pairs.texts.index(caption)] for caption in batch.captions]
    wanted = [
        preprocess(decode(path, lambda duration: sample_times(duration, config.sample)).pixels_FHW3, spec)
        for spec in [method.backbone.preprocess]
        for path in paths
    ]
    torch.testing.assert_close(pixels_N3SS, torch.cat(wanted), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_decoders_gives_the_same_batches(folder: Path, tiny_clip_folder: Path, workers: int) -> None:
    config = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3, batch_size=3)
    pairs = load_data(config.data).train
    assert pairs is not None
    paths = tuple(path.with_name("gone.mp4") if at == 1 else path for at, path in enumerate(pairs.paths))
    method = load(str(tiny_clip_folder))
    kept = replace(pairs, paths=paths)
    found = []
    for number in (0, workers):
        told: list[str] = []
        clips = Clips(method, kept, replace(config, train=replace(config.train, workers=number)), told.append)
        found.append(([batch for epoch in (1, 2) for batch in clips.batches(epoch, 0)], told))
    (alone, told_alone), (shared, told_shared) = found
    assert told_alone == told_shared
    assert len(told_alone) == 1
    assert len(alone) == len(shared) == 2
    for one, other in zip(alone, shared, strict=True):
        assert one.captions == other.captions
        assert torch.equal(one.pixels_VF3SS, other.pixels_VF3SS)
        assert torch.equal(one.mask_VF, other.mask_VF)
        assert not other.pixels_VF3SS.is_shared()


def test_a_broken_file_leaves_its_batch_smaller_and_is_told_once(
    folder: Path, tmp_path: Path, tiny_clip_folder: Path
) -> None:
    config = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3)
    pairs = load_data(config.data).train
    assert pairs is not None
    paths = (tmp_path / "gone.mp4", *pairs.paths[1:])
    told: list[str] = []
    clips = Clips(load(str(tiny_clip_folder)), replace(pairs, paths=paths), config, told.append)
    sizes = [len(batch.captions) for epoch in (1, 2) for batch in clips.batches(epoch, 0)]
    assert sizes == [3, 3]
    assert len(told) == 1
    assert "gone.mp4" in told[0]


def test_batches_that_were_trained_on_are_not_decoded_again(
    folder: Path, tmp_path: Path, tiny_clip_folder: Path
) -> None:
    config = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3, batch_size=2)
    pairs = load_data(config.data).train
    assert pairs is not None
    whole = list(Clips(load(str(tiny_clip_folder)), pairs, config, lambda line: None).batches(1, 0))
    first = {name for batch in whole[:1] for name in batch.captions}
    gone = tuple(
        tmp_path / "gone.mp4" if text in first else path for text, path in zip(pairs.texts, pairs.paths, strict=True)
    )
    told: list[str] = []
    (rest,) = Clips(load(str(tiny_clip_folder)), replace(pairs, paths=gone), config, told.append).batches(1, 1)
    assert not told
    assert rest.captions == whole[1].captions
    assert torch.equal(rest.pixels_VF3SS, whole[1].pixels_VF3SS)


def test_prepared_videos_score_as_fresh_ones() -> None:
    torch.manual_seed(0)
    backbone = load("offline").backbone
    for name in ("zero-shot", "clip4clip", "gare-baseline", "gare"):
        method = build(MethodConfig(name=name, width=64, frame_temperature=10.0), backbone).eval()
        with torch.no_grad():
            frames_VFD = torch.rand(3, 4, backbone.frame_width)
            mask_VF = torch.ones(3, 4, dtype=torch.bool)
            texts, videos = method.project(backbone.encode_texts(["a", "b c"]), Videos(frames_VFD, mask_VF))
            torch.testing.assert_close(method.prepare(videos)(texts), method.score(texts, videos).matrix_TV)


def _tensors(run: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(run / "model.safetensors", framework="pt") as file:
        return list(file.keys())


def _steps(run: Path) -> list[str]:
    return [line for line in (run / "log.jsonl").read_text().splitlines() if '"step"' in line and "loss/total" in line]


def test_a_run_finds_its_towers_from_any_working_directory(
    folder: Path, tmp_path: Path, tiny_clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_clip_folder.parent)
    outcome = train(config_for(folder, f"./{tiny_clip_folder.name}", epochs=1), tmp_path / "run", cache=tmp_path / "c")
    monkeypatch.chdir(tmp_path)
    assert load(str(tmp_path / "run")).id == outcome.method.id


def test_a_run_in_a_folder_with_the_name_of_its_towers_comes_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = train(config_for(folder, "offline", epochs=1), "offline", cache=tmp_path / "cache")
    assert load(str(tmp_path / "offline")).id == outcome.method.id


def test_towers_train_in_the_precision_of_the_settings_alone(folder: Path, tiny_clip_folder: Path) -> None:
    method = load(str(tiny_clip_folder))
    method.backbone.precision = "bfloat16"
    pairs = load_data(DataConfig(name="folder", root=str(folder))).train
    assert pairs is not None
    config = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3)
    assert Clips(method, pairs, config, lambda line: None).towers.precision == "float32"


def test_captions_of_a_contrast_meet_in_a_batch(
    folder: Path, tmp_path: Path, tiny_clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red and blue stand against each other, and green against blue, which is set against nothing itself."""
    config = config_for(folder, "offline", epochs=8, batch_size=2, batches="contrasts")
    splits = load_data(config.data)
    train_pairs = splits.train
    assert train_pairs is not None
    with pytest.raises(ConfigError, match=r"train.batches contrasts: .* Leave it at shuffled"):
        train(config, tmp_path / "refused", cache=tmp_path / "cache")
    at = {text.split()[1]: number for number, text in enumerate(train_pairs.texts)}
    video = {name: int(train_pairs.video_of_T[number]) for name, number in at.items()}
    rows = ((at["red"], video["red"], video["blue"]), (at["blue"], video["blue"], video["red"]))
    rows += ((at["green"], video["green"], video["white"]),)
    with_contrasts = replace(train_pairs, contrasts={"swap": rows})
    assert rivals_of(with_contrasts) == {at["red"]: (at["blue"],), at["blue"]: (at["red"],), at["green"]: ()}
    monkeypatch.setattr("reelseek.recipes.run.load_data", lambda *_: splits._replace(train=with_contrasts))
    seen: list[set[str]] = []

    def noting(embedded: EmbeddedPairs, rows: np.ndarray) -> Batch:
        seen.append({embedded.pairs.texts[row].split()[1] for row in rows})
        return feature_batch(embedded, rows)

    monkeypatch.setattr("reelseek.recipes.run.feature_batch", noting)
    train(config, tmp_path / "run", cache=tmp_path / "cache")
    assert seen.count({"red", "blue"}) >= 4, "parted only where the batch's edge lies between them"
    towers = config_for(folder, str(tiny_clip_folder), backbone_learning_rate=1e-3, batch_size=2, batches="contrasts")
    clips = Clips(load(str(tiny_clip_folder)), with_contrasts, towers, lambda line: None)
    kept = [batch.captions for batch in clips.batches(1, 0) if batch is not None]
    numbers = batch_numbers(4, 2, seed=towers.train.seed, epoch=1, rivals=rivals_of(with_contrasts))
    assert kept == [tuple(train_pairs.texts[row] for row in rows) for rows in numbers]


def test_half_a_character_in_a_caption_is_read_as_a_mark_of_its_length() -> None:
    method = load("offline")
    found, wanted = (method.encode_texts([text]).pooled_TD for text in ("a globe \ud83d turns", "a globe ? turns"))
    assert torch.equal(found, wanted)
