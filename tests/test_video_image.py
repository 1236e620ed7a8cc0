"""Images from strangers: damaged ones are refused in a sentence, and no other program is handed one."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelseek.errors import UnreadableVideo
from reelseek.video import image
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


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1"])
def test_a_large_image_comes_shrunk_and_is_the_same_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(ramp[:, None, None], (96, 60, 3)).copy()).convert(mode)
    picture.save(tmp_path / "image.png")
    whole = read_image(tmp_path / "image.png")
    assert whole.shape == (1, 96, 60, 3)
    monkeypatch.setattr(image, "MOST_PIXELS", 96 * 60)
    assert (read_image(tmp_path / "image.png") == whole).all()
    monkeypatch.setattr(image, "MOST_PIXELS", 96 * 60 - 1)
    small = read_image(tmp_path / "image.png")
    assert small.shape == (1, 48, 30, 3)
    expected = whole.reshape(1, 48, 2, 30, 2, 3).mean((2, 4))
    assert np.abs(small - expected).max() <= 1


def test_an_image_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Image.MAX_IMAGE_PIXELS == image.LARGEST
    Image.new("RGB", (96, 60)).save(tmp_path / "image.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(image, "LARGEST", 96 * 60)
    assert read_image(tmp_path / "image.png").shape == (1, 60, 96, 3)
    monkeypatch.setattr(image, "LARGEST", 96 * 60 - 1)
    with pytest.raises(UnreadableVideo, match=r"image\.png: has too many pixels"):
        read_image(tmp_path / "image.png")


MEASURED = """
import resource, sys
from pathlib import Path
from reelseek.video import image
from reelseek.video.image import read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(read_image(Path(sys.argv[1])).shape[1:3], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_what_a_large_image_costs_is_bounded(tmp_path: Path, mode: str) -> None:
    side = 8000
    picture = Image.new(mode, (side, side))
    picture.save(tmp_path / "image.png", **({"transparency": 0} if mode == "P" else {}))
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "image.png")], check=True, capture_output=True, text=True
    ).stdout
    shape, _, kilobytes = said.strip().rpartition(" ")
    assert shape == "(4000, 4000)"
    assert int(kilobytes) * 1024 < 11 * side * side
