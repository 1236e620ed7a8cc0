"""Images from strangers: damaged ones are refused in a sentence, and no other program is handed one."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelseek.errors import UnreadableVideo
from reelseek.video.image import read_image

KINDS = ("PNG", "GIF", "TIFF", "WEBP", "JPEG", "BMP", "ICO", "PPM", "TGA")


def drawn(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_usual_kinds_are_read_by_their_content(tmp_path: Path, kind: str) -> None:
    (tmp_path / "image").write_bytes(drawn(kind))
    assert read_image(tmp_path / "image").shape[0] == 1


@pytest.mark.parametrize("kind", ["EPS", "PDF"])
def test_what_needs_another_program_is_no_image(tmp_path: Path, kind: str) -> None:
    (tmp_path / "image").write_bytes(drawn(kind))
    with pytest.raises(UnreadableVideo, match="is no image file"):
        read_image(tmp_path / "image")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_images_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    dice, whole, refused = random.Random(kind), drawn(kind), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 2, 16])):
            damaged[dice.randrange(min(len(damaged), dice.choice([64, len(damaged)])))] = dice.choice([0, 255, 127])
        del damaged[dice.choice([len(damaged), dice.randrange(len(damaged))]) :]
        (tmp_path / "image").write_bytes(damaged)
        try:
            read_image(tmp_path / "image")
        except UnreadableVideo:
            refused += 1
    assert refused
