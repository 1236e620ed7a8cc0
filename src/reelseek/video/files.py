"""Video files of a folder, and a small picture of one. Not here: what a file holds (`reelseek.video.decode.probe`)."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from reelseek.errors import DataError
from reelseek.video.decode import decode
from reelseek.video.suffixes import VIDEO_SUFFIXES


def find_videos(folder: Path) -> list[Path]:
    """The video files below a folder, sorted by path, by their endings (`VIDEO_SUFFIXES`, upper or lower case).

    Names that start with a dot are skipped, files and folders alike. Links are followed; a folder reached a second
    time, as in a loop of links, is not entered again. Folders that may not be read are left out.
    Raises DataError where `folder` is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; name a folder that holds videos")
    found: list[str] = []
    entered: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        # sorted, so that of two ways into one folder the same one is taken every time
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                found.append(os.path.join(here, name))
    # As names, of which a path is made once: paths cost most of the time of looking through many files.
    return [Path(name) for name in sorted(filter(os.path.isfile, found), key=lambda name: name.split(os.sep))]


def thumbnail(path: Path, time: float, *, side: int = 240) -> bytes:
    """A JPEG of the frame on screen at `time` seconds, its longer side at most `side` pixels.

    Raises what `reelseek.video.decode.decode` raises.
    """
    frames = decode(path, lambda duration: np.array([min(max(0.0, time), duration)]))
    picture = Image.fromarray(frames.pixels_FHW3[0])
    picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()
