"""Bad input from the user's side of the command line: one clear sentence, the right exit code, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from pydantic_core import from_json

from cli_world import COLOURS, World, build, gradient, refused, run, train_words
from reelseek.encoders import hub
from reelseek.index.disk import locked


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("world"))


@contextmanager
def room(most: int) -> Iterator[None]:
    """A disk on which no file can grow beyond `most` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["", "notes.txt"])
def test_a_folder_without_videos(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if name:
        (folder / name).write_text("no video")
    said = run("index", folder, "--index", tmp_path / "index")
    assert said.code == 0
    assert f"no video files below {folder}: they are known by their endings, such as .mp4" in said.err
    assert run("search", "a dog", "--index", tmp_path / "index").out == "The index holds no video.\n"
    assert run("search", "a dog", "--index", tmp_path / "index", "--json").out == ""
    assert run("search", "a dog", "--index", tmp_path / "index", "--explain").out == "The index holds no video.\n"


def test_a_missing_folder(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refused(1, "index", nowhere, "--index", tmp_path / "index").endswith(f"{nowhere}: not there.")


def test_a_missing_folder_whose_files_the_index_knows(tmp_path: Path) -> None:
    folder, index = tmp_path / "mine", tmp_path / "index"
    film = gradient(folder / "red.mp4", COLOURS["red"])
    assert run("index", folder, "--index", index).code == 0
    assert refused(1, "index", tmp_path / "other", "--index", index).endswith("other: not there.")
    film.unlink()
    folder.rmdir()
    advice = f"If it was deleted, take its files out with `reelseek index remove {folder}`."
    assert refused(1, "index", folder, "--index", index).endswith(f"{folder}: not there. {advice}")


def test_other_settings_than_those_of_the_index(tmp_path: Path) -> None:
    folder, index = tmp_path / "mine", tmp_path / "index"
    gradient(folder / "red.mp4", COLOURS["red"])
    assert run("index", folder, "--index", index, "--segments", "shots").code == 0
    sentence = refused(1, "index", folder, "--index", index, "--fps", 2, "--keyframes", "yes")
    assert "made with --fps 1 --keyframes no, not with --fps 2 --keyframes yes. Leave that out, or" in sentence
    assert f"`reelseek index switch --fps 2 --keyframes yes --index {index}`" in sentence
    # what is not named is the index's own, not what a new index has
    assert run("index", folder, "--index", index, "--fps", 1).code == 0


def test_broken_files_are_set_aside_with_their_reasons(world: World, tmp_path: Path) -> None:
    folder, index = tmp_path / "mixed", tmp_path / "mixed.index"
    good = gradient(folder / "good.mp4", COLOURS["red"])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    said = run("index", folder, "--index", index)
    assert said.code == 0
    assert "1 added" in said.out
    assert "3 set aside" in said.out
    reasons = [line for line in said.err.splitlines() if line.startswith("set aside: ")]
    assert [Path(line.split(": ")[1]).name for line in sorted(reasons)] == ["cut.mp4", "empty.mp4", "text.mp4"]
    assert any("is empty (0 bytes)" in line for line in reasons)
    listed = [json.loads(line) for line in run("index", "list", "--index", index, "--json").out.splitlines()]
    assert {Path(row["path"]).name: row["status"] for row in listed} == {
        "good.mp4": "ok", "empty.mp4": "broken", "cut.mp4": "broken", "text.mp4": "broken",
    }  # fmt: skip


def test_captions_with_unknown_names_and_repeated_rows_are_counted(world: World, tmp_path: Path) -> None:
    text = (world.films / "captions.csv").read_text()
    captions = tmp_path / "captions.csv"
    captions.write_text(f"{text}red,a red wall,train\nunheard of,a song,train\nred,,train\n")
    said = run("embed", "gare-folder", "--data", world.films, "--data.captions", captions, "--cache", world.cache)
    assert said.code == 0
    train = next(line for line in said.out.splitlines() if "train: " in line)
    assert "6 videos, 12 texts" in train
    assert "missing 1 videos and 1 texts" in train
    assert "dropped 1 repeated rows" in train
    assert "dropped 1 empty captions" in train


def test_captions_that_name_no_video_of_the_folder(world: World, tmp_path: Path) -> None:
    captions = tmp_path / "captions.csv"
    captions.write_text("video,caption\nelsewhere,a song\n")
    words = ["--data", world.films, "--data.captions", captions, "--cache", world.cache]
    assert "none of its 1 videos is among the 12 video files" in refused(1, "embed", "gare-folder", *words)
    assert "none of its 1 videos" in refused(1, "train", "gare-folder", *words, "--out", tmp_path / "run")


def test_a_folder_whose_videos_are_all_broken(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    shutil.copytree(world.films, folder)
    for film in folder.glob("*.mp4"):
        film.write_bytes(b"")
    sentence = refused(1, *train_words(folder, tmp_path / "cache", tmp_path / "run"))
    assert "films train: no video of 6 could be read. The first: " in sentence
    assert "is empty (0 bytes)" in sentence
    assert "no video of 6 could be read" in refused(
        1, "embed", "gare-folder", "--data", folder, "--cache", tmp_path / "cache"
    )
    words = ["--data.name", "folder", "--data", folder, "--cache", tmp_path / "cache"]
    assert "no video of 3 could be read" in refused(1, "evaluate", "offline", *words)


def test_a_directory_that_is_no_index(world: World, tmp_path: Path) -> None:
    for words in (["search", "a dog"], ["serve"], ["index", "list"], ["index", "compact"], ["index", "remove", "x"]):
        for place in (world.films, tmp_path / "nowhere", world.films / "red.mp4"):
            assert "there is no index here" in refused(1, *words, "--index", place)
    before = sorted(world.films.iterdir())
    assert "holds other things than an index" in refused(1, "index", world.films, "--index", world.films)
    assert sorted(world.films.iterdir()) == before


def test_verbs_of_index_take_what_they_take(world: World) -> None:
    assert "needs the files or folders" in refused(2, "index", "remove", "--index", world.index)
    assert "takes no files" in refused(2, "index", "compact", "red.mp4", "--index", world.index)
    assert "holds no such file" in refused(1, "index", "remove", "red.mp4", "--index", world.index)


def test_a_misspelt_verb_of_index(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(2, "index", "lsit", "--index", world.index)
    assert said.endswith("lsit: there is no such folder or file. Did you mean `reelseek index list`?")
    (tmp_path / "lsit").mkdir()
    assert run("index", "lsit", "--index", tmp_path / "index").code == 0


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("list", ["--fps", "9"]), ("list", ["--model", "nosuch"]), ("list", ["--device", "cpu"]),
        ("rollback", ["--segments", "shots"]), ("rollback", ["--model", "nosuch"]),
        ("compact", ["--segment-frames", "3"]), ("compact", ["--keyframes"]), ("compact", ["--keep-frames", "no"]),
        ("remove", ["--watch"]), ("switch", ["--watch"]), ("switch", ["--keep-frames", "yes"]),
    ],
)  # fmt: skip
def test_verbs_of_index_refuse_options_that_they_do_not_read(world: World, verb: str, options: list[str]) -> None:
    paths = [world.films / "red.mp4"] if verb == "remove" else []
    sentence = refused(2, "index", verb, *paths, "--index", world.index, *options)
    assert f"{options[0]}: `reelseek index {verb}` does not read it" in sentence


@pytest.mark.parametrize("query", ["", "   ", "\t\n", "\u3000\u00a0"])
def test_a_query_of_spaces(world: World, query: str) -> None:
    assert "the query is empty" in refused(2, "search", query, "--index", world.index)


@pytest.mark.parametrize("query", ["海辺を走る犬", "собака на пляже", "كلب على الشاطئ", "caf\udce9", "a\x1b[31mb"])
def test_a_query_in_any_script_or_bytes(world: World, query: str) -> None:
    said = run("search", query, "--index", world.index, "-k", 2)
    assert said.code == 0, said
    assert "\x1b" not in said.out
    assert len(run("search", query, "--index", world.index, "-k", 2, "--json").out.splitlines()) == 2


def test_a_query_of_two_thousand_words(world: World) -> None:
    said = run("search", "word " * 2000, "--index", world.index, "-k", 2)
    assert said.code == 0
    assert len(said.out.splitlines()[0]) < 150
    assert " ... " in said.out.splitlines()[0]


@pytest.mark.parametrize("k", ["0", "-3"])
def test_fewer_answers_than_one(world: World, k: str) -> None:
    assert f"-k {k}: it must be at least 1." in refused(2, "search", "a dog", "--index", world.index, f"-k={k}")


def test_places_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    """A file where a folder should be stands in for folders without permission, which do not bind the super-user."""
    there = world.films / "red.mp4"
    sentence = refused(1, "index", world.films, "--index", there / "index")
    assert "cannot be written (Not a directory)" in sentence
    assert "Not a directory" in refused(1, *train_words(world.films, world.cache, there / "run"))
    words = ["gare-folder", "--data", world.films]
    assert "the cache cannot be written" in refused(1, "embed", *words, "--cache", there / "cache")
    # before anything is computed: `refused` holds that nothing was printed
    assert "it is a file, not a folder" in refused(2, "evaluate", world.run, "--cache", world.cache, "--out", there)
    results = tmp_path / "results.json"
    results.write_text('{"runs": []}')
    assert "Not a directory" in refused(1, "report", results, "--out", there / "report.html")
    assert "Is a directory" in refused(1, "report", results, "--out", tmp_path)


def test_a_read_only_disk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "new"))

    monkeypatch.setattr(Path, "mkdir", read_only)
    sentence = refused(1, "index", world.films, "--index", tmp_path / "new")
    assert "Read-only file system" in sentence
    assert "Name a directory that you may write to." in sentence
    assert "Read-only file system" in refused(1, *train_words(world.films, world.cache, tmp_path / "new"))


def test_a_disk_that_fills_up(world: World, tmp_path: Path) -> None:
    index, cache, out = tmp_path / "index", tmp_path / "cache", tmp_path / "run"
    with room(1_500):
        assert "the index cannot be written (File too large). Free some space" in refused(
            1, "index", world.films, "--index", index
        )
        assert "the cache cannot be written" in refused(
            1, "embed", "gare-folder", "--data", world.films, "--cache", cache
        )
    with room(30_000):
        assert "File too large" in refused(1, *train_words(world.films, world.cache, out))
    # With room again, the same commands go on.
    assert run("index", world.films, "--index", index).code == 0
    assert run(*train_words(world.films, world.cache, out)).code == 0
    assert (out / "model.safetensors").read_bytes() == (world.run / "model.safetensors").read_bytes()


def test_two_indexers_at_once(world: World) -> None:
    with locked(world.index):
        for words in (["index", world.films], ["index", "compact"], ["index", "remove", world.films]):
            sentence = refused(1, *words, "--index", world.index)
            assert f"process {os.getpid()}" in sentence
            assert "is writing to this index. Try again" in sentence
        assert run("search", "a dog", "--index", world.index).code == 0, "reading needs no lock"


def test_an_index_of_another_model(world: World) -> None:
    for words in (["search", "a dog"], ["index", world.films], ["serve"]):
        sentence = refused(1, *words, "--index", world.index, "--model", world.run)
        assert "was made by zero-shot over offline" in sentence
        assert f"{world.run} is gare" in sentence


def test_an_index_whose_model_is_gone(world: World, tmp_path: Path) -> None:
    run_folder, index = tmp_path / "run", tmp_path / "index"
    shutil.copytree(world.run, run_folder)
    assert run("index", world.films, "--index", index, "--model", run_folder).code == 0
    run_folder.rename(tmp_path / "moved")
    sentence = refused(1, "search", "a dog", "--index", index)
    assert f"from {run_folder}, which cannot be loaded" in sentence
    assert "If it has moved, name its new place with --model." in sentence
    assert run("search", "a dog", "--index", index, "--model", tmp_path / "moved").code == 0


def test_an_index_for_a_model(world: World, tmp_path: Path) -> None:
    for words in (["diagnose", world.index], ["index", world.films, "--index", tmp_path / "i", "--model", world.index]):
        assert f"{world.index}: is an index, and no model. Name the run" in refused(1, *words)
    assert not (tmp_path / "i").exists()


def test_a_missing_run(world: World, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    for words in (["evaluate", missing], ["index", world.films, "--index", tmp_path / "i", "--model", missing]):
        assert f"{missing}: there is no such folder" in refused(1, *words)
    assert not (tmp_path / "i").exists()


def test_a_missing_run_with_the_form_of_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "urlopen", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert "runs/nope: there is no such folder or file. Name a run" in refused(1, "evaluate", "runs/nope")


def test_data_that_nobody_named() -> None:
    assert "msrvtt-1ka-9k: give --data DIR" in refused(1, "train", "gare-msrvtt")


def test_a_video_is_no_weights_file(world: World, tmp_path: Path) -> None:
    sentence = refused(1, "convert", world.films / "red.mp4", tmp_path / "model")
    assert "red.mp4 is damaged or no weights file" in sentence


def test_a_checkpoint_of_another_method(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    words = train_words(world.films, world.cache, other)
    trained = run("train", "clip4clip-meanp-folder", *words[2:], "--train.select", "MnR")
    assert "; best epoch" in trained.out
    assert ", validation MnR " in trained.out
    # another recipe in the same folder
    assert "holds a run with other settings: method.name was clip4clip, now gare" in refused(1, *words)
    # weights of one method beside the settings of another
    shutil.copy(world.run / "model.safetensors", other / "model.safetensors")
    assert "is not the one that config.json belongs to" in refused(1, "evaluate", other, "--cache", world.cache)


def test_noise_without_a_rate(tmp_path: Path) -> None:
    words = ["train", "gare-motions", "--data", tmp_path / "made", "--data.noise", "typos"]
    assert "data.noise is typos but data.noise_rate is 0" in refused(2, *words)
    assert not (tmp_path / "made").exists()


def test_a_training_that_has_not_finished(world: World, tmp_path: Path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(world.run / "state.safetensors", half)
    for words in (["evaluate", half], ["index", world.films, "--index", tmp_path / "i", "--model", half]):
        assert "its training has not finished; the same `reelseek train` command goes on." in refused(1, *words)


def test_a_hub_name_without_network(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # refuses connections, as an absent network does
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    begun = time.monotonic()
    for words in (["index", world.films, "--index", tmp_path / "i"], ["search", "a dog", "--index", world.index]):
        sentence = refused(1, *words, "--model", "openai/clip-vit-base-patch32")
        assert "neither a folder nor in the local cache" in sentence
        assert "the model 'offline' needs no download" in sentence
        assert sentence.count("reelseek") == 1
    assert "model 'offline'" in refused(1, "evaluate", "openai/clip-vit-base-patch32", "--data", world.films)
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "i").exists()


def test_file_names_that_are_no_text(world: World, tmp_path: Path) -> None:
    folder, index = tmp_path / "odd", tmp_path / "odd.index"
    names = [b"caf\xe9.mp4", "猫 [bold]\n.mp4".encode()]
    for name, colour in zip(names, ("red", "blue"), strict=True):
        gradient(folder / "new.mp4", COLOURS[colour])
        os.rename(os.fsencode(folder / "new.mp4"), os.path.join(os.fsencode(folder), name))
    assert run("index", folder, "--index", index).code == 0
    listed = run("index", "list", "--index", index)
    assert "caf\\udce9.mp4" in listed.out
    assert "猫 [bold]\\n.mp4" in listed.out

    def told(*words: object) -> list[str]:
        rows = list(map(from_json, run(*words, "--index", index, "--json").out.splitlines()))
        return [
            os.fsdecode(unquote_to_bytes(row["path_encoded"])) if "path_encoded" in row else row["path"] for row in rows
        ]

    paths = told("index", "list")
    assert {os.path.basename(os.fsencode(path)) for path in paths} == set(names)
    assert "caf\\udce9.mp4" in run("search", "a dog", "--index", index).out
    found = told("search", "a dog")
    assert sorted(found) == sorted(paths)
    assert all(os.path.exists(path) for path in found)
    (odd_name,) = (path for path in found if "caf" in path)
    assert told("mark", "a dog", odd_name, "--good") == [odd_name]
    assert told("mark", "--list") == [odd_name]
    assert run("index", "remove", found[0], "--index", index).out.startswith("1 file taken out")
    odd = tmp_path / os.fsdecode(b"\xff.index")
    assert "its name is no UTF-8 text" in refused(1, "index", folder, "--index", odd)
    assert not odd.exists()


def test_reports_of_other_files(world: World, tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refused(1, "report", tmp_path / "results.json")
    assert "results.json: not there. `reelseek evaluate MODEL --out DIR`" in refused(1, "report", world.run)
    (tmp_path / "a.json").write_text("{")
    assert "not JSON" in refused(1, "report", tmp_path / "a.json")
    assert "not a results.json" in refused(1, "report", world.index / "index.json")
    (tmp_path / "b.json").write_text("[1]")
    refused(1, "report", tmp_path / "b.json")
    (tmp_path / "c.json").write_text('{"study": {}}')
    assert "of `reelseek study`, whose page is study.html beside it" in refused(1, "report", tmp_path / "c.json")
    (tmp_path / "results.json").write_text('{"runs": []}')
    for source in (tmp_path, tmp_path / "results.json"):
        sentence = refused(2, "report", source, "--out", tmp_path / "results.json")
        assert "the page would replace the results" in sentence
    assert (tmp_path / "results.json").read_text() == '{"runs": []}'
    assert not (world.index / "report.html").exists()


def test_a_run_is_not_written_into_an_index(world: World) -> None:
    before = sorted(world.index.iterdir())
    assert "it is an index" in refused(2, *train_words(world.films, world.cache, world.index))
    assert sorted(world.index.iterdir()) == before


def test_weights_that_are_none(world: World, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_text("hello")
    assert "cannot be read" in refused(1, "convert", tmp_path / "none.pt", tmp_path / "model")
    assert "no weights file" in refused(1, "convert", tmp_path / "a.pt", tmp_path / "model")
    assert "no known layout" in refused(1, "convert", world.run / "model.safetensors", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_serving_where_it_cannot(world: World) -> None:
    assert "Give a token" in refused(2, "serve", "--index", world.index, "--host", "0.0.0.0")
    assert "a header cannot carry" in refused(2, "serve", "--index", "nowhere", "--token", "пароль")
    assert "99999 is no port" in refused(2, "serve", "--index", world.index, "--port", 99999)
    assert "nowhere.csv: cannot be read" in refused(1, "serve", "--index", world.index, "--metadata", "nowhere.csv")
    assert "there is no index here" in refused(1, "serve", "--index", world.index, "--against", world.films)
    assert "name that too" in refused(2, "serve", "--index", world.index, "--against-model", "offline")


def test_a_device_that_is_not_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ["--device", "cuda"]
    sentence = refused(1, "search", "a dog", "--index", world.index, *words)
    assert sentence == "reelseek search: --device cuda: torch sees no CUDA device here. Use --device cpu."
