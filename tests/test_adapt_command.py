"""`reelseek adapt` and `reelseek evaluate` of an index, end to end on drawn clips: switching, refusing, taking back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cli_world
from adapt_toy import CLIPS, colours, library, mark, mark_all, query_of, toy
from cli_world import Said, refused, run
from reelseek.adapt import choose as choosing
from reelseek.adapt.learn import Setting
from reelseek.adapt.outcome import Outcome
from reelseek.app import models
from reelseek.app.service import Service
from reelseek.data.pairs import Pairs
from reelseek.errors import DataError, IndexMismatch, NotAnIndex
from reelseek.index import cards, upkeep
from reelseek.index.cards import MARKS
from reelseek.index.judged import judged
from reelseek.index.marks import read_marks
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.index.store import list_files
from reelseek.index.switch import roll_back, switch_texts
from reelseek.methods import METHODS
from reelseek.methods.text_head import base_of, load_head
from reelseek.rank.metrics import mean_reciprocal_rank, metrics_of_ranks
from reelseek.recipes.run import SEEN, refuse_seen


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("toy"), toy())


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "index"))


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    load = models.load_method

    def toys(name: str, device: str):
        return toy("zero-shot" if name == "toy" else name) if name == "toy" or name in METHODS else load(name, device)

    monkeypatch.setattr(models, "load_method", toys)
    monkeypatch.setattr("reelseek.app.commands.index.load_method", toys, raising=False)
    monkeypatch.setattr(choosing, "SETTINGS", (Setting(8, 0.0),))
    monkeypatch.setattr(choosing, "STOPS", (20, 60))


def answers(index: Path) -> list[str]:
    queries = [query_of(colour) for colour in colours()[:5]]
    return [run("search", query, "--index", index, "--json", "-k", CLIPS).out for query in queries]


def first_hits(index: Path) -> int:
    queries = [query_of(colour) for colour in colours()]
    hits = [json.loads(run("search", query, "--index", index, "--json", "-k", 1).out) for query in queries]
    return sum(Path(hit["path"]).stem == f"{number:02d}" for number, hit in enumerate(hits))


def test_it_switches_and_everything_answers_from_the_head_and_back(index: Path) -> None:
    mark_all(index)
    before, hits, old = answers(index), first_hits(index), cards.open_index(index)
    said = run("adapt", "--index", index)
    assert said.code == 0, said
    assert "It helps: the interval of the difference" in said.out
    assert "`reelseek index rollback` takes that back" in said.out
    assert "before and after, on queries that nothing was learnt from" in said.out
    card = cards.open_index(index)
    assert (card.folder, card.config, card.width, card.model["source"]) == (old.folder, old.config, old.width, "toy")
    assert card.model["id"] != old.model["id"]
    assert card.model["name"] == "zero-shot over toy, taught"
    assert "; head: " in card.model["trained_on"]
    assert answers(index) != before
    assert first_hits(index) > hits + 5
    assert run("search", query_of(colours()[0]), "--index", index, "--explain", "-k", 1).code == 0
    measured = run("evaluate", index)
    assert measured.code == 0, measured
    assert "; head: " in measured.out
    films = list_files(index)[0].path.parent
    assert "0 added, 40 unchanged" in run("index", films, "--index", index).out  # the vectors stay valid
    assert run("index", "rollback", "--index", index).code == 0
    assert answers(index) == before
    assert cards.open_index(index).model == old.model
    assert run("index", "rollback", "--index", index).code == 0
    assert first_hits(index) > hits + 5


def test_the_numbers_of_json_and_the_page_of_a_dry_run(index: Path) -> None:
    mark_all(index)
    card = (index / cards.CARD).read_bytes()
    said = run("adapt", "--index", index, "--dry-run", "--json")
    assert said.code == 0
    told = json.loads(said.out)
    assert (told["helps"], told["switched"], told["head"], told["ties"]) == (True, False, "", "against")
    assert told["learnt_from"]["marks"] + told["judged_by"]["marks"] == CLIPS
    before, after = told["held_out"]
    assert after["MRR"] - before["MRR"] == pytest.approx(told["difference"]["difference"])
    assert told["difference"]["groups"] == told["judged_by"]["marks"] == before["queries"]
    assert (index / cards.CARD).read_bytes() == card
    assert not list(index.glob("head-*"))
    assert "Nothing was changed (--dry-run)." in run("adapt", "--index", index, "--dry-run").out


def test_shuffled_marks_are_refused(index: Path) -> None:
    mark_all(index, shuffled=True)
    card = (index / cards.CARD).read_bytes()
    said = run("adapt", "--index", index)
    assert said.code == 1
    assert "Nothing was changed: the index answers as before." in said.out
    assert "MRR (100 x mean of 1 / rank), after minus before:" in said.out
    assert (index / cards.CARD).read_bytes() == card
    assert not list(index.glob("head-*"))


def test_too_little_is_refused(index: Path) -> None:
    assert "nothing to learn from" in refused(1, "adapt", "--index", index)
    for number in range(20):
        mark(index, query_of(colours()[number]), number, good=False)
    assert "nothing to learn from (20 marked queries" in refused(1, "adapt", "--index", index)
    mark(index, query_of(colours()[0]), 0)
    assert "1 marked queries and captions are too few" in refused(1, "adapt", "--index", index)
    assert "there is no index here" in refused(1, "adapt", "--index", index.parent / "absent")


def test_captions_alone_teach_too(index: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    lines = [f"{number:02d}.avi,{query_of(colour)}" for number, colour in enumerate(colours())]
    table.write_text("\n".join(["video,caption", *lines, "absent.avi,nothing"]) + "\n")
    said = run("adapt", "--index", index, "--captions", table, "--json")
    assert said.code == 0, said
    told = json.loads(said.out)
    assert told["learnt_from"]["captions"] + told["judged_by"]["captions"] == CLIPS
    assert told["notes"] == [f"{table}: 1 captions of videos that the index does not hold."]
    table.write_text("no table")
    assert "captions.csv" in refused(1, "adapt", "--index", index, "--captions", table)


def test_marks_of_files_that_left_are_counted_and_not_used(index: Path) -> None:
    mark_all(index)
    upkeep.remove(index, [list_files(index)[0].path])
    said = run("adapt", "--index", index, "--dry-run")
    assert "1 marked queries have no right video in the index" in said.out
    assert "2 marks are of files that the index does not hold now." in said.out


class Killed(BaseException):
    pass


def test_dying_between_head_and_switch_leaves_the_index_as_it_was(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_all(index)
    before = answers(index)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(cards, "create", die)
        with pytest.raises(Killed):
            run("adapt", "--index", index)
    assert len(list(index.glob("head-*"))) == 1
    assert answers(index) == before
    assert run("adapt", "--index", index).code == 0
    assert answers(index) != before
    (head,) = index.glob("head-*")
    (index / "head-0123").mkdir()
    upkeep.compact(index)
    assert list(index.glob("head-*")) == [head]
    assert run("search", "colour 1 2 3", "--index", index).code == 0


def test_compacting_after_a_rollback_takes_the_head_off_the_disk(index: Path) -> None:
    mark_all(index)
    assert run("adapt", "--index", index).code == 0
    roll_back(index)
    upkeep.compact(index)
    assert not list(index.glob("head-*"))
    assert len(answers(index)) == 5


def test_a_head_that_the_model_is_named_by_is_not_compacted_away(index: Path) -> None:
    mark_all(index)
    assert run("adapt", "--index", index).code == 0
    card = cards.open_index(index)
    head = index / str(card.model["head"])
    model = {key: value for key, value in card.model.items() if key != "head"} | {"source": str(head)}
    cards.create(replace(card, model=model, previous=None))
    (index / "head-0123").mkdir()
    upkeep.compact(index)
    assert list(index.glob("head-*")) == [head]


def test_what_was_learnt_below_a_head_counts(index: Path, tmp_path: Path) -> None:
    mark_all(index)
    assert run("adapt", "--index", index).code == 0
    head = str(index / str(cards.open_index(index).model["head"]))
    assert base_of(head) == "toy"
    assert base_of(str(tmp_path)) == str(tmp_path)
    pairs = Pairs("films test", ("red",), ("1",), np.array([0]), ("a",), (tmp_path / "a.mp4",), corpus="films")
    below = toy()
    below.run = {"files": {SEEN: json.dumps({"corpus": "films", "videos": ["a"]})}}
    for method in (below, load_head(Path(head), lambda name: below)):
        with pytest.raises(DataError, match="were in the training set"):
            refuse_seen(method, pairs)


def test_a_second_adapt_starts_from_the_method_below(index: Path) -> None:
    mark_all(index, 36)
    assert run("adapt", "--index", index).code == 0
    first = cards.open_index(index)
    mark_all(index)
    said = run("adapt", "--index", index, "--json")
    told = json.loads(said.out)
    assert [row["model"] for row in told["held_out"]] == ["no head", "before", "after"]
    learnt = json.loads((index / first.model["head"] / "config.json").read_text())["report"]["learnt"]
    assert len(learnt) + told["judged_by"]["marks"] >= 36
    assert first.model["trained_on"].count("; head: ") == 1


def test_a_moved_index_finds_its_head(index: Path, tmp_path: Path) -> None:
    mark_all(index)
    assert run("adapt", "--index", index).code == 0
    before = answers(index)
    moved = index.rename(tmp_path / "moved")
    assert answers(moved) == before


def test_other_settings_keep_the_head_and_another_model_does_not(index: Path) -> None:
    mark_all(index)
    assert run("adapt", "--index", index).code == 0
    head = cards.open_index(index).model["head"]
    assert run("index", "switch", "--index", index, "--fps", 4).code == 0
    card = cards.open_index(index)
    assert (card.model["head"], card.config.fps) == (head, 4.0)
    assert run("search", "colour 1 2 3", "--index", index).code == 0
    assert run("index", "switch", "--index", index, "--model", "clip4clip").code == 0
    assert "head" not in cards.open_index(index).model
    assert run("search", "colour 1 2 3", "--index", index).code == 0


def test_a_server_answers_with_the_head_without_a_new_start(index: Path) -> None:
    mark_all(index)

    def again() -> Searcher:
        card = cards.open_index(index)
        return Searcher(card, models.method_of_index(card, "", "cpu"))

    service = Service(again(), again=again)
    asked = Query(query_of(colours()[3]))
    before = service.ask(asked, 3)
    assert run("adapt", "--index", index).code == 0
    assert [answer.score for answer in service.ask(asked, 3)] != [answer.score for answer in before]
    assert "taught" in service.status()["model"]


def test_an_index_that_has_another_model_by_now_is_left_alone(index: Path) -> None:
    with pytest.raises(IndexMismatch):
        switch_texts(index, "new", before="another", model_card={})


@pytest.mark.parametrize("name", ["../elsewhere", "head-", "head-XYZ", 3])
def test_a_card_cannot_name_a_head_elsewhere(index: Path, name: object) -> None:
    card = json.loads((index / cards.CARD).read_text())
    card["model"]["head"] = name
    (index / cards.CARD).write_text(json.dumps(card))
    with pytest.raises(NotAnIndex, match="is no head of an index"):
        cards.head_folder(cards.open_index(index))
    assert "is no head of an index" in refused(1, "search", "red", "--index", index)


def test_evaluating_an_index_by_its_marks(index: Path, tmp_path: Path) -> None:
    mark_all(index, 12)
    mark(index, query_of(colours()[0]), 20, peak=1.0)
    mark(index, "colour 9 9 9", 5, good=False)
    said = run("evaluate", index, "--out", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    told = run("evaluate", index, "--json")
    assert json.loads(told.out)["runs"] == written["runs"]
    assert "queries over" in told.err
    assert said.code == 0, said
    assert f"marks of {index} (text to video; MRR: 100 x mean of 1 / rank)" in said.out
    for part in (
        "12 queries over 40 videos (0 others left out)",
        "13 marks right, 13 wrong",
        "unjudged videos count as not right",
        "ties against",
        "2 frames a second in segments of at most 2",
        "Left out: 1 queries without a right video here, 0 marks of files that are not here.",
        "of 12 first answers",
    ):
        assert part in said.out, said.out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    (record,) = results["runs"]
    method, card = toy(), cards.open_index(index)
    searcher = Searcher(card, method)
    expected = []
    for query in judged(read_marks(index), [row.content_hash for row in list_files(index)]).queries:
        order = [hit.path for hit in searcher.search(query.text, CLIPS, coarse=1000)]
        hashes = {str(row.path): row.content_hash for row in list_files(index)}
        expected.append(min(place for place, path in enumerate(order, 1) if hashes[path] in query.right))
    assert record["ranks"] == expected
    values = record["metrics"]["text_to_video"]
    assert values["MRR"] == pytest.approx(mean_reciprocal_rank(np.array(expected)))
    assert {**values, **metrics_of_ranks(np.array(expected))} == values
    low, high = record["intervals"]["text_to_video"]["MRR"]
    assert low <= values["MRR"] <= high
    qrels = (tmp_path / "out" / "qrels.trec").read_text().splitlines()
    assert len(qrels) == 13
    assert "unjudged videos count as not right" in (tmp_path / "out" / "report.html").read_text()


def evaluate_two(a: Path, b: Path, *more: object) -> Said:
    said = run("evaluate", a, "--against", b, *more)
    assert said.code == 0, said
    return said


def test_two_indexes_are_compared_on_what_both_hold(index: Path, tmp_path: Path) -> None:
    mark_all(index, 30)
    other = Path(shutil.copytree(index, tmp_path / "other"))
    (other / MARKS).unlink()
    upkeep.remove(other, [list_files(other)[0].path])
    same = evaluate_two(index, other)
    assert "29 queries over 39 videos (1 others left out)" in same.out
    assert "29 queries over 39 videos (0 others left out)" in same.out
    assert f"MRR: {index} minus {other} = +0.0 [+0.0, +0.0], p = 1.000 - no difference seen" in same.out
    assert "Marks favour the model whose answers were marked" in same.out
    assert "none calls a video right" in refused(1, "evaluate", other)
    assert "29 queries over 39 videos" in run("evaluate", other, "--marks", index).out
    assert run("adapt", "--index", index).code == 0
    better = evaluate_two(index, other).out
    assert "MRR: " in better
    assert " = +" in better.split("MRR: ")[-1]


def test_files_of_equal_content_are_one_video(index: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    row = list_files(index)[0]
    films.mkdir()
    shutil.copy(row.path, films / "copy.avi")
    assert run("index", films, "--index", index).code == 0
    assert len(list_files(index)) == CLIPS + 1
    mark_all(index, 3)
    assert "3 queries over 40 videos" in run("evaluate", index).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--against", "offline"], "offline: is no index"),
        (["--data", "films"], "leave out --data and --split"),
        (["--split", "val"], "leave out --data and --split"),
        (["--data.size", "3"], "leave out --data and --split"),
        (["--sample.frames", "8"], "leave out --sample. settings"),
        (["--evaluate.rescoring", "csls"], "measured as it is searched"),
        (["--evaluate.ties", "clip4clip"], "measured as it is searched"),
    ],
)
def test_what_does_not_go_with_an_index(index: Path, words: list[str], said: str) -> None:
    mark_all(index, 3)
    assert said in refused(2, "evaluate", index, *words)


def test_marks_measure_indexes_alone(index: Path) -> None:
    assert "is no index" in refused(2, "evaluate", "offline", "--marks", index)
    assert "is no index" in refused(2, "evaluate", "offline", "--against", index)


def test_an_index_in_the_working_directory_is_nobody_s_comparison(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(index)
    assert "absent" in refused(1, "evaluate", "offline", "--data.name", "folder", "--data", "absent")


def test_the_offline_model_and_a_trained_run_can_be_taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = cli_world.build(tmp_path)
    monkeypatch.setattr(Outcome, "helps", property(lambda self: True))
    choice = choosing.Choice(Setting(8, 0.0), 20, 0.0, 1.0)
    monkeypatch.setattr("reelseek.adapt.outcome.choose", lambda *_: choice)
    trained = tmp_path / "trained.index"
    assert run("index", world.films, "--index", trained, "--model", world.run).code == 0
    for place in (world.index, trained):
        for number in range(30):
            name = list(cli_world.COLOURS)[number % 12]
            words = [f"query {number} of a {name} wall", world.films / f"{name}.mp4", "--good"]
            assert run("mark", "--index", place, *words).code == 0
        before = run("search", "a red wall", "--index", place, "--json").out
        said = run("adapt", "--index", place)
        assert said.code == 0, said
        card = cards.open_index(place)
        assert card.model["head"] in said.out
        assert run("search", "a red wall", "--index", place, "--json").out != before
        assert run("search", "a red wall", "--index", place, "--explain", "-k", 1).code == 0
        assert run("evaluate", place).code == 0
        assert run("search", "a red wall", "--index", place, "--model", place / card.model["head"]).code == 0
        assert run("index", world.films, "--index", place).code == 0
        assert run("index", "rollback", "--index", place).code == 0
        assert run("search", "a red wall", "--index", place, "--json").out == before
