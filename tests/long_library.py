"""An index of thousands of made-up videos in many folders: nothing is drawn or decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from index_fakes import CARD, WIDTH, FakeMethod
from reelseek.config import IndexConfig
from reelseek.index import cards, store
from reelseek.index.cards import IndexCard
from reelseek.index.disk import locked
from reelseek.index.segments import any_text, cut_segments
from reelseek.index.store import IndexedFile
from reelseek.records import EmbeddedVideo

VIDEOS, FOLDERS, BROKEN, SAME, LONGEST = 3000, 1200, 900, 700, 43_200
"""SAME of the videos show the same footage. LONGEST: frames, one a second, of the last one: twelve hours."""


def write(place: Path, *, videos: int = VIDEOS, folders: int = FOLDERS, broken: int = BROKEN) -> Path:
    """The index at place/index of files below place/videos, none of which is there."""
    directory, method = place / "index", FakeMethod()
    index = IndexCard(directory, {"name": method.name, "id": method.id, **CARD}, IndexConfig(), WIDTH, "now")
    dice = torch.Generator().manual_seed(0)
    same_1D = method.encode_texts(["white"]).pooled_TD
    text, tables, rows = any_text(method), [], []
    for number in range(videos):
        count = LONGEST if number == videos - 1 else 6
        own_ND = torch.randn(count, 12, generator=dice)
        frames_ND = same_1D + 0.01 * own_ND if number < SAME else own_ND
        path = place / "videos" / f"{2000 + number % 20} holidays" / f"day {number % folders:04d}" / f"{number:05d}.mp4"
        video = EmbeddedVideo(path, f"{number:032x}", frames_ND, np.arange(count, dtype=float), float(count))
        tables.append(cut_segments(video, 1, method, text, index))
        rows.append(IndexedFile(path, 1, 1, video.content_hash, video.duration, "ok", "", 0.0))
    for number in range(broken):
        path = place / "videos" / "broken" / f"{number:05d}.mp4"
        rows.append(IndexedFile(path, 1, 1, "", 0.0, "broken", f"{path} is damaged: copy it again.", 0.0))
    with locked(directory):
        cards.create(index)
        store.append_segments(directory, tables)
        store.write_files(directory, rows)
        store.tidy(directory)
    return directory
