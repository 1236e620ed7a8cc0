"""Which moments of a video are looked at: a length in seconds in, times in seconds out.

Pure functions of numbers: no file is opened here (see `reelseek.video.decode`). Every time lies in [0, duration) and
times never decrease, so each of them names a picture of the video. Frame rates are never rounded.
Shape legend: F frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reelseek.config import SampleConfig

Times = NDArray[np.float64]


def uniform(duration: float, frames: int) -> Times:
    """`frames` evenly spaced times [F] in seconds from the first moment to the last one before the end.

    One frame is the first. Raises ValueError for a duration that is not positive and finite, or fewer than 1 frame.
    """
    _check(duration, frames)
    return np.asarray(np.linspace(0.0, math.nextafter(duration, 0.0), frames), np.float64)


def middle(duration: float, frames: int) -> Times:
    """The middle [F], in seconds, of each of `frames` equal segments.

    Raises ValueError for a duration that is not positive and finite, or fewer than 1 frame.
    """
    _check(duration, frames)
    return np.asarray((np.arange(frames) + 0.5) * (duration / frames), np.float64)


def fixed_fps(duration: float, fps: float, frames: int, at_least: int = 1) -> Times:
    """Times 0, 1/fps, 2/fps, ... [F] in seconds before the end.

    frames: more of them are thinned to `frames`, evenly over their positions with both ends kept, as CLIP4Clip's loader
    does; 0 sets no limit. at_least: a video too short for that many gets `middle(duration, at_least)`.
    Raises ValueError for a duration or fps that is not positive and finite, or a limit below `at_least`.
    """
    _check(duration, at_least)
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive and finite, not {fps}")
    if frames != 0 and frames < at_least:
        raise ValueError(f"at most {frames} frames cannot hold at least {at_least}")
    # the count is rounded up, then cut by comparison: duration * fps alone is a hair off at rates such as 30000/1001
    times_F = np.arange(math.ceil(duration * fps) + 1) / fps
    times_F = times_F[times_F < duration]
    if len(times_F) < at_least:
        return middle(duration, at_least)
    if frames and len(times_F) > frames:
        times_F = times_F[np.linspace(0, len(times_F) - 1, frames).astype(np.int64)]
    return times_F


SAMPLERS: dict[str, Callable[[float, SampleConfig], Times]] = {
    "middle": lambda duration, config: middle(duration, config.frames),
    "uniform": lambda duration, config: uniform(duration, config.frames),
    "fps": lambda duration, config: fixed_fps(duration, config.fps, config.frames),
}


def sample_times(duration: float, config: SampleConfig) -> Times:
    """Times [F] in seconds that `config` asks of a video of `duration` seconds.

    Raises ValueError for an unknown policy (the message lists the known ones) or values the policy cannot use.
    """
    if config.policy not in SAMPLERS:
        raise ValueError(f"unknown sampling policy {config.policy!r}; known: {', '.join(SAMPLERS)}")
    return SAMPLERS[config.policy](duration, config)


def _check(duration: float, frames: int) -> None:
    if not (math.isfinite(duration) and duration > 0):
        raise ValueError(f"a duration must be positive and finite, not {duration}")
    if frames < 1:
        raise ValueError(f"at least 1 frame must be asked for, not {frames}")
