"""`reelseek diagnose` over a run, and the values that training can log after every epoch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from cli_world import films, refused, run, train_words
from reelseek.config import MethodConfig, RunConfig
from reelseek.data.pairs import Pairs
from reelseek.diagnostics.ideal import pair_gradients
from reelseek.diagnostics.values import gradient_conflict
from reelseek.embed import EmbeddedPairs
from reelseek.errors import DataError
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.recipes.diagnose import PREFIX, epoch_diagnostics, epoch_history, ideal_bound, measure, sample
from reelseek.records import Preprocess, Texts, Videos

WIDTH = 16


class Towers:
    """Towers of one joint space that nothing is put through here."""

    name, id, text_width, frame_width = "towers", "towers", WIDTH, WIDTH
    preprocess = Preprocess(8, 8, (0.0,) * 3, (1.0,) * 3)


def method_of(**settings) -> Method:
    torch.manual_seed(0)
    config = replace(MethodConfig(name="gare", frame_temperature=2.0, width=WIDTH), **settings)
    return build(config, Towers())


def embedded(videos: int = 6, captions: int = 2) -> EmbeddedPairs:
    generator = torch.Generator().manual_seed(0)
    count = videos * captions
    pairs = Pairs(
        name="drawn",
        texts=tuple(map(str, range(count))),
        text_ids=tuple(map(str, range(count))),
        video_of_T=np.arange(count) // captions,
        video_ids=tuple(map(str, range(videos))),
        paths=tuple(Path(str(number)) for number in range(videos)),
    )
    mask_VF = torch.rand(videos, 4, generator=generator) > 0.3
    mask_VF[:, 0] = True
    texts = Texts(
        torch.randn(count, WIDTH, generator=generator),
        torch.randn(count, 5, WIDTH, generator=generator),
        torch.ones(count, 5, dtype=torch.bool),
    )
    return EmbeddedPairs(pairs, texts, Videos(torch.randn(videos, 4, WIDTH, generator=generator), mask_VF), [])


GARE_NAMES = {"conflict", "gradient_cosine", "direction_cosine", "modality_gap", "corrected_modality_gap", "length_50"}
VARIANTS = [
    {},
    {"side": "video"},
    {"context": "words", "padding": "counted"},
    {"side": "video", "context": "words", "query": "text"},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_a_sample_is_of_true_pairs_and_its_vectors_make_the_scores(settings):
    method, data = method_of(**settings), embedded()
    found = sample(method, data, pairs=4)
    assert found.texts_TD.shape == (4, WIDTH)
    rows = [next(i for i in range(12) if torch.equal(data.texts.pooled_TD[i], text)) for text in found.texts_TD]
    assert len({row // 2 for row in rows}) == 4
    assert all(row % 2 == 0 for row in rows)
    dense = found.increments.dense()
    moved = (found.texts_TD[:, None] + dense, found.pooled_TVD)
    if found.side == "video":
        moved = (found.texts_TD[:, None], found.pooled_TVD + dense)
    assert torch.allclose(torch.cosine_similarity(*moved, dim=-1), found.scores.matrix_TV, atol=1e-5)
    values, details = measure(found)
    assert values.keys() >= GARE_NAMES
    assert all(np.isfinite(value) for value in values.values())
    assert values["conflict"] == pytest.approx(float(details.conflict_T.mean()))
    at = [side.expand(4, 4, WIDTH).detach() for side in moved]
    gradients = pair_gradients(*at, logit_scale=100.0, target_T=torch.arange(4))
    torch.testing.assert_close(details.conflict_T, gradient_conflict(gradients), atol=1e-4, rtol=1e-3)
    own = torch.cosine_similarity(*(side.expand(4, 4, WIDTH)[range(4), range(4)] for side in moved), dim=-1)
    assert values["corrected_alignment"] == pytest.approx(float((2 - 2 * own).mean()), abs=1e-4)


@pytest.mark.parametrize("name", ["gare-baseline", "clip4clip"])
def test_methods_without_increments_have_the_rest(name):
    values, details = measure(sample(method_of(name=name), embedded(), pairs=99))
    assert {"conflict", "modality_gap", "uniformity_text"} <= values.keys()
    assert not any(key.startswith(("length", "corrected", "direction")) for key in values)
    assert details.lengths_TV is None


@pytest.mark.parametrize("gate", ["single", "full"])
@pytest.mark.parametrize("name", ["clip4clip", "gare-baseline", "camoe", "camoe-gare"])
def test_what_a_text_sees_is_what_its_score_is_made_of(name, gate):
    kinds = {"fusion_aggregation": "se", "entity_aggregation": "mean", "action_aggregation": "se"}
    method, data = method_of(name=name, gate=gate, **kinds), embedded()
    with torch.no_grad():
        for number, gates in enumerate(getattr(method.head, "gates", {}).values()):
            gates.weight.normal_(generator=torch.Generator().manual_seed(number))
    streams = {stream: Texts(data.texts.pooled_TD.flip(0)) for stream in ("entity", "action")}
    found = sample(method, data._replace(texts=data.texts._replace(streams=streams)), pairs=4)
    moved_TVD = found.texts_TD[:, None]
    if found.increments is not None:
        moved_TVD = moved_TVD + found.increments["fusion"].dense()
    seen = torch.cosine_similarity(moved_TVD, found.pooled_TVD, dim=-1)
    assert torch.allclose(seen, found.scores.matrix_TV, atol=1e-5)


def test_increments_by_stream_are_told_apart():
    found = sample(method_of(), embedded(), pairs=4)
    values, _ = measure(found._replace(increments={"fusion": found.increments, "entity": found.increments.dense()}))
    assert values["fusion/length_mean"] == pytest.approx(values["entity/length_mean"], rel=1e-4)
    assert "direction_cosine" not in values


def test_epochs_see_the_same_pairs_and_leave_the_method_as_it_was():
    method, data, config = method_of().train(), embedded(), RunConfig()
    first, again = (epoch_diagnostics(method, data, config) for _ in range(2))
    assert method.training
    assert first == again
    assert all(key.startswith(PREFIX) for key in first)
    with pytest.raises(DataError, match="at least 2 videos"):
        epoch_diagnostics(method, embedded(videos=1), config)


def test_ideal_increments_bound_what_small_ones_can_do():
    found = sample(method_of(), embedded(videos=30), pairs=30)
    rows = ideal_bound(found)
    assert ideal_bound(found._replace(texts_TD=7 * found.texts_TD)) == rows
    assert [row["radius"] for row in rows] == [0.0, 0.02, 0.05, 0.1, 0.2, 0.5]
    recalls = [row["R@1"] for row in rows]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 100.0
    assert recalls[0] < 50


def test_history_is_read_from_a_log_and_the_last_record_of_an_epoch_counts(tmp_path):
    assert epoch_history(tmp_path) == []
    records = [
        {"kind": "step", "step": 1, "epoch": 1},
        {"kind": "validation", "step": 2, "epoch": 2, "R@1": 5.0, "diagnostics/conflict": 0.5},
        {"kind": "validation", "step": 1, "epoch": 1, "diagnostics/conflict": 0.1},
        {"kind": "validation", "step": 2, "epoch": 2, "diagnostics/conflict": 0.7},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert epoch_history(tmp_path) == [{"epoch": 1, "conflict": 0.1}, {"epoch": 2, "conflict": 0.7}]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("diagnosed")
    said = run(*train_words(films(folder / "films"), folder / "cache", folder / "run"))
    assert said.code == 0, said
    return folder / "run", folder / "cache"


def test_the_command_prints_a_table_and_writes_numbers_and_a_picture(trained):
    folder, cache = trained
    said = run("diagnose", folder, "--cache", cache, "--split", "train")
    assert said.code == 0, said
    assert "conflict" in said.out
    assert "told the answer" in said.out
    written = json.loads((folder / "diagnostics.json").read_text())
    assert written["pairs"] == 6
    assert written["values"].keys() >= GARE_NAMES
    assert written["ideal"][0]["radius"] == 0
    assert matplotlib.image.imread(folder / "diagnostics.png").shape[1] > 500


def test_the_command_writes_elsewhere_and_takes_models_by_name(trained, tmp_path):
    folder, cache = trained
    words = ["--cache", cache, "--data.name", "folder", "--data", folder.parent / "films", "--out", tmp_path / "new"]
    said = run("diagnose", "offline", *words)
    assert said.code == 0, said
    assert "length_mean" not in json.loads((tmp_path / "new" / "diagnostics.json").read_text())["values"]


def test_the_command_prints_json_alone(trained, tmp_path):
    folder, cache = trained
    told = run("diagnose", folder, "--cache", cache, "--out", tmp_path, "--json")
    assert told.code == 0, told
    assert json.loads(told.out) == json.loads((tmp_path / "diagnostics.json").read_text())
    assert "meaning" in told.err


def test_the_command_refuses_in_a_sentence(trained, tmp_path):
    folder, _ = trained
    assert "--pairs" in refused(2, "diagnose", folder, "--pairs", 1)
    assert "--out" in refused(2, "diagnose", "offline")
    (tmp_path / "file").write_text("")
    assert "not a folder" in refused(2, "diagnose", folder, "--out", tmp_path / "file")
    assert "no such folder" in refused(1, "diagnose", tmp_path / "nothing")
