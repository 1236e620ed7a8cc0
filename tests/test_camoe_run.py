"""CAMoE as a whole: built, trained, saved, loaded, evaluated, indexed and searched, over frozen and trained towers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import write_clip
from reelseek.config import (
    DataConfig,
    EvaluateConfig,
    IndexConfig,
    LossConfig,
    MethodConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
)
from reelseek.data import load as load_data
from reelseek.embed import embed_texts
from reelseek.encoders.clip import load_clip
from reelseek.encoders.offline import OfflineBackbone
from reelseek.errors import ConfigError
from reelseek.evaluation import evaluate
from reelseek.index.library import Index
from reelseek.language import words
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.methods.saved import load, save
from reelseek.recipes.run import train
from reelseek.records import Texts, Videos
from reelseek.score.blocks import score_in_blocks
from test_encoders_clip import tiny_folder

# Workers that decode are forks; one that never touches an index may come from a process that has opened one.
pytestmark = pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200), "white": (220, 220, 220)}
SHOWN = {"red": "a fox jumps", "green": "the grass grows", "blue": "the sea shines", "white": "snow falls"}
"""What each colour stands for: nouns and verbs must tell the videos apart, as every stream has its own loss."""
EXPERTS = {"fusion_aggregation": "mean", "entity_aggregation": "se", "action_aggregation": "attention"}
CAPTIONS = ["a man is cooking pasta", "the dog runs", "\U0001f600", "is the of", "red"]


@pytest.fixture(scope="module")
def towers() -> OfflineBackbone:
    return OfflineBackbone()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("colours")
    rows = []
    for split in ("train", "val", "test"):
        for name, colour in COLOURS.items():
            write_clip(root / f"{split}-{name}.mp4", colour, frames=8)
            rows.append({"video": f"{split}-{name}.mp4", "caption": SHOWN[name], "split": split})
    (root / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return root


def config_for(folder: Path, name: str = "camoe", backbone: str = "offline") -> RunConfig:
    warm: dict[str, Any] = {"frame_temperature": 10.0} if name == "camoe-gare" else {}
    if backbone == "offline":
        warm["width"] = 64
    return RunConfig(
        data=DataConfig(name="folder", root=str(folder)),
        sample=SampleConfig(frames=3),
        method=MethodConfig(name=name, backbone=backbone, gate="multi", **warm, **EXPERTS),
        loss=LossConfig(contrastive="dual_softmax"),
        train=TrainConfig(epochs=4, batch_size=4, learning_rate=3e-3, device="cpu"),
        evaluate=EvaluateConfig(bootstrap=0),
    )


def videos_of(towers: OfflineBackbone, count: int = 3, frames: int = 4) -> Videos:
    generator = torch.Generator().manual_seed(0)
    mask_VF = torch.arange(frames) < torch.arange(1, count + 1)[:, None]
    return Videos(torch.rand(count, frames, towers.frame_width, generator=generator), mask_VF)


@pytest.mark.parametrize("name", ["camoe", "camoe-gare"])
def test_train_save_load_evaluate_and_search(folder: Path, tmp_path: Path, name: str) -> None:
    config = config_for(folder, name)
    made = train(config, tmp_path / "run", cache=tmp_path / "cache")
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "step"]
    assert {f"loss/dual_softmax/{stream}" for stream in ("fusion", "entity", "action")} < set(steps[0])
    assert ("loss/kl" in steps[0]) == (name == "camoe-gare")
    assert steps[-1]["loss/total"] < steps[0]["loss/total"]

    method = load(str(tmp_path / "run"))
    assert method.id == made.method.id
    test = load_data(config.data).test
    found = evaluate(method, test, config=config.evaluate, sample=config.sample, cache=tmp_path / "cache")
    assert found.metrics["text_to_video"]["R@1"] == 100
    again = evaluate(made.method, test, config=config.evaluate, sample=config.sample)
    torch.testing.assert_close(torch.from_numpy(found.matrix_TV), torch.from_numpy(again.matrix_TV), atol=1e-5, rtol=0)

    library = Index(tmp_path / "index", method)
    library.update([folder], config=IndexConfig(fps=2.0, segment_frames=3))
    for colour, caption in SHOWN.items():
        assert colour in library.search(caption, k=1)[0].path
    (hit,) = library.search("a fox jumps", k=1)
    (why,) = library.explain("a fox jumps", [hit])
    assert sum(frame.contribution or 0 for frame in why.frames) + why.rest == pytest.approx(hit.score, abs=1e-5)
    assert {stream.name: stream.words for stream in why.streams} == {
        "fusion": (),
        "entity": ("fox",),
        "action": ("jumps",),
    }
    assert [stream.share for stream in why.streams] == pytest.approx([1, 0, 0])
    assert {stream.name for stream in why.streams if stream.experts} == {"fusion", "entity", "action"}
    assert all((stream.increment is not None) == (name == "camoe-gare") for stream in why.streams)


def test_towers_train_end_to_end_through_masked_sentences(folder: Path, tmp_path: Path) -> None:
    clip = tiny_folder(tmp_path / "clip", "clip", width=64)
    config = config_for(folder, "camoe-gare", str(clip))
    config = replace(config, train=replace(config.train, epochs=1, backbone_learning_rate=1e-3))
    before = load_clip(clip).model.text_model.embeddings.token_embedding.weight.clone()
    made = train(config, tmp_path / "run", cache=tmp_path / "cache")
    after = made.method.backbone.model.text_model.embeddings.token_embedding.weight  # type: ignore[attr-defined]
    assert not torch.equal(before, after)
    assert list((tmp_path / "cache" / "words").rglob("*.json"))
    assert load(str(tmp_path / "run")).id == made.method.id


@pytest.mark.parametrize("sentences", ["muw", "rkw", "akwe"])
def test_the_trainable_path_equals_the_frozen_one(tmp_path: Path, sentences: str) -> None:
    towers = load_clip(tiny_folder(tmp_path, "clip", width=64))
    method = build(MethodConfig(name="camoe", sentences=sentences), towers)
    captions = ["a dog runs", "the red cat sleeps", "the ball", "dog"]
    frozen, trained = method.encode_texts(captions), method.forward_texts(captions)
    assert list(frozen.streams) == list(trained.streams) == ["entity", "action"]
    for one, other in zip((frozen, *frozen.streams.values()), (trained, *trained.streams.values()), strict=True):
        torch.testing.assert_close(one.pooled_TD, other.pooled_TD, atol=1e-6, rtol=0)
        assert other.pooled_TD.requires_grad
        assert not one.pooled_TD.requires_grad
    assert not torch.allclose(frozen.pooled_TD[0], frozen.streams["entity"].pooled_TD[0])


@pytest.mark.parametrize("name", ["camoe", "camoe-gare"])
@pytest.mark.parametrize("gate", ["single", "full"])
def test_a_saved_method_scores_as_it_did(tmp_path: Path, towers: OfflineBackbone, name: str, gate: str) -> None:
    torch.manual_seed(0)
    method = build(MethodConfig(name=name, width=64, gate=gate, inference="sum", **EXPERTS), towers).eval()
    for parameter in method.head.parameters():
        torch.nn.init.normal_(parameter.data, std=0.1)
    save(method, tmp_path, run={})
    loaded = load(str(tmp_path))
    assert loaded.id == method.id
    texts, videos = method.encode_texts(CAPTIONS), videos_of(towers)
    with torch.no_grad():
        wanted_TV = method.score(*method.project(texts, videos)).matrix_TV
        torch.testing.assert_close(loaded.score(*loaded.project(texts, videos)).matrix_TV, wanted_TV)


@pytest.mark.parametrize(
    "variant",
    [
        {"context": "words", "sentences": "muw"},
        {"context": "words", "sentences": "akwe", "side": "video"},
        {"context": "words", "sentences": "rkw"},
        {"side": "video", "sign": -1},
        {"heads": 2, "increment_layers": 2},
        {"query": "text"},
    ],
)
def test_gare_s_variants_stand_in_every_stream(towers: OfflineBackbone, variant: dict[str, Any]) -> None:
    torch.manual_seed(0)
    method = build(MethodConfig(name="camoe-gare", width=64, inference="sum", **EXPERTS, **variant), towers).eval()
    texts, videos = method.project(method.encode_texts(CAPTIONS), videos_of(towers))
    scores, views = method.score(texts, videos), method.head.views(videos)
    for stream, sentence in {"fusion": texts, **texts.streams}.items():
        plain = method.head.heads[stream].score_reference(sentence, views[stream])
        torch.testing.assert_close(scores.streams[stream], plain.matrix_TV, atol=1e-5, rtol=0)
    longer = Videos(
        torch.nn.functional.pad(videos.frames_VFD, (0, 0, 0, 2), value=9.0),
        torch.nn.functional.pad(videos.mask_VF, (0, 2)),
    )
    torch.testing.assert_close(method.score(texts, longer).matrix_TV, scores.matrix_TV, atol=1e-5, rtol=0)
    blocks_TV = score_in_blocks(method, texts, videos, block=2)
    torch.testing.assert_close(blocks_TV, scores.matrix_TV.detach(), atol=1e-5, rtol=0)


def parts_of(texts: Texts) -> list[bool]:
    return [texts.tokens_TLD is not None, texts.mask_TL is not None, texts.streams is not None]


def test_texts_hold_what_the_head_needs_and_no_more(towers: OfflineBackbone) -> None:
    plain = build(MethodConfig(name="clip4clip", width=64), towers)
    assert parts_of(plain.encode_texts(CAPTIONS)) == [False, False, False]
    assert plain.text_id == towers.id
    camoe = build(MethodConfig(name="camoe", width=64), towers).encode_texts(CAPTIONS)
    assert parts_of(camoe) == [False, False, True]
    assert all(parts_of(stream) == [False, False, False] for stream in camoe.streams.values())
    wordy = Method(name="words", backbone=towers, head=plain.head, words=True)
    assert parts_of(wordy.encode_texts(CAPTIONS)) == [True, True, False]
    assert wordy.text_id != plain.text_id


def test_texts_are_cached_by_strategy(tmp_path: Path, towers: OfflineBackbone) -> None:
    found = {}
    for sentences in ("muw", "rkw", "akwe"):
        method = build(MethodConfig(name="camoe", width=64, sentences=sentences), towers)
        found[sentences] = embed_texts(method, CAPTIONS, cache=tmp_path)
        again = embed_texts(method, CAPTIONS, cache=tmp_path)
        fresh = method.encode_texts(CAPTIONS)
        for stream in ("entity", "action"):
            assert torch.equal(again.streams[stream].pooled_TD, fresh.streams[stream].pooled_TD)
    whole = found["muw"].pooled_TD
    for stream, changed in (("entity", [True, True, False, False, None]), ("action", [True, True, False, False, None])):
        for sentences in found:
            for row, wanted in enumerate(changed):
                moved = not torch.allclose(found[sentences].streams[stream].pooled_TD[row], whole[row], atol=1e-4)
                assert wanted is None or moved == wanted
    assert len(list((tmp_path / "words").rglob("*.json"))) == 1


def test_fusion_alone_never_asks_for_the_tagger(towers: OfflineBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Sequence[str]) -> None:
        pytest.fail("asked the tagger")

    monkeypatch.setattr(words, "_tag", asked)
    monkeypatch.setattr(words, "tagger_id", asked)
    method = build(MethodConfig(name="camoe", width=64, streams="fusion", entity_aggregation="se"), towers).eval()
    scores = method.score(*method.project(method.encode_texts(CAPTIONS), videos_of(towers)))
    assert list(scores.streams) == ["fusion"]
    assert torch.equal(scores.matrix_TV, scores.streams["fusion"])
    assert method.text_id == towers.id


def test_more_frames_than_squeezing_has_places_name_the_setting(towers: OfflineBackbone) -> None:
    method = build(MethodConfig(name="camoe", width=64, action_aggregation="se"), towers)
    texts = method.encode_texts(CAPTIONS[:1])
    with pytest.raises(ConfigError, match=r"the head of camoe takes up to 128 frames, not 129: lower sample\.frames"):
        method.project(texts, Videos(torch.rand(1, 129, 1280), torch.ones(1, 129, dtype=torch.bool)))


def test_attention_needs_a_width_of_heads(towers: OfflineBackbone) -> None:
    with pytest.raises(ConfigError, match=r"method\.width 100"):
        build(MethodConfig(name="camoe", width=100, action_aggregation="attention"), towers)
