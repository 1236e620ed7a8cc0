"""What studies are made of: settings that exist, comparisons of arms that exist, and the data that they are run on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import FakeMethod
from reelseek.config import DataConfig, RunConfig
from reelseek.data.motions_plan import Knobs, plan_items
from reelseek.data.pairs import Pairs, Splits
from reelseek.embed import EmbeddedPairs
from reelseek.encoders.offline import OfflineBackbone
from reelseek.errors import ConfigError, DataError
from reelseek.evaluation import Evaluation
from reelseek.evaluation_bank import check_rescoring
from reelseek.methods import build
from reelseek.rank.ranking import ranks
from reelseek.records import Texts, Videos
from reelseek.study import benchmarks, scoring
from reelseek.study.benchmarks import BENCHMARKS, galleries, make, place
from reelseek.study.measures import MEASURES
from reelseek.study.plan import (
    Mode,
    Run,
    Study,
    arm_config,
    check,
    lacks_towers,
    mode_config,
    over_towers,
    runs_of,
    scored,
    with_arms,
    with_settings,
)
from reelseek.study.run import _changed
from reelseek.study.scoring import first_by_lot, first_captions, gallery_of, tables_of
from reelseek.study.studies import STUDIES


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_every_study_fits_together(study: Study) -> None:
    check(study)
    assert Study.from_json(json.loads(json.dumps(study.to_json()))) == study
    assert study.minutes <= 180
    assert set(study.metrics) <= set(MEASURES)
    assert study.seeds == 5
    used = {scored(name)[0] for pair in study.comparisons for name in pair}
    used |= {arm for family in used & set(study.families) for arm in study.families[family]}
    used |= {scored(name)[0] for points in study.lines.values() for _, name in points}
    used |= {arm for family in used & set(study.families) for arm in study.families[family]}
    assert set(study.arms) <= used, "an arm that nothing is compared with"
    configs = [arm_config(study, Run(arm, 0), DataConfig()) for arm in study.arms]
    places = [settings.get("benchmark", "") for settings in study.arms.values()]
    assert len(set(map(str, zip(configs, places, strict=True)))) == len(configs), "two arms are the same"
    for name in {settings.get("benchmark", study.benchmark) for settings in study.arms.values()}:
        assert name in BENCHMARKS


@pytest.fixture(scope="module")
def towers() -> OfflineBackbone:
    return OfflineBackbone()


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_every_arm_has_a_method_and_every_mode_a_correction(study: Study, towers: OfflineBackbone) -> None:
    for arm in study.arms:
        config = arm_config(study, Run(arm, 0), DataConfig())
        assert build(config.method, towers).name == config.method.name
    for mode in study.modes.values():
        check_rescoring(mode_config(mode))


def test_batch_sizes_are_compared_at_equal_examples() -> None:
    study = STUDIES["batch-size"]
    configs = [arm_config(study, Run(arm, 0), DataConfig()) for arm in study.arms]
    assert {config.train.batch_size for config in configs} == {32, 128, 512}
    assert len({config.train.epochs for config in configs}) == 1


def test_arms_change_what_they_name_and_nothing_else() -> None:
    study = small(base={"train.epochs": 7}, arms={"one": {"method.name": "gare", "method.dropout": 0.0}})
    config = arm_config(study, Run("one", 3), DataConfig(name="folder", root="x"))
    plain = arm_config(small(arms={"one": {}}), Run("one", 0), DataConfig(name="folder", root="x"))
    expected = replace(
        plain,
        method=replace(plain.method, name="gare", dropout=0.0, frame_temperature=10.0),
        train=replace(plain.train, epochs=7, seed=3),
    )
    assert config == expected
    assert config.evaluate.bootstrap == 0


def test_an_arms_own_settings_win_over_its_preset() -> None:
    arms: dict[str, Any] = {
        "preset": {"method.name": "gare", "preset": "as-released"},
        "warm": {"method.name": "gare", "preset": "as-released", "method.frame_temperature": 10.0},
    }
    released, warm = (arm_config(small(arms=arms), Run(arm, 0), DataConfig()) for arm in arms)
    assert released.method.frame_temperature == 3.0
    assert released.method.padding == warm.method.padding == "counted"
    assert warm == replace(released, method=replace(released.method, frame_temperature=10.0))


def test_seeds_come_in_whole_rounds() -> None:
    study = small(arms={"a": {}, "b": {}})
    assert runs_of(study, 2) == [Run("a", 0), Run("b", 0), Run("a", 1), Run("b", 1)]
    assert scored("a") == ("a", "plain")
    assert scored("a | dual softmax, bank") == ("a", "dual softmax, bank")


def test_some_arms_leave_what_they_hold_whole() -> None:
    study = Study(
        name="few",
        question="?",
        benchmark="motions",
        arms={"a": {}, "b": {"sample.frames": 2}, "c": {}, "d": {}},
        comparisons=(("a", "b"), ("a | m", "c"), ("a", "f"), ("f", "g | m"), ("a", "a | m")),
        families={"f": ("b", "c"), "g": ("c", "d")},
        modes={"m": Mode()},
        lines={"one": ((1.0, "a"), (2.0, "d")), "none": ((1.0, "d"),), "family": ((1.0, "f"), (2.0, "g"))},
    )
    some = with_arms(study, ["c", "a"])
    check(some)
    assert list(some.arms) == ["a", "c"]
    assert some.comparisons == (("a | m", "c"), ("a", "f"), ("f", "g | m"), ("a", "a | m"))
    assert some.families == {"f": ("c",), "g": ("c",)}
    assert some.notes == ("Left out of f: b.", "Left out of g: d.")
    assert some.lines == {"one": ((1.0, "a"),), "family": ((1.0, "f"), (2.0, "g"))}
    assert with_arms(study, ["a"]).families == {}
    assert with_arms(study, ["a"]).comparisons == (("a", "a | m"),)
    family = with_arms(study, ["f", "a", "a"])
    check(family)
    assert family.arms == {"a": {}, "b": {"sample.frames": 2}, "c": {}}
    assert family.families == {"f": ("b", "c"), "g": ("c",)}
    assert family.notes == ("Left out of g: d.",)
    assert family.comparisons == study.comparisons
    assert family.lines == {"one": ((1.0, "a"),), "family": ((1.0, "f"), (2.0, "g"))}
    assert with_arms(study, list(study.arms)) == study
    with pytest.raises(ConfigError, match=r"study few has no arm .e.\. Its arms: a; b; c; d\."):
        with_arms(study, ["a", "e"])


def test_other_towers_lie_below_every_arm_and_change_the_frame_temperature_alone() -> None:
    study = STUDIES["increment-towers"]
    assert lacks_towers(study)
    over = over_towers(study, "somewhere/towers")
    assert not lacks_towers(over)
    for arm in study.arms:
        before, after = (arm_config(one, Run(arm, 0), DataConfig()) for one in (study, over))
        assert after.method.backbone == "somewhere/towers"
        assert after.method.frame_temperature == 3.0
        temperature = before.method.frame_temperature
        assert after == replace(
            before, method=replace(before.method, backbone="somewhere/towers", frame_temperature=3.0)
        )
        assert temperature == (10.0 if "gare" in before.method.name else 3.0)
    assert not any(lacks_towers(other) for name, other in STUDIES.items() if name != "increment-towers")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {"a": {"method.nme": 1}}}, "no setting 'method.nme'"),
        ({"arms": {"a": {"nothing": 1}}}, "no setting 'nothing'"),
        ({"modes": {"m": Mode({"rescaling": 1})}}, "no setting 'evaluate.rescaling'"),
        ({"comparisons": (("a", "z"),)}, "no scored arm 'z'"),
        ({"comparisons": (("a | m", "a"),)}, "no scored arm 'a | m'"),
        ({"lines": {"line": ((1.0, "z"),)}}, "no scored arm 'z'"),
        ({"families": {"f": ("a", "z")}}, "'z' is none"),
        ({"families": {"a": ("a",)}}, "family 'a'"),
        ({"arms": {"a b": {}, "a-b": {}}, "comparisons": ()}, "differ in signs alone"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(small(**changes))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no setting 'train\.epoch'"):
        with_settings(RunConfig(), {"train.epoch": 3})
    assert mode_config(Mode({"block": 7})).block == 7


def small(**changes: Any) -> Study:
    values: dict[str, Any] = {"arms": {"a": {}}, "comparisons": (), **changes}
    return Study(name="small", question="?", benchmark="folder", **values)


def test_generated_benchmarks_are_made_as_they_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def generate(folder: str, **settings: Any) -> Splits:
        asked.update(settings, folder=folder)
        return Splits(*(split(f"{part}0") for part in ("train", "val", "test")))

    monkeypatch.setattr("reelseek.data.motions.generate", generate)
    make("motions", place("motions", str(tmp_path / "m")))
    knobs = Knobs(objects=120, test_captions=3)
    assert asked == {
        "folder": str(tmp_path / "m"), "train": 1500, "val": 200, "test": 1400, "seed": 11, "knobs": knobs,
        "progress": None,
    }  # fmt: skip
    monkeypatch.setattr("reelseek.data.babyai.generate", generate)
    asked.clear()
    make("babyai", place("babyai", str(tmp_path / "b")))
    assert asked == {
        "folder": str(tmp_path / "b"), "train": 1200, "val": 150, "test": 1400, "seed": 11, "progress": None,
    }  # fmt: skip
    make("motions-40", place("motions-40", str(tmp_path / "m")))
    assert (asked["folder"], asked["knobs"]) == (str(tmp_path / "m-fn40"), replace(knobs, false_negatives=0.4))


def test_places_follow_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert place("motions", "").root == str(tmp_path / "reelseek" / "study-motions")
    assert place("motions-20", "").root == str(tmp_path / "reelseek" / "study-motions-fn20")
    assert place("exercises", "").root == ""
    assert place("exercises", str(tmp_path / "x")).root == str(tmp_path / "x")
    with pytest.raises(ConfigError, match="no benchmark 'zzz'"):
        place("zzz", "")


def test_data_without_a_test_split_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "load", lambda *_: Splits(split("t0"), split("v0"), None))
    with pytest.raises(DataError, match="has no test"):
        make("folder", DataConfig(name="folder", root="x"))


def split(*ids: str, captions: int = 1, **more: Any) -> Pairs:
    texts = len(ids) * captions
    return Pairs(
        name="toy",
        texts=tuple(f"text {number}" for number in range(texts)),
        text_ids=tuple(f"t{number}" for number in range(texts)),
        video_of_T=np.repeat(np.arange(len(ids)), captions),
        video_ids=ids,
        paths=tuple(Path(f"{name}.mp4") for name in ids),
        **more,
    )


def test_galleries_are_whole_and_keep_groups_together(monkeypatch: pytest.MonkeyPatch) -> None:
    items = plan_items(train=20, val=10, test=430, seed=3, knobs=Knobs(objects=60, false_negatives=0.2))
    tested = [item for item in items if item.split == "test"]
    monkeypatch.setattr("reelseek.data.motions.load_items", lambda root, pairs: tuple(tested))
    pairs = split(*(item.id for item in tested))
    parts = galleries("motions", DataConfig(name="motions", root="x"), pairs)
    assert [len(part) for part in parts] == [200, 200]
    assert len(set(parts[0]) | set(parts[1])) == 400
    gallery_of_video = {video: number for number, part in enumerate(parts) for video in part}
    cut = 0
    for group in {item.group for item in tested}:
        members = {gallery_of_video.get(item.id) for item in tested if item.group == group}
        cut += len(members) > 1
    assert cut <= 2  # only where one gallery ends and the next begins
    assert galleries("folder", DataConfig(name="folder"), pairs) == [pairs.video_ids]
    assert galleries("motions", DataConfig(name="motions"), split("a", "b")) == [("a", "b")]


def embedded(*ids: str, captions: int = 2, **more: Any) -> EmbeddedPairs:
    pairs = split(*ids, captions=captions, **more)
    texts = Texts(torch.arange(len(pairs.texts), dtype=torch.float32)[:, None])
    frames = torch.arange(len(ids), dtype=torch.float32)[:, None, None].expand(-1, 2, 1)
    return EmbeddedPairs(pairs, texts, Videos(frames, torch.ones(len(ids), 2, dtype=torch.bool)), [])


def test_a_gallery_holds_its_videos_and_their_captions() -> None:
    part = gallery_of(embedded("a", "b", "c", "d"), ("c", "a", "gone"))
    assert part.pairs.video_ids == ("c", "a")
    assert part.pairs.text_ids == ("t0", "t1", "t4", "t5")
    assert part.texts.pooled_TD[:, 0].tolist() == [0, 1, 4, 5]
    assert part.videos.frames_VFD[:, 0, 0].tolist() == [2, 0]
    assert part.pairs.video_of_T.tolist() == [1, 1, 0, 0]


def test_the_first_captions_stay_with_what_is_known_of_them() -> None:
    whole = embedded("a", "b", extra_relevance=((1, 1), (2, 0)), contrasts={"swap": ((0, 0, 1), (3, 1, 0))}, captions=2)
    part = first_captions(whole, 1)
    assert part.pairs.text_ids == ("t0", "t2")
    assert part.texts.pooled_TD[:, 0].tolist() == [0, 2]
    assert part.pairs.video_ids == ("a", "b")
    assert part.pairs.extra_relevance == ((1, 0),)
    assert part.pairs.contrasts == {"swap": ((0, 0, 1),)}
    assert first_captions(whole, 5).pairs.text_ids == whole.pairs.text_ids


def evaluation_of(pairs: Pairs, matrix_TV: np.ndarray, rescoring: str) -> Evaluation:
    return Evaluation(
        "toy", {"rescoring": rescoring}, {}, {}, ranks(matrix_TV, pairs.relevance_TV()), matrix_TV, pairs, []
    )


def test_tables_hold_ranks_and_contrasts_a_query() -> None:
    pairs = split("a", "b", "c", extra_relevance=((0, 1),), contrasts={"swap": ((0, 0, 1), (1, 1, 2), (2, 2, 0))})
    matrix_TV = np.array([[0.2, 0.9, 0.1], [0.1, 0.5, 0.5], [0.1, 0.2, 0.8]], dtype=np.float32)
    tables = tables_of(evaluation_of(pairs, matrix_TV, "none"))
    assert tables["strict"].tolist() == [2, 2, 1]
    assert tables["corrected"].tolist() == [1, 2, 1]
    assert tables["swap"].tolist() == [0, 0, 1]  # a tie is a failure
    assert tables["swap ids"].tolist() == ["t0", "t1", "t2"]
    assert tables["swap videos"].tolist() == ["a", "b", "c"]
    rescored = tables_of(evaluation_of(pairs, matrix_TV, "dual softmax"))
    assert "swap" not in rescored
    assert "by lot" not in rescored


def test_ties_are_broken_by_lot_and_rounding_is_a_tie() -> None:
    near = 0.5 - 4e-6
    matrix_TV = np.array([[0.5, near, near], [0.5, near, 0.1], [0.1, 0.2, 0.8], [0.5, 0.49, 0.5]], dtype=np.float32)
    assert first_by_lot(matrix_TV, np.array([1, 0, 2, 1])).tolist() == [1 / 3, 1 / 2, 1, 0]
    rng = np.random.default_rng(0)
    drawn_TV = rng.integers(0, 4, (50, 6)) / 4
    video_of_T = rng.integers(0, 6, 50)
    trials = np.zeros(50)
    for _ in range(4000):  # the definition: order ties by lot, look who is first
        trials += (drawn_TV + 1e-3 * rng.random(drawn_TV.shape)).argmax(axis=1) == video_of_T
    assert first_by_lot(drawn_TV, video_of_T) == pytest.approx(trials / 4000, abs=0.04)


def test_the_protocol_counts_over_all_galleries() -> None:
    known = {"extra_relevance": ((0, 1), (4, 3)), "contrasts": {"swap": ((0, 0, 1), (4, 2, 3), (6, 3, 2))}}
    whole = embedded("a", "b", "c", "d", **known)
    whole = whole._replace(
        texts=whole.texts.each(torch.cos), videos=Videos(whole.videos.frames_VFD + 1, whole.videos[1])
    )
    parts = [gallery_of(whole, ("a", "b")), gallery_of(whole, ("c", "d"))]
    tables, protocol = scoring.score(FakeMethod(), scoring.Splits(parts, None), Mode(), frames=2)
    assert (protocol["texts_found"], protocol["videos_found"], protocol["galleries"]) == (8, 4, 2)
    assert protocol["relevance"] == "strict, and corrected by 2 further true matches"
    assert protocol["contrasts"] == {"swap": len(tables["swap"])} == {"swap": 3}


def test_a_setting_newer_than_a_kept_run_had_its_default() -> None:
    wanted = asdict(RunConfig())
    kept = asdict(RunConfig())
    del kept["method"]["text_layer"]
    assert not _changed(kept, wanted)
    wanted["method"]["text_layer"] = "lstm"
    assert _changed(kept, wanted) == "method.text_layer was none, now lstm"
    assert _changed(asdict(RunConfig()) | {"train": {**asdict(RunConfig())["train"], "epochs": 1}}, asdict(RunConfig()))
