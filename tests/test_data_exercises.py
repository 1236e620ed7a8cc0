from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from reelseek.config import DataConfig
from reelseek.data import exercises, load
from reelseek.data.exercises import families
from reelseek.errors import DataError
from reelseek.video.decode import decode, probe

MOVES = ("Curl", "Row", "Squat", "Lunge", "Shrug", "Dip", "Plank", "Crunch", "Snatch", "Jerk")
TOOLS = ("Barbell", "Dumbbell", "Seated Cable")


def photo(path: Path, seed: int, size: tuple[int, int] = (48, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(path, quality=95, subsampling=0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reelseek" / "exercises"


@pytest.fixture
def root(tmp_path) -> Path:
    """Thirty exercises of ten families, three of equipment, two photos each."""
    rows = []
    for number, (move, tool) in enumerate(itertools.product(MOVES, TOOLS)):
        key = f"{tool}_{move}".replace(" ", "_")
        photos = [f"photos/{key}_{at}.jpg" for at in range(2)]
        for at, name in enumerate(photos):
            photo(tmp_path / "set" / name, 2 * number + at)
        rows.append(
            {
                "id": key,
                "name": f"{tool} {move}",
                "photos": photos,
                "equipment": tool.lower(),
                "category": "strength",
                "muscles": ["biceps"],
                "steps": [f"Hold number {number}. Breathe.", f"Move like {move}!", "Repeat."],
            }
        )
    write(tmp_path / "set", rows)
    return tmp_path / "set"


def write(root: Path, rows: object) -> None:
    (root / "exercises.json").write_text(json.dumps(rows), "utf-8")


def rows_of(root: Path) -> list[dict]:
    return json.loads((root / "exercises.json").read_text("utf-8"))


def test_families_stay_together(root):
    for seed in range(5):
        splits = exercises.load(root, seed=seed)
        moves = [{name.rsplit("_", 1)[1] for name in split.video_ids} for split in splits]
        assert [len(one) for one in moves] == [6, 1, 3]
        assert len(set.union(*moves)) == 10
        assert all(split.complete for split in splits)
        assert f"10 families of 30 exercises, split by seed {seed}" in splits.test.describe()
    drawn = {exercises.load(root, seed=seed).test.video_ids for seed in range(5)}
    assert len(drawn) > 1
    assert exercises.load(root, seed=1).test.video_ids in drawn


def test_the_order_of_the_file_does_not_matter(root):
    before = set(exercises.load(root).test.video_ids)
    write(root, rows_of(root)[::-1])
    assert set(exercises.load(root).test.video_ids) == before


def test_captions(root):
    splits = exercises.load(root)
    texts = splits.train.captions_of(splits.train.video_ids[0])
    name = splits.train.video_ids[0].replace("_", " ")
    tool, move = name.rsplit(" ", 1)
    number = 3 * MOVES.index(move) + TOOLS.index(tool)
    first = f"{name}, with a {tool.lower()}, for the biceps."
    assert texts == (first, f"Hold number {number}.", f"Move like {move}!")
    assert all(len(split.texts) == len(split.video_ids) for split in (splits.val, splits.test))
    assert all(text.endswith("for the biceps.") for text in splits.test.texts)


@pytest.mark.parametrize(
    ("changed", "caption"),
    [
        ({"equipment": "body only"}, "Plank, with no equipment, for the biceps."),
        ({"equipment": None, "muscles": []}, "Plank."),
        ({"equipment": "other"}, "Plank, for the biceps."),
        ({"equipment": "bands", "muscles": ["lats", "chest"]}, "Plank, with bands, for the lats and chest."),
    ],
)
def test_wording_follows_what_is_known(root, changed, caption):
    write(root, [{**rows_of(root)[0], "name": "Plank", **changed}])
    assert exercises.load(root).train.texts[0] == caption


def test_a_video_is_its_photos(root):
    test = exercises.load(root).test
    for video, path in zip(test.video_ids, test.paths, strict=True):
        assert probe(path).duration == 2.0
        frames = decode(path, lambda _: np.array([0.5, 1.5]))
        assert frames.times_F.tolist() == [0.0, 1.0]
        for at in range(2):
            one = root / "photos" / f"{video}_{at}.jpg"
            with av.open(str(one)) as picture:
                expected = next(picture.decode(video=0)).to_ndarray(format="rgb24")
            np.testing.assert_array_equal(frames.pixels_FHW3[at], expected)
            assert np.abs(np.asarray(Image.open(one)).astype(int) - expected).mean() < 3
            assert one.read_bytes()[-200:] in path.read_bytes()


def test_photos_of_two_sizes(root):
    video = exercises.load(root).test.video_ids[0]
    photo(root / "photos" / f"{video}_1.jpg", 99, size=(32, 48))
    path = exercises.load(root).test.paths[0]
    assert decode(path, lambda _: np.array([0.5, 1.5])).pixels_FHW3.shape == (2, 32, 48, 3)


def test_videos_are_made_once_and_anew_for_other_photos(root, cache, monkeypatch):
    calls = []
    test = exercises.load(root, progress=lambda *counts: calls.append(counts)).test
    assert calls[-1] == (30, 30)
    assert len(list(cache.iterdir())) == 30
    monkeypatch.setattr(exercises, "join_pictures", lambda *_: pytest.fail("joined again"))
    assert exercises.load(root).test.paths == test.paths
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    photo(root / "photos" / f"{test.video_ids[0]}_0.jpg", 1000)
    assert exercises.load(root).test.paths[0] not in test.paths
    assert len(list(cache.iterdir())) == 31


def test_the_layout_of_the_source(root):
    """Its own repository: dist/exercises.json, images below exercises/, other names of the fields."""
    rows = []
    for row in rows_of(root):
        images = [f"{row['id']}/{at}.jpg" for at in range(2)]
        for old, new in zip(row.pop("photos"), images, strict=True):
            (root / "exercises" / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(root / old, root / "exercises" / new)
        rows.append({**row, "images": images, "primaryMuscles": row.pop("muscles"), "instructions": row.pop("steps")})
    before = exercises.load
    (root / "exercises.json").unlink()
    (root / "dist").mkdir()
    write(root / "dist", rows)
    splits = before(root)
    assert splits.test.complete
    assert splits.test.texts[0].endswith("for the biceps.")
    assert len(splits.train.texts) == 3 * len(splits.train.video_ids)


def test_a_photo_in_common_makes_a_family():
    assert families(["A Lift", "B Hop", "C Kick"], [["1", "2"], ["3"], ["2", "4"]]) == ["A Lift", "B Hop", "A Lift"]
    chain = families(["Lift", "Hop", "Kick", "Throw"], [["1"], ["2", "3"], ["1", "2"], ["9"]])
    assert chain == ["Hop", "Hop", "Hop", "Throw"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Push-Up Wide", "Incline Pushups", True),
        ("Dumbbell Flyes", "Incline Cable Flye", True),
        ("Barbell Bench Press - Medium Grip", "Dumbbell Bench Press", True),
        ("EZ-Bar Skullcrusher", "Band Skull Crusher", True),
        ("Alternate Incline Dumbbell Curl", "Seated Biceps Curls", True),
        ("Triceps Pushdown", "Triceps Stretch", False),
        ("Barbell Curl", "Barbell Row", False),
        ("Standing", "Incline", False),
    ],
)
def test_families_by_words(one, other, same):
    assert (len(set(families([one, other], [[], []]))) == 1) == same


def test_absent_photos_and_unusable_rows_are_counted(root):
    test = exercises.load(root).test
    (root / "photos" / f"{test.video_ids[1]}_0.jpg").unlink()
    rows = rows_of(root)
    write(root, [*rows, {"id": "x", "name": "Nothing to see", "photos": []}, {"photos": ["a.jpg"]}, rows[0]])
    cut = exercises.load(root).test
    assert cut.missing_videos == (test.video_ids[1],)
    assert cut.missing_texts == 1
    assert "dropped 2 exercises without a name or photos" in cut.describe()
    assert "dropped 1 repeated exercises" in cut.describe()
    assert (test.dropped, cut.dropped) == (0, 2)
    assert set(cut.video_ids) | set(cut.missing_videos) == set(test.video_ids)


def test_no_photo_is_read_outside_of_the_folder(root, tmp_path):
    photo(tmp_path / "secret.jpg", 5)
    write(root, [*rows_of(root), {"name": "Out", "photos": ["../secret.jpg", str(tmp_path / "secret.jpg")]}])
    splits = exercises.load(root)
    assert [video for split in splits for video in split.missing_videos] == ["Out"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "is not JSON"),
        ("{}", "is no list of exercises"),
        ("[1]", "is no list of exercises"),
        ("[]", "none of its 0 exercises"),
        ('[{"name": "Dip", "photos": "a.jpg"}]', "none of its 1 exercises"),
        ('[{"name": "Dip", "photos": ["a.jpg"]}]', "none of the photos of 1 exercises"),
    ],
)
def test_damaged_lists(root, content, words):
    (root / "exercises.json").write_text(content)
    with pytest.raises(DataError, match=words):
        exercises.load(root)


def test_a_file_that_is_no_photo(root):
    (root / "photos" / "Barbell_Dip_0.jpg").write_bytes(b"no photo at all")
    with pytest.raises(DataError, match="photos of 'Barbell_Dip' cannot be joined"):
        exercises.load(root)


def test_without_the_folder_the_source_is_named(tmp_path):
    with pytest.raises(DataError, match=r"is no folder.*github\.com/yuhonas/free-exercise-db"):
        load(DataConfig(name="exercises", root=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match=r"no exercises\.json"):
        load(DataConfig(name="exercises", root=str(tmp_path)))
