from __future__ import annotations

import builtins
import itertools
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from reelseek.config import DataConfig
from reelseek.data import babyai, babyai_episodes, load
from reelseek.data.babyai import generate
from reelseek.data.babyai_missions import Clause, from_json, mission, true_pairs
from reelseek.errors import DataError
from reelseek.video.decode import decode, probe

SIZES = {"train": 24, "val": 5, "test": 14}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("babyai") / "set"
    generate(folder, **SIZES, seed=3)
    return folder


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse_to_play(*_, **__):
    raise AssertionError("played again")


def test_what_is_made_can_be_read_back(made):
    splits = babyai.load(made)
    assert [len(split.video_ids) for split in splits] == [24, 5, 14]
    assert len({split.corpus for split in splits}) == 1
    for split in splits:
        assert split.complete
        assert split.video_of_T.tolist() == list(range(len(split.texts)))
    assert "occur in training, in other rooms" in splits.test.describe()
    assert len(set(itertools.chain(*(split.video_ids for split in splits)))) == 43


def test_videos_show_episodes(made):
    for path in babyai.load(made).test.paths:
        info = probe(path)
        assert (info.width, info.height, info.fps) == (128, 128, 4.0)
        assert 1 <= info.duration <= 10.25
        frames = decode(path, lambda duration: np.array([0.0, duration - 0.01])).pixels_FHW3
        assert np.abs(frames[0].astype(int) - frames[1]).max() > 100


def test_ordered_missions_have_a_twin_in_the_same_room(made):
    for split in babyai.load(made):
        for text, right, wrong in split.contrasts.get("swap", ()):
            assert split.video_of_T[text] == right
            assert not split.relevance_TV(corrected=True)[text, wrong]
            words, other = (_parts(split.texts[at]) for at in (right, wrong))
            assert words == other[::-1]
            first = [decode(split.paths[at], lambda _: np.zeros(1)).pixels_FHW3 for at in (right, wrong)]
            np.testing.assert_array_equal(*first)
    assert len(babyai.load(made).train.contrasts["swap"]) >= 2


def _parts(words: str) -> list[str]:
    """The two parts of an ordered mission, in the order of time."""
    if ", then " in words:
        return words.split(", then ")
    return words.split(" after you ")[::-1]


def test_a_mission_occurs_a_few_times_in_a_split(made):
    for split in ("train", "val", "test"):
        rows = [json.loads(line) for line in (made / "episodes.jsonl").read_text().splitlines()]
        counts = Counter(from_json(v["meaning"]) for row in rows if row["split"] == split for v in row["videos"])
        assert max(counts.values()) <= babyai.REPEATS


def test_equal_settings_make_equal_files(made, tmp_path):
    code = f"from reelseek.data.babyai import generate; generate({str(tmp_path / 'again')!r}, **{SIZES}, seed=3)"
    environment = {"PYTHONHASHSEED": "77", "PATH": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert digest(tmp_path / "again") == digest(made)


def test_no_split_depends_on_the_size_of_another(made, tmp_path):
    generate(tmp_path / "small", train=2, val=1, test=14, seed=3)
    assert babyai.load(tmp_path / "small").test.texts == babyai.load(made).test.texts
    assert babyai.load(tmp_path / "small").train.texts[:1] == babyai.load(made).train.texts[:1]


@pytest.mark.parametrize("torn", ['{"split": "train", "dr', ""])
def test_a_killed_run_goes_on(made, tmp_path, torn):
    shutil.copytree(made, tmp_path / "set")
    record = tmp_path / "set" / "episodes.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:-3]) + torn)
    for line in lines[-3:]:
        for video in json.loads(line)["videos"]:
            (tmp_path / "set" / "videos" / f"{video['id']}.mp4").unlink()
    with pytest.raises(DataError, match="the train split has"):
        babyai.load(tmp_path / "set")
    counts = []
    generate(tmp_path / "set", **SIZES, seed=3, progress=lambda done, total: counts.append((done, total)))
    assert len(counts) == 3
    assert counts[-1] == (43, 43)
    assert digest(tmp_path / "set") == digest(made)


def test_lines_of_two_runs_at_once_count_once(made, tmp_path):
    shutil.copytree(made, tmp_path / "set")
    record = tmp_path / "set" / "episodes.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join([lines[1], lines[0], *lines]))
    assert babyai.load(tmp_path / "set").train.texts == babyai.load(made).train.texts


def test_the_name_babyai_makes_and_finds_a_benchmark(made, tmp_path, monkeypatch):
    monkeypatch.setattr(babyai_episodes, "play", refuse_to_play)
    assert load(DataConfig(name="babyai", root=str(made))).test.texts == babyai.load(made).test.texts
    asked = []
    monkeypatch.setattr(babyai, "generate", lambda folder, **settings: asked.append((folder, settings)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load(DataConfig(name="babyai", size=10, seed=4))
    sizes = {"train": 10, "val": 2, "test": 4, "seed": 4, "progress": None}
    assert asked == [(tmp_path / "reelseek" / "babyai-10-4", sizes)]


def test_absent_videos_are_counted(made, tmp_path):
    shutil.copytree(made, tmp_path / "set")
    test = babyai.load(made).test
    _, _, wrong = test.contrasts["swap"][0]
    (tmp_path / "set" / "videos" / f"{test.video_ids[wrong]}.mp4").unlink()
    cut = babyai.load(tmp_path / "set").test
    assert cut.missing_videos == (test.video_ids[wrong],)
    assert cut.missing_texts == 1
    assert len(cut.contrasts["swap"]) == len(test.contrasts["swap"]) - 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("babyai.json", "{", "is not JSON"),
        ("babyai.json", '{"version": 99}', "another version"),
        ("episodes.jsonl", "nonsense\n", "is damaged"),
        ("babyai.json", None, "holds no episodes"),
    ],
)
def test_damaged_folders(made, tmp_path, name, content, words):
    shutil.copytree(made, tmp_path / "set")
    path = tmp_path / "set" / name
    path.write_text(content) if content is not None else path.unlink()
    with pytest.raises(DataError, match=words):
        babyai.load(tmp_path / "set")


def test_folders_of_something_else_are_refused(made, tmp_path):
    (tmp_path / "film.mp4").touch()
    with pytest.raises(DataError, match="holds no episodes; choose another"):
        generate(tmp_path)
    with pytest.raises(DataError, match="other settings"):
        generate(made, **SIZES, seed=4)
    with pytest.raises(ValueError, match="at least one video"):
        generate(tmp_path, train=0)


def test_without_minigrid_the_hint_names_what_to_install(tmp_path, monkeypatch):
    whole = builtins.__import__

    def without(name, *rest):
        if name.startswith("minigrid"):
            raise ModuleNotFoundError("No module named 'minigrid'")
        return whole(name, *rest)

    for name in [name for name in sys.modules if name.startswith(("minigrid", "reelseek.data.babyai_episodes"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r'pip install "reelseek\[babyai\]"'):
        generate(tmp_path / "set", train=1, val=1, test=1)


def test_too_many_videos_of_few_missions(tmp_path, monkeypatch):
    monkeypatch.setattr(babyai, "SHARES", {"goto": 1})
    monkeypatch.setattr(babyai, "REPEATS", 0)
    monkeypatch.setattr(babyai, "TRIES", 3)
    with pytest.raises(DataError, match="no new mission for test in 3 draws"):
        generate(tmp_path / "set")


def clauses() -> list[Clause]:
    return [
        Clause(action, colour, thing)
        for action in ("goto", "pickup")
        for colour in ("", "red")
        for thing in ("ball", "key")
    ] + [
        Clause("putnext", colour, "ball", by_colour, "key")
        for colour in ("", "red")
        for by_colour in ("", "blue")
    ]  # fmt: skip


def clause_is_true(claim: Clause, done: Clause) -> bool:
    """By definition: a lesser or equal action, on a thing that the words of the claim fit."""
    order = ["goto", "pickup", "putnext"]
    lesser = order.index(claim.action) <= order.index(done.action)
    fits = claim.thing == done.thing and claim.colour in ("", done.colour)
    if claim.action == "putnext":
        fits = fits and claim.by_thing == done.by_thing and claim.by_colour in ("", done.by_colour)
    return lesser and fits


def claim_is_true(claim, shown) -> bool:
    def stage_is_true(stage, done) -> bool:
        return all(any(clause_is_true(one, other) for other in done) for one in stage)

    if len(claim) == 1:
        return stage_is_true(claim[0], [clause for stage in shown for clause in stage])
    return len(shown) == 2 and all(stage_is_true(*pair) for pair in zip(claim, shown, strict=True))


def test_true_missions_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    pool = clauses()

    def draw() -> list[Clause]:
        return [pool[at] for at in rng.integers(0, len(pool), size=rng.integers(1, 3))]

    missions = [mission([draw() for _ in range(rng.integers(1, 3))]) for _ in range(24)]
    expected = [
        (a, b) for a, claim in enumerate(missions) for b, shown in enumerate(missions) if claim_is_true(claim, shown)
    ]
    assert true_pairs(missions, missions) == expected
    assert 60 < len(expected) < 3600


def test_before_and_after_mean_the_same():
    made = from_json([[["goto", "red", "ball", "", ""]], [["pickup", "", "key", "", ""], ["goto", "", "box", "", ""]]])
    box, key = Clause("goto", "", "box"), Clause("pickup", "", "key")
    assert made == mission([[Clause("goto", "red", "ball")], [box, key]])
    assert made != made[::-1]


def test_words_say_what_the_mission_means(made):
    rows = [json.loads(line) for line in (made / "episodes.jsonl").read_text().splitlines()]
    for video in itertools.chain(*(row["videos"] for row in rows)):
        parts = _parts(video["mission"]) if len(video["meaning"]) == 2 else [video["mission"]]
        for part, stage in zip(parts, from_json(video["meaning"]), strict=True):
            said = {piece.replace(" the ", " a ") for piece in part.split(" and ")}
            assert said == {_said(clause) for clause in stage}


def _said(clause: Clause) -> str:
    what = " ".join(["a", clause.colour, clause.thing]).replace("  ", " ")
    place = " ".join(["a", clause.by_colour, clause.by_thing]).replace("  ", " ")
    forms = {"goto": f"go to {what}", "pickup": f"pick up {what}", "putnext": f"put {what} next to {place}"}
    return forms[clause.action]


def test_an_episode_that_fulfils_the_other_order_too_is_refused(monkeypatch):
    class Never:
        def reset_verifier(self, _): ...
        def update_objs_poss(self): ...
        def verify(self, _):
            return "continue"

    refused = {seed for seed in range(24) if babyai_episodes.play("order", seed) is None}
    with monkeypatch.context() as patch:
        patch.setattr(babyai_episodes, "_exchanged", lambda _: Never())
        unusable = {seed for seed in range(24) if babyai_episodes.play("order", seed) is None}
    assert unusable < refused
    for seed in range(24):
        twin = babyai_episodes.play("order", seed, swapped=True)
        episode = babyai_episodes.play("order", seed)
        if twin is not None and episode is not None:
            assert twin.meaning == episode.meaning[::-1]
