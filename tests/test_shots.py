"""Shots: the difference of two frames, where segments begin, and an index of drawn videos whose cuts are known."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import cli_world
from index_fakes import CARD, FakeMethod, update
from reelseek import embed_pipeline
from reelseek.config import IndexConfig
from reelseek.embed import embed_files
from reelseek.errors import IndexMismatch
from reelseek.index import cards, store
from reelseek.index.search import Searcher
from reelseek.index.switch import switch
from reelseek.records import EmbeddedVideo
from reelseek.video import shots
from reelseek.video.sample import fixed_fps
from reelseek.video.shots import CUT, differences, segment_starts, small

SHOTS = IndexConfig(fps=2.0, min_frames=1, segment_frames=4, segments="shots")


def texture(seed: int, *, moved: int = 0, light: float = 1.0) -> np.ndarray:
    """RGB [48, 64, 3] of patches that the seed draws, in one of eight colours."""
    chance = np.random.default_rng(seed)
    tint = np.array([seed >> bit & 1 for bit in range(3)]) * 170
    patches = chance.integers(0, 86, (6, 8, 3)) + tint
    picture = np.roll(np.kron(patches, np.ones((8, 8, 1))), moved, axis=1)
    return (picture * light).clip(0, 255).astype(np.uint8)


def film(path: Path, pictures: Iterable[np.ndarray], *, rate: int = 2) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def slow_difference(a: np.ndarray, b: np.ndarray) -> float:
    """The definition for two frames [S, S, 3], pixel by pixel."""
    counts: list[dict[tuple[int, ...], int]] = [{}, {}]
    side = a.shape[0]
    for picture, count in zip((a, b), counts, strict=True):
        for y, x in itertools.product(range(side), range(side)):
            key = (2 * y // side, 2 * x // side, *(int(value) // 64 for value in picture[y, x]))
            count[key] = count.get(key, 0) + 1
    keys = counts[0].keys() | counts[1].keys()
    colours = sum(abs(counts[0].get(key, 0) - counts[1].get(key, 0)) for key in keys) / 2 / side**2
    first, second = a.ravel().astype(float), b.ravel().astype(float)
    first, second = first - first.mean(), second - second.mean()
    lengths = (float(np.linalg.norm(first)) + 1e-6) * (float(np.linalg.norm(second)) + 1e-6)
    moved = min(max(1 - float(first @ second) / lengths, 0), 1)
    return float((colours * moved) ** 0.5)


def slow_starts(values: list[float], most: int) -> list[int]:
    """Frames gathered one after the other, then long shots cut."""
    groups: list[list[int]] = []
    for number, value in enumerate(values):
        if number == 0:
            groups.append([0])
            continue
        ahead = 1
        while number + ahead < len(values) and values[number + ahead] <= CUT:
            ahead += 1
        if value > CUT and len(groups[-1]) >= 2 and ahead >= 2:
            groups.append([number])
        else:
            groups[-1].append(number)
    starts = []
    for group in groups:
        parts = 1
        while len(group) > parts * most:
            parts += 1
        starts += [group[len(group) * part // parts] for part in range(parts)]
    return starts


def test_differences_equal_their_definition() -> None:
    frames = small(np.stack([texture(1), texture(1, moved=9), texture(2), texture(2, light=0.4), texture(3)]))
    assert frames.shape == (5, 32, 32, 3)
    expected = [0.0] + [slow_difference(a, b) for a, b in itertools.pairwise(frames)]
    assert differences(frames) == pytest.approx(expected, abs=1e-5)
    assert differences(frames).dtype == np.float32


def test_segment_starts_equal_their_definition() -> None:
    chance = np.random.default_rng(0)
    for _ in range(300):
        values = (chance.random(chance.integers(1, 30)) ** 2).astype(np.float32)
        values[0] = 0
        most = int(chance.integers(1, 9))
        starts = segment_starts(values, most)
        assert starts == slow_starts(values.tolist(), most)
        assert all(0 < b - a <= most for a, b in itertools.pairwise([*starts, len(values)]))


def test_a_cut_counts_and_a_pan_a_fade_a_lamp_and_a_still_do_not() -> None:
    def above(*pictures: np.ndarray) -> list[int]:
        return np.flatnonzero(differences(small(np.stack(pictures))) > CUT).tolist()

    assert above(*[texture(n) for n in range(6)]) == [1, 2, 3, 4, 5]
    assert above(*[texture(4, moved=3 * n) for n in range(8)]) == []
    assert above(*[texture(5, light=1 - n / 8) for n in range(8)]) == []
    assert above(texture(6, light=0.3), texture(6)) == []
    assert above(*[texture(7)] * 5) == []
    assert above(texture(7)) == []
    flat = [np.full((48, 64, 3), colour, np.uint8) for colour in ((200, 20, 20), (200, 20, 20), (20, 20, 200))]
    assert above(*flat) == [2]


def segments(index: Path) -> list[tuple[str, float, float, int]]:
    files, stored = store.load(cards.open_index(index))
    names = {file.content_hash: file.path.name for file in files}
    rows = zip(stored.content_S, stored.start_S.tolist(), stored.end_S.tolist(), stored.count_S.tolist(), strict=True)
    return sorted((names[key], start, end, count) for key, start, end, count in rows)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shots")
    film(folder / "cuts.mp4", [texture(n) for n, long in ((1, 3), (2, 6), (3, 1), (4, 2)) for _ in range(long)])
    film(folder / "fade.mp4", [texture(5, light=1 - abs(n - 3) / 3) for n in range(7)])
    film(folder / "one.mp4", [texture(6)])
    film(folder / "still.mp4", [texture(7)] * 5)
    return folder


def test_segments_of_drawn_videos(videos: Path, tmp_path: Path) -> None:
    update(tmp_path / "index", videos, config=SHOTS)
    found = segments(tmp_path / "index")
    assert [row for row in found if row[0] == "cuts.mp4"] == [
        ("cuts.mp4", 0.0, 1.5, 3), ("cuts.mp4", 1.5, 3.0, 3), ("cuts.mp4", 3.0, 5.0, 4), ("cuts.mp4", 5.0, 6.0, 2),
    ]  # fmt: skip
    # the fade goes through black, where the picture is gone: what is before and behind it stays together or is halved
    assert sum(row[3] for row in found if row[0] == "fade.mp4") == 7
    assert [row[3] for row in found if row[0] == "one.mp4"] == [1]
    assert [row[3] for row in found if row[0] == "still.mp4"] == [2, 3]
    hits = Searcher(cards.open_index(tmp_path / "index"), FakeMethod()).search("red", k=10)
    assert {Path(hit.path).name for hit in hits} == {"cuts.mp4", "fade.mp4", "one.mp4", "still.mp4"}


def test_a_file_in_pieces_has_the_cuts_of_the_whole(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> np.ndarray:
        (video,) = embed_files(
            FakeMethod(), [videos / "cuts.mp4"], lambda duration: fixed_fps(duration, 2.0, 0), sampling_key="",
            differences=True,
        )  # fmt: skip
        assert isinstance(video, EmbeddedVideo)
        assert video.differences_N is not None
        return video.differences_N

    whole = found()
    assert np.flatnonzero(whole > CUT).tolist() == [3, 9, 10]
    for chunk in (1, 2, 3, 5):
        monkeypatch.setattr(embed_pipeline, "CHUNK", chunk)
        assert np.array_equal(found(), whole)


def test_differences_are_kept_in_the_cache(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def embedded() -> list[Any]:
        paths = sorted(videos.glob("*.mp4"))
        cache = tmp_path / "cache"
        return list(
            embed_files(
                FakeMethod(), paths, lambda d: fixed_fps(d, 2.0, 0), sampling_key="x", cache=cache, differences=True
            )
        )

    first = embedded()
    monkeypatch.setattr(embed_pipeline, "decode", lambda *args, **named: pytest.fail("decoded again"))
    again = embedded()
    assert len(first) == len(again) > 1
    for one, two in zip(first, again, strict=True):
        assert one.differences_N is not None
        assert np.array_equal(one.differences_N, two.differences_N)


def test_the_setting_belongs_to_the_index(videos: Path, tmp_path: Path) -> None:
    windows = IndexConfig(fps=2.0, min_frames=1, segment_frames=4)
    update(tmp_path / "index", videos, config=windows)
    with pytest.raises(IndexMismatch, match="not with --segments shots"):
        update(tmp_path / "index", videos, config=SHOTS)
    switch(tmp_path / "index", FakeMethod(), model_card=CARD, config=SHOTS)
    update(tmp_path / "fresh", videos, config=SHOTS)
    assert segments(tmp_path / "index") == segments(tmp_path / "fresh")
    assert update(tmp_path / "index", videos, config=None).unchanged == 4


def test_a_card_from_before_the_setting_has_windows(videos: Path, tmp_path: Path) -> None:
    update(tmp_path / "index", videos, config=IndexConfig())
    card = json.loads((tmp_path / "index" / cards.CARD).read_text())
    del card["config"]["segments"]
    (tmp_path / "index" / cards.CARD).write_text(json.dumps(card))
    assert update(tmp_path / "index", videos, config=IndexConfig()).unchanged == 4


def test_the_command(videos: Path, tmp_path: Path) -> None:
    index = tmp_path / "films.index"
    said = cli_world.run("index", videos, "--index", index, "--segments", "shots", "--fps", 2)
    assert said.code == 0, said
    assert cards.open_index(index).config.segments == "shots"
    assert [row[1] for row in segments(index) if row[0] == "cuts.mp4"] == [0.0, 1.5, 5.0]
    assert "made with" in cli_world.refused(1, "index", videos, "--index", index, "--segments", "windows")
    assert shots.LEAST == 2
