"""Every command on drawn clips, from an empty folder to a trained method: what it says and what it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from cli_world import COLOURS, Said, World, build, gradient, refused, run, train_words
from index_fakes import CARD, FakeMethod, clip, update
from reelseek import __version__, embed, save_pretrained
from reelseek.app.cli import COMMANDS
from reelseek.index.switch import switch
from reelseek.methods.method import Method
from reelseek.methods.saved import load
from reelseek.recipes import RECIPES
from reelseek.recipes.parts import BENCHMARK_PARTS, METHOD_PARTS
from reelseek.records import BrokenFile
from test_checkpoint_layouts import OriginalClip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("world"))


def lines(said: Said) -> list[dict]:
    assert said.code == 0, said
    return [json.loads(line) for line in said.out.splitlines()]


def test_usage_names_every_command_and_version_is_the_package_s() -> None:
    said = run("--help")
    assert said.code == 0
    assert all(f"  {name} " in said.out for name in COMMANDS)
    assert run() == Said(2, said.out, "")
    assert run("--version") == Said(0, f"reelseek {__version__}\n", "")


def test_index_search_update_move_remove(world: World, tmp_path: Path) -> None:
    folder, index = tmp_path / "mine", tmp_path / "mine.index"
    for name in ("red", "green", "blue"):
        gradient(folder / f"{name}.mp4", COLOURS[name])
    first = run("index", folder, "--index", index)
    assert first.code == 0
    assert first.out.startswith(f"{index}: 3 added, 0 unchanged, 0 moved or copied, 0 removed, 0 set aside.\n")
    assert first.err == "indexing: 3 of 3\n"
    assert lines(run("index", folder, "--index", index, "--json"))[0]["unchanged"] == 3
    (folder / "red.mp4").rename(folder / "rot.mp4")
    (folder / "green.mp4").unlink()
    again = run("index", folder, "--index", index)
    assert "0 added, 1 unchanged, 1 moved or copied, 1 removed" in again.out
    listed = run("index", "list", "--index", index)
    assert listed.out.startswith(f"{index}: 2 files\n")
    assert [line.split()[:2] for line in listed.out.splitlines()[-2:]] == [
        [str(folder / "blue.mp4"), "ok"],
        [str(folder / "rot.mp4"), "ok"],
    ]
    said = run("index", "remove", folder / "rot.mp4", "--index", index)
    assert said.out == f"1 file taken out of {index}.\n"
    assert said.err.startswith("What still lies there comes back when its folder is indexed again")
    rows = lines(run("index", "list", "--index", index, "--json"))
    assert rows == [{"path": str(folder / "blue.mp4"), "status": "ok", "duration": 2.0, "reason": ""}]
    assert run("index", "compact", "--index", index).out.startswith(f"{index}: unused vectors are off the disk")
    assert [hit["path"] for hit in lines(run("search", "blue", "--index", index, "--json"))] == [rows[0]["path"]]
    assert "1 added, 1 unchanged" in run("index", folder, "--index", index).out
    (folder / "rot.mp4").unlink()
    assert run("index", "remove", folder / "rot.mp4", "--index", index) == Said(
        0, f"1 file taken out of {index}.\n", ""
    )


def test_looking_after_an_index_is_told_as_json_too(tmp_path: Path) -> None:
    films, index = tmp_path / "films", tmp_path / "index"
    for seed, name in enumerate(("red", "blue")):
        clip(films / f"{name}.avi", [name], seed=seed)
    update(index, films)
    told = {"index": str(index)}
    assert lines(run("index", "remove", films / "red.avi", "--index", index, "--json")) == [{**told, "removed": 1}]
    assert lines(run("index", "compact", "--index", index, "--json")) == [{**told, "compacted": True}]
    switch(index, FakeMethod(1), model_card=CARD)
    assert lines(run("index", "rollback", "--index", index, "--json")) == [{**told, "model": "fake", "lacking": 0}]


def test_search_tells_the_same_as_table_and_as_json(world: World) -> None:
    hits = lines(run("search", "a", "green", "wall", "--index", world.index, "-k", 5, "--json"))
    assert len(hits) == 5
    assert all({"path", "start", "end", "score", "peak", "probability"} <= set(hit) for hit in hits)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert all(Path(hit["path"]).is_file() and 0 <= hit["start"] <= hit["peak"] <= hit["end"] for hit in hits)
    told = run("search", "a green wall", "--index", world.index, "-k", 5)
    assert told.out.startswith("a green wall   [zero-shot over offline]\n")
    rows = told.out.splitlines()[-5:]
    assert [row.split()[1] for row in rows] == [f"{hit['score']:.3f}" for hit in hits]
    assert [Path(row.split()[-1]).name for row in rows] == [Path(hit["path"]).name for hit in hits]


def test_search_says_how_probable_a_match_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["search", "a green wall", "--index", world.index, "-k", 5, "--probability"]
    hits = lines(run(*words, "--json"))
    assert all(0 <= hit["probability"] <= 1 for hit in hits)
    for doubt, sentence in ((0.0, False), (1.1, True)):
        monkeypatch.setattr("reelseek.index.calibration.DOUBT", doubt)
        told = run(*words).out.splitlines()
        assert [line.startswith("Nothing here matches") for line in told[:3]] == [False, sentence, False]
        assert [line.split()[2:4] for line in told[-5:]] == [[f"{100 * hit['probability']:.0f}", "%"] for hit in hits]


def test_an_index_of_two_videos_tells_no_probability(tmp_path: Path) -> None:
    for name in ("red", "green"):
        gradient(tmp_path / "two" / f"{name}.mp4", COLOURS[name])
    assert run("index", tmp_path / "two", "--index", tmp_path / "index").code == 0
    assert [
        hit["probability"]
        for hit in lines(run("search", "red", "--index", tmp_path / "index", "--probability", "--json"))
    ] == [None] * 2
    told = run("search", "red", "--index", tmp_path / "index", "--probability").out
    assert [line.split()[2] for line in told.splitlines()[-2:]] == ["-", "-"]
    assert "Nothing here matches" not in told


def test_moments_are_spans_inside_their_videos(world: World) -> None:
    moments = lines(run("search", "a green wall", "--index", world.index, "-k", 50, "--moments", "--json"))
    assert len(moments) >= len(COLOURS)
    assert all(0 <= hit["start"] < hit["end"] <= 2.0 for hit in moments)


@pytest.mark.parametrize("trained", [False, True])
def test_search_explains_its_answers(world: World, tmp_path: Path, trained: bool) -> None:
    index = tmp_path / "films.index" if trained else world.index
    if trained:
        assert run("index", world.films, "--index", index, "--model", world.run).code == 0
    words = ["search", "a green wall", "--index", index, "-k", 3]
    hits = lines(run(*words, "--json"))
    told = lines(run(*words, "--explain", "--json"))
    assert [{key: value for key, value in row.items() if key != "explanation"} for row in told] == hits
    for row in told:
        why = row["explanation"]
        assert sum(frame["contribution"] for frame in why["frames"]) + why["rest"] == pytest.approx(
            row["score"], abs=1e-5
        )
        assert [word["text"] for word in why["words"]] == ["a", "green", "wall"]
        assert (why["increment"] is not None) == trained
    said = run(*words, "--explain")
    assert said.code == 0
    blocks = said.out.split("\n\n")
    assert len(blocks) == 5  # the title, three answers, how to read them
    for block, row in zip(blocks[1:4], told, strict=True):
        answer, frames, words_line, *more = block.splitlines()
        assert answer.split()[1] == f"{row['score']:.3f}"
        assert Path(answer.split()[-1]).name == Path(row["path"]).name
        best = max(row["explanation"]["frames"], key=lambda frame: frame["contribution"])
        assert f"{best['contribution']:+.4f}" in frames
        assert words_line.split()[1::2] == ["a", "green", "wall"]
        assert [line.split()[0] for line in more] == (["increment"] if trained else [])


def test_moments_are_explained_too(world: World) -> None:
    words = ["search", "a green wall", "--index", world.index, "-k", 50, "--moments", "--json"]
    plain, explained = lines(run(*words)), lines(run(*words, "--explain"))
    assert len(plain) == len(explained) > 0
    assert all(row["explanation"]["score"] == pytest.approx(row["score"], abs=2e-6) for row in explained)


def test_embed_runs_the_towers_once(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["embed", "gare-folder", "--data", world.films, "--cache", tmp_path / "cache"]
    first = run(*words)
    assert first.code == 0
    assert first.out.splitlines()[-1] == f"cache: {tmp_path / 'cache'}"
    assert "films train: 6 videos, 12 texts" in first.out
    assert "films test: 3 videos, 6 texts" in first.out
    monkeypatch.setattr("reelseek.embed_pipeline.decode", None)
    again = run(*words)
    assert (again.code, again.out) == (first.code, first.out)


def trained_parameters(method: Method) -> int:
    return sum(p.numel() for name, p in method.named_parameters() if not name.startswith("backbone."))


def test_a_model_that_is_no_run_folder_has_its_parameters_too(world: World, tmp_path: Path) -> None:
    method = load(str(world.run))
    save_pretrained(method, tmp_path / "saved")
    words = ["--data.name", "folder", "--data", world.films, "--cache", world.cache, "--evaluate.bootstrap", 0]
    found = run("evaluate", tmp_path / "saved", *words, "--json")
    assert found.code == 0, found
    assert json.loads(found.out)["runs"][0]["parameters"] == trained_parameters(method) > 1


def test_train_evaluate_index_search(world: World, tmp_path: Path) -> None:
    assert world.trained.code == 0, world.trained
    assert world.trained.out.startswith(f"{world.run}: 6 steps in ")
    assert "validation R@1" in world.trained.out
    assert world.trained.out.endswith(f"Next: reelseek evaluate {world.run}\n")
    method = load(str(world.run))
    assert method.name == "gare"
    assert "films train" in method.trained_on

    found = run("evaluate", world.run, "--cache", world.cache, "--against", "offline", "--out", tmp_path / "eval")
    assert found.code == 0, found
    assert found.out.startswith("films test (t -> v: text to video)\n")
    assert "6 texts and 3 videos found" in found.out
    assert f"R@1: {world.run} minus offline = " in found.out
    written = tmp_path / "eval"
    assert {path.name for path in written.iterdir()} == {
        "results.json", "report.html", "metrics.csv", "run.trec", "qrels.trec",
    }  # fmt: skip
    results = json.loads((written / "results.json").read_text())
    assert [row["name"] for row in results["runs"]] == [str(world.run), "offline"]
    assert results["runs"][0]["protocol"]["texts_found"] == 6
    assert [row["parameters"] for row in results["runs"]] == [trained_parameters(method), 0]
    assert f"{results['runs'][0]['metrics']['text_to_video']['R@1']:.1f}" in found.out

    page = tmp_path / "other.html"
    assert run("report", written / "results.json", "--out", page) == Said(0, f"{page}\n", "")
    assert run("report", written, "--out", page) == Said(0, f"{page}\n", "")
    assert str(world.run) in page.read_text()
    assert "3 groups" in page.read_text()  # two captions of each video
    assert "Recorded but not shown" not in page.read_text()

    index = tmp_path / "trained.index"
    assert run("index", world.films, "--index", index, "--model", world.run).code == 0
    told = run("search", "a green wall", "--index", index, "-k", 3)
    assert "[gare over offline]" in told.out
    scores = [hit["score"] for hit in lines(run("search", "a green wall", "--index", index, "-k", 12, "--json"))]
    assert len(scores) == 12
    with_towers = lines(run("search", "a green wall", "--index", world.index, "-k", 12, "--json"))
    assert scores != [hit["score"] for hit in with_towers]
    # Without --model, the index knows its own.
    assert run("index", world.films, "--index", index).out.startswith(f"{index}: 0 added, 12 unchanged")


def test_evaluation_takes_the_run_s_settings_unless_told_otherwise(world: World) -> None:
    words = ["evaluate", world.run, "--cache", world.cache]
    assert "ties against" in run(*words).out
    other = run(*words, "--split", "val", "--evaluate.ties", "mean", "--evaluate.rescoring", "dual_softmax")
    assert other.out.startswith("films val ")
    assert "ties mean" in other.out
    assert "TRANSDUCTIVE" in other.out


@pytest.fixture(scope="module")
def other_run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that looks at three frames from first to last, and is to be evaluated with dual softmax."""
    out = tmp_path_factory.mktemp("other") / "run"
    words = ["--sample.frames", 3, "--sample.policy", "uniform", "--evaluate.rescoring", "dual_softmax"]
    assert run(*train_words(world.films, world.cache, out), *words).code == 0
    return out


def test_the_second_model_is_sampled_as_it_was_trained(world: World, other_run: Path, tmp_path: Path) -> None:
    words = ["evaluate", world.run, "--cache", world.cache, "--against", other_run, "--out", tmp_path]
    said = run(*words)
    assert said.code == 0, said
    first, second = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [(row["protocol"]["frames"], row["protocol"]["sampling"]) for row in (first, second)] == [
        (12, "middle"), (3, "uniform"),
    ]  # fmt: skip
    for name, sampled in ((world.run, "12 frames (middle)"), (other_run, "3 frames (uniform)")):
        line = next(line for line in said.out.splitlines() if line.startswith(f"{name}: films test: "))
        assert f"; {sampled}; " in line
    alone = ["evaluate", other_run, "--cache", world.cache, "--evaluate.rescoring", "none", "--out", tmp_path / "alone"]
    assert run(*alone).code == 0
    record = json.loads((tmp_path / "alone" / "results.json").read_text())["runs"][0]
    assert record["metrics"] == second["metrics"]
    assert record["similarity"] == second["similarity"]
    assert record["similarity"] != first["similarity"]


def test_what_one_models_sampling_cannot_read_is_missing_for_both(
    world: World, other_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, damaged = embed.embed_files, []

    def some(method: object, paths: list[Path], *rest: object, sampling_key: str, **named: object) -> Iterator[object]:
        damaged.append(paths[0])
        for path, found in zip(paths, real(method, paths, *rest, sampling_key=sampling_key, **named), strict=True):
            whole = path != damaged[0] or not sampling_key.startswith("uniform")
            yield found if whole else BrokenFile(path, f"{path}: its end is damaged")

    monkeypatch.setattr(embed, "embed_files", some)
    said = run("evaluate", world.run, "--cache", world.cache, "--against", other_run, "--out", tmp_path)
    assert said.code == 0, said
    results = json.loads((tmp_path / "results.json").read_text())
    for row in results["runs"]:
        counts = [row["protocol"][name] for name in ("videos_found", "texts_found", "videos_missing", "texts_missing")]
        assert counts == [2, 4, 1, 2]
    assert [file["path"] for file in results["broken"]] == [str(damaged[0])]
    assert "Videos that either model's sampling could not read are missing for both." in results["notes"]


def test_rules_that_the_second_model_alone_has_are_said(world: World, other_run: Path, tmp_path: Path) -> None:
    words = ["evaluate", world.run, "--cache", world.cache, "--against", other_run]
    said = run(*words, "--out", tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["protocol"]["rescoring"] for row in results["runs"]] == ["none", "none"]
    note = (
        f"{other_run} alone has evaluate.rescoring dual_softmax, not none: a paired test scores both alike, here as "
        f"{world.run}."
    )
    assert note in said.out.splitlines()
    assert note in results["notes"]
    assert "a paired test scores" not in run(*words, "--evaluate.rescoring", "dual_softmax").out
    assert "a paired test scores" not in run(*words[:-1], "offline").out


def test_sampling_that_is_asked_for_holds_for_both(world: World, other_run: Path, tmp_path: Path) -> None:
    words = ["evaluate", world.run, "--cache", world.cache, "--against", other_run, "--out", tmp_path]
    assert run(*words, "--sample.frames", 2).code == 0
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    sampled = [(row["protocol"]["frames"], row["protocol"]["sampling"]) for row in runs]
    assert sampled == [(2, "middle"), (2, "uniform")]


def test_a_model_by_name_is_sampled_as_the_first_one(world: World, other_run: Path, tmp_path: Path) -> None:
    words = ["evaluate", other_run, "--cache", world.cache, "--against", "offline", "--out", tmp_path]
    said = run(*words)
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [row["protocol"]["frames"] for row in runs] == [3, 3]
    assert len([line for line in said.out.splitlines() if "frames (uniform)" in line]) == 1


def test_a_zero_shot_model_is_scored_on_named_data(world: World) -> None:
    words = ["--data.name", "folder", f"--data={world.films}", "--cache", world.cache]
    assert "6 texts and 3 videos found" in run("evaluate", "offline", *words).out
    assert run("evaluate", *words, "offline").code == 0


def test_a_finished_training_is_not_done_again(world: World) -> None:
    weights = (world.run / "model.safetensors").read_bytes()
    again = run(*world.train_words)
    assert again.code == 0
    assert again.out.startswith(f"{world.run}: was trained before; ")
    assert (world.run / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("option", "value"), [("--train.epochs", 3), ("--loss.kl_weight", 0.5), ("--sample.frames", 6)]
)
def test_another_setting_in_the_same_run_is_refused(world: World, option: str, value: float) -> None:
    sentence = refused(1, *world.train_words, option, value)
    assert "holds a run with other settings" in sentence
    assert f"now {value}" in sentence


def test_the_recipe_counts_wherever_it_stands(world: World, tmp_path: Path) -> None:
    _, recipe, *options = train_words(world.films, world.cache, tmp_path / "run")
    assert run("train", *options, "--train.epochs", 1, recipe).code == 0
    settings = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert settings["data"]["name"] == "folder"
    assert settings["train"]["learning_rate"] == RECIPES["gare-folder"]().train.learning_rate


def test_yaml_goes_over_the_recipe_and_later_options_over_both(world: World, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train:\n  learning_rate: 0.5\n  epochs: 7\nmethod:\n  width: 8\n")
    said = run("train", "gare-folder", "--config", file, "--train.epochs", 9, "--print_config")
    assert said.code == 0
    settings = yaml.safe_load(said.out)
    assert settings["train"]["learning_rate"] == 0.5
    assert settings["train"]["epochs"] == 9
    assert settings["method"]["width"] == 8
    assert settings["data"]["name"] == "folder"
    before = run("train", "gare-folder", "--train.epochs", 9, "--config", file, "--print_config")
    assert yaml.safe_load(before.out)["train"]["epochs"] == 7


def test_a_run_s_settings_file_makes_the_same_run(world: World, tmp_path: Path) -> None:
    words = ["--config", world.run / "settings.yaml", "--cache", world.cache, "--out", tmp_path / "again"]
    assert run("train", "clip4clip-meanp-motions", *words).code == 0
    assert load(str(tmp_path / "again")).id == load(str(world.run)).id


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--train.epocs", "3"], "--train.epocs 3. Did you mean --train.epochs?"),
        (["--train.lr", "3"], "The settings of train are epochs, batch_size,"),
        (["--otu", "x"], "Did you mean --out?"),
        (["--train.epochs", "three"], "train.epochs must be a whole number, not 'three'."),
        (["--train.device", "gpu"], "train.device must be one of auto, cpu, cuda, mps, not 'gpu'."),
        (["--sample.keyframes", "maybe"], "sample.keyframes must be true or false, not 'maybe'."),
        (["--train.epochs", "0"], "train.epochs must be at least 1, not 0."),
        (["--train.batch_size", "1"], "train.batch_size must be at least 2, not 1."),
        (["--evaluate.bootstrap", "1"], "evaluate.bootstrap must be at least 2, or 0 for no intervals, not 1."),
        (["--sample.fps", "-1"], "sample.fps must be above 0, not -1.0."),
        (["--train.warmup", "1"], "train.warmup must be below 1, not 1.0."),
        (["--train.seed", "-1"], "train.seed must be at least 0, not -1."),
        (["--train.epochs", "6", "--train.schedule_epochs", "5"], "train.schedule_epochs 5 of 6 epochs: the rate of"),
        (["--loss.kl_weight", "-1"], "loss.kl_weight must be at least 0, not -1.0."),
        (["--loss.alpha", "0"], "loss.alpha must be above 0, not 0.0."),
        (["--method.name", "garre"], "there is no method 'garre'. Did you mean gare?"),
        (["--data.name", "motion"], "Did you mean 'motions'?"),
        (["--config", "nowhere.yaml"], "--config: there is no file"),
        (["--data"], "--data.root: expected one argument."),
    ],
)
def test_wrong_settings_are_one_sentence(words: list[str], sentence: str) -> None:
    assert sentence in refused(2, "train", "gare-folder", *words)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train:\n  epocs: 3\n", "option 'epocs'. Did you mean train.epochs?"),
        ("trian:\n  epochs: 3\n", "ption 'trian.epochs' is not accepted. Did you mean train.epochs?"),
        ("train:\n  epochs: many\n", "train.epochs must be a whole number, not 'many'."),
        ("train: 5\n", "train must hold settings by name, not 5."),
        ("train: [1, 2\n", "--config: it must be YAML with settings by section"),
        ("nothing\n", "--config: it must be YAML with settings by section"),
    ],
)
def test_wrong_yaml_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert sentence in refused(2, "train", "gare-folder", "--config", tmp_path / "a.yaml")


@pytest.mark.parametrize("command", ["train", "embed"])
def test_an_unknown_recipe_gets_the_nearest_one(command: str) -> None:
    assert "there is no recipe 'gare-motion'. Did you mean gare-motions?" in refused(2, command, "gare-motion")
    assert "Known are METHOD-BENCHMARK, with METHOD one of clip4clip-meanp," in refused(2, command, "zzz")
    assert "RECIPE is needed" in refused(2, command)
    assert "SOURCE and TARGET are needed" in refused(2, "convert")


def test_help_of_a_recipe_s_command_names_all_recipes_and_settings() -> None:
    said = run("train", "--help")
    assert said.code == 0
    joined = "".join(said.out.split())
    assert all(name in joined for name in (*METHOD_PARTS, *BENCHMARK_PARTS))
    assert "--train.epochs EPOCHS" in said.out
    assert said.out.count("(default: offline)") == 1
    assert "(default: lstm)" in run("train", "clip4clip-seqlstm-motions", "--help").out
    assert run("help", "search").out == run("search", "--help").out
    assert run("help", "serch").code == 2
    assert "[]" not in run("search", "--help").out  # no default: nothing is there unless it is given


def test_all_recipes_are_listed_as_a_table() -> None:
    said = run("train", "--list")
    assert said.code == 0
    for name in BENCHMARK_PARTS:
        assert f"METHOD-{name} " in said.out
    assert f"METHOD is one of {', '.join(METHOD_PARTS)}." in said.out


def test_a_form_and_a_preset_change_the_settings() -> None:
    def settings(*words: str) -> dict[str, dict[str, object]]:
        said = run("train", "gare-msrvtt", *words, "--print_config")
        assert said.code == 0, said
        return yaml.safe_load(said.out)

    assert settings()["train"]["optimizer"] == "adamw"
    assert settings("--form", "paper")["train"]["optimizer"] == "bertadam"
    assert settings("--form=paper", "--preset", "as-described")["loss"]["kl_weight"] == 0.07
    assert settings("--preset=as-released", "--loss.kl_weight", "0.5")["loss"]["kl_weight"] == 0.5
    released = ["--preset", "as-released"]
    for words, counted in (
        (released, 12),
        ([*released, "--sample.frames", "24"], 24),
        (["--form", "paper", "--sample.frames=24"], 24),
        (["--method.padding", "counted"], 12),
        ([*released, "--method.padding", "masked"], 0),
        ([*released, "--method.counted_frames", "9"], 9),  # for training to refuse
    ):
        assert settings(*words)["method"]["counted_frames"] == counted
    assert "The forms are clean and paper" in refused(2, "train", "gare-msrvtt", "--form", "papr")
    assert "no paper form over frozen" in refused(2, "train", "gare-motions", "--form", "paper")
    assert "as-described" in refused(2, "train", "gare-msrvtt", "--preset", "as-descibed")


def test_settings_of_a_run_are_a_config_for_evaluate(world: World) -> None:
    file = world.run / "settings.yaml"
    words = ["--cache", world.cache, "--device", "cpu"]
    plain, given = (run("evaluate", world.run, *words, *more) for more in ([], ["--config", file]))
    assert given.code == 0, given
    assert given.out == plain.out
    assert run("evaluate", world.run, *words, f"--config={file}", "--evaluate.ties", "mean").code == 0
    wrong = world.run.parent / "wrong.yaml"
    wrong.write_text("method:\n  name: gare\nevaluate:\n  tise: mean\n")
    assert "evaluate.ties" in refused(2, "evaluate", world.run, "--config", wrong)


def test_an_unknown_command_gets_the_nearest_one() -> None:
    assert run("trian") == Said(2, "", "reelseek: there is no command 'trian'. Did you mean train?\n")
    assert "The commands are demo, embed, index" in run("zzz").err


def test_convert_writes_a_folder_that_is_listed_whole(tmp_path: Path) -> None:
    weights = OriginalClip().state_dict()
    torch.save(weights | {"surplus.weight": torch.ones(2)}, tmp_path / "weights.pt")
    said = run("convert", tmp_path / "weights.pt", tmp_path / "model")
    assert said.code == 0
    assert "openai layout" in said.out
    assert "missing: 0\n" in said.out
    assert "unexpected: 1\n  surplus.weight\n" in said.out
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "clip"


def test_doctor_finds_everything_here() -> None:
    said = run("doctor")
    assert said.code == 0, said
    assert "frames a second" in said.out
    assert said.err == ""


def test_doctor_tells_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    from reelseek.app.commands import doctor

    monkeypatch.setattr(doctor, "PARTS", ("no-such-package", "av"))
    monkeypatch.setattr(doctor, "CHECKS", {})
    said = run("doctor", "--json")
    assert said.code == 1
    states = {row["part"]: row["state"] for row in json.loads(said.out)}
    assert states["no-such-package"] == "MISSING"
    assert states["av"] == "ok"


def test_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from reelseek.app.commands import doctor

    monkeypatch.setattr(doctor, "PARTS", ("no-such-package", "av"))
    monkeypatch.setattr(doctor, "CHECKS", {})
    said = run("doctor")
    assert said.code == 1
    assert "MISSING" in next(line for line in said.out.splitlines() if "no-such-package" in line)
    assert "pip install" in said.err


def test_doctor_has_a_row_for_every_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    from reelseek.app.commands import doctor

    needs = [
        "torch>=2.6", "there==1.0; extra == 'whole'", 'other-one[x]<2,>=1; python_version > "3" and extra == "half"',
        "there>=1; extra == 'half'", "gone-1; extra == 'half'", "there; extra == 'dev'",
    ]  # fmt: skip

    def version(name: str) -> str:
        if name != "there":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.5"

    monkeypatch.setattr(doctor, "CHECKS", {})
    monkeypatch.setattr(doctor, "PARTS", ("there",))
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", {"reelseek": needs}.__getitem__)
    said = run("doctor")
    assert said.code == 0, said
    rows = [" ".join(line.split()) for line in said.out.splitlines() if line.startswith("extra ")]
    assert rows == [
        'extra half other-one and gone-1 not installed: pip install "reelseek[half]" absent',
        "extra whole there 1.5 ok",
    ]


def test_evaluate_refuses_videos_that_the_run_has_seen(world: World) -> None:
    captions = (world.films / "captions.csv").read_text()
    moved = world.films / "moved.csv"
    moved.write_text(captions.replace("red,a red wall,train", "red,a red wall,test").replace(
        "red,something red in the light,train", "red,something red in the light,test"
    ))  # fmt: skip
    sentence = refused(1, "evaluate", world.run, "--cache", world.cache, "--data.captions", moved)
    assert "1 " in sentence
