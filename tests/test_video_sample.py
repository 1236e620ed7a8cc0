from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelseek.config import SampleConfig
from reelseek.video.sample import SAMPLERS, fixed_fps, middle, sample_times, uniform

durations = st.floats(min_value=1e-3, max_value=1e5)
counts = st.integers(min_value=1, max_value=200)
rates = st.floats(min_value=0.01, max_value=60.0)


def _is_valid(times: np.ndarray, duration: float) -> bool:
    return times.dtype == np.float64 and bool((np.diff(times) >= 0).all()) and times[0] >= 0 and times[-1] < duration


@given(durations, counts)
def test_middle_equals_a_loop(duration, frames):
    times = middle(duration, frames)
    assert _is_valid(times, duration)
    np.testing.assert_allclose(times, [duration * (2 * number + 1) / (2 * frames) for number in range(frames)])


@given(durations, counts)
def test_uniform_runs_from_the_first_moment_to_the_last_before_the_end(duration, frames):
    times = uniform(duration, frames)
    assert _is_valid(times, duration)
    steps = max(1, frames - 1)
    np.testing.assert_allclose(times, [duration * number / steps for number in range(frames)], rtol=1e-12)
    assert frames == 1 or times[-1] == math.nextafter(duration, 0)


@given(durations.filter(lambda duration: duration < 500), rates, st.integers(0, 60))
def test_fixed_fps_equals_a_loop(duration, fps, frames):
    expected = []
    while len(expected) / fps < duration:
        expected.append(len(expected) / fps)
    if frames and len(expected) > frames:
        # CLIP4Clip: numpy.linspace(0, count - 1, num=frames, dtype=int)
        last = len(expected) - 1
        expected = [expected[int(last * number / (frames - 1)) if frames > 1 else 0] for number in range(frames)]
    times = fixed_fps(duration, fps, frames)
    assert _is_valid(times, duration)
    assert len(times) == len(expected)
    # the same positions, but for products of last / (frames - 1) that are whole numbers up to rounding
    assert np.abs(times - expected).max() <= 1 / fps + 1e-9


@pytest.mark.parametrize(
    ("count", "frames", "positions"),
    [(5, 3, [0, 2, 4]), (10, 4, [0, 3, 6, 9]), (100, 12, [0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99]), (7, 1, [0])],
)
def test_fixed_fps_thins_by_position(count, frames, positions):
    assert fixed_fps(count, 1.0, frames).tolist() == positions


@given(durations, st.integers(1, 20))
def test_fixed_fps_takes_the_least_number_from_a_short_video(duration, at_least):
    times = fixed_fps(duration, 1.0, 0, at_least)
    assert _is_valid(times, duration)
    assert len(times) == max(at_least, math.ceil(duration))
    if math.ceil(duration) < at_least:
        assert times.tolist() == middle(duration, at_least).tolist()
    else:
        assert times.tolist() == fixed_fps(duration, 1.0, 0).tolist()


def test_as_many_frames_as_are_the_least_stay_where_they_are():
    assert fixed_fps(3.0, 1.0, 0, at_least=3).tolist() == [0, 1, 2]


def test_rates_are_not_rounded():
    rate = 30000 / 1001
    times = fixed_fps(60.0, rate, 0)
    # a rate cut to 29 would name 1,740 of them
    assert len(times) == 1799
    np.testing.assert_allclose(times[1740], 1740 * 1001 / 30000, rtol=1e-12)
    assert len(fixed_fps(60.06, rate, 0)) in (1800, 1801)


@pytest.mark.parametrize("duration", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("policy", sorted(SAMPLERS))
def test_a_duration_that_is_none_is_refused(policy, duration):
    with pytest.raises(ValueError, match="duration"):
        sample_times(duration, SampleConfig(policy=policy))


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(fps):
    with pytest.raises(ValueError, match="fps"):
        fixed_fps(1.0, fps, 0)


def test_counts_that_cannot_be_met_are_refused():
    with pytest.raises(ValueError, match="at least 1 frame"):
        middle(1.0, 0)
    with pytest.raises(ValueError, match="cannot hold at least 4"):
        fixed_fps(1.0, 1.0, 3, at_least=4)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SampleConfig("middle", frames=2), [2.5, 7.5]),
        (SampleConfig("uniform", frames=2), [0.0, math.nextafter(10.0, 0)]),
        (SampleConfig("fps", frames=12, fps=0.5), [0, 2, 4, 6, 8]),
        (SampleConfig("fps", frames=2, fps=1.0), [0, 9]),
    ],
)
def test_policies(config, expected):
    assert sample_times(10.0, config).tolist() == expected


def test_an_unknown_policy_lists_the_known_ones():
    with pytest.raises(ValueError, match="'headtail'; known: middle, uniform, fps"):
        sample_times(1.0, SampleConfig(policy="headtail"))
