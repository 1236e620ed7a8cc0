"""Another model for an index: searches go on over the old one, one step changes it, a kill loses nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cli_world
from index_fakes import CARD, CONFIG, FakeMethod, clip, everything, update
from reelseek.app.service import Service
from reelseek.errors import IndexError_, IndexLocked, IndexMismatch, NotAnIndex
from reelseek.index import build, cards, store, upkeep
from reelseek.index.disk import locked
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.index.switch import roll_back, switch

OLD, NEW = FakeMethod(0), FakeMethod(1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, colour in enumerate(("red", "green", "blue")):
        clip(folder / f"{colour}.mp4", [colour], seed=number)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def videos(clips: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clips, tmp_path / "videos"))


@pytest.fixture
def index(videos: Path, tmp_path: Path) -> Path:
    update(tmp_path / "index", videos, method=OLD)
    return tmp_path / "index"


def best(index: Path, query: str, method: FakeMethod) -> str:
    return Path(Searcher(cards.open_index(index), method).search(query, 1)[0].path).name


def fresh(index: Path, videos: Path, tmp_path: Path, method: FakeMethod) -> None:
    """The index holds what one made by this method from the start would."""
    update(tmp_path / "fresh", videos, method=method)
    made, expected = (store.load(cards.open_index(place)) for place in (index, tmp_path / "fresh"))
    assert [row[:4] for row in made[0]] == [row[:4] for row in expected[0]]
    by_content = [sorted(zip(part.content_S, part.number_S.tolist(), strict=True)) for _, part in (made, expected)]
    assert by_content[0] == by_content[1]
    assert torch.equal(*(torch.cat(stored.frames_ND.pieces).float().sum(0) for _, stored in (made, expected)))


def test_a_switch_is_one_step_and_gives_what_a_new_index_would(index: Path, videos: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        assert best(index, "green", OLD) == "green.mp4"  # searches go on
        with pytest.raises(IndexLocked):
            update(index, videos, method=OLD)

    report = switch(index, NEW, model_card=CARD, progress=progress)
    assert (report.added, [broken.path for broken in report.broken]) == (3, [videos / "broken.mp4"])
    assert seen[-1] == (4, 4)
    assert best(index, "green", NEW) == "green.mp4"
    with pytest.raises(IndexMismatch):
        Searcher(cards.open_index(index), OLD)
    fresh(index, videos, tmp_path, NEW)
    assert update(index, videos, method=NEW).unchanged == 3


def test_rolling_back_and_forward(index: Path, videos: Path) -> None:
    with pytest.raises(IndexError_, match="no earlier model"):
        roll_back(index)
    before = everything(index)
    switch(index, NEW, model_card=CARD)
    clip(videos / "white.mp4", ["white"])
    update(index, videos, method=NEW)
    assert roll_back(index).model["id"] == OLD.id
    assert everything(index) == before
    assert update(index, videos, method=OLD).added == 1
    assert roll_back(index).model["id"] == NEW.id
    assert best(index, "white", NEW) == "white.mp4"


def test_what_was_indexed_since_a_switch_stays_in_its_tables_when_it_is_taken_back(
    index: Path, videos: Path, tmp_path: Path
) -> None:
    switch(index, NEW, model_card=CARD)
    clip(tmp_path / "more" / "white.mp4", ["white"])
    clip(tmp_path / "more" / "grey.mp4", ["red", "blue"])
    update(index, tmp_path / "more", method=NEW)
    roll_back(index)
    (videos / "blue.mp4").unlink()
    update(index, videos, method=OLD)
    upkeep.remove(index, [videos / "red.mp4"])
    roll_back(index)
    held = {row.path.name for row in store.list_files(index) if row.status == "ok"}
    assert held == {"green.mp4", "white.mp4", "grey.mp4"}
    assert best(index, "white", NEW) == "white.mp4"


def test_a_file_that_is_taken_out_leaves_every_model_also_where_that_knows_other_content_of_it(
    index: Path, videos: Path
) -> None:
    switch(index, NEW, model_card=CARD)
    clip(videos / "red.mp4", ["white"])
    update(index, videos, method=NEW)
    roll_back(index)
    clip(videos / "red.mp4", ["green"], seed=9)
    update(index, videos, method=OLD)
    upkeep.remove(index, [videos / "red.mp4"])
    assert all("red.mp4" not in {row.path.name for row in store.read_files(t)} for t in store.all_tables(index))


@pytest.mark.parametrize("change", [switch, roll_back])
def test_files_that_moved_since_are_known_to_the_other_model_under_their_new_paths(
    index: Path, videos: Path, change: Callable[..., object]
) -> None:
    switch(index, NEW, model_card=CARD)
    roll_back(index)
    (videos / "red.mp4").rename(videos / "moved.mp4")  # a new name, and two that take each other's
    (videos / "green.mp4").rename(videos / "other.mp4")
    (videos / "blue.mp4").rename(videos / "green.mp4")
    (videos / "other.mp4").rename(videos / "blue.mp4")
    update(index, videos, method=OLD)
    _ = change(index, NEW, model_card=CARD) if change is switch else change(index)
    held = {row.path.name: row.status for row in store.list_files(index)}
    assert held == {"blue.mp4": "ok", "green.mp4": "ok", "moved.mp4": "ok", "broken.mp4": "broken"}
    assert [best(index, colour, NEW) for colour in ("red", "green", "blue")] == ["moved.mp4", "blue.mp4", "green.mp4"]
    assert update(index, videos, method=NEW).unchanged == 3


def test_compacting_that_is_killed_leaves_an_index(
    index: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch(index, NEW, model_card=CARD)
    remove, left = shutil.rmtree, 0

    def die(path: Path, **named: bool) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            for file in [file for file in Path(path).rglob("*") if file.is_file()][::2]:
                file.unlink()
            raise Killed
        remove(path, **named)

    for kill in range(20):
        copy, left = tmp_path / f"index {kill}", kill
        shutil.copytree(index, copy)
        with monkeypatch.context() as patch:
            patch.setattr(store.shutil, "rmtree", die)
            try:
                upkeep.compact(copy)
            except Killed:
                pass
            else:
                break
        for tables in store.all_tables(copy):
            assert store.named_contents(tables) <= store.contents(tables).keys()
        upkeep.remove(copy, [videos / "red.mp4"])
        assert update(copy, videos, method=NEW).added == 1
        assert best(copy, "red", NEW) == "red.mp4"
    assert kill > 4


def test_compacting_forgets_the_earlier_model(index: Path) -> None:
    switch(index, NEW, model_card=CARD)
    assert (index / store.SEGMENTS).exists()
    upkeep.compact(index)
    assert sorted(path.name for path in index.iterdir() if path.is_dir()) == [cards.open_index(index).folder]
    assert best(index, "red", NEW) == "red.mp4"
    with pytest.raises(IndexError_, match="no earlier model"):
        roll_back(index)
    switch(index, OLD, model_card=CARD)
    upkeep.compact(index)
    assert best(index, "red", OLD) == "red.mp4"


class Killed(BaseException):
    pass


def test_a_killed_switch_goes_on(index: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "BATCH_VIDEOS", 1)

    def die(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        switch(index, NEW, model_card=CARD, progress=die)
    assert best(index, "green", OLD) == "green.mp4"
    decoded: list[Path] = []
    embed = build.embed_files

    def counted(method: FakeMethod, paths: list[Path], *rest: object, **named: object) -> object:
        decoded.extend(paths)
        return embed(method, paths, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "embed_files", counted)
    switch(index, NEW, model_card=CARD)
    assert 1 <= len(decoded) < 4
    fresh(index, videos, tmp_path, NEW)


def test_dying_before_the_card_leaves_the_old_model(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(card: cards.IndexCard) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(cards, "create", die)
        with pytest.raises(Killed):
            switch(index, NEW, model_card=CARD)
    assert best(index, "blue", OLD) == "blue.mp4"
    switch(index, NEW, model_card=CARD)
    assert best(index, "blue", NEW) == "blue.mp4"


def test_what_leaves_the_index_leaves_every_models_tables(index: Path, videos: Path) -> None:
    gone = [row.content_hash for row in store.list_files(index) if row.path.name in ("red.mp4", "blue.mp4")]
    switch(index, NEW, model_card=CARD)
    (videos / "blue.mp4").unlink()
    update(index, videos, method=NEW)
    upkeep.remove(index, [videos / "red.mp4"])
    stored = {name for tables in store.all_tables(index) for name in store.contents(tables)}
    assert len(stored) == 1
    assert not stored & set(gone)
    held = b"".join(path.read_bytes() for path in index.rglob("*.lance") if path.is_file())
    assert held
    assert not any(key.encode() in held for key in gone)


def test_what_leaves_in_an_update_that_is_killed_leaves_every_models_tables(index: Path, videos: Path) -> None:
    switch(index, NEW, model_card=CARD)
    (videos / "red.mp4").unlink()
    clip(videos / "white.mp4", ["white"])

    def die(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        build.update(index, [videos], NEW, model_card=CARD, config=CONFIG, progress=die)
    update(index, videos, method=NEW)
    roll_back(index)
    assert {row.path.name for row in store.list_files(index) if row.status == "ok"} == {"green.mp4", "blue.mp4"}


def test_a_file_that_moved_stays_known_to_the_earlier_model(index: Path, videos: Path) -> None:
    switch(index, NEW, model_card=CARD)
    (videos / "red.mp4").rename(videos / "rouge.mp4")
    update(index, videos, method=NEW)
    roll_back(index)
    assert best(index, "red", OLD) == "rouge.mp4"
    assert update(index, videos, method=OLD).unchanged == 3


def test_a_switch_while_an_index_is_loaded_is_noticed(index: Path) -> None:
    old = cards.open_index(index)
    switch(index, NEW, model_card=CARD)
    late = Searcher(old, OLD)
    with pytest.raises(IndexMismatch):
        late.reload()


def test_compacting_goes_on_where_it_was_killed(index: Path) -> None:
    switch(index, NEW, model_card=CARD)
    shutil.rmtree(index / store.FILES)
    upkeep.compact(index)
    assert not (index / store.SEGMENTS).exists()


def test_other_settings_of_the_same_model_are_a_switch(index: Path) -> None:
    with pytest.raises(IndexError_, match="by this model already"):
        switch(index, OLD, model_card=CARD)
    finer = replace(CONFIG, fps=4.0)
    switch(index, OLD, model_card=CARD, config=finer)
    card = cards.open_index(index)
    assert (card.config, card.model["id"], card.previous is not None) == (finer, OLD.id, True)
    assert best(index, "red", OLD) == "red.mp4"


def test_files_that_are_not_there_stop_a_switch(index: Path, videos: Path) -> None:
    videos.rename(videos.with_name("unplugged"))
    with pytest.raises(IndexError_, match="3 of its files are not there"):
        switch(index, NEW, model_card=CARD)
    assert cards.open_index(index).model["id"] == OLD.id


def test_a_held_index_and_another_directory_are_refused(index: Path, tmp_path: Path) -> None:
    with locked(index), pytest.raises(IndexLocked):
        switch(index, NEW, model_card=CARD)
    with locked(index), pytest.raises(IndexLocked):
        roll_back(index)
    for act in (lambda: switch(tmp_path, NEW, model_card=CARD), lambda: roll_back(tmp_path)):
        with pytest.raises(NotAnIndex):
            act()


@pytest.mark.parametrize("folder", ["../elsewhere", "/tmp", "model-", "model-xyz"])
def test_a_card_cannot_lead_out_of_its_directory(index: Path, folder: str) -> None:
    card = json.loads((index / cards.CARD).read_text())
    (index / cards.CARD).write_text(json.dumps({**card, "format": 2, "folder": folder}))
    with pytest.raises(NotAnIndex, match="no folder of an index"):
        cards.open_index(index)


def test_a_server_answers_from_the_new_model_without_a_new_start(index: Path) -> None:
    by_id = {OLD.id: OLD, NEW.id: NEW}

    def again() -> Searcher:
        card = cards.open_index(index)
        return Searcher(card, by_id[card.model["id"]])

    service = Service(again(), again=again)
    assert service.ask(Query(text="red"), 1)[0].path.endswith("red.mp4")
    switch(index, NEW, model_card={**CARD, "name": "the new one"})
    assert service.ask(Query(text="red"), 1)[0].path.endswith("red.mp4")
    assert service.status()["model"] == "the new one"


def test_key_frames_can_be_taken_and_left_again(tmp_path: Path) -> None:
    films, index = cli_world.films(tmp_path / "films"), tmp_path / "i"

    def switched(*words: object) -> tuple[bool, float]:
        said = cli_world.run("index", "switch", "--index", index, *words)
        assert said.code == 0, said
        config = cards.open_index(index).config
        return config.keyframes, config.fps

    assert cli_world.run("index", films, "--index", index, "--keyframes", "yes").code == 0
    assert switched("--fps", 2) == (True, 2)
    assert switched("--keyframes", "no") == (False, 2)
    assert switched("--keyframes") == (True, 2)
    assert "invalid choice: 'maybe'" in cli_world.refused(
        2, "index", "switch", "--index", index, "--keyframes", "maybe"
    )


def test_a_switch_says_what_changed(tmp_path: Path) -> None:
    films, index = cli_world.films(tmp_path / "films"), tmp_path / "i"
    assert cli_world.run("index", films, "--index", index).code == 0
    update(tmp_path / "fake", films, method=OLD)
    both = cli_world.run("index", "switch", "--index", tmp_path / "fake", "--model", "offline", "--keyframes")
    name = cards.open_index(index).model["name"]
    assert f"It answers from {name} and vectors made with --keyframes yes now; " in both.out
    alone = cli_world.run("index", "switch", "--index", index, "--segments", "shots", "--segment_frames", 4)
    assert "It answers from vectors made with --segment-frames 4 --segments shots now; " in alone.out


def test_the_commands(tmp_path: Path) -> None:
    films, index = cli_world.films(tmp_path / "films"), tmp_path / "films.index"
    assert cli_world.run("index", films, "--index", index).code == 0
    assert "by this model already" in cli_world.refused(1, "index", "switch", "--index", index)
    assert "no earlier model" in cli_world.refused(1, "index", "rollback", "--index", index)
    assert "takes no files" in cli_world.refused(2, "index", "switch", films, "--index", index)
    said = cli_world.run("index", "switch", "--index", index, "--fps", 3)
    assert said.code == 0, said
    assert said.out.splitlines()[-1].startswith(
        "It answers from vectors made with --fps 3 now; `reelseek index rollback"
    )
    assert cards.open_index(index).config.fps == 3
    assert cli_world.run("search", "red", "--index", index).code == 0
    clip(tmp_path / "more" / "white.mp4", ["white"])
    assert cli_world.run("index", tmp_path / "more", "--index", index).code == 0
    back = cli_world.run("index", "rollback", "--index", index)
    assert "answers from vectors made with --fps 1 again" in back.out
    assert "1 file indexed since the switch will be missing until" in back.err
    assert cards.open_index(index).config.fps == 1
    assert cli_world.run("index", "rollback", "--index", index, "--json").err == ""
    assert '"lacking": 1' in cli_world.run("index", "rollback", "--index", index, "--json").out
    assert cli_world.run("index", films, "--index", index).code == 0
    assert cli_world.run("index", "compact", "--index", index).code == 0
    assert "no earlier model" in cli_world.refused(1, "index", "rollback", "--index", index)
