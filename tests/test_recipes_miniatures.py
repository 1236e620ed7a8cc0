"""A recipe of every method and every benchmark, from original files to an evaluated run; all of them in the soak."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cli_world import one_load
from recipe_miniatures import WRITERS, losses_of, run, small, write_benchmark
from reelseek.data import load as load_data
from reelseek.evaluation import evaluate
from reelseek.methods.saved import load
from reelseek.recipes import RECIPES
from reelseek.recipes.parts import BENCHMARK_PARTS, METHOD_PARTS
from reelseek.recipes.run import refuse_seen
from test_encoders_clip import tiny_folder

# Workers that decode are forks; one that never touches an index may come from a process that has opened one.
pytestmark = pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")

CHOSEN = {
    "motions": "clip4clip-seqtransf",
    "folder": "camoe",
    "babyai": "clip4clip-seqlstm",
    "exercises": "gare",
    "msrvtt": "gare",
    "msrvtt-7k": "clip4clip-meanp",
    "msrvtt-full": "gare-baseline",
    "msvd": "gare",
    "lsmdc": "camoe-dsl",
    "didemo": "clip4clip-seqtransf",
    "activitynet": "gare",
    "vatex": "camoe-gare-dsl",
    "youcook2": "clip4clip-seqlstm",
    "tgif": "gare-baseline",
}
"""For every benchmark the method that is tried on it each time."""
OVER_CLIP = [name for name in RECIPES if RECIPES[name]().train.backbone_learning_rate > 0]


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("towers") / "clip", "clip", width=64)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def train_and_evaluate(name: str, towers: Path, clip_folder: Path, out: Path, *, form: str = "clean") -> None:
    benchmark = next(part for part in sorted(WRITERS, key=len, reverse=True) if name.endswith(f"-{part}"))
    root = write_benchmark(benchmark, out / "data", clip_folder)
    with one_load():
        outcome = run(name, root, towers, out, form=form)
        losses = losses_of(outcome.folder)
        assert outcome.fit.steps == len(losses) >= 2
        assert all(map(math.isfinite, losses))
        config = small(name, root, towers, form=form)
        assert (outcome.method.backbone_id == load(config.method.backbone).backbone_id) == (name not in OVER_CLIP)
        again = load(str(outcome.folder))
        assert again.id == outcome.method.id
        test = load_data(config.data).test
        assert test is not None
        refuse_seen(again, test)
        found = evaluate(again, test, config=config.evaluate, sample=config.sample, cache=out / "cache")
    assert found.matrix_TV.shape == (len(test.texts), len(test.video_ids))
    assert ("dual softmax" in found.protocol["rescoring"]) == ("-dsl-" in name)
    assert 0 < found.metrics["text_to_video"]["R@10"] <= 100


def test_every_part_is_chosen() -> None:
    assert CHOSEN.keys() == BENCHMARK_PARTS.keys() == WRITERS.keys()
    assert set(CHOSEN.values()) == METHOD_PARTS.keys()


@pytest.mark.parametrize("data", CHOSEN)
def test_a_recipe_from_original_files_to_numbers(
    data: str, towers: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    train_and_evaluate(f"{CHOSEN[data]}-{data}", towers, clip_folder, tmp_path)


@pytest.mark.parametrize("name", ["gare-msvd", "camoe-dsl-msrvtt"])
def test_a_paper_form_from_original_files_to_numbers(
    name: str, towers: Path, clip_folder: Path, tmp_path: Path
) -> None:
    train_and_evaluate(name, towers, clip_folder, tmp_path, form="paper")


@pytest.mark.soak
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe(
    name: str, towers: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    train_and_evaluate(name, towers, clip_folder, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", OVER_CLIP)
def test_every_paper_form(name: str, towers: Path, clip_folder: Path, tmp_path: Path) -> None:
    train_and_evaluate(name, towers, clip_folder, tmp_path, form="paper")
