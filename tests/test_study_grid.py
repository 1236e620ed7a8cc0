"""A study from its plan to its page on twelve drawn clips: finished runs are kept, killed ones go on, budgets hold."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_world import films, refused
from cli_world import run as command
from conftest import TINY_TOWERS
from reelseek.config import DataConfig
from reelseek.errors import CheckpointError, ConfigError, ReelseekError
from reelseek.evaluation import evaluate
from reelseek.methods.saved import load
from reelseek.methods.small_folders import make_small, save_small
from reelseek.recipes.run import load_data
from reelseek.study import studies
from reelseek.study.grid import (
    HELD,
    PLAN,
    OutOfTime,
    Plan,
    Status,
    prepare,
    read_plan,
    run_grid,
    status,
    work,
    write_plan,
)
from reelseek.study.plan import Mode, Run, Study, arm_config, lacks_towers, over_towers
from reelseek.study.run import RANKS, RESULT, Place, finish, load_arrays
from reelseek.study.summary import summarise

SMALL = {"method.width": 16, "train.epochs": 2, "train.batch_size": 4, "train.device": "cpu"}
FOREVER = float("inf")
# Workers that decode are forks; one that never touches an index may come from a process that has opened one.
FORKS = pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")


def small_study(**changes: Any) -> Study:
    values: dict[str, Any] = {
        "name": "mini",
        "question": "Does anything happen?",
        "benchmark": "folder",
        "base": SMALL,
        "arms": {"mean": {"method.name": "clip4clip"}, "GARE": {"method.name": "gare"}},
        "modes": {"dual": Mode({"rescoring": "dual_softmax"}), "one caption": Mode(captions=1)},
        "comparisons": (("GARE", "mean"), ("GARE | dual", "GARE"), ("GARE | one caption", "GARE")),
        "seeds": 2,
    }
    return Study(**{**values, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films(tmp_path_factory.mktemp("study") / "films")


@pytest.fixture(scope="module")
def cache(data: Path) -> Path:
    return data.parent / "cache"


def plan_for(study: Study, out: Path, data: Path, cache: Path, seeds: int = 2) -> Plan:
    return Plan(study, seeds, Place(out, {"folder": DataConfig(name="folder", root=str(data))}, cache))


@pytest.fixture(scope="module")
def done(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Status]:
    """Two arms with two seeds, in three ways of scoring."""
    plan = plan_for(small_study(), tmp_path_factory.mktemp("grid"), data, cache)
    return plan, run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)


def test_every_run_is_there_with_its_ranks(done: tuple[Plan, Status]) -> None:
    plan, found = done
    assert list(found.results) == [Run("mean", 0), Run("GARE", 0), Run("mean", 1), Run("GARE", 1)]
    assert (found.failed, found.seconds_left) == ({}, 0)
    for run, result in found.results.items():
        assert (result["arm"], result["seed"], result["steps"]) == (run.arm, run.seed, 6)
        heads = {"mean": 0, "GARE": 6 * (16 * 16 + 16) + 3 * 2 * 16}
        assert result["parameters"] == 1280 * 16 + 384 * 16 + 1 + heads[run.arm]
        assert result["protocols"]["dual"]["transductive"]
        assert not (plan.place.out / run.folder / "state.safetensors").exists()


def test_ranks_are_those_of_an_evaluation(done: tuple[Plan, Status]) -> None:
    plan, _ = done
    run = Run("GARE", 1)
    config = arm_config(plan.study, run, plan.place.data["folder"])
    test = load_data(config.data).test
    assert test is not None
    method = load(str(plan.place.out / run.folder))
    arrays = load_arrays(plan.place.out / run.folder)
    for mode, settings in (("plain", {}), ("dual", {"rescoring": "dual_softmax"})):
        evaluation = evaluate(
            method, test, config=replace(config.evaluate, **settings), sample=config.sample, cache=plan.place.cache
        )
        np.testing.assert_array_equal(arrays[f"strict|{mode}"], evaluation.ranks_T)
        np.testing.assert_array_equal(arrays[f"corrected|{mode}"], evaluation.ranks_T)
    assert set(np.flatnonzero(arrays["by lot|plain"])) >= set(np.flatnonzero(arrays["strict|plain"] == 1))
    assert "by lot|dual" not in arrays
    assert arrays["ids|plain"].tolist() == list(test.text_ids)
    assert len(arrays["strict|one caption"]) == len(test.video_ids) == 3


@FORKS
def test_towers_that_learn_along_are_each_run_s_own(data: Path, cache: Path, tmp_path: Path) -> None:
    save_small(make_small(["a red wall"], TINY_TOWERS), tmp_path / "blank")
    learning = {"train.epochs": 2, "train.batch_size": 4, "train.device": "cpu", "train.backbone_learning_rate": 1e-2}
    study = small_study(base=learning, modes={}, comparisons=(("GARE", "mean"),))
    assert lacks_towers(study)
    plan = plan_for(over_towers(study, str(tmp_path / "blank")), tmp_path / "out", data, cache)
    before = {path.name for path in cache.iterdir()} if cache.exists() else set()
    prepare(plan, deadline=FOREVER, progress=lambda stage: nullcontext(lambda done, total: None))
    assert ({path.name for path in cache.iterdir()} if cache.exists() else set()) == before
    found = run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert (len(found.results), found.failed) == (4, {})
    config = arm_config(plan.study, Run("GARE", 1), plan.place.data["folder"])
    test = load_data(config.data).test
    assert test is not None
    names = set()
    for run in plan.runs:
        method = load(str(plan.place.out / run.folder))
        names.add(method.backbone_id)
        evaluation = evaluate(method, test, config=config.evaluate, sample=config.sample, cache=tmp_path / "fresh")
        ranks_T = load_arrays(plan.place.out / run.folder)["strict|plain"]
        np.testing.assert_array_equal(ranks_T, evaluation.ranks_T)
    assert len(names) == 4


def test_a_study_of_learning_towers_asks_for_them(data: Path, tmp_path: Path) -> None:
    words = ("study", "increment-towers", "--data", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert "increment-towers trains towers along: name those that it starts from with --towers" in refused(2, *words)
    assert not (tmp_path / "nowhere").exists()


def test_a_second_start_trains_nothing(done: tuple[Plan, Status]) -> None:
    plan, _ = done

    def written() -> dict[Path, int]:
        paths = plan.place.out.glob("runs/*/*/*")
        return {path: path.stat().st_mtime_ns for path in paths if path.name != HELD}

    before = written()
    seen: list[Status] = []
    again = run_grid(plan, jobs=1, deadline=FOREVER, tell=seen.append)
    assert len(again.results) == 4
    assert len(seen) == 1
    assert written() == before


def test_a_new_way_of_scoring_scores_again_without_training(
    done: tuple[Plan, Status], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = done
    monkeypatch.setattr("reelseek.study.run.train", lambda *_, **__: pytest.fail("trained again"))
    run = Run("GARE", 0)
    before = load_arrays(plan.place.out / run.folder)
    more = replace(plan.study, modes={**plan.study.modes, "sharp": Mode({"rescoring_scale": 5.0})})
    finish(more, run, plan.place, {})
    after = load_arrays(plan.place.out / run.folder)
    assert set(after) > set(before)
    np.testing.assert_array_equal(after["strict|plain"], before["strict|plain"])
    finish(plan.study, run, plan.place, {})


def test_other_settings_in_the_folder_are_refused(done: tuple[Plan, Status]) -> None:
    plan, _ = done
    other = replace(plan.study, base={**SMALL, "train.epochs": 3})
    with pytest.raises(CheckpointError, match=r"train\.epochs was 2, now 3"):
        status(plan._replace(study=other))
    (plan.place.out / Run("mean", 0).folder / RESULT).rename(plan.place.out / "aside")
    try:
        with pytest.raises(CheckpointError, match=r"train\.epochs was 2, now 3"):
            finish(other, Run("mean", 0), plan.place, {})
    finally:
        (plan.place.out / "aside").rename(plan.place.out / Run("mean", 0).folder / RESULT)


def test_runs_on_other_data_are_refused_and_a_moved_folder_is_the_same_data(
    done: tuple[Plan, Status], data: Path, tmp_path: Path
) -> None:
    plan, _ = done
    moved = shutil.copytree(data, tmp_path / "moved")
    out = shutil.copytree(plan.place.out, tmp_path / "out")
    there = plan_for(plan.study, out, moved, plan.place.cache)
    assert len(run_grid(there, jobs=1, deadline=0, tell=lambda status: None).results) == 4

    captions = moved / "captions.csv"
    captions.write_text(captions.read_text().replace("a red wall", "a crimson wall"))
    for start in (
        lambda plan: run_grid(plan, jobs=1, deadline=0, tell=lambda status: None),
        lambda plan: prepare(plan, deadline=0, progress=lambda stage: nullcontext(lambda done, total: None)),
    ):
        with pytest.raises(CheckpointError, match=r"mean.* holds a run on other texts or videos than those of .*moved"):
            start(there)

    # Without the videos the page of what is there can still be written.
    gone = plan_for(plan.study, out, tmp_path / "nowhere", plan.place.cache)
    assert len(run_grid(gone, jobs=1, deadline=0, tell=lambda status: None).results) == 4
    with pytest.raises(CheckpointError, match="on other texts or videos"):
        write_plan(there)

    # A folder from before digests were kept counts as it did.
    values = json.loads((out / PLAN).read_text())
    del values["digests"]
    (out / PLAN).write_text(json.dumps(values))
    assert len(run_grid(there, jobs=1, deadline=0, tell=lambda status: None).results) == 4


def test_nothing_is_generated_for_a_digest(tmp_path: Path) -> None:
    data = DataConfig(name="motions", root=str(tmp_path / "motions"))
    study = small_study(benchmark="motions")
    write_plan(Plan(study, 1, Place(tmp_path / "out", {"motions": data}, tmp_path)))
    assert not (tmp_path / "motions").exists()


def test_data_may_change_before_a_run_has_begun(data: Path, cache: Path, tmp_path: Path) -> None:
    other = shutil.copytree(data, tmp_path / "other")
    plan, there = (plan_for(small_study(), tmp_path / "out", folder, cache) for folder in (data, other))
    (other / "captions.csv").write_text((data / "captions.csv").read_text().replace("wall", "house"))
    write_plan(plan)
    before = json.loads((tmp_path / "out" / PLAN).read_text())["digests"]
    write_plan(there)
    assert json.loads((tmp_path / "out" / PLAN).read_text())["digests"] != before


def test_the_summary_is_made_of_the_ranks(done: tuple[Plan, Status]) -> None:
    plan, found = done
    summary = summarise(plan, found)
    assert [arm["name"] for arm in summary["arms"][:3]] == ["mean", "GARE", "mean | dual"]
    for arm in summary["arms"]:
        by_seed = []
        for seed in range(2):
            with np.load(plan.place.out / Run(arm["arm"], seed).folder / RANKS) as arrays:
                by_seed.append(100 * np.mean(arrays[f"strict|{arm['mode']}"] == 1))
        assert arm["metrics"]["R@1"]["by_seed"] == pytest.approx(by_seed)
        assert arm["metrics"]["R@1"]["mean"] == pytest.approx(np.mean(by_seed))
        assert arm["metrics"]["R@1"]["sd"] == pytest.approx(np.std(by_seed, ddof=1))
    names = [(row["a"], row["b"], row["metric"]) for row in summary["comparisons"]]
    metrics = ("R@1", "R@5", "MnR")
    # one caption a video and all captions are not the same queries: that pair is left out
    assert names == [(a, b, m) for a, b in (("GARE", "mean"), ("GARE | dual", "GARE")) for m in metrics]
    assert all((row["queries"], row["groups"], row["seeds"]) == (6, 3, [0, 1]) for row in summary["comparisons"])
    assert summary["missing"] == []
    assert set(summary["curves"]) == {"mean", "GARE"}


def test_an_arm_that_fails_leaves_its_reason_and_the_others_go_on(data: Path, cache: Path, tmp_path: Path) -> None:
    arms = {"wide": {"method.name": "gare", "method.temporal": "transformer"}, "mean": {"method.name": "clip4clip"}}
    plan = plan_for(small_study(arms=arms, modes={}, comparisons=(("wide", "mean"),)), tmp_path, data, cache, seeds=1)
    found = run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert list(found.results) == [Run("mean", 0)]
    assert "multiple" in found.failed[Run("wide", 0)]
    summary = summarise(plan, found)
    assert [row["reason"] for row in summary["missing"]] == [found.failed[Run("wide", 0)]]
    assert summary["comparisons"] == []
    repaired = replace(plan.study, arms={**arms, "wide": {"method.name": "gare"}})
    again = run_grid(plan._replace(study=repaired), jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert (len(again.results), again.failed) == (2, {})


def test_a_spent_budget_stops_in_the_middle_of_a_run_which_then_goes_on(
    data: Path, cache: Path, tmp_path: Path, done: tuple[Plan, Status]
) -> None:
    plan = plan_for(small_study(), tmp_path, data, cache, seeds=1)
    assert run_grid(plan, jobs=1, deadline=0.0, tell=lambda status: None).results == {}
    steps = 0

    class Clock:
        @staticmethod
        def time() -> float:
            nonlocal steps
            log = tmp_path / Run("mean", 0).folder / "log.jsonl"
            steps = len(log.read_text().splitlines()) if log.exists() else 0
            return float(steps >= 4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reelseek.study.grid.time", Clock)
        stopped = run_grid(plan, jobs=1, deadline=1.0, tell=lambda status: None)
    assert stopped.results == {}
    assert 4 <= steps < 8
    found = run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert len(found.results) == 2
    whole, _ = done
    for run in found.results:
        ours, theirs = (load_arrays(place.out / run.folder) for place in (plan.place, whole.place))
        np.testing.assert_array_equal(ours["strict|plain"], theirs["strict|plain"])
    lines = [json.loads(line) for line in (tmp_path / Run("mean", 0).folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_a_killed_process_leaves_a_study_that_goes_on(
    data: Path, cache: Path, tmp_path: Path, done: tuple[Plan, Status]
) -> None:
    plan = plan_for(small_study(), tmp_path, data, cache)
    write_plan(plan)
    words = [sys.executable, "-m", "reelseek.study.worker", str(tmp_path), "1e18", str(os.getpid())]
    worker = subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"})
    second = tmp_path / Run("GARE", 0).folder / "log.jsonl"
    try:
        until = time.monotonic() + 120
        while not second.exists() and worker.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(worker.pid, signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == -signal.SIGKILL
    left = status(plan)
    assert Run("mean", 0) in left.results
    assert len(left.results) < 4
    kept = (tmp_path / Run("mean", 0).folder / RESULT).stat().st_mtime_ns
    found = run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert len(found.results) == 4
    assert (tmp_path / Run("mean", 0).folder / RESULT).stat().st_mtime_ns == kept
    whole, _ = done
    for run in found.results:
        ours, theirs = (load_arrays(place.out / run.folder) for place in (plan.place, whole.place))
        assert ours.keys() == theirs.keys()
        for table in ours:
            np.testing.assert_array_equal(ours[table], theirs[table])


@pytest.mark.soak
def test_two_processes_share_the_runs_and_give_the_same_ranks(
    data: Path, cache: Path, tmp_path: Path, done: tuple[Plan, Status]
) -> None:
    plan = plan_for(small_study(), tmp_path, data, cache)
    seen: list[Status] = []
    found = run_grid(plan, jobs=2, deadline=FOREVER, tell=seen.append)
    assert len(found.results) == 4
    assert len(seen) >= 2
    assert seen[0].results == {}
    whole, _ = done
    for run in found.results:
        ours, theirs = (load_arrays(place.out / run.folder) for place in (plan.place, whole.place))
        np.testing.assert_array_equal(ours["strict|plain"], theirs["strict|plain"])


def test_what_runs_read_is_embedded_before_processes_start(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(small_study(), tmp_path / "out", data, tmp_path / "cache")
    stages: list[str] = []

    @contextmanager
    def progress(stage: str) -> Iterator[Any]:
        stages.append(stage)
        yield lambda done, total: None

    prepare(plan, deadline=0.0, progress=progress)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    prepare(plan, deadline=FOREVER, progress=progress)
    assert [stage.split()[0] for stage in stages] == ["embedding"] * 3  # both arms read the same videos
    monkeypatch.setattr("reelseek.embed_pipeline.decode", lambda *_, **__: pytest.fail("decoded again"))
    found = run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert (len(found.results), found.failed) == (4, {})
    prepare(plan, deadline=FOREVER, progress=lambda stage: pytest.fail("nothing is left to embed"))


def test_data_that_cannot_be_read_is_left_to_the_runs(cache: Path, tmp_path: Path) -> None:
    plan = plan_for(small_study(), tmp_path, tmp_path / "nowhere", cache)
    prepare(plan, deadline=FOREVER, progress=lambda stage: nullcontext(lambda done, total: None))
    found = run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert len(found.failed) == 4


def test_a_process_that_breaks_down_is_told(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(small_study(), tmp_path, data, cache)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ReelseekError, match="ended with code 1"):
        run_grid(plan, jobs=2, deadline=FOREVER, tell=lambda status: None)


def test_a_run_that_another_process_holds_is_passed_over(data: Path, cache: Path, tmp_path: Path) -> None:
    import fcntl

    plan = plan_for(small_study(arms={"mean": {"method.name": "clip4clip"}}, comparisons=()), tmp_path, data, cache)
    folder = tmp_path / Run("mean", 0).folder
    folder.mkdir(parents=True)
    with (folder / ".held").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert list(found.results) == [Run("mean", 1)]


def test_nobody_waiting_ends_the_work(data: Path, cache: Path, tmp_path: Path) -> None:
    plan = plan_for(small_study(), tmp_path, data, cache)
    work(plan, FOREVER, lambda: None, parent=os.getpid())  # this process is not its own parent
    assert status(plan).results == {}
    assert issubclass(OutOfTime, KeyboardInterrupt)  # what makes training save its state


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no study"):
        read_plan(tmp_path)
    (tmp_path / PLAN).write_text("{}")
    with pytest.raises(CheckpointError, match="holds no study"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"PK no zip",
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:100] + b"\xff" * 4 + whole[104:],
    ],
)
def test_damaged_ranks_are_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / RANKS, ranks=np.arange(1000), ids=np.arange(100))
    (tmp_path / RANKS).write_bytes(damage((tmp_path / RANKS).read_bytes()))
    with pytest.raises(CheckpointError, match="damaged"):
        load_arrays(tmp_path)


def test_a_failure_that_names_a_file_whose_name_is_no_text_is_kept(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ReelseekError("no video could be read: caf\udce9.mp4")

    monkeypatch.setattr("reelseek.study.grid.finish", fail)
    found = run_grid(plan_for(small_study(), tmp_path, data, cache, 1), jobs=1, deadline=FOREVER, tell=lambda _: None)
    assert set(found.failed.values()) == {"no video could be read: caf\\udce9.mp4"}


def test_the_command_from_list_to_page(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = command("study", "--list")
    assert listed.code == 0
    for name in studies.STUDIES:
        assert name in listed.out
    small = small_study(seeds=1)
    monkeypatch.setitem(studies.STUDIES, "mini", small)
    words = ["study", "mini", "--data", data, "--cache", cache, "--out", tmp_path / "out"]
    said = command(*words)
    assert said.code == 0, said
    assert "2 arms x 1 seeds = 2 runs, 3 ways of scoring" in said.out
    assert "the first run will tell" in said.out
    assert "Arms: mean; GARE." in said.out
    assert "GARE, seed 0: validation R@1" in said.out
    assert "2 of 2 runs are there" in said.out
    assert "could have been seen" in said.out
    assert "better" not in said.out
    lines = said.out.splitlines()
    for name in ("mean | dual (transductive)  ", "GARE | dual (transductive)  ", "GARE | dual - GARE (transductive)  "):
        assert any(line.strip().startswith(name) for line in lines), said.out
    assert said.out.count("transductive") == 3
    page = (tmp_path / "out" / "study.html").read_text(encoding="utf-8")
    assert "Does anything happen?" in page
    rows = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 3
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["study"]["runs"] == {"finished": 2, "planned": 2}
    plan = read_plan(tmp_path / "out")
    (tmp_path / "out" / "study.html").unlink()
    for jobs in (1, 2):
        more = command(
            *words[:2], "--data", tmp_path / "nowhere", *words[4:], "--seeds", 2, "--budget", 0, "--jobs", jobs
        )
        assert "it stops after 0 minutes" in more.out
        assert "2 of 4 runs are missing" in more.out
        assert status(plan._replace(seeds=2)).failed == {}
        assert not (tmp_path / "out" / Run("mean", 1).folder).exists()
    assert "incomplete: 2 runs missing" in (tmp_path / "out" / "study.html").read_text(encoding="utf-8")
    alone = command(*words, "--arms", "GARE")
    assert "1 arms x 1 seeds = 1 runs" in alone.out
    assert "1 of 1 runs are there" in alone.out, "a run of the whole study counts"
    rows = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    assert "--arms GARE --out" in json.loads((tmp_path / "out" / "results.json").read_text())["command"]
    more = command(*words, "--seeds", 2, "--budget", 1e-9)
    assert "2 of 4 runs are missing" in more.out
    assert "incomplete: 2 runs missing" in (tmp_path / "out" / "study.html").read_text(encoding="utf-8")


def test_the_command_puts_other_towers_below_a_study_and_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(studies.STUDIES, "mini", small_study(seeds=1))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    for towers, kept in (("small", str(tmp_path / "small")), ("openai/clip-vit-base-patch32",) * 2):
        out = tmp_path / towers.replace("/", "-") / "out"
        said = command("study", "mini", "--data", data, "--out", out, "--towers", towers, "--budget", 0)
        assert said.code == 0, said
        assert f"--towers {towers} --out" in json.loads((out / "results.json").read_text())["command"]
        assert read_plan(out).study.base == {**SMALL, "method.backbone": kept}


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    assert "Did you mean increment" in refused(2, "study", "incremnt")
    assert "name a study" in refused(2, "study")
    assert "has no arm 'GARE, slow'" in refused(2, "study", "increment", "--arms", "GARE", "GARE, slow")
    assert "--jobs must be at least 1" in refused(2, "study", "increment", "--jobs", 0)
    assert "--seeds must be at least 1" in refused(2, "study", "increment", "--seeds", 0)
    assert "--budget must be at least 0" in refused(2, "study", "increment", "--budget", -1)
    assert "name the folder of exercises with --data" in refused(2, "study", "increment-exercises")
    assert "the folder of your videos and captions with --data" in refused(2, "study", "increment-folder")
    assert "nowhere" in refused(1, "study", "increment-folder", "--data", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="Known"):
        studies.study_named("zzz")


def test_a_terminal_sees_a_table_of_the_arms(done: tuple[Plan, Status]) -> None:
    from rich.console import Console

    from reelseek.app.commands.study import _state

    plan, found = done
    half = Status({run: found.results[run] for run in list(found.results)[:3]}, {Run("GARE", 1): "it broke"}, 4, 90.0)
    console = Console(file=io.StringIO(), width=100)
    console.print(_state(plan, half))
    said = console.file.getvalue()
    assert re.search(r"mean +2 of 2 ", said)
    assert re.search(r"GARE +1 of 2, failed ", said)
    assert "3 of 4 runs are there; about 1:30.0 to go." in said


@FORKS
@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", list(studies.STUDIES))
def test_every_arm_of_every_study_trains_and_is_scored(name: str, data: Path, cache: Path, tmp_path: Path) -> None:
    """On twelve clips, without what is about the data: that every arm and way of scoring works, not what it shows."""
    study = studies.STUDIES[name]
    about_data = ("data.noise", "data.noise_rate", "benchmark", "train.batches")
    arms = {arm: {k: v for k, v in of.items() if k not in about_data} for arm, of in study.arms.items()}
    small = {**study.base, "method.width": 64, "train.epochs": 1, "train.batch_size": 4, "train.device": "cpu"}
    arms = {arm: {k: v for k, v in of.items() if k not in small} for arm, of in arms.items()}
    study = replace(study, arms=arms, base=small, benchmark="folder")
    if lacks_towers(study):
        save_small(make_small(["a red wall"], TINY_TOWERS), tmp_path / "blank")
        # a joint space has its width from the towers
        base = {key: value for key, value in study.base.items() if key != "method.width"}
        study = over_towers(replace(study, base=base), str(tmp_path / "blank"))
    plan = plan_for(study, tmp_path, data, cache, seeds=1)
    found = run_grid(plan, jobs=1, deadline=FOREVER, tell=lambda status: None)
    assert found.failed == {}
    assert len(found.results) == len(arms)
    assert len(summarise(plan, found)["comparisons"]) >= len(study.comparisons)
